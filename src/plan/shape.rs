//! What was learned about the hashes behind an entity key, and the choice of command it leads to.
//!
//! HGETALL sends the whole hash, wanted or not. HMGET sends only what is asked for, but in a
//! listpack, which is how Redis keeps a small hash, it walks the list once per field. So neither
//! is better always: the cheaper one is chosen by the estimate below, from the width, size and
//! encoding that earlier replies showed. HGETALL shows them as it goes; while HMGET is in use, now
//! and then one entity is read by HGETALL as a probe, so that a change is noticed. The first read of
//! all has a probe too, and where HMGET may be dear, the rest of it waits for what that shows. Where
//! many short values of a listpack would be read by HGETALL, DUMP is cheaper than both.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use super::FieldTable;
use crate::entity_key::EntityKeyWriter;
use crate::redis::habit::Habit;

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
    /// A DUMP, and one byte of a listpack that it packs. Where the server is set not to pack, a byte is
    /// a fifth of that; this cannot be seen from here, so that DUMP is chosen where it pays anyhow.
    pub(super) const DUMP: f32 = 900.0;
    pub(super) const DUMPED_BYTE: f32 = 6.7;
}

/// Redis turns a listpack into a hash table when a value is longer than this
/// (`hash-max-listpack-value`).
const LISTPACK_VALUE: usize = 64;
/// The same for the number of fields (`hash-max-listpack-entries`).
const LISTPACK_ENTRIES: f32 = 512.0;
/// The fewest fields of a hash for which DUMP pays by more than its trouble.
const DUMPED_PAIRS: f32 = 32.0;
/// The share of the estimated cost of HGETALL that DUMP may have at the most. What the server packs has
/// to be unpacked here, and from one processor to another their proportion differs by a quarter.
const DUMPED_SHARE: f32 = 0.7;
/// How much a new sample moves the estimate.
const LEARNING: f32 = 0.25;
/// The share of hashes that are no listpacks, by which DUMP ceases to pay; how much a sample moves it.
const UNDUMPED_SHARE: f32 = 0.125;
const UNDUMPED_LEARNING: f32 = 0.5;
/// What probing may add to the cost of reading.
const PROBE_SHARE: f32 = 0.01;
/// The fewest entities between probes.
const PROBE_INTERVAL: f32 = 64.0;
/// What HMGET may cost, in nanoseconds, while nothing is known; it is worth a round trip to know.
const UNKNOWN_COST: f32 = 2e6;

/// The command that reads a hash.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Retrieval {
    /// The whole hash.
    HGetAll,
    /// The whole hash, as the server keeps it.
    Dump,
    /// The wanted fields.
    HMGet,
}

/// What whole hashes looked like, summed up.
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
    /// Hashes of them that DUMP told of.
    pub dumped: usize,
    /// Hashes that DUMP did not tell of; they are no part of the rest until HGETALL has.
    pub undumped: usize,
}

impl ShapeSample {
    /// Adds what others looked like.
    pub fn add(&mut self, others: &Self) {
        self.hashes += others.hashes;
        self.pairs += others.pairs;
        self.bytes += others.bytes;
        self.wanted_bytes += others.wanted_bytes;
        self.long_values += others.long_values;
        self.dumped += others.dumped;
        self.undumped += others.undumped;
    }

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
    /// That of a hash of which nothing is known, taken for one of these fields alone, all of them short.
    fn of_unknown(fields: usize) -> Self {
        Self {
            pairs: fields as f32,
            bytes: 0.0,
            wanted_bytes: 0.0,
            long_share: 0.0,
        }
    }

    fn hgetall(&self) -> f32 {
        2.0 * self.pairs * cost::REPLY_ITEM + self.bytes * cost::BYTE
    }

    /// The bytes of the hash as a listpack: a name and a value have four around them there. Those six that
    /// a name has in a reply of HGETALL are counted in otherwise.
    fn listpack(&self) -> f32 {
        self.bytes - 2.0 * self.pairs
    }

