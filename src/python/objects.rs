//! Cells as the Python objects that stock Feast makes of them.
//!
//! What is stored decides, as in stock: scalars and lists of scalars are made here, everything
//! else (maps, sets, nested lists, UUIDs, decimals, JSON, zoned timestamps, fields that are not
//! known here) by Feast's own `feast_value_type_to_python_type`, so that the answer is stock's
//! whatever the release.

mod clock;
mod kept;
mod layout;
mod list;
mod order;
mod packed;
mod spares;
mod texts;

use std::fmt;

use pyo3::exceptions::{PyException, PyMemoryError, PyNotImplementedError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBool, PyBytes, PyFloat, PyInt, PyList, PyString};

use crate::value::elements::elements;
use crate::value::field::Field;
use crate::value::wire::{NULL_TIMESTAMP, Value, parse, sole_bytes, sole_varint, tag};
use crate::value::{Cause, FeastType};
use clock::Clock;
pub use kept::KeptObjects;
use list::{ListFiller, list_of, show_lists};
pub use order::BlockOrder;
use packed::{Varints, sole_packable_list, sole_packed};
use texts::{Patience, Texts};

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

/// A column on its way to a list of objects.
pub struct ObjectColumn {
    list: ListFiller,
    hint: Hint,
    patience: Patience,
    /// The row behind the last one with a hidden list.
    hidden: usize,
}

impl ObjectColumn {
    /// A column of so many rows.
    pub fn new(py: Python<'_>, hint: Hint, rows: usize) -> PyResult<Self> {
        Ok(Self {
            list: ListFiller::new(py, rows)?,
            hint,
            patience: Patience::default(),
            hidden: 0,
        })
    }

    /// How many rows it has so far.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// The list, when all rows are there.
    pub fn finish(self, py: Python<'_>) -> Bound<'_, PyList> {
        let list = self.list.finish(py);
        show_lists(&list, self.hidden);
        list
    }
}

/// Makes objects of cells, with what it needs from Python at hand.
pub struct ObjectMaker<'py> {
    py: Python<'py>,
    /// What is kept of earlier answers, if it can be had.
    kept: Option<KeptObjects>,
    /// The texts, if it can not.
    texts: Texts,
    clock: Option<Clock<'py>>,
    feast: Option<Feast<'py>>,
    /// Whether the columns are begun early: Feast's own Python is not run, and lists are hidden.
    early: bool,
    /// Room for the elements of a list.
    elements: Vec<Bound<'py, PyAny>>,
}

impl<'py> ObjectMaker<'py> {
    /// Objects of one call, with these of earlier ones.
    pub fn new(py: Python<'py>, kept: Option<KeptObjects>) -> Self {
        Self {
            py,
            texts: Texts::default(),
            clock: None,
            feast: None,
            early: false,
            kept,
            elements: Vec::new(),
        }
    }

    /// Objects of columns that are begun while their replies come; a cell that Feast's Python is needed
    /// for is an error.
    pub fn early(py: Python<'py>, kept: Option<KeptObjects>) -> Self {
        Self {
            early: true,
            ..Self::new(py, kept)
        }
    }

    /// How many of so many objects are supposed to be new ones.
    pub fn new_ones(&self, objects: usize) -> usize {
        match &self.kept {
            Some(kept) if kept.has_numbers_left() => 0,
            _ => objects,
        }
    }

    /// What was kept of earlier answers, for the rest of this one.
    pub fn into_kept(self) -> Option<KeptObjects> {
        self.kept
    }

