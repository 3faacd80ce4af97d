//! Schemas that pyarrow has built already.
//!
//! Importing a record batch of fifty columns into pyarrow takes longer than reading one from
//! Redis, and most of that goes into the schema, which is the same for every answer of a plan. So
//! it is imported once, and then only the arrays are.

use std::sync::{Mutex, MutexGuard, PoisonError};

use arrow_array::ffi::FFI_ArrowArray;
use arrow_array::{Array, RecordBatch, StructArray};
use arrow_schema::SchemaRef;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyType;
use pyo3_arrow::PySchema;

use super::beginning::Expectation;
use super::template::Template;

/// The schemas of one plan's answers; with and without event times, and of a few selections.
#[derive(Default)]
pub struct Schemas {
    imported: Mutex<Vec<(SchemaRef, Py<PyAny>)>>,
    /// The dict that an answer becomes.
    pub template: Template,
    /// What an answer becomes.
    pub expectation: Expectation,
}

/// More than these are made up.
const KEPT: usize = 8;

impl Schemas {
    /// `batch` as a `pyarrow.RecordBatch` over the same memory.
    pub fn import<'py>(&self, py: Python<'py>, batch: RecordBatch) -> PyResult<Bound<'py, PyAny>> {
        static RECORD_BATCH: PyOnceLock<Py<PyType>> = PyOnceLock::new();
        let schema = self.schema(py, &batch.schema())?;
        let array = FFI_ArrowArray::new(&StructArray::from(batch).into_data());
        // pyarrow moves the structure's content out of this place; what it does not take is
        // released here.
        let address = &raw const array as usize;
        RECORD_BATCH
            .import(py, "pyarrow", "RecordBatch")?
            .call_method1("_import_from_c", (address, schema))
    }

    fn schema<'py>(&self, py: Python<'py>, schema: &SchemaRef) -> PyResult<Bound<'py, PyAny>> {
        if let Some(imported) = self.find(py, schema) {
            return Ok(imported);
        }
        // Not under the lock: this runs Python, and another thread that waits for the lock with
        // the GIL would wait forever.
        let imported = PySchema::new(schema.clone()).into_pyarrow(py)?;
        let mut known = self.known();
        let forgotten = if known.len() == KEPT {
            std::mem::take(&mut *known)
        } else {
            Vec::new()
        };
        known.push((schema.clone(), imported.clone().unbind()));
        drop(known);
        drop(forgotten);
        Ok(imported)
    }

    fn find<'py>(&self, py: Python<'py>, schema: &SchemaRef) -> Option<Bound<'py, PyAny>> {
        let known = self.known();
        let (_, imported) = known.iter().find(|(candidate, _)| candidate == schema)?;
        Some(imported.bind(py).clone())
    }

    fn known(&self) -> MutexGuard<'_, Vec<(SchemaRef, Py<PyAny>)>> {
        self.imported.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
