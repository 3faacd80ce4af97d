//! Maps, structs and scalar maps, written.

use std::ops::Range;

use arrow_array::cast::AsArray as _;
use arrow_array::{Array, ArrayRef, MapArray};
use arrow_buffer::NullBuffer;
use arrow_schema::DataType;

use super::dtype::FeastType;
use super::inferred::Inferred;
use super::source::{cannot, is_text, not_from, plain};
use super::tagged;
use super::texts::{Texts, texts};
use super::wire_out;
use crate::error::Result;

/// A column of maps with text keys, made ready to be written.
#[derive(Debug)]
pub(super) struct Maps {
    nulls: Option<NullBuffer>,
    source: Source,
}

#[derive(Debug)]
enum Source {
    Structs(Vec<(String, Inferred)>),
    Maps {
        entries: Entries,
        keys: Texts,
        values: Box<Values>,
    },
    /// JSON objects.
    Texts(Texts),
}

/// The values of entries, or their keys.
#[derive(Debug)]
enum Values {
    /// As JSON texts.
    Tagged(Texts),
    Inferred(Inferred),
}

impl Values {
    fn new(array: &dyn Array, tagged: bool) -> Result<Self> {
        Ok(if tagged {
            Self::Tagged(texts(array)?)
        } else {
            Self::Inferred(Inferred::new(array)?)
        })
    }

    fn write(&self, entry: usize, out: &mut Vec<u8>) -> Result<()> {
        match self {
            Self::Tagged(texts) => texts
                .get(entry)
                .map_or(Ok(()), |text| tagged::write(text, out)),
            Self::Inferred(values) => values.write(entry, out),
        }
    }
}

impl Maps {
    /// Maps of structs, maps with text keys, or JSON objects. `fields` are the declared fields of
    /// structs, where there are such.
    pub(super) fn new(array: &dyn Array, fields: &[(String, FeastType)]) -> Result<Self> {
        let array = plain(array)?;
        let source = match array.data_type() {
            DataType::Struct(_) => Source::Structs(children(&array, fields)?),
            DataType::Map(..) => {
                let (entries, keys, values) = Entries::new(array.as_map());
                let keys = texts(&keys)?;
                if keys.iter().any(|key| key.is_none()) {
                    return Err(cannot("a map's key is null"));
                }
                let values = plain(&values)?;
                Source::Maps {
                    entries,
                    keys,
                    values: Box::new(Values::new(&values, is_text(values.data_type()))?),
                }
            }
            data_type if is_text(data_type) => Source::Texts(texts(&array)?),
            _ => return Err(not_from("a map", &array)),
        };
        let nulls = array.nulls().cloned();
        Ok(Self { nulls, source })
    }

    pub(super) fn is_valid(&self, row: usize) -> bool {
        self.nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row))
    }

    /// Appends the body of a row's `Map`.
    pub(super) fn write(&self, row: usize, out: &mut Vec<u8>) -> Result<()> {
        match &self.source {
            Source::Structs(children) => {
                for (name, values) in children {
                    wire_out::map_entry(name.as_bytes(), out, |cell| values.write(row, cell))?;
                }
            }
            Source::Maps {
                entries,
                keys,
                values,
            } => {
                for entry in entries.range(row) {
                    wire_out::map_entry(keys.value(entry), out, |cell| values.write(entry, cell))?;
                }
            }
            Source::Texts(texts) => out.extend(tagged::object_body(texts.value(row))?),
        }
        Ok(())
    }
}

fn children(array: &ArrayRef, fields: &[(String, FeastType)]) -> Result<Vec<(String, Inferred)>> {
    let structs = array.as_struct();
    let columns = structs.fields().iter().zip(structs.columns());
    let columns = columns.map(|(field, column)| {
        let declared = fields.iter().find(|(name, _)| name == field.name());
        let values = match declared {
            // These two have an Arrow form that tells them only beside their declaration.
            Some((_, dtype @ (FeastType::ZonedTimestamp | FeastType::ScalarMap))) => {
                Inferred::declared(column, dtype)
            }
            _ => Inferred::new(column),
        };
        let named = |error: crate::error::Error| error.context(format!("field {}", field.name()));
        Ok((field.name().clone(), values.map_err(named)?))
    });
    columns.collect()
}

/// Where each row's entries are.
#[derive(Debug)]
struct Entries {
    offsets: arrow_buffer::OffsetBuffer<i32>,
}

impl Entries {
    /// The entries that the maps span, with their keys and their values.
    fn new(maps: &MapArray) -> (Self, ArrayRef, ArrayRef) {
        let offsets = maps.offsets().clone();
        let (first, last) = (offsets[0], offsets[maps.len()]);
        let span = |array: &ArrayRef| array.slice(first as usize, (last - first) as usize);
        let (keys, values) = (span(maps.keys()), span(maps.values()));
        (Self { offsets }, keys, values)
    }

    fn range(&self, row: usize) -> Range<usize> {
        let first = self.offsets[0];
        (self.offsets[row] - first) as usize..(self.offsets[row + 1] - first) as usize
    }
}

/// A column of scalar maps, made ready to be written.
#[derive(Debug)]
pub(super) struct ScalarMaps {
    nulls: Option<NullBuffer>,
    entries: Entries,
    keys: Box<Values>,
    values: Box<Values>,
}

impl ScalarMaps {
    /// Scalar maps of maps whose keys are JSON texts or scalars.
    pub(super) fn new(array: &dyn Array) -> Result<Self> {
        let array = plain(array)?;
        let DataType::Map(..) = array.data_type() else {
            return Err(not_from("a scalar map", &array));
        };
        let (entries, keys, values) = Entries::new(array.as_map());
        let (keys, values) = (plain(&keys)?, plain(&values)?);
        let tagged = is_text(keys.data_type());
        Ok(Self {
            nulls: array.nulls().cloned(),
            entries,
            keys: Box::new(Values::new(&keys, tagged)?),
            values: Box::new(Values::new(&values, tagged && is_text(values.data_type()))?),
        })
    }

    pub(super) fn is_valid(&self, row: usize) -> bool {
        self.nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row))
    }

    /// Appends the body of a row's `ScalarMap`.
    pub(super) fn write(&self, row: usize, out: &mut Vec<u8>) -> Result<()> {
        let (mut key, mut cell) = (Vec::new(), Vec::new());
        for entry in self.entries.range(row) {
            key.clear();
            cell.clear();
            self.keys.write(entry, &mut key)?;
            self.values.write(entry, &mut cell)?;
            tagged::scalar_map_entry(&key, &cell, out)?;
        }
        Ok(())
    }
}
