//! The answer to a read.
//!
//! [`Features`] owns the reply's bytes and the grid of cells over them. Nothing is decoded until it
//! is asked for, and then in the form asked for: Arrow ([`Features::record_batch`]), a float matrix
//! ([`Features::fill_matrix`]), Feast's response message ([`Features::message`]), or cell by cell
//! for whoever makes Python objects.

mod arriving;
mod blocks;
mod cells;
mod decoding;
mod early_arrays;
mod matrix;
mod message;
mod status;

pub(crate) use arriving::Watched;
pub use arriving::{Arriving, Onlooker};
pub use cells::Cells;
pub use early_arrays::EarlyArrays;
pub use matrix::MatrixFloat;
pub use status::Status;

use std::sync::Arc;
use std::time::SystemTime;

use arrow_array::{ArrayRef, Int64Array, RecordBatch, RecordBatchOptions};
use arrow_schema::{DataType, Field, Schema};

use crate::entity_key::{KeyColumn, KeyType};
use crate::error::{Error, ErrorKind, Result};
use crate::event_time::EventTime;
use crate::grid::{Grid, Unanswered};
use crate::plan::{FeatureColumn, GroupRows, Plan};
use crate::value::{ColumnDecoder, FeastType};

/// A column that does not come from the grid: request data, the output of an on-demand view, a
/// precomputed vector.
#[derive(Clone, Debug)]
pub struct AddedColumn {
    /// The column's name.
    pub name: String,
    /// The declared type.
    pub dtype: FeastType,
    /// Serialized `Value`s, end to end.
    pub cells: Vec<u8>,
    /// Where each ends.
    pub ends: Vec<usize>,
    /// One status a row.
    pub statuses: Vec<Status>,
    /// One event time a row.
    pub times: Vec<EventTime>,
}

/// A column in front of the features.
#[derive(Clone, Debug)]
pub enum Front {
    /// A join key, by its place in the request.
    Key(usize),
    /// A column that the request brought along.
    Column(AddedColumn),
}

/// Where an output column's values are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Source {
    Key(usize),
    Feature(usize),
    Added(usize),
}

/// The answer to one read: named columns of equally many rows.
#[derive(Debug)]
pub struct Features {
    plan: Arc<Plan>,
    rows: usize,
    keys: Vec<KeyColumn>,
    groups: Vec<GroupRows>,
    grid: Option<Grid>,
    /// Per feature column of the plan the status of each entity; only under `strict_status`.
    strict: Option<Vec<Vec<Status>>>,
    added: Vec<AddedColumn>,
    columns: Vec<Source>,
}

impl Features {
    /// The answer that `grid` holds, with the plan's columns; `keys` are the request's. With `strict`, missing and outdated rows get a status of their own and no values.
    #[must_use]
    pub fn new(
        plan: Arc<Plan>,
        rows: usize,
        keys: Vec<KeyColumn>,
        groups: Vec<GroupRows>,
        grid: Grid,
        strict: bool,
    ) -> Self {
        let columns = (0..plan.columns().len()).map(Source::Feature).collect();
        let mut features = Self {
            plan,
            rows,
            keys,
            groups,
            grid: Some(grid),
            strict: None,
            added: Vec::new(),
            columns,
        };
        if strict {
            features.strict = Some(features.strict_statuses(SystemTime::now()));
        }
        features
    }

    /// An answer of added columns alone.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] for a column that does not have `rows` values.
    pub fn from_columns(rows: usize, added: Vec<AddedColumn>) -> Result<Self> {
        let mut features = Self {
            plan: Arc::new(Plan::default()),
            rows,
            keys: Vec::new(),
            groups: Vec::new(),
            grid: None,
            strict: None,
            columns: Vec::new(),
            added: Vec::new(),
        };
        features.surround(Vec::new(), added)?;
        Ok(features)
    }

    /// Puts columns in front of and behind those that there are.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] for a column with more or fewer values than there are rows.
    pub fn surround(&mut self, front: Vec<Front>, after: Vec<AddedColumn>) -> Result<()> {
        let mut columns = Vec::with_capacity(front.len() + self.columns.len() + after.len());
        for column in front {
            columns.push(match column {
                Front::Key(key) => Source::Key(key),
                Front::Column(column) => self.add(column)?,
            });
        }
        columns.append(&mut self.columns);
        for column in after {
            columns.push(self.add(column)?);
        }
        self.columns = columns;
        Ok(())
    }

    fn add(&mut self, column: AddedColumn) -> Result<Source> {
        let (values, rows) = (column.ends.len(), self.rows);
        if values != rows {
            let message = format!("column {}: {values} values for {rows} rows", column.name);
            return Err(Error::new(ErrorKind::Argument, message));
        }
        self.added.push(column);
        Ok(Source::Added(self.added.len() - 1))
    }

