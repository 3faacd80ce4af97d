//! The declared type of a feature (`feast/types.py` and `feast/value_type.py` of Feast 0.67.0) and the
//! Arrow type that its values are decoded into.
//!
//! | Feast type | Arrow type | remarks |
//! |---|---|---|
//! | `Bytes`, `PdfBytes`, `ImageBytes` | binary | |
//! | `String` | utf8 | |
//! | `Int32`, `Int64`, `Float32`, `Float64`, `Bool` | the same | |
//! | `UnixTimestamp` | timestamp\[us, UTC\] | stored as whole seconds |
//! | `ZonedTimestamp` | struct&lt;timestamp: timestamp\[us, UTC\], zone: utf8&gt; | zone as stored: an IANA name, `UTC-07:00`, or empty for none |
//! | `Uuid`, `TimeUuid`, `Decimal` | utf8 | the text as stored |
//! | `Json` | `large_utf8` | the text as stored |
//! | `Array(T)`, `Set(T)` | list&lt;item: T&gt; | nested as declared; a set keeps the stored order |
//! | `Struct({..})` | struct of the declared fields | a key that is absent is null, one that is not declared is left out |
//! | `Map`, `Struct({})` | map&lt;utf8, utf8&gt; | keys sorted; values are JSON texts, see [`json`](super::json) |
//! | `ScalarMap` | map&lt;utf8, utf8&gt; | in stored order; keys and values are JSON texts |
//! | `Invalid` (not declared) | `large_utf8` | JSON texts |
//!
//! Two forms stand for what Feast's `ValueType` alone cannot tell: `Struct({})` is a struct whose
//! fields are not known, `Array(Invalid)` a `VALUE_LIST` whose inner types are not known.
//!
//! Arrow's own map type is chosen for maps, since their keys differ from row to row, and JSON for
//! their values, since those differ in type from key to key.

use std::sync::Arc;

use arrow_schema::{DataType, Field as ArrowField, FieldRef, Fields, TimeUnit};

/// A feature's declared type.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum FeastType {
    /// Not declared (`Invalid`, `ValueType.UNKNOWN`).
    Invalid,
    /// `Bytes`
    Bytes,
    /// `PdfBytes`, stored as bytes.
    PdfBytes,
    /// `ImageBytes`, stored as bytes.
    ImageBytes,
    /// `String`
    String,
    /// `Int32`
    Int32,
    /// `Int64`
    Int64,
    /// `Float64`, Feast's `ValueType.DOUBLE`.
    Float64,
    /// `Float32`, Feast's `ValueType.FLOAT`.
    Float32,
    /// `Bool`
    Bool,
    /// `UnixTimestamp`, whole seconds.
    UnixTimestamp,
    /// `Map`: string keys, values of any type.
    Map,
    /// `Json`: a text.
    Json,
    /// `Uuid`
    Uuid,
    /// `TimeUuid`
    TimeUuid,
    /// `Decimal`
    Decimal,
    /// `ScalarMap`: keys that are not strings, values of any type.
    ScalarMap,
    /// `ZonedTimestamp`
    ZonedTimestamp,
    /// `Array(T)`
    Array(Box<FeastType>),
    /// `Set(T)`
    Set(Box<FeastType>),
    /// `Struct({name: T, ..})`, the fields in order of declaration.
    Struct(Vec<(String, FeastType)>),
}

type PlainType = (
    FeastType,
    &'static str,
    &'static str,
    u32,
    Option<u32>,
    Option<u32>,
);

/// The types of one word: their name in `feast.types`, the name and number of their `ValueType`,
/// and the numbers of the list and the set of them, where there are such.
const PLAIN: [PlainType; 18] = {
    use FeastType as T;
    [
        (T::Invalid, "Invalid", "UNKNOWN", 0, Some(42), Some(43)),
        (T::Bytes, "Bytes", "BYTES", 1, Some(11), Some(22)),
        (T::String, "String", "STRING", 2, Some(12), Some(23)),
        (T::Int32, "Int32", "INT32", 3, Some(13), Some(24)),
        (T::Int64, "Int64", "INT64", 4, Some(14), Some(25)),
        (T::Float64, "Float64", "DOUBLE", 5, Some(15), Some(26)),
        (T::Float32, "Float32", "FLOAT", 6, Some(16), Some(27)),
        (T::Bool, "Bool", "BOOL", 7, Some(17), Some(28)),
        (
            T::UnixTimestamp,
            "UnixTimestamp",
            "UNIX_TIMESTAMP",
            8,
            Some(18),
            Some(29),
        ),
        (T::Map, "Map", "MAP", 20, Some(21), None),
        (T::PdfBytes, "PdfBytes", "PDF_BYTES", 30, None, None),
        (T::ImageBytes, "ImageBytes", "IMAGE_BYTES", 31, None, None),
        (T::Json, "Json", "JSON", 32, Some(33), None),
        (T::Uuid, "Uuid", "UUID", 36, Some(38), Some(40)),
        (T::TimeUuid, "TimeUuid", "TIME_UUID", 37, Some(39), Some(41)),
        (T::Decimal, "Decimal", "DECIMAL", 44, Some(45), Some(46)),
        (T::ScalarMap, "ScalarMap", "SCALAR_MAP", 47, None, None),
        (
            T::ZonedTimestamp,
            "ZonedTimestamp",
            "ZONED_TIMESTAMP",
            48,
            None,
            None,
        ),
    ]
};

