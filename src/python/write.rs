//! Batches of rows from Feast's protobuf form.

use std::sync::{Mutex, PoisonError};

use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::entity_key::{KeyColumn, KeyVersion, parse_message};
use crate::error::{Error, ErrorKind};
use crate::features::EventTime;
use crate::write;

/// Rows of one feature view on their way to Redis; written once.
#[pyclass(frozen, module = "feast_rs._core")]
pub struct WriteBatch(Mutex<Option<write::WriteBatch>>);

#[pymethods]
impl WriteBatch {
    /// An empty batch for a view, named as it is stored. `key_ttl` is in seconds.
    #[new]
    #[pyo3(signature = (view, project, version, key_ttl=None))]
    fn new(view: &str, project: &str, version: u32, key_ttl: Option<u64>) -> PyResult<Self> {
        let version = KeyVersion::try_from(version)?;
        let batch = write::WriteBatch::new(view, project, version, key_ttl);
        Ok(Self(Mutex::new(Some(batch))))
    }

    /// Adds a row: a serialized `EntityKey`, its event time, and serialized `Value`s by feature.
    fn add(
        &self,
        entity_key: &[u8],
        seconds: i64,
        nanos: i32,
        features: Vec<(String, Bound<'_, PyBytes>)>,
    ) -> PyResult<()> {
        let (names, values) = parse_message(entity_key)?;
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let values: Vec<&KeyColumn> = values.iter().collect();
        let features = features
            .into_iter()
            .map(|(name, value)| (name, value.as_bytes().to_vec()))
            .collect();
        match &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(batch) => {
                Ok(batch.push(&names, &values, EventTime { seconds, nanos }, features)?)
            }
            None => Err(spent().into()),
        }
    }
}

impl WriteBatch {
    /// Takes the rows out, to be written.
    pub fn take(&self) -> Result<write::WriteBatch, Error> {
        let mut batch = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        batch.take().ok_or_else(spent)
    }
}

fn spent() -> Error {
    Error::new(ErrorKind::Argument, "the batch was written already")
}
