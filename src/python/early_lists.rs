//! Objects that are made while the rest of an answer is still on its way.
//!
//! A server takes longer for the replies to a large read than Python's objects take to be made of
//! them, and the thread that reads has nothing to do meanwhile. So it begins the lists while the
//! replies come, and `to_dict` only completes them.

use std::cell::Cell;
use std::fmt;
use std::time::{Duration, Instant};

use pyo3::exceptions::PyNotImplementedError;
use pyo3::prelude::*;

use super::collector::CollectorPause;
use super::objects::{BlockOrder, Hint, KeptObjects, ObjectColumn, ObjectMaker};
use crate::features::{Arriving, Onlooker};
use crate::redis::habit::Habit;

/// A block is begun when so many values or bytes of it have come, and one in so many of all the values
/// that are left.
const VALUES: usize = 1024;
const BYTES: usize = 16 * 1024;
const PART: usize = 8;

/// So many columns' values are brought into the cache at once.
const WARM_COLUMNS: usize = 8;

/// No more bytes than this in a block: they are to be in the cache still.
const BLOCK_BYTES: usize = 384 * 1024;

/// The GIL is kept for so many values or bytes at the most: other threads want it, too, and nothing is
/// read meanwhile.
const VALUES_AT_ONCE: usize = 3 * VALUES;
const BYTES_AT_ONCE: usize = 8 * BYTES;

/// Who waits longer than this for the GIL keeps other threads from their work.
const CROWDED: Duration = Duration::from_micros(100);

thread_local! {
    static HABIT: Cell<Habit> = const { Cell::new(Habit::new()) };
}

/// The columns of a plan on their way to lists, for as long as the read lasts.
///
/// Values are made in blocks of rows, column by column within one: neighbours in a list are made one
/// after the other then and lie together, which makes them faster to free than those of a row would be.
pub struct EarlyLists {
    rows: usize,
    columns: Vec<ObjectColumn>,
    groups: Vec<Group>,
    /// The column whose turn it is in the block; the number of columns when the block is done.
    turn: usize,
    order: BlockOrder,
    kept: Option<KeptObjects>,
    /// Whether the rest is left to who asks for it.
    stopped: bool,
}

/// Lists that were begun.
#[derive(Default)]
pub struct BegunLists {
    /// Column by column of the plan; none if none was begun.
    pub columns: Vec<ObjectColumn>,
    /// Objects of earlier answers for the rest of this one.
    pub kept: Option<KeptObjects>,
}

/// The rows of a key group.
#[derive(Clone, Copy, Default)]
struct Group {
    /// How many have come.
    there: usize,
    /// The block's.
    block: (usize, usize),
    columns: usize,
}

impl Group {
    /// How many have come and are in no block yet.
    fn waiting(&self) -> usize {
        self.there - self.block.1
    }
}

impl EarlyLists {
    /// Lists of the columns of a plan that is read for `rows` rows; `None` where other threads wanted the
    /// GIL of late.
    pub fn unless_crowded(py: Python<'_>, rows: usize) -> Option<Self> {
        if let Some(passing) = HABIT.get().passing() {
            HABIT.set(passing);
            return None;
        }
        Some(Self {
            rows,
            columns: Vec::new(),
            groups: Vec::new(),
            turn: 0,
            order: BlockOrder::default(),
            kept: KeptObjects::claim(py),
            stopped: false,
        })
    }

    /// What was made.
    pub fn finish(self) -> BegunLists {
        if !self.columns.is_empty() && !self.stopped {
            HABIT.set(Habit::new());
        }
        BegunLists {
            columns: self.columns,
            kept: self.kept,
        }
    }
}

impl Onlooker for EarlyLists {
    fn look(&mut self, answer: &Arriving<'_>) {
        if self.stopped || !self.take_note(answer) {
            return;
        }
        let asked = Instant::now();
        // An interpreter that is ending makes no objects.
        let made = Python::try_attach(|py| {
            if asked.elapsed() > CROWDED {
                self.stopped = true;
                HABIT.set(HABIT.get().discouraged());
            }
            self.make(py, answer).is_ok()
        });
        if made != Some(true) {
            self.stopped = true;
        }
    }
}

