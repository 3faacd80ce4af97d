//! Columns decoded from their cells, by several threads where that pays.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use super::Features;
use crate::error::{Error, Result};
use crate::value::ColumnDecoder;

/// How many cells are worth a thread, which costs as much as decoding some thousands.
const CELLS_PER_THREAD: usize = 40_000;

/// More threads than this would wait for memory rather than decode.
const MOST_THREADS: usize = 4;

/// Columns differ in what they cost: who is done early takes another share.
const SHARES_PER_THREAD: usize = 3;

/// Where the first wrong cell is, and what is wrong with it.
struct Flaw {
    /// Its block of rows, and its column's place.
    at: (usize, usize),
    error: Error,
}

impl Features {
    /// The columns `shown`, decoded; a join key's stays empty. `begun` are the plan's columns as far as
    /// they were decoded before, or none. Of several wrong cells the same one is always told of, however
    /// many threads there are.
    pub(super) fn decoded(
        &self,
        shown: &[usize],
        begun: Vec<ColumnDecoder>,
    ) -> Result<Vec<ColumnDecoder>> {
        let mut begun: Vec<_> = begun.into_iter().map(Some).collect();
        let mut begun = |column| begun.get_mut(self.plan_column(column)?)?.take();
        let decoder = |&column| {
            begun(column).unwrap_or_else(|| ColumnDecoder::new(self.dtype(column), self.rows))
        };
        self.complete(shown, shown.iter().map(decoder).collect())
    }

