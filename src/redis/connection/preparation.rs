//! What a thread of its own has to do before a connection can be opened: neither resolving a name
//! nor reading files can be polled for, bounded or interrupted.

use std::collections::VecDeque;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::mpsc::{self, Receiver, TryRecvError};

use rustls::ClientConfig;
use socket2::SockAddr;

use super::attempt::Attempt;
use super::bell::Bell;
use super::patience::Patience;
use super::{Connector, unreachable};
use crate::error::{Error, Result};
use crate::redis::config::{Address, RedisConfig};

/// What of the preparations is at hand without any I/O.
pub(super) struct Near {
    pub address: Option<SockAddr>,
    pub tls: Option<Arc<ClientConfig>>,
}

impl Near {
    pub fn find(connector: &Connector) -> Result<Self> {
        let config = connector.config();
        let address = match &config.address {
            Address::Unix(path) => {
                Some(SockAddr::unix(path).map_err(|error| unreachable(&config.address, &error))?)
            }
            Address::Tcp { host, port } => host
                .parse()
                .ok()
                .map(|ip| SockAddr::from(SocketAddr::new(ip, *port))),
        };
        Ok(Self {
            address,
            tls: config.tls.as_ref().and_then(|files| files.at_hand()),
        })
    }

    pub fn is_complete(&self, config: &RedisConfig) -> bool {
        self.address.is_some() && (config.tls.is_none() || self.tls.is_some())
    }
}

impl From<Near> for Prepared {
    fn from(near: Near) -> Self {
        Self {
            addresses: near.address.into_iter().collect(),
            tls: near.tls,
        }
    }
}

/// What is needed, soon.
pub(super) struct Preparation {
    connector: Arc<Connector>,
    answered: Receiver<Result<Prepared>>,
}

/// What is needed before a connection can be opened.
pub(super) struct Prepared {
    pub addresses: VecDeque<SockAddr>,
    /// If TLS is spoken.
    pub tls: Option<Arc<ClientConfig>>,
}

impl Preparation {
    /// Starts the thread, which rings `bell` at its end: it looks at the files of TLS, and resolves
    /// the server's name, unless the address is `known`.
    pub fn start(
        connector: &Arc<Connector>,
        known: Option<SockAddr>,
        bell: &Arc<Bell>,
    ) -> Result<Self> {
        let config = connector.config();
        let attempt = attempt(connector, &connector.preparing)?;
        let (answer, answered) = mpsc::sync_channel(1);
        let (own, ringer) = (connector.clone(), Ringer(bell.clone()));
        std::thread::Builder::new()
            .name("feast-rs-connect".to_owned())
            .spawn(move || {
                // Dropped in the order from last to first: rung when all is done.
                let _ringer = ringer;
                let answer = answer;
                let _attempt = attempt;
                // Nobody waits any more if this fails.
                let _ = answer.send(prepare(&own, known));
            })
            .map_err(|error| unreachable(&config.address, &error))?;
        Ok(Self {
            connector: connector.clone(),
            answered,
        })
    }

    /// What is needed, if it is there.
    pub fn result(&self) -> Result<Option<Prepared>> {
        match self.answered.try_recv() {
            Ok(prepared) => prepared.map(Some),
            Err(TryRecvError::Empty) => Ok(None),
            Err(TryRecvError::Disconnected) => {
                let error = io::Error::other("the resolving thread ended");
                Err(unreachable(&self.connector.config().address, &error))
            }
        }
    }
}

impl Prepared {
    /// The same for a task, which a thread of its tokio runtime does it for. That thread goes on when
    /// the future is dropped.
    pub async fn by_task(connector: &Arc<Connector>, patience: &Patience) -> Result<Self> {
        let near = Near::find(connector)?;
        if near.is_complete(connector.config()) {
            return Ok(near.into());
        }
        let attempt = attempt(connector, &connector.preparing_async)?;
        let own = connector.clone();
        let preparing = tokio::task::spawn_blocking(move || {
            let _attempt = attempt;
            prepare(&own, near.address)
        });
        let prepared = patience.bound(async { preparing.await.map_err(io::Error::other) });
        prepared.await.map_err(|error| {
            error
                .downcast::<Error>()
                .unwrap_or_else(|error| unreachable(patience.address(), &error))
        })?
    }
}

/// One more of those in `count`. Each use of a connection prepares once, and as many as the pool has
/// room for are in use at a time: those beyond are left from uses that were given up.
fn attempt(connector: &Connector, count: &Arc<AtomicUsize>) -> Result<Attempt> {
    let config = connector.config();
    Attempt::start(count, config.pool_size).ok_or_else(|| {
        let error = io::Error::other(format!(
            "{} attempts to connect are hanging already, in the system's resolver or reading the \
             files of TLS",
            config.pool_size
        ));
        unreachable(&config.address, &error)
    })
}

fn prepare(connector: &Connector, known: Option<SockAddr>) -> Result<Prepared> {
    let config = connector.config();
    let tls = match &config.tls {
        Some(files) => Some(files.client()?),
        None => None,
    };
    let addresses = match (known, &config.address) {
        (None, Address::Tcp { host, port }) => match (host.as_str(), *port).to_socket_addrs() {
            Ok(found) => found.map(SockAddr::from).collect(),
            Err(error) => return Err(unreachable(&config.address, &error)),
        },
        (known, _) => known.into_iter().collect(),
    };
    Ok(Prepared { addresses, tls })
}

/// Rings, however the thread ends.
struct Ringer(Arc<Bell>);

impl Drop for Ringer {
    fn drop(&mut self) {
        self.0.ring();
    }
}
