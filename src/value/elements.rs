//! The inside of message-typed values: the elements of lists, the entries of maps.

use std::borrow::Cow;

use super::cause::Cause;
use super::check;
use super::cursor::{Cursor, Payload, WireError};
use super::field::{Field, Layout};
use super::wire::{Value, parse_nested};

/// One level deeper, or the error that there is none.
#[inline]
pub(crate) fn deeper(depth: u32) -> Result<u32, WireError> {
    depth.checked_sub(1).ok_or(WireError::Depth)
}

/// Calls `each` with blocks of little-endian numbers of `SIZE` bytes: the packed runs of a
/// double or float list, or single numbers. A block's length is a multiple of `SIZE`.
pub(crate) fn fixed_blocks<const SIZE: usize>(
    body: &[u8],
    depth: u32,
    mut each: impl FnMut(&[u8]),
) -> Result<(), WireError> {
    let mut cursor = Cursor::new(body);
    while let Some((number, payload)) = cursor.field(deeper(depth)?)? {
        match (number, payload) {
            (1, Payload::Bytes(packed)) if packed.len().is_multiple_of(SIZE) => each(packed),
            (1, Payload::Bytes(_)) => return Err(WireError::Packed),
            (1, Payload::Fixed64(one)) if SIZE == 8 => each(&one),
            (1, Payload::Fixed32(one)) if SIZE == 4 => each(&one),
            _ => {}
        }
    }
    Ok(())
}

/// Calls `each` with every varint of an integer or bool list, packed or not.
pub(crate) fn varints(
    body: &[u8],
    depth: u32,
    mut each: impl FnMut(u64) -> Result<(), Cause>,
) -> Result<(), Cause> {
    let mut cursor = Cursor::new(body);
    while let Some((number, payload)) = cursor.field(deeper(depth)?)? {
        match (number, payload) {
            (1, Payload::Bytes(packed)) => {
                let mut packed = Cursor::new(packed);
                while !packed.is_at_end() {
                    each(packed.varint()?)?;
                }
            }
            (1, Payload::Varint(bits)) => each(bits)?,
            _ => {}
        }
    }
    Ok(())
}

/// Calls `each` with the bytes of every length-delimited element of field 1.
pub(crate) fn delimited<'a>(
    body: &'a [u8],
    depth: u32,
    mut each: impl FnMut(&'a [u8]) -> Result<(), Cause>,
) -> Result<(), Cause> {
    let mut cursor = Cursor::new(body);
    while let Some((number, payload)) = cursor.field(deeper(depth)?)? {
        if let (1, Payload::Bytes(bytes)) = (number, payload) {
            each(bytes)?;
        }
    }
    Ok(())
}

/// The field that one element of this list or set would be stored in alone; `None` for what is
/// no list, and for nested ones, whose elements say it themselves.
pub(crate) fn element_field(list: Field) -> Option<Field> {
    Some(match list {
        Field::BytesList | Field::BytesSet => Field::Bytes,
        Field::StringList | Field::StringSet => Field::String,
        Field::Int32List | Field::Int32Set => Field::Int32,
        Field::Int64List | Field::Int64Set => Field::Int64,
        Field::DoubleList | Field::DoubleSet => Field::Double,
        Field::FloatList | Field::FloatSet => Field::Float,
        Field::BoolList | Field::BoolSet => Field::Bool,
        Field::UnixTimestampList | Field::UnixTimestampSet => Field::UnixTimestamp,
        Field::MapList => Field::Map,
        Field::JsonList => Field::Json,
        Field::StructList => Field::Struct,
        Field::UuidList | Field::UuidSet => Field::Uuid,
        Field::TimeUuidList | Field::TimeUuidSet => Field::TimeUuid,
        Field::DecimalList | Field::DecimalSet => Field::Decimal,
        _ => return None,
    })
}

