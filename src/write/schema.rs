//! Record batches into rows.

use std::collections::HashSet;
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, BinaryArray, RecordBatch};

use super::rows::{FieldName, Rows, Target};
use crate::entity_key::{EntityKeyWriter, KeyColumn, KeyType};
use crate::error::{Error, ErrorKind, Result};
use crate::event_time::{EventTime, event_micros};
use crate::value::{FeastType, encode, is_null_cell};

/// Rows that are encoded at once at the most: their columns' cells stay in the cache until the rows
/// have taken theirs.
const BLOCK_ROWS: usize = 4096;
/// Rows that are encoded to begin with, which tell how long the next ones are.
const FIRST_ROWS: usize = 512;
/// Bytes of cells that make a batch large enough to be sent.
const BLOCK_BYTES: usize = 2 << 20;

/// Where the rows' event times come from.
#[derive(Clone, Debug)]
pub enum EventTimes {
    /// A column of this name.
    Column(String),
    /// All rows are of this time.
    All(EventTime),
}

/// A column that holds a join key.
#[derive(Clone, Debug)]
pub struct KeySource {
    /// The column's name.
    pub column: String,
    /// The join key's name.
    pub join_key: String,
    /// The declared type; the column's nearest one without it.
    pub declared: Option<KeyType>,
}

/// A column that holds a feature.
#[derive(Clone, Debug)]
pub struct FeatureSource {
    /// The column's and the feature's name.
    pub name: String,
    /// The declared type.
    pub dtype: FeastType,
}

/// What rows lack and are written all the same, over what is stored of the rest.
#[derive(Clone, Copy, Debug, Default)]
pub struct Partial {
    /// Columns of features may be missing.
    pub columns: bool,
    /// Null features are left as they are stored.
    pub nulls: bool,
}

/// Which columns of a record batch make the rows of a feature view.
#[derive(Debug)]
pub struct RowSchema {
    target: Arc<Target>,
    keys: Vec<KeySource>,
    writer: EntityKeyWriter,
    times: EventTimes,
    features: Vec<(FeatureSource, FieldName)>,
    /// Whether each feature has a hash field of its own.
    distinct: bool,
    partial: Partial,
}

impl RowSchema {
    /// # Errors
    /// [`ErrorKind::EntityKey`] when a join key is named twice.
    pub fn new(
        target: Target,
        keys: Vec<KeySource>,
        times: EventTimes,
        features: Vec<FeatureSource>,
        partial: Partial,
    ) -> Result<Self> {
        let names: Vec<&str> = keys.iter().map(|key| key.join_key.as_str()).collect();
        let writer = EntityKeyWriter::new(&names, target.version, target.project.as_bytes())?;
        let features: Vec<_> = features
            .into_iter()
            .map(|feature| {
                let field = FieldName::new(&target.view, &feature.name);
                (feature, field)
            })
            .collect();
        let fields: HashSet<FieldName> = features.iter().map(|(_, field)| *field).collect();
        Ok(Self {
            target: Arc::new(target),
            keys,
            writer,
            times,
            distinct: fields.len() == features.len(),
            features,
            partial,
        })
    }

    /// Encodes a record batch block by block, and hands each to `sink`.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] for a column that is missing, [`ErrorKind::EntityKey`] and
    /// [`ErrorKind::Encode`] for a value that does not fit, with the view and the column.
    pub fn encode(
        &self,
        batch: &RecordBatch,
        mut sink: impl FnMut(Rows) -> Result<()>,
    ) -> Result<()> {
        let columns = self.bind(batch)?;
        let mut start = 0;
        let mut block = FIRST_ROWS;
        while start < batch.num_rows() {
            let length = block.min(batch.num_rows() - start);
            let rows = columns.rows(self, start, length)?;
            let row_bytes = rows.cell_bytes() / length + 1;
            block = (BLOCK_BYTES / row_bytes).clamp(16, BLOCK_ROWS);
            start += length;
            sink(rows)?;
        }
        Ok(())
    }

