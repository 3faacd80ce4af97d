//! The connection string: Feast's comma form, or a URL.
//!
//! # The comma form
//!
//! `host:port,host:port,parameter=value,...` in any order. A part without `=` is a server; a part
//! with it is a parameter. A value may be a JSON string, as in `password="a,b"`. Values stay text: a
//! password of digits is what it looks like. `sentinel_kwargs` is a JSON object, as it has to be for
//! redis-py, whose only way to log in to Sentinel it is.
//!
//! A *password* that is no JSON string ends at the first comma that is followed by the name of a
//! known parameter and `=`, or by a server with its port (`host:1234` up to the next comma); else
//! at the end of the string. So it may hold commas, and everything else too. One that holds such
//! a sequence itself, or begins with `"` and yet isn't JSON, belongs under its own key
//! (`password:` or `auth_token:`), where nothing is cut: the better place for every password.
//!
//! # URLs
//!
//! `redis://[[user][:password]@]host[:port][,host[:port]...][/db][?parameter=value&...]`,
//! `rediss://` for TLS, and `unix://[[user][:password]@]/path[?...]`. User, password and path are percent-decoded, and so
//! is the query, whose `+` is a space. A `%` without two hex digits is itself. A password with a
//! raw `/`, `?`, `#` or `@`, as an expanded environment variable may bring it, is still found when
//! reading up to the first delimiter leaves no valid address: the next `@` is tried as its end.

use serde_json::Value;

use super::deployment::REDIS_PORT;
use super::names::{Standing, standing};
use super::parameters::Parameters;
use super::{Address, invalid};
use crate::error::Result;

/// What a connection string says.
pub(super) struct ConnectionString {
    pub servers: Vec<Address>,
    /// The scheme was `rediss`.
    pub tls: bool,
    pub parameters: Parameters,
}

impl ConnectionString {
    /// Reads either form; servers without a port have `port`. Errors say which part is wrong by
    /// its place, for its text may be a piece of a password.
    pub fn parse(text: &str, port: u16, notices: &mut Vec<String>) -> Result<Self> {
        let text = text.trim_start().trim_end_matches(['\r', '\n']);
        for (scheme, tls) in [("redis", false), ("rediss", true)] {
            if let Some(rest) = strip_scheme(text, scheme) {
                return server_url(rest, tls, port, notices);
            }
        }
        if let Some(rest) = strip_scheme(text, "unix") {
            return unix_url(rest, notices);
        }
        let head = text.split([',', '=']).next().unwrap_or_default();
        if head.contains("://") {
            return Err(invalid(
                "connection_string has an unknown scheme; redis://, rediss:// and unix:// are known",
            ));
        }
        comma_form(text, port, notices)
    }
}

fn strip_scheme<'a>(text: &'a str, scheme: &str) -> Option<&'a str> {
    let (head, rest) = text.split_once("://")?;
    head.eq_ignore_ascii_case(scheme).then_some(rest)
}

fn comma_form(text: &str, port: u16, notices: &mut Vec<String>) -> Result<ConnectionString> {
    let mut parameters = Parameters::default();
    let mut servers = Vec::new();
    let mut secret_seen = false;
    let mut rest = text;
    let mut place = 0;
    while !rest.is_empty() {
        place += 1;
        let piece = &rest[..rest.find(',').unwrap_or(rest.len())];
        let taken = if let Some((name, _)) = piece.split_once('=') {
            let secret = matches!(
                standing(name.trim()),
                Standing::Heeded("password" | "auth_token" | "sentinel_password")
            );
            let start = name.len() + 1;
            let (value, length) = value(&rest[start..], secret);
            let value = if secret {
                value
            } else {
                value.trim().to_owned()
            };
            // What follows a password might be its tail, so it is not shown.
            let shown = if secret_seen {
                format!("part {place}")
            } else {
                name.trim().to_owned()
            };
            if name.trim() == SENTINEL_KWARGS {
                sentinel_kwargs(&value, &mut parameters, notices)?;
            } else {
                parameters.add(name.trim(), value, &shown, notices);
            }
            secret_seen |= secret;
            start + length
        } else {
            if !piece.trim().is_empty() {
                servers.push(server(piece.trim(), port).ok_or_else(|| {
                    invalid(format!(
                        "connection_string: part {place} is neither host:port nor parameter=value"
                    ))
                })?);
            }
            piece.len()
        };
        rest = rest.get(taken + 1..).unwrap_or_default();
    }
    Ok(ConnectionString {
        servers,
        tls: false,
        parameters,
    })
}

