//! `ROLE`: what a server is in its replication.

use super::{Address, address, malformed, port, refused, text};
use crate::error::Result;
use crate::redis::tree::Reply;

const COMMAND: &str = "ROLE";

/// What a server is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Role {
    /// It takes writes.
    Primary {
        /// The replicas that are in step, in order of their addresses. Those that are still being
        /// fed, or do not tell where they listen, are not listed.
        replicas: Vec<Address>,
    },
    /// It follows another server.
    Replica {
        /// Whom it follows; `None` while that isn't known.
        primary: Option<Address>,
        /// How that goes.
        link: Link,
    },
    /// It is a Sentinel, which holds no data.
    Sentinel,
}

/// A replica's link to its primary.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Link {
    /// It receives what the primary receives.
    Connected,
    /// It receives a whole copy; until that is there it may refuse reads.
    Syncing,
    /// It looks for its primary, and what it has becomes old.
    Down,
}

impl Role {
    /// Reads the `reply` to `ROLE` from the server at `asked`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Server`](crate::error::ErrorKind) with the server's words when it refuses (`ROLE` needs the permission
    /// `+role`), [`ErrorKind::Protocol`](crate::error::ErrorKind) when the reply is malformed.
    pub fn parse(reply: &Reply, asked: &Address) -> Result<Self> {
        let items = match reply {
            Reply::Array(items) => items,
            Reply::Error(words) => return Err(refused(COMMAND, asked, words)),
            _ => return Err(malformed(COMMAND, asked, "no list")),
        };
        let role = match (items.first().and_then(text), &items[items.len().min(1)..]) {
            (Some("master"), [_, Reply::Array(replicas), ..]) => primary(replicas),
            (Some("slave"), [host, port, state, ..]) => replica(host, port, state),
            (Some("sentinel"), _) => Some(Self::Sentinel),
            _ => None,
        };
        role.ok_or_else(|| malformed(COMMAND, asked, "neither a primary's nor a replica's"))
    }
}

fn primary(replies: &[Reply]) -> Option<Role> {
    let mut replicas = Vec::with_capacity(replies.len());
    for reply in replies {
        let Reply::Array(items) = reply else {
            return None;
        };
        let [host, port_reply, ..] = &items[..] else {
            return None;
        };
        replicas.extend(known(text(host)?, port(port_reply)?));
    }
    replicas.sort_unstable();
    replicas.dedup();
    Some(Role::Primary { replicas })
}

fn replica(host: &Reply, port_reply: &Reply, state: &Reply) -> Option<Role> {
    Some(Role::Replica {
        primary: known(text(host)?, port(port_reply)?),
        link: match text(state)? {
            "connected" => Link::Connected,
            "sync" => Link::Syncing,
            // "none", "connect", "connecting", "handshake", "unknown"
            _ => Link::Down,
        },
    })
}

fn known(host: &str, port: u16) -> Option<Address> {
    match host {
        "" | "?" => None,
        host => address(host, port),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    fn bulk(text: &str) -> Reply {
        Reply::Bytes(text.into())
    }

    fn parse(items: Vec<Reply>) -> Result<Role> {
        Role::parse(&Reply::Array(items), &address("asked", 1).unwrap())
    }

    #[test]
    fn a_primary_names_its_replicas() {
        let follower = |host, port| Reply::Array(vec![bulk(host), bulk(port), bulk("3129659")]);
        let followers = Reply::Array(vec![
            follower("10.0.0.3", "6379"),
            follower("::1", "6380"),
            follower("10.0.0.2", "6379"),
            follower("10.0.0.2", "6379"),
            follower("", "6379"),
            follower("10.0.0.4", "0"),
        ]);
        let role = parse(vec![bulk("master"), Reply::Integer(3_129_659), followers]).unwrap();
        let replicas = [("10.0.0.2", 6379), ("10.0.0.3", 6379), ("::1", 6380)];
        let replicas = replicas.map(|(host, port)| address(host, port).unwrap());
        assert_eq!(
            role,
            Role::Primary {
                replicas: replicas.into()
            }
        );
    }

    #[test]
    fn a_replica_names_its_primary() {
        for (state, link) in [
            ("connected", Link::Connected),
            ("sync", Link::Syncing),
            ("connect", Link::Down),
            ("connecting", Link::Down),
            ("handshake", Link::Down),
            ("none", Link::Down),
        ] {
            let items = |host| {
                vec![
                    bulk("slave"),
                    bulk(host),
                    Reply::Integer(9000),
                    bulk(state),
                    Reply::Integer(-1),
                ]
            };
            let primary = address("127.0.0.1", 9000);
            let role = parse(items("127.0.0.1")).unwrap();
            assert_eq!(role, Role::Replica { primary, link });
            let primary = None;
            assert_eq!(parse(items("")).unwrap(), Role::Replica { primary, link });
        }
    }

    #[test]
    fn other_replies() {
        let names = Reply::Array(vec![bulk("mymaster")]);
        assert_eq!(
            parse(vec![bulk("sentinel"), names]).unwrap(),
            Role::Sentinel
        );
        for items in [
            vec![],
            vec![bulk("master")],
            vec![bulk("master"), Reply::Integer(1), Reply::Nil],
            vec![
                bulk("master"),
                Reply::Integer(1),
                Reply::Array(vec![Reply::Array(vec![bulk("host")])]),
            ],
            vec![bulk("slave"), bulk("host"), bulk("x"), bulk("connected")],
            vec![Reply::Integer(1), bulk("slave")],
        ] {
            let error = parse(items.clone()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Protocol, "{items:?}");
            assert!(error.to_string().contains("asked:1"), "{error}");
        }
        let asked = address("asked", 1).unwrap();
        let refusal = Reply::Error("NOPERM this user has no permissions".to_owned());
        let error = Role::parse(&refusal, &asked).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Server);
        assert!(!error.is_transient());
        let refusal = Reply::Error("LOADING Redis is loading".to_owned());
        assert!(Role::parse(&refusal, &asked).unwrap_err().is_transient());
    }
}
