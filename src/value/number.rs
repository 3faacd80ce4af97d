//! Stored values as numbers: which stored types widen to which declared ones.
//!
//! | declared | read from, beside itself |
//! |---|---|
//! | `Int32`, `Int64` | any stored integer, float or double that is exactly such an integer; `Int64` also from a Unix timestamp, as seconds |
//! | `Float64`, `Float32` | any stored integer, float or double that is exactly such a float; inside structs and nested lists, where stock Feast stores every float as a double, `Float32` rounds |
//! | `UnixTimestamp` | a stored `int64` or `int32`, as seconds |
//! | `Bool` | nothing else |
//!
//! A number for a model's matrix ([`number`]) is read from any of these, whatever was declared;
//! there an `int64` beyond 2^53 rounds as in any conversion to a double.

use arrow_array::types::{
    ArrowPrimitiveType, Float32Type, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType,
};

use super::cause::Cause;
use super::decode::CellError;
use super::wire::{NULL_TIMESTAMP, Value, parse, sole_varint, tag};

/// An Arrow type of numbers that cells are read into.
pub(super) trait Number: ArrowPrimitiveType {
    /// The number in a cell that holds just this type as Feast writes it; `None` for all else.
    fn fast(cell: &[u8]) -> Option<Self::Native>;

    /// The number that a value widens to, or none for null. `nested` is inside of a struct or a
    /// nested list.
    fn widen(value: Value<'_>, nested: bool) -> Result<Option<Self::Native>, Cause>;
}

/// The varint that follows the wanted tag, if they are all of the cell.
#[inline]
fn tagged_varint(wanted: u8, cell: &[u8]) -> Option<u64> {
    match cell {
        [first, rest @ ..] if *first == wanted => sole_varint(rest),
        _ => None,
    }
}

impl Number for Float64Type {
    #[inline]
    fn fast(cell: &[u8]) -> Option<f64> {
        match cell {
            [tag::DOUBLE, bytes @ ..] => Some(f64::from_le_bytes(bytes.try_into().ok()?)),
            _ => None,
        }
    }

    fn widen(value: Value<'_>, _nested: bool) -> Result<Option<f64>, Cause> {
        Ok(Some(match value {
            Value::Double(number) => number,
            Value::Float(number) => number.into(),
            Value::Int32(number) => number.into(),
            Value::Int64(number) => {
                let double = number as f64;
                if !is_integer(double, number) {
                    return Err(inexact(value));
                }
                double
            }
            other => return null_or_mismatch(other),
        }))
    }
}

impl Number for Float32Type {
    #[inline]
    fn fast(cell: &[u8]) -> Option<f32> {
        match cell {
            [tag::FLOAT, bytes @ ..] => Some(f32::from_le_bytes(bytes.try_into().ok()?)),
            _ => None,
        }
    }

    #[allow(clippy::float_cmp)] // Exactness is the question.
    fn widen(value: Value<'_>, nested: bool) -> Result<Option<f32>, Cause> {
        if let Value::Float(number) = value {
            return Ok(Some(number));
        }
        let Some(double) = Float64Type::widen(value, nested)? else {
            return Ok(None);
        };
        let float = double as f32;
        if f64::from(float) == double || double.is_nan() || nested {
            Ok(Some(float))
        } else {
            Err(inexact(value))
        }
    }
}

impl Number for Int64Type {
    #[inline]
    fn fast(cell: &[u8]) -> Option<i64> {
        tagged_varint(tag::INT64, cell).map(|bits| bits as i64)
    }

    fn widen(value: Value<'_>, _nested: bool) -> Result<Option<i64>, Cause> {
        let double = match value {
            Value::Int64(number) => return Ok(Some(number)),
            Value::Int32(number) => return Ok(Some(number.into())),
            Value::UnixTimestamp(NULL_TIMESTAMP) => return Ok(None),
            Value::UnixTimestamp(seconds) => return Ok(Some(seconds)),
            Value::Double(number) => number,
            Value::Float(number) => number.into(),
            other => return null_or_mismatch(other),
        };
        let integer = double as i64;
        if is_integer(double, integer) {
            Ok(Some(integer))
        } else {
            Err(inexact(value))
        }
    }
}

impl Number for Int32Type {
    #[inline]
    fn fast(cell: &[u8]) -> Option<i32> {
        tagged_varint(tag::INT32, cell).map(|bits| bits as i32)
    }

