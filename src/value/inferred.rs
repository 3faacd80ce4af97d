//! Values whose stored type follows from the Arrow type, as Feast infers it from Python's value:
//! inside of structs, maps and nested lists.
//!
//! | Arrow | alone | in a list |
//! |---|---|---|
//! | int64, uint32, uint64 | `int64_val` | `int64_list_val` |
//! | narrower integers | `int64_val` | `int32_list_val` |
//! | double | `double_val` | `double_list_val` |
//! | float, half float | `double_val` | `float_list_val` |
//! | bools, texts, bytes, decimals, timestamps and dates | of that type | of that type |
//! | struct, map | `map_val` | `map_list_val` |
//! | list | as above | `list_val` |

use arrow_array::{Array, BooleanArray, Float64Array, Int64Array};
use arrow_schema::DataType;

use super::dtype::FeastType;
use super::field::Field;
use super::maps::{Maps, ScalarMaps};
use super::nested::Lists;
use super::source::{
    Parts, booleans, doubles, integers, is_decimal, is_list, is_text, is_time, not_from, plain,
    seconds,
};
use super::texts::{Texts, bytes, decimals, texts};
use super::wire_out;
use super::zoned::ZonedTimestamps;
use crate::error::Result;

/// A column, made ready to be written.
#[derive(Debug)]
pub(super) enum Inferred {
    Nulls,
    Bools(BooleanArray),
    Integers(Int64Array),
    Doubles(Float64Array),
    Seconds(Int64Array),
    Texts(Field, Texts),
    Lists(Lists),
    Maps(Field, Maps),
    ScalarMaps(ScalarMaps),
    ZonedTimestamps(ZonedTimestamps),
}

impl Inferred {
    /// The values of `array`, written by their own type.
    pub(super) fn new(array: &dyn Array) -> Result<Self> {
        let array = plain(array)?;
        Ok(match array.data_type() {
            DataType::Null => Self::Nulls,
            DataType::Boolean => Self::Bools(booleans(&array)?),
            DataType::Struct(_) | DataType::Map(..) => {
                Self::Maps(Field::Map, Maps::new(&array, &[])?)
            }
            data_type if data_type.is_integer() => Self::Integers(integers(&array)?),
            data_type if data_type.is_floating() => Self::Doubles(doubles(&array)?),
            data_type if is_time(data_type) => Self::Seconds(seconds(&array, Parts::Cut)?),
            data_type if is_text(data_type) => Self::Texts(Field::String, texts(&array)?),
            data_type if is_decimal(data_type) => Self::Texts(Field::Decimal, decimals(&array)?),
            data_type if is_list(data_type) => Self::Lists(Lists::new(&array, Parts::Cut)?),
            DataType::Binary
            | DataType::LargeBinary
            | DataType::BinaryView
            | DataType::FixedSizeBinary(_) => Self::Texts(Field::Bytes, bytes(&array)?),
            _ => return Err(not_from("a value", &array)),
        })
    }

    /// The values of `array` as `dtype`, which is of the few that have an Arrow type that tells
    /// them only beside their declaration; others by their own type.
    pub(super) fn declared(array: &dyn Array, dtype: &FeastType) -> Result<Self> {
        Ok(match dtype {
            FeastType::Map => Self::Maps(Field::Map, Maps::new(array, &[])?),
            FeastType::Struct(fields) => Self::Maps(Field::Struct, Maps::new(array, fields)?),
            FeastType::ScalarMap => Self::ScalarMaps(ScalarMaps::new(array)?),
            FeastType::ZonedTimestamp => Self::ZonedTimestamps(ZonedTimestamps::new(array)?),
            _ => Self::new(array)?,
        })
    }

    /// Appends the `Value` of one row; nothing if it is null.
    pub(super) fn write(&self, row: usize, out: &mut Vec<u8>) -> Result<()> {
        match self {
            Self::Bools(values) if values.is_valid(row) => {
                wire_out::integer(Field::Bool, values.value(row).into(), out);
            }
            Self::Integers(values) if values.is_valid(row) => {
                wire_out::integer(Field::Int64, values.value(row), out);
            }
            Self::Doubles(values) if values.is_valid(row) => {
                wire_out::double(values.value(row), out);
            }
            Self::Seconds(values) if values.is_valid(row) => {
                wire_out::integer(Field::UnixTimestamp, values.value(row), out);
            }
            Self::Texts(field, values) => {
                if let Some(text) = values.get(row) {
                    wire_out::bytes(*field, text, out);
                }
            }
            Self::Lists(lists) if lists.is_valid(row) => lists.write(row, out)?,
            Self::Maps(field, maps) if maps.is_valid(row) => {
                wire_out::message(*field as u32, out, |out| maps.write(row, out))?;
            }
            Self::ScalarMaps(maps) if maps.is_valid(row) => {
                wire_out::message(Field::ScalarMap as u32, out, |out| maps.write(row, out))?;
            }
            Self::ZonedTimestamps(values) => values.write(row, out)?,
            // Null.
            _ => {}
        }
        Ok(())
    }
}
