//! The answer as a matrix of floats, for a model.

use super::{Cells, Features};
use crate::error::{Error, ErrorKind, Result};
use crate::value::CellError;
use crate::value::number::{fill_f32, fill_f64};

/// The element of a matrix.
pub trait MatrixFloat: Copy + Send {
    /// Puts the n-th cell at `matrix[place + n * width]`.
    fn fill(
        cells: Cells<'_>,
        matrix: &mut [Self],
        place: usize,
        width: usize,
        null: Self,
    ) -> Result<(), CellError>
    where
        Self: Sized;
}

impl MatrixFloat for f32 {
    fn fill(
        cells: Cells<'_>,
        matrix: &mut [Self],
        place: usize,
        width: usize,
        null: Self,
    ) -> Result<(), CellError> {
        fill_f32(cells, matrix, place, width, null)
    }
}

impl MatrixFloat for f64 {
    fn fill(
        cells: Cells<'_>,
        matrix: &mut [Self],
        place: usize,
        width: usize,
        null: Self,
    ) -> Result<(), CellError> {
        fill_f64(cells, matrix, place, width, null)
    }
}

impl Features {
    /// Fills `matrix`, rows x columns in row order, with the values of `columns`; a null becomes
    /// `null`.
    ///
    /// # Errors
    /// [`ErrorKind::Decode`], naming view, feature and entity, for a cell that is malformed or no
    /// number; [`ErrorKind::Argument`] when the matrix has another size.
    pub fn fill_matrix<T: MatrixFloat>(
        &self,
        columns: &[usize],
        matrix: &mut [T],
        null: T,
    ) -> Result<()> {
        let width = columns.len();
        if matrix.len() != self.rows * width {
            return Err(Error::new(
                ErrorKind::Argument,
                format!("a matrix of {} for {} x {width}", matrix.len(), self.rows),
            ));
        }
        for rows in self.blocks(columns, 0) {
            let start = rows.start;
            let block = &mut matrix[rows.start * width..rows.end * width];
            for (place, &column) in columns.iter().enumerate() {
                let filled = if let Some(key) = self.key(column) {
                    let (cells, ends) = key.cells(rows.clone());
                    T::fill(Cells::joined(&cells, &ends), block, place, width, null)
                } else {
                    T::fill(self.cells(column, rows.clone()), block, place, width, null)
                };
                filled.map_err(|cause| {
                    self.cell_error(column, start + cause.index, &cause.reason())
                })?;
            }
        }
        Ok(())
    }
}
