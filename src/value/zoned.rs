//! Zoned timestamps: an instant and the name of its zone.

use std::sync::Arc;

use arrow_array::builder::StringBuilder;
use arrow_array::cast::AsArray as _;
use arrow_array::{Array, ArrayRef, Int64Array, StructArray, TimestampMicrosecondArray};
use arrow_buffer::{NullBuffer, NullBufferBuilder};
use arrow_schema::DataType;

use super::cause::Cause;
use super::column::room;
use super::cursor::{Cursor, Payload, WireError};
use super::dtype::zoned_fields;
use super::elements::deeper;
use super::field::Field;
use super::number::null_or_mismatch;
use super::source::{Parts, not_from, plain, seconds};
use super::texts::{Texts, texts};
use super::wire::{NULL_TIMESTAMP, Value};
use super::wire_out;
use crate::error::{Error, Result};

/// The seconds and the zone of a `ZonedTimestamp`.
pub(super) fn parts(body: &[u8], depth: u32) -> Result<(i64, &str), Cause> {
    let depth = deeper(depth)?;
    let (mut seconds, mut zone) = (0, "");
    let mut cursor = Cursor::new(body);
    while let Some((number, payload)) = cursor.field(depth)? {
        match (number, payload) {
            (1, Payload::Varint(bits)) => seconds = bits as i64,
            (2, Payload::Bytes(bytes)) => {
                zone = std::str::from_utf8(bytes).map_err(|_| WireError::Utf8)?;
            }
            _ => {}
        }
    }
    Ok((seconds, zone))
}

/// Zoned timestamps: the instant and the zone as stored.
#[derive(Debug)]
pub(super) struct ZonedColumn {
    microseconds: Vec<i64>,
    zones: StringBuilder,
    nulls: NullBufferBuilder,
}

impl ZonedColumn {
    pub(super) fn new(rows: usize) -> Self {
        Self {
            microseconds: Vec::with_capacity(rows),
            zones: StringBuilder::with_capacity(rows, 0),
            nulls: NullBufferBuilder::new(rows),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.microseconds.len()
    }

    pub(super) fn push(&mut self, value: Value<'_>, depth: u32) -> Result<(), Cause> {
        let zoned = match value {
            Value::Message {
                field: Field::ZonedTimestamp,
                body,
            } => Some(parts(body, depth)?),
            Value::UnixTimestamp(seconds) => Some((seconds, "")),
            other => null_or_mismatch(other)?,
        };
        match zoned {
            Some((seconds, zone)) if seconds != NULL_TIMESTAMP => {
                let microseconds = seconds.checked_mul(1_000_000).ok_or(Cause::Timestamp)?;
                room::<i32>(self.zones.values_slice().len(), zone.len())?;
                self.microseconds.push(microseconds);
                self.zones.append_value(zone);
                self.nulls.append_non_null();
            }
            _ => {
                self.microseconds.push(0);
                self.zones.append_null();
                self.nulls.append_null();
            }
        }
        Ok(())
    }

    pub(super) fn finish(mut self) -> ArrayRef {
        let nulls = self.nulls.finish();
        let instants = TimestampMicrosecondArray::new(self.microseconds.into(), nulls.clone())
            .with_timezone("UTC");
        let columns: Vec<ArrayRef> = vec![Arc::new(instants), Arc::new(self.zones.finish())];
        Arc::new(StructArray::new(zoned_fields(), columns, nulls))
    }
}

/// A column of zoned timestamps, made ready to be written: structs of instant and zone, or
/// timestamps of one zone.
#[derive(Debug)]
pub(super) struct ZonedTimestamps {
    nulls: Option<NullBuffer>,
    instants: Int64Array,
    zones: Zones,
}

#[derive(Debug)]
enum Zones {
    One(String),
    Each(Texts),
}

impl ZonedTimestamps {
    pub(super) fn new(array: &dyn Array) -> Result<Self> {
        let array = plain(array)?;
        let (instants, zones) = match array.data_type() {
            DataType::Struct(fields)
                if fields.len() == 2
                    && fields[0].name() == "timestamp"
                    && fields[1].name() == "zone" =>
            {
                let parts = array.as_struct();
                let zones = Zones::Each(texts(parts.column(1))?);
                (parts.column(0).clone(), zones)
            }
            DataType::Timestamp(_, zone) => {
                let zone = zone.as_deref().unwrap_or("");
                // An offset is what `str()` of Python's `timezone` makes of it.
                let zone = match zone.as_bytes().first() {
                    Some(b'+' | b'-') => format!("UTC{zone}"),
                    _ => zone.to_owned(),
                };
                (array.clone(), Zones::One(zone))
            }
            _ => return Err(not_from("a zoned timestamp", &array)),
        };
        Ok(Self {
            nulls: array.nulls().cloned(),
            instants: seconds(&instants, Parts::Cut)?,
            zones,
        })
    }

    /// Appends the `Value` of a row; nothing if it is null.
    pub(super) fn write(&self, row: usize, out: &mut Vec<u8>) -> Result<()> {
        let valid = self.nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row));
        if !valid || self.instants.is_null(row) {
            return Ok(());
        }
        let zone = match &self.zones {
            Zones::One(zone) => zone.as_bytes(),
            Zones::Each(zones) => zones.get(row).unwrap_or_default(),
        };
        wire_out::message(Field::ZonedTimestamp as u32, out, |out| {
            wire_out::zoned_timestamp(self.instants.value(row), zone, out);
            Ok::<_, Error>(())
        })
    }
}
