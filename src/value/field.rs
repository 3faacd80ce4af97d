//! The fields of Feast's `Value.val` oneof (feast/types/Value.proto, Feast 0.67.0): their numbers,
//! their names and how their payload is laid out on the wire.

use std::fmt;

/// How the payload of a [`Field`] is encoded.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Layout {
    /// Length-delimited bytes.
    Bytes,
    /// Length-delimited UTF-8.
    Text,
    /// A varint, truncated to 32 bits.
    Int32,
    /// A varint.
    Int64,
    /// A varint; not zero is true.
    Bool,
    /// Eight bytes, little-endian.
    Double,
    /// Four bytes, little-endian.
    Float,
    /// A message `{ repeated bytes val = 1 }`.
    BytesList,
    /// A message `{ repeated string val = 1 }`.
    TextList,
    /// A message `{ repeated int32|int64|bool val = 1 }`, packed or not.
    VarintList,
    /// A message `{ repeated double val = 1 }`, packed or not.
    DoubleList,
    /// A message `{ repeated float val = 1 }`, packed or not.
    FloatList,
    /// A message `{ map<string, Value> val = 1 }`.
    Map,
    /// A message `{ repeated Map val = 1 }`.
    MapList,
    /// A message `{ repeated Value val = 1 }`.
    Values,
    /// A message `{ repeated ScalarMapEntry val = 1 }`.
    ScalarMap,
    /// A message `{ int64 unix_timestamp = 1; string zone = 2 }`.
    ZonedTimestamp,
}

macro_rules! fields {
    ($($variant:ident = $number:literal, $name:literal, $layout:ident;)*) => {
        /// A field of the `Value.val` oneof; the discriminant is the field's number.
        #[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
        #[repr(u8)]
        pub enum Field {
            $(#[doc = concat!("`", $name, "`")] $variant = $number,)*
        }

        impl Field {
            /// Every field that Feast 0.67.0 knows, by number.
            pub const ALL: &'static [Field] = &[$(Field::$variant,)*];

            /// The field with this number, if Feast 0.67.0 has one.
            #[must_use]
            #[inline]
            pub fn from_number(number: u32) -> Option<Self> {
                match number {
                    $($number => Some(Field::$variant),)*
                    _ => None,
                }
            }

            /// The field's name in Value.proto, such as `int64_list_val`.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Field::$variant => $name,)*
                }
            }

            /// How the field's payload is encoded.
            #[must_use]
            #[inline]
            pub fn layout(self) -> Layout {
                match self {
                    $(Field::$variant => Layout::$layout,)*
                }
            }
        }
    };
}

fields! {
    Bytes = 1, "bytes_val", Bytes;
    String = 2, "string_val", Text;
    Int32 = 3, "int32_val", Int32;
    Int64 = 4, "int64_val", Int64;
    Double = 5, "double_val", Double;
    Float = 6, "float_val", Float;
    Bool = 7, "bool_val", Bool;
    UnixTimestamp = 8, "unix_timestamp_val", Int64;
    BytesList = 11, "bytes_list_val", BytesList;
    StringList = 12, "string_list_val", TextList;
    Int32List = 13, "int32_list_val", VarintList;
    Int64List = 14, "int64_list_val", VarintList;
    DoubleList = 15, "double_list_val", DoubleList;
    FloatList = 16, "float_list_val", FloatList;
    BoolList = 17, "bool_list_val", VarintList;
    UnixTimestampList = 18, "unix_timestamp_list_val", VarintList;
    Null = 19, "null_val", Int32;
    Map = 20, "map_val", Map;
    MapList = 21, "map_list_val", MapList;
    BytesSet = 22, "bytes_set_val", BytesList;
    StringSet = 23, "string_set_val", TextList;
    Int32Set = 24, "int32_set_val", VarintList;
    Int64Set = 25, "int64_set_val", VarintList;
    DoubleSet = 26, "double_set_val", DoubleList;
    FloatSet = 27, "float_set_val", FloatList;
    BoolSet = 28, "bool_set_val", VarintList;
    UnixTimestampSet = 29, "unix_timestamp_set_val", VarintList;
    Json = 32, "json_val", Text;
    JsonList = 33, "json_list_val", TextList;
    Struct = 34, "struct_val", Map;
    StructList = 35, "struct_list_val", MapList;
    Uuid = 36, "uuid_val", Text;
    TimeUuid = 37, "time_uuid_val", Text;
    UuidList = 38, "uuid_list_val", TextList;
    TimeUuidList = 39, "time_uuid_list_val", TextList;
    UuidSet = 40, "uuid_set_val", TextList;
    TimeUuidSet = 41, "time_uuid_set_val", TextList;
    List = 42, "list_val", Values;
    Set = 43, "set_val", Values;
    Decimal = 44, "decimal_val", Text;
    DecimalList = 45, "decimal_list_val", TextList;
    DecimalSet = 46, "decimal_set_val", TextList;
    ScalarMap = 47, "scalar_map_val", ScalarMap;
    ZonedTimestamp = 48, "zoned_timestamp_val", ZonedTimestamp;
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
