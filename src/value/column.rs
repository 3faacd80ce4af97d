//! One growing Arrow column of a declared type.

use std::sync::Arc;

use arrow_array::builder::{BinaryBuilder, BooleanBuilder, GenericStringBuilder};
use arrow_array::types::{
    Float32Type, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType,
};
use arrow_array::{ArrayRef, OffsetSizeTrait, PrimitiveArray};
use arrow_buffer::NullBufferBuilder;

use super::cause::Cause;
use super::collection::{ListColumn, MapColumn, StructColumn};
use super::cursor::MAX_DEPTH;
use super::dtype::FeastType;
use super::field::Field;
use super::json;
use super::number::{Number, null_or_mismatch};
use super::wire::{NULL_TIMESTAMP, Value, merged_body, parse};
use super::zoned::ZonedColumn;

/// The rows collected so far, by the kind of their Arrow type.
#[derive(Debug)]
pub(super) enum Column {
    Bytes(BinaryBuilder),
    Text(TextColumn<i32>),
    LargeText(TextColumn<i64>),
    AnyText(TextColumn<i64>),
    Int32(Numbers<Int32Type>),
    Int64(Numbers<Int64Type>),
    Float32(Numbers<Float32Type>),
    Float64(Numbers<Float64Type>),
    Bool(BooleanBuilder),
    Timestamp(Numbers<TimestampMicrosecondType>),
    Zoned(Box<ZonedColumn>),
    List(Box<ListColumn>),
    Struct(Box<StructColumn>),
    Map(Box<MapColumn>),
}

impl Column {
    /// An empty column; `nested` if it is inside of a struct or a nested list.
    pub(super) fn new(dtype: &FeastType, rows: usize, nested: bool) -> Self {
        match dtype {
            FeastType::Bytes | FeastType::PdfBytes | FeastType::ImageBytes => {
                Self::Bytes(BinaryBuilder::with_capacity(rows, 0))
            }
            FeastType::String | FeastType::Uuid | FeastType::TimeUuid | FeastType::Decimal => {
                Self::Text(TextColumn::new(dtype, rows))
            }
            FeastType::Json => Self::LargeText(TextColumn::new(dtype, rows)),
            FeastType::Invalid => Self::AnyText(TextColumn::new(dtype, rows)),
            FeastType::Int32 => Self::Int32(Numbers::new(rows, nested)),
            FeastType::Int64 => Self::Int64(Numbers::new(rows, nested)),
            FeastType::Float32 => Self::Float32(Numbers::new(rows, nested)),
            FeastType::Float64 => Self::Float64(Numbers::new(rows, nested)),
            FeastType::Bool => Self::Bool(BooleanBuilder::with_capacity(rows)),
            FeastType::UnixTimestamp => Self::Timestamp(Numbers::new(rows, nested)),
            FeastType::ZonedTimestamp => Self::Zoned(Box::new(ZonedColumn::new(rows))),
            FeastType::Array(item) | FeastType::Set(item) => {
                Self::List(Box::new(ListColumn::new(item, rows, nested)))
            }
            FeastType::Struct(fields) if !fields.is_empty() => {
                Self::Struct(Box::new(StructColumn::new(fields, rows)))
            }
            FeastType::Struct(_) | FeastType::Map | FeastType::ScalarMap => {
                Self::Map(Box::new(MapColumn::new(dtype)))
            }
        }
    }

