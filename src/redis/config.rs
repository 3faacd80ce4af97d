//! Where Redis is and how to talk to it, from every form in which people write it.
//!
//! Three sources say the same things under the same names, which are redis-py's where it has one:
//! keys of `online_store` in `feature_store.yaml`, parameters of the [connection
//! string](connection_string), and the query of a URL. A key of its own wins over the string.
//!
//! A [`DeploymentConfig`](deployment::DeploymentConfig) is all of it; the [`RedisConfig`] in it is
//! what a single connection needs:
//!
//! | name | meaning | default |
//! |---|---|---|
//! | `connection_string` | Feast's comma form or a URL | `localhost:6379` |
//! | `db` | number of the database | 0 |
//! | `username`, `password` (or `auth_token`) | credentials; an empty password is none | none |
//! | `ssl` and `ssl_*` | see [`tls`](super::tls) | plain |
//! | `socket_connect_timeout` | seconds to be connected and logged in | `socket_timeout` if given, else 5 |
//! | `socket_timeout` | the longest silence of the server, in seconds | 10 |
//! | `request_timeout_ms` | limit on a whole read, in milliseconds | 10000 |
//! | `write_timeout_ms` | limit on a whole write of a single batch, in milliseconds | none |
//! | `socket_keepalive` (or `tcp_keepalive`) | TCP probes on idle connections | true |
//! | `redis_pool_size` (or `max_connections`) | connections to a server at the most, sync and async each | 64 |
//! | `busy_poll_us` | how long to look for a reply before the thread sleeps, in microseconds | 200 |
//! | `read_by_dump` | whether wide hashes of short values may be read by DUMP | true |
//! | `max_reply_bytes` | the largest reply to one request | 1 GiB |
//! | `client_name` | the name in Redis' `CLIENT LIST` | none |
//! | `unix_socket_path` | a Unix socket, in place of host and port | none |
//!
//! For the four time limits 0 is no limit; so is a `request_timeout_ms` of null.

pub mod connection_string;
pub mod deployment;
mod names;
pub(super) mod parameters;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use self::parameters::Parameters;
use super::credentials::CredentialSource;
use super::tls::{TlsFiles, TlsSettings};
use crate::error::{Error, ErrorKind, Result};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const SOCKET_TIMEOUT: Duration = Duration::from_secs(10);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
const POOL_SIZE: usize = 64;
const BUSY_POLL: u32 = 200;
const MAX_REPLY_BYTES: usize = 1 << 30;

/// Where the server listens.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Address {
    /// A host name or an IP address (IPv6 without brackets), and a port.
    Tcp {
        /// The host.
        host: String,
        /// The port.
        port: u16,
    },
    /// The path of a Unix socket.
    Unix(PathBuf),
}

