//! The answer to a read, in the forms that Python asks for.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use arrow_array::RecordBatch;
use foldhash::fast::RandomState;
use numpy::{PyArray1, PyArray2, PyArrayMethods, ToPyArray};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedStr;
use pyo3::types::{PyBytes, PyDict, PyList};
use pyo3_arrow::{PyArray, PyRecordBatch};

use super::beginning::{Beginning, Form};
use super::collector::CollectorPause;
use super::early_lists::BegunLists;
use super::objects::{BlockOrder, Hint, KeptObjects, ObjectColumn, ObjectMaker};
use super::schemas::Schemas;
use crate::error::{Error, ErrorKind};
use crate::event_time::EventTime;
use crate::features::{AddedColumn, Cells, Features, Front, MatrixFloat, Status};
use crate::value::{FeastType, encode};

/// A column of serialized values that does not come from Redis' hashes.
#[pyclass(frozen, module = "feast_rs._core")]
pub struct Column(AddedColumn);

#[pymethods]
impl Column {
    /// A column of serialized `Value`s. `statuses` are Feast's `FieldStatus` numbers, PRESENT
    /// unless given; `times` are (seconds, nanoseconds), the epoch unless given.
    #[new]
    #[pyo3(signature = (name, dtype, cells, statuses=None, times=None))]
    fn new(
        name: String,
        dtype: &str,
        cells: Vec<Bound<'_, PyBytes>>,
        statuses: Option<Vec<u8>>,
        times: Option<Vec<(i64, i32)>>,
    ) -> PyResult<Self> {
        let (mut bytes, mut ends) = (Vec::new(), Vec::with_capacity(cells.len()));
        for cell in &cells {
            bytes.extend_from_slice(cell.as_bytes());
            ends.push(bytes.len());
        }
        let statuses = statuses.unwrap_or_default().into_iter().map(Status::from);
        let time = |(seconds, nanos)| EventTime { seconds, nanos };
        let times = times.unwrap_or_default().into_iter().map(time);
        let column = added(
            name,
            dtype,
            bytes,
            ends,
            statuses.collect(),
            times.collect(),
        )?;
        Ok(Self(column))
    }

    /// A column of an Arrow array's values, serialized as the Feast type `value_type`.
    #[staticmethod]
    fn of_array(name: String, dtype: &str, array: PyArray, value_type: &str) -> PyResult<Self> {
        let cells = encode(array.array(), &value_type.parse()?)?;
        let ends = cells.offsets().iter().skip(1).map(|&end| end as usize);
        let bytes = cells.value_data().to_vec();
        let column = added(name, dtype, bytes, ends.collect(), Vec::new(), Vec::new())?;
        Ok(Self(column))
    }

    fn __len__(&self) -> usize {
        self.0.ends.len()
    }
}

/// A column; values without a status are present, those without a time of the epoch.
fn added(
    name: String,
    dtype: &str,
    cells: Vec<u8>,
    ends: Vec<usize>,
    mut statuses: Vec<Status>,
    mut times: Vec<EventTime>,
) -> PyResult<AddedColumn> {
    statuses.resize(ends.len(), Status::Present);
    times.resize(ends.len(), EventTime::default());
    Ok(AddedColumn {
        name,
        dtype: dtype.parse()?,
        cells,
        ends,
        statuses,
        times,
    })
}

/// What [`Answer::surround`] is given.
#[derive(FromPyObject)]
enum InFront<'py> {
    Key(usize),
    Column(PyRef<'py, Column>),
}

/// The answer to a read.
#[pyclass(frozen, module = "feast_rs._core")]
pub struct Answer {
    features: Mutex<Arc<Features>>,
    schemas: Arc<Schemas>,
    beginning: Beginning,
}

#[pymethods]
impl Answer {
    /// An answer of columns alone, all of `rows` rows.
    #[staticmethod]
    fn of_columns(rows: usize, columns: Vec<PyRef<'_, Column>>) -> PyResult<Self> {
        let columns = columns.iter().map(|column| column.0.clone()).collect();
        let features = Features::from_columns(rows, columns)?;
        Ok(Self::new(features, Arc::default()))
    }