    /// Appends whole cells; an error comes with the index of its cell.
    pub(super) fn extend<'a>(
        &mut self,
        cells: impl Iterator<Item = Option<&'a [u8]>>,
    ) -> Result<(), (usize, Cause)> {
        match self {
            Self::Int32(numbers) => numbers.extend(cells),
            Self::Int64(numbers) => numbers.extend(cells),
            Self::Float32(numbers) => numbers.extend(cells),
            Self::Float64(numbers) => numbers.extend(cells),
            Self::Timestamp(numbers) => numbers.extend(cells),
            column => {
                for (index, cell) in cells.enumerate() {
                    column.push_cell(cell).map_err(|cause| (index, cause))?;
                }
                Ok(())
            }
        }
    }

    fn push_cell(&mut self, cell: Option<&[u8]>) -> Result<(), Cause> {
        match cell {
            None => self.push(Value::Null, &[], 0),
            Some(cell) => self.push(parse(cell)?, cell, MAX_DEPTH),
        }
    }

    /// Appends one value, read from `cell`, with `depth` levels left below it.
    pub(super) fn push(&mut self, value: Value<'_>, cell: &[u8], depth: u32) -> Result<(), Cause> {
        if let Value::Merged(field) = value {
            let body = merged_body(cell)?;
            return self.push(Value::Message { field, body: &body }, &[], depth);
        }
        match self {
            Self::Bytes(bytes) => push_bytes(bytes, value),
            Self::Text(text) => text.push(value),
            Self::LargeText(text) => text.push(value),
            Self::AnyText(text) => text.push_any(value, depth),
            Self::Int32(numbers) => numbers.push(value),
            Self::Int64(numbers) => numbers.push(value),
            Self::Float32(numbers) => numbers.push(value),
            Self::Float64(numbers) => numbers.push(value),
            Self::Timestamp(numbers) => numbers.push(value),
            Self::Bool(truths) => {
                truths.append_option(match value {
                    Value::Bool(truth) => Some(truth),
                    other => null_or_mismatch(other)?,
                });
                Ok(())
            }
            Self::Zoned(zoned) => zoned.push(value, depth),
            Self::List(list) => list.push(value, depth),
            Self::Struct(fields) => fields.push(value, depth),
            Self::Map(map) => map.push(value, depth),
        }
    }

    /// How many rows there are.
    pub(super) fn len(&self) -> usize {
        use arrow_array::builder::ArrayBuilder as _;
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Text(text) => text.builder.len(),
            Self::LargeText(text) | Self::AnyText(text) => text.builder.len(),
            Self::Int32(numbers) => numbers.values.len(),
            Self::Int64(numbers) => numbers.values.len(),
            Self::Float32(numbers) => numbers.values.len(),
            Self::Float64(numbers) => numbers.values.len(),
            Self::Timestamp(numbers) => numbers.values.len(),
            Self::Bool(truths) => truths.len(),
            Self::Zoned(zoned) => zoned.len(),
            Self::List(list) => list.len(),
            Self::Struct(fields) => fields.len(),
            Self::Map(map) => map.len(),
        }
    }

    pub(super) fn finish(self) -> ArrayRef {
        match self {
            Self::Bytes(mut bytes) => Arc::new(bytes.finish()),
            Self::Text(mut text) => Arc::new(text.builder.finish()),
            Self::LargeText(mut text) | Self::AnyText(mut text) => Arc::new(text.builder.finish()),
            Self::Int32(numbers) => Arc::new(numbers.finish()),
            Self::Int64(numbers) => Arc::new(numbers.finish()),
            Self::Float32(numbers) => Arc::new(numbers.finish()),
            Self::Float64(numbers) => Arc::new(numbers.finish()),
            Self::Timestamp(numbers) => Arc::new(numbers.finish().with_timezone("UTC")),
            Self::Bool(mut truths) => Arc::new(truths.finish()),
            Self::Zoned(zoned) => zoned.finish(),
            Self::List(list) => list.finish(),
            Self::Struct(fields) => fields.finish(),
            Self::Map(map) => map.finish(),
        }
    }
}

fn push_bytes(builder: &mut BinaryBuilder, value: Value<'_>) -> Result<(), Cause> {
    match value {
        Value::Bytes(bytes) => {
            room::<i32>(builder.values_slice().len(), bytes.len())?;
            builder.append_value(bytes);
        }
        other => builder.append_option(null_or_mismatch::<&[u8]>(other)?),
    }
    Ok(())
}