impl FeastType {
    /// The number of Feast's `ValueType` for this type; `None` if Feast has none, as for a set of
    /// maps.
    #[must_use]
    pub fn value_type(&self) -> Option<u32> {
        match self {
            Self::Struct(_) => Some(34),
            Self::Array(item) => match &**item {
                Self::Struct(_) => Some(35),
                Self::Array(_) | Self::Set(_) => Some(42),
                plain => PLAIN.iter().find(|row| row.0 == *plain)?.4,
            },
            Self::Set(item) => match &**item {
                Self::Struct(_) => None,
                Self::Array(_) | Self::Set(_) => Some(43),
                plain => PLAIN.iter().find(|row| row.0 == *plain)?.5,
            },
            plain => PLAIN.iter().find(|row| row.0 == *plain).map(|row| row.3),
        }
    }

    /// The type that a `ValueType`'s number stands for; `None` if there is no such number, or
    /// only null has it.
    #[must_use]
    pub fn from_value_type(number: u32) -> Option<Self> {
        match number {
            34 => return Some(Self::Struct(Vec::new())),
            35 => return Some(Self::Array(Box::new(Self::Struct(Vec::new())))),
            _ => {}
        }
        PLAIN.iter().find_map(|(plain, _, _, own, list, set)| {
            if *own == number {
                Some(plain.clone())
            } else if *list == Some(number) {
                Some(Self::Array(Box::new(plain.clone())))
            } else if *set == Some(number) {
                Some(Self::Set(Box::new(plain.clone())))
            } else {
                None
            }
        })
    }

    /// The type of one word, or of one `ValueType`, with this name.
    pub(super) fn from_name(name: &str) -> Option<Self> {
        if let Some(row) = PLAIN.iter().find(|row| row.1 == name) {
            return Some(row.0.clone());
        }
        let of_value_type = |name: &str| {
            PLAIN
                .iter()
                .find(|row| row.2 == name)
                .map(|row| row.0.clone())
        };
        let known = match name {
            "STRUCT" => Some(Self::Struct(Vec::new())),
            "STRUCT_LIST" => Some(Self::Array(Box::new(Self::Struct(Vec::new())))),
            "VALUE_LIST" => Some(Self::Array(Box::new(Self::Invalid))),
            "VALUE_SET" => Some(Self::Set(Box::new(Self::Invalid))),
            _ => None,
        };
        known.or_else(|| {
            if let Some(item) = name.strip_suffix("_LIST") {
                Some(Self::Array(Box::new(of_value_type(item)?)))
            } else if let Some(item) = name.strip_suffix("_SET") {
                Some(Self::Set(Box::new(of_value_type(item)?)))
            } else {
                of_value_type(name)
            }
        })
    }

    /// The type's name in `feast.types`, if it is a type of one word.
    pub(super) fn name(&self) -> Option<&'static str> {
        PLAIN.iter().find(|row| row.0 == *self).map(|row| row.1)
    }

    /// The Arrow type of a column of this type, by the table above.
    #[must_use]
    pub fn arrow_type(&self) -> DataType {
        match self {
            Self::Bytes | Self::PdfBytes | Self::ImageBytes => DataType::Binary,
            Self::String | Self::Uuid | Self::TimeUuid | Self::Decimal => DataType::Utf8,
            Self::Json | Self::Invalid => DataType::LargeUtf8,
            Self::Int32 => DataType::Int32,
            Self::Int64 => DataType::Int64,
            Self::Float64 => DataType::Float64,
            Self::Float32 => DataType::Float32,
            Self::Bool => DataType::Boolean,
            Self::UnixTimestamp => utc_microseconds(),
            Self::Map | Self::ScalarMap => DataType::Map(map_entries(), false),
            Self::ZonedTimestamp => DataType::Struct(zoned_fields()),
            Self::Array(item) | Self::Set(item) => DataType::List(Arc::new(
                ArrowField::new_list_field(item.arrow_type(), true),
            )),
            Self::Struct(fields) if fields.is_empty() => DataType::Map(map_entries(), false),
            Self::Struct(fields) => DataType::Struct(struct_fields(fields)),
        }
    }
}

/// timestamp\[us, UTC\].
pub(super) fn utc_microseconds() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

/// The entries of map&lt;utf8, utf8&gt;, named as pyarrow names them.
pub(super) fn map_entries() -> FieldRef {
    let entries = DataType::Struct(map_entry_fields());
    Arc::new(ArrowField::new("entries", entries, false))
}

/// The key and the value of an entry of map&lt;utf8, utf8&gt;.
pub(super) fn map_entry_fields() -> Fields {
    Fields::from(vec![
        ArrowField::new("key", DataType::Utf8, false),
        ArrowField::new("value", DataType::Utf8, true),
    ])
}

/// The two fields of a zoned timestamp.
pub(super) fn zoned_fields() -> Fields {
    Fields::from(vec![
        ArrowField::new("timestamp", utc_microseconds(), true),
        ArrowField::new("zone", DataType::Utf8, true),
    ])
}

/// A struct's declared fields as Arrow's.
pub(super) fn struct_fields(fields: &[(String, FeastType)]) -> Fields {
    fields
        .iter()
        .map(|(name, dtype)| ArrowField::new(name, dtype.arrow_type(), true))
        .collect()
}
