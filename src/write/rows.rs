//! Encoded rows: entity keys, event times and cells.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use crate::entity_key::{EntityKeyWriter, KeyColumn, KeyVersion, parse_keys};
use crate::error::Result;
use crate::event_time::EventTime;
use crate::plan::{feature_field, timestamp_field};
use crate::redis::command::write_length;

/// The feature view that rows belong to.
#[derive(Debug)]
pub struct Target {
    /// The view's name as it is stored.
    pub view: String,
    /// Follows every entity key in Redis.
    pub project: String,
    /// How entity keys are serialized.
    pub version: KeyVersion,
    /// The hash field of the event timestamp.
    pub timestamp_field: Vec<u8>,
}

impl Target {
    /// The view stored as `view` in `project`.
    #[must_use]
    pub fn new(view: &str, project: &str, version: KeyVersion) -> Self {
        Self {
            view: view.to_owned(),
            project: project.to_owned(),
            version,
            timestamp_field: timestamp_field(view),
        }
    }

    /// The entity of a Redis key for a message: `driver_id=1001`, or the key itself where it cannot
    /// be read.
    #[must_use]
    pub fn entity(&self, key: &[u8]) -> String {
        let raw = || format!("\"{}\"", key.escape_ascii());
        let Some(bare) = key.strip_suffix(self.project.as_bytes()) else {
            return raw();
        };
        match parse_keys(std::iter::once(bare), self.version, &[]) {
            Ok(columns) => {
                let parts: Vec<String> = columns
                    .iter()
                    .map(|(name, column)| format!("{name}={}", column.display(0)))
                    .collect();
                parts.join(", ")
            }
            Err(_) => raw(),
        }
    }
}

/// Rows of one view, ready to be sent: each part of all rows lies end to end in one buffer.
#[derive(Debug)]
pub struct Rows {
    target: Arc<Target>,
    keys: Vec<u8>,
    key_ends: Vec<usize>,
    times: Vec<EventTime>,
    /// Hash fields and their values, as RESP bulk strings.
    cells: Vec<u8>,
    cell_ends: Vec<usize>,
    /// How many cells each row has.
    widths: Vec<u32>,
    /// Whether it is known that no row names a hash field twice.
    distinct: bool,
}

impl Rows {
    /// No rows, with room for `rows` of `row_bytes` of cells each.
    #[must_use]
    pub fn with_capacity(target: Arc<Target>, rows: usize, row_bytes: usize) -> Self {
        Self {
            keys: Vec::with_capacity(rows * (32 + target.project.len())),
            target,
            key_ends: Vec::with_capacity(rows),
            times: Vec::with_capacity(rows),
            cells: Vec::with_capacity(rows * row_bytes),
            cell_ends: Vec::with_capacity(rows),
            widths: Vec::with_capacity(rows),
            distinct: false,
        }
    }

    /// The same, of rows that are known not to name a hash field twice, or not known to.
    #[must_use]
    pub fn of_distinct_fields(self, distinct: bool) -> Self {
        Self { distinct, ..self }
    }

    /// Whether it is known that no row names a hash field twice.
    #[must_use]
    pub fn has_distinct_fields(&self) -> bool {
        self.distinct
    }

    /// The view that the rows belong to.
    #[must_use]
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// How many rows there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.times.len()
    }

    /// Whether there is no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.times.is_empty()
    }

    /// The Redis key of a row.
    #[must_use]
    pub fn key(&self, row: usize) -> &[u8] {
        &self.keys[span(&self.key_ends, row)]
    }

    /// The event time of a row.
    #[must_use]
    pub fn time(&self, row: usize) -> EventTime {
        self.times[row]
    }

    /// The fields and values of a row, as RESP bulk strings in turn.
    #[must_use]
    pub fn cells(&self, row: usize) -> &[u8] {
        &self.cells[span(&self.cell_ends, row)]
    }

    /// How many cells a row has.
    #[must_use]
    pub fn width(&self, row: usize) -> usize {
        self.widths[row] as usize
    }

    /// The cells of a row: hash fields and their values.
    pub fn named_cells(&self, row: usize) -> impl Iterator<Item = (&[u8], &[u8])> {
        let mut rest = self.cells(row);
        std::iter::from_fn(move || {
            // `$4`, the field, `$` and the value's length, the value; each ends its line.
            let field = rest.get(4..8)?;
            let mut at = 11;
            let mut length = 0;
            while let digit @ b'0'..=b'9' = rest[at] {
                length = 10 * length + usize::from(digit - b'0');
                at += 1;
            }
            let value = &rest[at + 2..at + 2 + length];
            rest = &rest[at + 2 + length + 2..];
            Some((field, value))
        })
    }

    /// Bytes of all cells.
    #[must_use]
    pub fn cell_bytes(&self) -> usize {
        self.cells.len()
    }

    /// Adds a row's key and time; its cells follow by [`cell`](Self::cell), then
    /// [`end_row`](Self::end_row).
    pub fn begin_row(
        &mut self,
        writer: &EntityKeyWriter,
        columns: &[&KeyColumn],
        row: usize,
        time: EventTime,
    ) {
        writer.write(columns, row, &mut self.keys);
        self.key_ends.push(self.keys.len());
        self.times.push(time);
        self.widths.push(0);
    }

    /// Adds a cell to the row begun: its field as a RESP bulk string, and its serialized value.
    #[inline]
    pub fn cell(&mut self, field: &FieldName, value: &[u8]) {
        let out = &mut self.cells;
        out.extend_from_slice(&field.0);
        match value.len() {
            length @ 0..10 => out.extend_from_slice(&[b'$', b'0' + length as u8, b'\r', b'\n']),
            length @ 10..100 => out.extend_from_slice(&[
                b'$',
                b'0' + (length / 10) as u8,
                b'0' + (length % 10) as u8,
                b'\r',
                b'\n',
            ]),
            length => write_length(out, b'$', length),
        }
        out.extend_from_slice(value);
        out.extend_from_slice(b"\r\n");
        if let Some(width) = self.widths.last_mut() {
            *width += 1;
        }
    }

    /// Ends the row begun.
    pub fn end_row(&mut self) {
        self.cell_ends.push(self.cells.len());
    }
}