/// Calls `each` with every element of a list or set as the [`Value`] it would be alone, the cell
/// it was read from if it is a nested `Value`, and the levels left below it. `depth` is what is
/// left where `body` lies.
pub(crate) fn elements(
    list: Field,
    body: &[u8],
    depth: u32,
    mut each: impl FnMut(Value<'_>, &[u8], u32) -> Result<(), Cause>,
) -> Result<(), Cause> {
    let inside = deeper(depth)?;
    if list.layout() == Layout::Values {
        return delimited(body, depth, |cell| {
            let below = deeper(inside)?;
            each(parse_nested(cell, below)?, cell, below)
        });
    }
    let field = element_field(list).ok_or(Cause::Type(list))?;
    match list.layout() {
        Layout::BytesList => delimited(body, depth, |bytes| each(Value::Bytes(bytes), &[], inside)),
        Layout::TextList => delimited(body, depth, |bytes| {
            let text = std::str::from_utf8(bytes).map_err(|_| WireError::Utf8)?;
            let value = match field {
                Field::String => Value::String(text),
                _ => Value::Text { field, text },
            };
            each(value, &[], inside)
        }),
        Layout::VarintList => varints(body, depth, |bits| {
            let value = match field {
                Field::Int32 => Value::Int32(bits as i32),
                Field::Bool => Value::Bool(bits != 0),
                Field::UnixTimestamp => Value::UnixTimestamp(bits as i64),
                _ => Value::Int64(bits as i64),
            };
            each(value, &[], inside)
        }),
        Layout::DoubleList => numbers::<8>(body, depth, |bytes| {
            each(Value::Double(f64::from_le_bytes(bytes)), &[], inside)
        }),
        Layout::FloatList => numbers::<4>(body, depth, |bytes| {
            each(Value::Float(f32::from_le_bytes(bytes)), &[], inside)
        }),
        _ => delimited(body, depth, |body| {
            each(Value::Message { field, body }, &[], inside)
        }),
    }
}

fn numbers<const SIZE: usize>(
    body: &[u8],
    depth: u32,
    mut each: impl FnMut([u8; SIZE]) -> Result<(), Cause>,
) -> Result<(), Cause> {
    let mut outcome = Ok(());
    fixed_blocks::<SIZE>(body, depth, |block| {
        for &number in block.as_chunks::<SIZE>().0 {
            if outcome.is_ok() {
                outcome = each(number);
            }
        }
    })?;
    outcome
}

/// Calls `each` with the key and the value's cell of every entry of a map, and the levels left
/// below the value, in the order of the wire. A key may come again; the later entry counts.
///
/// As in upb, an entry that holds a field beside its key and its value is left out.
pub(crate) fn map_entries<'a>(
    body: &'a [u8],
    depth: u32,
    mut each: impl FnMut(&'a str, &[u8], u32) -> Result<(), Cause>,
) -> Result<(), Cause> {
    delimited(body, depth, |entry| {
        let inside = deeper(deeper(depth)?)?;
        let mut key = "";
        let mut cell = None;
        let mut foreign = false;
        let mut cursor = Cursor::new(entry);
        while let Some((number, payload)) = cursor.field(inside)? {
            match (number, payload) {
                (1, Payload::Bytes(bytes)) => {
                    key = std::str::from_utf8(bytes).map_err(|_| WireError::Utf8)?;
                }
                (2, Payload::Bytes(bytes)) => cell = Some(joined(cell, bytes)),
                _ => foreign = true,
            }
        }
        match cell {
            Some(cell) if foreign => Ok(check::value(&cell, inside)?),
            Some(cell) => each(key, &cell, deeper(inside)?),
            None if foreign => Ok(()),
            None => each(key, &[], 0),
        }
    })
}

/// Calls `each` with the key as the [`Value`] it would be alone, the value's cell and the levels
/// left below it, for every entry of a scalar map, in the order of the wire.
pub(crate) fn scalar_map_entries(
    body: &[u8],
    depth: u32,
    mut each: impl FnMut(Value<'_>, &[u8], u32) -> Result<(), Cause>,
) -> Result<(), Cause> {
    delimited(body, depth, |entry| {
        let inside = deeper(deeper(depth)?)?;
        let mut key = None;
        let mut cell = None;
        let mut cursor = Cursor::new(entry);
        while let Some((number, payload)) = cursor.field(inside)? {
            match (number, payload) {
                (1, Payload::Bytes(bytes)) => key = Some(joined(key, bytes)),
                (2, Payload::Bytes(bytes)) => cell = Some(joined(cell, bytes)),
                _ => {}
            }
        }
        let key = key.unwrap_or_default();
        let key = map_key(&key, inside)?;
        match cell {
            Some(cell) => each(key, &cell, deeper(inside)?),
            None => each(key, &[], 0),
        }
    })
}

/// The bytes of a message met again are merged by joining them.
fn joined<'a>(before: Option<Cow<'a, [u8]>>, bytes: &'a [u8]) -> Cow<'a, [u8]> {
    match before {
        None => Cow::Borrowed(bytes),
        Some(mut before) => {
            before.to_mut().extend_from_slice(bytes);
            before
        }
    }
}

/// A `MapKey`: a oneof of its own, without messages in it.
fn map_key(key: &[u8], depth: u32) -> Result<Value<'_>, Cause> {
    let mut last = Value::Null;
    if key.is_empty() {
        return Ok(last);
    }
    let depth = deeper(depth)?;
    let mut cursor = Cursor::new(key);
    let mut unknown = None;
    while let Some((number, payload)) = cursor.field(depth)? {
        let text = |field, bytes| match std::str::from_utf8(bytes) {
            Ok(text) => Ok(Value::Text { field, text }),
            Err(_) => Err(WireError::Utf8),
        };
        last = match (number, payload) {
            (1, Payload::Varint(bits)) => Value::Int32(bits as i32),
            (2, Payload::Varint(bits)) => Value::Int64(bits as i64),
            (3, Payload::Fixed32(bytes)) => Value::Float(f32::from_le_bytes(bytes)),
            (4, Payload::Fixed64(bytes)) => Value::Double(f64::from_le_bytes(bytes)),
            (5, Payload::Varint(bits)) => Value::Bool(bits != 0),
            (6, Payload::Varint(bits)) => Value::UnixTimestamp(bits as i64),
            (7, Payload::Bytes(bytes)) => Value::Bytes(bytes),
            (8, Payload::Bytes(bytes)) => text(Field::Uuid, bytes)?,
            (9, Payload::Bytes(bytes)) => text(Field::TimeUuid, bytes)?,
            (10, Payload::Bytes(bytes)) => text(Field::Decimal, bytes)?,
            _ => {
                unknown = Some(number);
                last
            }
        };
    }
    match (last, unknown) {
        (Value::Null, Some(number)) => Err(Cause::Unknown(number)),
        _ => Ok(last),
    }
}