    fn widen(value: Value<'_>, nested: bool) -> Result<Option<i32>, Cause> {
        if let Value::UnixTimestamp(_) = value {
            return null_or_mismatch(value);
        }
        match Int64Type::widen(value, nested)? {
            None => Ok(None),
            Some(number) => match i32::try_from(number) {
                Ok(number) => Ok(Some(number)),
                Err(_) => Err(inexact(value)),
            },
        }
    }
}

impl Number for TimestampMicrosecondType {
    #[inline]
    fn fast(cell: &[u8]) -> Option<i64> {
        let seconds = tagged_varint(tag::UNIX_TIMESTAMP, cell)? as i64;
        seconds.checked_mul(1_000_000)
    }

    fn widen(value: Value<'_>, _nested: bool) -> Result<Option<i64>, Cause> {
        let seconds = match value {
            Value::UnixTimestamp(NULL_TIMESTAMP) => return Ok(None),
            Value::UnixTimestamp(seconds) | Value::Int64(seconds) => seconds,
            Value::Int32(seconds) => seconds.into(),
            other => return null_or_mismatch(other),
        };
        match seconds.checked_mul(1_000_000) {
            Some(microseconds) => Ok(Some(microseconds)),
            None => Err(Cause::Timestamp),
        }
    }
}

/// Whether `double` is exactly `integer`. 2^63 is a double but no i64, to which it saturates.
#[allow(clippy::float_cmp)] // Exactness is the question.
fn is_integer(double: f64, integer: i64) -> bool {
    double == integer as f64 && double < 9_223_372_036_854_775_808.0 && double as i64 == integer
}

fn inexact(value: Value<'_>) -> Cause {
    value.field().map_or(Cause::TooLarge, Cause::Inexact)
}

/// What a value that is not of the wanted type comes to: none if it is null.
pub(super) fn null_or_mismatch<T>(value: Value<'_>) -> Result<Option<T>, Cause> {
    match value {
        Value::Null | Value::NullVal(_) | Value::UnixTimestamp(NULL_TIMESTAMP) => Ok(None),
        Value::Unknown(number) => Err(Cause::Unknown(number)),
        other => match other.field() {
            Some(field) => Err(Cause::Type(field)),
            None => Ok(None),
        },
    }
}

/// A cell as a number for a model: integers, floats and doubles as they are, booleans as 0 and 1,
/// Unix timestamps as seconds; `None` for null. Anything else is an error.
#[inline]
pub fn number(cell: Option<&[u8]>) -> Result<Option<f64>, Cause> {
    let Some(cell) = cell else { return Ok(None) };
    if let Some(double) = Float64Type::fast(cell) {
        return Ok(Some(double));
    }
    if let Some(float) = Float32Type::fast(cell) {
        return Ok(Some(float.into()));
    }
    if let Some(integer) = Int64Type::fast(cell) {
        return Ok(Some(integer as f64));
    }
    any_number(cell)
}

fn any_number(cell: &[u8]) -> Result<Option<f64>, Cause> {
    Ok(Some(match parse(cell)? {
        Value::Double(number) => number,
        Value::Float(number) => number.into(),
        Value::Int64(number) => number as f64,
        Value::Int32(number) => number.into(),
        Value::Bool(truth) => f64::from(u8::from(truth)),
        Value::UnixTimestamp(seconds) if seconds != NULL_TIMESTAMP => seconds as f64,
        other => return null_or_mismatch(other),
    }))
}

macro_rules! filler {
    ($(#[$doc:meta])* $name:ident, $number:ty) => {
        $(#[$doc])*
        ///
        /// The n-th cell goes to `out[offset + n * stride]`; null becomes `null`. An error names
        /// the cell by its index; cells before it are filled. Cells for which `out` has no room
        /// are [`Cause::TooLarge`].
        pub fn $name<'a>(
            cells: impl Iterator<Item = Option<&'a [u8]>>,
            out: &mut [$number],
            offset: usize,
            stride: usize,
            null: $number,
        ) -> Result<(), CellError> {
            let mut position = offset;
            for (index, cell) in cells.enumerate() {
                let slot = out.get_mut(position);
                let slot = slot.ok_or_else(|| CellError::of_number(index, Cause::TooLarge))?;
                *slot = match number(cell) {
                    Ok(Some(number)) => number as $number,
                    Ok(None) => null,
                    Err(cause) => return Err(CellError::of_number(index, cause)),
                };
                position = position.saturating_add(stride);
            }
            Ok(())
        }
    };
}

filler!(
    /// Fills one column of a float64 matrix with cells by the rules of [`number`].
    fill_f64,
    f64
);
filler!(
    /// Fills one column of a float32 matrix with cells by the rules of [`number`], rounded to
    /// float32.
    fill_f32,
    f32
);
