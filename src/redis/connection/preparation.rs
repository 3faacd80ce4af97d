//! What a thread of its own has to do before a connection can be opened: neither resolving a name
//! nor reading files can be polled for, bounded or interrupted.

use std::collections::VecDeque;
use std::io;
use std::net::ToSocketAddrs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, TryRecvError};

use rustls::ClientConfig;
use socket2::SockAddr;

use super::bell::Bell;
use super::{Connector, unreachable};
use crate::error::Result;
use crate::redis::config::Address;

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
        let Some(attempt) = Attempt::start(&connector.preparing, config.pool_size) else {
            let error = io::Error::other(format!(
                "{} attempts to connect are hanging already, in the system's resolver",
                config.pool_size
            ));
            return Err(unreachable(&config.address, &error));
        };
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

/// A thread that prepares, counted until it ends: nobody waits for one that hangs, so without a
/// limit there would be ever more of them.
struct Attempt(Arc<AtomicUsize>);

impl Attempt {
    fn start(count: &Arc<AtomicUsize>, limit: usize) -> Option<Self> {
        let attempt = Self(count.clone());
        (count.fetch_add(1, Ordering::Relaxed) < limit).then_some(attempt)
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Rings, however the thread ends.
struct Ringer(Arc<Bell>);

impl Drop for Ringer {
    fn drop(&mut self) {
        self.0.ring();
    }
}
