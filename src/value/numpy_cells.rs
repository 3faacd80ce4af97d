//! Arrow columns into cells as Feast's engines and `push` write them: Feast takes columns out of
//! Arrow through numpy there, which for some types comes to other bytes than Python's own values,
//! the reference of [`encode`](super::encode).
//!
//! - a null in a column of timestamps is the null timestamp, and parts of a second are cut toward
//!   the past;
//! - a null element of a list of floats is not a number;
//! - integers become texts and booleans where those are declared.

use std::sync::Arc;

use arrow_array::builder::BinaryBuilder;
use arrow_array::cast::AsArray as _;
use arrow_array::types::{Float64Type, Int64Type, TimestampSecondType};
use arrow_array::{Array, ArrayRef, BinaryArray, Float64Array, LargeListArray};
use arrow_cast::cast;
use arrow_schema::{DataType, Field as ArrowField, TimeUnit};

use super::dtype::FeastType;
use super::encode::encode;
use super::field::Field;
use super::source::{cannot, integers, lists, plain};
use super::wire::NULL_TIMESTAMP;
use super::wire_out;
use crate::error::Result;

/// The cells of a column's values as `dtype`, one for each row; see [`encode`].
pub fn encode_through_numpy(array: &dyn Array, dtype: &FeastType) -> Result<BinaryArray> {
    let array = plain(array)?;
    if array.data_type().is_null() {
        return encode(&array, dtype);
    }
    match (dtype, array.data_type()) {
        (FeastType::UnixTimestamp, _) => timestamps(&array),
        (FeastType::Array(item), _)
            if matches!(**item, FeastType::Float32 | FeastType::Float64) =>
        {
            encode(&without_nulls(&array)?, dtype)
        }
        (FeastType::String, data_type) if data_type.is_integer() => {
            encode(&converted(&array, &DataType::Utf8)?, dtype)
        }
        (FeastType::Bool, data_type) if data_type.is_integer() => {
            encode(&converted(&array, &DataType::Boolean)?, dtype)
        }
        _ => encode(&array, dtype),
    }
}

/// Whether a cell holds a null.
#[must_use]
pub fn is_null_cell(cell: &[u8]) -> bool {
    const NULL_TIME: [u8; 11] = [0x40, 128, 128, 128, 128, 128, 128, 128, 128, 128, 1];
    cell.is_empty() || cell == NULL_TIME
}

fn converted(array: &dyn Array, to: &DataType) -> Result<ArrayRef> {
    cast(array, to).map_err(|cause| cannot(cause.to_string()))
}

fn timestamps(array: &ArrayRef) -> Result<BinaryArray> {
    let seconds = match array.data_type() {
        DataType::Timestamp(unit, _) => {
            let per_second = match unit {
                TimeUnit::Second => 1,
                TimeUnit::Millisecond => 1_000,
                TimeUnit::Microsecond => 1_000_000,
                TimeUnit::Nanosecond => 1_000_000_000,
            };
            let counts = converted(array, &DataType::Int64)?;
            counts
                .as_primitive::<Int64Type>()
                .unary(|count| count.div_euclid(per_second))
        }
        DataType::Date32 | DataType::Date64 => {
            converted(array, &DataType::Timestamp(TimeUnit::Second, None))?
                .as_primitive::<TimestampSecondType>()
                .reinterpret_cast::<Int64Type>()
        }
        data_type if data_type.is_integer() => integers(array)?,
        // Not a timestamp, which is said there.
        _ => return encode(array, &FeastType::UnixTimestamp),
    };
    let mut cells = BinaryBuilder::with_capacity(seconds.len(), 7 * seconds.len());
    let mut cell = Vec::with_capacity(11);
    for second in &seconds {
        cell.clear();
        let second = second.unwrap_or(NULL_TIMESTAMP);
        wire_out::integer(Field::UnixTimestamp, second, &mut cell);
        cells.append_value(&cell);
    }
    Ok(cells.finish())
}

/// Lists of numbers, whose null elements are not numbers.
fn without_nulls(array: &ArrayRef) -> Result<ArrayRef> {
    let lists = lists(array)?;
    let items = plain(lists.values())?;
    if items.null_count() == 0 || !items.data_type().is_floating() {
        return Ok(array.clone());
    }
    let items = converted(&items, &DataType::Float64)?;
    let numbers: Float64Array = items
        .as_primitive::<Float64Type>()
        .iter()
        .map(|number| Some(number.unwrap_or(f64::NAN)))
        .collect();
    let field = ArrowField::new_list_field(DataType::Float64, true);
    let (offsets, nulls) = (lists.offsets().clone(), lists.nulls().cloned());
    Ok(Arc::new(LargeListArray::new(
        Arc::new(field),
        offsets,
        Arc::new(numbers),
        nulls,
    )))
}
