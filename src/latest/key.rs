//! Join keys' values as hashes.

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Date64Type, Int8Type, Int16Type, Int32Type, Int64Type, TimestampMicrosecondType,
    TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type,
    UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef};
use arrow_schema::{DataType, TimeUnit};
use xxhash_rust::xxh3::xxh3_128_with_seed;

use crate::error::{Error, ErrorKind, Result};
use crate::value::source::plain;

/// A join key's column, if there are no nulls in it, as it can be hashed. `before` is how many rows
/// of the source came before.
pub(super) fn column(name: &str, array: &ArrayRef, before: usize) -> Result<ArrayRef> {
    let unfit = |what| Error::new(ErrorKind::EntityKey, format!("join key '{name}': {what}"));
    if let Some(row) = first_null(array) {
        return Err(unfit(format!(
            "the value is null in row {} of the source, counted from 0; every row needs all its \
             join keys",
            before + row
        )));
    }
    let array = match array.data_type() {
        DataType::Dictionary(_, values) if is_key(values) => array.clone(),
        DataType::Dictionary(..) | DataType::RunEndEncoded(..) => {
            plain(array).map_err(|error| unfit(error.to_string()))?
        }
        _ => array.clone(),
    };
    let values = match array.data_type() {
        DataType::Dictionary(_, values) => values,
        other => other,
    };
    // A column without a row may have no type either.
    if !is_key(values) && !array.is_empty() {
        return Err(unfit(format!("Arrow's {values} cannot be a join key")));
    }
    Ok(array)
}

/// The first row whose value is null, in itself or in its dictionary.
pub(super) fn first_null(array: &dyn Array) -> Option<usize> {
    let nulls = array.logical_nulls()?;
    if nulls.null_count() == 0 {
        return None;
    }
    nulls.iter().position(|valid| !valid)
}

fn is_key(data_type: &DataType) -> bool {
    data_type.is_integer()
        || matches!(
            data_type,
            DataType::Utf8
                | DataType::LargeUtf8
                | DataType::Utf8View
                | DataType::Binary
                | DataType::LargeBinary
                | DataType::BinaryView
                | DataType::FixedSizeBinary(_)
                | DataType::Timestamp(..)
                | DataType::Date32
                | DataType::Date64
        )
}

/// Hashes rows of join keys' values.
#[derive(Clone, Copy, Debug)]
pub(super) struct KeyHasher {
    seed: u64,
}

impl KeyHasher {
    pub(super) fn new(seed: u64) -> Self {
        Self { seed }
    }

    /// Hashes the rows from `start`, as many as there is room for. The columns are of [`column`].
    pub(super) fn hash(self, columns: &[ArrayRef], start: usize, hashes: &mut [u128]) {
        hashes.fill(0);
        for (place, column) in columns.iter().enumerate() {
            if let Some(dictionary) = column.as_any_dictionary_opt() {
                let rows = column.slice(start, hashes.len());
                let keys = rows.as_any_dictionary().normalized_keys();
                self.add(place, dictionary.values(), |row| keys[row], hashes);
            } else {
                self.add(place, column, |row| start + row, hashes);
            }
        }
    }

    /// Adds a column's values to the hashes of the columns before it. `at` is where a row's is.
    #[allow(clippy::cast_lossless, reason = "for some of the types it is not")]
    fn add(
        self,
        place: usize,
        values: &dyn Array,
        at: impl Fn(usize) -> usize,
        hashes: &mut [u128],
    ) {
        macro_rules! primitive {
            ($arrow:ty) => {{
                let values = values.as_primitive::<$arrow>().values();
                self.fold(place, hashes, |row| {
                    // To one width and sign, as entity keys have them.
                    (values[at(row)] as i64).to_le_bytes()
                })
            }};
        }
        macro_rules! bytes {
            ($array:expr) => {{
                let array = $array;
                self.fold(place, hashes, |row| array.value(at(row)))
            }};
        }
        match values.data_type() {
            DataType::Int8 => primitive!(Int8Type),
            DataType::Int16 => primitive!(Int16Type),
            DataType::Int32 => primitive!(Int32Type),
            DataType::Int64 => primitive!(Int64Type),
            DataType::UInt8 => primitive!(UInt8Type),
            DataType::UInt16 => primitive!(UInt16Type),
            DataType::UInt32 => primitive!(UInt32Type),
            DataType::UInt64 => primitive!(UInt64Type),
            DataType::Date32 => primitive!(Date32Type),
            DataType::Date64 => primitive!(Date64Type),
            DataType::Timestamp(TimeUnit::Second, _) => primitive!(TimestampSecondType),
            DataType::Timestamp(TimeUnit::Millisecond, _) => primitive!(TimestampMillisecondType),
            DataType::Timestamp(TimeUnit::Microsecond, _) => primitive!(TimestampMicrosecondType),
            DataType::Timestamp(TimeUnit::Nanosecond, _) => primitive!(TimestampNanosecondType),
            DataType::Utf8 => bytes!(values.as_string::<i32>()),
            DataType::LargeUtf8 => bytes!(values.as_string::<i64>()),
            DataType::Utf8View => bytes!(values.as_string_view()),
            DataType::Binary => bytes!(values.as_binary::<i32>()),
            DataType::LargeBinary => bytes!(values.as_binary::<i64>()),
            DataType::BinaryView => bytes!(values.as_binary_view()),
            DataType::FixedSizeBinary(_) => bytes!(values.as_fixed_size_binary()),
            _ => unreachable!("`column` lets no other type through"),
        }
    }

    fn fold<B: AsRef<[u8]>>(self, place: usize, hashes: &mut [u128], value: impl Fn(usize) -> B) {
        for (row, hash) in hashes.iter_mut().enumerate() {
            let of_value = xxh3_128_with_seed(value(row).as_ref(), self.seed);
            *hash = if place == 0 {
                of_value
            } else {
                // Each value is hashed by itself, so that none runs into the next.
                let mut both = [0; 32];
                both[..16].copy_from_slice(&hash.to_le_bytes());
                both[16..].copy_from_slice(&of_value.to_le_bytes());
                xxh3_128_with_seed(&both, self.seed)
            };
        }
    }
}
