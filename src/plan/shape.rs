//! What was learned about the hashes behind an entity key, and the choice of command it leads to.
//!
//! HGETALL sends the whole hash, wanted or not. HMGET sends only what is asked for, but in a
//! listpack, which is how Redis keeps a small hash, it walks the list once per field. So neither
//! is better always: the cheaper one is chosen by the estimate below, from the width, size and
//! encoding that earlier replies showed. HGETALL shows them as it goes; while HMGET is in use, now
//! and then one entity is read by HGETALL as a probe, so that a change is noticed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use super::FieldTable;
use crate::entity_key::EntityKeyWriter;

/// Server and transfer time in nanoseconds, measured on Redis 7.0 with commandstats. Only their
/// proportions matter.
mod cost {
    /// One bulk string of a reply.
    pub(super) const REPLY_ITEM: f32 = 70.0;
    /// Stepping over one field and its value in a listpack.
    pub(super) const LISTPACK_STEP: f32 = 12.0;
    /// Finding one field in a hash table.
    pub(super) const TABLE_LOOKUP: f32 = 70.0;
    /// One byte, from the server's memory to ours.
    pub(super) const BYTE: f32 = 0.6;
}

/// Redis turns a listpack into a hash table when a value is longer than this
/// (`hash-max-listpack-value`).
const LISTPACK_VALUE: usize = 64;
/// The same for the number of fields (`hash-max-listpack-entries`).
const LISTPACK_ENTRIES: f32 = 512.0;
/// How much a new sample moves the estimate.
const LEARNING: f32 = 0.25;
/// What probing may add to the cost of reading.
const PROBE_SHARE: f32 = 0.01;
/// The fewest entities between probes.
const PROBE_INTERVAL: f32 = 64.0;

/// The command that reads a hash.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Retrieval {
    /// The whole hash.
    HGetAll,
    /// The wanted fields.
    HMGet,
}

/// What whole hashes read by HGETALL looked like, summed up.
#[derive(Clone, Copy, Debug, Default)]
pub struct ShapeSample {
    /// Hashes that exist.
    pub hashes: usize,
    /// Their fields.
    pub pairs: usize,
    /// The bytes of all their names and values.
    pub bytes: usize,
    /// The bytes of the wanted values.
    pub wanted_bytes: usize,
    /// Hashes that had a value too long for a listpack.
    pub long_values: usize,
}

impl ShapeSample {
    /// Whether a value of `len` bytes turns its hash into a hash table.
    #[must_use]
    #[inline]
    pub fn is_long(len: usize) -> bool {
        len > LISTPACK_VALUE
    }
}

#[derive(Clone, Copy, Debug)]
struct Estimate {
    pairs: f32,
    bytes: f32,
    wanted_bytes: f32,
    long_share: f32,
}

impl Estimate {
    fn hgetall(&self) -> f32 {
        2.0 * self.pairs * cost::REPLY_ITEM + self.bytes * cost::BYTE
    }

    fn hmget(&self, fields: f32) -> f32 {
        let lookup = if self.long_share > 0.5 || self.pairs > LISTPACK_ENTRIES {
            cost::TABLE_LOOKUP
        } else {
            self.pairs / 2.0 * cost::LISTPACK_STEP
        };
        fields * (cost::REPLY_ITEM + lookup) + self.wanted_bytes * cost::BYTE
    }
}

#[derive(Debug, Default)]
struct Learned {
    estimate: Option<Estimate>,
    /// Entities read by HMGET since whole hashes were last seen.
    unseen: f32,
}

/// The learned shape of the hashes of one [`KeyGroup`](super::KeyGroup).
#[derive(Debug, Default)]
pub struct HashShape(Mutex<Learned>);

/// How the entities of one request are to be read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Choice {
    /// The command for the entities.
    pub retrieval: Retrieval,
    /// Whether the first entity is read by HGETALL all the same.
    pub probe: bool,
    /// Bytes of reply to expect per entity; 0 when nothing is known.
    pub reply_bytes: usize,
}

/// The shapes by prefix and suffix of the key and wanted fields.
static KNOWN: Mutex<Option<HashMap<Vec<u8>, Arc<HashShape>>>> = Mutex::new(None);

/// How many shapes are kept.
const KNOWN_SHAPES: usize = 1024;

