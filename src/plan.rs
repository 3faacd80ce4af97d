//! What a list of features means, compiled once per registry state and reused by every read.
//!
//! A plan decides all that does not depend on the rows: which views share an entity key and are
//! therefore read by one command, which hash fields are wanted, which column each becomes and of
//! what type. Reading then does no string work and no type dispatch per cell.

mod fields;
mod request;
mod shape;

pub use fields::{FieldTable, feature_field, timestamp_field};
pub use request::{GroupRows, ReadRequest, Run, whole_hashes};
pub use shape::{HashShape, Retrieval, ShapeSample};

use std::sync::Arc;
use std::time::Duration;

use crate::entity_key::{EntityKeyWriter, KeyVersion};
use crate::error::Result;
use crate::value::FeastType;

/// The features of the views that share one entity key, read by one command per entity.
#[derive(Debug)]
pub struct KeyGroup {
    /// Writes the entity key and the project's name: the key of the Redis hash.
    pub writer: EntityKeyWriter,
    /// For each join key given to the writer, the request's column that holds its values.
    pub key_columns: Vec<usize>,
    /// The join keys' names, in the order of `key_columns`; for messages.
    pub join_keys: Vec<String>,
    /// The wanted hash fields, each once.
    pub fields: FieldTable,
    /// The fields that have a default value, by index, each with its serialized `Value`.
    pub defaults: Vec<(usize, Vec<u8>)>,
    /// What was learned about these hashes.
    pub shape: Arc<HashShape>,
}

/// One column of the answer that comes from Redis.
#[derive(Debug)]
pub struct FeatureColumn {
    /// The column's name in the answer.
    pub name: String,
    /// The view's name as it is stored, with its version's suffix; for messages.
    pub view: String,
    /// The feature's name within the view; for messages.
    pub feature: String,
    /// The declared type.
    pub dtype: FeastType,
    /// The index of the [`KeyGroup`].
    pub group: usize,
    /// The index of the value's field in the group's table.
    pub field: usize,
    /// The index of the view's event timestamp in the group's table.
    pub timestamp: usize,
    /// The view's time to live; `None` for a view without one.
    pub ttl: Option<Duration>,
}

/// A compiled feature list.
#[derive(Debug, Default)]
pub struct Plan {
    key_names: Vec<String>,
    groups: Vec<KeyGroup>,
    columns: Vec<FeatureColumn>,
}

impl Plan {
    /// An empty plan, to be filled by [`add_group`](Self::add_group) and
    /// [`add_column`](Self::add_column). `key_names` name the join-key columns of the request.
    #[must_use]
    pub fn new(key_names: Vec<String>) -> Self {
        Self {
            key_names,
            ..Self::default()
        }
    }

    /// The names of the request's join-key columns.
    #[must_use]
    pub fn key_names(&self) -> &[String] {
        &self.key_names
    }

    /// Adds the entity key made of `join_keys`, whose values are in the request's `key_columns`;
    /// answers its index. A key that is there already is not added again.
    pub fn add_group(
        &mut self,
        join_keys: &[&str],
        key_columns: &[usize],
        version: KeyVersion,
        project: &str,
    ) -> Result<usize> {
        let known = self
            .groups
            .iter()
            .position(|group| group.join_keys == join_keys && group.key_columns == key_columns);
        if let Some(index) = known {
            return Ok(index);
        }
        self.groups.push(KeyGroup {
            writer: EntityKeyWriter::new(join_keys, version, project.as_bytes())?,
            key_columns: key_columns.to_vec(),
            join_keys: join_keys.iter().map(|&key| key.to_owned()).collect(),
            fields: FieldTable::default(),
            defaults: Vec::new(),
            shape: Arc::default(),
        });
        Ok(self.groups.len() - 1)
    }

    /// Adds the column of `feature` in the stored view `view`, read with the keys of `group`;
    /// answers its index.
    pub fn add_column(
        &mut self,
        group: usize,
        name: &str,
        view: &str,
        feature: &str,
        dtype: FeastType,
        ttl: Option<Duration>,
    ) -> usize {
        let fields = &mut self.groups[group].fields;
        let field = fields.add(&feature_field(view, feature));
        let timestamp = fields.add(&timestamp_field(view));
        self.columns.push(FeatureColumn {
            name: name.to_owned(),
            view: view.to_owned(),
            feature: feature.to_owned(),
            dtype,
            group,
            field,
            timestamp,
            ttl,
        });
        self.columns.len() - 1
    }

    /// Sets the serialized `Value` that stands in for a column's when its entity cannot be read.
    /// Columns of one field have one default, the first that is set.
    pub fn set_default(&mut self, column: usize, value: Vec<u8>) {
        let FeatureColumn { group, field, .. } = self.columns[column];
        let defaults = &mut self.groups[group].defaults;
        if !defaults.iter().any(|&(known, _)| known == field) {
            defaults.push((field, value));
        }
    }

    /// Takes over what plans that read the same fields of the same keys have learned: a plan is
    /// compiled again whenever the registry is refreshed, but the hashes stay what they are.
    #[must_use]
    pub fn with_known_shapes(mut self) -> Self {
        for group in &mut self.groups {
            group.shape = HashShape::known(&group.writer, &group.fields);
        }
        self
    }

    /// The entity keys to read.
    #[must_use]
    pub fn groups(&self) -> &[KeyGroup] {
        &self.groups
    }

    /// The columns of the answer, in order.
    #[must_use]
    pub fn columns(&self) -> &[FeatureColumn] {
        &self.columns
    }

    /// The views that `group` reads, for messages.
    #[must_use]
    pub fn views_of(&self, group: usize) -> Vec<&str> {
        let mut views: Vec<&str> = Vec::new();
        for column in self.columns.iter().filter(|column| column.group == group) {
            if !views.contains(&column.view.as_str()) {
                views.push(&column.view);
            }
        }
        views
    }
}
