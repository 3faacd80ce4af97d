//! Values of other types as texts, spelled as Python spells them: `str(value)` for a column
//! declared `String`, `json.dumps(value)` for one declared `Json`.

use std::fmt::{LowerExp, Write as _};
use std::str::FromStr;

use arrow_array::cast::AsArray as _;
use arrow_array::types::{
    Date32Type, Date64Type, Float32Type, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType,
};
use arrow_array::{Array, ArrayRef, LargeStringArray};
use arrow_schema::{DataType, TimeUnit};

use super::source::{
    booleans, cannot, doubles, exact_cast, is_decimal, is_list, is_text, lists, not_from, plain,
};
use super::texts::{Texts, decimals, texts};
use crate::error::Result;

/// What a double may have of them.
const MOST_DIGITS: usize = 767;

trait Float: LowerExp + FromStr + PartialEq + Copy + Into<f64> {
    /// From here on it is spelled with a power of ten.
    const POWER_FROM: f64;
}

impl Float for f64 {
    const POWER_FROM: f64 = 1e16;
}

impl Float for f32 {
    /// As in numpy 2.3 and later; before it was that of doubles.
    const POWER_FROM: f64 = 1e6;
}

/// Texts; numbers, bools, dates and timestamps (in UTC) as Python's `str` spells numpy's.
pub(super) fn strings(array: &dyn Array) -> Result<Texts> {
    let array = plain(array)?;
    let texts: LargeStringArray = match array.data_type() {
        DataType::Boolean => booleans(&array)?
            .iter()
            .map(|truth| truth.map(|truth| if truth { "True" } else { "False" }))
            .collect(),
        DataType::Float32 => array
            .as_primitive::<Float32Type>()
            .iter()
            .map(|number| number.filter(|n| !n.is_nan()).map(python_float))
            .collect(),
        DataType::Float64 => doubles(&array)?
            .iter()
            .map(|number| number.filter(|n| !n.is_nan()).map(python_float))
            .collect(),
        DataType::Date32 => {
            let dates = array.as_primitive::<Date32Type>().iter();
            dates
                .map(|days| days.map(|days| date(days.into())))
                .collect()
        }
        DataType::Date64 => {
            let times = array.as_primitive::<Date64Type>().iter();
            times.map(|time| time.map(|time| moment(time, 3))).collect()
        }
        DataType::Timestamp(unit, _) => {
            let (times, digits) = match unit {
                TimeUnit::Second => (array.as_primitive::<TimestampSecondType>().values(), 0),
                TimeUnit::Millisecond => {
                    (array.as_primitive::<TimestampMillisecondType>().values(), 3)
                }
                TimeUnit::Microsecond => {
                    (array.as_primitive::<TimestampMicrosecondType>().values(), 6)
                }
                TimeUnit::Nanosecond => {
                    (array.as_primitive::<TimestampNanosecondType>().values(), 9)
                }
            };
            let times = times.iter().enumerate();
            times
                .map(|(row, &time)| array.is_valid(row).then(|| moment(time, digits)))
                .collect()
        }
        data_type if data_type.is_integer() => exact_cast(&array, &DataType::LargeUtf8)?
            .as_string()
            .clone(),
        _ => return decimals(&array),
    };
    Ok(texts.into())
}

/// Python's spelling of a double, and numpy's of both: `1.5e-07`, `2.0`, `inf`.
fn python_float<N: Float>(number: N) -> String {
    let shortest = shortest(number);
    let Some((digits, exponent)) = shortest.split_once('e') else {
        return shortest;
    };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let size = number.into().abs();
    if size != 0.0 && !(1e-4..N::POWER_FROM).contains(&size) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{digits}e{sign}{:02}", exponent.abs());
    }
    let (sign, digits) = match digits.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", digits),
    };
    let digits = digits.replace('.', "");
    if exponent < 0 {
        let zeros = "0".repeat(-exponent as usize - 1);
        return format!("{sign}0.{zeros}{digits}");
    }
    let point = exponent as usize + 1;
    let padded = format!("{digits:0<point$}");
    let (whole, fraction) = padded.split_at(point);
    let fraction = if fraction.is_empty() { "0" } else { fraction };
    format!("{sign}{whole}.{fraction}")
}

/// The fewest digits that are read as this number; of two such that are as near to it, those that
/// end evenly, as in Python. Rust takes the greater.
fn shortest<N: Float>(number: N) -> String {
    let text = format!("{number:e}");
    lesser_of_two(number, &text).unwrap_or(text)
}

/// The digits below the shortest ones, if the number is in the middle of both and they end evenly.
fn lesser_of_two<N: Float>(number: N, shortest: &str) -> Option<String> {
    let count = shortest.bytes().take_while(|&byte| byte != b'e');
    let count = count.filter(u8::is_ascii_digit).count();
    // In the middle means that a five follows, and nothing after it.
    let exact = format!("{number:.count$e}");
    let (digits, exponent) = exact.split_once('e')?;
    let lesser = digits.strip_suffix('5')?;
    let even = lesser.ends_with(['0', '2', '4', '6', '8']);
    let lesser = format!("{lesser}e{exponent}");
    if !even || lesser.parse().is_ok_and(|read: N| read != number) {
        return None;
    }
    let all = format!("{number:.MOST_DIGITS$e}");
    let (all, _) = all.split_once('e')?;
    (all.trim_end_matches('0') == digits).then_some(lesser)
}

/// The date of a day since 1970, in the proleptic Gregorian calendar.
fn date(days: i64) -> String {
    // Days are counted from 1 March of a year that 400 divides, so that leap days come last.
    let days = days + 719_468;
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    format!("{:04}-{month:02}-{day:02}", era * 400 + year + next)
}

