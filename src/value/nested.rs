//! Lists of lists and of maps, and lists inside of values.

use std::ops::Range;

use arrow_array::{Array, ArrayRef, LargeListArray};
use arrow_schema::DataType;

use super::dtype::FeastType;
use super::field::Field;
use super::items::Items;
use super::maps::Maps;
use super::source::{Parts, cannot, is_decimal, is_list, is_text, is_time, lists, not_from, plain};
use super::tagged;
use super::texts::{Texts, texts};
use super::wire_out::message;
use crate::error::{Error, Result};

/// A column of lists, made ready to be written.
#[derive(Debug)]
pub(super) struct Lists {
    lists: LargeListArray,
    elements: Elements,
}

#[derive(Debug)]
enum Elements {
    Nulls,
    Scalars(Field, Items),
    Maps(Maps),
    Lists(Box<Lists>),
    /// Values of no declared type, as JSON texts.
    Tagged(Texts),
}

/// The elements that the lists span, so that a slice is not judged by the rest.
pub(super) fn elements(lists: &LargeListArray) -> ArrayRef {
    let offsets = lists.value_offsets();
    let (first, last) = (offsets[0], offsets[lists.len()]);
    lists
        .values()
        .slice(first as usize, (last - first) as usize)
}

/// Which of the [`elements`] a row has.
#[inline]
pub(super) fn range(lists: &LargeListArray, row: usize) -> Range<usize> {
    let offsets = lists.value_offsets();
    (offsets[row] - offsets[0]) as usize..(offsets[row + 1] - offsets[0]) as usize
}

impl Lists {
    /// Lists of what the Arrow type tells.
    pub(super) fn new(array: &dyn Array, parts: Parts) -> Result<Self> {
        let lists = lists(array)?;
        let values = plain(&elements(&lists))?;
        let scalars = |field, dtype| match Items::new(&values, &dtype, parts)? {
            Some(items) => Ok(Elements::Scalars(field, items)),
            None => Err(not_from("a list inside of a value", &values)),
        };
        let elements = match values.data_type() {
            DataType::Null => Elements::Nulls,
            DataType::Boolean => scalars(Field::BoolList, FeastType::Bool)?,
            DataType::Int64 | DataType::UInt32 | DataType::UInt64 => {
                scalars(Field::Int64List, FeastType::Int64)?
            }
            DataType::Float64 => scalars(Field::DoubleList, FeastType::Float64)?,
            DataType::Binary
            | DataType::LargeBinary
            | DataType::BinaryView
            | DataType::FixedSizeBinary(_) => scalars(Field::BytesList, FeastType::Bytes)?,
            DataType::Struct(_) | DataType::Map(..) => Elements::Maps(Maps::new(&values, &[])?),
            data_type if data_type.is_integer() => scalars(Field::Int32List, FeastType::Int32)?,
            data_type if data_type.is_floating() => scalars(Field::FloatList, FeastType::Float32)?,
            data_type if is_time(data_type) => {
                scalars(Field::UnixTimestampList, FeastType::UnixTimestamp)?
            }
            data_type if is_text(data_type) => scalars(Field::StringList, FeastType::String)?,
            data_type if is_decimal(data_type) => scalars(Field::DecimalList, FeastType::Decimal)?,
            data_type if is_list(data_type) => {
                Elements::Lists(Box::new(Self::new(&values, parts)?))
            }
            _ => return Err(not_from("a list inside of a value", &values)),
        };
        Ok(Self { lists, elements })
    }

    /// Lists of `item`, which is no scalar.
    pub(super) fn declared(array: &dyn Array, item: &FeastType) -> Result<Self> {
        let lists = lists(array)?;
        let values = elements(&lists);
        let elements = match item {
            FeastType::Map => Elements::Maps(Maps::new(&values, &[])?),
            FeastType::Struct(fields) => Elements::Maps(Maps::new(&values, fields)?),
            FeastType::Array(_) | FeastType::Set(_) => {
                Elements::Lists(Box::new(Self::new(&values, Parts::Floor)?))
            }
            FeastType::Invalid => Elements::Tagged(texts(&values)?),
            other => return Err(cannot(format!("Feast has no list of {other}"))),
        };
        Ok(Self { lists, elements })
    }

    pub(super) fn is_valid(&self, row: usize) -> bool {
        self.lists.is_valid(row)
    }

    fn range(&self, row: usize) -> Range<usize> {
        range(&self.lists, row)
    }

    /// Appends the `Value` of a row that is not null.
    pub(super) fn write(&self, row: usize, out: &mut Vec<u8>) -> Result<()> {
        match &self.elements {
            Elements::Nulls if self.range(row).is_empty() => Ok(()),
            Elements::Nulls => Err(cannot("a list of nulls has no type in Feast")),
            Elements::Scalars(field, items) => {
                items.write_list(*field, self.range(row), out);
                Ok(())
            }
            Elements::Maps(_) => self.write_as(Field::MapList, row, out),
            Elements::Lists(_) | Elements::Tagged(_) => self.write_as(Field::List, row, out),
        }
    }

    /// Appends a row that is not null as a `Value` of a field that holds messages.
    pub(super) fn write_as(&self, field: Field, row: usize, out: &mut Vec<u8>) -> Result<()> {
        message(field as u32, out, |out| {
            for element in self.range(row) {
                message(1, out, |out| self.write_element(element, out))?;
            }
            Ok::<_, Error>(())
        })
    }

    fn write_element(&self, element: usize, out: &mut Vec<u8>) -> Result<()> {
        match &self.elements {
            Elements::Maps(maps) if maps.is_valid(element) => maps.write(element, out),
            Elements::Maps(_) => Err(cannot("a list of maps or structs cannot hold a null")),
            // An inner list that is empty is written as null, as Feast does.
            Elements::Lists(lists)
                if lists.is_valid(element) && !lists.range(element).is_empty() =>
            {
                lists.write(element, out)
            }
            Elements::Tagged(texts) => match texts.get(element) {
                Some(text) => tagged::write(text, out),
                None => Ok(()),
            },
            Elements::Lists(_) | Elements::Nulls | Elements::Scalars(..) => Ok(()),
        }
    }
}
