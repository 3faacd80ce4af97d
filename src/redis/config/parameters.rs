//! Named parameters, whichever way they came, and their values as numbers, flags and times.

use std::time::Duration;

use serde_json::{Map, Value};

use super::invalid;
use super::names::{HEEDED, Standing, standing};
use crate::error::Result;

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
                Some(Value::Array(items)) if name == "replicas" => {
                    let servers: Option<Vec<_>> = items.iter().map(Value::as_str).collect();
                    let servers =
                        servers.ok_or_else(|| invalid("replicas must be a list of host:port"))?;
                    servers.join(",")
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

    /// A number from `least` to `most`.
    pub(super) fn decimal(&self, name: &str, least: f64, most: f64) -> Result<Option<f64>> {
        self.text(name)
            .filter(|text| !is_none(text))
            .map(|text| text.trim().parse().ok())
            .map(|number| {
                number
                    .filter(|number| (least..=most).contains(number))
                    .ok_or_else(|| {
                        invalid(format!("{name} must be a number from {least} to {most}"))
                    })
            })
            .transpose()
    }

    /// The first of `names` that is given.
    pub(super) fn any_of(&self, names: &[&'static str]) -> Option<&'static str> {
        names.iter().copied().find(|name| self.text(name).is_some())
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
    matches!(
        name,
        "password"
            | "auth_token"
            | "username"
            | "client_name"
            | "sentinel_password"
            | "sentinel_username"
    )
}

fn is_none(text: &str) -> bool {
    let text = text.trim();
    text.eq_ignore_ascii_case("none") || text.eq_ignore_ascii_case("null")
}
