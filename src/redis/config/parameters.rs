//! Named parameters, whichever way they came, and their values as numbers, flags and times.

use std::time::Duration;

use serde_json::{Map, Value};

use super::invalid;
use crate::error::Result;

/// What feast-rs heeds.
const HEEDED: &[&str] = &[
    "auth_token",
    "client_name",
    "db",
    "max_connections",
    "max_reply_bytes",
    "password",
    "redis_pool_size",
    "request_timeout_ms",
    "socket_connect_timeout",
    "socket_keepalive",
    "socket_timeout",
    "ssl",
    "ssl_ca_certs",
    "ssl_ca_data",
    "ssl_ca_path",
    "ssl_cert_reqs",
    "ssl_certfile",
    "ssl_check_hostname",
    "ssl_ciphers",
    "ssl_keyfile",
    "ssl_min_version",
    "ssl_password",
    "ssl_server_name",
    "ssl_validate_ocsp",
    "ssl_validate_ocsp_stapled",
    "tcp_keepalive",
    "unix_socket_path",
    "username",
];

/// What redis-py and StackExchange.Redis (the form that Azure shows) know, and feast-rs has no
/// use for. Known, so that they also end a password in the comma form.
const IGNORED: &[&str] = &[
    "abortConnect",
    "address_remap",
    "allowAdmin",
    "asyncTimeout",
    "cache",
    "cache_config",
    "channelPrefix",
    "checkCertificateRevocation",
    "cluster_error_retry_attempts",
    "configChannel",
    "configCheckSeconds",
    "connectRetry",
    "connectTimeout",
    "connection_class",
    "connection_pool",
    "credential_provider",
    "decode_responses",
    "defaultDatabase",
    "driver_info",
    "dynamic_startup_nodes",
    "encoding",
    "encoding_errors",
    "event_dispatcher",
    "health_check_interval",
    "heartbeatInterval",
    "keepAlive",
    "lib_name",
    "lib_version",
    "load_balancing_strategy",
    "maint_notifications_config",
    "name",
    "parser_class",
    "protocol",
    "queue_class",
    "read_from_replicas",
    "redis_connect_func",
    "reinitialize_steps",
    "require_full_coverage",
    "resolveDns",
    "responseTimeout",
    "retry",
    "retry_on_error",
    "retry_on_timeout",
    "serviceName",
    "single_connection_client",
    "skip_full_coverage_check",
    "socket_keepalive_options",
    "socket_read_size",
    "socket_type",
    "sslHost",
    "sslProtocols",
    "ssl_exclude_verify_flags",
    "ssl_include_verify_flags",
    "ssl_ocsp_context",
    "ssl_ocsp_expected_cert",
    "syncTimeout",
    "tiebreaker",
    "timeout",
    "user",
    "version",
    "writeBuffer",
];

