//! Feast's `Value` messages: the cells of a Redis hash.

/// The messages of `proto/feast/types.proto`: the oracle in tests, and the slow path for maps and
/// nested values.
#[allow(missing_docs, clippy::all, clippy::pedantic)]
pub mod message {
    include!(concat!(env!("OUT_DIR"), "/feast.types.rs"));
}
