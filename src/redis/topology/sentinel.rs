//! What a Sentinel says of the servers that it watches.
//!
//! `SENTINEL GET-MASTER-ADDR-BY-NAME` names the primary; `SENTINEL REPLICAS` and `SENTINEL
//! SENTINELS` describe servers by names and values, of which these matter: `ip` (a host name where
//! Sentinel is told to announce those), `port`, `flags`, and of a replica `master-link-status`.

use super::{Address, address, malformed, port, refused, text};
use crate::error::{Error, ErrorKind, Result};
use crate::redis::tree::Reply;

/// The address of the primary, from the `reply` to `SENTINEL GET-MASTER-ADDR-BY-NAME name`.
///
/// # Errors
///
/// [`ErrorKind::Config`] when the Sentinel at `asked` watches nothing by that `name`,
/// [`ErrorKind::Server`] with its words when it refuses, [`ErrorKind::Protocol`] when the reply is
/// malformed.
pub fn primary(reply: &Reply, name: &str, asked: &Address) -> Result<Address> {
    const COMMAND: &str = "SENTINEL GET-MASTER-ADDR-BY-NAME";
    let found = match reply {
        Reply::Nil => return Err(unknown(name, asked)),
        Reply::Error(words) => return Err(refusal(COMMAND, words, name, asked)),
        Reply::Array(items) => match &items[..] {
            [host, port_reply] => server(Some(host), Some(port_reply)),
            _ => None,
        },
        _ => None,
    };
    found.ok_or_else(|| malformed(COMMAND, asked, "no host and port"))
}

/// The replicas that can be read from, in order of their addresses, from the `reply` to `SENTINEL
/// REPLICAS name`. Left out are those that Sentinel holds to be down, is cut off from, or knows to
/// be cut off from their primary.
///
/// # Errors
///
/// As of [`primary`].
pub fn replicas(reply: &Reply, name: &str, asked: &Address) -> Result<Vec<Address>> {
    let servers = servers("SENTINEL REPLICAS", reply, name, asked)?;
    let usable = |server: &Server| {
        // It is "ok" or "err"; what does not say is believed to be well.
        server.is_up && server.link != Some("err")
    };
    let usable = servers.into_iter().filter(usable);
    let mut replicas: Vec<_> = usable.map(|server| server.address).collect();
    replicas.sort_unstable();
    replicas.dedup();
    Ok(replicas)
}

/// The other Sentinels that watch the primary, from the `reply` to `SENTINEL SENTINELS name`: those
/// that are up first, and then the others, since a Sentinel that is down may be up when it is
/// needed.
///
/// # Errors
///
/// As of [`primary`].
pub fn sentinels(reply: &Reply, name: &str, asked: &Address) -> Result<Vec<Address>> {
    let mut servers = servers("SENTINEL SENTINELS", reply, name, asked)?;
    servers.sort_by_key(|server| !server.is_up);
    Ok(servers.into_iter().map(|server| server.address).collect())
}

struct Server<'a> {
    address: Address,
    is_up: bool,
    link: Option<&'a str>,
}

fn servers<'a>(
    command: &str,
    reply: &'a Reply,
    name: &str,
    asked: &Address,
) -> Result<Vec<Server<'a>>> {
    match reply {
        Reply::Error(words) => return Err(refusal(command, words, name, asked)),
        Reply::Array(items) => items.iter().map(described).collect(),
        _ => None,
    }
    .ok_or_else(|| malformed(command, asked, "no list of servers, each with ip and port"))
}

fn described(reply: &Reply) -> Option<Server<'_>> {
    let Reply::Array(items) = reply else {
        return None;
    };
    let (pairs, _) = items.as_chunks::<2>();
    let value = |wanted| {
        let pair = pairs.iter().find(|[name, _]| text(name) == Some(wanted));
        pair.map(|[_, value]| value)
    };
    let flags = value("flags").and_then(text).unwrap_or_default();
    let is_up = |flag| !matches!(flag, "s_down" | "o_down" | "disconnected");
    Some(Server {
        address: server(value("ip"), value("port"))?,
        is_up: flags.split(',').all(is_up),
        link: value("master-link-status").and_then(text),
    })
}

fn server(host: Option<&Reply>, port_reply: Option<&Reply>) -> Option<Address> {
    let host = text(host?).filter(|host| !host.is_empty())?;
    address(host, port(port_reply?)?)
}

