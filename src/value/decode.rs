//! Cells into Arrow columns of the declared type.
//!
//! A stored value of another type than the declared one (the schema was changed since) is read
//! if nothing is lost: numbers by the table in [`number`](super::number); a list as a set and a
//! set as a list, their elements by the same rules; `String` from UUID, decimal and JSON text;
//! `Uuid`, `TimeUuid`, `Decimal` and `Json` from a string, the first two also from each other;
//! a struct from a map and a map from a struct; `ZonedTimestamp` from a Unix timestamp, with an
//! empty zone. Everything else is an error that names the stored and the declared type.

use std::fmt;

use arrow_array::ArrayRef;

use super::cause::Cause;
use super::column::Column;
use super::dtype::FeastType;
use crate::error::{Error, ErrorKind};

/// Collects cells of one feature into an Arrow array of its declared type.
#[derive(Debug)]
pub struct ColumnDecoder {
    dtype: FeastType,
    column: Column,
}

impl ColumnDecoder {
    /// A decoder for values of `dtype` with room for `rows` of them.
    #[must_use]
    pub fn new(dtype: &FeastType, rows: usize) -> Self {
        Self {
            dtype: dtype.clone(),
            column: Column::new(dtype, rows, false),
        }
    }

    /// Appends cells; `None`, a hash field that is absent, is null, as an empty cell is.
    ///
    /// After an error the decoder is empty.
    pub fn extend<'a>(
        &mut self,
        cells: impl Iterator<Item = Option<&'a [u8]>>,
    ) -> Result<(), CellError> {
        self.column.extend(cells).map_err(|(index, cause)| {
            self.column = Column::new(&self.dtype, 0, false);
            CellError {
                index,
                cause,
                declared: self.dtype.to_string(),
            }
        })
    }

    /// How many cells were appended.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "nobody asks")]
    pub fn len(&self) -> usize {
        self.column.len()
    }

    /// The array of all cells appended, of [`FeastType::arrow_type`].
    #[must_use]
    pub fn finish(self) -> ArrayRef {
        self.column.finish()
    }
}

/// A cell that cannot be read as what it should be.
#[derive(Clone, Debug)]
pub struct CellError {
    /// Which cell of the call, from 0.
    pub index: usize,
    /// What is wrong with it.
    pub cause: Cause,
    declared: String,
}

impl CellError {
    /// The error of a cell that should have been a number.
    pub(super) fn of_number(index: usize, cause: Cause) -> Self {
        Self {
            index,
            cause,
            declared: "number".to_owned(),
        }
    }

    /// What is wrong, without the index, for callers that name the cell better.
    #[must_use]
    pub fn reason(&self) -> String {
        match self.cause {
            Cause::Type(_) | Cause::Inexact(_) => {
                format!("{}, which does not read as {}", self.cause, self.declared)
            }
            cause => cause.to_string(),
        }
    }
}

impl fmt::Display for CellError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cell {}: {}", self.index, self.reason())
    }
}

impl std::error::Error for CellError {}

impl From<CellError> for Error {
    fn from(error: CellError) -> Self {
        Error::new(ErrorKind::Decode, error.to_string())
    }
}