/// Whether `more` bytes or elements can follow `taken` under offsets of type `O`.
pub(super) fn room<O: OffsetSizeTrait>(taken: usize, more: usize) -> Result<(), Cause> {
    let total = taken.checked_add(more).and_then(O::from_usize);
    total.map(|_| ()).ok_or(Cause::TooLarge)
}

/// Numbers of one Arrow type. No null buffer is made before the first null.
#[derive(Debug)]
pub(super) struct Numbers<T: Number> {
    pub(super) values: Vec<T::Native>,
    pub(super) nulls: NullBufferBuilder,
    nested: bool,
}

impl<T: Number> Numbers<T> {
    fn new(rows: usize, nested: bool) -> Self {
        Self {
            values: Vec::with_capacity(rows),
            nulls: NullBufferBuilder::new(rows),
            nested,
        }
    }

    #[inline]
    fn extend<'a>(
        &mut self,
        cells: impl Iterator<Item = Option<&'a [u8]>>,
    ) -> Result<(), (usize, Cause)> {
        self.values.reserve(cells.size_hint().0);
        for (index, cell) in cells.enumerate() {
            if let Some(number) = cell.and_then(T::fast) {
                self.values.push(number);
                self.nulls.append_non_null();
            } else {
                self.push_slow(cell).map_err(|cause| (index, cause))?;
            }
        }
        Ok(())
    }

    #[inline(never)]
    fn push_slow(&mut self, cell: Option<&[u8]>) -> Result<(), Cause> {
        match cell {
            None | Some([]) => self.push(Value::Null),
            Some(cell) => self.push(parse(cell)?),
        }
    }

    fn push(&mut self, value: Value<'_>) -> Result<(), Cause> {
        let number = T::widen(value, self.nested)?;
        self.values.push(number.unwrap_or_default());
        self.nulls.append(number.is_some());
        Ok(())
    }

    fn finish(mut self) -> PrimitiveArray<T> {
        PrimitiveArray::new(self.values.into(), self.nulls.finish())
    }
}

/// Texts, of one of the types that are stored as texts.
#[derive(Debug)]
pub(super) struct TextColumn<O: OffsetSizeTrait> {
    builder: GenericStringBuilder<O>,
    dtype: FeastType,
}

impl<O: OffsetSizeTrait> TextColumn<O> {
    fn new(dtype: &FeastType, rows: usize) -> Self {
        Self {
            builder: GenericStringBuilder::with_capacity(rows, 0),
            dtype: dtype.clone(),
        }
    }

    fn push(&mut self, value: Value<'_>) -> Result<(), Cause> {
        let text = match value {
            Value::String(text) => text,
            Value::Text { field, text } if reads_as(field, &self.dtype) => text,
            other => {
                self.builder.append_option(null_or_mismatch::<&str>(other)?);
                return Ok(());
            }
        };
        self.append(text)
    }

    /// Any value, as its JSON text.
    fn push_any(&mut self, value: Value<'_>, depth: u32) -> Result<(), Cause> {
        if matches!(value, Value::Null | Value::UnixTimestamp(NULL_TIMESTAMP)) {
            self.builder.append_null();
            return Ok(());
        }
        let mut text = String::new();
        json::write(value, &[], depth, &mut text)?;
        self.append(&text)
    }

    fn append(&mut self, text: &str) -> Result<(), Cause> {
        room::<O>(self.builder.values_slice().len(), text.len())?;
        self.builder.append_value(text);
        Ok(())
    }
}

/// Whether a stored text of this field is a text of the declared type.
fn reads_as(stored: Field, declared: &FeastType) -> bool {
    match declared {
        FeastType::String => true,
        FeastType::Uuid | FeastType::TimeUuid => matches!(stored, Field::Uuid | Field::TimeUuid),
        FeastType::Decimal => stored == Field::Decimal,
        FeastType::Json => stored == Field::Json,
        _ => false,
    }
}
