//! A whole deployment: which servers there are, and how requests are spread over them.
//!
//! | name | meaning | default |
//! |---|---|---|
//! | `redis_type` | `redis`, `redis_cluster` or `redis_sentinel` | `redis` |
//! | `connection_string` | the server; or the first nodes of a cluster; or the Sentinels | `localhost:6379` |
//! | `sentinel_master` | Sentinel's name of the primary | `mymaster` |
//! | `sentinel_username`, `sentinel_password`, `sentinel_ssl` | for the Sentinels themselves | none, plain |
//! | `replicas` | the replicas of a standalone server | asked for with ROLE |
//! | `read_from` | `primary`, `replica`, `prefer_replica` or `lowest_latency` | `primary` |
//! | `topology_refresh_seconds` | how old the known topology may be; 0 is as old as it works | 60 |
//! | `breaker` and `breaker_*` | see [`BreakerSettings`] | off |
//! | `hedge_percentile` and `hedge_*` | see [`HedgeSettings`] | off |
//! | `credential_provider`, `credential_refresh_seconds` | see [`ProviderSettings`] | none |
//! | `max_pending_bytes` | commands of all requests under way or waiting | 64 MiB |

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

use super::connection_string::{ConnectionString, server};
use super::parameters::Parameters;
use super::{Address, RedisConfig, Role, Secret, invalid, login, tls_files};
use crate::error::Result;
use crate::redis::credentials::{CredentialProvider, CredentialSource};

/// The port of a server that is written without one.
pub(super) const REDIS_PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;
const TOPOLOGY_REFRESH: Duration = Duration::from_secs(60);
const CREDENTIAL_REFRESH: Duration = Duration::from_secs(600);
const MAX_PENDING_BYTES: usize = 64 << 20;

/// What sort of servers the seeds are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DeploymentKind {
    /// One server, perhaps with replicas.
    Standalone,
    /// Nodes of a cluster.
    Cluster,
    /// Sentinels, which know where the servers are.
    Sentinel,
}

/// Which servers answer reads. Writes go to primaries.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ReadFrom {
    /// Primaries only.
    Primary,
    /// Replicas only.
    Replica,
    /// Replicas, and the primary where no replica can.
    PreferReplica,
    /// Of primary and replicas the one that has answered fastest lately.
    LowestLatency,
}

/// How the Sentinels are asked.
#[derive(Clone, Debug)]
pub struct SentinelSettings {
    /// Their name of the primary.
    pub master: String,
    /// What connections to the first of them are configured by.
    pub node: Arc<RedisConfig>,
}

/// When a node is left alone for a while.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BreakerSettings {
    /// `breaker_window_seconds` (10): how far back calls count.
    pub window: Duration,
    /// `breaker_min_calls` (10): fewer calls in the window say nothing.
    pub min_calls: u32,
    /// `breaker_failure_percent` (50): how many of them must have failed.
    pub failure_percent: f64,
    /// `breaker_slow_ms`: a call that takes longer counts as a failure; none unless given.
    pub slow: Option<Duration>,
    /// `breaker_open_seconds` (1): how long no call is made before one is tried.
    pub open_for: Duration,
}

/// When a read is sent to a second server, too.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HedgeSettings {
    /// `hedge_percentile`: of the node's recent latencies, after which the second is asked.
    pub percentile: f64,
    /// `hedge_min_ms` (1): but not before this time.
    pub min: Duration,
    /// `hedge_max_percent` (10): how many of the calls may be sent twice.
    pub max_percent: f64,
}

/// Who issues the credentials, where they are not written down.
#[derive(Clone, Debug)]
pub struct ProviderSettings {
    /// `credential_provider`: the dotted path of a Python callable.
    pub function: String,
    /// The user of a password that comes without one.
    pub username: Option<Secret>,
    /// `credential_refresh_seconds` (600): how long credentials are used that come without expiry.
    pub refresh: Duration,
}

