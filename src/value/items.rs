//! The elements of one-level lists and sets, written.

use std::collections::HashSet;
use std::hash::Hash;
use std::ops::Range;

use arrow_array::{Array, BooleanArray, LargeBinaryArray};
use arrow_buffer::{ArrowNativeType, NullBuffer, ScalarBuffer, ToByteSlice as _};
use arrow_schema::DataType;

use super::dtype::FeastType;
use super::field::Field;
use super::source::{Parts, booleans, cannot, doubles, filled, floats, integers, seconds};
use super::spelled::jsons;
use super::texts::{Texts, bytes, decimals, texts, uuids};
use super::varint::{varint_len, write_varint};
use super::wire::NULL_TIMESTAMP;
use super::wire_out::{delimited, delimited_len, tag};
use crate::error::Result;

/// All elements of a list column, of one type. Where an element is null there is what Feast
/// stores for it: 0, "", b"", false, a float that is not a number, the null timestamp, or of JSON
/// `null`.
#[derive(Debug)]
pub(super) struct Items {
    values: Values,
    nulls: Option<NullBuffer>,
}

#[derive(Debug)]
enum Values {
    Varints(ScalarBuffer<i64>),
    Bools(BooleanArray),
    Doubles(ScalarBuffer<f64>),
    Floats(ScalarBuffer<f32>),
    Texts {
        values: Texts,
        default: &'static [u8],
    },
}

impl Items {
    /// The elements `values` as `dtype`; `None` if a list of `dtype` is not a list of scalars.
    pub(super) fn new(values: &dyn Array, dtype: &FeastType, parts: Parts) -> Result<Option<Self>> {
        let of_texts = |values: Texts| {
            let nulls = values.nulls().cloned();
            let default: &[u8] = match dtype {
                FeastType::Json => b"null",
                _ => b"",
            };
            (Values::Texts { values, default }, nulls)
        };
        // Elements of no type but null are 0, also as floats.
        let missing = match values.data_type() {
            DataType::Null => 0.0,
            _ => f64::NAN,
        };
        let (values, nulls) = match dtype {
            FeastType::Int32 | FeastType::Int64 => {
                let values = integers(values)?;
                if *dtype == FeastType::Int32 {
                    check_int32(values.iter().flatten())?;
                }
                (Values::Varints(filled(&values, 0)), values.nulls().cloned())
            }
            FeastType::UnixTimestamp => {
                let values = seconds(values, parts)?;
                let filled = filled(&values, NULL_TIMESTAMP);
                // The null timestamp is a value, which a set can hold.
                (Values::Varints(filled), None)
            }
            FeastType::Bool => {
                let values = booleans(values)?;
                let nulls = values.nulls().cloned();
                (Values::Bools(values), nulls)
            }
            FeastType::Float64 => (Values::Doubles(filled(&doubles(values)?, missing)), None),
            FeastType::Float32 => (
                Values::Floats(filled(&floats(values)?, missing as f32)),
                None,
            ),
            FeastType::String => of_texts(texts(values)?),
            FeastType::Uuid | FeastType::TimeUuid => of_texts(uuids(values)?),
            FeastType::Decimal => of_texts(decimals(values)?),
            FeastType::Json => of_texts(jsons(values)?),
            FeastType::Bytes => of_texts(bytes(values)?),
            _ => return Ok(None),
        };
        let nulls = nulls.filter(|nulls| nulls.null_count() > 0);
        Ok(Some(Self { values, nulls }))
    }

    /// How many bytes all of them take, about.
    pub(super) fn size(&self) -> usize {
        match &self.values {
            Values::Varints(values) => values.len() * 5,
            Values::Bools(values) => values.len(),
            Values::Doubles(values) => values.len() * 8,
            Values::Floats(values) => values.len() * 4,
            Values::Texts { values, .. } => values.len() * 2 + values.size(),
        }
    }

