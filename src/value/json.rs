//! Values of no declared type as JSON texts, without loss.
//!
//! What JSON has is plain; anything else is an object with one key, `$` and the name of its
//! field in Feast's `Value` without `_val`.
//!
//! | stored | JSON |
//! |---|---|
//! | nothing, null timestamp | `null` |
//! | `string_val`, `bool_val` | `"text"`, `true` |
//! | `int64_val`, `double_val` | `5`; `5.0` (always with a point or an exponent) |
//! | lists of these four, not empty | `[1, 2]`, `["a"]` |
//! | `map_val`, `map_list_val` if not empty | `{"key": value}`, `[{..}, {..}]` |
//! | a number that is not finite | `{"$double": "nan"}`, `"inf"`, `"-inf"`; likewise in lists |
//! | `int32_val`, `float_val`, `null_val` | `{"$int32": 5}`, `{"$float": 0.5}`, `{"$null": 0}` |
//! | `bytes_val` | `{"$bytes": "base64"}` |
//! | `unix_timestamp_val` | `{"$unix_timestamp": seconds}` |
//! | `json_val`, `uuid_val`, `time_uuid_val`, `decimal_val` | `{"$decimal": "1.50"}` |
//! | `zoned_timestamp_val` | `{"$zoned_timestamp": [seconds, "zone"]}` |
//! | other lists and sets, and empty ones | `{"$float_list": [0.5, "nan"]}`, `{"$int64_set": []}` |
//! | `list_val`, `set_val` | `{"$list": [value, ..]}`, each value by this table |
//! | `struct_val`, `struct_list_val` | `{"$struct": {..}}`, `{"$struct_list": [{..}]}` |
//! | `scalar_map_val` | `{"$scalar_map": [[key, value], ..]}` |
//! | a map with a single key that starts with `$` | `{"$map": {..}}` |

use std::collections::BTreeMap;
use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::cause::Cause;
use super::elements::{elements, map_entries, scalar_map_entries};
use super::field::{Field, Layout};
use super::wire::{NULL_TIMESTAMP, Value, merged_body, parse_nested};
use super::zoned;

/// Appends the JSON text of `value`, read from `cell`, with `depth` levels left below it.
pub(super) fn write(
    value: Value<'_>,
    cell: &[u8],
    depth: u32,
    out: &mut String,
) -> Result<(), Cause> {
    match value {
        Value::Null | Value::UnixTimestamp(NULL_TIMESTAMP) => out.push_str("null"),
        Value::Unknown(number) => return Err(Cause::Unknown(number)),
        Value::String(_) | Value::Int64(_) | Value::Bool(_) => plain(value, out),
        Value::Double(number) if number.is_finite() => plain(value, out),
        Value::Merged(field) => {
            let body = merged_body(cell)?;
            return message(field, &body, depth, out);
        }
        Value::Message { field, body } => return message(field, body, depth, out),
        _ => {
            open_tag(value.field().unwrap_or(Field::Null), out);
            plain(value, out);
            out.push('}');
        }
    }
    Ok(())
}

/// A scalar without a tag.
fn plain(value: Value<'_>, out: &mut String) {
    // Writing to a String cannot fail.
    let _ = match value {
        Value::Bool(truth) => write!(out, "{truth}"),
        Value::Int32(number) | Value::NullVal(number) => write!(out, "{number}"),
        Value::Int64(number) => write!(out, "{number}"),
        Value::UnixTimestamp(NULL_TIMESTAMP) => write!(out, "null"),
        Value::UnixTimestamp(seconds) => write!(out, "{seconds}"),
        Value::Double(number) if number.is_finite() => write!(out, "{number:?}"),
        Value::Float(number) if number.is_finite() => write!(out, "{number:?}"),
        Value::Double(number) => write!(out, "\"{}\"", not_finite(number)),
        Value::Float(number) => write!(out, "\"{}\"", not_finite(number.into())),
        Value::String(text) | Value::Text { text, .. } => {
            string(text, out);
            Ok(())
        }
        Value::Bytes(bytes) => write!(out, "\"{}\"", STANDARD.encode(bytes)),
        Value::Null | Value::Message { .. } | Value::Merged(_) | Value::Unknown(_) => Ok(()),
    };
}

fn not_finite(number: f64) -> &'static str {
    if number.is_nan() {
        "nan"
    } else if number > 0.0 {
        "inf"
    } else {
        "-inf"
    }
}

