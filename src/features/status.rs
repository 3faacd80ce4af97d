//! Statuses and event times of an answer's rows.

use std::time::SystemTime;

use super::{Features, Source};
use crate::error::{Error, ErrorKind, Result};
use crate::event_time::EventTime;
use crate::plan::FeatureColumn;
use crate::value::cursor::WireError;

/// Feast's `FieldStatus`, by its number.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum Status {
    /// The row could not be read, and default values stand in for its own.
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

impl Status {
    /// Whether there is a value beside the status, which may be null.
    #[must_use]
    #[inline]
    pub fn has_value(self) -> bool {
        matches!(self, Self::Invalid | Self::Present)
    }
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
            (Source::Feature(index), None) if self.unanswered().is_some() => self
                .unanswered_rows(&[self.plan.columns()[index].group])
                .into_iter()
                .map(|unanswered| {
                    if unanswered {
                        Status::Invalid
                    } else {
                        Status::Present
                    }
                })
                .collect(),
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
        let unanswered = self.unanswered();
        let status = |feature: &FeatureColumn, entity: usize| {
            if unanswered.is_some_and(|unanswered| unanswered.contains(feature.group, entity)) {
                return Status::Invalid;
            }
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
