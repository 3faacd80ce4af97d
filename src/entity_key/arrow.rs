//! Columns of join-key values from Arrow.

use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, TimestampSecondType};
use arrow_array::{Array, ArrayRef};
use arrow_cast::cast;
use arrow_schema::{ArrowError, DataType, TimeUnit};

use super::{KeyColumn, KeyType};
use crate::error::{Error, ErrorKind, Result};

impl KeyColumn {
    /// A column of an Arrow array's integers, timestamps, dates, texts or bytes as `declared`, or
    /// as the type that is nearest to the array's.
    ///
    /// # Errors
    /// [`ErrorKind::EntityKey`] for a null, a type that no entity key can hold, and a value that
    /// does not fit the declared type.
    pub fn from_array(array: &ArrayRef, declared: Option<KeyType>) -> Result<Self> {
        if array.logical_null_count() > 0 {
            let row = array
                .logical_nulls()
                .and_then(|nulls| (0..nulls.len()).find(|&row| nulls.is_null(row)));
            return Err(Error::new(
                ErrorKind::EntityKey,
                format!(
                    "a join key's value is null (row {}); every row needs all its join keys",
                    row.unwrap_or(0)
                ),
            ));
        }
        let natural = match array.data_type() {
            DataType::Dictionary(_, values) => key_type_of(values),
            other => key_type_of(other),
        };
        let Some(natural) = natural else {
            return Err(Error::new(
                ErrorKind::EntityKey,
                format!("Arrow's {} cannot be a join key", array.data_type()),
            ));
        };
        let key_type = declared.unwrap_or(natural);
        Ok(match key_type {
            KeyType::UnixTimestamp => {
                let to = DataType::Timestamp(TimeUnit::Second, None);
                let seconds = converted(array, &to, key_type)?;
                let seconds = seconds.as_primitive::<TimestampSecondType>().values();
                Self::UnixTimestamp(seconds.to_vec())
            }
            KeyType::Int32 | KeyType::Int64 => {
                let integers = converted(array, &DataType::Int64, key_type)?;
                let integers = integers.as_primitive::<Int64Type>().values().to_vec();
                Self::integers(integers, key_type)?
            }
            KeyType::String => {
                let text = converted(array, &DataType::LargeUtf8, key_type)?;
                Self::strings(text.as_string::<i64>().iter().flatten())
            }
            KeyType::Bytes => {
                let bytes = converted(array, &DataType::LargeBinary, key_type)?;
                Self::bytes(bytes.as_binary::<i64>().iter().flatten())
            }
        })
    }
}

/// Casts an array without nulls; a value that the type cannot hold would become one.
fn converted(array: &ArrayRef, to: &DataType, key_type: KeyType) -> Result<ArrayRef> {
    let array = cast(array, to).map_err(|cause| unfit(&cause))?;
    if array.logical_null_count() > 0 {
        return Err(Error::new(
            ErrorKind::EntityKey,
            format!("a value does not fit the declared type {}", key_type.name()),
        ));
    }
    Ok(array)
}

fn key_type_of(data_type: &DataType) -> Option<KeyType> {
    Some(match data_type {
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::UInt8 | DataType::UInt16 => {
            KeyType::Int32
        }
        DataType::Int64 | DataType::UInt32 | DataType::UInt64 => KeyType::Int64,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => KeyType::String,
        DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView
        | DataType::FixedSizeBinary(_) => KeyType::Bytes,
        DataType::Timestamp(..) | DataType::Date32 | DataType::Date64 => KeyType::UnixTimestamp,
        _ => return None,
    })
}

fn unfit(cause: &ArrowError) -> Error {
    Error::new(ErrorKind::EntityKey, cause.to_string())
}
