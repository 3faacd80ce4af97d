//! The rows of an answer, some at a time.

use std::ops::Range;

use super::Features;

/// Rows that a column takes before the next column's turn: their cells lie together in the reply, and
/// stay in the cache until all columns have taken theirs.
const BLOCK_ROWS: usize = 64;

impl Features {
    /// All rows from `first` on in blocks, each to be taken by every one of `columns` before the next
    /// block. A block's cells of these columns are in the cache when it comes.
    pub fn blocks(
        &self,
        columns: &[usize],
        first: usize,
    ) -> impl Iterator<Item = Range<usize>> + use<'_> {
        let spans = self.spans(columns);
        (first..self.rows).step_by(BLOCK_ROWS).map(move |start| {
            let rows = start..self.rows.min(start + BLOCK_ROWS);
            self.warm(&spans, rows.clone());
            rows
        })
    }

    /// The fields that some columns take from the hashes of each key group.
    fn spans(&self, columns: &[usize]) -> Vec<Range<usize>> {
        let mut spans = vec![0..0; self.groups.len()];
        for feature in columns.iter().filter_map(|&column| self.feature(column)) {
            let (span, field) = (&mut spans[feature.group], feature.field);
            *span = if span.start == span.end {
                field..field + 1
            } else {
                span.start.min(field)..span.end.max(field + 1)
            };
        }
        spans
    }

    /// Brings the values of some rows into the cache, before columns take them one by one.
    fn warm(&self, spans: &[Range<usize>], rows: Range<usize>) {
        let Some(grid) = &self.grid else { return };
        for (group, (entities, fields)) in self.groups.iter().zip(spans).enumerate() {
            for row in rows.clone() {
                grid.warm(group, entities.entity(row), fields.clone());
            }
        }
    }
}
