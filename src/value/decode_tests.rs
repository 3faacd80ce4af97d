//! `ColumnDecoder` and the matrix fillers against prost's view of the same cells.
#![allow(clippy::float_cmp)] // Exact values are the point.

use std::sync::Arc;

use arrow_array::cast::AsArray as _;
use arrow_array::types::{Float32Type, Float64Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, ArrayRef, ListArray, StringArray};
use proptest::prelude::*;
use prost::Message as _;

use super::cause::Cause;
use super::decode::{CellError, ColumnDecoder};
use super::dtype::FeastType;
use super::field::Field;
use super::message::{self as m, value::Val};
use super::number::{fill_f32, fill_f64, number};
use super::wire_tests::any_val;

fn cell(val: Val) -> Vec<u8> {
    m::Value { val: Some(val) }.encode_to_vec()
}

fn decode(dtype: &str, cells: &[Option<Vec<u8>>]) -> Result<ArrayRef, CellError> {
    let dtype: FeastType = dtype.parse().unwrap();
    let mut decoder = ColumnDecoder::new(&dtype, cells.len());
    decoder.extend(cells.iter().map(Option::as_deref))?;
    let array = decoder.finish();
    assert_eq!(array.data_type(), &dtype.arrow_type());
    assert_eq!(array.len(), cells.len());
    Ok(array)
}

fn one(dtype: &str, val: Val) -> Result<ArrayRef, Cause> {
    decode(dtype, &[Some(cell(val))]).map_err(|error| error.cause)
}

#[test]
fn every_type_decodes_nulls_and_nothing() {
    for dtype in [
        "Invalid",
        "Bytes",
        "PdfBytes",
        "String",
        "Int32",
        "Int64",
        "Float64",
        "Float32",
        "Bool",
        "UnixTimestamp",
        "Map",
        "Json",
        "Uuid",
        "Decimal",
        "ScalarMap",
        "ZonedTimestamp",
        "Array(Int32)",
        "Array(Map)",
        "Set(String)",
        "Array(Array(Int64))",
        "Struct({})",
        "Struct({a: Int64, b: Array(String)})",
        "Array(Struct({a: Float32}))",
    ] {
        let array = decode(dtype, &[]).unwrap();
        assert!(array.is_empty());
        let array = decode(dtype, &[None, Some(vec![])]).unwrap();
        assert_eq!(array.null_count(), 2, "{dtype}");
        let timestamp = cell(Val::UnixTimestampVal(i64::MIN));
        assert_eq!(
            decode(dtype, &[Some(timestamp)]).unwrap().null_count(),
            1,
            "{dtype}"
        );
        let unknown = decode(dtype, &[None, Some(vec![0x9a, 3, 0])]).unwrap_err();
        assert_eq!(
            (unknown.index, unknown.cause),
            (1, Cause::Unknown(51)),
            "{dtype}"
        );
    }
}

