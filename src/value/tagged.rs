//! JSON texts read back into `Value`s, by the table in [`json`](super::json).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value as Json};

use super::field::{Field, Layout};
use super::source::cannot;
use super::varint::write_varint;
use super::wire::{NULL_TIMESTAMP, Value, parse};
use super::wire_out;
use crate::error::Result;

/// Appends the `Value` that a JSON text stands for.
pub(super) fn write(text: &[u8], out: &mut Vec<u8>) -> Result<()> {
    value(&document(text)?, out, true)
}

/// The body of the `Map` that a JSON object without tags stands for, as Feast makes it of a
/// Python dict.
pub(super) fn object_body(text: &[u8]) -> Result<Vec<u8>> {
    match document(text)? {
        Json::Object(object) => map_body(&object, false),
        _ => Err(cannot("a map's text is not a JSON object")),
    }
}

/// The body of the `MapList` that a JSON list of objects without tags stands for.
pub(super) fn object_list_body(text: &[u8]) -> Result<Vec<u8>> {
    match document(text)? {
        Json::Array(items) => list_body(Field::MapList, &items, false),
        _ => Err(cannot("the text of a list of maps is not a JSON list")),
    }
}

pub(super) fn document(text: &[u8]) -> Result<Json> {
    serde_json::from_slice(text).map_err(|error| cannot(format!("not a JSON text: {error}")))
}

fn value(json: &Json, out: &mut Vec<u8>, tags: bool) -> Result<()> {
    match json {
        Json::Null => {}
        Json::Bool(truth) => wire_out::integer(Field::Bool, (*truth).into(), out),
        Json::String(text) => wire_out::bytes(Field::String, text.as_bytes(), out),
        Json::Number(number) if number.is_f64() => {
            wire_out::double(double(json)?, out);
        }
        Json::Number(_) => wire_out::integer(Field::Int64, integer(json)?, out),
        Json::Array(items) => {
            let field = match items.first() {
                Some(Json::String(_)) => Field::StringList,
                Some(Json::Bool(_)) => Field::BoolList,
                Some(Json::Object(_)) => Field::MapList,
                Some(Json::Number(number)) if number.is_f64() => Field::DoubleList,
                Some(Json::Number(_)) => Field::Int64List,
                Some(_) => return Err(cannot("a list of nulls or lists has no type in Feast")),
                None => return Err(cannot("an empty list in JSON has no type")),
            };
            wire_out::bytes(field, &list_body(field, items, tags)?, out);
        }
        Json::Object(object) => match tag(object) {
            Some((field, content)) if tags => tagged(field, content, out)?,
            _ => wire_out::bytes(Field::Map, &map_body(object, tags)?, out),
        },
    }
    Ok(())
}

/// The field and the content of an object that is a tag.
fn tag(object: &Map<String, Json>) -> Option<(Field, &Json)> {
    let (key, content) = object.iter().next()?;
    let name = key.strip_prefix('$')?;
    if object.len() > 1 {
        return None;
    }
    let of_name = |field: &&Field| field.name().strip_suffix("_val") == Some(name);
    Some((*Field::ALL.iter().find(of_name)?, content))
}

fn tagged(field: Field, content: &Json, out: &mut Vec<u8>) -> Result<()> {
    match field.layout() {
        Layout::Int32 | Layout::Int64 | Layout::Bool => {
            wire_out::integer(field, scalar_integer(field, content)?, out);
        }
        // NaN has its tag for values that another writer stored; it is kept here.
        Layout::Float => {
            wire_out::tag(field as u32, 5, out);
            out.extend_from_slice(&(double(content)? as f32).to_le_bytes());
        }
        Layout::Double => {
            wire_out::tag(field as u32, 1, out);
            out.extend_from_slice(&double(content)?.to_le_bytes());
        }
        Layout::Text => wire_out::bytes(field, text(content)?.as_bytes(), out),
        Layout::Bytes => wire_out::bytes(field, &base64(content)?, out),
        Layout::Map => {
            let body = map_body(object(content)?, true)?;
            wire_out::bytes(field, &body, out);
        }
        Layout::ZonedTimestamp => {
            let [seconds, zone] = array(content)?.as_slice() else {
                return Err(cannot("a zoned timestamp is not [seconds, zone]"));
            };
            let mut body = Vec::new();
            wire_out::zoned_timestamp(timestamp(seconds)?, text(zone)?.as_bytes(), &mut body);
            wire_out::bytes(field, &body, out);
        }
        Layout::ScalarMap => {
            let mut body = Vec::new();
            for entry in array(content)? {
                let [key, item] = array(entry)?.as_slice() else {
                    return Err(cannot("a scalar map's entry is not [key, value]"));
                };
                let (mut key_cell, mut cell) = (Vec::new(), Vec::new());
                value(key, &mut key_cell, true)?;
                value(item, &mut cell, true)?;
                scalar_map_entry(&key_cell, &cell, &mut body)?;
            }
            wire_out::bytes(field, &body, out);
        }
        _ => wire_out::bytes(field, &list_body(field, array(content)?, true)?, out),
    }
    Ok(())
}

