//! Cells as the Python objects that stock Feast makes of them.
//!
//! What is stored decides, as in stock: scalars and lists of scalars are made here, everything
//! else (maps, sets, nested lists, UUIDs, decimals, JSON, zoned timestamps, fields that are not
//! known here) by Feast's own `feast_value_type_to_python_type`, so that the answer is stock's
//! whatever the release.

use std::fmt;

use pyo3::exceptions::{PyException, PyMemoryError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBool, PyBytes, PyFloat, PyInt, PyList, PyString, PyTzInfo};

use crate::value::elements::elements;
use crate::value::field::Field;
use crate::value::wire::{NULL_TIMESTAMP, Value, parse, sole_bytes, sole_varint, tag};
use crate::value::{Cause, FeastType};

/// What the declared type adds to the stored one: a text under a UUID type is a UUID, which is
/// how Feast stored UUIDs before it had fields for them.
#[derive(Clone, Copy, Debug)]
pub struct Hint {
    value_type: u32,
}

impl Hint {
    /// The hint of a declared type.
    pub fn of(dtype: &FeastType) -> Self {
        Self {
            value_type: dtype.value_type().unwrap_or(0),
        }
    }

    fn text_is_uuid(self) -> bool {
        matches!(self.value_type, 36 | 37)
    }

    fn list_is_of_uuids(self) -> bool {
        matches!(self.value_type, 38 | 39)
    }
}

/// A column's cells as a list of Python objects; `None`, an empty cell and null are None.
///
/// `failed` makes the exception for a cell that cannot be read from its index and what is wrong.
pub fn cells_to_list<'a, 'py>(
    py: Python<'py>,
    cells: impl Iterator<Item = Option<&'a [u8]>>,
    hint: Hint,
    failed: impl Fn(usize, &dyn fmt::Display) -> PyErr,
) -> PyResult<Bound<'py, PyList>> {
    let mut list = ListMaker::new(py, hint, cells.size_hint().0);
    list.extend(cells, failed)?;
    list.finish()
}

/// Makes a list of a column's cells, some rows at a time.
pub struct ListMaker<'py> {
    maker: ObjectMaker<'py>,
    objects: Vec<Bound<'py, PyAny>>,
}

impl<'py> ListMaker<'py> {
    /// An empty list with room for `rows` objects.
    pub fn new(py: Python<'py>, hint: Hint, rows: usize) -> Self {
        Self {
            maker: ObjectMaker::new(py, hint),
            objects: Vec::with_capacity(rows),
        }
    }

    /// Appends cells. `failed` makes the exception for a cell that cannot be read from its index
    /// among all cells appended and what is wrong.
    pub fn extend<'a>(
        &mut self,
        cells: impl Iterator<Item = Option<&'a [u8]>>,
        failed: impl Fn(usize, &dyn fmt::Display) -> PyErr,
    ) -> PyResult<()> {
        let py = self.maker.py;
        for cell in cells {
            let object = match cell {
                None => py.None().into_bound(py),
                Some(cell) => match self.maker.object(cell) {
                    Ok(object) => object,
                    Err(trouble) => {
                        let index = self.objects.len();
                        return Err(match *trouble {
                            Trouble::Cell(cause) => failed(index, &cause),
                            Trouble::Feast(error) => told_of(py, error, index, &failed),
                        });
                    }
                },
            };
            self.objects.push(object);
        }
        Ok(())
    }

    /// The list.
    pub fn finish(self) -> PyResult<Bound<'py, PyList>> {
        PyList::new(self.maker.py, self.objects)
    }
}

/// An exception of Feast's conversion, or of Python's for a time or a number that it cannot hold:
/// with which cell it was.
#[cold]
fn told_of(
    py: Python<'_>,
    error: PyErr,
    index: usize,
    failed: &impl Fn(usize, &dyn fmt::Display) -> PyErr,
) -> PyErr {
    if !error.is_instance_of::<PyException>(py) || error.is_instance_of::<PyMemoryError>(py) {
        return error;
    }
    let told = failed(index, &error.value(py));
    told.set_cause(py, Some(error));
    told
}

