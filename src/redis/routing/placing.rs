//! Which leg each command of a round goes on.

use std::collections::HashMap;

use super::leg::Leg;
use crate::error::{Error, ErrorKind, Result};
use crate::redis::config::Address;
use crate::redis::topology::Topology;

/// The legs of a round as they come into being.
pub(super) struct Placing<'t, 'c> {
    pub legs: Vec<Leg>,
    topology: &'t Topology,
    servers: &'t [Result<Address>],
    of_shard: Vec<Option<usize>>,
    of_key: HashMap<&'c [u8], usize>,
}

impl<'t, 'c> Placing<'t, 'c> {
    /// No legs yet. `servers` has the one of each shard that answers, or why there is none.
    pub fn new(topology: &'t Topology, servers: &'t [Result<Address>]) -> Self {
        Self {
            legs: Vec::new(),
            topology,
            servers,
            of_shard: vec![None; servers.len()],
            of_key: HashMap::new(),
        }
    }

    /// The leg to the server that answers for `slot`, or for any.
    pub fn server(&mut self, slot: Option<u16>) -> Result<usize> {
        let shard = match slot {
            None => (!self.servers.is_empty()).then_some(0),
            Some(slot) => self.topology.index_of(slot),
        };
        let shard = shard.ok_or_else(|| unserved(slot))?;
        if let Some(leg) = self.of_shard[shard] {
            return Ok(leg);
        }
        let address = self.servers[shard].as_ref().map_err(Clone::clone)?;
        let leg = Leg::find(&mut self.legs, address);
        self.of_shard[shard] = Some(leg);
        Ok(leg)
    }

    /// The leg to the primary that owns `slot`.
    pub fn owner(&mut self, slot: u16) -> Option<usize> {
        let shard = self.topology.shard_of(slot)?;
        let address = shard.primary.as_ref()?;
        Some(Leg::find(&mut self.legs, address))
    }

    /// The leg of a redirected write: none where an earlier one of its key goes elsewhere, for it is
    /// not to come before that.
    pub fn in_order(&mut self, key: &'c [u8], to: &Address) -> Option<usize> {
        let leg = Leg::find(&mut self.legs, to);
        let first = *self.of_key.entry(key).or_insert(leg);
        (first == leg).then_some(leg)
    }
}

pub(super) fn unserved(slot: Option<u16>) -> Error {
    let what = match slot {
        Some(slot) => format!("no server of the cluster has slot {slot} at the moment"),
        None => "no server is known at the moment".to_owned(),
    };
    Error::new(ErrorKind::Connection, what).transient()
}
