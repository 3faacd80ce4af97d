//! Arrow columns into cells: the bytes that Feast's Python writes.
//!
//! The reference is what Feast 0.67.0 materializes and pushes: `_convert_arrow_to_proto`, which
//! takes a column's `to_numpy(zero_copy_only=False)` through `python_values_to_proto_values`, each
//! message serialized. Its rules, kept here:
//!
//! - null is an empty cell, and so is a scalar float that is not a number; but a null in a column
//!   of timestamps, dates or numbers that is declared `UnixTimestamp` is the null timestamp;
//! - a null element of a list is written as 0, `""`, `b""`, false, the null timestamp or, of
//!   JSON, `null`, and among floats as one that is not a number; a set of texts, bytes, integers
//!   or bools cannot hold one;
//! - a part of a second is dropped, and whether downward or toward zero depends on the place: see
//!   `Parts`;
//! - inside of structs, maps and nested lists the types are inferred from Arrow's, not taken from
//!   the declaration: see `inferred`.
//!
//! A cell depends on nothing but its own value, so that it is the same in whatever chunks a column
//! comes. Numpy's columns are not like that: a null makes floats of all integers beside it, which
//! loses those beyond 2^53, and turns the integers inside of structs and nested lists into
//! doubles. Here integers stay integers. `docs/differences.md` lists what else is not as in Feast.
//!
//! Where Feast's bytes are not determined they are in the order of the input here: the entries of
//! a map (upb writes them in the order of a hash that is seeded anew in each process) and the
//! elements of a set (the order of a Python set).
//!
//! Every type is taken from what [`decode`](super::decode) makes of it, and from what else is
//! natural: integers of any width, large, view, dictionary and run-end encodings, fixed-size
//! lists, timestamps of any unit and zone, dates, Arrow decimals, sixteen bytes for a UUID,
//! JSON objects and Arrow structs for maps, JSON texts for lists, anything for texts and JSON.

use arrow_array::types::ArrowPrimitiveType;
use arrow_array::{Array, ArrayRef, BinaryArray, PrimitiveArray};

use super::cells::Cells;
use super::dtype::FeastType;
use super::field::Field;
use super::inferred::Inferred;
use super::items::{Items, check_int32};
use super::nested::{Lists, elements, range};
use super::source::{
    Parts, booleans, cannot, doubles, filled, floats, integers, is_decimal, is_text, lists, plain,
    seconds,
};
use super::spelled::{jsons, strings};
use super::texts::{Texts, bytes, decimals, texts, uuids};
use super::wire::NULL_TIMESTAMP;
use super::{json_lists, tagged, wire_out};
use crate::error::{Error, Result};

/// The cells of `array`'s values as `dtype`, one for each row; a null is an empty cell.
///
/// Fails with [`ErrorKind::Encode`](crate::error::ErrorKind::Encode), naming the row where one is
/// at fault, if the array's type or a value does not fit `dtype`.
pub fn encode(array: &dyn Array, dtype: &FeastType) -> Result<BinaryArray> {
    let array = plain(array)?;
    cells(&array, dtype).map_err(|error| located(&array, dtype, error))
}

/// The error of the first row that cannot be written alone, or `error` if there is none.
fn located(array: &ArrayRef, dtype: &FeastType, error: Error) -> Error {
    let none = array.slice(0, 0);
    if typed_cells(&none, dtype).is_err() {
        return error;
    }
    // Halving, since rows are written alone slowly.
    let (mut first, mut end) = (0, array.len());
    while end - first > 1 {
        let middle = usize::midpoint(first, end);
        if cells(&array.slice(first, middle - first), dtype).is_err() {
            end = middle;
        } else {
            first = middle;
        }
    }
    match cells(&array.slice(first, end - first), dtype) {
        Err(error) => error.context(format!("row {first}")),
        Ok(_) => error,
    }
}

fn cells(array: &ArrayRef, dtype: &FeastType) -> Result<BinaryArray> {
    let all_null = array.data_type().is_null() || array.null_count() == array.len();
    if all_null && !(*dtype == FeastType::UnixTimestamp && has_null_timestamps(array)) {
        return Ok(Cells::empty(array.len()));
    }
    typed_cells(array, dtype)
}

