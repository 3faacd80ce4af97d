//! One cell, a serialized `Value`, read into a borrowed [`Value`] without an allocation.
//!
//! The semantics are protobuf's as upb has them, which is what Feast's Python uses:
//!
//! - no bytes, or no field of the oneof: the value is not set, which Feast reads as null;
//! - of several fields of the oneof the last one on the wire wins;
//! - a message-typed field that comes again right after itself is merged with it, see
//!   [`Value::Merged`];
//! - a number that Feast 0.67.0 does not know, or a known number with another wire type, is an
//!   unknown field. Protobuf would show such a value as not set; here it is [`Value::Unknown`],
//!   since it is what a newer Feast's types look like and must never pass for null.

use super::check;
use super::cursor::{Cursor, MAX_DEPTH, Payload};
use super::field::{Field, Layout};

pub use super::cursor::WireError;

/// A cell's value, borrowed from the cell.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// The oneof is not set: null.
    Null,
    /// `bytes_val`
    Bytes(&'a [u8]),
    /// `string_val`
    String(&'a str),
    /// `int32_val`
    Int32(i32),
    /// `int64_val`
    Int64(i64),
    /// `double_val`
    Double(f64),
    /// `float_val`
    Float(f32),
    /// `bool_val`
    Bool(bool),
    /// `unix_timestamp_val`: seconds; [`NULL_TIMESTAMP`] is null.
    UnixTimestamp(i64),
    /// `null_val`, with the enum's number. Feast never writes it, and reads it as the number.
    NullVal(i32),
    /// `json_val`, `uuid_val`, `time_uuid_val` or `decimal_val`.
    Text {
        /// Which of them.
        field: Field,
        /// The value's text.
        text: &'a str,
    },
    /// A list, set, map, zoned timestamp or other message, whose body is not yet looked at.
    Message {
        /// Which message.
        field: Field,
        /// Its bytes.
        body: &'a [u8],
    },
    /// A message-typed field that occurs more than once and has to be merged:
    /// [`merged_body`] gives the bytes that hold the whole.
    Merged(Field),
    /// A field that this version does not know, by its number.
    Unknown(u32),
}

/// What Feast writes for a missing timestamp inside a list, and reads as null everywhere.
pub const NULL_TIMESTAMP: i64 = i64::MIN;

impl Value<'_> {
    /// The field of the oneof that is set; `None` for [`Value::Null`] and [`Value::Unknown`].
    #[must_use]
    pub fn field(&self) -> Option<Field> {
        Some(match *self {
            Self::Null | Self::Unknown(_) => return None,
            Self::Bytes(_) => Field::Bytes,
            Self::String(_) => Field::String,
            Self::Int32(_) => Field::Int32,
            Self::Int64(_) => Field::Int64,
            Self::Double(_) => Field::Double,
            Self::Float(_) => Field::Float,
            Self::Bool(_) => Field::Bool,
            Self::UnixTimestamp(_) => Field::UnixTimestamp,
            Self::NullVal(_) => Field::Null,
            Self::Text { field, .. } | Self::Message { field, .. } | Self::Merged(field) => field,
        })
    }
}

/// Reads one cell.
///
/// The body of a [`Value::Message`] is checked by whoever decodes it.
#[inline]
pub fn parse(cell: &[u8]) -> Result<Value<'_>, WireError> {
    parse_nested(cell, MAX_DEPTH)
}

/// Reads a `Value` that may hold `depth` more levels of messages.
#[inline]
pub(crate) fn parse_nested(cell: &[u8], depth: u32) -> Result<Value<'_>, WireError> {
    let [first, rest @ ..] = cell else {
        return Ok(Value::Null);
    };
    match sole_scalar(*first, rest) {
        Some(value) => Ok(value),
        None => parse_any(cell, depth),
    }
}

/// The first byte of a cell that holds a scalar: the field's number and wire type.
///
/// Callers that read millions of one kind look at it themselves: a [`Value`] that goes through
/// memory costs them more than the reading.
pub(crate) mod tag {
    pub(crate) const BYTES: u8 = 0x0a;
    pub(crate) const STRING: u8 = 0x12;
    pub(crate) const INT32: u8 = 0x18;
    pub(crate) const INT64: u8 = 0x20;
    pub(crate) const DOUBLE: u8 = 0x29;
    pub(crate) const FLOAT: u8 = 0x35;
    pub(crate) const BOOL: u8 = 0x38;
    pub(crate) const UNIX_TIMESTAMP: u8 = 0x40;
}

/// A cell of one scalar as Feast writes it, which nearly all cells are; `None` for all else.
#[inline]
fn sole_scalar(first: u8, rest: &[u8]) -> Option<Value<'_>> {
    Some(match first {
        tag::DOUBLE => Value::Double(f64::from_le_bytes(rest.try_into().ok()?)),
        tag::FLOAT => Value::Float(f32::from_le_bytes(rest.try_into().ok()?)),
        tag::INT64 => Value::Int64(sole_varint(rest)? as i64),
        tag::INT32 => Value::Int32(sole_varint(rest)? as i32),
        tag::UNIX_TIMESTAMP => Value::UnixTimestamp(sole_varint(rest)? as i64),
        tag::BOOL => Value::Bool(sole_varint(rest)? != 0),
        tag::STRING => Value::String(std::str::from_utf8(sole_bytes(rest)?).ok()?),
        tag::BYTES => Value::Bytes(sole_bytes(rest)?),
        _ => return None,
    })
}