    /// Puts join keys (by their place in the request) and columns in front of the features, and
    /// columns behind them.
    fn surround(&self, front: Vec<InFront<'_>>, after: Vec<PyRef<'_, Column>>) -> PyResult<()> {
        let front = front
            .into_iter()
            .map(|column| match column {
                InFront::Key(key) => Front::Key(key),
                InFront::Column(column) => Front::Column(column.0.clone()),
            })
            .collect();
        let after = after.iter().map(|column| column.0.clone()).collect();
        self.edit(|features| features.surround(front, after))?
            .map_err(Into::into)
    }

    /// Keeps only the columns of these names.
    fn retain(&self, names: Vec<String>) -> PyResult<()> {
        self.edit(|features| features.retain(|name| names.iter().any(|kept| kept == name)))
    }

    /// How many rows there are.
    #[getter]
    fn num_rows(&self) -> usize {
        self.features().rows()
    }

    /// How many entity keys could not be read and have default values, and what went wrong first;
    /// None when all were read.
    #[getter]
    fn unanswered(&self) -> Option<(usize, String)> {
        let features = self.features();
        let unanswered = features.unanswered()?;
        Some((unanswered.entities(), unanswered.error().to_string()))
    }

    /// For each row whether its entity of one of these groups of the plan could not be read.
    fn unanswered_rows(&self, groups: Vec<usize>) -> Vec<bool> {
        self.features().unanswered_rows(&groups)
    }

    /// The columns' names.
    #[getter]
    fn names(&self) -> Vec<String> {
        let features = self.features();
        (0..features.width())
            .map(|column| features.name(column).to_owned())
            .collect()
    }

    /// How many values of the lists of `to_dict`, or of arrays, were made while the replies came.
    #[getter]
    fn early_values(&self) -> usize {
        self.beginning.values()
    }