/// Why there is no object. Boxed, so that the many that succeed move no more than a pointer.
type Failure = Box<Trouble>;

enum Trouble {
    Cell(Cause),
    Feast(PyErr),
}

impl From<Cause> for Failure {
    #[cold]
    fn from(cause: Cause) -> Self {
        Box::new(Trouble::Cell(cause))
    }
}

impl From<PyErr> for Failure {
    #[cold]
    fn from(error: PyErr) -> Self {
        Box::new(Trouble::Feast(error))
    }
}

/// Makes objects of cells, with what it needs from Python at hand.
struct ObjectMaker<'py> {
    py: Python<'py>,
    hint: Hint,
    clock: Option<Clock<'py>>,
    feast: Option<Feast<'py>>,
}

impl<'py> ObjectMaker<'py> {
    fn new(py: Python<'py>, hint: Hint) -> Self {
        Self {
            py,
            hint,
            clock: None,
            feast: None,
        }
    }

    #[inline]
    fn object(&mut self, cell: &[u8]) -> Result<Bound<'py, PyAny>, Failure> {
        match self.scalar(cell) {
            Some(object) => Ok(object),
            None => self.any(cell),
        }
    }

    /// The object of a cell that holds a scalar as Feast writes it; `None` for all else.
    #[inline]
    fn scalar(&self, cell: &[u8]) -> Option<Bound<'py, PyAny>> {
        let py = self.py;
        let (first, rest) = cell.split_first()?;
        Some(match *first {
            tag::DOUBLE => PyFloat::new(py, f64::from_le_bytes(rest.try_into().ok()?)).into_any(),
            tag::FLOAT => {
                let float = f32::from_le_bytes(rest.try_into().ok()?);
                PyFloat::new(py, float.into()).into_any()
            }
            tag::INT64 => PyInt::new(py, sole_varint(rest)? as i64).into_any(),
            tag::INT32 => PyInt::new(py, sole_varint(rest)? as i32).into_any(),
            tag::BOOL => PyBool::new(py, sole_varint(rest)? != 0)
                .to_owned()
                .into_any(),
            tag::STRING if !self.hint.text_is_uuid() => {
                PyString::new(py, std::str::from_utf8(sole_bytes(rest)?).ok()?).into_any()
            }
            _ => return None,
        })
    }

    #[inline(never)]
    fn any(&mut self, cell: &[u8]) -> Result<Bound<'py, PyAny>, Failure> {
        let py = self.py;
        Ok(match parse(cell).map_err(Cause::Wire)? {
            Value::Null => py.None().into_bound(py),
            Value::Double(number) => PyFloat::new(py, number).into_any(),
            Value::Float(number) => PyFloat::new(py, number.into()).into_any(),
            Value::Int64(number) => PyInt::new(py, number).into_any(),
            Value::Int32(number) => PyInt::new(py, number).into_any(),
            Value::Bool(truth) => PyBool::new(py, truth).to_owned().into_any(),
            Value::String(text) if !self.hint.text_is_uuid() => PyString::new(py, text).into_any(),
            Value::Bytes(bytes) => PyBytes::new(py, bytes).into_any(),
            Value::UnixTimestamp(seconds) => self.datetime(seconds)?,
            Value::Message { field, body } if self.is_plain_list(field) => {
                self.list(field, body)?.into_any()
            }
            Value::Unknown(number) => self.through_feast(cell, Some(number))?,
            _ => self.through_feast(cell, None)?,
        })
    }

    /// Whether stock makes a list of scalars of this field.
    fn is_plain_list(&self, field: Field) -> bool {
        match field {
            Field::BytesList
            | Field::Int32List
            | Field::Int64List
            | Field::DoubleList
            | Field::FloatList
            | Field::BoolList
            | Field::UnixTimestampList => true,
            Field::StringList => !self.hint.list_is_of_uuids(),
            _ => false,
        }
    }

    fn list(&mut self, field: Field, body: &[u8]) -> Result<Bound<'py, PyList>, Failure> {
        let py = self.py;
        let mut objects = Vec::new();
        let mut trouble = None;
        let outcome = elements(
            field,
            body,
            crate::value::cursor::MAX_DEPTH,
            |value, _, _| {
                objects.push(match value {
                    Value::Double(number) => PyFloat::new(py, number).into_any(),
                    Value::Float(number) => PyFloat::new(py, number.into()).into_any(),
                    Value::Int64(number) => PyInt::new(py, number).into_any(),
                    Value::Int32(number) => PyInt::new(py, number).into_any(),
                    Value::Bool(truth) => PyBool::new(py, truth).to_owned().into_any(),
                    Value::String(text) => PyString::new(py, text).into_any(),
                    Value::Bytes(bytes) => PyBytes::new(py, bytes).into_any(),
                    Value::UnixTimestamp(seconds) => match self.datetime(seconds) {
                        Ok(datetime) => datetime,
                        Err(error) => {
                            trouble.get_or_insert(error);
                            py.None().into_bound(py)
                        }
                    },
                    _ => return Err(Cause::Type(field)),
                });
                Ok(())
            },
        );
        outcome?;
        if let Some(error) = trouble {
            return Err(error.into());
        }
        Ok(PyList::new(py, objects)?)
    }

    fn datetime(&mut self, seconds: i64) -> PyResult<Bound<'py, PyAny>> {
        if seconds == NULL_TIMESTAMP {
            return Ok(self.py.None().into_bound(self.py));
        }
        let clock = match &self.clock {
            Some(clock) => clock,
            None => self.clock.insert(Clock::new(self.py)?),
        };
        clock.from_timestamp.call1((seconds, &clock.utc))
    }

    #[cold]
    fn through_feast(
        &mut self,
        cell: &[u8],
        unknown: Option<u32>,
    ) -> Result<Bound<'py, PyAny>, Failure> {
        let py = self.py;
        let feast = match &self.feast {
            Some(feast) => feast,
            None => self.feast.insert(Feast::new(py, self.hint)?),
        };
        let message = feast.parse.call1((PyBytes::new(py, cell),))?;
        let object = feast.convert.call1((message, &feast.hint))?;
        match unknown {
            // The installed Feast does not know it either, and would pass it for null.
            Some(number) if object.is_none() => Err(Cause::Unknown(number).into()),
            _ => Ok(object),
        }
    }
}