    #[expect(
        clippy::inline_always,
        reason = "once for each value, and not inlined otherwise"
    )]
    #[inline(always)]
    fn float(&mut self, number: f64) -> Bound<'py, PyAny> {
        match &mut self.kept {
            Some(kept) => kept.float(self.py, number),
            None => PyFloat::new(self.py, number).into_any(),
        }
    }

    #[expect(
        clippy::inline_always,
        reason = "once for each value, and not inlined otherwise"
    )]
    #[inline(always)]
    fn int(&mut self, number: i64) -> Bound<'py, PyAny> {
        match &mut self.kept {
            Some(kept) => kept.int(self.py, number),
            None => PyInt::new(self.py, number).into_any(),
        }
    }

    #[inline]
    fn text(&mut self, text: &[u8], patience: &mut Patience) -> Option<Bound<'py, PyAny>> {
        let texts = match &mut self.kept {
            Some(kept) => kept.texts(),
            None => &mut self.texts,
        };
        texts.object(self.py, text, patience)
    }

    /// Appends the objects of cells to their column; `None`, an empty cell and null are None.
    ///
    /// `failed` makes the exception for a cell that cannot be read from its row and what is wrong.
    pub fn fill<'a>(
        &mut self,
        column: &mut ObjectColumn,
        cells: impl Iterator<Item = Option<&'a [u8]>>,
        failed: impl Fn(usize, &dyn fmt::Display) -> PyErr,
    ) -> PyResult<()> {
        let py = self.py;
        let (hint, patience) = (column.hint, &mut column.patience);
        let mut places = column.list.filling(py);
        for cell in cells {
            let object = match cell {
                None => py.None().into_bound(py),
                Some(cell) => {
                    if let Some(object) = self.scalar(hint, patience, cell) {
                        object
                    } else {
                        let row = places.len();
                        let object =
                            self.any(hint, patience, cell)
                                .map_err(|trouble| match *trouble {
                                    Trouble::Cell(cause) => failed(row, &cause),
                                    Trouble::Feast(error) => told_of(py, error, row, &failed),
                                })?;
                        if self.early && object.is_instance_of::<PyList>() {
                            column.hidden = row + 1;
                        }
                        object
                    }
                }
            };
            places.push(object)?;
        }
        Ok(())
    }

    /// The object of a cell that holds a scalar as Feast writes it; `None` for all else.
    #[expect(
        clippy::inline_always,
        reason = "once for each value, and not inlined otherwise"
    )]
    #[inline(always)]
    fn scalar(
        &mut self,
        hint: Hint,
        patience: &mut Patience,
        cell: &[u8],
    ) -> Option<Bound<'py, PyAny>> {
        let py = self.py;
        let (first, rest) = cell.split_first()?;
        Some(match *first {
            tag::DOUBLE => self.float(f64::from_le_bytes(rest.try_into().ok()?)),
            tag::FLOAT => self.float(f32::from_le_bytes(rest.try_into().ok()?).into()),
            tag::INT64 => self.int(sole_varint(rest)? as i64),
            tag::INT32 => self.int((sole_varint(rest)? as i32).into()),
            tag::BOOL => PyBool::new(py, sole_varint(rest)? != 0)
                .to_owned()
                .into_any(),
            tag::STRING if !hint.text_is_uuid() => self.text(sole_bytes(rest)?, patience)?,
            _ => return None,
        })
    }

    #[inline(never)]
    fn any(
        &mut self,
        hint: Hint,
        patience: &mut Patience,
        cell: &[u8],
    ) -> Result<Bound<'py, PyAny>, Failure> {
        if let Some((field, body)) = sole_packable_list(cell)
            && let Some(elements) = sole_packed(body)
            && let Some(list) = self.packed_list(field, elements)
        {
            return Ok(list?.into_any());
        }
        let py = self.py;
        Ok(match parse(cell).map_err(Cause::Wire)? {
            Value::Null => py.None().into_bound(py),
            Value::Double(number) => self.float(number),
            Value::Float(number) => self.float(number.into()),
            Value::Int64(number) => self.int(number),
            Value::Int32(number) => self.int(number.into()),
            Value::Bool(truth) => PyBool::new(py, truth).to_owned().into_any(),
            Value::String(text) if !hint.text_is_uuid() => PyString::new(py, text).into_any(),
            Value::Bytes(bytes) => PyBytes::new(py, bytes).into_any(),
            Value::UnixTimestamp(seconds) => self.datetime(seconds)?,
            Value::Message { field, body } if is_plain_list(field, hint) => {
                self.list(field, body, patience)?.into_any()
            }
            Value::Unknown(number) => self.through_feast(hint, cell, Some(number))?,
            _ => self.through_feast(hint, cell, None)?,
        })
    }

    /// The list of these elements, which are packed; `None` if they are malformed.
    fn packed_list(&mut self, field: Field, packed: &[u8]) -> Option<PyResult<Bound<'py, PyList>>> {
        let (py, hidden) = (self.py, self.early);
        Some(match field {
            Field::DoubleList => {
                let (numbers, []) = packed.as_chunks() else {
                    return None;
                };
                let float = |&number| self.float(f64::from_le_bytes(number));
                list_of(py, numbers.iter().map(float), hidden)
            }
            Field::FloatList => {
                let (numbers, []) = packed.as_chunks() else {
                    return None;
                };
                let float = |&number| self.float(f32::from_le_bytes(number).into());
                list_of(py, numbers.iter().map(float), hidden)
            }
            Field::Int32List => {
                let int = |bits| self.int((bits as i32).into());
                list_of(py, Varints::new(packed)?.map(int), hidden)
            }
            Field::Int64List => {
                let int = |bits| self.int(bits as i64);
                list_of(py, Varints::new(packed)?.map(int), hidden)
            }
            Field::BoolList => {
                let truth = |bits| PyBool::new(py, bits != 0).to_owned().into_any();
                list_of(py, Varints::new(packed)?.map(truth), hidden)
            }
            _ => return None,
        })
    }

    fn list(
        &mut self,
        field: Field,
        body: &[u8],
        patience: &mut Patience,
    ) -> Result<Bound<'py, PyList>, Failure> {
        let py = self.py;
        let mut objects = std::mem::take(&mut self.elements);
        let mut trouble = None;
        let outcome = elements(
            field,
            body,
            crate::value::cursor::MAX_DEPTH,
            |value, _, _| {
                objects.push(match value {
                    Value::Double(number) => self.float(number),
                    Value::Float(number) => self.float(number.into()),
                    Value::Int64(number) => self.int(number),
                    Value::Int32(number) => self.int(number.into()),
                    Value::Bool(truth) => PyBool::new(py, truth).to_owned().into_any(),
                    Value::String(text) => match self.text(text.as_bytes(), patience) {
                        Some(object) => object,
                        None => PyString::new(py, text).into_any(),
                    },
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
        let list = list_of(py, objects.drain(..), self.early)?;
        self.elements = objects;
        Ok(list)
    }

    fn datetime(&mut self, seconds: i64) -> PyResult<Bound<'py, PyAny>> {
        if seconds == NULL_TIMESTAMP {
            return Ok(self.py.None().into_bound(self.py));
        }
        let clock = match &mut self.clock {
            Some(clock) => clock,
            None => self.clock.insert(Clock::new(self.py)?),
        };
        clock.datetime(seconds)
    }

    #[cold]
    fn through_feast(
        &mut self,
        hint: Hint,
        cell: &[u8],
        unknown: Option<u32>,
    ) -> Result<Bound<'py, PyAny>, Failure> {
        let py = self.py;
        if self.early {
            return Err(PyNotImplementedError::new_err(()).into());
        }
        let feast = match &self.feast {
            Some(feast) => feast,
            None => self.feast.insert(Feast::new(py)?),
        };
        let object = feast.object(hint, cell)?;
        match unknown {
            // The installed Feast does not know it either, and would pass it for null.
            Some(number) if object.is_none() => Err(Cause::Unknown(number).into()),
            _ => Ok(object),
        }
    }
}

