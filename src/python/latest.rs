//! The latest rows of a source.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pyo3::prelude::*;
use pyo3_arrow::{PyArray, PyRecordBatch};

use crate::latest;

/// Finds each entity's latest row in a source that is scanned several times.
#[pyclass(frozen, module = "feast_rs._core")]
pub struct LatestRows(Mutex<latest::LatestRows>);

#[pymethods]
impl LatestRows {
    /// Finds the latest rows by these columns. `rows_hint` is how many rows the source has at most,
    /// or 0; a pass' table takes at most `memory_bytes`.
    #[new]
    fn new(
        join_keys: Vec<String>,
        event_timestamp: String,
        created_timestamp: Option<String>,
        rows_hint: usize,
        memory_bytes: usize,
    ) -> Self {
        Self(Mutex::new(latest::LatestRows::new(
            join_keys,
            event_timestamp,
            created_timestamp,
            rows_hint,
            memory_bytes,
        )))
    }

    /// How often the source must be scanned, as far as that is known; to be asked for again before
    /// each pass.
    #[getter]
    fn passes(&self) -> usize {
        self.inner().passes()
    }

    /// Begins a pass, counted from 0.
    fn start(&self, number: usize) -> PyResult<()> {
        Ok(self.inner().start(number)?)
    }

    /// Takes the next record batch of the source.
    fn add(&self, py: Python<'_>, batch: PyRecordBatch) -> PyResult<()> {
        let batch = batch.into_inner();
        Ok(py.detach(|| self.inner().add(&batch))?)
    }

    /// Ends the last pass.
    fn finish(&self, py: Python<'_>) -> PyResult<()> {
        Ok(py.detach(|| self.inner().finish())?)
    }

    /// Which of the next `rows` rows of the source are latest, as an Arrow boolean array.
    fn mask(&self, rows: usize) -> PyResult<PyArray> {
        let mask = self.inner().mask(rows)?;
        Ok(PyArray::from_array_ref(Arc::new(mask)))
    }

    /// How many rows are latest.
    #[getter]
    fn latest(&self) -> usize {
        self.inner().latest()
    }

    /// How many rows the source has.
    #[getter]
    fn rows(&self) -> usize {
        self.inner().rows()
    }
}

impl LatestRows {
    fn inner(&self) -> MutexGuard<'_, latest::LatestRows> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
