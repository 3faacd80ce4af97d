//! The extension module `feast_rs._core`: Python values to owned Rust and back.
//!
//! Every call takes what it needs out of Python's objects, lets go of the GIL, does its work with
//! the core, and takes the GIL once more for the result. No Python object goes below this module.

#![allow(
    clippy::needless_pass_by_value,
    reason = "PyO3 hands a call's arguments over by value"
)]

mod answer;
mod beginning;
mod client;
mod collector;
mod completions;
mod credentials;
mod early_lists;
mod entity_rows;
mod exceptions;
mod keys;
mod latest;
mod migration;
mod nodes;
mod objects;
mod plan;
mod runtime;
mod schemas;
mod settings;
mod template;
mod values;
mod write;

use pyo3::prelude::*;

/// The Rust core of feast-rs.
#[pymodule]
mod _core {
    #[pymodule_export]
    use super::answer::{Answer, Column};
    #[pymodule_export]
    use super::client::{Client, check_settings};
    #[pymodule_export]
    use super::completions::{Completions, Task};
    #[pymodule_export]
    use super::credentials::CredentialPromise;
    #[pymodule_export]
    use super::entity_rows::columns_of_rows;
    #[pymodule_export]
    use super::keys::{KeyColumn, KeyOwner, parse_keys, serialize_keys, view_fields};
    #[pymodule_export]
    use super::latest::LatestRows;
    #[pymodule_export]
    use super::migration::KeyMigration;
    #[pymodule_export]
    use super::plan::Plan;
    #[pymodule_export]
    use super::values::{decode_values, encode_values};
    #[pymodule_export]
    use super::write::{EncodedRows, RowSchema, WriteBatch, WritePolicy, WriteStream};
}
