//! Values whose stored type follows from the value, as Feast infers it from Python's: inside of
//! structs, maps and nested lists.

use arrow_array::cast::AsArray as _;
use arrow_array::{Array, ArrayRef, StructArray};
use arrow_schema::DataType;

use super::dtype::FeastType;
use super::encode::zoned_parts;
use super::field::Field;
use super::items::Items;
use super::source::{
    binaries, booleans, cannot, decimals, doubles, integers, lists, not_from, plain, seconds, texts,
};
use super::tagged;
use super::wire_out;
use crate::error::Result;

/// Appends the `Value` of one row as a map, struct, scalar map or zoned timestamp.
pub(super) fn write_as(
    dtype: &FeastType,
    array: &ArrayRef,
    row: usize,
    out: &mut Vec<u8>,
) -> Result<()> {
    if array.is_null(row) {
        return Ok(());
    }
    match dtype {
        FeastType::ZonedTimestamp => {
            if let Some((seconds, zone)) = zoned_parts(array, row)? {
                let body = wire_out::zoned_timestamp(seconds, &zone);
                wire_out::bytes(Field::ZonedTimestamp, &body, out);
            }
            Ok(())
        }
        FeastType::ScalarMap => {
            let body = scalar_map(array, row)?;
            wire_out::bytes(Field::ScalarMap, &body, out);
            Ok(())
        }
        FeastType::Struct(fields) => {
            wire_out::bytes(Field::Struct, &map(fields, array, row)?, out);
            Ok(())
        }
        _ => {
            wire_out::bytes(Field::Map, &map(&[], array, row)?, out);
            Ok(())
        }
    }
}

/// Appends one element of a list of maps, of structs, of lists or of values of no declared type
/// to the list's body.
pub(super) fn write_element(
    item: &FeastType,
    values: &ArrayRef,
    row: usize,
    body: &mut Vec<u8>,
) -> Result<()> {
    let element = match item {
        FeastType::Map | FeastType::Struct(_) => {
            if values.is_null(row) {
                return Err(cannot("a list of maps or structs cannot hold a null"));
            }
            let fields: &[_] = match item {
                FeastType::Struct(fields) => fields,
                _ => &[],
            };
            map(fields, values, row)?
        }
        FeastType::Array(_) | FeastType::Set(_) => {
            let mut cell = Vec::new();
            nested_list(values, row, &mut cell)?;
            cell
        }
        FeastType::Invalid => {
            let mut cell = Vec::new();
            let texts = texts(&values.slice(row, 1))?;
            if texts.is_valid(0) {
                tagged::write(texts.value(0), &mut cell)?;
            }
            cell
        }
        other => return Err(cannot(format!("Feast has no list of {other}"))),
    };
    wire_out::delimited(1, &element, body);
    Ok(())
}

/// An inner list of a nested list: nothing if it is null or empty, as Feast writes it, a
/// `list_val` if it holds lists itself, else the list that its elements' type tells.
fn nested_list(array: &ArrayRef, row: usize, out: &mut Vec<u8>) -> Result<()> {
    let list = lists(&array.slice(row, 1))?;
    if list.is_null(0) || list.value(0).is_empty() {
        return Ok(());
    }
    let items = plain(&list.value(0))?;
    if is_list(items.data_type()) {
        let mut body = Vec::new();
        for element in 0..items.len() {
            let mut cell = Vec::new();
            nested_list(&items, element, &mut cell)?;
            wire_out::delimited(1, &cell, &mut body);
        }
        wire_out::bytes(Field::List, &body, out);
        return Ok(());
    }
    write(&array.slice(row, 1), 0, out)
}

fn is_list(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::List(_)
            | DataType::LargeList(_)
            | DataType::FixedSizeList(..)
            | DataType::ListView(_)
            | DataType::LargeListView(_)
    )
}

/// Appends the `Value` of one row, its type by the array's.
pub(super) fn write(array: &dyn Array, row: usize, out: &mut Vec<u8>) -> Result<()> {
    if array.is_null(row) {
        return Ok(());
    }
    let one = plain(&array.slice(row, 1))?;
    if one.is_null(0) || one.data_type().is_null() {
        return Ok(());
    }
    match one.data_type() {
        DataType::Boolean => wire_out::integer(Field::Bool, booleans(&one)?.value(0), out),
        DataType::Timestamp(..) | DataType::Date32 | DataType::Date64 => {
            wire_out::integer(Field::UnixTimestamp, seconds(&one)?.value(0), out);
        }
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
            wire_out::bytes(Field::String, texts(&one)?.value(0).as_bytes(), out);
        }
        DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView
        | DataType::FixedSizeBinary(_) => {
            wire_out::bytes(Field::Bytes, binaries(&one)?.value(0), out);
        }
        DataType::Decimal32(..) | DataType::Decimal64(..) | DataType::Decimal128(..) => {
            wire_out::bytes(Field::Decimal, decimals(&one)?.value(0).as_bytes(), out);
        }
        DataType::Struct(_) | DataType::Map(..) => {
            wire_out::bytes(Field::Map, &map(&[], &one, 0)?, out);
        }
        data_type if data_type.is_integer() => {
            wire_out::integer(Field::Int64, integers(&one)?.value(0), out);
        }
        data_type if data_type.is_floating() => {
            wire_out::float(Field::Double, doubles(&one)?.value(0), out);
        }
        data_type if is_list(data_type) => flat_list(&one, out)?,
        _ => return Err(not_from("a value", &one)),
    }
    Ok(())
}

