//! `CLUSTER SLOTS`: ranges of slots, each with its servers, the primary first.
//!
//! A server is `[endpoint, port, id, [name, value, ...]]`; Redis 3 gives no id, and Redis before
//! version 7 no names and values. The endpoint is an IP address or a host name, as
//! `cluster-preferred-endpoint-type` has it; nil or nothing is "where you asked", and `?` a server
//! that should be called by a host name and was given none, whose IP address is then among the
//! names and values. The port is the one for TLS when it was asked over TLS. Replicas that are down
//! are left out by the server.

use std::collections::HashMap;

use super::{Address, NOBODY, Shard, Topology, address, malformed, port, refused, same_host, text};
use crate::error::{Error, ErrorKind, Result};
use crate::redis::slot::SLOTS;
use crate::redis::tree::Reply;

const COMMAND: &str = "CLUSTER SLOTS";

/// What tells one shard from another: its primary's address, or what else is known of it.
#[derive(Eq, Hash, PartialEq)]
enum Identity<'a> {
    Primary(Address),
    Id(&'a [u8]),
    Replicas(Vec<Address>),
}

pub(super) fn read(reply: &Reply, asked: &Address) -> Result<Topology> {
    let malformed = |what| malformed(COMMAND, asked, what);
    let ranges = match reply {
        Reply::Array(ranges) => ranges,
        Reply::Error(words) => return Err(no_cluster(words, asked)),
        _ => return Err(malformed("no list of slots")),
    };
    let mut shards: Vec<Shard> = Vec::new();
    let mut known = HashMap::new();
    let mut owners: Box<[u16]> = vec![NOBODY; usize::from(SLOTS)].into();
    for reply in ranges {
        let (first, last, primary, replicas) = range(reply)
            .ok_or_else(|| malformed("a range of slots is no [first, last, server, ...]"))?;
        let id = id(primary);
        let primary = server(primary, asked)?;
        let mut copies = Vec::with_capacity(replicas.len());
        for replica in replicas {
            copies.extend(server(replica, asked)?);
        }
        copies.retain(|replica| Some(replica) != primary.as_ref());
        copies.sort_unstable();
        copies.dedup();
        let identity = match (&primary, id) {
            (Some(address), _) => Identity::Primary(address.clone()),
            (None, Some(id)) => Identity::Id(id),
            (None, None) => Identity::Replicas(copies.clone()),
        };
        let shard = *known.entry(identity).or_insert_with(|| {
            shards.push(Shard {
                primary,
                replicas: Vec::new(),
            });
            shards.len() - 1
        });
        for replica in copies {
            let replicas = &mut shards[shard].replicas;
            if let Err(place) = replicas.binary_search(&replica) {
                replicas.insert(place, replica);
            }
        }
        for owner in &mut owners[usize::from(first)..=usize::from(last)] {
            if *owner != NOBODY {
                return Err(malformed("two ranges have the same slot"));
            }
            // There are at most as many shards as slots.
            *owner = shard as u16;
        }
    }
    Ok(Topology::in_order(shards, owners))
}

/// First and last slot, the primary and the replicas of a range.
type Range<'a> = (u16, u16, &'a Reply, &'a [Reply]);

fn range(reply: &Reply) -> Option<Range<'_>> {
    let Reply::Array(items) = reply else {
        return None;
    };
    let [
        Reply::Integer(first),
        Reply::Integer(last),
        primary,
        replicas @ ..,
    ] = &items[..]
    else {
        return None;
    };
    let (first, last) = (u16::try_from(*first).ok()?, u16::try_from(*last).ok()?);
    (first <= last && last < SLOTS).then_some((first, last, primary, replicas))
}

/// The address of a server; `None` where it isn't known.
fn server(reply: &Reply, asked: &Address) -> Result<Option<Address>> {
    let malformed = || malformed(COMMAND, asked, "a server is no [host, port, ...]");
    let Reply::Array(items) = reply else {
        return Err(malformed());
    };
    let [endpoint, port_reply, rest @ ..] = &items[..] else {
        return Err(malformed());
    };
    let port = port(port_reply).ok_or_else(malformed)?;
    let host = match endpoint {
        Reply::Nil => "",
        endpoint => text(endpoint).ok_or_else(malformed)?,
    };
    Ok(match host {
        "" => same_host(asked, port),
        "?" => match rest.get(1).and_then(ip) {
            None | Some("?") => None,
            Some("") => same_host(asked, port),
            Some(ip) => address(ip, port),
        },
        host => address(host, port),
    })
}

/// The IP address among the names and values of a server.
fn ip(reply: &Reply) -> Option<&str> {
    let Reply::Array(items) = reply else {
        return None;
    };
    let (pairs, _) = items.as_chunks::<2>();
    let [_, ip] = pairs.iter().find(|[name, _]| text(name) == Some("ip"))?;
    text(ip)
}

/// The id of a server, where it has one.
fn id(reply: &Reply) -> Option<&[u8]> {
    match reply {
        Reply::Array(items) => match items.get(2) {
            Some(Reply::Bytes(id)) => Some(id),
            _ => None,
        },
        _ => None,
    }
}

fn no_cluster(words: &str, asked: &Address) -> Error {
    if words.contains("cluster support disabled") {
        return Error::new(
            ErrorKind::Config,
            format!(
                "redis at {asked} is no node of a cluster: use redis_type: redis for a standalone \
                 server, or correct the connection_string"
            ),
        );
    }
    refused(COMMAND, asked, words)
}
