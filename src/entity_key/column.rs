//! Columns of join-key values.

use std::sync::Arc;

use arrow_array::{
    ArrayRef, BinaryArray, Int32Array, Int64Array, StringArray, TimestampMicrosecondArray,
};
use arrow_buffer::{Buffer, OffsetBuffer};

use super::push_u32;
use crate::error::{Error, ErrorKind, Result};
use crate::value::write_varint;

/// The types that a join key's value can have, by their number in Feast's `ValueType`.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[repr(u32)]
pub enum KeyType {
    /// Raw bytes.
    Bytes = 1,
    /// UTF-8 text.
    String = 2,
    /// 32-bit signed integer.
    Int32 = 3,
    /// 64-bit signed integer.
    Int64 = 4,
    /// Seconds since the Unix epoch.
    UnixTimestamp = 8,
}

impl KeyType {
    /// Feast's name of the type, as `ValueType` spells it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Bytes => "BYTES",
            Self::String => "STRING",
            Self::Int32 => "INT32",
            Self::Int64 => "INT64",
            Self::UnixTimestamp => "UNIX_TIMESTAMP",
        }
    }

    /// The type of a name in Feast's `ValueType`; `None` for one that no entity key can hold.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [
            Self::Bytes,
            Self::String,
            Self::Int32,
            Self::Int64,
            Self::UnixTimestamp,
        ]
        .into_iter()
        .find(|key_type| key_type.name() == name)
    }

    /// The type of Feast's number for it.
    pub fn from_number(number: u32) -> Result<Self> {
        match number {
            1 => Ok(Self::Bytes),
            2 => Ok(Self::String),
            3 => Ok(Self::Int32),
            4 => Ok(Self::Int64),
            8 => Ok(Self::UnixTimestamp),
            other => Err(Error::new(
                ErrorKind::EntityKey,
                format!("value type {other} cannot be part of an entity key"),
            )),
        }
    }
}

/// The values of one join key, one a row, without nulls: a null can be part of no entity key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum KeyColumn {
    /// 32-bit integers.
    Int32(Vec<i32>),
    /// 64-bit integers.
    Int64(Vec<i64>),
    /// Seconds since the Unix epoch.
    UnixTimestamp(Vec<i64>),
    /// UTF-8 text, end to end, with where each ends.
    String(String, Vec<usize>),
    /// Bytes, end to end, with where each ends.
    Bytes(Vec<u8>, Vec<usize>),
}

impl KeyColumn {
    /// A column without a row.
    #[must_use]
    pub fn empty(key_type: KeyType) -> Self {
        match key_type {
            KeyType::Int32 => Self::Int32(Vec::new()),
            KeyType::Int64 => Self::Int64(Vec::new()),
            KeyType::UnixTimestamp => Self::UnixTimestamp(Vec::new()),
            KeyType::String => Self::String(String::new(), Vec::new()),
            KeyType::Bytes => Self::Bytes(Vec::new(), Vec::new()),
        }
    }

    /// A column of strings.
    pub fn strings<S: AsRef<str>>(values: impl IntoIterator<Item = S>) -> Self {
        let (mut text, mut ends) = (String::new(), Vec::new());
        for value in values {
            text.push_str(value.as_ref());
            ends.push(text.len());
        }
        Self::String(text, ends)
    }

    /// A column of byte strings.
    pub fn bytes<B: AsRef<[u8]>>(values: impl IntoIterator<Item = B>) -> Self {
        let (mut bytes, mut ends) = (Vec::new(), Vec::new());
        for value in values {
            bytes.extend_from_slice(value.as_ref());
            ends.push(bytes.len());
        }
        Self::Bytes(bytes, ends)
    }

    /// A column of integers as `key_type`.
    ///
    /// # Errors
    /// [`ErrorKind::EntityKey`] for a value outside of int32, or a type that is no integer.
    pub fn integers(values: Vec<i64>, key_type: KeyType) -> Result<Self> {
        match key_type {
            KeyType::Int64 => Ok(Self::Int64(values)),
            KeyType::UnixTimestamp => Ok(Self::UnixTimestamp(values)),
            KeyType::Int32 => values
                .into_iter()
                .map(|value| {
                    i32::try_from(value).map_err(|_| {
                        Error::new(
                            ErrorKind::EntityKey,
                            format!("{value} does not fit the declared type INT32"),
                        )
                    })
                })
                .collect::<Result<_>>()
                .map(Self::Int32),
            KeyType::String | KeyType::Bytes => Err(Error::new(
                ErrorKind::EntityKey,
                format!(
                    "integers were given for the declared type {}",
                    key_type.name()
                ),
            )),
        }
    }