impl Address {
    /// Reads what [`Display`](fmt::Display) writes: `host:port`, `[v6]:port` or `unix:path`.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] for any other text.
    pub fn parse(text: &str) -> Result<Self> {
        if let Some(path) = text.strip_prefix("unix:") {
            return Ok(Self::Unix(path.into()));
        }
        connection_string::server(text, deployment::REDIS_PORT).ok_or_else(|| {
            let message = format!("{text:?} is no address: write host:port");
            Error::new(ErrorKind::Argument, message)
        })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A text that no message, log line or `Debug` shows.
#[derive(Clone, Default, Eq, PartialEq)]
pub struct Secret(String);

impl Secret {
    /// The text itself, for the server only.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// What a connection logs in with. The user name is kept as secret as the password, since some
/// providers issue tokens as user names.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Credentials {
    /// The user, or none for Redis' default user.
    pub username: Option<Secret>,
    /// The password; may be empty when there is a user name.
    pub password: Secret,
}

/// What a server has to be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Role {
    /// Anything.
    Any,
    /// A primary.
    Primary,
    /// A primary, or a replica that has had its primary's data: what another one has not would look
    /// as if it did not exist.
    Synced,
    /// The same of a cluster, whose replicas answer only if told to.
    SyncedNode,
}

/// What a connection to one server is configured by.
#[derive(Clone, Debug)]
pub struct RedisConfig {
    /// Where the server listens.
    pub address: Address,
    /// The database that each connection selects.
    pub db: u32,
    /// What each connection logs in with.
    pub credentials: CredentialSource,
    /// The name each connection gives itself.
    pub client_name: Option<String>,
    /// How TLS is spoken, if it is.
    pub tls: Option<Arc<TlsFiles>>,
    /// What each connection makes sure that the server is.
    pub role: Role,
    /// The longest time until a connection is open and logged in.
    pub connect_timeout: Option<Duration>,
    /// The longest silence of the server while a reply is due.
    pub socket_timeout: Option<Duration>,
    /// The longest time for a whole request; callers make a `Deadline` of it.
    pub request_timeout: Option<Duration>,
    /// The limit on a whole write of a single batch.
    pub write_timeout: Option<Duration>,
    /// Whether TCP probes keep idle connections alive and find dead ones.
    pub keepalive: bool,
    /// How many connections there are at the most, blocking and asynchronous each.
    pub pool_size: usize,
    /// How long a blocking call looks for a reply before its thread sleeps.
    pub busy_poll: Duration,
    /// Whether hashes may be read by DUMP.
    pub read_by_dump: bool,
    /// How many bytes the replies to one request may have.
    pub max_reply_bytes: usize,
}

impl RedisConfig {
    /// What `parameters` say of connections to `address`.
    fn from_parameters(
        parameters: &Parameters,
        address: Address,
        tls: bool,
        notices: &mut Vec<String>,
    ) -> Result<Self> {
        let socket_timeout = parameters.seconds("socket_timeout", Some(SOCKET_TIMEOUT))?;
        // As in redis-py, the time for a reply is also that for connecting, unless it is given.
        let connect_timeout = match parameters.text("socket_timeout") {
            Some(_) => socket_timeout,
            None => Some(CONNECT_TIMEOUT),
        };
        Ok(Self {
            db: parameters.number("db")?.unwrap_or(0),
            credentials: credentials(parameters)?.into(),
            client_name: client_name(parameters)?,
            tls: match (&address, tls) {
                (Address::Unix(_), true) => {
                    return Err(invalid("ssl cannot be used on a Unix socket"));
                }
                (_, true) => Some(tls_files(parameters, notices)?),
                (_, false) => None,
            },
            address,
            role: Role::Any,
            connect_timeout: parameters.seconds("socket_connect_timeout", connect_timeout)?,
            socket_timeout,
            request_timeout: parameters
                .milliseconds("request_timeout_ms", Some(REQUEST_TIMEOUT))?,
            write_timeout: parameters.milliseconds("write_timeout_ms", None)?,
            keepalive: match parameters.flag("tcp_keepalive")? {
                Some(given) => given,
                None => parameters.flag("socket_keepalive")?.unwrap_or(true),
            },
            pool_size: match parameters.positive("redis_pool_size")? {
                Some(given) => given,
                None => parameters.positive("max_connections")?.unwrap_or(POOL_SIZE),
            },
            busy_poll: Duration::from_micros(
                parameters
                    .number("busy_poll_us")?
                    .unwrap_or(BUSY_POLL)
                    .into(),
            ),
            read_by_dump: parameters.flag("read_by_dump")?.unwrap_or(true),
            max_reply_bytes: parameters
                .positive("max_reply_bytes")?
                .unwrap_or(MAX_REPLY_BYTES),
        })
    }

    /// The same for the server at `address`.
    #[must_use]
    pub fn at(&self, address: Address) -> Self {
        Self {
            address,
            ..self.clone()
        }
    }

    /// The same, which shares no lock with this one.
    fn apart(&self) -> Self {
        let own = |tls: &Arc<TlsFiles>| Arc::new(TlsFiles::new(TlsSettings::clone(tls)));
        Self {
            tls: self.tls.as_ref().map(own),
            ..self.clone()
        }
    }
}

fn tls_files(parameters: &Parameters, notices: &mut Vec<String>) -> Result<Arc<TlsFiles>> {
    let settings = TlsSettings::from_parameters(parameters, notices)?;
    Ok(Arc::new(TlsFiles::new(settings)))
}

/// What redis-py would log in with: nothing unless there is a user name or a non-empty password.
fn credentials(parameters: &Parameters) -> Result<Option<Credentials>> {
    let given = |name| parameters.text(name).filter(|text| !text.is_empty());
    let password = match (given("password"), given("auth_token")) {
        (Some(password), Some(token)) if password != token => {
            return Err(invalid(
                "password and auth_token are two words for the same thing, and they differ; \
                 give one of them",
            ));
        }
        (password, token) => password.or(token),
    };
    Ok(login(given("username"), password))
}

/// Credentials, if there is anything in them.
fn login(username: Option<&str>, password: Option<&str>) -> Option<Credentials> {
    let username = username.filter(|text| !text.is_empty());
    let password = password.filter(|text| !text.is_empty());
    (username.is_some() || password.is_some()).then(|| Credentials {
        username: username.map(|name| Secret(name.to_owned())),
        password: Secret(password.unwrap_or_default().to_owned()),
    })
}

fn client_name(parameters: &Parameters) -> Result<Option<String>> {
    let name = parameters
        .text("client_name")
        .filter(|name| !name.is_empty());
    if name.is_some_and(|name| !name.bytes().all(|byte| byte.is_ascii_graphic())) {
        return Err(invalid(
            "client_name must be of printable ASCII characters without spaces",
        ));
    }
    Ok(name.map(str::to_owned))
}

/// An error about the configuration.
pub(crate) fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Config, message)
}
