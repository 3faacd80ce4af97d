//! Keys of version 2, migrated page by page.

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

use super::client::{Client, with_signals};
use crate::migration::readings::Readings;
use crate::migration::report::Outcome;
use crate::migration::{Migration, Mode, Views};

/// Recognizes a project's keys of version 2 and migrates them to version 3.
///
/// `join_keys` are those of each feature view, with whether they are to be migrated; `views` are
/// all feature views, named as they are stored, with their features. `field_expiry` tells whether
/// the servers know times to live of hash fields.
#[pyclass(frozen, module = "feast_rs._core")]
pub struct KeyMigration(Migration);

/// Outcomes' names, each with a key and what there is to say.
type Samples = Vec<(&'static str, String)>;

#[pymethods]
impl KeyMigration {
    #[new]
    fn new(
        project: &str,
        join_keys: Vec<(Vec<String>, bool)>,
        views: Vec<(String, Vec<String>)>,
        field_expiry: bool,
    ) -> PyResult<Self> {
        let views = Views::new(views.iter().map(|(name, f)| (name.as_str(), f.as_slice())));
        let readings = Readings::new(project, join_keys)?;
        Ok(Self(Migration::new(readings, views, field_expiry)))
    }

    /// The glob pattern for SCAN that all keys of version 2 match, and some others.
    #[getter]
    fn pattern<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.0.readings().pattern())
    }

    /// Migrates those of `keys` that are to be. Returns how many keys had each outcome, and the
    /// first of each outcome with what there is to say.
    fn run<'py>(
        &self,
        py: Python<'py>,
        client: &Client,
        keys: Vec<Vec<u8>>,
        dry_run: bool,
        delete: bool,
    ) -> PyResult<(Bound<'py, PyDict>, Samples)> {
        let deployment = client.deployment();
        let mode = Mode { dry_run, delete };
        let report = with_signals(py, |interrupt| {
            self.0.run_page(&keys, mode, &deployment, interrupt)
        })?;
        let counts = PyDict::new(py);
        for outcome in Outcome::ALL {
            counts.set_item(outcome.name(), report.count(outcome))?;
        }
        let samples = report.samples.into_iter();
        let samples = samples.map(|(outcome, text)| (outcome.name(), text));
        Ok((counts, samples.collect()))
    }
}
