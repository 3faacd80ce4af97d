//! Columns of lists, structs and maps.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::builder::StringBuilder;
use arrow_array::{ArrayRef, ListArray, MapArray, StructArray};
use arrow_buffer::{NullBufferBuilder, OffsetBuffer};
use arrow_schema::{Field as ArrowField, FieldRef, Fields};

use super::cause::Cause;
use super::check;
use super::column::{Column, room};
use super::dtype::{FeastType, map_entries as map_entries_field, map_entry_fields, struct_fields};
use super::elements::{elements, fixed_blocks, map_entries, scalar_map_entries, varints};
use super::field::{Field, Layout};
use super::json;
use super::number::null_or_mismatch;
use super::wire::{Value, parse_nested};

/// Row boundaries and validity of a list-like column.
#[derive(Debug)]
struct Rows {
    offsets: Vec<i32>,
    nulls: NullBufferBuilder,
}

impl Rows {
    fn new(rows: usize) -> Self {
        let mut offsets = Vec::with_capacity(rows + 1);
        offsets.push(0);
        Self {
            offsets,
            nulls: NullBufferBuilder::new(rows),
        }
    }

    fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Ends a row at `end` elements.
    fn close(&mut self, end: usize, valid: bool) -> Result<(), Cause> {
        let end = i32::try_from(end).map_err(|_| Cause::TooLarge)?;
        self.offsets.push(end);
        self.nulls.append(valid);
        Ok(())
    }
}

/// Lists and sets.
#[derive(Debug)]
pub(super) struct ListColumn {
    rows: Rows,
    item_field: FieldRef,
    item: Column,
}

