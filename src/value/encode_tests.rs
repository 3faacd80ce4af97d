//! `encode` against prost, and as the inverse of `decode`. `tests/test_values.py` holds its bytes
//! against Feast's own.

use std::sync::Arc;

use arrow_array::builder::{Int64Builder, ListBuilder};
use arrow_array::types::Float64Type;
use arrow_array::{
    Array, ArrayRef, BinaryArray, Float64Array, Int64Array, ListArray, StringArray,
    TimestampMicrosecondArray,
};
use proptest::prelude::*;
use prost::Message as _;

use super::ColumnDecoder;
use super::dtype::FeastType;
use super::encode::encode;
use super::message::{self as m, value::Val};
use super::wire_tests::any_val;
use crate::error::ErrorKind;

fn cells(array: &dyn Array, dtype: &str) -> Vec<Vec<u8>> {
    let cells = encode(array, &dtype.parse().unwrap()).unwrap();
    assert_eq!((cells.len(), cells.null_count()), (array.len(), 0));
    cells.iter().flatten().map(<[u8]>::to_vec).collect()
}

fn cell(val: Val) -> Vec<u8> {
    m::Value { val: Some(val) }.encode_to_vec()
}

#[test]
fn scalars() {
    let integers = Int64Array::from(vec![Some(0), None, Some(-1)]);
    let expected = [cell(Val::Int64Val(0)), vec![], cell(Val::Int64Val(-1))];
    assert_eq!(cells(&integers, "Int64"), expected);
    assert_eq!(expected[0], [0x20, 0]);
    assert_eq!(cells(&integers, "Int32")[2], cell(Val::Int32Val(-1)));
    assert_eq!(cells(&integers, "Float64")[0], cell(Val::DoubleVal(0.0)));
    let floats = Float64Array::from(vec![f64::NAN, -0.0]);
    assert_eq!(
        cells(&floats, "Float32"),
        [vec![], cell(Val::FloatVal(-0.0))]
    );
    let times = TimestampMicrosecondArray::from(vec![-1_500_000]);
    assert_eq!(
        cells(&times, "UnixTimestamp"),
        [cell(Val::UnixTimestampVal(-2))]
    );
    let bytes = BinaryArray::from(vec![&b""[..], b"x"]);
    assert_eq!(cells(&bytes.slice(0, 1), "Bytes"), [[0x0a, 0]]);
}

#[test]
fn lists_and_sets() {
    let mut lists = ListBuilder::new(Int64Builder::new());
    lists.append_value([Some(3), None, Some(3)]);
    lists.append_value([]);
    lists.append_null();
    lists.append_value([Some(5), Some(5), Some(-1)]);
    let lists = lists.finish();
    let list = |val: &[i64]| cell(Val::Int64ListVal(m::Int64List { val: val.to_vec() }));
    assert_eq!(
        cells(&lists, "Array(Int64)"),
        [list(&[3, 0, 3]), list(&[]), vec![], list(&[5, 5, -1])]
    );
    let set = cell(Val::Int64SetVal(m::Int64List { val: vec![5, -1] }));
    assert_eq!(cells(&lists.slice(3, 1), "Set(Int64)"), [set]);
    let error = encode(&lists, &"Set(Int64)".parse().unwrap()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Encode);
    assert!(error.to_string().starts_with("row 0: a set"), "{error}");
    let floats = ListArray::from_iter_primitive::<Float64Type, _, _>([Some([None, Some(0.5)])]);
    let float = |val: &[f32]| {
        let val = val.to_vec();
        cell(Val::FloatListVal(m::FloatList { val }))
    };
    assert_eq!(cells(&floats, "Array(Float32)"), [float(&[f32::NAN, 0.5])]);
}

#[test]
fn messages_longer_than_their_lengths_first_byte() {
    for length in [0, 1, 127, 128, 16_383, 16_384, 70_000] {
        let text = "x".repeat(length);
        let array = StringArray::from(vec![format!(r#"{{"k": {{"l": "{text}"}}}}"#)]);
        let inner = [(
            "l".to_owned(),
            m::Value {
                val: Some(Val::StringVal(text)),
            },
        )]
        .into();
        let inner = m::Value {
            val: Some(Val::MapVal(m::Map { val: inner })),
        };
        let val = [("k".to_owned(), inner)].into();
        assert_eq!(cells(&array, "Map"), [cell(Val::MapVal(m::Map { val }))]);
    }
}

#[test]
fn the_row_at_fault_is_named() {
    let values: Vec<i64> = (0..1000)
        .map(|row| if row >= 700 { 1 << 40 } else { row })
        .collect();
    let error = encode(&Int64Array::from(values), &FeastType::Int32).unwrap_err();
    assert_eq!(
        error.to_string(),
        "row 700: 1099511627776 does not fit in Int32"
    );
    let texts = StringArray::from(vec!["x"; 3]);
    let error = encode(&texts, &"Map".parse().unwrap()).unwrap_err();
    assert!(
        error.to_string().starts_with("row 0: not a JSON"),
        "{error}"
    );
    let error = encode(&texts, &FeastType::Bool).unwrap_err();
    assert_eq!(error.to_string(), "a bool cannot be made from Utf8");
}

#[test]
fn texts_that_stand_for_nothing() {
    for text in [
        "",
        "[",
        "[]",
        "[null]",
        "[[1]]",
        "[1, 2.5]",
        r#"{"$int32": 5000000000}"#,
        r#"{"$bytes": "?"}"#,
        r#"{"$double": "x"}"#,
        r#"{"$zoned_timestamp": [1]}"#,
        r#"{"$scalar_map": [[{}, 1]]}"#,
        r#"{"$bool_list": [1]}"#,
        r#"{"$map_list": [1]}"#,
        "18446744073709551615",
    ] {
        let array = StringArray::from(vec![text]);
        let error = encode(&array, &FeastType::Invalid).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Encode, "{text}");
    }
    // A `$` that is no tag is a key.
    let array = StringArray::from(vec![r#"{"$no tag": 1}"#]);
    let cells = cells(&array, "Invalid");
    assert!(matches!(
        m::Value::decode(&cells[0][..]).unwrap().val,
        Some(Val::MapVal(_))
    ));
}

proptest! {
    #[test]
    fn undeclared_values_come_back(val in any_val()) {
        let shown = format!("{val:?}");
        prop_assume!(!shown.contains("NaN") && !shown.contains("-9223372036854775808"));
        let bytes = cell(val);
        let mut decoder = ColumnDecoder::new(&FeastType::Invalid, 1);
        decoder.extend([Some(&bytes[..])].into_iter()).unwrap();
        let texts: ArrayRef = decoder.finish();
        let again = cells(&texts, "Invalid");
        prop_assert_eq!(
            m::Value::decode(&again[0][..]).unwrap(),
            m::Value::decode(&bytes[..]).unwrap()
        );
    }

    #[test]
    fn any_text_is_survived(text in any::<String>()) {
        let array: ArrayRef = Arc::new(StringArray::from(vec![text]));
        for dtype in ["Invalid", "Map", "Json", "Struct({})", "Float64", "Array(Map)"] {
            let _ = encode(&array, &dtype.parse().unwrap());
        }
    }
}
