//! Columns of join-key values from Python, and entity keys from them.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, LargeBinaryArray};
use numpy::{PyArrayDescrMethods, PyReadonlyArray1, PyUntypedArray, PyUntypedArrayMethods};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyInt, PyList, PyString, PyTuple};
use pyo3_arrow::input::AnyArray;
use pyo3_arrow::{PyArray, PyRecordBatch};

use crate::entity_key::{self, EntityKeyWriter, KeyType, KeyVersion};
use crate::error::{Error, ErrorKind};
use crate::plan::{feature_field, timestamp_field};

/// The values of one join key, converted once.
#[pyclass(frozen, module = "feast_rs._core")]
pub struct KeyColumn(pub Arc<entity_key::KeyColumn>);

#[pymethods]
impl KeyColumn {
    /// Converts `values` (a list or tuple of int, str or bytes, a numpy array, or an Arrow array)
    /// to the declared Feast type, or to the type that the values have.
    ///
    /// Returns None for values that Feast's own, slower conversion has to judge.
    #[staticmethod]
    #[pyo3(signature = (values, declared=None))]
    fn convert(values: &Bound<'_, PyAny>, declared: Option<&str>) -> PyResult<Option<Self>> {
        let declared = match declared {
            Some(name) => match KeyType::from_name(name) {
                Some(declared) => Some(declared),
                None => return Ok(None),
            },
            None => None,
        };
        let column = if let Ok(list) = values.cast::<PyList>() {
            from_objects(list.iter(), declared)?
        } else if let Ok(tuple) = values.cast::<PyTuple>() {
            from_objects(tuple.iter(), declared)?
        } else if let Ok(array) = values.cast_exact::<PyUntypedArray>() {
            // Not a masked array, whose data has values where there are none.
            from_numpy(array, declared)?
        } else if values.hasattr("__arrow_c_array__")? || values.hasattr("__arrow_c_stream__")? {
            Some(from_arrow(values.extract()?, declared)?)
        } else {
            None
        };
        Ok(column.map(|column| Self(Arc::new(column))))
    }

    /// A column of plain int, str or bytes that are of this Feast value type already.
    #[staticmethod]
    fn of(values: &Bound<'_, PyList>, value_type: &str) -> PyResult<Self> {
        let unfit = || {
            Error::new(
                ErrorKind::EntityKey,
                format!("the values are not all of the type {value_type}"),
            )
        };
        let key_type = KeyType::from_name(value_type).ok_or_else(unfit)?;
        let column = if values.is_empty() {
            Some(entity_key::KeyColumn::empty(key_type))
        } else if key_type == KeyType::UnixTimestamp {
            Some(entity_key::KeyColumn::UnixTimestamp(values.extract()?))
        } else {
            from_objects(values.iter(), Some(key_type))?
        };
        Ok(Self(Arc::new(column.ok_or_else(unfit)?)))
    }

    /// The Feast value type's name, such as INT64.
    #[getter]
    fn value_type(&self) -> &'static str {
        self.0.key_type().name()
    }

    fn __len__(&self) -> usize {
        self.0.len()
    }
}

type Converted = PyResult<Option<entity_key::KeyColumn>>;