    /// Decodes what the columns `shown` lack.
    fn complete(
        &self,
        shown: &[usize],
        mut decoders: Vec<ColumnDecoder>,
    ) -> Result<Vec<ColumnDecoder>> {
        let columns = shown.iter().zip(&decoders);
        let missing = columns.map(|(&column, decoder)| self.missing(column, decoder));
        let threads = threads(missing.sum());
        let shares = if threads == 1 {
            1
        } else {
            threads * SHARES_PER_THREAD
        };
        let share = shown.len().div_ceil(shares).max(1);
        let threads = threads.min(shown.len().div_ceil(share));
        let shares = Mutex::new(decoders.chunks_mut(share).enumerate());
        let flaw: Mutex<Option<Flaw>> = Mutex::new(None);
        // Lets go of the lock before the share is decoded.
        let next = || locked(&shares).next();
        let work = || {
            while let Some((number, part)) = next() {
                let first = number * share;
                let columns = &shown[first..first + part.len()];
                if let Err(found) = self.decode(columns, first, part) {
                    let mut flaw = locked(&flaw);
                    if flaw.as_ref().is_none_or(|other| found.at < other.at) {
                        *flaw = Some(found);
                    }
                }
            }
        };
        thread::scope(|scope| {
            // Where no more threads are to be had, this one does all.
            let _ = (1..threads).try_for_each(|_| {
                let helper = thread::Builder::new().name("feast-rs-decode".to_owned());
                helper.spawn_scoped(scope, work).map(drop)
            });
            work();
        });
        match flaw.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(flaw) => Err(flaw.error),
            None => Ok(decoders),
        }
    }

    /// How many cells a column's decoder lacks; none if it is a join key's.
    fn missing(&self, column: usize, decoder: &ColumnDecoder) -> usize {
        match self.key(column) {
            Some(_) => 0,
            None => self.rows - decoder.len(),
        }
    }

    /// Decodes some columns, the first of which has the place `begin` among those shown.
    fn decode(
        &self,
        columns: &[usize],
        begin: usize,
        decoders: &mut [ColumnDecoder],
    ) -> std::result::Result<(), Flaw> {
        let columns = (begin..).zip(columns.iter().zip(decoders));
        let mut left: Vec<_> = columns
            .map(|(place, (&column, decoder))| (place, column, decoder))
            .filter(|(_, column, decoder)| self.missing(*column, decoder) > 0)
            .collect();
        let first = left.iter().map(|(_, _, decoder)| decoder.len()).min();
        let shown: Vec<usize> = left.iter().map(|&(_, column, _)| column).collect();
        for rows in self.blocks(&shown, first.unwrap_or(self.rows)) {
            for &mut (place, column, ref mut decoder) in &mut left {
                let start = rows.start.max(decoder.len());
                if start >= rows.end {
                    continue;
                }
                decoder
                    .extend(self.cells(column, start..rows.end))
                    .map_err(|cause| Flaw {
                        at: (rows.start, place),
                        error: self.cell_error(column, start + cause.index, &cause.reason()),
                    })?;
            }
        }
        Ok(())
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How many threads decode so many cells.
fn threads(cells: usize) -> usize {
    let wanted = (cells / CELLS_PER_THREAD).clamp(1, MOST_THREADS);
    if wanted == 1 {
        return 1;
    }
    wanted.min(thread::available_parallelism().map_or(1, usize::from))
}

#[cfg(test)]
mod tests {
    use arrow_array::ArrayRef;
    use arrow_array::cast::AsArray as _;
    use arrow_array::types::Int64Type;

    use crate::error::Result;
    use crate::event_time::EventTime;
    use crate::features::{AddedColumn, Features, Status};
    use crate::value::wire::tag;
    use crate::value::{ColumnDecoder, FeastType};

    const ROWS: usize = 4000;
    const COLUMNS: usize = 50;

    fn value(row: usize, column: usize) -> u8 {
        ((row + 3 * column) % 128) as u8
    }

    fn added(column: usize, broken: &[(usize, usize)]) -> AddedColumn {
        let cell = |row| {
            if broken.contains(&(row, column)) {
                [tag::STRING, 0]
            } else {
                [tag::INT64, value(row, column)]
            }
        };
        AddedColumn {
            name: format!("c{column}"),
            dtype: FeastType::Int64,
            cells: (0..ROWS).flat_map(cell).collect(),
            ends: (1..=ROWS).map(|end| 2 * end).collect(),
            statuses: vec![Status::Present; ROWS],
            times: vec![EventTime::default(); ROWS],
        }
    }

    fn features(broken: &[(usize, usize)]) -> Features {
        let columns = (0..COLUMNS).map(|column| added(column, broken));
        Features::from_columns(ROWS, columns.collect()).unwrap()
    }

    #[test]
    fn so_many_cells_are_for_several_threads() {
        assert_eq!(super::threads(super::CELLS_PER_THREAD), 1);
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        assert_eq!(super::threads(ROWS * COLUMNS), cores.min(4));
    }

    #[test]
    fn every_value_has_its_place() {
        let batch = features(&[]).record_batch(false, Vec::new()).unwrap();
        assert_eq!((batch.num_rows(), batch.num_columns()), (ROWS, COLUMNS));
        for column in 0..COLUMNS {
            let numbers = batch.column(column).as_primitive::<Int64Type>();
            let expected = (0..ROWS).map(|row| i64::from(value(row, column)));
            assert!(numbers.values().iter().copied().eq(expected), "{column}");
        }
    }

    /// The columns of which so many rows were decoded before, completed.
    fn completed(features: &Features, lengths: &[usize]) -> Result<Vec<ArrayRef>> {
        let begun = |(column, &length): (usize, &usize)| {
            let mut decoder = ColumnDecoder::new(features.dtype(column), ROWS);
            decoder.extend(features.cells(column, 0..length)).unwrap();
            decoder
        };
        let shown: Vec<usize> = (0..COLUMNS).collect();
        let decoders =
            features.complete(&shown, lengths.iter().enumerate().map(begun).collect())?;
        Ok(decoders.into_iter().map(ColumnDecoder::finish).collect())
    }

    #[test]
    fn what_was_begun_is_completed() {
        let mixed = [0, 1, 63, 64, 65, ROWS - 1, ROWS].into_iter().cycle();
        let mixed = mixed.take(COLUMNS).collect();
        let nothing = [0; COLUMNS];
        let expected = completed(&features(&[]), &nothing).unwrap();
        for lengths in [mixed, vec![ROWS; COLUMNS], vec![70; COLUMNS]] {
            assert_eq!(completed(&features(&[]), &lengths).unwrap(), expected);
        }
        // Of several wrong cells the same one is told of, whatever was begun.
        let broken = features(&[(71, 0), (70, 49), (200, 3)]);
        let error = |lengths: &[usize]| completed(&broken, lengths).unwrap_err().to_string();
        let first = error(&nothing);
        assert!(first.contains("row 71"), "{first}");
        for length in [1, 64, 66, 70] {
            assert_eq!(error(&[length; COLUMNS]), first, "{length}");
        }
    }

    #[test]
    fn the_same_wrong_cell_is_told_of() {
        let error = |broken: &[(usize, usize)]| {
            let outcome = features(broken).record_batch(false, Vec::new());
            outcome.unwrap_err().to_string()
        };
        let first = error(&[(70, 49)]);
        assert!(first.contains("column 'c49' of row 70"), "{first}");
        for _ in 0..20 {
            assert_eq!(error(&[(3999, 0), (70, 49), (128, 1), (71, 49)]), first);
        }
    }
}
