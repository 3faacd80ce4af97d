//! Scans replies into cells.

use std::sync::Arc;

use super::dumped::Guesses;
use super::pairs::Guess;
use super::unanswered::{Cause, Outage, Refusal};
use super::{ABSENT, Block, Cell, Grid, OnError, Unanswered};
use crate::error::{Error, Result};
use crate::plan::{GroupRows, Plan, ReadRequest, Retrieval, Run, ShapeSample};
use crate::redis::reply::{self, ReplyBuffer, ReplySink, malformed};

/// What the next bytes of a reply are.
#[derive(Clone, Copy, Debug)]
pub(super) enum Expect {
    /// The head of a reply.
    Head,
    /// `left` names and values of a whole hash; `place` counts them, and `long` tells whether one
    /// was too long for a listpack.
    Pairs {
        left: usize,
        place: usize,
        long: bool,
    },
    /// The values of the wanted fields from `field` on.
    Values { field: usize },
}

/// Scans the replies of one [`ReadRequest`] into a [`Grid`].
#[derive(Debug)]
pub struct GridScanner {
    pub(super) plan: Arc<Plan>,
    pub(super) grid: Grid,
    pub(super) runs: Vec<Run>,
    /// The run and the entity within it whose reply is being scanned.
    pub(super) run: usize,
    pub(super) entity: usize,
    pub(super) expect: Expect,
    /// Where the next unscanned byte is.
    pub(super) at: usize,
    replies: usize,
    pub(super) guesses: Vec<Guess>,
    pub(super) dumped: Guesses,
    /// Entities whose hashes could not be read by DUMP.
    pub(super) undumped: Vec<Run>,
    /// Whether DUMP was refused.
    pub(super) refused_dump: bool,
    pub(super) samples: Vec<ShapeSample>,
    /// How many cells and bytes there will be. They are allocated when the first reply is awaited,
    /// so that the server works meanwhile.
    pub(super) cells: usize,
    expected_bytes: usize,
    limit: usize,
    pub(super) on_error: OnError,
    /// The first error reply that fails the read.
    pub(super) refused: Option<Refusal>,
    /// The replies that will not come.
    pub(super) outage: Option<Outage>,
}

impl GridScanner {
    /// A scanner for the replies to `request`; a reply of more than `limit` bytes is refused.
    #[must_use]
    pub fn new(plan: Arc<Plan>, request: &ReadRequest, limit: usize) -> Self {
        let mut blocks = Vec::with_capacity(request.groups.len());
        let mut base = 0;
        for (group, entities) in plan.groups().iter().zip(&request.groups) {
            let width = group.fields.len();
            let entities = entities.len();
            blocks.push(Block {
                base,
                width,
                entities,
            });
            base += width * entities;
        }
        Self {
            samples: vec![ShapeSample::default(); blocks.len()],
            grid: Grid {
                buffer: ReplyBuffer::default(),
                unpacked: ReplyBuffer::default(),
                cells: Vec::new(),
                blocks,
                unanswered: None,
            },
            runs: request.runs.clone(),
            plan,
            run: 0,
            entity: 0,
            expect: Expect::Head,
            at: 0,
            replies: 0,
            guesses: Vec::new(),
            dumped: Guesses::default(),
            undumped: Vec::new(),
            refused_dump: false,
            cells: base,
            expected_bytes: request.reply_bytes,
            limit,
            on_error: OnError::Raise,
            refused: None,
            outage: None,
        }
    }

    /// Sets what becomes of entities whose replies do not come because of an outage.
    #[must_use]
    pub fn on_error(mut self, on_error: OnError) -> Self {
        self.on_error = on_error;
        self
    }

    /// The cells so far.
    #[must_use]
    pub fn grid(&self) -> &Grid {
        &self.grid
    }