/// Lists of plain int, str or bytes; anything else is left to Feast.
fn from_objects<'py>(
    values: impl ExactSizeIterator<Item = Bound<'py, PyAny>>,
    declared: Option<KeyType>,
) -> Converted {
    let mut values = values.peekable();
    let Some(first) = values.peek() else {
        return Ok(None);
    };
    if first.is_exact_instance_of::<PyInt>() {
        let key_type = declared.unwrap_or(KeyType::Int64);
        if !matches!(key_type, KeyType::Int32 | KeyType::Int64) {
            return Ok(None);
        }
        let mut integers = Vec::with_capacity(values.len());
        for value in values {
            if !value.is_exact_instance_of::<PyInt>() {
                return Ok(None);
            }
            match value.extract::<i64>() {
                Ok(value) => integers.push(value),
                Err(_) => return Ok(None),
            }
        }
        return Ok(Some(entity_key::KeyColumn::integers(integers, key_type)?));
    }
    if first.is_exact_instance_of::<PyString>() {
        if declared.is_some_and(|declared| declared != KeyType::String) {
            return Ok(None);
        }
        let (mut text, mut ends) = (String::new(), Vec::with_capacity(values.len()));
        for value in values {
            let Ok(value) = value.cast_exact::<PyString>() else {
                return Ok(None);
            };
            text.push_str(&value.to_cow()?);
            ends.push(text.len());
        }
        return Ok(Some(entity_key::KeyColumn::String(text, ends)));
    }
    if first.is_exact_instance_of::<PyBytes>() {
        if declared.is_some_and(|declared| declared != KeyType::Bytes) {
            return Ok(None);
        }
        let (mut bytes, mut ends) = (Vec::new(), Vec::with_capacity(values.len()));
        for value in values {
            let Ok(value) = value.cast_exact::<PyBytes>() else {
                return Ok(None);
            };
            bytes.extend_from_slice(value.as_bytes());
            ends.push(bytes.len());
        }
        return Ok(Some(entity_key::KeyColumn::Bytes(bytes, ends)));
    }
    Ok(None)
}

/// One-dimensional arrays of signed integers; text and objects go through their Python values.
fn from_numpy(array: &Bound<'_, PyUntypedArray>, declared: Option<KeyType>) -> Converted {
    if array.ndim() != 1 {
        return Err(Error::new(
            ErrorKind::EntityKey,
            format!(
                "an array of {} dimensions was given; one value a row is needed",
                array.ndim()
            ),
        )
        .into());
    }
    let dtype = array.dtype();
    if dtype.is_native_byteorder() == Some(false) {
        return Ok(None);
    }
    let (kind, width) = (dtype.kind(), dtype.itemsize());
    let integers: Vec<i64> = match (kind, width) {
        (b'i', 8) => {
            let values: PyReadonlyArray1<'_, i64> = array.extract()?;
            values.as_array().to_vec()
        }
        (b'i', 4) => {
            let values: PyReadonlyArray1<'_, i32> = array.extract()?;
            values
                .as_array()
                .iter()
                .map(|&value| value.into())
                .collect()
        }
        (b'U' | b'S' | b'O', _) => {
            let list = array.call_method0("tolist")?;
            return from_objects(list.cast::<PyList>()?.iter(), declared);
        }
        _ => return Ok(None),
    };
    let natural = if width == 4 {
        KeyType::Int32
    } else {
        KeyType::Int64
    };
    match declared.unwrap_or(natural) {
        key_type @ (KeyType::Int32 | KeyType::Int64) => {
            Ok(Some(entity_key::KeyColumn::integers(integers, key_type)?))
        }
        _ => Ok(None),
    }
}

/// Arrow arrays of integers, timestamps, text and bytes, in one piece or in chunks.
fn from_arrow(input: AnyArray, declared: Option<KeyType>) -> PyResult<entity_key::KeyColumn> {
    let chunks: Vec<ArrayRef> = match input {
        AnyArray::Array(array) => vec![array.into_inner().0],
        AnyArray::Stream(stream) => stream.into_chunked_array()?.into_inner().0,
    };
    let pieces: Vec<&dyn Array> = chunks.iter().map(AsRef::as_ref).collect();
    let array = match pieces.as_slice() {
        [] => {
            return Err(Error::new(
                ErrorKind::Argument,
                "a chunked array without a chunk has no values",
            )
            .into());
        }
        [_] => chunks[0].clone(),
        _ => arrow_select::concat::concat(&pieces).map_err(unfit)?,
    };
    Ok(entity_key::KeyColumn::from_array(&array, declared)?)
}

fn unfit(cause: arrow_schema::ArrowError) -> PyErr {
    Error::new(ErrorKind::EntityKey, cause.to_string()).into()
}

