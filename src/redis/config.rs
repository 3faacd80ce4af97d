//! Where Redis is and how to talk to it, from every form in which people write it.
//!
//! Three sources say the same things under the same names, which are redis-py's where it has one:
//! keys of `online_store` in `feature_store.yaml`, parameters of the [connection
//! string](connection_string), and the query of a URL. A key of its own wins over the string.
//!
//! | name | meaning | default |
//! |---|---|---|
//! | `connection_string` | Feast's comma form or a URL | `localhost:6379` |
//! | `db` | number of the database | 0 |
//! | `username`, `password` (or `auth_token`) | credentials; an empty password is none | none |
//! | `ssl` and `ssl_*` | see [`tls`](super::tls) | plain |
//! | `socket_connect_timeout` | seconds to be connected and logged in | `socket_timeout` if given, else 5 |
//! | `socket_timeout` | the longest silence of the server, in seconds | 10 |
//! | `request_timeout_ms` | limit on a whole request, in milliseconds | 10000 |
//! | `socket_keepalive` (or `tcp_keepalive`) | TCP probes on idle connections | true |
//! | `redis_pool_size` (or `max_connections`) | connections at the most, sync and async each | 64 |
//! | `max_reply_bytes` | the largest reply to one request | 1 GiB |
//! | `client_name` | the name in Redis' `CLIENT LIST` | none |
//! | `unix_socket_path` | a Unix socket, in place of host and port | none |
//!
//! For the three time limits 0 is no limit; so is a `request_timeout_ms` of null.

pub mod connection_string;
mod names;
pub(super) mod parameters;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value};

use self::connection_string::ConnectionString;
use self::parameters::Parameters;
use super::tls::TlsSettings;
use crate::error::{Error, ErrorKind, Result};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const SOCKET_TIMEOUT: Duration = Duration::from_secs(10);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
const POOL_SIZE: usize = 64;
const MAX_REPLY_BYTES: usize = 1 << 30;

/// The keys of `online_store` as the user wrote them: a JSON object. Keys that are not about the
/// connection (`key_ttl_seconds` and the like) may be in it and are passed over.
#[derive(Clone, Default, Deserialize)]
#[serde(transparent)]
pub struct RedisSettings(Map<String, Value>);

impl RedisSettings {
    fn text(&self, key: &str) -> Result<Option<&str>> {
        match self.0.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(invalid(format!("{key} must be a string"))),
        }
    }
}

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

/// A standalone server and the limits of talking to it.
#[derive(Clone, Debug)]
pub struct RedisConfig {
    /// Where the server listens.
    pub address: Address,
    /// The database that each connection selects.
    pub db: u32,
    /// What each connection logs in with.
    pub credentials: Option<Credentials>,
    /// The name each connection gives itself.
    pub client_name: Option<String>,
    /// How TLS is spoken, if it is.
    pub tls: Option<TlsSettings>,
    /// The longest time until a connection is open and logged in.
    pub connect_timeout: Option<Duration>,
    /// The longest silence of the server while a reply is due.
    pub socket_timeout: Option<Duration>,
    /// The longest time for a whole request; callers make a `Deadline` of it.
    pub request_timeout: Option<Duration>,
    /// Whether TCP probes keep idle connections alive and find dead ones.
    pub keepalive: bool,
    /// How many connections there are at the most, blocking and asynchronous each.
    pub pool_size: usize,
    /// How many bytes the replies to one request may have.
    pub max_reply_bytes: usize,
    /// What was ignored or taken differently than written; for the log, without secrets.
    pub notices: Vec<String>,
}

impl RedisConfig {
    /// The configuration that `json`, an object with the keys of `online_store`, asks for.
    pub fn from_json(json: &str) -> Result<Self> {
        // serde's message would quote the text, and with it perhaps a password.
        let settings: RedisSettings = serde_json::from_str(json)
            .map_err(|_| invalid("the online_store settings are no JSON object"))?;
        Self::from_settings(&settings)
    }

