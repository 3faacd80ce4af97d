//! Which rows of a source are each entity's latest, found in bounded memory.
//!
//! A source has many rows of an entity, and only the latest is to be stored. This finds out which
//! one that is from the key columns alone, over a source that can be scanned again and again in the
//! same order: the winners are kept as one bit a row, and a last scan takes the rows by
//! [`LatestRows::mask`]. A table holds the latest row of each entity of a pass. When it is full, the
//! pass gives up the half of its entities whose hashes are highest, and leaves them to later passes.
//!
//! An entity is known by a 128-bit hash of its join keys' values: of a billion entities any two
//! have the same with a probability of 10^-21. The hash's seed is random, so that nobody can
//! prepare two that collide.
//!
//! Memory, besides a batch's columns: one bit a row of the source, and 64 bytes an entity of a pass
//! (80 with created timestamps). That is a slot of 32 bytes (40), of which three quarters are used
//! at most, and half as much again while a table grows.

mod key;
mod table;
mod times;

use std::hash::{BuildHasher, RandomState};
use std::mem;

use arrow_array::{ArrayRef, BooleanArray, RecordBatch};
use arrow_buffer::{BooleanBuffer, MutableBuffer, bit_util};
use arrow_schema::DataType;

use crate::error::{Error, ErrorKind, Result};
use key::KeyHasher;
use table::{GROUP, Table};
use times::Times;

/// Rows hashed at once: few enough for their hashes to stay in the cache.
const BLOCK: usize = 1024;

/// Finds the latest row of each entity: the one of the greatest event timestamp, then of the
/// greatest created timestamp (null is the lowest), then the last in the source.
#[derive(Debug)]
pub struct LatestRows {
    join_keys: Vec<String>,
    event_timestamp: String,
    created_timestamp: Option<String>,
    /// The timestamps' types, which are those of the first batch.
    time_types: Option<Vec<DataType>>,
    hasher: KeyHasher,
    table: Table,
    /// At how many entities the table is full.
    room: usize,
    rows_hint: usize,
    state: State,
    /// Passes that ended.
    done: usize,
    /// The entities of the pass under way, or of the next, by the upper halves of their hashes;
    /// `None` when all have had their pass.
    share: Option<Share>,
    /// Rows of the source, known from the first pass.
    rows: usize,
    latest: usize,
    /// A bit a row, set for the latest.
    bits: MutableBuffer,
}

#[derive(Debug)]
enum State {
    Between,
    /// In this pass so many rows were added.
    Pass {
        rows: usize,
    },
    /// All passes are done; a mask was given for so many rows.
    Finished {
        winners: BooleanBuffer,
        given: usize,
    },
}

/// Entities by the upper halves of their hashes: from `first` to `last`, both included.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Share {
    first: u64,
    last: u64,
}

impl Share {
    const ALL: Self = Self {
        first: 0,
        last: u64::MAX,
    };

    fn has(self, hash: u128) -> bool {
        let upper = (hash >> 64) as u64;
        self.first <= upper && upper <= self.last
    }

    /// The lower half.
    fn half(self) -> Self {
        Self {
            last: self.first + (self.last - self.first) / 2,
            ..self
        }
    }

    fn width(self) -> f64 {
        (self.last - self.first) as f64 + 1.0
    }

    /// What comes next, if `entities` of this were met and about `wanted` are to be.
    fn next(self, entities: usize, wanted: f64) -> Option<Self> {
        let first = self.last.checked_add(1)?;
        // A float beyond u64 saturates.
        let width = (self.width() * wanted / entities.max(1) as f64) as u64;
        let last = first.saturating_add(width);
        Some(Self { first, last })
    }
}

