//! An answer whose replies are still coming.

use std::ops::Range;
use std::time::{Duration, Instant};

use super::Cells;
use super::blocks::{spans, warm};
use crate::error::{Error, Result};
use crate::grid::GridScanner;
use crate::plan::{FeatureColumn, GroupRows, Plan};
use crate::redis::reply::ReplySink;

/// Takes values of an answer while the server is still writing the rest.
pub trait Onlooker {
    /// More may have come. What this takes, nobody reads from the server meanwhile.
    fn look(&mut self, answer: &Arriving<'_>);
}

/// Nobody.
impl Onlooker for () {
    fn look(&mut self, _: &Arriving<'_>) {}
}

/// What has come of an answer.
#[derive(Debug)]
pub struct Arriving<'a> {
    plan: &'a Plan,
    groups: &'a [GroupRows],
    scanner: &'a GridScanner,
}

impl<'a> Arriving<'a> {
    /// The plan's columns.
    #[must_use]
    pub fn columns(&self) -> &'a [FeatureColumn] {
        self.plan.columns()
    }

    /// How many key groups there are.
    #[must_use]
    pub fn groups(&self) -> usize {
        self.groups.len()
    }

    /// The rows from `seen` on of which a key group's replies are there, of `rows` in all.
    #[must_use]
    pub fn rows_after(&self, group: usize, seen: usize, rows: usize) -> Range<usize> {
        let (entities, there) = (&self.groups[group], self.scanner.entities_there(group));
        // Entities are in the order of the first row of each.
        let mut end = seen;
        while end < rows && entities.entity(end) < there {
            end += 1;
        }
        seen..end
    }

    /// How many bytes of replies came for an entity, in the mean.
    #[must_use]
    pub fn bytes_per_entity(&self) -> usize {
        self.scanner.bytes() / self.scanner.replies().max(1)
    }

    /// Brings the values of some columns into the cache, those of the rows that `rows` tells for each
    /// key group.
    pub fn warm(&self, columns: Range<usize>, rows: impl Fn(usize) -> Range<usize>) {
        let spans = spans(self.plan.columns()[columns].iter(), self.groups.len());
        warm(self.scanner.grid(), self.groups, &spans, rows);
    }

    /// The cells of `rows`, which are there, in a column of the plan.
    #[must_use]
    pub fn cells(&self, column: usize, rows: Range<usize>) -> Cells<'a> {
        let feature = &self.plan.columns()[column];
        let entities = &self.groups[feature.group];
        Cells::of_feature(self.scanner.grid(), feature, entities, None, rows)
    }
}

/// Scans replies and shows an onlooker what has come.
pub(crate) struct Watched<'a, W> {
    pub plan: &'a Plan,
    pub groups: &'a [GroupRows],
    pub scanner: &'a mut GridScanner,
    pub onlooker: &'a mut W,
    /// How many replies there will be.
    pub expected: usize,
    /// How long the onlooker took in all.
    pub looked: Duration,
}

impl<W: Onlooker> ReplySink for Watched<'_, W> {
    fn space(&mut self) -> Result<&mut [u8]> {
        self.scanner.space()
    }

    fn advance(&mut self, n: usize) -> Result<()> {
        self.scanner.advance(n)?;
        // Once all is there, nothing is waited for any more.
        if self.scanner.replies() < self.expected {
            let began = Instant::now();
            self.onlooker.look(&Arriving {
                plan: self.plan,
                groups: self.groups,
                scanner: self.scanner,
            });
            self.looked += began.elapsed();
        }
        Ok(())
    }

    fn replies(&self) -> usize {
        self.scanner.replies()
    }

    fn expected_bytes(&self) -> usize {
        self.scanner.expected_bytes()
    }

    fn unanswered(&mut self, error: &Error) -> Result<()> {
        self.scanner.unanswered(error)
    }

    fn held_up(&self) -> Duration {
        self.looked
    }

    fn sent_again(&mut self) {
        self.scanner.sent_again();
    }
}
