//! Arrow arrays as they come, brought to the one form per kind that the encoder reads: 64-bit
//! integers, doubles, large strings, large binaries, large lists.

use arrow_array::cast::AsArray as _;
use arrow_array::types::{
    Decimal128Type, Float64Type, Int64Type, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType,
};
use arrow_array::{
    Array, ArrayRef, Float64Array, Int64Array, LargeBinaryArray, LargeListArray, LargeStringArray,
    make_array,
};
use arrow_cast::{CastOptions, cast_with_options};
use arrow_schema::{DataType, Field as ArrowField, TimeUnit};

use crate::error::{Error, ErrorKind, Result};

/// An encoding error.
pub(super) fn cannot(what: impl Into<String>) -> Error {
    Error::new(ErrorKind::Encode, what)
}

/// The error of an array whose type the wanted kind of value is not taken from.
pub(super) fn not_from(wanted: &str, array: &dyn Array) -> Error {
    cannot(format!(
        "{wanted} cannot be made from {}",
        array.data_type()
    ))
}

/// Lossless or an error.
fn exact_cast(array: &dyn Array, to: &DataType) -> Result<ArrayRef> {
    let options = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    cast_with_options(array, to, &options).map_err(|error| cannot(error.to_string()))
}

/// The array without dictionary or run-end encoding.
pub(crate) fn plain(array: &dyn Array) -> Result<ArrayRef> {
    match array.data_type() {
        DataType::Dictionary(_, values) => exact_cast(array, values),
        DataType::RunEndEncoded(_, values) => exact_cast(array, values.data_type()),
        _ => Ok(make_array(array.to_data())),
    }
}

/// Integers of any width, and floats that are integers: pandas makes them of integers beside
/// nulls, which are then not a number.
pub(super) fn integers(array: &dyn Array) -> Result<Int64Array> {
    let array = plain(array)?;
    if array.data_type().is_floating() {
        let doubles = exact_cast(&array, &DataType::Float64)?;
        let doubles = doubles.as_primitive::<Float64Type>();
        return doubles.iter().map(integral).collect();
    }
    if !(array.data_type().is_integer() || array.data_type().is_null()) {
        return Err(not_from("an integer", &array));
    }
    Ok(exact_cast(&array, &DataType::Int64)?
        .as_primitive::<Int64Type>()
        .clone())
}

fn integral(number: Option<f64>) -> Result<Option<i64>> {
    let Some(number) = number.filter(|number| !number.is_nan()) else {
        return Ok(None);
    };
    let integer = number as i64;
    // 2^63 saturates to 2^63 - 1, which as a double is 2^63 again.
    if integer as f64 - number == 0.0 && integer != i64::MAX {
        Ok(Some(integer))
    } else {
        Err(cannot(format!("{number} is not a 64-bit integer")))
    }
}

/// Floats of any width, integers and decimals.
pub(super) fn doubles(array: &dyn Array) -> Result<Float64Array> {
    let array = plain(array)?;
    if !(array.data_type().is_numeric() || array.data_type().is_null()) {
        return Err(not_from("a float", &array));
    }
    Ok(exact_cast(&array, &DataType::Float64)?
        .as_primitive::<Float64Type>()
        .clone())
}

/// Booleans, as 0 and 1.
pub(super) fn booleans(array: &dyn Array) -> Result<Int64Array> {
    let array = plain(array)?;
    if !matches!(array.data_type(), DataType::Boolean | DataType::Null) {
        return Err(not_from("a bool", &array));
    }
    Ok(exact_cast(&array, &DataType::Int64)?
        .as_primitive::<Int64Type>()
        .clone())
}

/// Strings.
pub(super) fn texts(array: &dyn Array) -> Result<LargeStringArray> {
    let array = plain(array)?;
    match array.data_type() {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null => {
            Ok(exact_cast(&array, &DataType::LargeUtf8)?
                .as_string()
                .clone())
        }
        _ => Err(not_from("a text", &array)),
    }
}

/// UUIDs, from texts or sixteen bytes.
pub(super) fn uuids(array: &dyn Array) -> Result<LargeStringArray> {
    let array = plain(array)?;
    let DataType::FixedSizeBinary(16) = array.data_type() else {
        return texts(&array);
    };
    let uuid = |bytes: &[u8]| {
        use std::fmt::Write as _;
        let mut text = String::with_capacity(36);
        for (index, byte) in bytes.iter().enumerate() {
            if matches!(index, 4 | 6 | 8 | 10) {
                text.push('-');
            }
            let _ = write!(text, "{byte:02x}");
        }
        text
    };
    Ok(array
        .as_fixed_size_binary()
        .iter()
        .map(|bytes| bytes.map(uuid))
        .collect())
}

/// Decimals, from texts or Arrow's decimals, which are written as Python's `str(Decimal)` does.
pub(super) fn decimals(array: &dyn Array) -> Result<LargeStringArray> {
    let array = plain(array)?;
    let (DataType::Decimal32(_, scale)
    | DataType::Decimal64(_, scale)
    | DataType::Decimal128(_, scale)) = *array.data_type()
    else {
        return texts(&array);
    };
    let wide = exact_cast(&array, &DataType::Decimal128(38, scale))?;
    let wide = wide.as_primitive::<Decimal128Type>();
    Ok(wide
        .iter()
        .map(|digits| digits.map(|digits| python_decimal(digits, scale)))
        .collect())
}