impl LatestRows {
    /// Finds the latest rows by these columns. Without join keys there is one entity.
    ///
    /// `rows_hint` is how many rows the source has at most, if that is known; [`passes`](Self::passes)
    /// begins with it. `memory_bytes` is what a pass' table may take, except that no table is too
    /// small for some hundred entities.
    #[must_use]
    pub fn new(
        join_keys: Vec<String>,
        event_timestamp: String,
        created_timestamp: Option<String>,
        rows_hint: usize,
        memory_bytes: usize,
    ) -> Self {
        let seed = RandomState::new().hash_one(0);
        let table = Table::new(created_timestamp.is_some(), memory_bytes);
        Self {
            hasher: KeyHasher::new(seed),
            room: table.room(),
            table,
            join_keys,
            event_timestamp,
            created_timestamp,
            time_types: None,
            rows_hint,
            state: State::Between,
            done: 0,
            share: Some(Share::ALL),
            rows: 0,
            latest: 0,
            bits: MutableBuffer::new(0),
        }
    }

    /// How often the source must be scanned, as far as that is known. Before the first pass this is
    /// by the hint, as if no two rows were of one entity; then it is by the entities met so far, as
    /// if the pass under way were at its end. So ask again before each pass.
    #[must_use]
    pub fn passes(&self) -> usize {
        let (done, share) = match self.state {
            State::Between if self.done == 0 => return self.passes_hinted(),
            State::Pass { .. } => (self.done + 1, self.next_share()),
            _ => (self.done, self.share),
        };
        share.map_or(done, |share| {
            let left = (u64::MAX - share.first) as f64 + 1.0;
            done + (left / share.width()).ceil() as usize
        })
    }

    /// The share of the next pass, if the one under way ended now.
    fn next_share(&self) -> Option<Share> {
        self.share
            .and_then(|share| share.next(self.table.len(), self.wanted()))
    }

    fn passes_hinted(&self) -> usize {
        let (room, hint) = (self.room as f64, self.rows_hint as f64);
        if hint <= room {
            return 1;
        }
        // The first pass may give up half of its entities at the very end. How many entities a
        // share has varies by the root of their number: with eight times that to spare, what is
        // promised here suffices.
        let spare = 8.0 * room.sqrt();
        1 + ((hint - (room / 2.0 - spare)) / (self.wanted() - spare)).ceil() as usize
    }

    /// How many entities a later pass is to have: few enough for the table not to fill by chance.
    fn wanted(&self) -> f64 {
        let room = self.room as f64;
        room - 8.0 * room.sqrt()
    }

    /// Begins a pass over the source, counted from 0.
    pub fn start(&mut self, number: usize) -> Result<()> {
        self.close()?;
        if !matches!(self.state, State::Between) {
            return Err(misused("the passes are finished"));
        }
        if number != self.done {
            let next = self.done;
            return Err(misused(format!(
                "pass {number} cannot begin: the next is pass {next}"
            )));
        }
        self.state = State::Pass { rows: 0 };
        self.table.clear();
        Ok(())
    }

    /// Takes the next rows of the source.
    ///
    /// # Errors
    /// [`ErrorKind::EntityKey`] for a null join key or one that cannot be part of an entity key,
    /// [`ErrorKind::Encode`] for a null event timestamp or a type that is none, and
    /// [`ErrorKind::Argument`] for a column that is missing, a source that changed, or a pass that
    /// was not begun.
    pub fn add(&mut self, batch: &RecordBatch) -> Result<()> {
        let State::Pass { rows } = self.state else {
            return Err(misused("rows can be added after a pass was begun"));
        };
        let total = rows + batch.num_rows();
        if self.done > 0 && total > self.rows {
            return Err(self.changed(total, "or more"));
        }
        let mut keys: Vec<ArrayRef> = Vec::with_capacity(self.join_keys.len());
        for name in &self.join_keys {
            keys.push(key::column(name, column(batch, name)?, rows)?);
        }
        let times = Times::new(
            (&self.event_timestamp, column(batch, &self.event_timestamp)?),
            self.created_timestamp
                .as_deref()
                .map(|name| Ok::<_, Error>((name, column(batch, name)?)))
                .transpose()?,
            rows,
        )?;
        times.check_types(&mut self.time_types)?;
        if self.share.is_some() {
            let mut hashes = [0; BLOCK];
            for start in (0..batch.num_rows()).step_by(BLOCK) {
                let hashes = &mut hashes[..BLOCK.min(batch.num_rows() - start)];
                self.hasher.hash(&keys, start, hashes);
                for (group, hashes) in hashes.chunks(GROUP).enumerate() {
                    self.put(hashes, &times, start + group * GROUP, rows);
                }
            }
        }
        self.state = State::Pass { rows: total };
        Ok(())
    }

