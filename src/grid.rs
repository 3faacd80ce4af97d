//! The grid of cells: where each wanted value lies in the reply's bytes.
//!
//! Replies are scanned as they arrive, while the server is still writing the rest. A cell is a
//! position and a length in the one buffer that all bytes were read into, or in the one for what the
//! server had packed; nothing is copied and nothing is allocated per cell.

mod dumped;
mod lzf;
mod unanswered;

pub use unanswered::{OnError, Unanswered};

use std::ops::Range;
use std::sync::Arc;

use self::dumped::Guesses;
pub(crate) use self::dumped::is_read;
use self::unanswered::{Cause, Outage, Refusal};
use crate::error::{Error, Result};
use crate::plan::{GroupRows, Plan, ReadRequest, Retrieval, Run, ShapeSample};
use crate::redis::reply::{self, ReplyBuffer, ReplySink, malformed};

/// Where a value lies in the buffer, or, if its length has the mark [`UNPACKED`], among the unpacked
/// bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Cell {
    start: u32,
    len: u32,
}

/// No value is as long.
const UNPACKED: u32 = reply::BULK_LIMIT as u32;

/// A field that the hash does not have.
const ABSENT: Cell = Cell {
    start: 0,
    len: u32::MAX,
};

/// The cells of all key groups, and the bytes they point into.
#[derive(Debug)]
pub struct Grid {
    buffer: ReplyBuffer,
    /// What the server had packed.
    unpacked: ReplyBuffer,
    cells: Vec<Cell>,
    /// The cells of each key group.
    blocks: Vec<Block>,
    unanswered: Option<Unanswered>,
}

#[derive(Clone, Copy, Debug)]
struct Block {
    /// Where they start.
    base: usize,
    /// How many a row has.
    width: usize,
    entities: usize,
}

impl Grid {
    /// The values of one field of a key group.
    #[must_use]
    pub fn field(&self, group: usize, field: usize) -> FieldCells<'_> {
        let block = self.blocks[group];
        FieldCells {
            cells: self.cells.get(block.base + field..).unwrap_or_default(),
            width: block.width,
            bytes: self.buffer.filled(),
            unpacked: self.unpacked.filled(),
        }
    }

    /// The bytes of a value; `None` when the hash has no such field.
    #[must_use]
    pub fn cell(&self, group: usize, entity: usize, field: usize) -> Option<&[u8]> {
        self.field(group, field).get(entity)
    }

    /// An entity of a key group of whose hash there is something.
    #[must_use]
    pub fn stored_entity(&self, group: usize) -> Option<usize> {
        let block = self.blocks[group];
        let rows = self
            .cells
            .get(block.base..)?
            .chunks_exact(block.width.max(1));
        rows.take(block.entities)
            .position(|row| row.iter().any(|cell| *cell != ABSENT))
    }

    /// The entities whose cells are default values; `None` when every reply came.
    #[must_use]
    pub fn unanswered(&self) -> Option<&Unanswered> {
        self.unanswered.as_ref()
    }
}

/// The values of one field.
#[derive(Clone, Copy, Debug)]
pub struct FieldCells<'a> {
    /// All cells from the first entity's on.
    cells: &'a [Cell],
    width: usize,
    bytes: &'a [u8],
    unpacked: &'a [u8],
}

impl<'a> FieldCells<'a> {
    /// The bytes of an entity's value; `None` when its hash has no such field.
    #[must_use]
    #[inline]
    pub fn get(self, entity: usize) -> Option<&'a [u8]> {
        let cell = self.cells[entity * self.width];
        if cell == ABSENT {
            return None;
        }
        let (bytes, len) = if cell.len & UNPACKED == 0 {
            (self.bytes, cell.len)
        } else {
            (self.unpacked, cell.len & !UNPACKED)
        };
        let start = cell.start as usize;
        Some(&bytes[start..start + len as usize])
    }
}

impl Grid {
    /// Looks at an entity's values of some fields once. The look-ups do not wait for each other, so this
    /// brings the values into the cache several times faster than decoding them one by one does.
    pub fn warm(&self, group: usize, entity: usize, fields: Range<usize>) {
        let block = self.blocks[group];
        let (bytes, unpacked) = (self.buffer.filled(), self.unpacked.filled());
        let row = block.base + entity * block.width;
        let mut seen = 0;
        for cell in &self.cells[row + fields.start..row + fields.end] {
            let bytes = if cell.len & UNPACKED == 0 {
                bytes
            } else {
                unpacked
            };
            seen ^= bytes.get(cell.start as usize).copied().unwrap_or(0);
        }
        std::hint::black_box(seen);
    }
}

