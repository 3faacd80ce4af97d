//! Arrow arrays as they come, brought to the one form per kind that the encoder reads: 64-bit
//! integers, floats of either width, seconds, bools, large lists. Texts and bytes are in
//! [`texts`](super::texts).

use arrow_array::cast::AsArray as _;
use arrow_array::types::{
    Date32Type, Date64Type, Float32Type, Float64Type, Int64Type, TimestampMicrosecondType,
    TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType,
};
use arrow_array::{
    Array, ArrayRef, ArrowPrimitiveType, BooleanArray, Float32Array, Float64Array, Int64Array,
    LargeBinaryArray, LargeListArray, PrimitiveArray, make_array,
};
use arrow_buffer::ScalarBuffer;
use arrow_cast::{CastOptions, cast_with_options};
use arrow_schema::{DataType, Field as ArrowField, TimeUnit};

use super::texts::{decimal_digits, decimals, texts};
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
pub(crate) fn exact_cast(array: &dyn Array, to: &DataType) -> Result<ArrayRef> {
    let options = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    cast_with_options(array, to, &options).map_err(|error| cannot(error.to_string()))
}

/// The array without dictionary or run-end encoding.
pub(crate) fn plain(array: &dyn Array) -> Result<ArrayRef> {
    match array.data_type() {
        DataType::Dictionary(_, values) => plain(&exact_cast(array, values)?),
        DataType::RunEndEncoded(_, values) => plain(&exact_cast(array, values.data_type())?),
        _ => Ok(make_array(array.to_data())),
    }
}

/// The values, with `default` where there is none.
pub(super) fn filled<T: ArrowPrimitiveType>(
    array: &PrimitiveArray<T>,
    default: T::Native,
) -> ScalarBuffer<T::Native> {
    match array.nulls() {
        Some(nulls) if nulls.null_count() > 0 => array
            .values()
            .iter()
            .zip(nulls)
            .map(|(&value, valid)| if valid { value } else { default })
            .collect(),
        _ => array.values().clone(),
    }
}

pub(super) fn is_text(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View
    )
}

pub(super) fn is_decimal(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Decimal32(..)
            | DataType::Decimal64(..)
            | DataType::Decimal128(..)
            | DataType::Decimal256(..)
    )
}

pub(super) fn is_time(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Timestamp(..) | DataType::Date32 | DataType::Date64
    )
}

/// Integers of any width, bools, and floats, decimals and texts that are integers: pandas makes
/// floats of integers beside nulls, which are then not a number.
pub(super) fn integers(array: &dyn Array) -> Result<Int64Array> {
    let array = plain(array)?;
    if let Some((digits, scale)) = decimal_digits(&array) {
        let integers = digits.iter().map(|digits| match digits {
            Some(digits) => whole(digits, scale).map(Some),
            None => Ok(None),
        });
        return integers.collect();
    }
    match array.data_type() {
        DataType::Int64 => Ok(array.as_primitive::<Int64Type>().clone()),
        data_type
            if data_type.is_integer()
                || matches!(data_type, DataType::Boolean | DataType::Null) =>
        {
            let integers = exact_cast(&array, &DataType::Int64)?;
            Ok(integers.as_primitive::<Int64Type>().clone())
        }
        data_type if data_type.is_floating() => doubles(&array)?.iter().map(integral).collect(),
        data_type if is_text(data_type) => {
            let texts = texts(&array)?;
            let integers = texts.iter().map(|text| text.map(parsed).transpose());
            integers.collect()
        }
        _ => Err(not_from("an integer", &array)),
    }
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

/// The integer that a text spells, white space around it left aside.
fn parsed(text: &[u8]) -> Result<i64> {
    let text = String::from_utf8_lossy(text);
    text.trim()
        .parse()
        .map_err(|_| cannot(format!("{text:?} is not a 64-bit integer")))
}

/// The integer that digits x 10^-scale are.
fn whole(digits: &str, scale: i8) -> Result<i64> {
    let places = usize::from(scale.unsigned_abs());
    let spelled = match digits.trim_start_matches('-').len().checked_sub(places) {
        _ if digits == "0" => digits.to_owned(),
        _ if scale <= 0 => format!("{digits}{}", "0".repeat(places)),
        Some(1..)
            if digits[digits.len() - places..]
                .bytes()
                .all(|digit| digit == b'0') =>
        {
            digits[..digits.len() - places].to_owned()
        }
        _ => return Err(cannot(format!("{digits}E-{scale} is not an integer"))),
    };
    let integer = spelled.parse();
    integer.map_err(|_| cannot(format!("{spelled} is not a 64-bit integer")))
}

/// Floats of any width, integers, bools, decimals and texts of numbers.
pub(super) fn doubles(array: &dyn Array) -> Result<Float64Array> {
    let array = plain(array)?;
    match array.data_type() {
        DataType::Float64 => Ok(array.as_primitive::<Float64Type>().clone()),
        data_type if is_decimal(data_type) => parsed_doubles(&decimals(&array)?),
        data_type if is_text(data_type) => parsed_doubles(&texts(&array)?),
        data_type
            if data_type.is_numeric()
                || matches!(data_type, DataType::Boolean | DataType::Null) =>
        {
            let doubles = exact_cast(&array, &DataType::Float64)?;
            Ok(doubles.as_primitive::<Float64Type>().clone())
        }
        _ => Err(not_from("a float", &array)),
    }
}

fn parsed_doubles(texts: &super::texts::Texts) -> Result<Float64Array> {
    let number = |text: &[u8]| {
        let text = String::from_utf8_lossy(text);
        let number = text.trim().parse::<f64>();
        number.map_err(|_| cannot(format!("{text:?} is not a number")))
    };
    let numbers = texts.iter().map(|text| text.map(number).transpose());
    numbers.collect()
}

/// The same as floats of single width.
pub(super) fn floats(array: &dyn Array) -> Result<Float32Array> {
    let array = plain(array)?;
    Ok(match array.data_type() {
        DataType::Float32 => array.as_primitive::<Float32Type>().clone(),
        _ => doubles(&array)?.unary(|number| number as f32),
    })
}

/// Bools, and integers that are true unless they are 0.
pub(super) fn booleans(array: &dyn Array) -> Result<BooleanArray> {
    let array = plain(array)?;
    match array.data_type() {
        DataType::Boolean => Ok(array.as_boolean().clone()),
        data_type if data_type.is_integer() || data_type.is_null() => {
            Ok(exact_cast(&array, &DataType::Boolean)?.as_boolean().clone())
        }
        _ => Err(not_from("a bool", &array)),
    }
}

/// Bytes, for cells that are read.
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

/// What becomes of a part of a second.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Parts {
    /// The second that it is part of: numpy's way, which Feast goes for columns of timestamps, in
    /// sets and in nested lists.
    Floor,
    /// Left away, toward 1970: Python's `int(moment.timestamp())`, which Feast goes for elements
    /// of lists and inside of structs.
    Cut,
}

