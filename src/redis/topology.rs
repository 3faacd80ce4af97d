//! Which servers there are, and which of them has a key.
//!
//! No I/O: a deployment asks, and what it is answered is read here. [`Topology`] is the whole of
//! it; [`cluster_slots`], [`sentinel`] and [`role`] read what a cluster, a Sentinel and a lone
//! server say of it, and [`redirect`] what a node of a cluster answers when it is the wrong one.

#[cfg(test)]
mod any_reply_tests;
mod cluster_slots;
pub mod redirect;
pub mod role;
pub mod sentinel;
#[cfg(test)]
mod tests;

use std::ops::RangeInclusive;

use super::config::Address;
use super::reply::is_transient;
use super::slot::SLOTS;
use super::tree::Reply;
use crate::error::{Error, ErrorKind, Result};

/// A primary and its replicas.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Shard {
    /// Where writes go; `None` when there is no such server at the moment, or its address isn't
    /// known.
    pub primary: Option<Address>,
    /// Servers with a copy, in order of their addresses.
    pub replicas: Vec<Address>,
}

/// Marks a slot that nobody owns.
const NOBODY: u16 = u16::MAX;

/// Shards, and the shard of each slot. Whether two say the same can be seen with `==`: shards are in
/// order of their first slots and replicas in that of their addresses, however they were told.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Topology {
    shards: Vec<Shard>,
    /// The index of the shard of each of the [`SLOTS`], or [`NOBODY`].
    owners: Box<[u16]>,
}

impl Topology {
    /// One shard that has every key: a standalone server, or what a Sentinel watches.
    #[must_use]
    pub fn single(primary: Option<Address>, mut replicas: Vec<Address>) -> Self {
        replicas.sort_unstable();
        replicas.dedup();
        Self {
            shards: vec![Shard { primary, replicas }],
            owners: vec![0; usize::from(SLOTS)].into(),
        }
    }

    /// What `reply` to `CLUSTER SLOTS` says, from the server that was asked at `asked`.
    ///
    /// The command is preferred to `CLUSTER SHARDS`, which Redis knows since version 7 only and
    /// some managed services not at all, and which lists servers that are down.
    ///
    /// A server that knows of no slots gives a topology without shards; another may know more.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] when the server is in no cluster, [`ErrorKind::Server`] with its words
    /// when it refuses, [`ErrorKind::Protocol`] when the reply is malformed.
    pub fn from_cluster_slots(reply: &Reply, asked: &Address) -> Result<Self> {
        cluster_slots::read(reply, asked)
    }

    /// The shards, in order of their first slots.
    #[must_use]
    pub fn shards(&self) -> &[Shard] {
        &self.shards
    }

    /// The index in [`shards`](Self::shards) of the shard of `slot`; `None` when nobody owns it.
    #[must_use]
    #[inline]
    pub fn index_of(&self, slot: u16) -> Option<usize> {
        let owner = *self.owners.get(usize::from(slot))?;
        (owner != NOBODY).then_some(usize::from(owner))
    }

    /// The shard of `slot`; `None` when nobody owns it.
    #[must_use]
    pub fn shard_of(&self, slot: u16) -> Option<&Shard> {
        self.shards.get(self.index_of(slot)?)
    }

    /// Whether the server at `address` is a replica.
    #[must_use]
    pub fn has_replica(&self, address: &Address) -> bool {
        let mut shards = self.shards.iter();
        shards.any(|shard| shard.replicas.contains(address))
    }

    /// The slots of the shard with this index, as ranges in ascending order with gaps between them.
    #[must_use]
    pub fn slots_of(&self, shard: usize) -> Vec<RangeInclusive<u16>> {
        self.ranges(|owner| usize::from(owner) == shard)
    }

    /// The slots that nobody owns, as ranges. A cluster refuses their keys, and by default all
    /// others with them (`cluster-require-full-coverage`).
    #[must_use]
    pub fn unowned_slots(&self) -> Vec<RangeInclusive<u16>> {
        self.ranges(|owner| owner == NOBODY)
    }