    /// The columns as lists of Python values; with `event_times`, each followed by
    /// `<name>__ts` in whole seconds.
    fn to_dict<'py>(&self, py: Python<'py>, event_times: bool) -> PyResult<Bound<'py, PyDict>> {
        let features = self.features();
        self.schemas.expectation.wanted(Form::Lists);
        // Also while the dict is made: it would find all that was made before it to be looked through.
        let _pause = CollectorPause::new();
        let lists = column_lists(py, &features, self.beginning.take_lists())?;
        if !event_times {
            let names = (0..features.width()).map(|column| features.name(column));
            return self.schemas.template.dict(py, names, lists);
        }
        let dict = PyDict::new(py);
        for (column, list) in lists.into_iter().enumerate() {
            dict.set_item(features.name(column), list)?;
            let times = features.event_times(column)?;
            let seconds = PyList::new(py, times.iter().map(|time| time.seconds))?;
            dict.set_item(format!("{}__ts", features.name(column)), seconds)?;
        }
        Ok(dict)
    }

    /// The columns as an Arrow record batch of the declared types.
    fn record_batch(&self, py: Python<'_>, event_times: bool) -> PyResult<PyRecordBatch> {
        Ok(PyRecordBatch::new(self.batch(py, event_times)?))
    }

    /// The same as a `pyarrow.RecordBatch`.
    fn pyarrow_batch<'py>(
        &self,
        py: Python<'py>,
        event_times: bool,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.schemas.import(py, self.batch(py, event_times)?)
    }

    /// The columns' declared types, as `feast_rs.dtypes` spells them.
    #[getter]
    fn dtypes(&self) -> Vec<String> {
        let features = self.features();
        (0..features.width())
            .map(|column| features.dtype(column).to_string())
            .collect()
    }

    /// Rows x columns of float32 or float64, C-contiguous. With `numbers`, names of other columns
    /// than those whose declared type is a number to a model are passed over.
    fn matrix<'py>(
        &self,
        py: Python<'py>,
        names: Vec<PyBackedStr>,
        numbers: bool,
        double: bool,
        null: f64,
    ) -> PyResult<Bound<'py, PyAny>> {
        let features = self.features();
        let columns = columns_of(&features, &names, numbers)?;
        if double {
            Ok(matrix(py, &features, &columns, null)?.into_any())
        } else {
            Ok(matrix(py, &features, &columns, null as f32)?.into_any())
        }
    }

    /// The serialized `GetOnlineFeaturesResponse`; `versions` are (view, version) for its
    /// metadata.
    fn message<'py>(
        &self,
        py: Python<'py>,
        versions: Vec<(String, i32)>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let features = self.features();
        let message = py.detach(|| features.message(&versions))?;
        Ok(PyBytes::new(py, &message))
    }

    /// The columns' serialized values, None where the hash has none.
    fn cells<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyList>>> {
        let features = self.features();
        (0..features.width())
            .map(|column| {
                let cells = features.cells(column, 0..features.rows());
                PyList::new(
                    py,
                    cells.map(|cell| cell.map(|cell| PyBytes::new(py, cell))),
                )
            })
            .collect()
    }

    /// Raises `DecodeError` for a cell that Feast cannot read: which one it is, and `cause`.
    fn reject(&self, column: usize, row: usize, cause: &str) -> PyResult<()> {
        Err(self.features().cell_error(column, row, &cause).into())
    }

    /// Feast's `FieldStatus` of every row, by column, as uint8 arrays.
    fn statuses<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let features = self.features();
        let dict = PyDict::new(py);
        for column in features.distinct() {
            let numbers: Vec<u8> = features.statuses(column).iter().map(|&s| s as u8).collect();
            dict.set_item(features.name(column), numbers.to_pyarray(py))?;
        }
        Ok(dict)
    }

    /// The event time of every row, by column, as arrays of seconds and of nanoseconds.
    #[expect(clippy::type_complexity, reason = "a pair of arrays by name")]
    fn event_times<'py>(
        &self,
        py: Python<'py>,
    ) -> PyResult<
        Vec<(
            String,
            (Bound<'py, PyArray1<i64>>, Bound<'py, PyArray1<i32>>),
        )>,
    > {
        let features = self.features();
        features
            .distinct()
            .into_iter()
            .map(|column| {
                let times = features.event_times(column)?;
                let seconds: Vec<i64> = times.iter().map(|time| time.seconds).collect();
                let nanos: Vec<i32> = times.iter().map(|time| time.nanos).collect();
                let pair = (seconds.to_pyarray(py), nanos.to_pyarray(py));
                Ok((features.name(column).to_owned(), pair))
            })
            .collect()
    }
}

impl Answer {
    /// The answer that `features` are; `schemas` are those of its plan.
    pub fn new(features: Features, schemas: Arc<Schemas>) -> Self {
        Self {
            features: Mutex::new(Arc::new(features)),
            schemas,
            beginning: Beginning::default(),
        }
    }

    /// The same, with the columns that were begun while its replies came.
    pub fn begun_with(mut self, beginning: Beginning) -> Self {
        self.beginning = beginning;
        self
    }

    fn batch(&self, py: Python<'_>, event_times: bool) -> Result<RecordBatch, Error> {
        self.schemas.expectation.wanted(Form::Arrays);
        // Locks are taken with the GIL held, lest a fork find one taken.
        let (features, begun) = (self.features(), self.beginning.take_arrays());
        py.detach(|| features.record_batch(event_times, begun))
    }

