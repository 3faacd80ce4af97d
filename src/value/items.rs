//! The elements of one-level lists and sets, written.

use std::collections::HashSet;
use std::ops::Range;

use arrow_array::{Array, Float64Array, Int64Array, LargeBinaryArray, LargeStringArray};

use super::dtype::FeastType;
use super::source::{
    binaries, booleans, cannot, decimals, doubles, integers, seconds, texts, uuids,
};
use super::varint::write_varint;
use super::wire::NULL_TIMESTAMP;
use super::wire_out::delimited;
use crate::error::Result;

/// All elements of a list column, of one type.
pub(super) enum Items {
    Varints {
        values: Int64Array,
        default: i64,
    },
    Doubles(Float64Array),
    Floats(Float64Array),
    Texts {
        values: LargeStringArray,
        default: &'static str,
    },
    Binaries(LargeBinaryArray),
}

impl Items {
    /// The elements `values` as `dtype`; `None` if a list of `dtype` is not a list of scalars.
    pub(super) fn new(values: &dyn Array, dtype: &FeastType) -> Result<Option<Self>> {
        let text = |values| Self::Texts {
            values,
            default: "",
        };
        Ok(Some(match dtype {
            FeastType::Int32 => {
                let values = integers(values)?;
                if let Some(number) = values.iter().flatten().find(|&n| i32::try_from(n).is_err()) {
                    return Err(cannot(format!("{number} does not fit in Int32")));
                }
                Self::Varints { values, default: 0 }
            }
            FeastType::Int64 => Self::Varints {
                values: integers(values)?,
                default: 0,
            },
            FeastType::Bool => Self::Varints {
                values: booleans(values)?,
                default: 0,
            },
            FeastType::UnixTimestamp => Self::Varints {
                values: seconds(values)?,
                default: NULL_TIMESTAMP,
            },
            FeastType::Float64 => Self::Doubles(doubles(values)?),
            FeastType::Float32 => Self::Floats(doubles(values)?),
            FeastType::String => text(texts(values)?),
            FeastType::Uuid | FeastType::TimeUuid => text(uuids(values)?),
            FeastType::Decimal => text(decimals(values)?),
            FeastType::Json => {
                let values = texts(values)?;
                values.iter().flatten().try_for_each(check_json)?;
                Self::Texts {
                    values,
                    default: "null",
                }
            }
            FeastType::Bytes => Self::Binaries(binaries(values)?),
            _ => return Ok(None),
        }))
    }

    fn nulls(&self, range: Range<usize>) -> bool {
        let array: &dyn Array = match self {
            Self::Varints { values, .. } => values,
            Self::Doubles(values) | Self::Floats(values) => values,
            Self::Texts { values, .. } => values,
            Self::Binaries(values) => values,
        };
        array.null_count() > 0 && range.into_iter().any(|row| array.is_null(row))
    }

    /// Appends the body of the list of these elements. A null element is written as Feast's
    /// default of its type.
    pub(super) fn write_list(&self, range: Range<usize>, body: &mut Vec<u8>) {
        self.write(range, body);
    }

    /// Appends the body of the set of these elements, each written where it first comes.
    pub(super) fn write_set(&self, range: Range<usize>, body: &mut Vec<u8>) -> Result<()> {
        if self.nulls(range.clone()) {
            return Err(cannot("a set cannot hold a null"));
        }
        let rows: Vec<usize> = match self {
            Self::Varints { values, .. } => first_of_each(range, |row| values.value(row)),
            Self::Doubles(values) | Self::Floats(values) => first_numbers(range, values),
            Self::Texts { values, .. } => first_of_each(range, |row| values.value(row)),
            Self::Binaries(values) => first_of_each(range, |row| values.value(row)),
        };
        self.write(rows.into_iter(), body);
        Ok(())
    }

    fn write(&self, rows: impl Iterator<Item = usize>, body: &mut Vec<u8>) {
        let mut packed = Vec::new();
        match self {
            Self::Varints { values, default } => {
                for row in rows {
                    let null = values.is_null(row);
                    let number = if null { *default } else { values.value(row) };
                    write_varint(&mut packed, number as u64);
                }
            }
            Self::Doubles(values) => {
                for row in rows {
                    let number = if values.is_null(row) {
                        0.0
                    } else {
                        values.value(row)
                    };
                    packed.extend_from_slice(&number.to_le_bytes());
                }
            }
            Self::Floats(values) => {
                for row in rows {
                    let number = if values.is_null(row) {
                        0.0
                    } else {
                        values.value(row)
                    };
                    packed.extend_from_slice(&(number as f32).to_le_bytes());
                }
            }
            Self::Texts { values, default } => {
                for row in rows {
                    let null = values.is_null(row);
                    let text = if null { default } else { values.value(row) };
                    delimited(1, text.as_bytes(), body);
                }
            }
            Self::Binaries(values) => {
                for row in rows {
                    let bytes = if values.is_null(row) {
                        b""
                    } else {
                        values.value(row)
                    };
                    delimited(1, bytes, body);
                }
            }
        }
        if !packed.is_empty() {
            delimited(1, &packed, body);
        }
    }
}

fn first_of_each<T: Eq + std::hash::Hash>(
    range: Range<usize>,
    value: impl Fn(usize) -> T,
) -> Vec<usize> {
    let mut seen = HashSet::with_capacity(range.len());
    range.filter(|&row| seen.insert(value(row))).collect()
}

/// As Python's set has it: 0.0 is -0.0, and no NaN is another.
fn first_numbers(range: Range<usize>, values: &Float64Array) -> Vec<usize> {
    let mut seen = HashSet::with_capacity(range.len());
    range
        .filter(|&row| {
            let number = values.value(row);
            number.is_nan() || seen.insert((number + 0.0).to_bits())
        })
        .collect()
}

/// Whether a text is JSON, as Feast checks before it stores one.
pub(super) fn check_json(text: &str) -> Result<()> {
    serde_json::from_str::<serde::de::IgnoredAny>(text)
        .map(|_| ())
        .map_err(|error| cannot(format!("not a JSON text: {error}")))
}
