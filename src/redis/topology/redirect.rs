//! What a node of a cluster answers to a command that is for another node, or for none at the
//! moment.

use super::{Address, address, same_host};
use crate::redis::slot::SLOTS;

/// Where to go instead.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Redirect {
    /// The slot belongs to the node at `address`, for this command and all that follow.
    Moved {
        /// The slot of the command's key.
        slot: u16,
        /// Where it is served.
        address: Address,
    },
    /// The slot is on its way to the node at `address`, and this key is there already or is not
    /// there yet: send `ASKING` and this command there, and what follows here as before.
    Ask {
        /// The slot of the command's key.
        slot: u16,
        /// Where to ask.
        address: Address,
    },
    /// The slot is elsewhere, but the server does not know where: by which name to call that node
    /// (`?`, where `cluster-preferred-endpoint-type` is `hostname` and it has none), or at which
    /// port it is (`0`, after another node was met at its address). `CLUSTER SLOTS` may tell more.
    Elsewhere {
        /// The slot of the command's key.
        slot: u16,
    },
    /// The slot is on its way and some of the command's keys have gone, others not: the same
    /// command will do in a moment.
    TryAgain,
    /// Nobody serves the slot, or the cluster as a whole is down: it may pass with a failover.
    ClusterDown,
}

impl Redirect {
    /// Reads the `words` of an error reply (without the `-`) from the node at `from`; `None` if they
    /// tell of something else, or are malformed.
    ///
    /// A host that is left out is that of `from`. The port stands after the last colon, since an
    /// IPv6 address has colons and is written without brackets.
    #[must_use]
    pub fn parse(words: &str, from: &Address) -> Option<Self> {
        let mut parts = words.split_ascii_whitespace();
        let code = parts.next()?;
        match code {
            "TRYAGAIN" => return Some(Self::TryAgain),
            "CLUSTERDOWN" => return Some(Self::ClusterDown),
            "MOVED" | "ASK" => {}
            _ => return None,
        }
        let slot = parts.next()?.parse().ok().filter(|&slot| slot < SLOTS)?;
        let (host, port) = parts.next()?.rsplit_once(':')?;
        let port = port.parse().ok()?;
        if host == "?" || port == 0 {
            return Some(Self::Elsewhere { slot });
        }
        let address = match host {
            "" => same_host(from, port)?,
            host => address(host.trim_start_matches('[').trim_end_matches(']'), port)?,
        };
        Some(if code == "MOVED" {
            Self::Moved { slot, address }
        } else {
            Self::Ask { slot, address }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(host: &str, port: u16) -> Address {
        address(host, port).unwrap()
    }

    fn parse(words: &str) -> Option<Redirect> {
        Redirect::parse(words, &at("asked", 7000))
    }

    #[test]
    fn a_slot_has_moved() {
        for (place, address) in [
            ("127.0.0.1:6381", at("127.0.0.1", 6381)),
            (":6381", at("asked", 6381)),
            ("::1:6381", at("::1", 6381)),
            ("[::1]:6381", at("::1", 6381)),
            (
                "redis-2.example.com:65535",
                at("redis-2.example.com", 65535),
            ),
        ] {
            let (slot, address) = (3999, address);
            let moved = Redirect::Moved {
                slot,
                address: address.clone(),
            };
            assert_eq!(parse(&format!("MOVED 3999 {place}")), Some(moved));
            let ask = Redirect::Ask { slot, address };
            assert_eq!(parse(&format!("ASK 3999 {place}")), Some(ask));
        }
        let elsewhere = Redirect::Elsewhere { slot: 0 };
        assert_eq!(parse("MOVED 0 ?:6381"), Some(elsewhere.clone()));
        assert_eq!(parse("ASK 0 ?:0"), Some(elsewhere.clone()));
        assert_eq!(parse("MOVED 0 :0"), Some(elsewhere.clone()));
        assert_eq!(parse("MOVED 0 a:0"), Some(elsewhere));
    }

    #[test]
    fn a_server_on_a_unix_socket_means_itself() {
        let socket = Address::Unix("/redis.sock".into());
        assert_eq!(
            Redirect::parse("MOVED 1 :7000", &socket),
            Some(Redirect::Moved {
                slot: 1,
                address: socket
            })
        );
    }

    #[test]
    fn the_cluster_has_no_answer_at_the_moment() {
        let words = "TRYAGAIN Multiple keys request during rehashing of slot";
        assert_eq!(parse(words), Some(Redirect::TryAgain));
        for words in [
            "CLUSTERDOWN The cluster is down",
            "CLUSTERDOWN Hash slot not served",
            "CLUSTERDOWN",
        ] {
            assert_eq!(parse(words), Some(Redirect::ClusterDown));
        }
    }

    #[test]
    fn everything_else_is_no_redirect() {
        for words in [
            "",
            " ",
            "ERR unknown command",
            "LOADING Redis is loading the dataset in memory",
            "moved 1 a:1",
            "MOVEDX 1 a:1",
            "MOVED",
            "MOVED 1",
            "MOVED 1 a",
            "MOVED 1 a:",
            "MOVED 1 a:65536",
            "MOVED 1 a:-1",
            "MOVED 16384 a:1",
            "MOVED -1 a:1",
            "MOVED x a:1",
            "ASK 1 :",
        ] {
            assert_eq!(parse(words), None, "{words:?}");
        }
    }
}
