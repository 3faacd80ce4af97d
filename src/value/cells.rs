//! Cells, written one after another.

use arrow_array::BinaryArray;
use arrow_buffer::{NullBuffer, OffsetBuffer};

use super::source::cannot;
use crate::error::Result;

/// Cells written one after another into one buffer.
pub(super) struct Cells {
    bytes: Vec<u8>,
    offsets: Vec<i32>,
}

impl Cells {
    /// No cells yet, and room for `rows` of `bytes` in all.
    pub(super) fn with_capacity(rows: usize, bytes: usize) -> Self {
        let mut offsets = Vec::with_capacity(rows + 1);
        offsets.push(0);
        Self {
            // A number is written with the bytes of a whole word, which then are cut off.
            bytes: Vec::with_capacity(bytes + 16),
            offsets,
        }
    }

    /// Empty cells.
    pub(super) fn empty(rows: usize) -> BinaryArray {
        BinaryArray::new(
            OffsetBuffer::new_zeroed(rows),
            arrow_buffer::Buffer::default(),
            None,
        )
    }

    /// Appends a cell for each value: what `write` appends.
    #[inline]
    pub(super) fn extend<T>(
        &mut self,
        values: impl Iterator<Item = T>,
        mut write: impl FnMut(T, &mut Vec<u8>),
    ) {
        let bytes = &mut self.bytes;
        self.offsets.extend(values.map(|value| {
            write(value, bytes);
            // Whether the offsets wrapped is seen in the end.
            bytes.len() as i32
        }));
    }

    /// Appends a cell for each value that is not null, and an empty one for each that is.
    #[inline]
    pub(super) fn extend_valid<T>(
        &mut self,
        values: impl Iterator<Item = T>,
        nulls: Option<&NullBuffer>,
        mut write: impl FnMut(T, &mut Vec<u8>),
    ) {
        match nulls {
            Some(nulls) if nulls.null_count() > 0 => {
                self.extend(values.zip(nulls), |(value, valid), out| {
                    if valid {
                        write(value, out);
                    }
                });
            }
            _ => self.extend(values, write),
        }
    }

    /// Appends a cell for each row: what `write` appends.
    pub(super) fn try_extend(
        &mut self,
        rows: usize,
        mut write: impl FnMut(usize, &mut Vec<u8>) -> Result<()>,
    ) -> Result<()> {
        for row in 0..rows {
            write(row, &mut self.bytes)?;
            self.offsets.push(self.bytes.len() as i32);
        }
        Ok(())
    }

    pub(super) fn finish(self) -> Result<BinaryArray> {
        if i32::try_from(self.bytes.len()).is_err() {
            return Err(cannot("the cells exceed 2 GiB; encode fewer rows at once"));
        }
        Ok(BinaryArray::new(
            OffsetBuffer::new(self.offsets.into()),
            self.bytes.into(),
            None,
        ))
    }
}
