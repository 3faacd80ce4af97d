//! Rows into Redis: what Feast's `online_write_batch` writes, from its protobuf rows or from Arrow.
//!
//! The modules, in the order in which a row meets them:
//!
//! 1. [`schema`]: which columns of a record batch are join keys, features and the event timestamp.
//! 2. [`rows`]: entity keys, event times and cells, encoded side by side.
//! 3. [`pending`]: rows into commands under a [`WritePolicy`], and what their replies mean.
//! 4. [`batch`]: one batch, written by the calling thread or a task.
//! 5. [`stream`]: any number of batches, written by a thread while the next one is encoded.
//!
//! A row is one HSET of the view's event timestamp and its features, so that it is never seen half.
//! In a stream, rows of entities of which Redis has nothing yet are one RESTORE each (`restore`).
//! Unless told otherwise a row is written only if it is newer than what is stored and than the rows
//! of its batch that came before it. [`Newest`] says how that is found out.

pub mod batch;
mod line;
mod newcomers;
pub mod pending;
mod queue;
mod refusal;
mod restore;
mod retry;
pub mod rows;
pub mod schema;
pub mod script;
pub mod stream;

use std::time::Duration;

use crate::event_time::EventTime;

/// How it is found out whether a row is newer than the stored one.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Newest {
    /// The stored times are read, then newer rows written: stock Feast's way. Of two writers that
    /// meet between the read and the write, the later one wins, whatever its times.
    #[default]
    Compared,
    /// A script in Redis compares and writes each row in one step.
    Atomic,
    /// It is not: every row is written.
    Assumed,
}

/// How rows are written.
#[derive(Clone, Copy, Debug, Default)]
pub struct WritePolicy {
    /// Whether and how older rows are told from newer ones.
    pub newest: Newest,
    /// Seconds that a key lives after a write to it.
    pub key_ttl: Option<u64>,
    /// Whether a row that is not newer renews its key's time to live.
    pub renew_skipped: bool,
    /// How long after its event time a row's fields expire.
    pub field_ttl: Option<Duration>,
    /// Whether a stream may send rows of new entities as RESTORE.
    pub restores: bool,
}

/// What became of rows so far.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counts {
    /// Rows that came.
    pub read: u64,
    /// Rows whose write was acknowledged.
    pub written: u64,
    /// Rows that were not newer than what is stored.
    pub skipped: u64,
    /// Rows that Redis refused.
    pub failed: u64,
    /// Bytes of commands sent.
    pub bytes: u64,
    /// Acknowledged commands that write: one a row, or more when there are times to live.
    pub replies: u64,
    /// The newest event time of the rows that were written or skipped.
    pub newest: Option<EventTime>,
}