    /// The configuration that `settings` ask for. Does no I/O.
    pub fn from_settings(settings: &RedisSettings) -> Result<Self> {
        let mut notices = Vec::new();
        check_deployment(settings, &mut notices)?;
        let text = settings.text("connection_string")?;
        let string = ConnectionString::parse(text.unwrap_or("localhost:6379"), &mut notices)?;
        let own = Parameters::from_json(&settings.0, &mut notices)?;
        if string.tls && own.flag("ssl")? == Some(false) {
            return Err(invalid(
                "the connection string says rediss://, which is TLS, but ssl is false; \
                 write redis:// or remove ssl",
            ));
        }
        let parameters = own.over(string.parameters, &mut notices);
        let address = match parameters.text("unix_socket_path") {
            Some(path) => Address::Unix(path.into()),
            None => string.address.ok_or_else(|| {
                invalid("connection_string names no server; write it as host:port,parameter=value")
            })?,
        };
        let tls = string.tls || parameters.flag("ssl")?.unwrap_or(false);
        let socket_timeout = parameters.seconds("socket_timeout", Some(SOCKET_TIMEOUT))?;
        // As in redis-py, the time for a reply is also that for connecting, unless it is given.
        let connect_timeout = match parameters.text("socket_timeout") {
            Some(_) => socket_timeout,
            None => Some(CONNECT_TIMEOUT),
        };
        Ok(Self {
            db: parameters.number("db")?.unwrap_or(0),
            credentials: credentials(&parameters)?,
            client_name: client_name(&parameters)?,
            tls: match (&address, tls) {
                (Address::Unix(_), true) => {
                    return Err(invalid("ssl cannot be used on a Unix socket"));
                }
                (_, true) => Some(TlsSettings::from_parameters(&parameters, &mut notices)?),
                (_, false) => None,
            },
            address,
            connect_timeout: parameters.seconds("socket_connect_timeout", connect_timeout)?,
            socket_timeout,
            request_timeout: parameters
                .milliseconds("request_timeout_ms", Some(REQUEST_TIMEOUT))?,
            keepalive: match parameters.flag("tcp_keepalive")? {
                Some(given) => given,
                None => parameters.flag("socket_keepalive")?.unwrap_or(true),
            },
            pool_size: match parameters.positive("redis_pool_size")? {
                Some(given) => given,
                None => parameters.positive("max_connections")?.unwrap_or(POOL_SIZE),
            },
            max_reply_bytes: parameters
                .positive("max_reply_bytes")?
                .unwrap_or(MAX_REPLY_BYTES),
            notices,
        })
    }
}

/// Refuses what needs another client than a standalone one.
fn check_deployment(settings: &RedisSettings, notices: &mut Vec<String>) -> Result<()> {
    match settings.text("redis_type")? {
        None | Some("redis") => {}
        Some(asked @ ("redis_cluster" | "redis_sentinel")) => {
            return Err(invalid(format!(
                "redis_type: {asked} is not supported by this version of feast-rs yet, only a \
                 standalone server is; keep `type: redis`, Feast's own store, for this deployment \
                 for now"
            )));
        }
        Some(_) => {
            return Err(invalid(
                "redis_type must be redis, redis_cluster or redis_sentinel",
            ));
        }
    }
    match settings.text("client")? {
        None => {}
        Some(client @ ("redis" | "glide")) => notices.push(format!(
            "client: {client} has no effect, feast-rs has a client of its own"
        )),
        Some(_) => return Err(invalid("client must be redis or glide")),
    }
    Ok(())
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
    let username = given("username");
    Ok(
        (username.is_some() || password.is_some()).then(|| Credentials {
            username: username.map(|name| Secret(name.to_owned())),
            password: Secret(password.unwrap_or_default().to_owned()),
        }),
    )
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