/// The varint that all of `bytes` are.
#[inline]
pub(crate) fn sole_varint(bytes: &[u8]) -> Option<u64> {
    let (last, firsts) = bytes.split_last()?;
    if *last >= 0x80 || firsts.len() > 9 {
        return None;
    }
    let mut value = u64::from(*last) << (7 * firsts.len());
    let mut go_on = 0x80;
    for (index, &byte) in firsts.iter().enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * index);
        go_on &= byte;
    }
    (go_on == 0x80).then_some(value)
}

/// The bytes behind a length of one byte, if they are all there is.
#[inline]
pub(crate) fn sole_bytes(rest: &[u8]) -> Option<&[u8]> {
    let (length, bytes) = rest.split_first()?;
    (*length < 0x80 && usize::from(*length) == bytes.len()).then_some(bytes)
}

#[inline(never)]
fn parse_any(cell: &[u8], depth: u32) -> Result<Value<'_>, WireError> {
    let mut cursor = Cursor::new(cell);
    let Some((number, payload)) = cursor.field(depth)? else {
        return Ok(Value::Null);
    };
    let value = typed(number, payload)?;
    if cursor.is_at_end() {
        return Ok(value.unwrap_or(Value::Unknown(number)));
    }
    last_of_several(cell, depth)
}

/// The value of one field of the oneof; `None` if it is not a known field in its own wire type.
#[inline]
fn typed(number: u32, payload: Payload<'_>) -> Result<Option<Value<'_>>, WireError> {
    let Some(field) = Field::from_number(number) else {
        return Ok(None);
    };
    Ok(Some(match (field.layout(), payload) {
        (Layout::Bytes, Payload::Bytes(bytes)) => Value::Bytes(bytes),
        (Layout::Text, Payload::Bytes(bytes)) => {
            let text = std::str::from_utf8(bytes).map_err(|_| WireError::Utf8)?;
            if field == Field::String {
                Value::String(text)
            } else {
                Value::Text { field, text }
            }
        }
        (Layout::Int32, Payload::Varint(bits)) if field == Field::Null => {
            Value::NullVal(bits as i32)
        }
        (Layout::Int32, Payload::Varint(bits)) => Value::Int32(bits as i32),
        (Layout::Int64, Payload::Varint(bits)) if field == Field::UnixTimestamp => {
            Value::UnixTimestamp(bits as i64)
        }
        (Layout::Int64, Payload::Varint(bits)) => Value::Int64(bits as i64),
        (Layout::Bool, Payload::Varint(bits)) => Value::Bool(bits != 0),
        (Layout::Double, Payload::Fixed64(bytes)) => Value::Double(f64::from_le_bytes(bytes)),
        (Layout::Float, Payload::Fixed32(bytes)) => Value::Float(f32::from_le_bytes(bytes)),
        (
            Layout::BytesList
            | Layout::TextList
            | Layout::VarintList
            | Layout::DoubleList
            | Layout::FloatList
            | Layout::Map
            | Layout::MapList
            | Layout::Values
            | Layout::ScalarMap
            | Layout::ZonedTimestamp,
            Payload::Bytes(body),
        ) => Value::Message { field, body },
        _ => return Ok(None),
    }))
}

/// A cell of more than one field, which no Feast writes, read in full: what is overwritten must
/// be valid too.
#[cold]
fn last_of_several(cell: &[u8], depth: u32) -> Result<Value<'_>, WireError> {
    let mut cursor = Cursor::new(cell);
    let mut last = Value::Null;
    let mut unknown = None;
    while let Some((number, payload)) = cursor.field(depth)? {
        let Some(value) = typed(number, payload)? else {
            unknown = Some(number);
            continue;
        };
        if let Value::Message { field, body } = value {
            check::message(field.layout(), body, depth)?;
        }
        last = match (last, value) {
            (
                Value::Message { field: before, .. } | Value::Merged(before),
                Value::Message { field, .. },
            ) if before == field => Value::Merged(field),
            _ => value,
        };
    }
    Ok(match (last, unknown) {
        (Value::Null, Some(number)) => Value::Unknown(number),
        _ => last,
    })
}

/// The bytes of the message whose occurrences in `cell` are merged, for [`Value::Merged`]:
/// merging messages is the same as reading their bytes one after the other.
pub fn merged_body(cell: &[u8]) -> Result<Vec<u8>, WireError> {
    let mut cursor = Cursor::new(cell);
    let mut current = None;
    let mut merged = Vec::new();
    while let Some((number, payload)) = cursor.field(MAX_DEPTH)? {
        match typed(number, payload)? {
            Some(Value::Message { field, body }) => {
                if current != Some(field) {
                    merged.clear();
                }
                current = Some(field);
                merged.extend_from_slice(body);
            }
            Some(_) => {
                current = None;
                merged.clear();
            }
            None => {}
        }
    }
    Ok(merged)
}
