//! `decode_values` and `encode_values`: columns of cells to Arrow and back.

use std::sync::Arc;

use arrow_array::builder::LargeBinaryBuilder;
use arrow_array::{Array, ArrayRef, LargeBinaryArray};
use arrow_select::concat::concat;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes};
use pyo3_arrow::PyArray;
use pyo3_arrow::input::AnyArray;

use crate::error::{Error, ErrorKind, Result};
use crate::value::source::binaries;
use crate::value::{ColumnDecoder, FeastType, encode};

/// Decodes serialized `Value`s (an Arrow binary array, or a sequence of bytes or None) into an
/// Arrow array of the declared type, given as text.
#[pyfunction]
pub fn decode_values(py: Python<'_>, cells: &Bound<'_, PyAny>, dtype: &str) -> PyResult<PyArray> {
    let dtype: FeastType = dtype.parse()?;
    let chunks = cells_of(cells)?;
    let array = py.detach(|| decode(&chunks, &dtype))?;
    Ok(PyArray::from_array_ref(array))
}

/// Encodes an Arrow array as serialized `Value`s of the declared type, given as text.
#[pyfunction]
pub fn encode_values(py: Python<'_>, array: AnyArray, dtype: &str) -> PyResult<PyArray> {
    let dtype: FeastType = dtype.parse()?;
    let chunks = chunks_of(array)?;
    let cells = py.detach(|| {
        let chunks: Vec<&dyn Array> = chunks.iter().map(AsRef::as_ref).collect();
        match chunks[..] {
            [one] => encode(one, &dtype),
            [] => encode(&arrow_array::NullArray::new(0), &dtype),
            _ => {
                let whole = concat(&chunks)
                    .map_err(|error| Error::new(ErrorKind::Encode, error.to_string()))?;
                encode(&whole, &dtype)
            }
        }
    })?;
    Ok(PyArray::from_array_ref(Arc::new(cells)))
}

fn decode(chunks: &[LargeBinaryArray], dtype: &FeastType) -> Result<ArrayRef> {
    let rows = chunks.iter().map(Array::len).sum();
    let mut decoder = ColumnDecoder::new(dtype, rows);
    decoder.extend(chunks.iter().flat_map(LargeBinaryArray::iter))?;
    Ok(decoder.finish())
}

/// The cells of an Arrow array or stream, or of a sequence.
fn cells_of(cells: &Bound<'_, PyAny>) -> PyResult<Vec<LargeBinaryArray>> {
    if cells.hasattr("__arrow_c_array__")? || cells.hasattr("__arrow_c_stream__")? {
        let chunks = chunks_of(cells.extract()?)?;
        let chunks = chunks.iter().map(|chunk| {
            binaries(chunk).map_err(|error| Error::new(ErrorKind::Decode, error.to_string()))
        });
        return Ok(chunks.collect::<Result<_>>()?);
    }
    let mut builder = LargeBinaryBuilder::new();
    for (index, cell) in cells.try_iter()?.enumerate() {
        let cell = cell?;
        if cell.is_none() {
            builder.append_null();
        } else if let Ok(bytes) = cell.cast::<PyBytes>() {
            builder.append_value(bytes.as_bytes());
        } else if let Ok(bytes) = cell.cast::<PyByteArray>() {
            builder.append_value(bytes.to_vec());
        } else {
            let class = cell.get_type().name()?;
            let message = format!("cell {index} is of type {class}, not bytes or None");
            return Err(PyTypeError::new_err(message));
        }
    }
    Ok(vec![builder.finish()])
}

fn chunks_of(array: AnyArray) -> PyResult<Vec<ArrayRef>> {
    Ok(array.into_chunked_array()?.into_inner().0)
}
