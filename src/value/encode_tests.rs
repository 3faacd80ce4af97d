//! `encode` against prost, and as the inverse of `decode`. `tests/test_values.py` holds its bytes
//! against Feast's own.

use std::sync::Arc;

use arrow_array::builder::{Int64Builder, ListBuilder};
use arrow_array::{
    Array, ArrayRef, BinaryArray, Float64Array, Int64Array, StringArray, TimestampMicrosecondArray,
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
        [cell(Val::UnixTimestampVal(-1))]
    );
    // Empty bytes are null only where there are no others.
    let bytes = BinaryArray::from(vec![&b""[..], b"x"]);
    assert_eq!(cells(&bytes, "Bytes")[0], [0x0a, 0]);
    assert!(cells(&bytes.slice(0, 1), "Bytes")[0].is_empty());
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