/// What the next bytes of a reply are.
#[derive(Clone, Copy, Debug)]
enum Expect {
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

/// A name seen at some place in the last whole hash. Hashes of one view are written in one order,
/// so the same place of the next hash nearly always has the same name.
#[derive(Clone, Copy, Debug)]
struct Guess {
    /// The name as it was sent, a bulk string: a range of the buffer.
    start: usize,
    end: usize,
    /// The same bytes when there are ten, as there are for every feature's name.
    short: Option<[u8; SHORT]>,
    /// Its index among the wanted fields.
    field: Option<u32>,
}

/// The length of a feature's name as a bulk string: `$4`, four bytes, and the ends of two lines.
const SHORT: usize = 10;

impl Guess {
    /// Whether the same name comes at `at`.
    #[inline]
    fn holds(&self, bytes: &[u8], at: usize) -> bool {
        match self.short {
            Some(short) => bytes[at..].first_chunk() == Some(&short),
            None => {
                bytes.get(at..at + (self.end - self.start)) == Some(&bytes[self.start..self.end])
            }
        }
    }
}

/// Scans the replies of one [`ReadRequest`] into a [`Grid`].
#[derive(Debug)]
pub struct GridScanner {
    plan: Arc<Plan>,
    grid: Grid,
    runs: Vec<Run>,
    /// The run and the entity within it whose reply is being scanned.
    run: usize,
    entity: usize,
    expect: Expect,
    /// Where the next unscanned byte is.
    at: usize,
    replies: usize,
    guesses: Vec<Guess>,
    dumped: Guesses,
    /// Entities whose hashes could not be read by DUMP.
    undumped: Vec<Run>,
    /// Whether DUMP was refused.
    refused_dump: bool,
    samples: Vec<ShapeSample>,
    /// How many cells and bytes there will be. They are allocated when the first reply is awaited,
    /// so that the server works meanwhile.
    cells: usize,
    expected_bytes: usize,
    limit: usize,
    on_error: OnError,
    /// The first error reply that fails the read.
    refused: Option<Refusal>,
    /// The replies that will not come.
    outage: Option<Outage>,
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

    /// Scans the reply to a DUMP; false while it is incomplete.
    fn scan_dumped(&mut self, run: Run) -> Result<bool> {
        let (bytes, at) = (self.grid.buffer.filled(), self.at);
        let is_read = if bytes[at] == b'-' {
            let Some((text, next)) = reply::line(bytes, at)? else {
                return Ok(false);
            };
            self.refused_dump |= !reply::is_transient(&reply::error_text(text));
            self.at = next;
            false
        } else {
            let Some(dump) = reply::bulk(bytes, at)? else {
                return Ok(false);
            };
            self.at = dump.next;
            // Nil is the reply for a key that does not exist.
            match dump.len {
                Some(len) => self.scan_dump(dump.start..dump.start + len),
                None => true,
            }
        };
        if !is_read {
            self.samples[run.group].undumped += 1;
            let first = run.first + self.entity;
            match self.undumped.last_mut() {
                Some(last) if last.group == run.group && last.first + last.count == first => {
                    last.count += 1;
                }
                _ => self.undumped.push(Run {
                    group: run.group,
                    retrieval: Retrieval::HGetAll,
                    first,
                    count: 1,
                }),
            }
        }
        self.end_reply();
        Ok(true)
    }

    /// Scans the pairs of a whole hash; false when the next one is incomplete.
    fn scan_pairs(&mut self, mut left: usize, mut place: usize, mut long: bool) -> Result<bool> {
        let run = self.runs[self.run];
        let fields = &self.plan.groups()[run.group].fields;
        let block = self.grid.blocks[run.group];
        let row = block.base + (run.first + self.entity) * block.width;
        let cells = &mut self.grid.cells[row..row + block.width];
        let sample = &mut self.samples[run.group];
        let bytes = self.grid.buffer.filled();
        let mut at = self.at;
        while left > 0 {
            let known = self
                .guesses
                .get(place)
                .filter(|guess| guess.holds(bytes, at));
            let (field, next, name_len) = if let Some(guess) = known {
                let sent = guess.end - guess.start;
                (guess.field, at + sent, sent)
            } else {
                let Some(name) = reply::bulk(bytes, at)? else {
                    break;
                };
                let Some(len) = name.len else {
                    return Err(malformed("a hash has a nil", at, bytes));
                };
                let field = fields.find(&bytes[name.start..name.start + len]);
                let field = field.map(|field| field as u32);
                let seen = Guess {
                    start: at,
                    end: name.next,
                    short: bytes[at..name.next].try_into().ok(),
                    field,
                };
                if place < self.guesses.len() {
                    self.guesses[place] = seen;
                } else if place == self.guesses.len() {
                    self.guesses.push(seen);
                }
                (field, name.next, name.next - at)
            };
            let Some(value) = reply::bulk(bytes, next)? else {
                break;
            };
            let Some(len) = value.len else {
                return Err(malformed("a hash has a nil", at, bytes));
            };
            if let Some(field) = field {
                cells[field as usize] = Cell {
                    start: value.start as u32,
                    len: len as u32,
                };
                sample.wanted_bytes += len;
            }
            sample.bytes += name_len + len;
            long |= ShapeSample::is_long(len);
            at = value.next;
            place += 1;
            left -= 1;
        }
        self.at = at;
        if left > 0 {
            self.expect = Expect::Pairs { left, place, long };
            return Ok(false);
        }
        sample.long_values += usize::from(long);
        self.end_reply();
        Ok(true)
    }

    /// Scans the values of an HMGET; false when the next one is incomplete.
    fn scan_values(&mut self, mut field: usize) -> Result<bool> {
        let run = self.runs[self.run];
        let block = self.grid.blocks[run.group];
        let row = block.base + (run.first + self.entity) * block.width;
        let cells = &mut self.grid.cells[row..row + block.width];
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

    fn end_reply(&mut self) {
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

#[cfg(test)]
mod tests;