/// The value at the start of `text`, and how many bytes of it that takes.
fn value(text: &str, secret: bool) -> (String, usize) {
    if text.starts_with(['"', '{']) {
        let mut json = serde_json::Deserializer::from_str(text).into_iter::<Value>();
        if let Some(Ok(value)) = json.next() {
            let end = json.byte_offset();
            if text[end..].is_empty() || text[end..].starts_with(',') {
                match value {
                    Value::String(value) => return (value, end),
                    // A password may well look like an object.
                    Value::Object(_) if !secret => return (text[..end].to_owned(), end),
                    _ => {}
                }
            }
        }
    }
    let mut commas = text.match_indices(',').map(|(at, _)| at);
    let end = if secret {
        commas.find(|at| starts_part(&text[at + 1..]))
    } else {
        commas.next()
    };
    let end = end.unwrap_or(text.len());
    (text[..end].to_owned(), end)
}

/// redis-py's name for what connections to Sentinel are made with.
const SENTINEL_KWARGS: &str = "sentinel_kwargs";

/// Takes `sentinel_kwargs`' members as the parameters that feast-rs has for them.
fn sentinel_kwargs(
    json: &str,
    parameters: &mut Parameters,
    notices: &mut Vec<String>,
) -> Result<()> {
    let Ok(Value::Object(members)) = serde_json::from_str(json) else {
        return Err(invalid(format!(
            "connection_string: {SENTINEL_KWARGS} must be a JSON object; sentinel_username, \
             sentinel_password and sentinel_ssl say the same"
        )));
    };
    for (name, value) in members {
        let value = match value {
            Value::String(text) => text,
            value => value.to_string(),
        };
        match name.as_str() {
            "username" | "password" | "ssl" => {
                parameters.add(&format!("sentinel_{name}"), value, &name, notices);
            }
            _ => notices.push(format!(
                "connection_string: {name} of {SENTINEL_KWARGS} is ignored"
            )),
        }
    }
    Ok(())
}

/// Whether `text` can only be the next part after a password.
fn starts_part(text: &str) -> bool {
    let piece = text.split(',').next().unwrap_or_default();
    match piece.split_once('=') {
        Some((name, _)) => {
            let name = name.trim();
            name == SENTINEL_KWARGS || standing(name) != Standing::Unknown
        }
        None => piece.contains(':') && server(piece.trim(), REDIS_PORT).is_some(),
    }
}

/// `host`, `host:port`, `[v6]`, `[v6]:port` or a bare IPv6 address; `default` is the port of one
/// without.
pub(super) fn server(text: &str, default: u16) -> Option<Address> {
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let (host, rest) = rest.split_once(']')?;
        let address = host.split('%').next().unwrap_or_default();
        address.parse::<std::net::Ipv6Addr>().ok()?;
        match rest {
            "" => (host, None),
            _ => (host, Some(rest.strip_prefix(':')?)),
        }
    } else if text.parse::<std::net::Ipv6Addr>().is_ok() {
        (text, None)
    } else {
        let (host, port) = match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        };
        let valid = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_');
        if host.is_empty() || !host.chars().all(valid) {
            return None;
        }
        (host, port)
    };
    let port = match port {
        None => default,
        Some(port) if port.bytes().all(|digit| digit.is_ascii_digit()) => port.parse().ok()?,
        Some(_) => return None,
    };
    (port != 0).then(|| Address::Tcp {
        host: host.to_owned(),
        port,
    })
}

