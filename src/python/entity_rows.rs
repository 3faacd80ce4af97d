//! The rows of a request as columns.

use pyo3::exceptions::PyKeyError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use crate::error::{Error, ErrorKind};

/// A list of mappings with the same keys, as a dict of lists by key. Empty if there is no row.
#[pyfunction]
pub fn columns_of_rows<'py>(
    py: Python<'py>,
    rows: &Bound<'py, PyList>,
) -> PyResult<Bound<'py, PyDict>> {
    let answer = PyDict::new(py);
    let Ok(first) = rows.get_item(0) else {
        return Ok(answer);
    };
    let names: Vec<Bound<'py, PyAny>> = first
        .call_method0("keys")?
        .try_iter()?
        .collect::<PyResult<_>>()?;
    let mut columns: Vec<_> = names
        .iter()
        .map(|_| Vec::with_capacity(rows.len()))
        .collect();
    for row in rows {
        for (name, column) in names.iter().zip(&mut columns) {
            column.push(value(&row, name)?);
        }
        // After the look-up, which may add a key to a mapping that has defaults.
        if row.len()? != names.len() {
            return Err(differ());
        }
    }
    for (name, column) in names.iter().zip(columns) {
        answer.set_item(name, PyList::new(py, column)?)?;
    }
    Ok(answer)
}

#[inline]
fn value<'py>(row: &Bound<'py, PyAny>, name: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    if let Ok(row) = row.cast_exact::<PyDict>() {
        return row.get_item(name)?.ok_or_else(differ);
    }
    row.get_item(name).map_err(|error| {
        if error.is_instance_of::<PyKeyError>(row.py()) {
            differ()
        } else {
            error
        }
    })
}

#[cold]
fn differ() -> PyErr {
    let words = "All entity_rows must have the same keys.";
    Error::new(ErrorKind::Argument, words).into()
}
