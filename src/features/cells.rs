//! The serialized values of a column, row by row.

use std::ops::Range;

use super::{Features, Source, Status};
use crate::grid::{FieldCells, Grid};
use crate::plan::{FeatureColumn, GroupRows};

/// Iterates over the cells of some rows; `None` is a null without bytes.
#[derive(Clone, Debug)]
pub struct Cells<'a> {
    rows: Range<usize>,
    from: From<'a>,
}

#[derive(Clone, Debug)]
enum From<'a> {
    Grid {
        field: FieldCells<'a>,
        groups: &'a GroupRows,
        strict: Option<&'a [Status]>,
    },
    Joined {
        cells: &'a [u8],
        ends: &'a [usize],
    },
    Nulls,
}

impl<'a> Cells<'a> {
    /// Cells that lie end to end.
    #[must_use]
    pub fn joined(cells: &'a [u8], ends: &'a [usize]) -> Self {
        Self {
            rows: 0..ends.len(),
            from: From::Joined { cells, ends },
        }
    }

    /// The cells of `rows` of a feature. `strict` are the statuses of its entities: one that has no
    /// value has no cell.
    pub(super) fn of_feature(
        grid: &'a Grid,
        feature: &FeatureColumn,
        groups: &'a GroupRows,
        strict: Option<&'a [Status]>,
        rows: Range<usize>,
    ) -> Self {
        let field = grid.field(feature.group, feature.field);
        let from = From::Grid {
            field,
            groups,
            strict,
        };
        Self { rows, from }
    }
}

impl<'a> Iterator for Cells<'a> {
    type Item = Option<&'a [u8]>;

    #[expect(
        clippy::inline_always,
        reason = "once for each value, and not inlined otherwise"
    )]
    #[inline(always)]
    fn next(&mut self) -> Option<Self::Item> {
        let row = self.rows.next()?;
        Some(match self.from {
            From::Grid {
                field,
                groups,
                strict,
            } => {
                let entity = groups.entity(row);
                match strict {
                    Some(statuses) if !statuses[entity].has_value() => None,
                    _ => field.get(entity),
                }
            }
            From::Joined { cells, ends } => {
                let start = if row == 0 { 0 } else { ends[row - 1] };
                Some(&cells[start..ends[row]])
            }
            From::Nulls => None,
        })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.rows.size_hint()
    }
}

impl ExactSizeIterator for Cells<'_> {}

impl Features {
    /// The cells of `rows` in a column; of nulls for a column of a join key, whose values are in
    /// [`Features::key`].
    #[must_use]
    pub fn cells(&self, column: usize, rows: Range<usize>) -> Cells<'_> {
        let from = match (self.columns[column], &self.grid) {
            (Source::Feature(index), Some(grid)) => {
                let feature = &self.plan.columns()[index];
                let strict = self.strict.as_ref().map(|strict| strict[index].as_slice());
                return Cells::of_feature(grid, feature, &self.groups[feature.group], strict, rows);
            }
            (Source::Added(added), _) => From::Joined {
                cells: &self.added[added].cells,
                ends: &self.added[added].ends,
            },
            (Source::Key(_) | Source::Feature(_), _) => From::Nulls,
        };
        Cells { rows, from }
    }
}