/// A deployment of Redis.
#[derive(Clone, Debug)]
pub struct DeploymentConfig {
    /// What the seeds are.
    pub kind: DeploymentKind,
    /// The servers that are known from the start; at least one.
    pub seeds: Vec<Address>,
    /// What connections to a server with data are configured by, with the first seed's address.
    pub node: Arc<RedisConfig>,
    /// How to ask the Sentinels, if that is what the seeds are.
    pub sentinel: Option<SentinelSettings>,
    /// A standalone server's replicas, as far as they are given.
    pub replicas: Vec<Address>,
    /// Who answers reads.
    pub read_from: ReadFrom,
    /// How old the topology may become before it is asked for again.
    pub topology_refresh: Option<Duration>,
    /// When to leave a node alone.
    pub breaker: Option<BreakerSettings>,
    /// When to ask a second server.
    pub hedge: Option<HedgeSettings>,
    /// Where credentials come from that expire.
    pub provider: Option<ProviderSettings>,
    /// How many bytes of commands may be under way or waiting.
    pub max_pending_bytes: usize,
    /// What was ignored or taken differently than written; for the log, without secrets.
    pub notices: Vec<String>,
}

impl DeploymentConfig {
    /// The deployment that `json`, an object with the keys of `online_store`, describes. Keys that
    /// are not about it (`key_ttl_seconds` and the like) may be in it and are passed over. Does no
    /// I/O.
    pub fn from_json(json: &str) -> Result<Self> {
        // serde's message would quote the text, and with it perhaps a password.
        let keys: Map<String, Value> = serde_json::from_str(json)
            .map_err(|_| invalid("the online_store settings are no JSON object"))?;
        let mut notices = Vec::new();
        let kind = kind(&keys)?;
        check_client(&keys, &mut notices)?;
        let (string, parameters) = written(&keys, kind, &mut notices)?;
        let tls = string.tls || parameters.flag("ssl")?.unwrap_or(false);
        let seeds = seeds(kind, string.servers, &parameters, &mut notices)?;
        let mut node =
            RedisConfig::from_parameters(&parameters, seeds[0].clone(), tls, &mut notices)?;
        if kind == DeploymentKind::Cluster && node.db != 0 {
            return Err(invalid(
                "a cluster has no databases but number 0; remove db, or the number at the end of \
                 the URL",
            ));
        }
        note_idle_tls(&parameters, tls, &mut notices)?;
        let replicas = replicas(kind, &parameters)?;
        let read_from = read_from(kind, &parameters, &mut notices)?;
        let hedge = hedge(&parameters)?;
        if kind == DeploymentKind::Standalone && read_from == ReadFrom::Primary {
            if replicas.is_empty() && hedge.is_some() {
                return Err(invalid(
                    "hedge_percentile needs a second server to read from: set read_from, or list \
                     the server's replicas under replicas",
                ));
            }
            if !replicas.is_empty() && hedge.is_none() {
                notices.push(
                    "replicas has no effect while read_from is primary and nothing is hedged"
                        .to_owned(),
                );
            }
        }
        // A hedged read goes to a replica whatever `read_from` says.
        let of_replicas = read_from != ReadFrom::Primary || hedge.is_some();
        node.role = match (kind, of_replicas) {
            (DeploymentKind::Cluster, true) => Role::SyncedNode,
            // A write to a replica is refused by itself.
            (_, true) => Role::Synced,
            (DeploymentKind::Sentinel, false) => Role::Primary,
            (_, false) => Role::Any,
        };
        let sentinel = match kind {
            DeploymentKind::Sentinel => {
                Some(sentinel(&parameters, &node, string.tls, &mut notices)?)
            }
            DeploymentKind::Standalone | DeploymentKind::Cluster => {
                let idle = ["sentinel_username", "sentinel_password", "sentinel_ssl"];
                if let Some(name) = parameters.any_of(&idle) {
                    notices.push(format!(
                        "{name} has no effect; it is for redis_type: redis_sentinel"
                    ));
                }
                None
            }
        };
        Ok(Self {
            kind,
            seeds,
            sentinel,
            replicas,
            read_from,
            topology_refresh: parameters
                .seconds("topology_refresh_seconds", Some(TOPOLOGY_REFRESH))?,
            breaker: breaker(&parameters)?,
            hedge,
            provider: provider(&parameters, &node)?,
            max_pending_bytes: parameters
                .positive("max_pending_bytes")?
                .unwrap_or(MAX_PENDING_BYTES),
            node: Arc::new(node),
            notices,
        })
    }