fn refusal(command: &str, words: &str, name: &str, asked: &Address) -> Error {
    if words.contains("No such master") {
        return unknown(name, asked);
    }
    if words.contains("unknown command") {
        return Error::new(
            ErrorKind::Config,
            format!(
                "the server at {asked} is no Sentinel: with redis_type: redis_sentinel the \
                 connection_string names the Sentinels, whose usual port is 26379"
            ),
        );
    }
    refused(command, asked, words)
}

fn unknown(name: &str, asked: &Address) -> Error {
    Error::new(
        ErrorKind::Config,
        format!(
            "the Sentinel at {asked} watches no primary named {name:?}: check sentinel_master \
             (`SENTINEL MASTERS` lists the names)"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(text: &str) -> Reply {
        Reply::Bytes(text.into())
    }

    fn asked() -> Address {
        address("sentinel", 26379).unwrap()
    }

    fn described(ip: &str, flags: &str, link: &str) -> Reply {
        let pairs = [
            ("name", "10.0.0.1:6379"),
            ("ip", ip),
            ("port", "6379"),
            ("flags", flags),
            ("master-link-status", link),
        ];
        Reply::Array(
            pairs
                .iter()
                .flat_map(|&(name, value)| [bulk(name), bulk(value)])
                .collect(),
        )
    }

    fn at(host: &str) -> Address {
        address(host, 6379).unwrap()
    }

    #[test]
    fn the_primary() {
        let reply = Reply::Array(vec![bulk("10.0.0.1"), bulk("6379")]);
        assert_eq!(
            primary(&reply, "mymaster", &asked()).unwrap(),
            at("10.0.0.1")
        );
    }

    #[test]
    fn replicas_that_are_well() {
        let reply = Reply::Array(vec![
            described("10.0.0.9", "slave", "ok"),
            described("10.0.0.2", "s_down,slave", "ok"),
            described("10.0.0.3", "slave,o_down", "ok"),
            described("10.0.0.4", "slave,disconnected", "ok"),
            described("10.0.0.5", "slave", "err"),
            described("10.0.0.6", "slave", "ok"),
        ]);
        let found = replicas(&reply, "mymaster", &asked()).unwrap();
        assert_eq!(found, [at("10.0.0.6"), at("10.0.0.9")]);
        let none = Reply::Array(vec![]);
        assert_eq!(replicas(&none, "mymaster", &asked()).unwrap(), []);
    }

    #[test]
    fn sentinels_that_are_up_come_first() {
        let reply = Reply::Array(vec![
            described("10.0.0.3", "s_down,sentinel,disconnected", ""),
            described("10.0.0.2", "sentinel", ""),
            described("10.0.0.1", "sentinel", ""),
        ]);
        let found = sentinels(&reply, "mymaster", &asked()).unwrap();
        assert_eq!(found, [at("10.0.0.2"), at("10.0.0.1"), at("10.0.0.3")]);
    }

    #[test]
    fn an_unknown_name_is_told() {
        let error = primary(&Reply::Nil, "orders", &asked()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        for part in ["\"orders\"", "sentinel_master", "sentinel:26379"] {
            assert!(error.to_string().contains(part), "{error}");
        }
        let refusal = Reply::Error("ERR No such master with that name".to_owned());
        for error in [
            replicas(&refusal, "orders", &asked()).unwrap_err(),
            sentinels(&refusal, "orders", &asked()).unwrap_err(),
        ] {
            assert!(error.to_string().contains("\"orders\""), "{error}");
        }
    }

    #[test]
    fn refusals_and_malformed_replies() {
        let words = "ERR unknown command 'SENTINEL', with args beginning with: 'REPLICAS'";
        let error = replicas(&Reply::Error(words.to_owned()), "m", &asked()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains("is no Sentinel"), "{error}");
        let error = primary(&Reply::Error("NOAUTH no".to_owned()), "m", &asked()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Server);
        for reply in [
            Reply::Integer(1),
            Reply::Array(vec![bulk("10.0.0.1")]),
            Reply::Array(vec![bulk("10.0.0.1"), bulk("x")]),
            Reply::Array(vec![bulk(""), bulk("6379")]),
        ] {
            let error = primary(&reply, "m", &asked()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Protocol, "{reply:?}");
        }
        for reply in [
            Reply::Nil,
            Reply::Array(vec![Reply::Nil]),
            Reply::Array(vec![Reply::Array(vec![bulk("ip")])]),
            Reply::Array(vec![Reply::Array(vec![bulk("ip"), bulk("10.0.0.1")])]),
        ] {
            let error = replicas(&reply, "m", &asked()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Protocol, "{reply:?}");
        }
    }
}