/// A time since 1970, in units of 10^-digits seconds.
fn moment(time: i64, digits: usize) -> String {
    let unit = 10_i64.pow(digits as u32);
    let (seconds, part) = (time.div_euclid(unit), time.rem_euclid(unit));
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let mut text = date(days);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    let _ = write!(text, "T{hour:02}:{minute:02}:{second:02}");
    if digits > 0 {
        let _ = write!(text, ".{part:0digits$}");
    }
    text
}

/// JSON texts as they are, and what else has a form in JSON as `json.dumps` writes it.
pub(super) fn jsons(array: &dyn Array) -> Result<Texts> {
    let array = plain(array)?;
    if is_text(array.data_type()) || array.data_type().is_null() {
        let texts = texts(&array)?;
        texts.iter().flatten().try_for_each(check_json)?;
        return Ok(texts);
    }
    let mut texts = Vec::with_capacity(array.len());
    for row in 0..array.len() {
        let mut text = String::new();
        let valid = array.is_valid(row);
        if valid {
            dump(&array, row, &mut text)?;
        }
        texts.push(valid.then_some(text));
    }
    Ok(LargeStringArray::from(texts).into())
}

/// Whether a text is JSON, as Feast checks before it stores one.
fn check_json(text: &[u8]) -> Result<()> {
    serde_json::from_slice::<serde::de::IgnoredAny>(text)
        .map(|_| ())
        .map_err(|error| cannot(format!("not a JSON text: {error}")))
}

fn dump(array: &ArrayRef, row: usize, out: &mut String) -> Result<()> {
    let one = plain(&array.slice(row, 1))?;
    if one.is_null(0) || one.data_type().is_null() {
        out.push_str("null");
        return Ok(());
    }
    match one.data_type() {
        DataType::Boolean => {
            let truth = booleans(&one)?.value(0);
            out.push_str(if truth { "true" } else { "false" });
        }
        DataType::Struct(fields) => {
            out.push('{');
            for (index, (field, column)) in fields.iter().zip(one.as_struct().columns()).enumerate()
            {
                separate(index, out);
                quote(field.name(), out);
                out.push_str(": ");
                dump(column, 0, out)?;
            }
            out.push('}');
        }
        DataType::Map(..) => {
            let entries = one.as_map().value(0);
            let keys = texts(entries.column(0))?;
            out.push('{');
            for entry in 0..entries.len() {
                separate(entry, out);
                quote(&String::from_utf8_lossy(keys.value(entry)), out);
                out.push_str(": ");
                dump(entries.column(1), entry, out)?;
            }
            out.push('}');
        }
        data_type if is_list(data_type) => {
            let items = lists(&one)?.value(0);
            out.push('[');
            for item in 0..items.len() {
                separate(item, out);
                dump(&items, item, out)?;
            }
            out.push(']');
        }
        data_type if is_text(data_type) => {
            quote(&String::from_utf8_lossy(texts(&one)?.value(0)), out);
        }
        data_type if data_type.is_floating() => out.push_str(&match doubles(&one)?.value(0) {
            number if number.is_nan() => "NaN".to_owned(),
            f64::INFINITY => "Infinity".to_owned(),
            f64::NEG_INFINITY => "-Infinity".to_owned(),
            number => python_float(number),
        }),
        data_type if data_type.is_integer() => {
            let text = exact_cast(&one, &DataType::Utf8)?;
            out.push_str(text.as_string::<i32>().value(0));
        }
        data_type if is_decimal(data_type) => {
            out.push_str(&String::from_utf8_lossy(decimals(&one)?.value(0)));
        }
        _ => return Err(not_from("JSON", &one)),
    }
    Ok(())
}

fn separate(index: usize, out: &mut String) {
    if index > 0 {
        out.push_str(", ");
    }
}

/// A JSON string in ASCII.
fn quote(text: &str, out: &mut String) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            ' '..='~' => out.push(character),
            _ => {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::excessive_precision)] // The numbers are exact, to be in the middle of two.
    fn floats_look_like_pythons() {
        for (number, text) in [
            (0.0, "0.0"),
            (-0.5, "-0.5"),
            (1e15, "1000000000000000.0"),
            (1e16, "1e+16"),
            (1.25e-5, "1.25e-05"),
            (1e-4, "0.0001"),
            (123.456, "123.456"),
            (1e300, "1e+300"),
            // In the middle of two.
            (562_949_953_421_312.25, "562949953421312.2"),
            (562_949_953_421_312.75, "562949953421312.8"),
            (-562_949_953_421_312.25, "-562949953421312.2"),
            (2_f64.powi(-25), "2.9802322387695312e-08"),
            // Where the lesser of two is not read as this number.
            (2_f64.powi(-24), "5.960464477539063e-08"),
            (f64::INFINITY, "inf"),
        ] {
            assert_eq!(python_float(number), text);
        }
        for (number, text) in [
            (0.0_f32, "0.0"),
            (0.1, "0.1"),
            (1e-4, "1e-04"),
            (262_144.125, "262144.12"),
            (999_999.94, "999999.94"),
            (1e6, "1e+06"),
            (2_097_152.25, "2.0971522e+06"),
        ] {
            assert_eq!(python_float(number), text);
        }
    }

    #[test]
    fn moments() {
        assert_eq!(moment(0, 0), "1970-01-01T00:00:00");
        assert_eq!(moment(-1, 3), "1969-12-31T23:59:59.999");
        assert_eq!(date(11_016), "2000-02-29");
        assert_eq!(date(19_783), "2024-03-01");
        assert_eq!(date(-25_509), "1900-02-28");
        assert_eq!(date(-25_508), "1900-03-01");
    }
}