    /// The same for the use of one process, with credentials from `provider` if the settings name
    /// one. It shares no lock with this configuration, which a forked child may find locked.
    #[must_use]
    pub fn in_process(&self, provider: Option<Arc<dyn CredentialProvider>>) -> Self {
        let mut node = self.node.apart();
        if let (Some(provider), Some(settings)) = (provider, &self.provider) {
            node.credentials = CredentialSource::provided(provider, settings.refresh);
        }
        Self {
            node: Arc::new(node),
            sentinel: self.sentinel.as_ref().map(|sentinel| SentinelSettings {
                master: sentinel.master.clone(),
                node: Arc::new(sentinel.node.apart()),
            }),
            ..self.clone()
        }
    }
}

fn text<'a>(keys: &'a Map<String, Value>, key: &str) -> Result<Option<&'a str>> {
    match keys.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(invalid(format!("{key} must be a string"))),
    }
}

fn kind(keys: &Map<String, Value>) -> Result<DeploymentKind> {
    match text(keys, "redis_type")? {
        None | Some("redis") => Ok(DeploymentKind::Standalone),
        Some("redis_cluster") => Ok(DeploymentKind::Cluster),
        Some("redis_sentinel") => Ok(DeploymentKind::Sentinel),
        Some(_) => Err(invalid(
            "redis_type must be redis, redis_cluster or redis_sentinel",
        )),
    }
}

fn check_client(keys: &Map<String, Value>, notices: &mut Vec<String>) -> Result<()> {
    match text(keys, "client")? {
        None => {}
        Some(client @ ("redis" | "glide")) => notices.push(format!(
            "client: {client} has no effect, feast-rs has a client of its own"
        )),
        Some(_) => return Err(invalid("client must be redis or glide")),
    }
    Ok(())
}

/// The connection string, and its parameters together with the keys of their own.
fn written(
    keys: &Map<String, Value>,
    kind: DeploymentKind,
    notices: &mut Vec<String>,
) -> Result<(ConnectionString, Parameters)> {
    let (port, default) = match kind {
        DeploymentKind::Sentinel => (SENTINEL_PORT, "localhost:26379"),
        DeploymentKind::Standalone | DeploymentKind::Cluster => (REDIS_PORT, "localhost:6379"),
    };
    let string = text(keys, "connection_string")?.unwrap_or(default);
    let mut string = ConnectionString::parse(string, port, notices)?;
    let own = Parameters::from_json(keys, notices)?;
    if string.tls && own.flag("ssl")? == Some(false) {
        return Err(invalid(
            "the connection string says rediss://, which is TLS, but ssl is false; write \
             redis:// or remove ssl",
        ));
    }
    let parameters = own.over(std::mem::take(&mut string.parameters), notices);
    Ok((string, parameters))
}

fn seeds(
    kind: DeploymentKind,
    servers: Vec<Address>,
    parameters: &Parameters,
    notices: &mut Vec<String>,
) -> Result<Vec<Address>> {
    let written = match parameters.text("unix_socket_path") {
        Some(path) => vec![Address::Unix(path.into())],
        None => servers,
    };
    let mut seeds = Vec::with_capacity(written.len());
    for address in written {
        if !seeds.contains(&address) {
            seeds.push(address);
        }
    }
    match (kind, seeds.as_slice()) {
        (_, []) => Err(invalid(
            "connection_string names no server; write it as host:port,parameter=value",
        )),
        (DeploymentKind::Standalone, [_, _, ..]) => {
            notices.push(format!(
                "connection_string names {} servers; with redis_type: redis the first is used (a \
                 cluster is redis_type: redis_cluster, and replicas go under replicas)",
                seeds.len()
            ));
            seeds.truncate(1);
            Ok(seeds)
        }
        (DeploymentKind::Cluster | DeploymentKind::Sentinel, [Address::Unix(_), ..]) => Err(
            invalid("a Unix socket leads to one server; clusters and Sentinel need host:port"),
        ),
        _ => Ok(seeds),
    }
}

