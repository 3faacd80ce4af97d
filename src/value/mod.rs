//! Feast's `Value` messages: the cells of a Redis hash.
//!
//! A cell is one serialized `feast.types.Value`; an empty cell, and a hash field that is absent,
//! is null.

mod cause;
mod cells;
mod check;
mod collection;
mod column;
pub mod cursor;
pub mod decode;
pub mod dtype;
mod dtype_text;
pub(crate) mod elements;
pub mod encode;
pub mod field;
mod inferred;
mod items;
pub mod json;
mod json_lists;
mod maps;
mod nested;
pub mod number;
pub(crate) mod source;
mod spelled;
mod tagged;
mod texts;
mod varint;
pub mod wire;
mod wire_out;
mod zoned;

pub use cause::Cause;
pub use decode::{CellError, ColumnDecoder};
pub use dtype::FeastType;
pub use encode::{encode, is_null_cell};
pub use varint::write_varint;

#[cfg(test)]
mod decode_tests;
#[cfg(test)]
mod encode_tests;
#[cfg(test)]
mod wire_tests;

/// The messages of `proto/feast/types.proto`: the oracle in tests.
#[allow(missing_docs, clippy::all, clippy::pedantic)]
pub mod message {
    include!(concat!(env!("OUT_DIR"), "/feast.types.rs"));
}
