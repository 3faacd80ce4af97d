//! Feast's `Value` messages: the cells of a Redis hash.
//!
//! A cell is one serialized `feast.types.Value`; an empty cell, and a hash field that is absent,
//! is null.

mod cause;
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
pub mod number;
mod numpy_cells;
pub(crate) mod source;
mod tagged;
mod varint;
pub mod wire;
mod wire_out;
mod zoned;

pub use cause::Cause;
pub use decode::{CellError, ColumnDecoder};
pub use dtype::FeastType;
pub use encode::encode;
pub use numpy_cells::{encode_through_numpy, is_null_cell};
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
