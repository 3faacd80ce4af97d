//! The answer as Feast's response message.
//!
//! A stored cell is a serialized `Value` already, so the message is put together by copying, not
//! by parsing and building. The format is `GetOnlineFeaturesResponse` of
//! `feast/serving/ServingService.proto`.

use super::{Cells, Features};
use crate::error::Result;
use crate::value::write_varint;

/// The tag of a length-delimited field; all numbers here are below 16.
const fn tag(number: u8) -> u8 {
    number << 3 | 2
}

impl Features {
    /// The serialized `GetOnlineFeaturesResponse`. `versions` are the names and version numbers
    /// of feature views for the metadata; empty unless they were asked for.
    ///
    /// # Errors
    /// [`ErrorKind::Decode`](crate::error::ErrorKind::Decode) for a stored event timestamp that
    /// is malformed. Values are copied as they are.
    pub fn message(&self, versions: &[(String, i32)]) -> Result<Vec<u8>> {
        let mut out = Vec::with_capacity(self.rows * self.columns.len() * 24);
        let mut names = Vec::new();
        for column in 0..self.columns.len() {
            put(&mut names, tag(1), self.name(column).as_bytes());
        }
        let mut metadata = Vec::new();
        put(&mut metadata, tag(1), &names);
        for (name, version) in versions {
            let mut view = Vec::new();
            put(&mut view, tag(1), name.as_bytes());
            if *version != 0 {
                view.push(2 << 3);
                write_varint(&mut view, i64::from(*version) as u64);
            }
            put(&mut metadata, tag(2), &view);
        }
        put(&mut out, tag(1), &metadata);
        let mut vector = Vec::new();
        for column in 0..self.columns.len() {
            vector.clear();
            self.put_vector(column, &mut vector)?;
            put(&mut out, tag(2), &vector);
        }
        Ok(out)
    }

    /// Appends the body of one `FeatureVector`.
    fn put_vector(&self, column: usize, out: &mut Vec<u8>) -> Result<()> {
        if let Some(key) = self.key(column) {
            let (cells, ends) = key.cells(0..self.rows);
            for cell in Cells::joined(&cells, &ends) {
                put(out, tag(1), cell.unwrap_or_default());
            }
        } else {
            for cell in self.cells(column, 0..self.rows) {
                put(out, tag(1), cell.unwrap_or_default());
            }
        }
        let statuses: Vec<u8> = self.statuses(column).iter().map(|&s| s as u8).collect();
        if !statuses.is_empty() {
            put(out, tag(2), &statuses);
        }
        let mut time = Vec::new();
        for event in self.event_times(column)? {
            time.clear();
            event.write(&mut time);
            put(out, tag(3), &time);
        }
        Ok(())
    }
}

fn put(out: &mut Vec<u8>, tag: u8, body: &[u8]) {
    out.push(tag);
    write_varint(out, body.len() as u64);
    out.extend_from_slice(body);
}