    /// The topology of `shards`, of which `owners` holds indices, put in order. Shards without slots
    /// are left out: nothing is asked of them.
    fn in_order(shards: Vec<Shard>, mut owners: Box<[u16]>) -> Self {
        let mut shards: Vec<Option<Shard>> = shards.into_iter().map(Some).collect();
        let mut places = vec![NOBODY; shards.len()];
        let mut ordered = Vec::with_capacity(shards.len());
        for owner in owners.iter_mut().filter(|owner| **owner != NOBODY) {
            let index = usize::from(*owner);
            if let Some(shard) = shards[index].take() {
                places[index] = ordered.len() as u16;
                ordered.push(shard);
            }
            *owner = places[index];
        }
        Self {
            shards: ordered,
            owners,
        }
    }

    fn ranges(&self, counts: impl Fn(u16) -> bool) -> Vec<RangeInclusive<u16>> {
        let mut first = 0;
        let mut ranges = Vec::new();
        for run in self.owners.chunk_by(|a, b| a == b) {
            let next = first + run.len() as u16;
            if counts(run[0]) {
                ranges.push(first..=next - 1);
            }
            first = next;
        }
        ranges
    }

    /// Every server, each once: the primary and then the replicas of one shard after the other.
    #[must_use]
    pub fn addresses(&self) -> Vec<&Address> {
        let mut addresses = Vec::new();
        for shard in &self.shards {
            for address in shard.primary.iter().chain(&shard.replicas) {
                if !addresses.contains(&address) {
                    addresses.push(address);
                }
            }
        }
        addresses
    }

    /// The primaries that are known, each once.
    #[must_use]
    pub fn primaries(&self) -> Vec<&Address> {
        let mut addresses = Vec::new();
        for address in self
            .shards
            .iter()
            .filter_map(|shard| shard.primary.as_ref())
        {
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        addresses
    }

    /// The topology after a `MOVED` reply: `slot` belongs to the shard whose primary is at
    /// `address`, or to a new shard where that is nobody's primary yet. One who was a replica has
    /// been promoted; its shard's former primary is gone, or is a replica as the next discovery
    /// will tell. The other slots stay where they are until then.
    ///
    /// A slot that does not exist changes nothing.
    #[must_use]
    pub fn with_moved(&self, slot: u16, address: &Address) -> Self {
        let Self {
            mut shards,
            mut owners,
        } = self.clone();
        if let Some(owner) = owners.get_mut(usize::from(slot)) {
            let primary = |shard: &Shard| shard.primary.as_ref() == Some(address);
            let replica = |shard: &Shard| shard.replicas.contains(address);
            let place = shards.iter().position(primary);
            let place = place.or_else(|| shards.iter().position(replica));
            let place = place.unwrap_or_else(|| {
                shards.push(Shard::default());
                shards.len() - 1
            });
            shards[place].primary = Some(address.clone());
            shards[place].replicas.retain(|replica| replica != address);
            *owner = place as u16;
        }
        Self::in_order(shards, owners)
    }
}

/// The error of a reply to `command` from `asked` that isn't what the command answers.
fn malformed(command: &str, asked: &Address, what: &str) -> Error {
    Error::new(
        ErrorKind::Protocol,
        format!("redis at {asked} answered {command} with what cannot be read: {what}"),
    )
}

/// The error of a server at `asked` that answers `command` with `words` of refusal.
fn refused(command: &str, asked: &Address, words: &str) -> Error {
    let error = Error::new(
        ErrorKind::Server,
        format!("redis at {asked} refused {command}: {words}"),
    );
    if is_transient(words) {
        return error.transient();
    }
    error
}

/// The text of a bulk string or status.
fn text(reply: &Reply) -> Option<&str> {
    match reply {
        Reply::Bytes(bytes) => std::str::from_utf8(bytes).ok(),
        Reply::Status(text) => Some(text),
        _ => None,
    }
}

/// A port, which servers give as a number or as text; 0 is "there is none".
fn port(reply: &Reply) -> Option<u16> {
    match reply {
        Reply::Integer(port) => u16::try_from(*port).ok(),
        other => text(other)?.parse().ok(),
    }
}

/// The address of `host` and `port`; `None` for a port of 0, which is that of a server that does not
/// listen in the way that was asked for (with TLS, or without).
fn address(host: &str, port: u16) -> Option<Address> {
    (port != 0).then(|| Address::Tcp {
        host: host.to_owned(),
        port,
    })
}

/// The address at `port` of the host that was asked: of a server that does not know its own.
fn same_host(asked: &Address, port: u16) -> Option<Address> {
    match asked {
        Address::Tcp { host, .. } => address(host, port),
        Address::Unix(_) => Some(asked.clone()),
    }
}