/// Whether stock makes a list of scalars of this field.
fn is_plain_list(field: Field, hint: Hint) -> bool {
    match field {
        Field::BytesList
        | Field::Int32List
        | Field::Int64List
        | Field::DoubleList
        | Field::FloatList
        | Field::BoolList
        | Field::UnixTimestampList => true,
        Field::StringList => !hint.list_is_of_uuids(),
        _ => false,
    }
}

/// Feast's own way from a cell to an object.
struct Feast<'py> {
    parse: Bound<'py, PyAny>,
    convert: Bound<'py, PyAny>,
    value_type: Bound<'py, PyAny>,
}

impl<'py> Feast<'py> {
    fn new(py: Python<'py>) -> PyResult<Self> {
        static VALUE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        static CONVERT: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        static VALUE_TYPE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        let value = VALUE.import(py, "feast.protos.feast.types.Value_pb2", "Value")?;
        Ok(Self {
            parse: value.getattr(intern!(py, "FromString"))?,
            convert: CONVERT
                .import(py, "feast.type_map", "feast_value_type_to_python_type")?
                .clone(),
            value_type: VALUE_TYPE
                .import(py, "feast.value_type", "ValueType")?
                .clone(),
        })
    }

    fn object(&self, hint: Hint, cell: &[u8]) -> PyResult<Bound<'py, PyAny>> {
        let message = self.parse.call1((PyBytes::new(self.parse.py(), cell),))?;
        let hint = self.value_type.call1((hint.value_type,))?;
        self.convert.call1((message, hint))
    }
}
