//! Objects that are made while the rest of an answer is still on its way.
//!
//! A server takes longer for the replies to a large read than Python's objects take to be made of
//! them, and the thread that reads has nothing to do meanwhile. So where the answers of a plan are
//! used as lists, the lists are begun while the replies come, and `to_dict` only completes them.
//! Whatever stands in the way, the objects are made when they are asked for, as they would have been.

use std::cell::Cell;
use std::sync::atomic::{AtomicI8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use pyo3::prelude::*;

use super::collector::CollectorPause;
use super::objects::{Hint, ObjectColumn, ObjectMaker};
use super::schemas::Schemas;
use crate::features::{Arriving, Onlooker};
use crate::redis::habit::Habit;

/// A read of fewer values is over too soon.
const LEAST_VALUES: usize = 4096;

/// The GIL is taken when so many values have come, and for no more than so many at a time, since the
/// read's time limit is not looked at meanwhile.
const VALUES_AT_ONCE: std::ops::RangeInclusive<usize> = 1024..=8192;

/// Who waits longer than this for the GIL keeps other threads from their work.
const CROWDED: Duration = Duration::from_micros(100);

thread_local! {
    static HABIT: Cell<Habit> = const { Cell::new(Habit::new()) };
}

/// What the answers of a plan were used for.
#[derive(Debug, Default)]
pub struct Expectation(AtomicI8);

impl Expectation {
    /// So many answers in a row must have been used as lists.
    const SURE: i8 = 2;
    /// What it starts from again when lists were made for nothing.
    const DISAPPOINTED: i8 = -16;

    /// Takes note that an answer is used as lists.
    pub fn lists_wanted(&self) {
        let next = |seen: i8| (seen < Self::SURE).then_some(seen + 1);
        let _ = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
    }

    fn lists_unwanted(&self) {
        self.0.store(Self::DISAPPOINTED, Ordering::Relaxed);
    }

    fn is_of_lists(&self) -> bool {
        self.0.load(Ordering::Relaxed) >= Self::SURE
    }
}

/// The columns of a plan on their way to lists, for as long as the read lasts.
#[derive(Default)]
pub struct EarlyLists {
    /// None if there is nothing to be made, or it has become pointless.
    making: Option<Making>,
}

struct Making {
    rows: usize,
    columns: Vec<ObjectColumn>,
    groups: Vec<Group>,
    /// Whether the rest is left to who asks for it.
    stopped: bool,
}

/// The rows of a key group.
#[derive(Clone, Copy, Default)]
struct Group {
    there: usize,
    made: usize,
    columns: usize,
}

impl EarlyLists {
    /// Lists of the columns of a plan that is read for `rows` rows, if its answers are used so.
    pub fn expected(expectation: &Expectation, rows: usize, values: usize) -> Self {
        let worthwhile = values >= LEAST_VALUES && expectation.is_of_lists();
        if !worthwhile {
            return Self::default();
        }
        if let Some(passing) = HABIT.get().passing() {
            HABIT.set(passing);
            return Self::default();
        }
        Self {
            making: Some(Making {
                rows,
                columns: Vec::new(),
                groups: Vec::new(),
                stopped: false,
            }),
        }
    }

    /// What was made, for the answer to the read; `plan` is whose columns they are.
    pub fn finish(self, plan: Arc<Schemas>) -> EarlyColumns {
        let begun = self.making.filter(|making| !making.columns.is_empty());
        EarlyColumns(Mutex::new(begun.map(|making| Begun {
            columns: making.columns,
            plan,
        })))
    }
}

impl Onlooker for EarlyLists {
    fn look(&mut self, answer: &Arriving<'_>) {
        let Some(making) = self.making.as_mut().filter(|making| !making.stopped) else {
            return;
        };
        if making.take_note(answer) < *VALUES_AT_ONCE.start() {
            return;
        }
        let asked = Instant::now();
        // An interpreter that is ending makes no objects.
        let made = Python::try_attach(|py| {
            making.stopped = asked.elapsed() > CROWDED;
            let habit = HABIT.get();
            HABIT.set(if making.stopped {
                habit.discouraged()
            } else {
                Habit::new()
            });
            let made = making.make(py, answer);
            if made.is_err() {
                // Here, where the objects can be let go of at once. Whoever asks for them is told
                // what is wrong.
                making.columns.clear();
            }
            made
        });
        if !matches!(made, Some(Ok(()))) {
            self.making = None;
        }
    }
}

impl Making {
    /// Takes note of the rows that have come; how many values are to be made.
    fn take_note(&mut self, answer: &Arriving<'_>) -> usize {
        if self.groups.is_empty() {
            self.groups = vec![Group::default(); answer.groups()];
            for column in answer.columns() {
                self.groups[column.group].columns += 1;
            }
        }
        let mut values = 0;
        for (index, group) in self.groups.iter_mut().enumerate() {
            group.there = answer.rows_after(index, group.there, self.rows).end;
            values += (group.there - group.made) * group.columns;
        }
        values
    }

    /// Makes the objects of rows that are there.
    fn make(&mut self, py: Python<'_>, answer: &Arriving<'_>) -> PyResult<()> {
        let _pause = CollectorPause::new();
        if self.columns.is_empty() {
            for column in answer.columns() {
                let hint = Hint::of(&column.dtype);
                self.columns.push(ObjectColumn::new(py, hint, self.rows)?);
            }
        }
        let mut maker = ObjectMaker::without_feast(py);
        let mut left = *VALUES_AT_ONCE.end();
        let mut ends = Vec::with_capacity(self.groups.len());
        for group in &self.groups {
            let rows = (group.there - group.made).min(left / group.columns.max(1));
            left -= rows * group.columns;
            ends.push(group.made + rows);
        }
        for (index, column) in answer.columns().iter().enumerate() {
            let rows = self.groups[column.group].made..ends[column.group];
            let failed = |_: usize, cause: &dyn std::fmt::Display| {
                pyo3::exceptions::PyValueError::new_err(cause.to_string())
            };
            maker.fill(&mut self.columns[index], answer.cells(index, rows), failed)?;
        }
        for (group, end) in self.groups.iter_mut().zip(ends) {
            group.made = end;
        }
        Ok(())
    }
}

/// The columns that an answer's lists begin with.
#[derive(Default)]
pub struct EarlyColumns(Mutex<Option<Begun>>);

struct Begun {
    columns: Vec<ObjectColumn>,
    plan: Arc<Schemas>,
}

impl EarlyColumns {
    /// How many values there are.
    pub fn values(&self) -> usize {
        let begun = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let columns = begun.iter().flat_map(|begun| &begun.columns);
        columns.map(ObjectColumn::len).sum()
    }

    /// The columns, in the plan's order; none if there are none, or they were taken before.
    pub fn take(&self) -> Vec<Option<ObjectColumn>> {
        let begun = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let columns = begun.map(|mut begun| std::mem::take(&mut begun.columns));
        columns.into_iter().flatten().map(Some).collect()
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        if !self.columns.is_empty() {
            self.plan.expectation.lists_unwanted();
        }
    }
}