fn span(ends: &[usize], row: usize) -> Range<usize> {
    let start = if row == 0 { 0 } else { ends[row - 1] };
    start..ends[row]
}

/// The hash field of a feature, as a RESP bulk string.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct FieldName([u8; 10]);

impl FieldName {
    /// The field of `feature` in the stored `view`.
    #[must_use]
    pub fn new(view: &str, feature: &str) -> Self {
        let [a, b, c, d] = feature_field(view, feature);
        Self([b'$', b'4', b'\r', b'\n', a, b, c, d, b'\r', b'\n'])
    }
}

/// Rows from Feast's protobuf form, which come one by one.
#[derive(Debug)]
pub struct RowBuilder {
    rows: Rows,
    fields: HashMap<String, FieldName>,
    /// The join keys of the row before, whose writer this one most likely shares.
    writer: Option<(Vec<String>, EntityKeyWriter)>,
}

impl RowBuilder {
    /// No rows yet.
    #[must_use]
    pub fn new(target: Target) -> Self {
        Self {
            rows: Rows::with_capacity(Arc::new(target), 0, 0),
            fields: HashMap::new(),
            writer: None,
        }
    }

    /// Adds a row: its join keys and their values (columns of one row), its event time, and its
    /// features by name with their serialized values.
    pub fn push<'f>(
        &mut self,
        join_keys: Vec<String>,
        values: &[KeyColumn],
        time: EventTime,
        features: impl Iterator<Item = (&'f str, &'f [u8])>,
    ) -> Result<()> {
        let writer = match &mut self.writer {
            Some((known, writer)) if *known == join_keys => writer,
            other => {
                let names: Vec<&str> = join_keys.iter().map(String::as_str).collect();
                let target = self.rows.target();
                let writer =
                    EntityKeyWriter::new(&names, target.version, target.project.as_bytes())?;
                &mut other.insert((join_keys, writer)).1
            }
        };
        let values: Vec<&KeyColumn> = values.iter().collect();
        self.rows.begin_row(writer, &values, 0, time);
        for (feature, value) in features {
            let field = if let Some(field) = self.fields.get(feature) {
                *field
            } else {
                let field = FieldName::new(&self.rows.target.view, feature);
                self.fields.insert(feature.to_owned(), field);
                field
            };
            self.rows.cell(&field, value);
        }
        self.rows.end_row();
        Ok(())
    }

    /// The rows.
    #[must_use]
    pub fn finish(self) -> Rows {
        self.rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cells_of_a_row_are_found_again() {
        let mut builder = RowBuilder::new(Target::new("v", "p", KeyVersion::V3));
        let long = vec![b'\n'; 300];
        let features = [("a", &b""[..]), ("b", b"0123456789"), ("c", &long)];
        let key = [KeyColumn::Int64(vec![1])];
        builder
            .push(
                vec!["id".to_owned()],
                &key,
                EventTime::default(),
                features.into_iter(),
            )
            .unwrap();
        let rows = builder.finish();
        assert_eq!(rows.width(0), 3);
        let expected = ["a", "b", "c"].map(|feature| feature_field("v", feature));
        let expected =
            (expected.iter().zip(features)).map(|(field, (_, value))| (&field[..], value));
        assert!(rows.named_cells(0).eq(expected));
        assert_eq!(rows.target().entity(rows.key(0)), "id=1");
        assert_eq!(rows.target().entity(b"\x01\xff"), "\"\\x01\\xff\"");
    }
}
