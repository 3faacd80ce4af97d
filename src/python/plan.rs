//! Plans from Python: what the store found out about a feature list.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use pyo3::prelude::*;

use super::schemas::Schemas;
use crate::entity_key::KeyVersion;
use crate::error::{Error, ErrorKind, Result};
use crate::plan;
use crate::value::FeastType;

/// A compiled feature list.
///
/// It is built by `add_group` and `add_column`, and fixed by the first read.
#[pyclass(frozen, module = "feast_rs._core")]
pub struct Plan {
    state: Mutex<State>,
    schemas: Arc<Schemas>,
}

enum State {
    Building(plan::Plan),
    Built(Arc<plan::Plan>),
}

#[pymethods]
impl Plan {
    /// A plan for requests whose join-key columns have these names.
    #[new]
    fn new(key_names: Vec<String>) -> Self {
        Self {
            state: Mutex::new(State::Building(plan::Plan::new(key_names))),
            schemas: Arc::default(),
        }
    }

    /// Adds an entity key: its join keys, and for each the place of its column in the request.
    /// Returns its index; the same entity key is added once.
    fn add_group(
        &self,
        join_keys: Vec<String>,
        key_columns: Vec<usize>,
        version: u32,
        project: &str,
    ) -> PyResult<usize> {
        let names: Vec<&str> = join_keys.iter().map(String::as_str).collect();
        let version = KeyVersion::try_from(version)?;
        Ok(self.build(|plan| plan.add_group(&names, &key_columns, version, project))?)
    }

    /// Adds the column of a feature, read with the keys of `group`. `dtype` is the declared type
    /// as `feast_rs.dtypes` spells it; `ttl` the view's time to live in seconds; `default` the
    /// serialized `Value` that stands in when an entity cannot be read, null unless given.
    #[pyo3(signature = (group, name, view, feature, dtype, ttl=None, default=None))]
    #[expect(clippy::too_many_arguments, reason = "Python names them")]
    fn add_column(
        &self,
        group: usize,
        name: &str,
        view: &str,
        feature: &str,
        dtype: &str,
        ttl: Option<f64>,
        default: Option<Vec<u8>>,
    ) -> PyResult<()> {
        let dtype: FeastType = dtype.parse()?;
        let ttl = ttl.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        Ok(self.build(|plan| {
            let column = plan.add_column(group, name, view, feature, dtype, ttl);
            if let Some(value) = default {
                plan.set_default(column, value);
            }
            Ok(())
        })?)
    }
}

impl Plan {
    /// pyarrow's schemas of the plan's answers.
    pub fn schemas(&self) -> Arc<Schemas> {
        self.schemas.clone()
    }

    /// The plan as it is read with; from now on it is fixed.
    pub fn built(&self) -> Arc<plan::Plan> {
        let mut state = self
            .state
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if let State::Building(plan) = &mut *state {
            *state = State::Built(Arc::new(std::mem::take(plan).with_known_shapes()));
        }
        match &*state {
            State::Built(plan) => plan.clone(),
            State::Building(_) => Arc::default(),
        }
    }

    fn build<T>(&self, add: impl FnOnce(&mut plan::Plan) -> Result<T>) -> Result<T> {
        let mut state = self
            .state
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        match &mut *state {
            State::Building(plan) => add(plan),
            State::Built(_) => Err(Error::new(
                ErrorKind::Argument,
                "a plan that was read with cannot be changed",
            )),
        }
    }
}