fn server_url(
    rest: &str,
    tls: bool,
    port: u16,
    notices: &mut Vec<String>,
) -> Result<ConnectionString> {
    for (login, location) in splits(rest) {
        let (place, query) = location.split_once('?').unwrap_or((location, ""));
        let (hosts, db) = place.split_once('/').unwrap_or((place, ""));
        let servers: Option<Vec<_>> = match hosts {
            // As in redis-py, `redis:///1` is the local server.
            "" if login.is_none() || !db.is_empty() => {
                Some(server("localhost", port)).into_iter().collect()
            }
            _ => hosts.split(',').map(|host| server(host, port)).collect(),
        };
        let Some(servers) = servers.filter(|_| db.bytes().all(|digit| digit.is_ascii_digit()))
        else {
            continue;
        };
        let mut parameters = Parameters::default();
        if !db.is_empty() {
            parameters.add("db", db.to_owned(), "db", notices);
        }
        read_login(login, &mut parameters, notices)?;
        read_query(query, &mut parameters, notices)?;
        return Ok(ConnectionString {
            servers,
            tls,
            parameters,
        });
    }
    Err(invalid(
        "connection_string is no valid URL; write it as \
         redis://user:password@host:port,host:port/db?parameter=value, with the special characters of the \
         password percent-encoded, or give the password under its own key",
    ))
}

fn unix_url(rest: &str, notices: &mut Vec<String>) -> Result<ConnectionString> {
    for (login, location) in splits(rest) {
        let (path, query) = location.split_once('?').unwrap_or((location, ""));
        if !path.starts_with('/') {
            continue;
        }
        let mut parameters = Parameters::default();
        read_login(login, &mut parameters, notices)?;
        read_query(query, &mut parameters, notices)?;
        return Ok(ConnectionString {
            servers: vec![Address::Unix(percent_decoded(path)?.into())],
            tls: false,
            parameters,
        });
    }
    Err(invalid(
        "connection_string is no valid URL; write it as unix:///path/of/redis.sock?db=0",
    ))
}

/// The ways to split what follows a scheme into login and location, the standard one first.
fn splits(rest: &str) -> impl Iterator<Item = (Option<&str>, &str)> {
    let authority = &rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())];
    let standard = authority.rfind('@');
    let later = rest
        .match_indices('@')
        .map(|(at, _)| at)
        .filter(move |&at| standard.is_none_or(|standard| at > standard));
    std::iter::once(standard)
        .chain(later.map(Some))
        .map(move |at| match at {
            Some(at) => (Some(&rest[..at]), &rest[at + 1..]),
            None => (None, rest),
        })
}

fn read_login(
    login: Option<&str>,
    parameters: &mut Parameters,
    notices: &mut Vec<String>,
) -> Result<()> {
    let Some(login) = login else { return Ok(()) };
    let (user, password) = login.split_once(':').unwrap_or((login, ""));
    for (name, text) in [("username", user), ("password", password)] {
        if !text.is_empty() {
            parameters.add(name, percent_decoded(text)?, name, notices);
        }
    }
    Ok(())
}

fn read_query(query: &str, parameters: &mut Parameters, notices: &mut Vec<String>) -> Result<()> {
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let name = percent_decoded(&name.replace('+', " "))?;
        let value = percent_decoded(&value.replace('+', " "))?;
        parameters.add(&name, value, &name, notices);
    }
    Ok(())
}

fn percent_decoded(text: &str) -> Result<String> {
    let hex = |byte: Option<&u8>| byte.and_then(|&byte| char::from(byte).to_digit(16));
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let digits = (hex(bytes.get(at + 1)), hex(bytes.get(at + 2)));
        if let (b'%', (Some(high), Some(low))) = (byte, digits) {
            decoded.push((high * 16 + low) as u8);
            at += 3;
        } else {
            decoded.push(byte);
            at += 1;
        }
    }
    String::from_utf8(decoded)
        .map_err(|_| invalid("connection_string: percent-decoding does not give UTF-8"))
}