/// How a name stands to feast-rs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Standing {
    Heeded(&'static str),
    Ignored(&'static str),
    Unknown,
}

/// How `name` stands. `StackExchange`'s names are written in any case, so all may be.
pub(super) fn standing(name: &str) -> Standing {
    let find = |names: &[&'static str]| {
        names
            .iter()
            .copied()
            .find(|known| known.eq_ignore_ascii_case(name))
    };
    match (find(HEEDED), find(IGNORED)) {
        (Some(known), _) => Standing::Heeded(known),
        (None, Some(known)) => Standing::Ignored(known),
        (None, None) => Standing::Unknown,
    }
}

/// Heeded parameters with their values as text, the last of each name.
#[derive(Clone, Default)]
pub struct Parameters(Vec<(&'static str, String)>);

impl Parameters {
    /// Takes in `name=value`. `shown` is what a notice may call it if it is unknown.
    pub(super) fn add(
        &mut self,
        name: &str,
        value: String,
        shown: &str,
        notices: &mut Vec<String>,
    ) {
        match standing(name) {
            Standing::Heeded(name) => self.set(name, value),
            Standing::Ignored(name) => {
                notices.push(format!("connection_string: {name} is ignored"));
            }
            Standing::Unknown => {
                notices.push(format!("connection_string: {shown} is unknown and ignored"));
            }
        }
    }

    fn set(&mut self, name: &'static str, value: String) {
        self.0.retain(|(known, _)| *known != name);
        self.0.push((name, value));
    }

    /// The parameters among the keys of `online_store`.
    pub(super) fn from_json(keys: &Map<String, Value>, notices: &mut Vec<String>) -> Result<Self> {
        let mut parameters = Self::default();
        for &name in HEEDED {
            let value = match keys.get(name) {
                // Python passes its fields' None; for this one alone it says something.
                Some(Value::Null) if name == "request_timeout_ms" => "0".to_owned(),
                None | Some(Value::Null) => continue,
                Some(Value::String(text)) => text.clone(),
                Some(Value::Bool(_) | Value::Array(_) | Value::Object(_)) if is_text(name) => {
                    return Err(invalid(format!("{name} must be a string")));
                }
                Some(Value::Bool(flag)) => flag.to_string(),
                Some(Value::Number(number)) => {
                    if is_text(name) && !number.is_u64() {
                        return Err(invalid(format!(
                            "{name} was read as a number; write it in quotes"
                        )));
                    }
                    // Feast expands environment variables before it parses the YAML, so a
                    // password of digits arrives as a number even from `${PASSWORD}`.
                    if is_text(name) {
                        notices.push(format!(
                            "{name} was read by YAML as a number; write it in quotes, or a leading \
                             zero would be lost"
                        ));
                    }
                    number.to_string()
                }
                Some(Value::Array(_) | Value::Object(_)) => {
                    return Err(invalid(format!("{name} must be a single value")));
                }
            };
            parameters.set(name, value);
        }
        Ok(parameters)
    }

    /// These parameters, and of `weaker` those that are not given here.
    pub(super) fn over(mut self, weaker: Self, notices: &mut Vec<String>) -> Self {
        // Two words for one thing count as one.
        const SAME: [(&str, &str); 3] = [
            ("password", "auth_token"),
            ("redis_pool_size", "max_connections"),
            ("tcp_keepalive", "socket_keepalive"),
        ];
        for (name, value) in weaker.0 {
            let other = SAME.iter().find_map(|&(a, b)| match name {
                _ if name == a => Some(b),
                _ if name == b => Some(a),
                _ => None,
            });
            let own = self
                .text(name)
                .or_else(|| other.and_then(|other| self.text(other)));
            match own {
                None => self.set(name, value),
                Some(own) if own == value => {}
                Some(_) => notices.push(format!(
                    "{name} of the connection_string gives way to the key of its own"
                )),
            }
        }
        self
    }

    /// The value of `name` as it was written.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        let entry = self.0.iter().find(|(known, _)| *known == name);
        entry.map(|(_, value)| value.as_str())
    }

    /// A value that is yes or no.
    pub(crate) fn flag(&self, name: &str) -> Result<Option<bool>> {
        let Some(text) = self.text(name) else {
            return Ok(None);
        };
        match text.trim().to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "t" | "y" | "1" => Ok(Some(true)),
            "false" | "no" | "off" | "f" | "n" | "0" => Ok(Some(false)),
            "null" | "none" => Ok(None),
            _ => Err(invalid(format!("{name} must be true or false"))),
        }
    }

    /// A number of 0 or more.
    pub(super) fn number(&self, name: &str) -> Result<Option<u32>> {
        self.text(name)
            .filter(|text| !is_none(text))
            .map(|text| text.trim().parse())
            .transpose()
            .map_err(|_| invalid(format!("{name} must be a whole number of 0 or more")))
    }

    /// A count of 1 or more.
    pub(super) fn positive(&self, name: &str) -> Result<Option<usize>> {
        self.text(name)
            .filter(|text| !is_none(text))
            .map(|text| text.trim().parse().ok().filter(|&count: &usize| count > 0))
            .map(|count| {
                count.ok_or_else(|| invalid(format!("{name} must be a whole number of 1 or more")))
            })
            .transpose()
    }

    /// A time in seconds, `default` if it is not given; `None` is no limit.
    pub(super) fn seconds(
        &self,
        name: &str,
        default: Option<Duration>,
    ) -> Result<Option<Duration>> {
        self.time(name, 1.0, "seconds", default)
    }

    /// A time in milliseconds, `default` if it is not given; `None` is no limit.
    pub(super) fn milliseconds(
        &self,
        name: &str,
        default: Option<Duration>,
    ) -> Result<Option<Duration>> {
        self.time(name, 1000.0, "milliseconds", default)
    }

    fn time(
        &self,
        name: &str,
        per_second: f64,
        unit: &str,
        default: Option<Duration>,
    ) -> Result<Option<Duration>> {
        let Some(text) = self.text(name) else {
            return Ok(default);
        };
        if is_none(text) {
            return Ok(None);
        }
        let number = text.trim().parse::<f64>().ok();
        match number.and_then(|n| Duration::try_from_secs_f64(n / per_second).ok()) {
            Some(time) => Ok((!time.is_zero()).then_some(time)),
            None => Err(invalid(format!(
                "{name} must be a number of {unit}, or 0 for no limit"
            ))),
        }
    }
}

/// Whether the value is text, which YAML must not have turned into anything else.
fn is_text(name: &str) -> bool {
    matches!(name, "password" | "auth_token" | "username" | "client_name")
}

fn is_none(text: &str) -> bool {
    let text = text.trim();
    text.eq_ignore_ascii_case("none") || text.eq_ignore_ascii_case("null")
}
