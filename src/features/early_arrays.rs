//! Columns that are decoded while the rest of an answer is on its way.
//!
//! A server takes longer for the replies to a large read than their values take to be decoded, and the
//! thread that reads has nothing to do meanwhile. It takes no more than half of the time for this: where
//! replies come faster than one thread decodes them, several do the rest when all are there. Replies of
//! several servers are looked at only then.

use std::ops::Range;
use std::time::{Duration, Instant};

use super::{Arriving, Onlooker};
use crate::value::ColumnDecoder;

/// Rows that each column of a group takes at a time, or fewer if they have more values than this.
const ROWS: usize = 64;
const VALUES: usize = 8192;

/// No more values than in such a part and this are decoded at a look: nothing is read meanwhile.
const AT_ONCE: usize = VALUES / 2;

/// But so many rows at the least: a column's turn costs something, too.
const LEAST_ROWS: usize = 8;

/// The columns of a plan on their way to Arrow arrays, for as long as the read lasts.
#[derive(Debug)]
pub struct EarlyArrays {
    rows: usize,
    decoders: Vec<ColumnDecoder>,
    groups: Vec<Group>,
    began: Instant,
    /// How long it took in all.
    spent: Duration,
    /// Whether the rest is left to who asks for it.
    stopped: bool,
}

/// The rows of a key group, and its columns.
#[derive(Debug, Default)]
struct Group {
    columns: Vec<usize>,
    /// How many rows have come.
    there: usize,
    decoded: usize,
}

impl EarlyArrays {
    /// Arrays of the columns of a plan that is read for `rows` rows.
    #[must_use]
    pub fn new(rows: usize) -> Self {
        Self {
            rows,
            decoders: Vec::new(),
            groups: Vec::new(),
            began: Instant::now(),
            spent: Duration::ZERO,
            stopped: false,
        }
    }

    /// What was decoded, column by column of the plan, for [`Features::record_batch`]. It is nothing if
    /// a cell cannot be read: whoever asks for the values is told which.
    ///
    /// [`Features::record_batch`]: super::Features::record_batch
    #[must_use]
    pub fn finish(self) -> Vec<ColumnDecoder> {
        self.decoders
    }

    fn begin(&mut self, answer: &Arriving<'_>) {
        self.groups.resize_with(answer.groups(), Group::default);
        for (index, column) in answer.columns().iter().enumerate() {
            self.groups[column.group].columns.push(index);
            self.decoders
                .push(ColumnDecoder::new(&column.dtype, self.rows));
        }
    }

    /// The next rows to decode of a group of which enough have come.
    fn next(&mut self, answer: &Arriving<'_>) -> Option<(usize, Range<usize>)> {
        for (index, group) in self.groups.iter_mut().enumerate() {
            let most = (VALUES / group.columns.len().max(1)).clamp(LEAST_ROWS, ROWS);
            group.there = answer.rows_after(index, group.there, self.rows).end;
            if group.there - group.decoded >= most && !group.columns.is_empty() {
                return Some((index, group.decoded..group.decoded + most));
            }
        }
        None
    }

    fn decode(&mut self, answer: &Arriving<'_>, index: usize, rows: Range<usize>) {
        let group = &mut self.groups[index];
        let part = |other| if other == index { rows.clone() } else { 0..0 };
        answer.warm(0..answer.columns().len(), part);
        for &column in &group.columns {
            let cells = answer.cells(column, rows.clone());
            if self.decoders[column].extend(cells).is_err() {
                self.decoders.clear();
                self.stopped = true;
                return;
            }
        }
        group.decoded = rows.end;
    }
}

impl Onlooker for EarlyArrays {
    fn look(&mut self, answer: &Arriving<'_>) {
        let now = Instant::now();
        if self.stopped || self.spent > now.duration_since(self.began) / 2 {
            return;
        }
        if self.groups.is_empty() {
            self.begin(answer);
        }
        let mut values = 0;
        while values < AT_ONCE
            && !self.stopped
            && let Some((group, rows)) = self.next(answer)
        {
            values += rows.len() * self.groups[group].columns.len();
            self.decode(answer, group, rows);
        }
        self.spent += now.elapsed();
    }
}
