//! Arrow columns into cells: the bytes that Feast's Python writes.
//!
//! The reference is `python_values_to_proto_values(array.to_pylist(), dtype.to_value_type())`
//! of Feast 0.67.0, each message serialized. Its rules, kept here:
//!
//! - null is an empty cell, and so is a scalar float that is not a number;
//! - empty bytes are null too if no value of the column has any bytes;
//! - a null element of a list is written as 0, `""`, `b""`, false, the null timestamp or, of
//!   JSON, `null`; a set cannot hold one;
//! - a timestamp is cut to whole seconds toward zero;
//! - inside of structs, maps and nested lists the types are inferred from Python's values, not
//!   taken from the declaration: integers are `int64`, floats `double`.
//!
//! Where Feast's bytes are not determined they are in the order of the input here: the entries of
//! a map (upb writes them in the order of a hash that is seeded anew in each process) and the
//! elements of a set (the order of a Python set).
//!
//! Every type is taken from what [`decode`](super::decode) makes of it, and from what else is
//! natural: integers of any width, large, view, dictionary and run-end encodings, fixed-size
//! lists, timestamps of any unit and zone, dates, Arrow decimals, sixteen bytes for a UUID,
//! JSON objects and Arrow structs for maps.

use arrow_array::cast::AsArray as _;
use arrow_array::{Array, BinaryArray, LargeListArray};
use arrow_buffer::OffsetBuffer;
use arrow_schema::DataType;

use super::dtype::FeastType;
use super::field::Field;
use super::inferred;
use super::items::{Items, check_json};
use super::source::{
    binaries, booleans, cannot, decimals, doubles, integers, lists, plain, seconds, texts, uuids,
};
use super::tagged;
use super::wire_out;
use crate::error::Result;

/// The cells of `array`'s values as `dtype`, one for each row; a null is an empty cell.
///
/// Fails with [`ErrorKind::Encode`](crate::error::ErrorKind::Encode), naming the row where one is
/// at fault, if the array's type or a value does not fit `dtype`.
pub fn encode(array: &dyn Array, dtype: &FeastType) -> Result<BinaryArray> {
    let array = plain(array)?;
    let mut cells = Cells::new(array.len());
    if array.null_count() == array.len() || array.data_type().is_null() {
        cells.fill(array.len(), |_, _| Ok(()))?;
        return Ok(cells.finish());
    }
    let rows = array.len();
    match dtype {
        FeastType::Int32 => {
            let values = integers(&array)?;
            cells.fill(rows, |row, out| {
                if values.is_valid(row) {
                    let number = i32::try_from(values.value(row)).map_err(|_| {
                        cannot(format!("{} does not fit in Int32", values.value(row)))
                    })?;
                    wire_out::integer(Field::Int32, number.into(), out);
                }
                Ok(())
            })?;
        }
        FeastType::Int64 | FeastType::Bool | FeastType::UnixTimestamp => {
            let (field, values) = match dtype {
                FeastType::Int64 => (Field::Int64, integers(&array)?),
                FeastType::Bool => (Field::Bool, booleans(&array)?),
                _ => (Field::UnixTimestamp, seconds(&array)?),
            };
            cells.fill(rows, |row, out| {
                if values.is_valid(row) {
                    wire_out::integer(field, values.value(row), out);
                }
                Ok(())
            })?;
        }
        FeastType::Float32 | FeastType::Float64 => {
            let values = doubles(&array)?;
            let field = match dtype {
                FeastType::Float32 => Field::Float,
                _ => Field::Double,
            };
            cells.fill(rows, |row, out| {
                if values.is_valid(row) {
                    wire_out::float(field, values.value(row), out);
                }
                Ok(())
            })?;
        }
        FeastType::String
        | FeastType::Uuid
        | FeastType::TimeUuid
        | FeastType::Decimal
        | FeastType::Json => texts_of(&array, dtype, &mut cells)?,
        FeastType::Bytes | FeastType::PdfBytes | FeastType::ImageBytes => {
            let values = binaries(&array)?;
            let some = values.iter().flatten().any(|bytes| !bytes.is_empty());
            cells.fill(rows, |row, out| {
                if some && values.is_valid(row) {
                    wire_out::bytes(Field::Bytes, values.value(row), out);
                }
                Ok(())
            })?;
        }
        FeastType::Array(item) | FeastType::Set(item) => {
            let set = matches!(dtype, FeastType::Set(_));
            lists_of(&lists(&array)?, item, dtype, set, &mut cells)?;
        }
        FeastType::Invalid => {
            let values = texts(&array)?;
            cells.fill(rows, |row, out| {
                if values.is_valid(row) {
                    tagged::write(values.value(row), out)?;
                }
                Ok(())
            })?;
        }
        FeastType::Map
        | FeastType::Struct(_)
        | FeastType::ScalarMap
        | FeastType::ZonedTimestamp => {
            cells.fill(rows, |row, out| inferred::write_as(dtype, &array, row, out))?;
        }
    }
    Ok(cells.finish())
}