/// Appends `text` as a JSON string.
pub(super) fn string(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c < ' ' => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

fn open_tag(field: Field, out: &mut String) {
    out.push_str("{\"$");
    out.push_str(field.name().trim_end_matches("_val"));
    out.push_str("\":");
}

fn message(field: Field, body: &[u8], depth: u32, out: &mut String) -> Result<(), Cause> {
    let start = out.len();
    open_tag(field, out);
    let content = out.len();
    let untagged = match field.layout() {
        Layout::Map => {
            let sole_key_is_tag = map(body, depth, out)?;
            field == Field::Map && !sole_key_is_tag
        }
        Layout::ScalarMap => {
            scalar_map(body, depth, out)?;
            false
        }
        Layout::ZonedTimestamp => {
            let (seconds, zone) = zoned::parts(body, depth)?;
            let _ = match seconds {
                NULL_TIMESTAMP => write!(out, "[null,"),
                seconds => write!(out, "[{seconds},"),
            };
            string(zone, out);
            out.push(']');
            false
        }
        _ => list(field, body, depth, out)?,
    };
    if untagged {
        out.replace_range(start..content, "");
    } else {
        out.push('}');
    }
    Ok(())
}

/// Whether the list can do without a tag.
fn list(field: Field, body: &[u8], depth: u32, out: &mut String) -> Result<bool, Cause> {
    let mut count = 0_usize;
    let mut finite = true;
    let nested = matches!(field.layout(), Layout::Values | Layout::MapList);
    out.push('[');
    elements(field, body, depth, |value, cell, below| {
        if count > 0 {
            out.push(',');
        }
        count += 1;
        match value {
            // A list of structs is tagged as such; its members are plain objects.
            Value::Message {
                field: Field::Struct,
                body,
            } if field == Field::StructList => {
                map(body, below, out)?;
            }
            _ if nested => write(value, cell, below, out)?,
            _ => {
                finite &= !matches!(value, Value::Double(number) if !number.is_finite());
                plain(value, out);
            }
        }
        Ok(())
    })?;
    out.push(']');
    Ok(count > 0
        && finite
        && matches!(
            field,
            Field::Int64List
                | Field::DoubleList
                | Field::StringList
                | Field::BoolList
                | Field::MapList
        ))
}

/// Writes a map as an object, its keys sorted; whether it has one key, which looks like a tag.
fn map(body: &[u8], depth: u32, out: &mut String) -> Result<bool, Cause> {
    let entries = sorted_texts(body, depth)?;
    let mut separator = '{';
    for (key, text) in &entries {
        out.push(separator);
        separator = ',';
        string(key, out);
        out.push(':');
        out.push_str(text.as_deref().unwrap_or("null"));
    }
    if entries.is_empty() {
        out.push('{');
    }
    out.push('}');
    Ok(entries.len() == 1 && entries.keys().all(|key| key.starts_with('$')))
}

/// The entries of a map by their keys, the values as JSON texts; `None` for a value that is null.
pub(super) fn sorted_texts(
    body: &[u8],
    depth: u32,
) -> Result<BTreeMap<&str, Option<String>>, Cause> {
    let mut entries = BTreeMap::new();
    map_entries(body, depth, |key, cell, below| {
        entries.insert(key, text_or_null(cell, below)?);
        Ok(())
    })?;
    Ok(entries)
}

/// The JSON text of a cell; `None` if it is null.
pub(super) fn text_or_null(cell: &[u8], depth: u32) -> Result<Option<String>, Cause> {
    match parse_nested(cell, depth)? {
        Value::Null | Value::UnixTimestamp(NULL_TIMESTAMP) => Ok(None),
        value => {
            let mut text = String::new();
            write(value, cell, depth, &mut text)?;
            Ok(Some(text))
        }
    }
}

fn scalar_map(body: &[u8], depth: u32, out: &mut String) -> Result<(), Cause> {
    let mut separator = '[';
    scalar_map_entries(body, depth, |key, cell, below| {
        out.push(separator);
        separator = ',';
        out.push('[');
        write(key, &[], 0, out)?;
        out.push(',');
        write(parse_nested(cell, below)?, cell, below, out)?;
        out.push(']');
        Ok(())
    })?;
    if separator == '[' {
        out.push('[');
    }
    out.push(']');
    Ok(())
}
