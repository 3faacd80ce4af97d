//! The rows of an answer, some at a time.

use std::ops::Range;

use super::Features;
use crate::grid::Grid;
use crate::plan::{FeatureColumn, GroupRows};

/// Rows that a column takes before the next column's turn: their cells lie together in the reply, and
/// stay in the cache until all columns have taken theirs.
const BLOCK_ROWS: usize = 64;

impl Features {
    /// All rows in blocks, from that of row `first` on, each to be taken by every one of `columns` before
    /// the next block. The cells of these columns that lie in it, from row `first` on, are in the cache
    /// when it comes.
    pub fn blocks(
        &self,
        columns: &[usize],
        first: usize,
    ) -> impl Iterator<Item = Range<usize>> + use<'_> {
        let features = columns.iter().filter_map(|&column| self.feature(column));
        let spans = spans(features, self.groups.len());
        let starts = (first - first % BLOCK_ROWS..self.rows).step_by(BLOCK_ROWS);
        starts.map(move |start| {
            let rows = start..self.rows.min(start + BLOCK_ROWS);
            if let Some(grid) = &self.grid {
                warm(grid, &self.groups, &spans, |_| first.max(start)..rows.end);
            }
            rows
        })
    }
}

/// The fields that some columns take from the hashes of each of `groups` key groups.
pub(super) fn spans<'a>(
    columns: impl Iterator<Item = &'a FeatureColumn>,
    groups: usize,
) -> Vec<Range<usize>> {
    let mut spans = vec![0..0; groups];
    for feature in columns {
        let (span, field) = (&mut spans[feature.group], feature.field);
        *span = if span.start == span.end {
            field..field + 1
        } else {
            span.start.min(field)..span.end.max(field + 1)
        };
    }
    spans
}

/// Brings the values of `spans` into the cache, those of the rows that `rows` tells for each key group,
/// before columns take them one by one.
pub(super) fn warm(
    grid: &Grid,
    groups: &[GroupRows],
    spans: &[Range<usize>],
    rows: impl Fn(usize) -> Range<usize>,
) {
    for (group, (entities, fields)) in groups.iter().zip(spans).enumerate() {
        for row in rows(group) {
            grid.warm(group, entities.entity(row), fields.clone());
        }
    }
}
