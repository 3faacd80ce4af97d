//! Feast's online path on Redis.
//!
//! The modules, in the order in which the data of a read meets them:
//!
//! 1. [`plan`]: what a list of features means, compiled once: join keys, hash fields, columns.
//! 2. [`entity_key`]: rows of join-key values become Feast's key bytes.
//! 3. [`redis`]: commands out to the servers that have the keys, bytes in.
//! 4. [`grid`]: the replies, scanned where they lie into cells.
//! 5. [`features`]: the answer, which owns the reply's bytes and decodes what is asked for.
//! 6. [`value`]: Feast's `Value` messages, from wire bytes to Arrow columns and back.
//!
//! [`read`] strings them together, and shows what has come of an answer to whoever would begin with
//! it while the rest is awaited ([`features::Onlooker`]).
//!
//! A write goes the other way, from Arrow or Feast's messages: [`latest`] tells which rows of a source
//! are worth it, [`value`] and [`entity_key`] make cells and keys of them, and
//! [`write`](mod@write) sends them in order of their [`event_time`]. [`migration`] copies hashes from
//! keys of version 2 to keys of version 3. Only `python` knows Python; the rest is built and tested
//! without it (`cargo test --no-default-features`).

pub mod entity_key;
pub mod error;
pub mod event_time;
pub mod features;
pub mod grid;
pub mod latest;
pub mod migration;
pub mod plan;
#[cfg(feature = "python")]
mod python;
pub mod read;
pub mod redis;
pub mod value;
pub mod write;

/// An answer in Arrow is hundreds of small allocations; they are half of what it costs.
#[cfg(feature = "python")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