    /// How many rows there are.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Int32(values) => values.len(),
            Self::Int64(values) | Self::UnixTimestamp(values) => values.len(),
            Self::String(_, ends) | Self::Bytes(_, ends) => ends.len(),
        }
    }

    /// Whether there is no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The values' type.
    #[must_use]
    pub fn key_type(&self) -> KeyType {
        match self {
            Self::Int32(_) => KeyType::Int32,
            Self::Int64(_) => KeyType::Int64,
            Self::UnixTimestamp(_) => KeyType::UnixTimestamp,
            Self::String(..) => KeyType::String,
            Self::Bytes(..) => KeyType::Bytes,
        }
    }

    /// The bytes of `row` in a column of text or bytes; empty for other columns.
    #[must_use]
    pub fn slice(&self, row: usize) -> &[u8] {
        match self {
            Self::String(text, ends) => &text.as_bytes()[span(ends, row)],
            Self::Bytes(bytes, ends) => &bytes[span(ends, row)],
            _ => &[],
        }
    }

    /// Appends type, length and value of `row`, as an entity key has them.
    pub(super) fn write_value(&self, row: usize, out: &mut Vec<u8>) {
        push_u32(out, self.key_type() as usize);
        match self {
            Self::Int32(values) => {
                push_u32(out, 4);
                out.extend_from_slice(&values[row].to_le_bytes());
            }
            Self::Int64(values) | Self::UnixTimestamp(values) => {
                push_u32(out, 8);
                out.extend_from_slice(&values[row].to_le_bytes());
            }
            Self::String(..) | Self::Bytes(..) => {
                let value = self.slice(row);
                push_u32(out, value.len());
                out.extend_from_slice(value);
            }
        }
    }

    /// The value of `row` for a message: `driver_id=1001`'s right side.
    #[must_use]
    pub fn display(&self, row: usize) -> String {
        match self {
            Self::Int32(values) => values[row].to_string(),
            Self::Int64(values) | Self::UnixTimestamp(values) => values[row].to_string(),
            Self::String(text, ends) => format!("{:?}", &text[span(ends, row)]),
            Self::Bytes(..) => format!("b\"{}\"", self.slice(row).escape_ascii()),
        }
    }

    /// The values as an Arrow array: int32, int64, timestamp[us, UTC], utf8 or binary.
    ///
    /// # Errors
    /// [`ErrorKind::EntityKey`] for a timestamp whose microseconds do not fit 64 bits, and for
    /// more than 2 GiB of text.
    pub fn to_arrow(&self) -> Result<ArrayRef> {
        let too_large = |what: &str| Error::new(ErrorKind::EntityKey, what.to_owned());
        let offsets = |ends: &[usize]| -> Result<OffsetBuffer<i32>> {
            if ends.last().is_some_and(|&end| i32::try_from(end).is_err()) {
                return Err(too_large("the join key's values are larger than 2 GiB"));
            }
            let ends = ends.iter().map(|&end| end as i32);
            Ok(OffsetBuffer::new(std::iter::once(0).chain(ends).collect()))
        };
        Ok(match self {
            Self::Int32(values) => Arc::new(Int32Array::from(values.clone())),
            Self::Int64(values) => Arc::new(Int64Array::from(values.clone())),
            Self::UnixTimestamp(values) => {
                let micros: Option<Vec<i64>> = values
                    .iter()
                    .map(|value| value.checked_mul(1_000_000))
                    .collect();
                let micros =
                    micros.ok_or_else(|| too_large("a timestamp's microseconds do not fit"))?;
                Arc::new(TimestampMicrosecondArray::from(micros).with_timezone("UTC"))
            }
            Self::String(text, ends) => Arc::new(StringArray::new(
                offsets(ends)?,
                Buffer::from(text.as_bytes()),
                None,
            )),
            Self::Bytes(bytes, ends) => Arc::new(BinaryArray::new(
                offsets(ends)?,
                Buffer::from(bytes.as_slice()),
                None,
            )),
        })
    }

    /// The values of `rows` as serialized Feast `Value`s, end to end, and where each ends.
    #[must_use]
    pub fn cells(&self, rows: std::ops::Range<usize>) -> (Vec<u8>, Vec<usize>) {
        let (mut cells, mut ends) = (Vec::new(), Vec::with_capacity(rows.len()));
        for row in rows {
            self.write_cell(row, &mut cells);
            ends.push(cells.len());
        }
        (cells, ends)
    }

    /// Appends the value of `row` as a serialized Feast `Value`.
    pub fn write_cell(&self, row: usize, out: &mut Vec<u8>) {
        // The tag is the oneof's field number, which equals the key type's, and the wire type.
        let field = self.key_type() as u8;
        match self {
            Self::Int32(values) => {
                out.push(field << 3);
                write_varint(out, i64::from(values[row]) as u64);
            }
            Self::Int64(values) | Self::UnixTimestamp(values) => {
                out.push(field << 3);
                write_varint(out, values[row] as u64);
            }
            Self::String(..) | Self::Bytes(..) => {
                let value = self.slice(row);
                out.push(field << 3 | 2);
                write_varint(out, value.len() as u64);
                out.extend_from_slice(value);
            }
        }
    }
}

fn span(ends: &[usize], row: usize) -> std::ops::Range<usize> {
    let start = if row == 0 { 0 } else { ends[row - 1] };
    start..ends[row]
}