    /// Appends a `Value` with the list of these elements.
    pub(super) fn write_list(&self, field: Field, range: Range<usize>, out: &mut Vec<u8>) {
        match &self.values {
            Values::Varints(values) => {
                let values = &values[range];
                let length = values.iter().map(|&value| varint_len(value as u64)).sum();
                packed(field, length, out, |out| {
                    for &value in values {
                        write_varint(out, value as u64);
                    }
                });
            }
            Values::Bools(values) => packed(field, range.len(), out, |out| {
                out.extend(range.map(|row| u8::from(values.is_valid(row) && values.value(row))));
            }),
            Values::Doubles(values) => fixed(field, &values[range], f64::to_le_bytes, out),
            Values::Floats(values) => fixed(field, &values[range], f32::to_le_bytes, out),
            Values::Texts { values, default } => {
                let text = |row| values.get(row).unwrap_or(default);
                let lengths = range.clone().map(|row| delimited_len(text(row).len()));
                header(field, lengths.sum(), out);
                for row in range {
                    delimited(1, text(row), out);
                }
            }
        }
    }

    /// Appends a `Value` with the set of these elements, each written where it first comes.
    pub(super) fn write_set(
        &self,
        field: Field,
        range: Range<usize>,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        if let Some(nulls) = &self.nulls
            && range.clone().any(|row| nulls.is_null(row))
        {
            return Err(cannot("a set cannot hold a null"));
        }
        let values = match &self.values {
            Values::Varints(values) => {
                Values::Varints(first_of_each(&values[range], |&number| Some(number)))
            }
            Values::Bools(values) => {
                let mut bools: Vec<bool> = range.map(|row| values.value(row)).collect();
                bools.dedup();
                bools.truncate(2);
                Values::Bools(bools.into())
            }
            // As Python's set has it: 0.0 is -0.0, and no NaN is another.
            Values::Doubles(values) => Values::Doubles(first_of_each(&values[range], |&number| {
                (!number.is_nan()).then_some((number + 0.0).to_bits())
            })),
            Values::Floats(values) => Values::Floats(first_of_each(&values[range], |&number| {
                (!number.is_nan()).then_some((number + 0.0).to_bits())
            })),
            Values::Texts { values, default } => {
                let mut seen = HashSet::with_capacity(range.len());
                let texts = range.map(|row| values.value(row));
                let texts = texts.filter(|text| seen.insert(*text));
                let values = bytes(&LargeBinaryArray::from_iter_values(texts))?;
                Values::Texts { values, default }
            }
        };
        let set = Self {
            values,
            nulls: None,
        };
        set.write_list(field, 0..set.len(), out);
        Ok(())
    }

    fn len(&self) -> usize {
        match &self.values {
            Values::Varints(values) => values.len(),
            Values::Bools(values) => values.len(),
            Values::Doubles(values) => values.len(),
            Values::Floats(values) => values.len(),
            Values::Texts { values, .. } => values.len(),
        }
    }
}

/// Fails for a number outside of 32 bits.
pub(super) fn check_int32(mut values: impl Iterator<Item = i64>) -> Result<()> {
    match values.find(|&number| i32::try_from(number).is_err()) {
        Some(number) => Err(cannot(format!("{number} does not fit in Int32"))),
        None => Ok(()),
    }
}

/// Appends the field and the length of a `Value` that is a list.
fn header(field: Field, length: usize, out: &mut Vec<u8>) {
    tag(field as u32, 2, out);
    write_varint(out, length as u64);
}

/// Appends a `Value` that is a list whose elements are packed into `length` bytes.
fn packed(field: Field, length: usize, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    if length == 0 {
        header(field, 0, out);
        return;
    }
    header(field, delimited_len(length), out);
    header_of_packed(length, out);
    write(out);
}

fn header_of_packed(length: usize, out: &mut Vec<u8>) {
    tag(1, 2, out);
    write_varint(out, length as u64);
}

/// Appends a `Value` that is a list of numbers of fixed width.
fn fixed<T: ArrowNativeType, const WIDTH: usize>(
    field: Field,
    values: &[T],
    bytes: impl Fn(T) -> [u8; WIDTH],
    out: &mut Vec<u8>,
) {
    packed(field, values.len() * WIDTH, out, |out| {
        if cfg!(target_endian = "little") {
            out.extend_from_slice(values.to_byte_slice());
        } else {
            out.extend(values.iter().flat_map(|&value| bytes(value)));
        }
    });
}

/// The values whose key is new, and those without one.
fn first_of_each<T: ArrowNativeType, K: Eq + Hash>(
    values: &[T],
    key: impl Fn(&T) -> Option<K>,
) -> ScalarBuffer<T> {
    let mut seen = HashSet::with_capacity(values.len());
    let kept = values
        .iter()
        .filter(|value| key(value).is_none_or(|key| seen.insert(key)));
    kept.copied().collect()
}