/// A list of scalars or of maps; `one` is a single row.
fn flat_list(one: &dyn Array, out: &mut Vec<u8>) -> Result<()> {
    let items = plain(&lists(one)?.value(0))?;
    let (field, item) = match items.data_type() {
        DataType::Boolean => (Field::BoolList, FeastType::Bool),
        DataType::Timestamp(..) | DataType::Date32 | DataType::Date64 => {
            (Field::UnixTimestampList, FeastType::UnixTimestamp)
        }
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
            (Field::StringList, FeastType::String)
        }
        DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView
        | DataType::FixedSizeBinary(_) => (Field::BytesList, FeastType::Bytes),
        DataType::Decimal32(..) | DataType::Decimal64(..) | DataType::Decimal128(..) => {
            (Field::DecimalList, FeastType::Decimal)
        }
        DataType::Struct(_) | DataType::Map(..) => (Field::MapList, FeastType::Map),
        data_type if data_type.is_integer() => (Field::Int64List, FeastType::Int64),
        data_type if data_type.is_floating() => (Field::DoubleList, FeastType::Float64),
        _ => return Err(not_from("a list inside of a value", &items)),
    };
    if items.null_count() > 0 {
        return Err(cannot("a list inside of a value cannot hold a null"));
    }
    let mut body = Vec::new();
    match Items::new(&items, &item)? {
        Some(scalars) => scalars.write_list(0..items.len(), &mut body),
        None => {
            for row in 0..items.len() {
                write_element(&item, &items, row, &mut body)?;
            }
        }
    }
    wire_out::bytes(field, &body, out);
    Ok(())
}

/// The body of a map: from a struct, a map with text keys, or a JSON object. `fields` are the
/// declared fields, where there are such.
fn map(fields: &[(String, FeastType)], array: &ArrayRef, row: usize) -> Result<Vec<u8>> {
    let one = plain(&array.slice(row, 1))?;
    match one.data_type() {
        DataType::Struct(_) => struct_body(fields, one.as_struct()),
        DataType::Map(..) => {
            let entries = one.as_map().value(0);
            let keys = texts(entries.column(0))?;
            let values = plain(entries.column(1))?;
            let json = is_text(values.data_type());
            let mut body = Vec::new();
            for (entry, key) in keys.iter().enumerate() {
                let key = key.ok_or_else(|| cannot("a map's key is null"))?;
                wire_out::map_entry(key, &entry_value(json, &values, entry)?, &mut body);
            }
            Ok(body)
        }
        data_type if is_text(data_type) => tagged::object_body(texts(&one)?.value(0)),
        _ => Err(not_from("a map", &one)),
    }
}

fn is_text(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View
    )
}

/// The cell of a map's value: a JSON text in maps of texts, else by its Arrow type.
fn entry_value(json: bool, values: &ArrayRef, entry: usize) -> Result<Vec<u8>> {
    let mut cell = Vec::new();
    if values.is_null(entry) {
        return Ok(cell);
    }
    if json {
        let text = texts(&values.slice(entry, 1))?;
        tagged::write(text.value(0), &mut cell)?;
    } else {
        write(values, entry, &mut cell)?;
    }
    Ok(cell)
}

fn struct_body(declared: &[(String, FeastType)], one: &StructArray) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    for (field, column) in one.fields().iter().zip(one.columns()) {
        let mut cell = Vec::new();
        let dtype = declared.iter().find(|(name, _)| name == field.name());
        match dtype.map(|(_, dtype)| dtype) {
            // These two have an Arrow form that tells them only beside their declaration.
            Some(dtype @ (FeastType::ZonedTimestamp | FeastType::ScalarMap)) => {
                write_as(dtype, column, 0, &mut cell)?;
            }
            _ => write(column, 0, &mut cell)?,
        }
        wire_out::map_entry(field.name(), &cell, &mut body);
    }
    Ok(body)
}

/// The body of a scalar map: from a map whose keys are JSON texts or scalars.
fn scalar_map(array: &ArrayRef, row: usize) -> Result<Vec<u8>> {
    let DataType::Map(..) = array.data_type() else {
        return Err(not_from("a scalar map", array));
    };
    let entries = array.as_map().value(row);
    let keys = plain(entries.column(0))?;
    let values = plain(entries.column(1))?;
    let json = is_text(keys.data_type());
    let mut body = Vec::new();
    for entry in 0..entries.len() {
        let mut cell = Vec::new();
        if json {
            tagged::write(texts(&keys.slice(entry, 1))?.value(0), &mut cell)?;
        } else {
            write(&keys, entry, &mut cell)?;
        }
        let value = entry_value(json && is_text(values.data_type()), &values, entry)?;
        tagged::scalar_map_entry(&cell, &value, &mut body)?;
    }
    Ok(body)
}
