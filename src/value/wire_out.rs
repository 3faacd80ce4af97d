//! Protobuf wire bytes, written: tags, varints, and the `Value`s of Feast.

use super::field::Field;
use super::varint::{varint, varint_len, write_varint, write_word};

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

/// How many bytes [`delimited`] writes for `length` bytes of a field below 16.
#[inline]
pub(super) fn delimited_len(length: usize) -> usize {
    1 + varint_len(length as u64) + length
}

/// Appends a length-delimited field that `write` writes.
pub(super) fn message<E>(
    number: u32,
    out: &mut Vec<u8>,
    write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
) -> Result<(), E> {
    tag(number, 2, out);
    let start = out.len();
    // Most messages are short enough for a length of one byte; else the body makes room.
    out.push(0);
    write(out)?;
    let length = out.len() - start - 1;
    if length < 0x80 {
        out[start] = length as u8;
    } else {
        let (word, more) = varint(length as u64);
        let end = out.len();
        out.resize(end + more - 1, 0);
        out.copy_within(start + 1..end, start + more);
        out[start..start + more].copy_from_slice(&word.to_le_bytes()[..more]);
    }
    Ok(())
}

/// Appends a `Value` that is an integer, a bool (0 or 1) or a timestamp.
#[inline]
pub(super) fn integer(field: Field, number: i64, out: &mut Vec<u8>) {
    let (word, length) = varint(number as u64);
    let field = field as u32;
    if field < 16 {
        write_word(out, word << 8 | u128::from(field << 3), length + 1);
    } else {
        tag(field, 0, out);
        write_word(out, word, length);
    }
}

/// Appends a `Value` that is a double. One that is not a number is null in Feast, so nothing is
/// written for it.
#[inline]
pub(super) fn double(number: f64, out: &mut Vec<u8>) {
    if !number.is_nan() {
        let mut cell = [(Field::Double as u8) << 3 | 1; 9];
        cell[1..].copy_from_slice(&number.to_le_bytes());
        out.extend_from_slice(&cell);
    }
}

/// Appends a `Value` that is a float, as [`double`] does.
#[inline]
pub(super) fn float(number: f32, out: &mut Vec<u8>) {
    if !number.is_nan() {
        let mut cell = [(Field::Float as u8) << 3 | 5; 5];
        cell[1..].copy_from_slice(&number.to_le_bytes());
        out.extend_from_slice(&cell);
    }
}

/// Appends a `Value` that is bytes, a text or a message.
#[inline]
pub(super) fn bytes(field: Field, bytes: &[u8], out: &mut Vec<u8>) {
    delimited(field as u32, bytes, out);
}

/// Appends the fields of a `ZonedTimestamp`.
pub(super) fn zoned_timestamp(seconds: i64, zone: &[u8], out: &mut Vec<u8>) {
    if seconds != 0 {
        tag(1, 0, out);
        write_varint(out, seconds as u64);
    }
    if !zone.is_empty() {
        delimited(2, zone, out);
    }
}

/// Appends an entry of a `Map` to its body, with the value's cell that `value` writes.
pub(super) fn map_entry<E>(
    key: &[u8],
    out: &mut Vec<u8>,
    value: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
) -> Result<(), E> {
    message(1, out, |entry| {
        delimited(1, key, entry);
        message(2, entry, value)
    })
}