/// Knows the Redis keys of one set of join keys in one project.
#[pyclass(frozen, module = "feast_rs._core")]
pub struct KeyOwner(EntityKeyWriter);

#[pymethods]
impl KeyOwner {
    #[new]
    fn new(join_keys: Vec<String>, version: u32, project: &str) -> PyResult<Self> {
        let names: Vec<&str> = join_keys.iter().map(String::as_str).collect();
        let version = KeyVersion::try_from(version)?;
        Ok(Self(EntityKeyWriter::new(
            &names,
            version,
            project.as_bytes(),
        )?))
    }

    /// A glob pattern that matches all of its keys, and at times others' as well.
    #[getter]
    fn pattern<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.0.pattern())
    }

    /// Whether `key` is one of its keys.
    fn owns(&self, key: &[u8]) -> bool {
        self.0.owns(key)
    }
}

/// The hash fields of a view, named as it is stored: its features', and its event timestamp's.
#[pyfunction]
pub fn view_fields<'py>(
    py: Python<'py>,
    view: &str,
    features: Vec<String>,
) -> Vec<Bound<'py, PyBytes>> {
    let mut fields: Vec<Bound<'py, PyBytes>> = features
        .iter()
        .map(|feature| PyBytes::new(py, &feature_field(view, feature)))
        .collect();
    fields.push(PyBytes::new(py, &timestamp_field(view)));
    fields
}

/// Serializes rows of join-key values to Feast's entity keys, as an Arrow `large_binary` array.
#[pyfunction]
pub fn serialize_keys(
    py: Python<'_>,
    names: Vec<String>,
    columns: Vec<PyRef<'_, KeyColumn>>,
    version: u32,
    suffix: &[u8],
) -> PyResult<PyArray> {
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let writer = EntityKeyWriter::new(&names, KeyVersion::try_from(version)?, suffix)?;
    let columns: Vec<Arc<entity_key::KeyColumn>> = columns.iter().map(|c| c.0.clone()).collect();
    let rows = columns.first().map_or(0, |column| column.len());
    if let Some(odd) = columns.iter().position(|column| column.len() != rows) {
        return Err(Error::new(
            ErrorKind::Argument,
            format!(
                "join key '{}' has {} values, '{}' has {rows}",
                names[odd],
                columns[odd].len(),
                names[0]
            ),
        )
        .into());
    }
    let array = py.detach(|| {
        let columns: Vec<&entity_key::KeyColumn> = columns.iter().map(AsRef::as_ref).collect();
        let (bytes, ends) = writer.write_all(&columns);
        let mut start = 0;
        LargeBinaryArray::from_iter_values(ends.iter().map(|&end| {
            let key = &bytes[start..end];
            start = end;
            key
        }))
    });
    Ok(PyArray::from_array_ref(Arc::new(array)))
}

/// Parses entity keys of one set of join keys into a record batch of their values.
#[pyfunction]
pub fn parse_keys(
    py: Python<'_>,
    keys: Vec<Bound<'_, PyBytes>>,
    version: u32,
    join_keys: Vec<String>,
) -> PyResult<PyRecordBatch> {
    let version = KeyVersion::try_from(version)?;
    let keys: Vec<Vec<u8>> = keys.iter().map(|key| key.as_bytes().to_vec()).collect();
    let columns = py.detach(|| {
        let names: Vec<&str> = join_keys.iter().map(String::as_str).collect();
        let parsed = entity_key::parse_keys(keys.iter().map(Vec::as_slice), version, &names)?;
        parsed
            .into_iter()
            .map(|(name, column)| Ok((name, column.to_arrow()?)))
            .collect::<Result<Vec<(String, ArrayRef)>, Error>>()
    })?;
    let batch = arrow_array::RecordBatch::try_from_iter(columns)
        .map_err(|cause| Error::new(ErrorKind::EntityKey, cause.to_string()))?;
    Ok(PyRecordBatch::new(batch))
}
