//! Protobuf wire bytes, written: tags, varints, and the `Value`s of Feast.

use super::field::{Field, Layout};
use super::varint::write_varint;

/// Appends a tag.
#[inline]
pub(super) fn tag(number: u32, wire_type: u32, out: &mut Vec<u8>) {
    write_varint(out, u64::from(number << 3 | wire_type));
}

/// Appends a length-delimited field.
#[inline]
pub(super) fn delimited(number: u32, bytes: &[u8], out: &mut Vec<u8>) {
    tag(number, 2, out);
    write_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Appends a `Value` that is an integer, a bool (0 or 1) or a timestamp.
#[inline]
pub(super) fn integer(field: Field, number: i64, out: &mut Vec<u8>) {
    tag(field as u32, 0, out);
    write_varint(out, number as u64);
}

/// Appends a `Value` that is a float or a double. A scalar that is not a number is null in Feast,
/// so nothing is written for it.
#[inline]
pub(super) fn float(field: Field, number: f64, out: &mut Vec<u8>) {
    if number.is_nan() {
        return;
    }
    if field.layout() == Layout::Float {
        tag(field as u32, 5, out);
        out.extend_from_slice(&(number as f32).to_le_bytes());
    } else {
        tag(field as u32, 1, out);
        out.extend_from_slice(&number.to_le_bytes());
    }
}

/// Appends a `Value` that is bytes, a text or a message.
#[inline]
pub(super) fn bytes(field: Field, bytes: &[u8], out: &mut Vec<u8>) {
    delimited(field as u32, bytes, out);
}

/// The body of a `ZonedTimestamp`.
pub(super) fn zoned_timestamp(seconds: i64, zone: &str) -> Vec<u8> {
    let mut body = Vec::new();
    if seconds != 0 {
        tag(1, 0, &mut body);
        write_varint(&mut body, seconds as u64);
    }
    if !zone.is_empty() {
        delimited(2, zone.as_bytes(), &mut body);
    }
    body
}

/// Appends an entry of a `Map` to its body.
pub(super) fn map_entry(key: &str, cell: &[u8], body: &mut Vec<u8>) {
    let mut entry = Vec::with_capacity(key.len() + cell.len() + 6);
    delimited(1, key.as_bytes(), &mut entry);
    delimited(2, cell, &mut entry);
    delimited(1, &entry, body);
}
