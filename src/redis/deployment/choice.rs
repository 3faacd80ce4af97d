//! Which server of a shard is to answer.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Deployment;
use crate::error::{Error, ErrorKind, Result};
use crate::redis::config::Address;
use crate::redis::config::deployment::ReadFrom;
use crate::redis::routing::Purpose;
use crate::redis::topology::Shard;

impl Deployment {
    /// Which server of a shard is to answer: one whose breaker lets calls through, and not one of
    /// those `avoided` if there is another.
    pub(super) fn choose(
        &self,
        shard: &Shard,
        purpose: Purpose,
        avoided: &[Address],
        turn: usize,
    ) -> Result<Address> {
        let candidates = self.candidates(shard, purpose, turn);
        let mut admitting = candidates
            .iter()
            .filter(|address| purpose == Purpose::Write || self.node(address).is_open_to_calls());
        let chosen = admitting
            .clone()
            .find(|address| !avoided.contains(address))
            .or_else(|| admitting.next());
        if let (None, Some(address)) = (chosen, candidates.first()) {
            return Err(self.node(address).refusal());
        }
        chosen.map(|address| (*address).clone()).ok_or_else(|| {
            let (who, advice) = match (purpose, self.config.read_from) {
                (Purpose::Read, ReadFrom::Replica) => (
                    "replica",
                    " (read_from: prefer_replica asks the primary then)",
                ),
                _ => ("primary", ""),
            };
            let at = &self.config.node.address;
            let message = format!("the servers of {at} have no {who} at the moment{advice}");
            Error::new(ErrorKind::Connection, message).transient()
        })
    }

    /// The servers of a shard that may answer, in the order of preference.
    fn candidates<'t>(&self, shard: &'t Shard, purpose: Purpose, turn: usize) -> Vec<&'t Address> {
        let mut replicas: Vec<_> = shard.replicas.iter().collect();
        if replicas.len() > 1 {
            let count = replicas.len();
            replicas.rotate_left(turn % count);
        }
        match (purpose, self.config.read_from) {
            (Purpose::Write, _) | (_, ReadFrom::Primary) => shard.primary.iter().collect(),
            (_, ReadFrom::Replica) => replicas,
            (_, ReadFrom::PreferReplica) => {
                replicas.extend(&shard.primary);
                replicas
            }
            (_, ReadFrom::LowestLatency) => {
                replicas.extend(&shard.primary);
                // One that has never been measured is last.
                replicas.sort_by_key(|address| {
                    let distance = self.node(address).distance();
                    distance.unwrap_or(Duration::MAX)
                });
                replicas
            }
        }
    }

    /// Counts a request, for replicas to take turns.
    pub(super) fn next_turn(&self) -> usize {
        self.turn.fetch_add(1, Ordering::Relaxed)
    }
}
