//! The grid of cells: where each wanted value lies in the reply's bytes.
//!
//! A cell is a position and a length in the one buffer that all bytes were read into, or in the one
//! for what the server had packed; nothing is copied and nothing is allocated per cell. The
//! [`GridScanner`] finds them while the server is still writing: `pairs` in the replies to HGETALL,
//! `dumped` in those to DUMP.

mod dumped;
mod listpack;
mod lzf;
mod pairs;
mod scanner;
mod unanswered;

pub(crate) use listpack::is_read;
pub use scanner::GridScanner;
pub use unanswered::{OnError, Unanswered};

use std::ops::Range;

use crate::redis::reply::{self, ReplyBuffer};

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

impl Block {
    /// The cells of an entity.
    fn row(self, entity: usize) -> Range<usize> {
        let start = self.base + entity * self.width;
        start..start + self.width
    }
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
        let row = self.blocks[group].row(entity);
        let (bytes, unpacked) = (self.buffer.filled(), self.unpacked.filled());
        let mut seen = 0;
        for cell in &self.cells[row][fields] {
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

#[cfg(test)]
mod tests;