fn typed_cells(array: &ArrayRef, dtype: &FeastType) -> Result<BinaryArray> {
    let rows = array.len();
    match dtype {
        FeastType::Int32 => {
            let values = integers(array)?;
            check_int32(values.iter().flatten())?;
            numbers(&values, 11, |number, out| {
                wire_out::integer(Field::Int32, number, out);
            })
        }
        FeastType::Int64 => numbers(&integers(array)?, 11, |number, out| {
            wire_out::integer(Field::Int64, number, out);
        }),
        FeastType::Float32 => numbers(&floats(array)?, 5, wire_out::float),
        FeastType::Float64 => numbers(&doubles(array)?, 9, wire_out::double),
        FeastType::Bool => {
            let values = booleans(array)?;
            let mut cells = Cells::with_capacity(rows, rows * 2);
            cells.extend_valid(values.values().iter(), values.nulls(), |truth, out| {
                out.extend_from_slice(&[(Field::Bool as u8) << 3, truth.into()]);
            });
            cells.finish()
        }
        FeastType::UnixTimestamp => timestamps(array),
        FeastType::String => delimited(Field::String, &strings(array)?),
        FeastType::Uuid => delimited(Field::Uuid, &uuids(array)?),
        FeastType::TimeUuid => delimited(Field::TimeUuid, &uuids(array)?),
        FeastType::Decimal => delimited(Field::Decimal, &decimals(array)?),
        FeastType::Json => delimited(Field::Json, &jsons(array)?),
        FeastType::Bytes | FeastType::PdfBytes | FeastType::ImageBytes => {
            delimited(Field::Bytes, &bytes(array)?)
        }
        FeastType::Array(item) => lists_of(array, item, dtype, false),
        FeastType::Set(item) => lists_of(array, item, dtype, true),
        FeastType::Invalid => {
            let values = texts(array)?;
            let mut cells = Cells::with_capacity(rows, values.size());
            cells.try_extend(rows, |row, out| match values.get(row) {
                Some(text) => tagged::write(text, out),
                None => Ok(()),
            })?;
            cells.finish()
        }
        FeastType::Map
        | FeastType::Struct(_)
        | FeastType::ScalarMap
        | FeastType::ZonedTimestamp => {
            let values = Inferred::declared(array, dtype)?;
            let mut cells = Cells::with_capacity(rows, rows * 32);
            cells.try_extend(rows, |row, out| values.write(row, out))?;
            cells.finish()
        }
    }
}

/// Cells of at most `size` bytes for numbers.
fn numbers<T: ArrowPrimitiveType>(
    values: &PrimitiveArray<T>,
    size: usize,
    write: impl Fn(T::Native, &mut Vec<u8>),
) -> Result<BinaryArray> {
    let mut cells = Cells::with_capacity(values.len(), values.len() * size);
    let each = values.values().iter();
    cells.extend_valid(each, values.nulls(), |&value, out| write(value, out));
    cells.finish()
}

/// Whether a cell holds a null of its column.
#[must_use]
pub fn is_null_cell(cell: &[u8]) -> bool {
    const NULL_TIME: [u8; 11] = [0x40, 128, 128, 128, 128, 128, 128, 128, 128, 128, 1];
    cell.is_empty() || cell == NULL_TIME
}

/// Whether a null of this type is the null timestamp, as numpy's `NaT` is.
fn has_null_timestamps(array: &ArrayRef) -> bool {
    let data_type = array.data_type();
    !(data_type.is_nested() || data_type.is_null() || is_text(data_type) || is_decimal(data_type))
}

fn timestamps(array: &ArrayRef) -> Result<BinaryArray> {
    let write = |seconds, out: &mut Vec<u8>| wire_out::integer(Field::UnixTimestamp, seconds, out);
    let values = seconds(array, Parts::Floor)?;
    if !has_null_timestamps(array) {
        return numbers(&values, 11, write);
    }
    let mut cells = Cells::with_capacity(values.len(), values.len() * 11);
    let filled = filled(&values, NULL_TIMESTAMP);
    cells.extend(filled.iter(), |&seconds, out| write(seconds, out));
    cells.finish()
}

fn delimited(field: Field, values: &Texts) -> Result<BinaryArray> {
    let rows = values.len();
    let mut cells = Cells::with_capacity(rows, rows * 4 + values.size());
    cells.extend_valid(0..rows, values.nulls(), |row, out| {
        wire_out::bytes(field, values.value(row), out);
    });
    cells.finish()
}

fn lists_of(
    array: &ArrayRef,
    item: &FeastType,
    dtype: &FeastType,
    set: bool,
) -> Result<BinaryArray> {
    let field = dtype.value_type().and_then(Field::from_number);
    let field = field.ok_or_else(|| cannot(format!("Feast has no value type for {dtype}")))?;
    if is_text(array.data_type()) && matches!(item, FeastType::Map | FeastType::Struct(_)) {
        return object_lists(field, &texts(array)?);
    }
    let from_json = json_lists::lists(array, item)?;
    let lists = lists(from_json.as_ref().unwrap_or(array))?;
    let rows = lists.len();
    let values = elements(&lists);
    let parts = if set { Parts::Floor } else { Parts::Cut };
    let Some(items) = Items::new(&values, item, parts)? else {
        let values = Lists::declared(&lists, item)?;
        let mut cells = Cells::with_capacity(rows, rows * 32);
        cells.try_extend(rows, |row, out| {
            if values.is_valid(row) {
                values.write_as(field, row, out)?;
            }
            Ok(())
        })?;
        return cells.finish();
    };
    let mut cells = Cells::with_capacity(rows, rows * 9 + items.size());
    if set {
        cells.try_extend(rows, |row, out| {
            if lists.is_valid(row) {
                items.write_set(field, range(&lists, row), out)?;
            }
            Ok(())
        })?;
    } else {
        cells.extend_valid(0..rows, lists.nulls(), |row, out| {
            items.write_list(field, range(&lists, row), out);
        });
    }
    cells.finish()
}

/// Lists of maps or structs, from JSON lists of objects.
fn object_lists(field: Field, values: &Texts) -> Result<BinaryArray> {
    let mut cells = Cells::with_capacity(values.len(), values.size());
    cells.try_extend(values.len(), |row, out| {
        if let Some(text) = values.get(row) {
            wire_out::bytes(field, &tagged::object_list_body(text)?, out);
        }
        Ok(())
    })?;
    cells.finish()
}