/// Seconds since 1970, from timestamps of any unit and zone, dates, and numbers of seconds.
pub(super) fn seconds(array: &dyn Array, parts: Parts) -> Result<Int64Array> {
    match parts {
        Parts::Floor => seconds_by(array, i64::div_euclid),
        Parts::Cut => seconds_by(array, |time, unit| time / unit),
    }
}

#[inline]
fn seconds_by(array: &dyn Array, divide: impl Fn(i64, i64) -> i64) -> Result<Int64Array> {
    let array = plain(array)?;
    Ok(match array.data_type() {
        DataType::Timestamp(TimeUnit::Second, _) => array
            .as_primitive::<TimestampSecondType>()
            .reinterpret_cast(),
        DataType::Timestamp(TimeUnit::Millisecond, _) => array
            .as_primitive::<TimestampMillisecondType>()
            .unary(|time| divide(time, 1_000)),
        DataType::Timestamp(TimeUnit::Microsecond, _) => array
            .as_primitive::<TimestampMicrosecondType>()
            .unary(|time| divide(time, 1_000_000)),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => array
            .as_primitive::<TimestampNanosecondType>()
            .unary(|time| divide(time, 1_000_000_000)),
        DataType::Date32 => array
            .as_primitive::<Date32Type>()
            .unary(|days| i64::from(days) * 86_400),
        DataType::Date64 => array
            .as_primitive::<Date64Type>()
            .unary(|time| divide(time, 1_000)),
        data_type if data_type.is_floating() => {
            let whole = doubles(&array)?.unary::<_, Float64Type>(f64::trunc);
            whole.iter().map(integral).collect::<Result<_>>()?
        }
        DataType::Boolean => return Err(not_from("a timestamp", &array)),
        _ => integers(&array).map_err(|error| match array.data_type() {
            data_type if data_type.is_nested() => not_from("a timestamp", &array),
            _ => error,
        })?,
    })
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

pub(super) fn is_list(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::List(_)
            | DataType::LargeList(_)
            | DataType::FixedSizeList(..)
            | DataType::ListView(_)
            | DataType::LargeListView(_)
    )
}

#[cfg(test)]
mod tests {
    use arrow_array::{TimestampMicrosecondArray, UInt64Array};

    use super::*;

    #[test]
    fn parts_of_seconds() {
        let times = TimestampMicrosecondArray::from(vec![-1_500_000, -1, 1_999_999]);
        let of = |parts| seconds(&times, parts).unwrap().values().to_vec();
        assert_eq!(of(Parts::Floor), [-2, -1, 1]);
        assert_eq!(of(Parts::Cut), [-1, 0, 1]);
    }

    #[test]
    fn integers_are_exact() {
        assert_eq!(integral(Some(-0.0)).unwrap(), Some(0));
        assert!(integral(Some(9_223_372_036_854_775_808.0)).is_err());
        assert!(integers(&UInt64Array::from(vec![1 << 63])).is_err());
        for (digits, scale, integer) in [
            ("-300", 2, Some(-3)),
            ("0", 9, Some(0)),
            ("5", 0, Some(5)),
            ("12", -3, Some(12_000)),
            ("301", 2, None),
            ("5", 2, None),
            ("100", 3, None),
            ("-9223372036854775808", 0, Some(i64::MIN)),
            ("9223372036854775808", 0, None),
        ] {
            assert_eq!(whole(digits, scale).ok(), integer, "{digits} {scale}");
        }
    }
}