/// Takes note of settings of TLS where none is spoken, as redis-py does not.
fn note_idle_tls(parameters: &Parameters, tls: bool, notices: &mut Vec<String>) -> Result<()> {
    const OF_TLS: [&str; 6] = [
        "ssl_ca_certs",
        "ssl_ca_data",
        "ssl_ca_path",
        "ssl_cert_reqs",
        "ssl_certfile",
        "ssl_server_name",
    ];
    let spoken = tls || parameters.flag("sentinel_ssl")? == Some(true);
    if let (false, Some(name)) = (spoken, parameters.any_of(&OF_TLS)) {
        notices.push(format!(
            "{name} has no effect without ssl: true; what is sent is not encrypted"
        ));
    }
    Ok(())
}

fn replicas(kind: DeploymentKind, parameters: &Parameters) -> Result<Vec<Address>> {
    let Some(list) = parameters.text("replicas") else {
        return Ok(Vec::new());
    };
    if kind != DeploymentKind::Standalone {
        return Err(invalid(
            "replicas is for redis_type: redis; a cluster and Sentinel say themselves which \
             replicas there are, remove it",
        ));
    }
    let list = list
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty());
    list.map(|part| {
        server(part, REDIS_PORT).ok_or_else(|| invalid("replicas must be a list of host:port"))
    })
    .collect()
}

fn read_from(
    kind: DeploymentKind,
    parameters: &Parameters,
    notices: &mut Vec<String>,
) -> Result<ReadFrom> {
    let balanced = parameters.flag("read_from_replicas")? == Some(true);
    match parameters.text("read_from") {
        // redis-py's word, of its client for clusters only, for reads from all nodes in turn.
        None if balanced && kind == DeploymentKind::Cluster => Ok(ReadFrom::PreferReplica),
        None | Some("primary") => {
            if balanced {
                notices.push("read_from_replicas is ignored; use read_from".to_owned());
            }
            Ok(ReadFrom::Primary)
        }
        Some("replica") => Ok(ReadFrom::Replica),
        Some("prefer_replica") => Ok(ReadFrom::PreferReplica),
        Some("lowest_latency") => Ok(ReadFrom::LowestLatency),
        Some(_) => Err(invalid(
            "read_from must be primary, replica, prefer_replica or lowest_latency",
        )),
    }
}

/// What connections to Sentinel are made with. As in redis-py they share the data connections' time
/// limits, and neither their credentials nor their TLS; the files of TLS are the same if it is
/// asked for.
fn sentinel(
    parameters: &Parameters,
    node: &RedisConfig,
    tls_url: bool,
    notices: &mut Vec<String>,
) -> Result<SentinelSettings> {
    let tls = parameters.flag("sentinel_ssl")?;
    if tls_url && tls.is_none() {
        notices.push(
            "rediss:// is about the servers with the data; for TLS with Sentinel set \
             sentinel_ssl: true"
                .to_owned(),
        );
    }
    let master = parameters.text("sentinel_master").unwrap_or("mymaster");
    if master.is_empty() {
        return Err(invalid("sentinel_master must not be empty"));
    }
    Ok(SentinelSettings {
        master: master.to_owned(),
        node: Arc::new(RedisConfig {
            db: 0,
            credentials: login(
                parameters.text("sentinel_username"),
                parameters.text("sentinel_password"),
            )
            .into(),
            // What there is to say about these settings was said for the servers with the data.
            tls: match tls {
                Some(true) => Some(tls_files(parameters, &mut Vec::new())?),
                _ => None,
            },
            role: Role::Any,
            ..node.clone()
        }),
    })
}

/// A time that must be longer than none.
fn lasting(given: Option<Duration>, name: &str) -> Result<Duration> {
    given.ok_or_else(|| invalid(format!("{name} must be more than 0")))
}

