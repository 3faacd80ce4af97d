//! Whole hashes as HGETALL gives them: names and values in turn.

use super::Cell;
use super::scanner::{Expect, GridScanner};
use crate::error::Result;
use crate::plan::ShapeSample;
use crate::redis::reply::{self, malformed};

/// A name seen at some place in the last whole hash. Hashes of one view are written in one order,
/// so the same place of the next hash nearly always has the same name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Guess {
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

impl GridScanner {
    /// Scans the pairs of a whole hash; false when the next one is incomplete.
    pub(super) fn scan_pairs(
        &mut self,
        mut left: usize,
        mut place: usize,
        mut long: bool,
    ) -> Result<bool> {
        let run = self.runs[self.run];
        let fields = &self.plan.groups()[run.group].fields;
        let row = self.grid.blocks[run.group].row(run.first + self.entity);
        let cells = &mut self.grid.cells[row];
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
}
