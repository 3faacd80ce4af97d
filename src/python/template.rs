//! Dicts with the names of an answer's columns.
//!
//! To make the names of fifty columns and to put them into a growing dict takes as long as to make
//! a row of values. The names are the same for every answer of a plan, so a dict of them is made
//! once, and copied.

use std::sync::{Arc, Mutex, PoisonError};

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyString};

/// The dict of a plan's answers.
#[derive(Default)]
pub struct Template(Mutex<Option<Arc<Names>>>);

struct Names {
    columns: Vec<String>,
    keys: Vec<Py<PyString>>,
    empty: Py<PyDict>,
}

impl Names {
    fn new<'a>(py: Python<'_>, names: impl Iterator<Item = &'a str>) -> PyResult<Self> {
        let names: Vec<String> = names.map(str::to_owned).collect();
        let keys: Vec<_> = names.iter().map(|name| PyString::new(py, name)).collect();
        let empty = PyDict::new(py);
        for key in &keys {
            empty.set_item(key, py.None())?;
        }
        Ok(Self {
            columns: names,
            keys: keys.into_iter().map(Bound::unbind).collect(),
            empty: empty.unbind(),
        })
    }
}

impl Template {
    /// A new dict of these columns. Of columns of one name the last one counts.
    pub fn dict<'py, 'a>(
        &self,
        py: Python<'py>,
        names: impl Iterator<Item = &'a str> + Clone,
        columns: Vec<Bound<'py, PyList>>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let names = self.names(py, names)?;
        let dict = names.empty.bind(py).copy()?;
        for (key, column) in names.keys.iter().zip(columns) {
            dict.set_item(key, column)?;
        }
        Ok(dict)
    }

    fn names<'a>(
        &self,
        py: Python<'_>,
        names: impl Iterator<Item = &'a str> + Clone,
    ) -> PyResult<Arc<Names>> {
        let known = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        if let Some(known) = known
            && names.clone().eq(known.columns.iter().map(String::as_str))
        {
            return Ok(known);
        }
        let made = Arc::new(Names::new(py, names)?);
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // What it replaces is dropped when the lock is free again.
        let _old = known.replace(made.clone());
        drop(known);
        Ok(made)
    }
}