    fn bind(&self, batch: &RecordBatch) -> Result<BoundColumns<'_>> {
        let column = |name: &str, what: &str| {
            batch.column_by_name(name).cloned().ok_or_else(|| {
                Error::new(
                    ErrorKind::Argument,
                    format!(
                        "feature view '{}' has {what} '{name}', which is not a column of the data \
                         ({})",
                        self.target.view,
                        batch
                            .schema()
                            .fields()
                            .iter()
                            .map(|field| field.name().as_str())
                            .collect::<Vec<_>>()
                            .join(", ")
                    ),
                )
            })
        };
        let keys = self
            .keys
            .iter()
            .map(|key| column(&key.column, "the join key"))
            .collect::<Result<_>>()?;
        let times = match &self.times {
            EventTimes::Column(name) => {
                BoundTimes::Column(name, column(name, "the event timestamp")?)
            }
            EventTimes::All(time) => BoundTimes::All(*time),
        };
        let mut features = Vec::with_capacity(self.features.len());
        for (feature, field) in &self.features {
            if self.partial.columns && batch.column_by_name(&feature.name).is_none() {
                continue;
            }
            features.push((feature, *field, column(&feature.name, "the feature")?));
        }
        Ok(BoundColumns {
            keys,
            times,
            features,
        })
    }

    fn located(&self, column: &str, error: Error) -> Error {
        error.context(format_args!(
            "feature view '{}', column '{column}'",
            self.target.view
        ))
    }
}

enum BoundTimes<'s> {
    Column(&'s str, ArrayRef),
    All(EventTime),
}

/// The columns of one record batch.
struct BoundColumns<'s> {
    keys: Vec<ArrayRef>,
    times: BoundTimes<'s>,
    features: Vec<(&'s FeatureSource, FieldName, ArrayRef)>,
}

impl BoundColumns<'_> {
    fn rows(&self, schema: &RowSchema, start: usize, length: usize) -> Result<Rows> {
        let keys = schema
            .keys
            .iter()
            .zip(&self.keys)
            .map(|(key, array)| {
                KeyColumn::from_array(&array.slice(start, length), key.declared)
                    // Once more with all rows, for the row's number among them.
                    .or_else(|error| KeyColumn::from_array(array, key.declared).and(Err(error)))
                    .map_err(|error| schema.located(&key.column, error))
            })
            .collect::<Result<Vec<_>>>()?;
        let keys: Vec<&KeyColumn> = keys.iter().collect();
        let times = self.times(schema, start, length)?;
        let cells = self
            .features
            .iter()
            .map(|(feature, field, array)| {
                let cells = encode(&array.slice(start, length), &feature.dtype)
                    .or_else(|error| encode(array, &feature.dtype).and(Err(error)))
                    .map_err(|error| schema.located(&feature.name, error))?;
                Ok((*field, cells))
            })
            .collect::<Result<Vec<(FieldName, BinaryArray)>>>()?;
        let bytes: usize = cells
            .iter()
            .map(|(_, cells)| cells.values().len() + 18 * length)
            .sum();
        let mut rows = Rows::with_capacity(schema.target.clone(), length, bytes / length)
            .of_distinct_fields(schema.distinct);
        for (row, time) in times.into_iter().enumerate() {
            rows.begin_row(&schema.writer, &keys, row, time);
            for (field, cells) in &cells {
                let cell = cells.value(row);
                if !(schema.partial.nulls && is_null_cell(cell)) {
                    rows.cell(field, cell);
                }
            }
            rows.end_row();
        }
        Ok(rows)
    }

    fn times(&self, schema: &RowSchema, start: usize, length: usize) -> Result<Vec<EventTime>> {
        let (name, array) = match &self.times {
            BoundTimes::All(time) => return Ok(vec![*time; length]),
            BoundTimes::Column(name, array) => (name, array.slice(start, length)),
        };
        let micros = event_micros(&array).map_err(|error| schema.located(name, error))?;
        if let Some(row) = (0..length).find(|&row| micros.is_null(row)) {
            let what = format!("the event timestamp of row {} is null", start + row);
            return Err(schema.located(name, Error::new(ErrorKind::Encode, what)));
        }
        let times = micros.values().iter();
        Ok(times
            .map(|&micros| EventTime::from_micros(micros))
            .collect())
    }
}