    /// Whether DUMP is cheaper than HGETALL by enough.
    fn dump_pays(&self) -> bool {
        let dump = cost::DUMP + self.listpack() * cost::DUMPED_BYTE;
        (DUMPED_PAIRS..=LISTPACK_ENTRIES).contains(&self.pairs)
            && self.long_share < 0.01
            && dump <= self.hgetall() * DUMPED_SHARE
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
    /// The share of hashes that DUMP did not tell of, and how often to try it.
    undumped: f32,
    dumps: Habit,
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
    /// Whether the others had better wait for what it shows: by HMGET they may be dear.
    pub waits: bool,
    /// Bytes of reply to expect per entity; 0 when nothing is known.
    pub reply_bytes: usize,
    /// Whether DUMP would be better, if it may be used.
    pub dump_pays: bool,
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

    /// Chooses how to read `fields` fields of `entities` hashes; by DUMP only if it `dumps`.
    pub fn choose(&self, fields: usize, entities: usize, dumps: bool) -> Choice {
        // A lock that another thread holds, or held in the parent of a fork, is not waited for:
        // the choice is only about speed.
        let Ok(mut learned) = self.0.try_lock() else {
            return Choice {
                retrieval: Retrieval::HMGet,
                probe: false,
                waits: false,
                reply_bytes: 0,
                dump_pays: false,
            };
        };
        let Some(estimate) = learned.estimate else {
            let one = Estimate::of_unknown(fields).hmget(fields as f32);
            return Choice {
                retrieval: Retrieval::HMGet,
                probe: true,
                waits: one * entities as f32 > UNKNOWN_COST,
                reply_bytes: 0,
                dump_pays: false,
            };
        };
        let (whole, some) = (estimate.hgetall(), estimate.hmget(fields as f32));
        if whole <= some {
            let dump_pays = estimate.dump_pays();
            let mut retrieval = Retrieval::HGetAll;
            let mut bytes = estimate.bytes + estimate.pairs * 8.0;
            if dump_pays && dumps {
                if let Some(passing) = learned.dumps.passing() {
                    learned.dumps = passing;
                } else {
                    retrieval = Retrieval::Dump;
                    bytes = estimate.listpack() + 32.0;
                }
            }
            return Choice {
                retrieval,
                probe: false,
                waits: false,
                reply_bytes: bytes as usize + 8,
                dump_pays,
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
            waits: false,
            reply_bytes: estimate.wanted_bytes as usize + fields * 8 + 8,
            dump_pays: false,
        }
    }

    /// Takes in what whole hashes looked like.
    pub fn learn(&self, sample: &ShapeSample) {
        let tried = sample.dumped + sample.undumped;
        if sample.hashes + tried == 0 {
            return;
        }
        let Ok(mut learned) = self.0.try_lock() else {
            return;
        };
        if tried > 0 {
            let share = sample.undumped as f32 / tried as f32;
            learned.undumped += (share - learned.undumped) * UNDUMPED_LEARNING;
            learned.dumps = if learned.undumped > UNDUMPED_SHARE {
                learned.dumps.discouraged()
            } else {
                Habit::new()
            };
        }
        if sample.hashes == 0 {
            return;
        }
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

    fn sample(pairs: usize, bytes: usize, wanted_bytes: usize, long_values: usize) -> ShapeSample {
        ShapeSample {
            hashes: 1,
            pairs,
            bytes,
            wanted_bytes,
            long_values,
            ..ShapeSample::default()
        }
    }

    fn learned(pairs: usize, bytes: usize, wanted_bytes: usize, long_values: usize) -> HashShape {
        let shape = HashShape::default();
        shape.learn(&sample(pairs, bytes, wanted_bytes, long_values));
        shape
    }

    #[test]
    fn nothing_known_means_asking_for_the_fields_and_one_probe() {
        let choice = HashShape::default().choose(50, 10, true);
        assert_eq!((choice.retrieval, choice.probe), (Retrieval::HMGet, true));
        assert!(!choice.waits);
    }

    #[test]
    fn what_may_be_dear_waits_for_the_probe() {
        for (fields, entities) in [(50, 1000), (364, 10)] {
            assert!(HashShape::default().choose(fields, entities, true).waits);
            let known = learned(fields, fields * 20, fields * 10, 0);
            assert!(!known.choose(fields, entities, true).waits);
        }
    }

    #[test]
    fn most_of_a_small_hash_is_read_whole() {
        let choice = learned(55, 800, 700, 0).choose(55, 10, false);
        assert_eq!(
            (choice.retrieval, choice.probe),
            (Retrieval::HGetAll, false)
        );
    }

    #[test]
    fn wide_hashes_of_short_values_are_dumped_where_that_is_possible() {
        let shape = learned(364, 364 * 15, 364 * 8, 0);
        let choice = shape.choose(364, 500, true);
        assert_eq!(choice.retrieval, Retrieval::Dump);
        let choice = shape.choose(364, 500, false);
        assert_eq!(
            (choice.retrieval, choice.dump_pays),
            (Retrieval::HGetAll, true)
        );
        for other in [
            learned(11, 11 * 20, 11 * 10, 0),
            learned(364, 364 * 18, 364 * 8, 0),
            learned(364, 364 * 60, 364 * 50, 0),
            learned(364, 364 * 15, 364 * 8, 1),
            learned(1000, 1000 * 20, 1000 * 10, 0),
        ] {
            // More fields than are stored, so that none of them is cheaper to read by HMGET.
            let choice = other.choose(1200, 500, true);
            assert_eq!(
                (choice.retrieval, choice.dump_pays),
                (Retrieval::HGetAll, false)
            );
        }
    }

    #[test]
    fn what_dump_does_not_tell_of_is_dumped_ever_less_often() {
        let shape = learned(364, 364 * 15, 364 * 8, 0);
        let mut dumps = 0;
        for _ in 0..1000 {
            let dumped = shape.choose(364, 1, true).retrieval == Retrieval::Dump;
            dumps += usize::from(dumped);
            shape.learn(&ShapeSample {
                undumped: usize::from(dumped),
                ..sample(364, 364 * 15, 364 * 8, 0)
            });
        }
        assert!((15..30).contains(&dumps), "{dumps}");
    }

    #[test]
    fn a_few_hash_tables_among_many_do_no_harm() {
        let shape = learned(364, 364 * 15, 364 * 8, 0);
        for _ in 0..100 {
            assert_eq!(shape.choose(364, 500, true).retrieval, Retrieval::Dump);
            shape.learn(&ShapeSample {
                hashes: 500,
                dumped: 490,
                undumped: 10,
                pairs: 500 * 364,
                bytes: 500 * 364 * 15,
                wanted_bytes: 500 * 364 * 8,
                long_values: 0,
            });
        }
    }

    #[test]
    fn a_read_that_failed_tells_what_dump_does_not_tell_of() {
        let shape = learned(364, 364 * 15, 364 * 8, 0);
        shape.learn(&ShapeSample {
            undumped: 1,
            ..ShapeSample::default()
        });
        assert_eq!(shape.choose(364, 1, true).retrieval, Retrieval::HGetAll);
    }

    #[test]
    fn one_field_of_a_wide_hash_is_asked_for() {
        assert_eq!(
            learned(300, 5000, 9, 0).choose(2, 1, true).retrieval,
            Retrieval::HMGet
        );
    }

    #[test]
    fn scalars_beside_embeddings_are_asked_for() {
        let choice = learned(10, 9400, 50, 1).choose(6, 100, true);
        assert_eq!(choice.retrieval, Retrieval::HMGet);
    }

    #[test]
    fn a_shape_that_changes_is_noticed_by_a_probe() {
        let shape = learned(300, 5000, 9, 0);
        let probes = (0..10_000)
            .filter(|_| shape.choose(2, 1, true).probe)
            .count();
        assert!((2..=10_000 / 64).contains(&probes), "{probes}");
    }
}