    /// How many bytes have come.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.grid.buffer.filled().len()
    }

    /// For how many entities of a key group, from the first on, the reply is there; none once one
    /// of all replies was an error, will not come or is to be asked for again, since it is not sure then
    /// what the cells are.
    #[must_use]
    pub fn entities_there(&self, group: usize) -> usize {
        if self.refused.is_some() || self.outage.is_some() || !self.undumped.is_empty() {
            return 0;
        }
        let of_group = |run: &&Run| run.group == group;
        let ended = self.runs[..self.run].iter().filter(of_group);
        let current = self.runs.get(self.run).filter(of_group);
        ended.map(|run| run.count).sum::<usize>() + current.map_or(0, |_| self.entity)
    }

    /// The entities that DUMP did not tell of, whose replies to HGETALL are taken in from here on; none
    /// if every reply was what it was to be.
    pub fn undumped(&mut self) -> Vec<Run> {
        let runs = std::mem::take(&mut self.undumped);
        if !runs.is_empty() {
            self.go_on(&runs);
        }
        runs
    }

    /// Takes in more replies from here on, to commands that were not sent yet.
    pub fn go_on(&mut self, runs: &[Run]) {
        self.runs = runs.to_vec();
        (self.run, self.entity, self.replies) = (0, 0, 0);
        self.guesses.clear();
    }

    /// Has the plan learn what the hashes looked like so far.
    pub fn learn_so_far(&mut self) {
        self.learn(|sample| *sample);
        self.samples.fill(ShapeSample::default());
    }

    /// Whether the server refused to DUMP a hash.
    #[must_use]
    pub fn refused_dump(&self) -> bool {
        self.refused_dump
    }

    /// The grid, once every reply is there or known not to come; the plan learns what the hashes
    /// looked like. `located` adds the server's address to an error of what the server said.
    ///
    /// # Errors
    /// [`ErrorKind::Server`] with the views, the entity and the server's words for the first reply
    /// that was an error for which no default values stand in.
    pub fn finish(
        mut self,
        groups: &[GroupRows],
        located: impl Fn(Error) -> Error,
    ) -> Result<Grid> {
        self.learn(|sample| *sample);
        if let Some(refusal) = &self.refused {
            return Err(located(refusal.error(&self.plan, groups)));
        }
        if let Some(outage) = self.outage.take() {
            self.fill_defaults(&outage.entities)?;
            let error = match outage.cause {
                Cause::Outage(error) => error,
                Cause::Refusal(refusal) => located(refusal.error(&self.plan, groups)),
            };
            self.grid.unanswered = Some(Unanswered::new(error, &outage.entities, groups));
        }
        Ok(self.grid)
    }

    /// Learns from a read that came to no end: whether DUMP tells of the hashes.
    pub fn learn_dumps(&self) {
        self.learn(|sample| ShapeSample {
            dumped: sample.dumped,
            undumped: sample.undumped,
            ..ShapeSample::default()
        });
    }

    fn learn(&self, of: impl Fn(&ShapeSample) -> ShapeSample) {
        for (group, sample) in self.plan.groups().iter().zip(&self.samples) {
            group.shape.learn(&of(sample));
        }
    }

    /// Scans all that has come, until something is incomplete.
    fn scan(&mut self) -> Result<()> {
        loop {
            let more = match self.expect {
                Expect::Head => self.scan_head()?,
                Expect::Pairs { left, place, long } => self.scan_pairs(left, place, long)?,
                Expect::Values { field } => self.scan_values(field)?,
            };
            if !more {
                return Ok(());
            }
        }
    }

    fn scan_head(&mut self) -> Result<bool> {
        let bytes = self.grid.buffer.filled();
        let at = self.at;
        let Some(&sigil) = bytes.get(at) else {
            return Ok(false);
        };
        let Some(run) = self.runs.get(self.run).copied() else {
            return Err(malformed("more was sent than was asked for", at, bytes));
        };
        if run.retrieval == Retrieval::Dump {
            return self.scan_dumped(run);
        }
        // Before the line is complete, which it may never be.
        if !matches!(sigil, b'*' | b'-') {
            return Err(malformed("an array was expected", at, bytes));
        }
        let Some((text, next)) = reply::line(bytes, at)? else {
            return Ok(false);
        };
        match (sigil, run.retrieval) {
            (b'-', _) => {
                let refusal = Refusal {
                    group: run.group,
                    entity: run.first + self.entity,
                    words: reply::error_text(text),
                };
                self.at = next;
                self.refuse(refusal);
                self.end_reply();
            }
            (b'*', Retrieval::HGetAll) => {
                let items = reply::integer(text)
                    .and_then(|n| usize::try_from(n).ok())
                    .filter(|items| items % 2 == 0)
                    .ok_or_else(|| malformed("a hash's length is wrong", at, bytes))?;
                let sample = &mut self.samples[run.group];
                sample.hashes += usize::from(items > 0);
                sample.pairs += items / 2;
                self.at = next;
                self.expect = Expect::Pairs {
                    left: items / 2,
                    place: 0,
                    long: false,
                };
            }
            (b'*', Retrieval::HMGet) => {
                let width = self.grid.blocks[run.group].width;
                if reply::integer(text) != Some(width as i64) {
                    return Err(malformed("not as many values as fields", at, bytes));
                }
                self.at = next;
                self.expect = Expect::Values { field: 0 };
            }
            _ => return Err(malformed("an array was expected", at, bytes)),
        }
        Ok(true)
    }

    /// Scans the values of an HMGET; false when the next one is incomplete.
    fn scan_values(&mut self, mut field: usize) -> Result<bool> {
        let run = self.runs[self.run];
        let block = self.grid.blocks[run.group];
        let cells = &mut self.grid.cells[block.row(run.first + self.entity)];
        let bytes = self.grid.buffer.filled();
        while field < block.width {
            let Some(value) = reply::bulk(bytes, self.at)? else {
                self.expect = Expect::Values { field };
                return Ok(false);
            };
            if let Some(len) = value.len {
                cells[field] = Cell {
                    start: value.start as u32,
                    len: len as u32,
                };
            }
            self.at = value.next;
            field += 1;
        }
        self.end_reply();
        Ok(true)
    }

    pub(super) fn end_reply(&mut self) {
        self.expect = Expect::Head;
        self.replies += 1;
        self.entity += 1;
        if self.entity == self.runs[self.run].count {
            self.entity = 0;
            self.run += 1;
            // Another group's hashes have other fields.
            self.guesses.clear();
            self.dumped.clear();
        }
    }
}

impl ReplySink for GridScanner {
    fn space(&mut self) -> Result<&mut [u8]> {
        if self.grid.cells.len() < self.cells {
            self.grid.cells = vec![ABSENT; self.cells];
            self.grid.buffer = ReplyBuffer::new(self.expected_bytes, self.limit);
            self.grid.unpacked = ReplyBuffer::new(self.expected_bytes, self.limit);
        }
        self.grid.buffer.space()
    }

    fn advance(&mut self, n: usize) -> Result<()> {
        self.grid.buffer.advance(n);
        self.scan()
    }

    fn expected_bytes(&self) -> usize {
        self.expected_bytes
    }

    fn replies(&self) -> usize {
        self.replies
    }

    fn unanswered(&mut self, error: &Error) -> Result<()> {
        match self.runs.get(self.run).copied() {
            Some(run) if self.on_error == OnError::Defaults && error.is_outage() => {
                self.give_up(run, error);
                Ok(())
            }
            _ => Err(error.clone()),
        }
    }
}