#[test]
fn widening() {
    let array = one("Float64", Val::Int64Val(1 << 53)).unwrap();
    assert_eq!(
        array.as_primitive::<Float64Type>().value(0),
        9_007_199_254_740_992.0
    );
    let inexact = |field| Err(Cause::Inexact(field));
    let mismatch = |field| Err(Cause::Type(field));
    let fails = |dtype: &str, val| one(dtype, val).map(|_| ());
    assert_eq!(
        fails("Float64", Val::Int64Val((1 << 53) + 1)),
        inexact(Field::Int64)
    );
    assert_eq!(
        fails("Float64", Val::Int64Val(i64::MAX)),
        inexact(Field::Int64)
    );
    assert_eq!(
        fails("Int64", Val::DoubleVal(9.3e18)),
        inexact(Field::Double)
    );
    assert_eq!(
        fails("Int64", Val::DoubleVal(2_f64.powi(63))),
        inexact(Field::Double)
    );
    assert_eq!(
        fails("Int64", Val::DoubleVal(f64::NAN)),
        inexact(Field::Double)
    );
    assert_eq!(fails("Int64", Val::DoubleVal(-(2_f64.powi(63)))), Ok(()));
    assert_eq!(fails("Int64", Val::FloatVal(3.0)), Ok(()));
    assert_eq!(fails("Int64", Val::UnixTimestampVal(3)), Ok(()));
    assert_eq!(
        fails("Int32", Val::UnixTimestampVal(3)),
        mismatch(Field::UnixTimestamp)
    );
    assert_eq!(
        fails("Int32", Val::Int64Val(1 << 31)),
        inexact(Field::Int64)
    );
    assert_eq!(
        fails("Float32", Val::DoubleVal(0.1)),
        inexact(Field::Double)
    );
    assert_eq!(fails("Float32", Val::DoubleVal(f64::NAN)), Ok(()));
    assert_eq!(fails("Bool", Val::Int64Val(1)), mismatch(Field::Int64));
    assert_eq!(fails("Int64", Val::BoolVal(true)), mismatch(Field::Bool));
    assert_eq!(fails("UnixTimestamp", Val::Int64Val(5)), Ok(()));
    assert_eq!(
        fails("UnixTimestamp", Val::UnixTimestampVal(i64::MAX)),
        Err(Cause::Timestamp)
    );
    assert_eq!(fails("String", Val::DecimalVal("1".into())), Ok(()));
    assert_eq!(fails("Decimal", Val::StringVal("1".into())), Ok(()));
    assert_eq!(
        fails("Decimal", Val::UuidVal("1".into())),
        mismatch(Field::Uuid)
    );
    let list = || Val::Int32ListVal(m::Int32List { val: vec![1, -2] });
    let array = one("Set(Float64)", list()).unwrap();
    let items = array.as_list::<i32>().value(0);
    assert_eq!(items.as_primitive::<Float64Type>().values(), &[1.0, -2.0]);
    assert_eq!(fails("Array(String)", list()), mismatch(Field::Int32));
    assert_eq!(fails("Int32", list()), mismatch(Field::Int32List));
    let error = decode("Int64", &[None, Some(cell(Val::StringVal("x".into())))]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "cell 1: the stored value is a string_val, which does not read as Int64"
    );
}

#[test]
fn unpacked_and_merged_lists() {
    let unpacked = [0x72, 4, 0x08, 1, 0x08, 2].to_vec();
    let merged = [&unpacked[..], &[0x72, 3, 0x0a, 1, 3]].concat();
    let array = decode("Array(Int64)", &[Some(unpacked), Some(merged)]).unwrap();
    let expected = ListArray::from_iter_primitive::<Int64Type, _, _>([
        Some(vec![Some(1), Some(2)]),
        Some(vec![Some(1), Some(2), Some(3)]),
    ]);
    assert_eq!(array.as_list::<i32>(), &expected);
    let floats = [0x82, 1, 5, 0x0d, 0, 0, 0x80, 0x3f].to_vec();
    let array = decode("Array(Float32)", &[Some(floats)]).unwrap();
    assert_eq!(
        array
            .as_list::<i32>()
            .value(0)
            .as_primitive::<Float32Type>()
            .values(),
        &[1.0]
    );
}

#[test]
fn null_timestamps_in_lists() {
    let val = vec![0, i64::MIN, -5];
    let array = one(
        "Array(UnixTimestamp)",
        Val::UnixTimestampListVal(m::Int64List { val }),
    )
    .unwrap();
    let items = array.as_list::<i32>().value(0);
    let items = items.as_primitive::<TimestampMicrosecondType>();
    assert_eq!(
        items.iter().collect::<Vec<_>>(),
        [Some(0), None, Some(-5_000_000)]
    );
}

fn map_of(entries: &[(&str, Option<Val>)]) -> m::Map {
    let entry =
        |(key, val): &(&str, Option<Val>)| ((*key).to_owned(), m::Value { val: val.clone() });
    m::Map {
        val: entries.iter().map(entry).collect(),
    }
}