/// The body of a list or set.
fn list_body(field: Field, items: &[Json], tags: bool) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    let mut packed = Vec::new();
    for item in items {
        match field.layout() {
            Layout::TextList => wire_out::delimited(1, text(item)?.as_bytes(), &mut body),
            Layout::BytesList => wire_out::delimited(1, &base64(item)?, &mut body),
            Layout::VarintList => {
                write_varint(&mut packed, scalar_integer(field, item)? as u64);
            }
            Layout::DoubleList => packed.extend_from_slice(&double(item)?.to_le_bytes()),
            Layout::FloatList => packed.extend_from_slice(&(double(item)? as f32).to_le_bytes()),
            Layout::MapList => {
                let mut content = object(item)?;
                if let (true, Field::MapList, Some((Field::Map, inner))) =
                    (tags, field, tag(content))
                {
                    content = object(inner)?;
                }
                wire_out::delimited(1, &map_body(content, tags)?, &mut body);
            }
            _ => {
                let mut cell = Vec::new();
                value(item, &mut cell, tags)?;
                wire_out::delimited(1, &cell, &mut body);
            }
        }
    }
    if !packed.is_empty() {
        wire_out::delimited(1, &packed, &mut body);
    }
    Ok(body)
}

fn map_body(object: &Map<String, Json>, tags: bool) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    for (key, item) in object {
        wire_out::map_entry(key.as_bytes(), &mut body, |cell| value(item, cell, tags))?;
    }
    Ok(body)
}

/// Appends an entry to a scalar map's body; the key is given as the cell it would be alone.
pub(super) fn scalar_map_entry(key: &[u8], cell: &[u8], body: &mut Vec<u8>) -> Result<()> {
    let mut map_key = Vec::new();
    let mut varint = |number, bits| {
        wire_out::tag(number, 0, &mut map_key);
        write_varint(&mut map_key, bits);
    };
    match parse(key)? {
        Value::Null => {}
        Value::Int32(integer) => varint(1, i64::from(integer) as u64),
        Value::Int64(integer) => varint(2, integer as u64),
        Value::Bool(truth) => varint(5, truth.into()),
        Value::UnixTimestamp(seconds) => varint(6, seconds as u64),
        Value::Float(number) => {
            wire_out::tag(3, 5, &mut map_key);
            map_key.extend_from_slice(&number.to_le_bytes());
        }
        Value::Double(number) => {
            wire_out::tag(4, 1, &mut map_key);
            map_key.extend_from_slice(&number.to_le_bytes());
        }
        Value::Bytes(bytes) => wire_out::delimited(7, bytes, &mut map_key),
        Value::Text { field, text } if field != Field::Json => {
            let number = match field {
                Field::Uuid => 8,
                Field::TimeUuid => 9,
                _ => 10,
            };
            wire_out::delimited(number, text.as_bytes(), &mut map_key);
        }
        _ => return Err(cannot("a scalar map's key is a text, a list or a map")),
    }
    let mut entry = Vec::new();
    wire_out::delimited(1, &map_key, &mut entry);
    wire_out::delimited(2, cell, &mut entry);
    wire_out::delimited(1, &entry, body);
    Ok(())
}

fn scalar_integer(field: Field, json: &Json) -> Result<i64> {
    match field {
        Field::Bool | Field::BoolList | Field::BoolSet => match json {
            Json::Bool(truth) => Ok((*truth).into()),
            _ => Err(cannot(format!("{json} is not a bool"))),
        },
        Field::UnixTimestamp | Field::UnixTimestampList | Field::UnixTimestampSet => {
            timestamp(json)
        }
        Field::Int32 | Field::Int32List | Field::Int32Set | Field::Null => {
            let number = integer(json)?;
            i32::try_from(number)
                .map(i64::from)
                .map_err(|_| cannot(format!("{number} does not fit in 32 bits")))
        }
        _ => integer(json),
    }
}

fn timestamp(json: &Json) -> Result<i64> {
    match json {
        Json::Null => Ok(NULL_TIMESTAMP),
        _ => integer(json),
    }
}

fn integer(json: &Json) -> Result<i64> {
    let number = json.as_i64();
    number.ok_or_else(|| cannot(format!("{json} is not a 64-bit integer")))
}

fn double(json: &Json) -> Result<f64> {
    match json.as_str() {
        Some("nan") => Ok(f64::NAN),
        Some("inf") => Ok(f64::INFINITY),
        Some("-inf") => Ok(f64::NEG_INFINITY),
        _ if json.is_f64() => Ok(json.as_f64().unwrap_or(f64::NAN)),
        _ => Err(cannot(format!("{json} is not a float"))),
    }
}

fn text(json: &Json) -> Result<&str> {
    json.as_str()
        .ok_or_else(|| cannot(format!("{json} is not a text")))
}

fn base64(json: &Json) -> Result<Vec<u8>> {
    STANDARD
        .decode(text(json)?)
        .map_err(|error| cannot(format!("not base64: {error}")))
}

fn array(json: &Json) -> Result<&Vec<Json>> {
    json.as_array()
        .ok_or_else(|| cannot(format!("{json} is not a list")))
}

fn object(json: &Json) -> Result<&Map<String, Json>> {
    json.as_object()
        .ok_or_else(|| cannot(format!("{json} is not an object")))
}
