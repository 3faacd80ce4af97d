//! Checks a message of Feast's types in full without building it, for bytes whose value is not
//! wanted but which must be valid all the same.

use super::cursor::{Cursor, Payload, WireError};
use super::field::{Field, Layout};

/// Checks the body of a message with this layout, which may itself hold `depth` - 1 more levels.
pub(crate) fn message(layout: Layout, body: &[u8], depth: u32) -> Result<(), WireError> {
    let depth = depth.checked_sub(1).ok_or(WireError::Depth)?;
    let mut cursor = Cursor::new(body);
    while let Some((number, payload)) = cursor.field(depth)? {
        match (number, payload) {
            (1, Payload::Bytes(bytes)) => element(layout, bytes, depth)?,
            (2, Payload::Bytes(zone)) if layout == Layout::ZonedTimestamp => utf8(zone)?,
            _ => {}
        }
    }
    Ok(())
}

/// Checks one length-delimited element of field 1.
fn element(layout: Layout, bytes: &[u8], depth: u32) -> Result<(), WireError> {
    match layout {
        Layout::TextList => utf8(bytes),
        Layout::VarintList => {
            let mut cursor = Cursor::new(bytes);
            while !cursor.is_at_end() {
                cursor.varint()?;
            }
            Ok(())
        }
        Layout::DoubleList => whole(bytes, 8),
        Layout::FloatList => whole(bytes, 4),
        Layout::Map => map_entry(bytes, depth),
        Layout::MapList => message(Layout::Map, bytes, depth),
        Layout::Values => value(bytes, depth),
        Layout::ScalarMap => scalar_map_entry(bytes, depth),
        _ => Ok(()),
    }
}

/// Checks a nested `Value`, which may hold `depth` - 1 more levels.
pub(crate) fn value(cell: &[u8], depth: u32) -> Result<(), WireError> {
    let depth = depth.checked_sub(1).ok_or(WireError::Depth)?;
    let mut cursor = Cursor::new(cell);
    while let Some((number, payload)) = cursor.field(depth)? {
        let (Some(field), Payload::Bytes(bytes)) = (Field::from_number(number), payload) else {
            continue;
        };
        match field.layout() {
            Layout::Text => utf8(bytes)?,
            Layout::Bytes
            | Layout::Int32
            | Layout::Int64
            | Layout::Bool
            | Layout::Double
            | Layout::Float => {}
            layout => message(layout, bytes, depth)?,
        }
    }
    Ok(())
}

fn map_entry(entry: &[u8], depth: u32) -> Result<(), WireError> {
    let depth = depth.checked_sub(1).ok_or(WireError::Depth)?;
    let mut cursor = Cursor::new(entry);
    while let Some((number, payload)) = cursor.field(depth)? {
        match (number, payload) {
            (1, Payload::Bytes(key)) => utf8(key)?,
            (2, Payload::Bytes(cell)) => value(cell, depth)?,
            _ => {}
        }
    }
    Ok(())
}

fn scalar_map_entry(entry: &[u8], depth: u32) -> Result<(), WireError> {
    let depth = depth.checked_sub(1).ok_or(WireError::Depth)?;
    let mut cursor = Cursor::new(entry);
    while let Some((number, payload)) = cursor.field(depth)? {
        match (number, payload) {
            (1, Payload::Bytes(key)) => map_key(key, depth)?,
            (2, Payload::Bytes(cell)) => value(cell, depth)?,
            _ => {}
        }
    }
    Ok(())
}

fn map_key(key: &[u8], depth: u32) -> Result<(), WireError> {
    let depth = depth.checked_sub(1).ok_or(WireError::Depth)?;
    let mut cursor = Cursor::new(key);
    while let Some((number, payload)) = cursor.field(depth)? {
        // 8, 9 and 10 are the keys that are text: uuid, time uuid and decimal.
        if let (8..=10, Payload::Bytes(text)) = (number, payload) {
            utf8(text)?;
        }
    }
    Ok(())
}

fn utf8(bytes: &[u8]) -> Result<(), WireError> {
    match std::str::from_utf8(bytes) {
        Ok(_) => Ok(()),
        Err(_) => Err(WireError::Utf8),
    }
}

fn whole(bytes: &[u8], size: usize) -> Result<(), WireError> {
    if bytes.len().is_multiple_of(size) {
        Ok(())
    } else {
        Err(WireError::Packed)
    }
}