fn texts_of(array: &dyn Array, dtype: &FeastType, cells: &mut Cells) -> Result<()> {
    let (field, values) = match dtype {
        FeastType::Uuid => (Field::Uuid, uuids(array)?),
        FeastType::TimeUuid => (Field::TimeUuid, uuids(array)?),
        FeastType::Decimal => (Field::Decimal, decimals(array)?),
        FeastType::Json => (Field::Json, texts(array)?),
        _ => (Field::String, texts(array)?),
    };
    cells.fill(array.len(), |row, out| {
        if values.is_valid(row) {
            let text = values.value(row);
            if field == Field::Json {
                check_json(text)?;
            }
            wire_out::bytes(field, text.as_bytes(), out);
        }
        Ok(())
    })
}

fn lists_of(
    lists: &LargeListArray,
    item: &FeastType,
    dtype: &FeastType,
    set: bool,
    cells: &mut Cells,
) -> Result<()> {
    let field = dtype.value_type().and_then(Field::from_number);
    let field = field.ok_or_else(|| cannot(format!("Feast has no value type for {dtype}")))?;
    // Only what the lists span is looked at, so that a slice is not judged by the rest.
    let offsets = lists.value_offsets();
    let (first, last) = (offsets[0], offsets[lists.len()]);
    let values = lists
        .values()
        .slice(first as usize, (last - first) as usize);
    let items = Items::new(&values, item)?;
    let mut body = Vec::new();
    cells.fill(lists.len(), |row, out| {
        if lists.is_null(row) {
            return Ok(());
        }
        let range = (offsets[row] - first) as usize..(offsets[row + 1] - first) as usize;
        body.clear();
        match &items {
            Some(items) if set => items.write_set(range, &mut body)?,
            Some(items) => items.write_list(range, &mut body),
            None => {
                for element in range {
                    inferred::write_element(item, &values, element, &mut body)?;
                }
            }
        }
        wire_out::bytes(field, &body, out);
        Ok(())
    })
}

/// Cells written one after another into one buffer.
struct Cells {
    bytes: Vec<u8>,
    offsets: Vec<i32>,
}

impl Cells {
    fn new(rows: usize) -> Self {
        let mut offsets = Vec::with_capacity(rows + 1);
        offsets.push(0);
        Self {
            bytes: Vec::with_capacity(rows * 10),
            offsets,
        }
    }

    /// Appends `rows` cells, each by what `write` appends for it.
    fn fill(
        &mut self,
        rows: usize,
        mut write: impl FnMut(usize, &mut Vec<u8>) -> Result<()>,
    ) -> Result<()> {
        for row in 0..rows {
            write(row, &mut self.bytes).map_err(|error| error.context(format!("row {row}")))?;
            let end = i32::try_from(self.bytes.len())
                .map_err(|_| cannot("the cells exceed 2 GiB; encode fewer rows at once"))?;
            self.offsets.push(end);
        }
        Ok(())
    }

    fn finish(self) -> BinaryArray {
        BinaryArray::new(
            OffsetBuffer::new(self.offsets.into()),
            self.bytes.into(),
            None,
        )
    }
}

/// Whether this is the Arrow form of a zoned timestamp.
pub(super) fn is_zoned(data_type: &DataType) -> bool {
    match data_type {
        DataType::Struct(fields) => {
            matches!(fields.len(), 2)
                && fields[0].name() == "timestamp"
                && fields[1].name() == "zone"
        }
        _ => false,
    }
}

/// The instant and the zone of one row of a zoned timestamp's column: a struct of both, or
/// timestamps of one zone.
pub(super) fn zoned_parts(array: &dyn Array, row: usize) -> Result<Option<(i64, String)>> {
    if array.is_null(row) {
        return Ok(None);
    }
    let (instants, zone) = match array.data_type() {
        data_type if is_zoned(data_type) => {
            let parts = array.as_struct();
            let zones = texts(&parts.column(1).slice(row, 1))?;
            let zone = if zones.is_valid(0) {
                zones.value(0)
            } else {
                ""
            };
            (parts.column(0).slice(row, 1), zone.to_owned())
        }
        DataType::Timestamp(_, zone) => {
            let zone = zone.as_deref().unwrap_or("");
            // An offset is what `str()` of Python's `timezone` makes of it.
            let zone = match zone.as_bytes().first() {
                Some(b'+' | b'-') => format!("UTC{zone}"),
                _ => zone.to_owned(),
            };
            (array.slice(row, 1), zone)
        }
        _ => return Err(super::source::not_from("a zoned timestamp", array)),
    };
    let instants = seconds(&instants)?;
    Ok(instants.is_valid(0).then(|| (instants.value(0), zone)))
}