impl ListColumn {
    pub(super) fn new(item: &FeastType, rows: usize, nested: bool) -> Self {
        let nested = nested || matches!(item, FeastType::Array(_) | FeastType::Set(_));
        Self {
            rows: Rows::new(rows),
            item_field: Arc::new(ArrowField::new_list_field(item.arrow_type(), true)),
            item: Column::new(item, 0, nested),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(super) fn push(&mut self, value: Value<'_>, depth: u32) -> Result<(), Cause> {
        let valid = match value {
            Value::Message { field, body } => {
                self.push_elements(field, body, depth)?;
                true
            }
            other => null_or_mismatch::<()>(other)?.is_some(),
        };
        self.rows.close(self.item.len(), valid)
    }

    fn push_elements(&mut self, list: Field, body: &[u8], depth: u32) -> Result<(), Cause> {
        // Numbers stored as declared are appended in runs, the rest value by value.
        match (&mut self.item, list.layout()) {
            (Column::Float64(numbers), Layout::DoubleList) => {
                fixed_blocks::<8>(body, depth, |block| {
                    let values = block.as_chunks().0.iter().copied().map(f64::from_le_bytes);
                    numbers.values.extend(values);
                    numbers.nulls.append_n_non_nulls(block.len() / 8);
                })?;
            }
            (Column::Float32(numbers), Layout::FloatList) => {
                fixed_blocks::<4>(body, depth, |block| {
                    let values = block.as_chunks().0.iter().copied().map(f32::from_le_bytes);
                    numbers.values.extend(values);
                    numbers.nulls.append_n_non_nulls(block.len() / 4);
                })?;
            }
            (Column::Int64(numbers), Layout::VarintList)
                if matches!(list, Field::Int64List | Field::Int64Set) =>
            {
                let before = numbers.values.len();
                varints(body, depth, |bits| {
                    numbers.values.push(bits as i64);
                    Ok(())
                })?;
                let count = numbers.values.len() - before;
                numbers.nulls.append_n_non_nulls(count);
            }
            (item, _) => elements(list, body, depth, |value, cell, below| {
                item.push(value, cell, below)
            })?,
        }
        Ok(())
    }

    pub(super) fn finish(mut self) -> ArrayRef {
        let offsets = OffsetBuffer::new(self.rows.offsets.into());
        let nulls = self.rows.nulls.finish();
        let items = self.item.finish();
        Arc::new(ListArray::new(self.item_field, offsets, items, nulls))
    }
}

/// Structs with declared fields.
#[derive(Debug)]
pub(super) struct StructColumn {
    names: HashMap<String, usize>,
    fields: Fields,
    columns: Vec<Column>,
    nulls: NullBufferBuilder,
}

impl StructColumn {
    pub(super) fn new(fields: &[(String, FeastType)], rows: usize) -> Self {
        let names = fields.iter().enumerate();
        Self {
            names: names
                .map(|(index, (name, _))| (name.clone(), index))
                .collect(),
            fields: struct_fields(fields),
            columns: fields
                .iter()
                .map(|(_, dtype)| Column::new(dtype, rows, true))
                .collect(),
            nulls: NullBufferBuilder::new(rows),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.nulls.len()
    }

    pub(super) fn push(&mut self, value: Value<'_>, depth: u32) -> Result<(), Cause> {
        let mut cells: Vec<Option<(Vec<u8>, u32)>> = vec![None; self.columns.len()];
        let valid = match value {
            Value::Message {
                field: Field::Struct | Field::Map,
                body,
            } => {
                map_entries(body, depth, |key, cell, below| {
                    check::value(cell, below + 1)?;
                    if let Some(&index) = self.names.get(key) {
                        cells[index] = Some((cell.to_vec(), below));
                    }
                    Ok(())
                })?;
                true
            }
            other => null_or_mismatch::<()>(other)?.is_some(),
        };
        for (column, cell) in self.columns.iter_mut().zip(&cells) {
            match cell {
                Some((cell, below)) => column.push(parse_nested(cell, *below)?, cell, *below)?,
                None => column.push(Value::Null, &[], 0)?,
            }
        }
        self.nulls.append(valid);
        Ok(())
    }

    pub(super) fn finish(mut self) -> ArrayRef {
        let columns = self.columns.into_iter().map(Column::finish).collect();
        Arc::new(StructArray::new(self.fields, columns, self.nulls.finish()))
    }
}

/// Maps and scalar maps, whose values are JSON texts.
#[derive(Debug)]
pub(super) struct MapColumn {
    rows: Rows,
    keys: StringBuilder,
    values: StringBuilder,
    scalar: bool,
}

impl MapColumn {
    pub(super) fn new(dtype: &FeastType) -> Self {
        Self {
            rows: Rows::new(0),
            keys: StringBuilder::new(),
            values: StringBuilder::new(),
            scalar: *dtype == FeastType::ScalarMap,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(super) fn push(&mut self, value: Value<'_>, depth: u32) -> Result<(), Cause> {
        let valid = match value {
            Value::Message {
                field: Field::ScalarMap,
                body,
            } if self.scalar => {
                self.push_scalar_map(body, depth)?;
                true
            }
            Value::Message {
                field: Field::Map | Field::Struct,
                body,
            } if !self.scalar => {
                for (key, text) in json::sorted_texts(body, depth)? {
                    self.append(key, text.as_deref())?;
                }
                true
            }
            other => null_or_mismatch::<()>(other)?.is_some(),
        };
        self.rows.close(self.keys.offsets_slice().len() - 1, valid)
    }

    fn push_scalar_map(&mut self, body: &[u8], depth: u32) -> Result<(), Cause> {
        // A key that comes again keeps its place and takes the later value, as in a dict.
        let mut entries: Vec<(String, Option<String>)> = Vec::new();
        let mut places: HashMap<String, usize> = HashMap::new();
        scalar_map_entries(body, depth, |key, cell, below| {
            let mut name = String::new();
            json::write(key, &[], 0, &mut name)?;
            let text = json::text_or_null(cell, below)?;
            if let Some(&place) = places.get(&name) {
                entries[place].1 = text;
            } else {
                places.insert(name.clone(), entries.len());
                entries.push((name, text));
            }
            Ok(())
        })?;
        for (key, text) in entries {
            self.append(&key, text.as_deref())?;
        }
        Ok(())
    }

    fn append(&mut self, key: &str, text: Option<&str>) -> Result<(), Cause> {
        room::<i32>(self.keys.values_slice().len(), key.len())?;
        room::<i32>(self.values.values_slice().len(), text.map_or(0, str::len))?;
        self.keys.append_value(key);
        self.values.append_option(text);
        Ok(())
    }

    pub(super) fn finish(mut self) -> ArrayRef {
        let columns: Vec<ArrayRef> =
            vec![Arc::new(self.keys.finish()), Arc::new(self.values.finish())];
        let entries = StructArray::new(map_entry_fields(), columns, None);
        let offsets = OffsetBuffer::new(self.rows.offsets.into());
        let nulls = self.rows.nulls.finish();
        Arc::new(MapArray::new(
            map_entries_field(),
            offsets,
            entries,
            nulls,
            false,
        ))
    }
}