#[test]
fn maps_are_json_texts() {
    let nested = m::Value {
        val: Some(Val::FloatListVal(m::FloatList {
            val: vec![0.5, f32::NAN],
        })),
    };
    let zoned = m::ZonedTimestamp {
        unix_timestamp: 5,
        zone: "UTC".into(),
    };
    let map = map_of(&[
        ("a", Some(Val::Int64Val(-1))),
        ("b", Some(Val::DoubleVal(1.0))),
        ("c", Some(Val::StringVal("é\"\n\u{1}".into()))),
        ("d", None),
        ("e", Some(Val::BytesVal(vec![0xff, 0]))),
        ("f", Some(Val::DoubleVal(f64::NEG_INFINITY))),
        ("g", Some(Val::Int64ListVal(m::Int64List { val: vec![] }))),
        (
            "h",
            Some(Val::Int64ListVal(m::Int64List { val: vec![1, 2] })),
        ),
        (
            "i",
            Some(Val::ListVal(m::RepeatedValue {
                val: vec![nested, m::Value { val: None }],
            })),
        ),
        (
            "j",
            Some(Val::MapVal(map_of(&[("$x", Some(Val::BoolVal(true)))]))),
        ),
        (
            "k",
            Some(Val::MapListVal(m::MapList {
                val: vec![map_of(&[])],
            })),
        ),
        ("l", Some(Val::ZonedTimestampVal(zoned))),
        (
            "m",
            Some(Val::StructListVal(m::MapList {
                val: vec![map_of(&[("$x", None)])],
            })),
        ),
        (
            "n",
            Some(Val::UnixTimestampListVal(m::Int64List {
                val: vec![i64::MIN, 7],
            })),
        ),
    ]);
    let array = one("Map", Val::MapVal(map)).unwrap();
    let entries = array.as_map().value(0);
    let values: &StringArray = entries.column(1).as_string();
    let texts: Vec<_> = values.iter().collect();
    assert_eq!(
        texts,
        [
            Some("-1"),
            Some("1.0"),
            Some("\"é\\\"\\n\\u0001\""),
            None,
            Some(r#"{"$bytes":"/wA="}"#),
            Some(r#"{"$double":"-inf"}"#),
            Some(r#"{"$int64_list":[]}"#),
            Some("[1,2]"),
            Some(r#"{"$list":[{"$float_list":[0.5,"nan"]},null]}"#),
            Some(r#"{"$map":{"$x":true}}"#),
            Some("[{}]"),
            Some(r#"{"$zoned_timestamp":[5,"UTC"]}"#),
            Some(r#"{"$struct_list":[{"$x":null}]}"#),
            Some(r#"{"$unix_timestamp_list":[null,7]}"#),
        ]
    );
}

#[test]
fn structs_take_declared_fields_and_round_nested_floats() {
    let map = map_of(&[
        ("a", Some(Val::DoubleVal(0.1))),
        ("z", Some(Val::BoolVal(true))),
    ]);
    let array = one("Struct({a: Float32, b: String})", Val::StructVal(map)).unwrap();
    let fields = array.as_struct();
    assert_eq!(fields.column(0).as_primitive::<Float32Type>().value(0), 0.1);
    assert_eq!(fields.column(1).null_count(), 1);
    let map = map_of(&[("z", Some(Val::BoolVal(true)))]);
    let mut broken = cell(Val::StructVal(map));
    let last = broken.len() - 2;
    broken[last] = 0x3e;
    assert!(decode("Struct({a: Float32})", &[Some(broken)]).is_err());
}

#[test]
fn scalar_maps() {
    use m::map_key::Key;
    let entry = |key, val| m::ScalarMapEntry {
        key: Some(m::MapKey { key: Some(key) }),
        value: Some(m::Value { val }),
    };
    let val = vec![
        entry(Key::Int64Key(5), Some(Val::BoolVal(true))),
        entry(Key::UnixTimestampKey(9), None),
        entry(Key::Int64Key(5), Some(Val::Int64Val(2))),
    ];
    let array = one("ScalarMap", Val::ScalarMapVal(m::ScalarMap { val })).unwrap();
    let entries = array.as_map().value(0);
    let keys: &StringArray = entries.column(0).as_string();
    assert_eq!(
        keys,
        &StringArray::from(vec!["5", r#"{"$unix_timestamp":9}"#])
    );
    let values: &StringArray = entries.column(1).as_string();
    assert_eq!(values, &StringArray::from(vec![Some("2"), None]));
}

#[test]
fn an_error_leaves_an_empty_decoder() {
    let dtype: FeastType = "Struct({a: Array(Int64), b: Int64})".parse().unwrap();
    let mut decoder = ColumnDecoder::new(&dtype, 1);
    let val = Val::StructVal(map_of(&[("a", None), ("b", Some(Val::BoolVal(true)))]));
    assert!(decoder.extend([Some(&cell(val)[..])].into_iter()).is_err());
    assert_eq!(decoder.finish().len(), 0);
}

#[test]
fn matrices() {
    let cells = [
        Some(cell(Val::DoubleVal(0.1))),
        None,
        Some(cell(Val::BoolVal(true))),
        Some(cell(Val::UnixTimestampVal(i64::MIN))),
        Some(cell(Val::Int32Val(-3))),
        Some(vec![]),
    ];
    let mut out = [9.0_f32; 12];
    fill_f32(cells.iter().map(Option::as_deref), &mut out, 1, 2, -1.0).unwrap();
    assert_eq!(
        out,
        [
            9.0, 0.1, 9.0, -1.0, 9.0, 1.0, 9.0, -1.0, 9.0, -3.0, 9.0, -1.0
        ]
    );
    let mut out = [0.0; 3];
    let error = fill_f64(cells.iter().map(Option::as_deref), &mut out, 0, 1, f64::NAN).unwrap_err();
    assert_eq!((error.index, error.cause), (3, Cause::TooLarge));
    assert_eq!(out[2], 1.0);
    let text = cell(Val::StringVal("1".into()));
    assert_eq!(number(Some(&text)), Err(Cause::Type(Field::String)));
}

const DTYPES: [&str; 16] = [
    "Invalid",
    "Bytes",
    "String",
    "Int32",
    "Int64",
    "Float64",
    "Float32",
    "Bool",
    "UnixTimestamp",
    "Map",
    "Array(Int64)",
    "Set(Float32)",
    "Array(String)",
    "Array(Array(String))",
    "Struct({a: Int64})",
    "ZonedTimestamp",
];

proptest! {
    #[test]
    fn survives_damaged_cells(
        val in any_val(),
        position in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        which in 0..DTYPES.len(),
    ) {
        let mut bytes = cell(val);
        if !bytes.is_empty() {
            let position = position.index(bytes.len());
            bytes[position] = byte;
        }
        let _ = decode(DTYPES[which], &[Some(bytes.clone())]);
        // A dynamic column reads all that is valid and known, to valid JSON.
        if let Ok(array) = decode("Invalid", &[Some(bytes.clone())]) {
            let texts = array.as_string::<i64>();
            if texts.is_valid(0) {
                prop_assert!(serde_json::from_str::<serde_json::Value>(texts.value(0)).is_ok());
            }
        }
        let _ = number(Some(&bytes));
    }

    #[test]
    fn numbers_match_prost(values in prop::collection::vec(prop::option::of(any::<f64>()), 0..70)) {
        let cells: Vec<_> = values.iter().map(|v| v.map(|v| cell(Val::DoubleVal(v)))).collect();
        let array = decode("Float64", &cells).unwrap();
        let bits = |v: Option<f64>| v.map(f64::to_bits);
        let array: Arc<dyn Array> = array;
        let decoded: Vec<_> = array.as_primitive::<Float64Type>().iter().map(bits).collect();
        prop_assert_eq!(decoded, values.into_iter().map(bits).collect::<Vec<_>>());
        if array.null_count() == 0 {
            prop_assert!(array.nulls().is_none());
        }
    }
}
