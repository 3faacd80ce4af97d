//! What an answer is expected to become, begun while the rest of it is on its way.
//!
//! A plan's answers are mostly used in one way. Where it is known which, the lists of
//! [`to_dict`](EarlyLists) or the arrays of [`to_arrow`](EarlyArrays) are begun while the replies come,
//! and what asks for them only completes them. Whatever stands in the way, they are made when they are
//! asked for, as they would have been.

use std::sync::atomic::{AtomicI8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use pyo3::prelude::*;

use super::early_lists::{BegunLists, EarlyLists};
use super::objects::ObjectColumn;
use super::schemas::Schemas;
use crate::features::{Arriving, EarlyArrays, Onlooker};
use crate::value::ColumnDecoder;

/// A read of fewer values is over too soon.
const LEAST_VALUES: usize = 4096;

/// A form that answers are used in.
#[derive(Clone, Copy, Debug)]
pub enum Form {
    /// Lists of Python's objects.
    Lists,
    /// Arrow arrays.
    Arrays,
}

/// What the answers of a plan were used for.
#[derive(Debug, Default)]
pub struct Expectation {
    lists: AtomicI8,
    arrays: AtomicI8,
}

impl Expectation {
    /// From so many answers on that were used in a form it is of that form.
    const SURE: i8 = 2;
    /// What it counts from when something was begun for nothing.
    const DISAPPOINTED: i8 = -16;

    fn of(&self, form: Form) -> &AtomicI8 {
        match form {
            Form::Lists => &self.lists,
            Form::Arrays => &self.arrays,
        }
    }

    /// Takes note that an answer is used in this form.
    pub fn wanted(&self, form: Form) {
        let next = |seen: i8| (seen < Self::SURE).then_some(seen + 1);
        let _ = self
            .of(form)
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
    }

    fn unwanted(&self, form: Form) {
        self.of(form).store(Self::DISAPPOINTED, Ordering::Relaxed);
    }

    fn is_of(&self, form: Form) -> bool {
        self.of(form).load(Ordering::Relaxed) >= Self::SURE
    }
}

/// What is begun during a read.
pub enum Begun {
    /// Nothing.
    Nothing,
    /// Lists.
    Lists(EarlyLists),
    /// Arrays.
    Arrays(EarlyArrays),
}

impl Begun {
    /// What is expected of a plan that is read for `rows` rows and so many values.
    pub fn expected(py: Python<'_>, expectation: &Expectation, rows: usize, values: usize) -> Self {
        if values < LEAST_VALUES {
            Self::Nothing
        } else if expectation.is_of(Form::Lists) {
            EarlyLists::unless_crowded(py, rows).map_or(Self::Nothing, Self::Lists)
        } else if expectation.is_of(Form::Arrays) {
            Self::Arrays(EarlyArrays::new(rows))
        } else {
            Self::Nothing
        }
    }

    /// What was begun, for the answer to the read; `plan` is whose columns they are.
    pub fn finish(self, plan: Arc<Schemas>) -> Beginning {
        let columns = match self {
            Self::Nothing => return Beginning::default(),
            Self::Lists(lists) => Columns::Lists(Box::new(lists.finish())),
            Self::Arrays(arrays) => Columns::Arrays(arrays.finish()),
        };
        Beginning(Mutex::new(Some(Unused { columns, plan })))
    }
}

impl Onlooker for Begun {
    fn look(&mut self, answer: &Arriving<'_>) {
        match self {
            Self::Nothing => {}
            Self::Lists(lists) => lists.look(answer),
            Self::Arrays(arrays) => arrays.look(answer),
        }
    }
}

/// The columns that an answer begins with, in the plan's order, until they are asked for.
#[derive(Default)]
pub struct Beginning(Mutex<Option<Unused>>);

struct Unused {
    columns: Columns,
    plan: Arc<Schemas>,
}

enum Columns {
    Lists(Box<BegunLists>),
    Arrays(Vec<ColumnDecoder>),
}

impl Beginning {
    /// How many values there are.
    pub fn values(&self) -> usize {
        let unused = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match unused.as_ref().map(|unused| &unused.columns) {
            None => 0,
            Some(Columns::Lists(lists)) => lists.columns.iter().map(ObjectColumn::len).sum(),
            Some(Columns::Arrays(columns)) => columns.iter().map(ColumnDecoder::len).sum(),
        }
    }

    /// The lists; none if there are none, or they were taken before.
    pub fn take_lists(&self) -> BegunLists {
        let mut unused = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match unused.as_mut().map(|unused| &mut unused.columns) {
            Some(Columns::Lists(lists)) => std::mem::take(&mut **lists),
            _ => BegunLists::default(),
        }
    }

    /// The arrays; none if there are none, or they were taken before.
    pub fn take_arrays(&self) -> Vec<ColumnDecoder> {
        let mut unused = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match unused.as_mut().map(|unused| &mut unused.columns) {
            Some(Columns::Arrays(columns)) => std::mem::take(columns),
            _ => Vec::new(),
        }
    }
}

impl Drop for Unused {
    fn drop(&mut self) {
        let form = match &self.columns {
            Columns::Lists(lists) if !lists.columns.is_empty() => Form::Lists,
            Columns::Arrays(columns) if columns.iter().any(|column| column.len() > 0) => {
                Form::Arrays
            }
            _ => return,
        };
        self.plan.expectation.unwanted(form);
    }
}
