//! Whole hashes as DUMP gives them.
//!
//! HGETALL adds each name and value to the reply by itself. DUMP copies a hash as Redis keeps it: a
//! listpack, in one piece. That is less work even where Redis packs the piece (LZF), as it does by
//! default, and a seventh of it where it does not. Whatever is no listpack is not looked at: those
//! hashes are read once more, by HGETALL.

use std::ops::Range;

use super::listpack::{Element, HEAD_BYTES, LISTPACK_END, Listpack, element, listpack};
use super::scanner::GridScanner;
use super::{ABSENT, Cell, UNPACKED, lzf};
use crate::error::Result;
use crate::plan::{FieldTable, Retrieval, Run, ShapeSample};
use crate::redis::reply;

/// The element of a name of four bytes, as every feature's is, in the lower six of eight bytes.
const SHORT: u64 = 0xFFFF_FFFF_FFFF;
const SHORT_BYTES: usize = 6;

/// A name seen at some place in the last hash; see [`super::pairs::Guess`].
#[derive(Clone, Copy, Debug)]
struct Guess {
    /// Its element when that has six bytes; else 0, which begins no such element.
    short: u64,
    field: Option<u32>,
}

/// What is remembered from one dumped hash to the next.
#[derive(Debug, Default)]
pub(super) struct Guesses(Vec<Guess>);

impl Guesses {
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

impl GridScanner {
    /// Scans the reply to a DUMP; false while it is incomplete.
    pub(super) fn scan_dumped(&mut self, run: Run) -> Result<bool> {
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

    /// Takes the cells of the current row from a dumped hash, the bytes `payload` of the reply; false
    /// if that is something that is not read here, and the row has no cells then.
    fn scan_dump(&mut self, payload: Range<usize>) -> bool {
        let run = self.runs[self.run];
        let row = self.grid.blocks[run.group].row(run.first + self.entity);
        let found = self.fill_row(row.clone(), payload, run.group);
        if let Some(sample) = found {
            self.samples[run.group].add(&sample);
            return true;
        }
        self.grid.cells[row].fill(ABSENT);
        false
    }

    fn fill_row(
        &mut self,
        row: Range<usize>,
        payload: Range<usize>,
        group: usize,
    ) -> Option<ShapeSample> {
        let fields = &self.plan.groups()[group].fields;
        let grid = &mut self.grid;
        let place = listpack(&grid.buffer.filled()[payload.clone()])?;
        let mut walk = Walk {
            fields,
            guesses: &mut self.dumped.0,
            cells: &mut grid.cells[row],
            numbers: Vec::new(),
            sample: ShapeSample::default(),
        };
        match place {
            Listpack::Plain(range) => {
                let range = payload.start + range.start..payload.start + range.end;
                walk.hash(&grid.buffer.filled()[range.clone()], range.start as u32, 0)?;
            }
            Listpack::Packed(range, len) => {
                let at = grid.unpacked.filled().len();
                let packed = &grid.buffer.filled()[payload][range];
                lzf::unpack(packed, grid.unpacked.room(len).ok()?)?;
                grid.unpacked.advance(len);
                walk.hash(&grid.unpacked.filled()[at..], at as u32, UNPACKED)?;
            }
        }
        let Walk {
            numbers,
            sample,
            cells,
            ..
        } = walk;
        for (field, number) in numbers {
            let text = number.to_string();
            cells[field] = Cell {
                start: grid.unpacked.append(text.as_bytes()).ok()? as u32,
                len: text.len() as u32 | UNPACKED,
            };
        }
        Some(sample)
    }
}

/// Fills a row's cells from a listpack.
struct Walk<'a> {
    fields: &'a FieldTable,
    guesses: &'a mut Vec<Guess>,
    cells: &'a mut [Cell],
    /// Values that Redis keeps as numbers, by field.
    numbers: Vec<(usize, i64)>,
    sample: ShapeSample,
}

impl Walk<'_> {
    /// Takes a hash; its bytes start at `base` of a buffer, which `mark` tells. `None` if it is
    /// malformed.
    fn hash(&mut self, bytes: &[u8], base: u32, mark: u32) -> Option<()> {
        let size = u32::from_le_bytes(*bytes.first_chunk()?) as usize;
        if size != bytes.len() || bytes.last() != Some(&LISTPACK_END) {
            return None;
        }
        let mut at = HEAD_BYTES;
        let mut place = 0;
        while at + 1 < size {
            let (field, name_len, next) = self.name(bytes, at, place)?;
            let (value, next) = element(bytes, next)?;
            // The listpack's end is behind every element.
            if next >= size {
                return None;
            }
            let len = match value {
                Element::Text(range) => {
                    let len = range.len();
                    if let Some(field) = field {
                        self.cells[field as usize] = Cell {
                            start: base + range.start as u32,
                            len: len as u32 | mark,
                        };
                        self.sample.wanted_bytes += len;
                    }
                    len
                }
                Element::Number(number) => {
                    if let Some(field) = field {
                        self.numbers.push((field as usize, number));
                    }
                    8
                }
            };
            self.sample.bytes += name_len + len;
            self.sample.long_values += usize::from(ShapeSample::is_long(len));
            at = next;
            place += 1;
        }
        (self.sample.hashes, self.sample.dumped) = (1, 1);
        self.sample.pairs = place;
        self.sample.long_values = self.sample.long_values.min(1);
        Some(())
    }

    /// The field of the name at `at`, the name's length in a reply of HGETALL, and where its value is.
    #[inline]
    fn name(
        &mut self,
        bytes: &[u8],
        at: usize,
        place: usize,
    ) -> Option<(Option<u32>, usize, usize)> {
        let eight = bytes.get(at..at + 8).and_then(|bytes| bytes.first_chunk());
        let word = eight.map_or(0, |&eight| u64::from_le_bytes(eight) & SHORT);
        if let Some(guess) = self.guesses.get(place)
            && guess.short == word
            && word != 0
        {
            return Some((guess.field, SHORT_BYTES + 4, at + SHORT_BYTES));
        }
        self.new_name(bytes, at, place, word)
    }

    #[inline(never)]
    fn new_name(
        &mut self,
        bytes: &[u8],
        at: usize,
        place: usize,
        word: u64,
    ) -> Option<(Option<u32>, usize, usize)> {
        let (name, next) = element(bytes, at)?;
        let (field, len) = match name {
            Element::Text(range) => (self.fields.find(bytes.get(range.clone())?), range.len()),
            Element::Number(number) => {
                let text = number.to_string();
                (self.fields.find(text.as_bytes()), text.len())
            }
        };
        let field = field.map(|field| field as u32);
        let is_short = next - at == SHORT_BYTES && bytes[at] == 0x84;
        let seen = Guess {
            short: if is_short { word } else { 0 },
            field,
        };
        if place < self.guesses.len() {
            self.guesses[place] = seen;
        } else if place == self.guesses.len() {
            self.guesses.push(seen);
        }
        Some((field, len + 6, next))
    }
}

#[cfg(test)]
mod tests;