    fn features(&self) -> Arc<Features> {
        self.features
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn edit<T>(&self, change: impl FnOnce(&mut Features) -> T) -> PyResult<T> {
        let mut features = self.features.lock().unwrap_or_else(PoisonError::into_inner);
        let features = Arc::get_mut(&mut features)
            .ok_or_else(|| Error::new(ErrorKind::Argument, "the answer is being read"))?;
        Ok(change(features))
    }
}

/// Every column as a list; `begun` are the plan's columns as far as they were made while the replies
/// came, or none. The cells of some rows lie together in the reply, so all columns take theirs before the next
/// rows' turn.
fn column_lists<'py>(
    py: Python<'py>,
    features: &Features,
    begun: BegunLists,
) -> PyResult<Vec<Bound<'py, PyList>>> {
    let rows = features.rows();
    let mut columns = Vec::with_capacity(features.width());
    let mut maker = ObjectMaker::new(py, begun.kept.or_else(|| KeptObjects::claim(py)));
    let mut begun: Vec<_> = begun.columns.into_iter().map(Some).collect();
    for index in 0..features.width() {
        let begun = features
            .plan_column(index)
            .and_then(|column| begun.get_mut(column)?.take());
        columns.push(match begun {
            Some(column) => column,
            None => ObjectColumn::new(py, Hint::of(features.dtype(index)), rows)?,
        });
    }
    let failed = |index: usize, row: usize, cause: &dyn std::fmt::Display| -> PyErr {
        features.cell_error(index, row, cause).into()
    };
    for (index, column) in columns.iter_mut().enumerate() {
        if let Some(key) = features.key(index) {
            let (cells, ends) = key.cells(0..rows);
            let cells = Cells::joined(&cells, &ends);
            maker.fill(column, cells, |row, cause| failed(index, row, cause))?;
        }
    }
    let left: Vec<usize> = (0..features.width())
        .filter(|&index| columns[index].len() < rows)
        .collect();
    let first = left.iter().map(|&index| columns[index].len()).min();
    let mut order = BlockOrder::default();
    for block in features.blocks(&left, first.unwrap_or(rows)) {
        let new_ones = |rows: usize| maker.new_ones(rows * left.len());
        order.prepare(py, new_ones(block.len()), new_ones(rows - block.start));
        for &index in &left {
            let column = &mut columns[index];
            let cells = features.cells(index, block.start.max(column.len())..block.end);
            maker.fill(column, cells, |row, cause| failed(index, row, cause))?;
        }
    }
    let lists = columns.into_iter().map(|column| column.finish(py));
    Ok(lists.collect())
}

/// Whether values of a declared type are numbers to a model.
fn is_number(dtype: &FeastType) -> bool {
    matches!(
        dtype,
        FeastType::Int32
            | FeastType::Int64
            | FeastType::Float32
            | FeastType::Float64
            | FeastType::Bool
    )
}

/// The columns of these names; with `numbers`, those of them that are numbers. Of columns of one
/// name the last one is meant.
fn columns_of(
    features: &Features,
    names: &[PyBackedStr],
    numbers: bool,
) -> Result<Vec<usize>, Error> {
    let mut places = HashMap::with_capacity_and_hasher(features.width(), RandomState::default());
    places.extend((0..features.width()).map(|column| (features.name(column), column)));
    let mut columns = Vec::with_capacity(names.len());
    for name in names {
        match places.get(&**name) {
            Some(&column) if !numbers || is_number(features.dtype(column)) => columns.push(column),
            None if !numbers => return Err(no_column(features, name)),
            _ => {}
        }
    }
    Ok(columns)
}

fn no_column(features: &Features, name: &str) -> Error {
    let shown = features.distinct().into_iter();
    let known: Vec<&str> = shown.map(|column| features.name(column)).collect();
    Error::new(
        ErrorKind::Argument,
        format!(
            "no column '{name}' in the answer; it has {}",
            known.join(", ")
        ),
    )
}

fn matrix<'py, T: MatrixFloat + numpy::Element>(
    py: Python<'py>,
    features: &Features,
    columns: &[usize],
    null: T,
) -> PyResult<Bound<'py, PyArray2<T>>> {
    let mut values = vec![null; features.rows() * columns.len()];
    py.detach(|| features.fill_matrix(columns, &mut values, null))?;
    PyArray1::from_vec(py, values).reshape([features.rows(), columns.len()])
}