    /// Keeps only the columns whose name `keep` accepts.
    pub fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        let mut columns = std::mem::take(&mut self.columns);
        columns.retain(|&source| keep(self.source_name(source)));
        self.columns = columns;
    }

    /// The entities that could not be read and have default values; `None` when all were read.
    #[must_use]
    pub fn unanswered(&self) -> Option<&Unanswered> {
        self.grid.as_ref().and_then(Grid::unanswered)
    }

    /// For each row whether its entity of one of these key groups of the plan could not be read.
    #[must_use]
    pub fn unanswered_rows(&self, groups: &[usize]) -> Vec<bool> {
        let Some(unanswered) = self.unanswered() else {
            return vec![false; self.rows];
        };
        let missing =
            |row, group: &usize| unanswered.contains(*group, self.groups[*group].entity(row));
        (0..self.rows)
            .map(|row| groups.iter().any(|group| missing(row, group)))
            .collect()
    }

    /// How many rows there are.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// How many columns there are.
    #[must_use]
    pub fn width(&self) -> usize {
        self.columns.len()
    }

    /// The name of a column.
    #[must_use]
    pub fn name(&self, column: usize) -> &str {
        self.source_name(self.columns[column])
    }

    /// The join key whose values a column shows; `None` for a column of features.
    #[must_use]
    pub fn key(&self, column: usize) -> Option<&KeyColumn> {
        match self.columns[column] {
            Source::Key(key) => Some(&self.keys[key]),
            _ => None,
        }
    }

    /// The column of the plan that a column shows, unless it shows a join key's or added values.
    #[must_use]
    pub fn plan_column(&self, column: usize) -> Option<usize> {
        match self.columns[column] {
            Source::Feature(feature) => Some(feature),
            _ => None,
        }
    }

    /// Whether every stored value is shown as it came: none was left out for its status, and no
    /// default value stands in.
    #[must_use]
    pub fn is_as_stored(&self) -> bool {
        self.strict.is_none() && self.unanswered().is_none()
    }

    /// The feature whose values a column shows, unless they are a join key's or were added.
    fn feature(&self, column: usize) -> Option<&FeatureColumn> {
        let index = self.plan_column(column)?;
        Some(&self.plan.columns()[index])
    }

    /// The declared type of a column.
    #[must_use]
    pub fn dtype(&self, column: usize) -> &FeastType {
        match self.columns[column] {
            Source::Key(key) => match self.keys[key].key_type() {
                KeyType::Bytes => &FeastType::Bytes,
                KeyType::String => &FeastType::String,
                KeyType::Int32 => &FeastType::Int32,
                KeyType::Int64 => &FeastType::Int64,
                KeyType::UnixTimestamp => &FeastType::UnixTimestamp,
            },
            Source::Feature(feature) => &self.plan.columns()[feature].dtype,
            Source::Added(added) => &self.added[added].dtype,
        }
    }

    /// The columns as an Arrow record batch in their declared types; of columns of one name the
    /// last one counts, in the place of the first, as in a Python dict. With `event_times`, each
    /// column is followed by `<name>__ts`, whole seconds since the epoch as int64. `begun` are the
    /// plan's columns as far as they were decoded before.
    ///
    /// # Errors
    /// [`ErrorKind::Decode`], naming view, feature and entity, for a cell that is malformed or
    /// does not fit the declared type.
    pub fn record_batch(
        &self,
        event_times: bool,
        begun: Vec<ColumnDecoder>,
    ) -> Result<RecordBatch> {
        let shown = self.distinct();
        let decoders = self.decoded(&shown, begun)?;
        let mut fields = Vec::with_capacity(shown.len());
        let mut arrays: Vec<ArrayRef> = Vec::with_capacity(shown.len());
        for (&column, decoder) in shown.iter().zip(decoders) {
            let array = match self.key(column) {
                Some(key) => key.to_arrow()?,
                None => decoder.finish(),
            };
            fields.push(Field::new(
                self.name(column),
                array.data_type().clone(),
                true,
            ));
            arrays.push(array);
            if event_times {
                let seconds = self.event_times(column)?;
                fields.push(Field::new(
                    format!("{}__ts", self.name(column)),
                    DataType::Int64,
                    true,
                ));
                arrays.push(Arc::new(Int64Array::from_iter_values(
                    seconds.iter().map(|time| time.seconds),
                )));
            }
        }
        RecordBatch::try_new_with_options(
            Arc::new(Schema::new(fields)),
            arrays,
            &RecordBatchOptions::new().with_row_count(Some(self.rows)),
        )
        .map_err(|cause| Error::new(ErrorKind::Decode, cause.to_string()))
    }

    /// The error of a cell: which feature of which entity, and what is wrong with it.
    #[must_use]
    pub fn cell_error(&self, column: usize, row: usize, cause: &dyn std::fmt::Display) -> Error {
        let what = match self.feature(column) {
            Some(FeatureColumn { view, feature, .. }) => format!("feature '{view}:{feature}'"),
            None => format!("column '{}'", self.name(column)),
        };
        Error::new(
            ErrorKind::Decode,
            format!("{what} of {}: {cause}", self.entity_text(column, row)),
        )
    }

    /// The columns that are shown when names must be unique.
    #[must_use]
    pub fn distinct(&self) -> Vec<usize> {
        let mut places = std::collections::HashMap::with_capacity(self.columns.len());
        let mut shown = Vec::with_capacity(self.columns.len());
        for column in 0..self.columns.len() {
            let place = *places.entry(self.name(column)).or_insert(shown.len());
            if place == shown.len() {
                shown.push(column);
            } else {
                shown[place] = column;
            }
        }
        shown
    }

    /// The entity of a row as `driver_id=1001`.
    fn entity_text(&self, column: usize, row: usize) -> String {
        let keys: Vec<usize> = match self.feature(column) {
            Some(feature) => self.plan.groups()[feature.group].key_columns.clone(),
            None => (0..self.keys.len()).collect(),
        };
        if keys.is_empty() {
            return format!("row {row}");
        }
        let texts: Vec<String> = keys
            .iter()
            .map(|&key| {
                format!(
                    "{}={}",
                    self.plan.key_names()[key],
                    self.keys[key].display(row)
                )
            })
            .collect();
        format!("entity {}", texts.join(", "))
    }

    fn source_name(&self, source: Source) -> &str {
        match source {
            Source::Key(key) => &self.plan.key_names()[key],
            Source::Feature(feature) => &self.plan.columns()[feature].name,
            Source::Added(added) => &self.added[added].name,
        }
    }
}