    /// Puts a group of rows into the table: those from `start` in the batch, before which the
    /// source had `before` rows.
    fn put(&mut self, hashes: &[u128], times: &Times, start: usize, before: usize) {
        while let Some(share) = self.share
            && self.table.len() + hashes.len() > self.room
        {
            let half = share.half();
            self.table.retain(|hash| half.has(hash));
            self.share = Some(half);
        }
        if let Some(share) = self.share {
            self.table
                .put(hashes, |hash| share.has(hash), times, start, before);
        }
    }

    /// Ends the pass under way, if there is one.
    fn close(&mut self) -> Result<()> {
        let State::Pass { rows } = self.state else {
            return Ok(());
        };
        if self.done == 0 {
            self.rows = rows;
            self.bits = MutableBuffer::from_len_zeroed(rows.div_ceil(8));
        } else if rows != self.rows {
            return Err(self.changed(rows, "rows"));
        }
        if self.share.is_some() {
            for row in self.table.rows() {
                bit_util::set_bit(self.bits.as_slice_mut(), row);
            }
            self.latest += self.table.len();
            self.share = self.next_share();
        }
        self.done += 1;
        self.state = State::Between;
        Ok(())
    }

    /// Ends the last pass.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] when more passes are needed, or the source changed.
    pub fn finish(&mut self) -> Result<()> {
        self.close()?;
        if !matches!(self.state, State::Between) {
            return Err(misused("the passes are finished"));
        }
        if self.done == 0 || self.share.is_some() {
            return Err(misused(format!(
                "{} passes over the source were made and {} are needed; ask for `passes` again \
                 before each",
                self.done,
                self.passes()
            )));
        }
        self.table.free();
        let bits = mem::replace(&mut self.bits, MutableBuffer::new(0));
        self.state = State::Finished {
            winners: BooleanBuffer::new(bits.into(), 0, self.rows),
            given: 0,
        };
        Ok(())
    }

    /// Which of the next `rows` rows of the source are the latest of their entities.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] when the source has fewer rows left, or before
    /// [`finish`](Self::finish).
    pub fn mask(&mut self, rows: usize) -> Result<BooleanArray> {
        let total = self.rows;
        let State::Finished { winners, given } = &mut self.state else {
            return Err(misused(
                "the latest rows are known when the passes are finished",
            ));
        };
        if rows > total - *given {
            let now = *given + rows;
            return Err(self.changed(now, "or more"));
        }
        let mask = winners.slice(*given, rows);
        *given += rows;
        Ok(BooleanArray::new(mask, None))
    }

    /// How many rows are latest: as many as there are entities in the passes that ended.
    #[must_use]
    pub fn latest(&self) -> usize {
        self.latest
    }

    /// How many rows the source has; in the first pass, how many were added.
    #[must_use]
    pub fn rows(&self) -> usize {
        match self.state {
            State::Pass { rows } if self.done == 0 => rows,
            _ => self.rows,
        }
    }

    fn changed(&self, now: usize, or_more: &str) -> Error {
        misused(format!(
            "the source changed while it was read: it had {} rows, and has {now} {or_more} now",
            self.rows
        ))
    }
}

fn misused(what: impl Into<String>) -> Error {
    Error::new(ErrorKind::Argument, what)
}

fn column<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a ArrayRef> {
    batch
        .column_by_name(name)
        .ok_or_else(|| misused(format!("the source has no column '{name}'")))
}

#[cfg(test)]
mod tests;