/// The text of digits x 10^-scale by the General Decimal Arithmetic's to-scientific-string.
fn python_decimal(digits: i128, scale: i8) -> String {
    let sign = if digits < 0 { "-" } else { "" };
    let digits = digits.unsigned_abs().to_string();
    let exponent = -i32::from(scale);
    let adjusted = exponent + digits.len() as i32 - 1;
    if exponent <= 0 && adjusted >= -6 {
        let places = usize::try_from(-exponent).unwrap_or(0);
        if places == 0 {
            return format!("{sign}{digits}");
        }
        let padded = format!("{digits:0>width$}", width = places + 1);
        let (whole, fraction) = padded.split_at(padded.len() - places);
        return format!("{sign}{whole}.{fraction}");
    }
    let (first, rest) = digits.split_at(1);
    let point = if rest.is_empty() { "" } else { "." };
    format!("{sign}{first}{point}{rest}E{adjusted:+}")
}

/// Bytes.
pub(crate) fn binaries(array: &dyn Array) -> Result<LargeBinaryArray> {
    let array = plain(array)?;
    match array.data_type() {
        DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView
        | DataType::FixedSizeBinary(_)
        | DataType::Null => Ok(exact_cast(&array, &DataType::LargeBinary)?
            .as_binary()
            .clone()),
        _ => Err(not_from("bytes", &array)),
    }
}

/// Seconds since 1970, from timestamps of any unit, dates or integers.
///
/// Parts of a second are dropped as Feast drops them, by Python's `int(x.timestamp())`: toward
/// zero, after rounding to a double, and for nanoseconds after pandas' rounding to microseconds.
pub(super) fn seconds(array: &dyn Array) -> Result<Int64Array> {
    let array = plain(array)?;
    Ok(match array.data_type() {
        DataType::Timestamp(TimeUnit::Second, _) => array
            .as_primitive::<TimestampSecondType>()
            .reinterpret_cast(),
        DataType::Timestamp(TimeUnit::Millisecond, _) => array
            .as_primitive::<TimestampMillisecondType>()
            .unary(|time| whole_seconds(time, 1_000)),
        DataType::Timestamp(TimeUnit::Microsecond, _) => array
            .as_primitive::<TimestampMicrosecondType>()
            .unary(|time| whole_seconds(time, 1_000_000)),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => array
            .as_primitive::<TimestampNanosecondType>()
            .unary(|time| {
                let double = as_double(time, 1_000_000_000);
                let rounded: f64 = format!("{double:.6}").parse().unwrap_or(double);
                rounded as i64
            }),
        DataType::Date32 | DataType::Date64 => {
            let to = DataType::Timestamp(TimeUnit::Second, None);
            exact_cast(&array, &to)?
                .as_primitive::<TimestampSecondType>()
                .reinterpret_cast()
        }
        data_type if data_type.is_integer() || data_type.is_null() => integers(&array)?,
        _ => return Err(not_from("a timestamp", &array)),
    })
}

fn whole_seconds(time: i64, per_second: i64) -> i64 {
    // Beyond a double's integers only whole seconds can be meant.
    if (time / per_second).unsigned_abs() >= 1 << 53 {
        time / per_second
    } else {
        as_double(time, per_second) as i64
    }
}

fn as_double(time: i64, per_second: i64) -> f64 {
    (time / per_second) as f64 + (time % per_second) as f64 / per_second as f64
}

/// Lists of any kind.
pub(super) fn lists(array: &dyn Array) -> Result<LargeListArray> {
    let array = plain(array)?;
    let item = match array.data_type() {
        DataType::LargeList(_) => return Ok(array.as_list().clone()),
        DataType::List(item)
        | DataType::FixedSizeList(item, _)
        | DataType::ListView(item)
        | DataType::LargeListView(item) => item.clone(),
        DataType::Null => ArrowField::new_list_field(DataType::Null, true).into(),
        _ => return Err(not_from("a list", &array)),
    };
    Ok(exact_cast(&array, &DataType::LargeList(item))?
        .as_list()
        .clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_look_like_pythons() {
        for (digits, scale, text) in [
            (150, 2, "1.50"),
            (-5, 3, "-0.005"),
            (0, 2, "0.00"),
            (5, 0, "5"),
            (1, 7, "1E-7"),
            (0, 7, "0E-7"),
            (123, 9, "1.23E-7"),
            (12, 7, "0.0000012"),
            (12, -3, "1.2E+4"),
        ] {
            assert_eq!(python_decimal(digits, scale), text);
        }
    }

    #[test]
    fn seconds_are_cut_toward_zero() {
        assert_eq!(whole_seconds(-1_500_000, 1_000_000), -1);
        assert_eq!(whole_seconds(1_999_999, 1_000_000), 1);
        // In the year 9999 a double has no .999999 any more.
        assert_eq!(
            whole_seconds(253_402_300_799_999_999, 1_000_000),
            253_402_300_800
        );
    }
}