impl EarlyLists {
    /// Takes note of the rows that have come; whether there is enough to be made of them.
    fn take_note(&mut self, answer: &Arriving<'_>) -> bool {
        if self.groups.is_empty() {
            self.groups = vec![Group::default(); answer.groups()];
            for column in answer.columns() {
                self.groups[column.group].columns += 1;
            }
            self.turn = answer.columns().len();
        }
        for (index, group) in self.groups.iter_mut().enumerate() {
            group.there = answer.rows_after(index, group.there, self.rows).end;
        }
        self.turn < answer.columns().len() || self.begin_block(answer)
    }

    /// Begins a block with the rows that wait, if they are enough.
    fn begin_block(&mut self, answer: &Arriving<'_>) -> bool {
        let (mut rows, mut values, mut left) = (0, 0, 0);
        for group in &self.groups {
            rows += group.waiting();
            values += group.waiting() * group.columns;
            left += (self.rows - group.block.1) * group.columns;
        }
        let bytes = answer.bytes_per_entity().max(1);
        let enough = values >= VALUES || rows * bytes >= BYTES;
        let part = left / PART;
        if !enough || values < part && rows * bytes < BLOCK_BYTES {
            return false;
        }
        let mut most = (BLOCK_BYTES / bytes).max(1);
        for group in &mut self.groups {
            let rows = group.waiting().min(most);
            most -= rows;
            group.block = (group.block.1, group.block.1 + rows);
        }
        self.turn = 0;
        true
    }

    /// Goes on with the block. A column with a cell that no object can be made of here is left as it is
    /// then; whoever asks for it is told what is wrong, or has Feast's Python make it.
    fn make(&mut self, py: Python<'_>, answer: &Arriving<'_>) -> PyResult<()> {
        let _pause = CollectorPause::new();
        if self.columns.is_empty() {
            for column in answer.columns() {
                let hint = Hint::of(&column.dtype);
                self.columns.push(ObjectColumn::new(py, hint, self.rows)?);
            }
        }
        let values = |group: &Group| (group.block.1 - group.block.0) * group.columns;
        let next = self
            .groups
            .iter()
            .map(values)
            .sum::<usize>()
            .min(VALUES_AT_ONCE);
        let mut maker = ObjectMaker::early(py, self.kept.take());
        let new_ones = maker.new_ones(next);
        self.order.prepare(py, new_ones, new_ones);
        let failed = |_: usize, _: &dyn fmt::Display| PyNotImplementedError::new_err(());
        // A column may be nearly all of its rows' bytes.
        let piece = (BYTES_AT_ONCE / answer.bytes_per_entity().max(1)).max(1);
        let mut warm = self.turn;
        let (mut values, mut bytes) = (0, 0);
        while self.turn < self.columns.len() {
            if warm <= self.turn {
                warm = self.warm(answer);
            }
            let column = &mut self.columns[self.turn];
            let (begin, end) = self.groups[answer.columns()[self.turn].group].block;
            let rows = column.len()..end.min(column.len() + piece);
            if rows.is_empty() || rows.start < begin {
                self.turn += 1;
                continue;
            }
            if values >= VALUES_AT_ONCE || bytes >= BYTES_AT_ONCE {
                break;
            }
            values += rows.len();
            let cells = answer.cells(self.turn, rows);
            let cells = cells.inspect(|cell| bytes += cell.map_or(0, <[u8]>::len));
            if maker.fill(column, cells, failed).is_err() {
                self.turn += 1;
            }
        }
        self.kept = maker.into_kept();
        Ok(())
    }

    /// Brings the values of the next columns into the cache, row by row as they lie in the replies; the
    /// first column that is left for the next time.
    fn warm(&self, answer: &Arriving<'_>) -> usize {
        let end = answer.columns().len().min(self.turn + WARM_COLUMNS);
        let block = |group: usize| self.groups[group].block.0..self.groups[group].block.1;
        answer.warm(self.turn..end, block);
        end
    }
}
