//! Statuses and event times.

use std::time::SystemTime;

use super::{Features, Source};
use crate::error::{Error, ErrorKind, Result};
use crate::plan::FeatureColumn;
use crate::value::cursor::{Cursor, Payload, WireError};

/// Feast's `FieldStatus`, by its number.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum Status {
    /// Not set.
    Invalid = 0,
    /// The row was found, or looks as if: what Feast answers for every row of Redis.
    Present = 1,
    /// Found and null.
    NullValue = 2,
    /// The entity has no such row.
    NotFound = 3,
    /// The row is older than the view's time to live.
    OutsideMaxAge = 4,
}

impl From<u8> for Status {
    fn from(number: u8) -> Self {
        match number {
            1 => Self::Present,
            2 => Self::NullValue,
            3 => Self::NotFound,
            4 => Self::OutsideMaxAge,
            _ => Self::Invalid,
        }
    }
}

/// A row's event timestamp.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct EventTime {
    /// Seconds since the epoch.
    pub seconds: i64,
    /// Nanoseconds of the second.
    pub nanos: i32,
}

impl EventTime {
    /// Reads a serialized `google.protobuf.Timestamp`.
    pub fn parse(message: &[u8]) -> Result<Self, WireError> {
        let mut time = Self::default();
        let mut cursor = Cursor::new(message);
        while let Some(field) = cursor.field(0)? {
            match field {
                (1, Payload::Varint(bits)) => time.seconds = bits as i64,
                (2, Payload::Varint(bits)) => time.nanos = bits as i32,
                _ => {}
            }
        }
        Ok(time)
    }

    /// The time as Feast's Redis store answers it: it goes through a float of seconds and a
    /// `datetime` of microseconds, which rounds. See `_get_features_for_entity` in
    /// `feast/infra/online_stores/redis.py`.
    #[must_use]
    pub fn as_answered(self) -> Self {
        let total = self.seconds as f64 + f64::from(self.nanos) / 1e9;
        let mut whole = total.trunc();
        let mut micros = ((total - whole) * 1e6).round_ties_even();
        if micros >= 1e6 {
            micros -= 1e6;
            whole += 1.0;
        } else if micros < 0.0 {
            micros += 1e6;
            whole -= 1.0;
        }
        Self {
            seconds: whole as i64,
            nanos: micros as i32 * 1000,
        }
    }
}

impl Features {
    /// The status of every row of a column.
    #[must_use]
    pub fn statuses(&self, column: usize) -> Vec<Status> {
        match (self.columns[column], &self.strict) {
            (Source::Feature(index), Some(strict)) => {
                let groups = &self.groups[self.plan.columns()[index].group];
                (0..self.rows)
                    .map(|row| strict[index][groups.entity(row)])
                    .collect()
            }
            (Source::Added(added), _) => self.added[added].statuses.clone(),
            _ => vec![Status::Present; self.rows],
        }
    }

    /// The event time of every row of a column; the epoch for a join key and for a row that is
    /// not there.
    ///
    /// # Errors
    /// [`ErrorKind::Decode`] for a stored timestamp that is malformed.
    pub fn event_times(&self, column: usize) -> Result<Vec<EventTime>> {
        let index = match self.columns[column] {
            Source::Feature(index) => index,
            Source::Added(added) => return Ok(self.added[added].times.clone()),
            Source::Key(_) => return Ok(vec![EventTime::default(); self.rows]),
        };
        let feature = &self.plan.columns()[index];
        let groups = &self.groups[feature.group];
        (0..self.rows)
            .map(|row| {
                let time = self
                    .stored_time(feature, groups.entity(row))
                    .map_err(|cause| {
                        Error::new(
                            ErrorKind::Decode,
                            format!(
                                "the event timestamp of feature view '{}' of {}: {cause}",
                                feature.view,
                                self.entity_text(column, row)
                            ),
                        )
                    })?;
                Ok(time.unwrap_or_default().as_answered())
            })
            .collect()
    }

    fn stored_time(
        &self,
        feature: &FeatureColumn,
        entity: usize,
    ) -> Result<Option<EventTime>, WireError> {
        let grid = self.grid.as_ref();
        grid.and_then(|grid| grid.cell(feature.group, entity, feature.timestamp))
            .map(EventTime::parse)
            .transpose()
    }

    /// For each feature column the status of each entity, as of `now`.
    pub(super) fn strict_statuses(&self, now: SystemTime) -> Vec<Vec<Status>> {
        let now = now
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(0.0, |since| since.as_secs_f64());
        let status = |feature: &FeatureColumn, entity: usize| {
            let value = self
                .grid
                .as_ref()
                .and_then(|grid| grid.cell(feature.group, entity, feature.field));
            // A malformed timestamp is told by whoever asks for it; here the row counts as found.
            match (value, self.stored_time(feature, entity), feature.ttl) {
                (None, _, _) | (_, Ok(None), _) => Status::NotFound,
                (_, Ok(Some(time)), Some(ttl)) => {
                    let age = now - (time.seconds as f64 + f64::from(time.nanos) / 1e9);
                    if age > ttl.as_secs_f64() {
                        Status::OutsideMaxAge
                    } else {
                        Status::Present
                    }
                }
                _ => Status::Present,
            }
        };
        self.plan
            .columns()
            .iter()
            .map(|feature| {
                (0..self.groups[feature.group].len())
                    .map(|entity| status(feature, entity))
                    .collect()
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_message_is_read() {
        let time = EventTime::parse(b"\x08\x96\x01\x10\xc0\x84\x3d").unwrap();
        assert_eq!((time.seconds, time.nanos), (150, 1_000_000));
        assert_eq!(EventTime::parse(b"").unwrap(), EventTime::default());
        assert!(EventTime::parse(b"\x08").is_err());
    }

    #[test]
    fn answered_times_are_rounded_to_microseconds_through_a_float() {
        let answered = |seconds, nanos| {
            let time = EventTime { seconds, nanos }.as_answered();
            (time.seconds, time.nanos)
        };
        assert_eq!(answered(1_700_000_000, 0), (1_700_000_000, 0));
        assert_eq!(
            answered(1_700_000_000, 123_456_789),
            (1_700_000_000, 123_457_000)
        );
        assert_eq!(answered(1_700_000_000, 999_999_999), (1_700_000_001, 0));
        assert_eq!(answered(-2, 500_000_000), (-2, 500_000_000));
    }
}