impl HashShape {
    /// The shape that all plans share which read these fields of these keys.
    #[must_use]
    pub fn known(writer: &EntityKeyWriter, fields: &FieldTable) -> Arc<Self> {
        // As below, a lock that is held is not waited for.
        let Ok(mut known) = KNOWN.try_lock() else {
            return Arc::default();
        };
        let known = known.get_or_insert_default();
        if known.len() >= KNOWN_SHAPES {
            known.clear();
        }
        let name = [&writer.pattern(), fields.resp()].concat();
        known.entry(name).or_default().clone()
    }

    /// Chooses how to read `fields` fields of `entities` hashes.
    pub fn choose(&self, fields: usize, entities: usize) -> Choice {
        // A lock that another thread holds, or held in the parent of a fork, is not waited for:
        // the choice is only about speed.
        let Ok(mut learned) = self.0.try_lock() else {
            return Choice {
                retrieval: Retrieval::HMGet,
                probe: false,
                reply_bytes: 0,
            };
        };
        let Some(estimate) = learned.estimate else {
            return Choice {
                retrieval: Retrieval::HMGet,
                probe: true,
                reply_bytes: 0,
            };
        };
        let (whole, some) = (estimate.hgetall(), estimate.hmget(fields as f32));
        if whole <= some {
            return Choice {
                retrieval: Retrieval::HGetAll,
                probe: false,
                reply_bytes: (estimate.bytes + estimate.pairs * 8.0) as usize + 8,
            };
        }
        learned.unseen += entities as f32;
        let interval = PROBE_INTERVAL.max(whole / some / PROBE_SHARE);
        let probe = learned.unseen >= interval;
        if probe {
            learned.unseen = 0.0;
        }
        Choice {
            retrieval: Retrieval::HMGet,
            probe,
            reply_bytes: estimate.wanted_bytes as usize + fields * 8 + 8,
        }
    }

    /// Takes in what whole hashes looked like.
    pub fn learn(&self, sample: &ShapeSample) {
        if sample.hashes == 0 {
            return;
        }
        let Ok(mut learned) = self.0.try_lock() else {
            return;
        };
        let mean = |sum: usize| sum as f32 / sample.hashes as f32;
        let seen = Estimate {
            pairs: mean(sample.pairs),
            bytes: mean(sample.bytes),
            wanted_bytes: mean(sample.wanted_bytes),
            long_share: mean(sample.long_values),
        };
        let blend = |old: f32, new: f32| old + (new - old) * LEARNING;
        learned.estimate = Some(learned.estimate.map_or(seen, |old| Estimate {
            pairs: blend(old.pairs, seen.pairs),
            bytes: blend(old.bytes, seen.bytes),
            wanted_bytes: blend(old.wanted_bytes, seen.wanted_bytes),
            long_share: blend(old.long_share, seen.long_share),
        }));
        learned.unseen = 0.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn learned(pairs: usize, bytes: usize, wanted_bytes: usize, long_values: usize) -> HashShape {
        let shape = HashShape::default();
        shape.learn(&ShapeSample {
            hashes: 1,
            pairs,
            bytes,
            wanted_bytes,
            long_values,
        });
        shape
    }

    #[test]
    fn nothing_known_means_asking_for_the_fields_and_one_probe() {
        let choice = HashShape::default().choose(50, 10);
        assert_eq!((choice.retrieval, choice.probe), (Retrieval::HMGet, true));
    }

    #[test]
    fn most_of_a_small_hash_is_read_whole() {
        let choice = learned(55, 800, 700, 0).choose(55, 10);
        assert_eq!(
            (choice.retrieval, choice.probe),
            (Retrieval::HGetAll, false)
        );
    }

    #[test]
    fn one_field_of_a_wide_hash_is_asked_for() {
        assert_eq!(
            learned(300, 5000, 9, 0).choose(2, 1).retrieval,
            Retrieval::HMGet
        );
    }

    #[test]
    fn scalars_beside_embeddings_are_asked_for() {
        let choice = learned(10, 9400, 50, 1).choose(6, 100);
        assert_eq!(choice.retrieval, Retrieval::HMGet);
    }

    #[test]
    fn a_shape_that_changes_is_noticed_by_a_probe() {
        let shape = learned(300, 5000, 9, 0);
        let probes = (0..10_000).filter(|_| shape.choose(2, 1).probe).count();
        assert!((2..=10_000 / 64).contains(&probes), "{probes}");
    }
}