/// `datetime.fromtimestamp` and `timezone.utc`.
struct Clock<'py> {
    from_timestamp: Bound<'py, PyAny>,
    utc: Bound<'py, PyTzInfo>,
}

impl<'py> Clock<'py> {
    fn new(py: Python<'py>) -> PyResult<Self> {
        let datetime = py.import(intern!(py, "datetime"))?;
        let datetime = datetime.getattr(intern!(py, "datetime"))?;
        Ok(Self {
            from_timestamp: datetime.getattr(intern!(py, "fromtimestamp"))?,
            utc: PyTzInfo::utc(py)?.to_owned(),
        })
    }
}

/// Feast's own way from a cell to an object.
struct Feast<'py> {
    parse: Bound<'py, PyAny>,
    convert: Bound<'py, PyAny>,
    hint: Bound<'py, PyAny>,
}

impl<'py> Feast<'py> {
    fn new(py: Python<'py>, hint: Hint) -> PyResult<Self> {
        static VALUE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        static CONVERT: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        static VALUE_TYPE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        let value = VALUE.import(py, "feast.protos.feast.types.Value_pb2", "Value")?;
        let convert = CONVERT.import(py, "feast.type_map", "feast_value_type_to_python_type")?;
        let value_type = VALUE_TYPE.import(py, "feast.value_type", "ValueType")?;
        Ok(Self {
            parse: value.getattr(intern!(py, "FromString"))?,
            convert: convert.clone(),
            hint: value_type.call1((hint.value_type,))?,
        })
    }
}
