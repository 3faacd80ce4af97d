//! Whether copies have reached the replicas, before the keys that they were made from are deleted.
//!
//! On a standalone server both keys are in one stream of replication: whoever takes over has the
//! deletion only if it has the copy. In a cluster they are on different servers as a rule, and the
//! failure of one right after the deletion on the other would lose both.

use std::collections::BTreeMap;
use std::time::Duration;

use super::page::{Stored, Work, next_hash, push_read};
use super::report::Outcome;
use crate::error::Result;
use crate::redis::Deadline;
use crate::redis::command::Commands;
use crate::redis::config::Address;
use crate::redis::config::deployment::DeploymentKind;
use crate::redis::slot::slot_of;
use crate::redis::tree::Replies;

/// The pauses before the replicas are asked.
const PAUSES_MS: [u64; 6] = [0, 1, 5, 20, 100, 400];

/// How long a shard's replicas have to answer, all in all.
const LIMIT: Duration = Duration::from_secs(1);

impl Work<'_> {
    /// Those whose copy is on a replica, too, if its shard has any. The others are kept.
    pub(super) fn replicated<'s, 'k>(
        &mut self,
        copied: Vec<&'s Stored<'k>>,
    ) -> Result<Vec<&'s Stored<'k>>> {
        if self.deployment.config().kind != DeploymentKind::Cluster {
            return Ok(copied);
        }
        let topology = self
            .deployment
            .topology(false, Deadline::NEVER, self.interrupt)?;
        let mut safe = Vec::with_capacity(copied.len());
        let mut by_shard: BTreeMap<usize, Vec<&Stored<'_>>> = BTreeMap::new();
        for pair in copied {
            let shard = topology.index_of(slot_of(&pair.task.new_key));
            match shard.filter(|&shard| !topology.shards()[shard].replicas.is_empty()) {
                Some(shard) => by_shard.entry(shard).or_default().push(pair),
                None => safe.push(pair),
            }
        }
        for (shard, mut waiting) in by_shard {
            let replicas = &topology.shards()[shard].replicas;
            let end = Deadline::after(Some(LIMIT));
            for pause in PAUSES_MS {
                std::thread::sleep(Duration::from_millis(pause));
                (self.interrupt)()?;
                for replica in replicas {
                    let (arrived, missing) = self.ask(replica, waiting, end);
                    safe.extend(arrived);
                    waiting = missing;
                }
                if waiting.is_empty() {
                    break;
                }
            }
            for pair in waiting {
                let what = "its copy has not reached a replica";
                self.tell(Outcome::Kept, &pair.task, what);
            }
        }
        Ok(safe)
    }

    /// Which copies a replica has, and which not. One that cannot say has none.
    fn ask<'s, 'k>(
        &self,
        replica: &Address,
        pairs: Vec<&'s Stored<'k>>,
        end: Deadline,
    ) -> (Vec<&'s Stored<'k>>, Vec<&'s Stored<'k>>) {
        if pairs.is_empty() {
            return (Vec::new(), pairs);
        }
        let mut commands = Commands::default();
        commands.push(&[b"READONLY"]);
        for pair in &pairs {
            push_read(&mut commands, &pair.task.new_key);
        }
        // Other requests that use the connection are to be told when this is no primary.
        commands.push(&[b"READWRITE"]);
        let limit = self.deployment.config().node.max_reply_bytes;
        let mut replies = Replies::new(commands.len(), limit);
        let (sink, interrupt) = (&mut replies, self.interrupt);
        let outcome = self
            .deployment
            .run_at(replica, &commands, sink, end, interrupt);
        if outcome.is_err() {
            return (Vec::new(), pairs);
        }
        let mut replies = replies.into_vec().into_iter().skip(1);
        pairs.into_iter().partition(|pair| {
            let copy = next_hash(&mut replies).unwrap_or_default();
            self.is_copy(&pair.old, &copy)
        })
    }
}
