//! Entities whose replies do not come, and the default values that stand in for theirs.

use super::scanner::{Expect, GridScanner};
use super::{ABSENT, Cell};
use crate::error::{Error, ErrorKind, Result};
use crate::plan::{GroupRows, Plan, Run, ShapeSample};
use crate::redis::reply::is_transient;

/// What becomes of a read when [the server is out of order](Error::is_outage).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum OnError {
    /// It fails.
    #[default]
    Raise,
    /// Default values stand in for those of the entities that could not be read.
    Defaults,
}

/// The entities of an answer that could not be read, and why.
#[derive(Debug)]
pub struct Unanswered {
    error: Error,
    entities: usize,
    /// By key group and entity; empty for a group whose entities were all read.
    groups: Vec<Vec<bool>>,
}

impl Unanswered {
    pub(super) fn new(error: Error, entities: &[(usize, usize)], rows: &[GroupRows]) -> Self {
        let mut groups = vec![Vec::new(); rows.len()];
        for &(group, entity) in entities {
            groups[group].resize(rows[group].len(), false);
            groups[group][entity] = true;
        }
        Self {
            error,
            entities: entities.len(),
            groups,
        }
    }

    /// What went wrong first.
    #[must_use]
    pub fn error(&self) -> &Error {
        &self.error
    }

    /// How many entity keys could not be read.
    #[must_use]
    pub fn entities(&self) -> usize {
        self.entities
    }

    /// Whether an entity of a key group could not be read.
    #[must_use]
    pub fn contains(&self, group: usize, entity: usize) -> bool {
        self.groups[group].get(entity) == Some(&true)
    }
}

/// An error reply to the command of one entity.
#[derive(Debug)]
pub(super) struct Refusal {
    pub group: usize,
    pub entity: usize,
    /// The server's.
    pub words: String,
}

impl Refusal {
    pub fn error(&self, plan: &Plan, groups: &[GroupRows]) -> Error {
        Error::new(
            ErrorKind::Server,
            format!(
                "refused to read feature view '{}' for entity key \"{}\": {}",
                plan.views_of(self.group).join("', '"),
                groups[self.group].key(self.entity).escape_ascii(),
                self.words
            ),
        )
    }
}

/// Why the first of the missing replies is missing.
#[derive(Debug)]
pub(super) enum Cause {
    Outage(Error),
    Refusal(Refusal),
}

/// The replies that do not come.
#[derive(Debug)]
pub(super) struct Outage {
    pub cause: Cause,
    /// Key group and entity of each.
    pub entities: Vec<(usize, usize)>,
}

impl GridScanner {
    /// Takes note of an error reply.
    pub(super) fn refuse(&mut self, refusal: Refusal) {
        let place = (refusal.group, refusal.entity);
        if self.on_error == OnError::Defaults && is_transient(&refusal.words) {
            self.miss(place, || Cause::Refusal(refusal));
        } else {
            self.refused.get_or_insert(refusal);
        }
    }

    /// Counts the reply that is next as taken; the part of it that has come is passed over.
    pub(super) fn give_up(&mut self, run: Run, error: &Error) {
        if matches!(self.expect, Expect::Pairs { .. }) {
            // The hash was counted, and its fields were not.
            let sample = &mut self.samples[run.group];
            *sample = ShapeSample {
                undumped: sample.undumped,
                ..ShapeSample::default()
            };
        }
        self.at = self.grid.buffer.filled().len();
        let place = (run.group, run.first + self.entity);
        self.miss(place, || Cause::Outage(error.clone()));
        self.end_reply();
    }

    fn miss(&mut self, place: (usize, usize), cause: impl FnOnce() -> Cause) {
        let outage = self.outage.get_or_insert_with(|| Outage {
            cause: cause(),
            entities: Vec::new(),
        });
        outage.entities.push(place);
    }

    /// Puts default values in the place of all that these entities have in the grid.
    pub(super) fn fill_defaults(&mut self, entities: &[(usize, usize)]) -> Result<()> {
        if self.grid.cells.len() < self.cells {
            // Not a byte ever came.
            self.grid.cells = vec![ABSENT; self.cells];
        }
        let mut rows = vec![Vec::new(); self.grid.blocks.len()];
        for &(group, entity) in entities {
            let block = self.grid.blocks[group];
            if rows[group].len() < block.width {
                rows[group] = self.default_row(group, block.width)?;
            }
            self.grid.cells[block.row(entity)].copy_from_slice(&rows[group]);
        }
        Ok(())
    }

    /// The default values of a key group's fields, whose bytes join those that came.
    fn default_row(&mut self, group: usize, width: usize) -> Result<Vec<Cell>> {
        let mut row = vec![ABSENT; width];
        for (field, value) in &self.plan.groups()[group].defaults {
            row[*field] = Cell {
                start: self.grid.buffer.append(value)? as u32,
                len: value.len() as u32,
            };
        }
        Ok(row)
    }
}