fn breaker(parameters: &Parameters) -> Result<Option<BreakerSettings>> {
    let settings = BreakerSettings {
        window: lasting(
            parameters.seconds("breaker_window_seconds", Some(Duration::from_secs(10)))?,
            "breaker_window_seconds",
        )?,
        min_calls: parameters
            .positive("breaker_min_calls")?
            .map_or(10, |calls| u32::try_from(calls).unwrap_or(u32::MAX)),
        failure_percent: parameters
            .decimal("breaker_failure_percent", 1.0, 100.0)?
            .unwrap_or(50.0),
        slow: parameters.milliseconds("breaker_slow_ms", None)?,
        open_for: lasting(
            parameters.seconds("breaker_open_seconds", Some(Duration::from_secs(1)))?,
            "breaker_open_seconds",
        )?,
    };
    let details = [
        "breaker_window_seconds",
        "breaker_min_calls",
        "breaker_failure_percent",
        "breaker_slow_ms",
        "breaker_open_seconds",
    ];
    match (parameters.flag("breaker")?, parameters.any_of(&details)) {
        (Some(true), _) => Ok(Some(settings)),
        (None, Some(name)) => Err(invalid(format!(
            "{name} is of the circuit breaker, which is off; set breaker: true (or false)"
        ))),
        _ => Ok(None),
    }
}

fn hedge(parameters: &Parameters) -> Result<Option<HedgeSettings>> {
    let Some(percentile) = parameters.decimal("hedge_percentile", 50.0, 99.9)? else {
        return match parameters.any_of(&["hedge_min_ms", "hedge_max_percent"]) {
            None => Ok(None),
            Some(name) => Err(invalid(format!(
                "{name} is of hedged reads, which are off; set hedge_percentile, 95 say"
            ))),
        };
    };
    let min = parameters.milliseconds("hedge_min_ms", Some(Duration::from_millis(1)))?;
    Ok(Some(HedgeSettings {
        percentile,
        min: min.unwrap_or_default(),
        max_percent: parameters
            .decimal("hedge_max_percent", 0.1, 100.0)?
            .unwrap_or(10.0),
    }))
}

fn provider(parameters: &Parameters, node: &RedisConfig) -> Result<Option<ProviderSettings>> {
    let given = parameters.text("credential_provider");
    let Some(function) = given.map(str::trim).filter(|path| !path.is_empty()) else {
        if parameters.any_of(&["credential_refresh_seconds"]).is_some() {
            return Err(invalid(
                "credential_refresh_seconds is of a credential_provider, and there is none",
            ));
        }
        return Ok(None);
    };
    if !is_dotted_path(function) {
        return Err(invalid(
            "credential_provider must be the dotted path of a Python callable, as in \
             package.module.function or package.module:function",
        ));
    }
    if parameters
        .any_of(&["password", "auth_token"])
        .is_some_and(|name| parameters.text(name).is_some_and(|text| !text.is_empty()))
    {
        return Err(invalid(
            "credential_provider issues the password, but one is also written down; remove \
             password (or auth_token)",
        ));
    }
    let written = node.credentials.written();
    Ok(Some(ProviderSettings {
        function: function.to_owned(),
        username: written.and_then(|login| login.username.clone()),
        refresh: lasting(
            parameters.seconds("credential_refresh_seconds", Some(CREDENTIAL_REFRESH))?,
            "credential_refresh_seconds",
        )?,
    }))
}

/// Whether `path` is a module's name and, after the last dot or a colon, one within it.
fn is_dotted_path(path: &str) -> bool {
    let is_name = |name: &str| {
        let mut letters = name.chars();
        letters
            .next()
            .is_some_and(|first| first.is_alphabetic() || first == '_')
            && letters.all(|letter| letter.is_alphanumeric() || letter == '_')
    };
    let (module, function) = match path.split_once(':') {
        Some(parts) => parts,
        None => path.rsplit_once('.').unwrap_or_default(),
    };
    module.split('.').chain(function.split('.')).all(is_name)
}
