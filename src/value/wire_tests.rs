//! `parse` against prost, and the corners that only upb decides (`tests/test_values.py` holds it
//! against upb itself).

use proptest::prelude::*;
use prost::Message as _;

use super::check;
use super::cursor::{Cursor, MAX_DEPTH, Payload, WireError};
use super::field::Field;
use super::message::{self, value::Val};
use super::wire::{Value, merged_body, parse};

fn cell(val: Val) -> Vec<u8> {
    message::Value { val: Some(val) }.encode_to_vec()
}

#[test]
fn scalars() {
    assert_eq!(parse(&[]), Ok(Value::Null));
    assert_eq!(parse(&cell(Val::DoubleVal(-0.5))), Ok(Value::Double(-0.5)));
    assert_eq!(parse(&cell(Val::FloatVal(1.5))), Ok(Value::Float(1.5)));
    assert_eq!(parse(&cell(Val::Int32Val(-7))), Ok(Value::Int32(-7)));
    assert_eq!(
        parse(&cell(Val::Int64Val(i64::MIN))),
        Ok(Value::Int64(i64::MIN))
    );
    assert_eq!(parse(&cell(Val::BoolVal(false))), Ok(Value::Bool(false)));
    assert_eq!(
        parse(&cell(Val::StringVal("é".into()))),
        Ok(Value::String("é"))
    );
    assert_eq!(
        parse(&cell(Val::BytesVal(vec![255]))),
        Ok(Value::Bytes(&[255]))
    );
    assert_eq!(
        parse(&cell(Val::UnixTimestampVal(9))),
        Ok(Value::UnixTimestamp(9))
    );
    assert_eq!(
        parse(&cell(Val::DecimalVal("1.50".into()))),
        Ok(Value::Text {
            field: Field::Decimal,
            text: "1.50"
        })
    );
}

#[test]
fn unknown_fields_are_never_null() {
    assert_eq!(parse(&[0x9a, 3, 0]), Ok(Value::Unknown(51)));
    // A double with a float's wire type.
    assert_eq!(parse(&[0x2d, 0, 0, 0, 0]), Ok(Value::Unknown(5)));
    assert_eq!(parse(&[0x0b, 0x0c]), Ok(Value::Unknown(1)));
    // Beside a known field, protobuf's rule holds.
    assert_eq!(parse(&[0x9a, 3, 0, 0x20, 1]), Ok(Value::Int64(1)));
    assert_eq!(parse(&[0x20, 1, 0x9a, 3, 0]), Ok(Value::Int64(1)));
}

#[test]
fn corners_of_the_wire() {
    // Int32 keeps the low 32 bits, bool looks at all 64.
    assert_eq!(
        parse(&[0x18, 0xff, 0xff, 0xff, 0xff, 0x1f]),
        Ok(Value::Int32(-1))
    );
    assert_eq!(
        parse(&[0x38, 0x80, 0x80, 0x80, 0x80, 0x80, 0x20]),
        Ok(Value::Bool(true))
    );
    // Bits beyond the 64th fall off.
    let mut long = vec![0x20];
    long.extend([0xff; 9]);
    long.push(0x7f);
    assert_eq!(parse(&long), Ok(Value::Int64(-1)));
    long.pop();
    assert_eq!(parse(&long), Err(WireError::Truncated));
    long.extend([0xff, 1]);
    assert_eq!(parse(&long), Err(WireError::Varint));
    // Tags and lengths of five bytes, and of six.
    assert_eq!(parse(&[0xa0, 0x80, 0x80, 0x80, 0, 5]), Ok(Value::Int64(5)));
    assert_eq!(
        parse(&[0xa0, 0x80, 0x80, 0x80, 0x80, 0, 5]),
        Err(WireError::Tag)
    );
    assert_eq!(
        parse(&[0x0a, 0x81, 0x80, 0x80, 0x80, 0, 5]),
        Ok(Value::Bytes(&[5]))
    );
    assert_eq!(
        parse(&[0x0a, 0x81, 0x80, 0x80, 0x80, 0x80, 0, 5]),
        Err(WireError::Length)
    );
    for (bytes, cause) in [
        (&[0x00, 5][..], WireError::Tag),
        (&[0x0e], WireError::Tag),
        (&[0x0c], WireError::Group),
        (&[0x0b], WireError::Group),
        (&[0x0b, 0x14], WireError::Group),
        (&[0x29, 1], WireError::Truncated),
        (&[0x12, 2, 0x61], WireError::Truncated),
        (&[0x12, 1, 0xff], WireError::Utf8),
        (&[0x12, 3, 0xed, 0xa0, 0x80], WireError::Utf8),
        // An overwritten value must be valid too.
        (&[0x62, 3, 0x0a, 1, 0xff, 0x20, 1], WireError::Utf8),
        (&[0x7a, 3, 0x0a, 1, 1, 0x20, 1], WireError::Packed),
    ] {
        assert_eq!(parse(bytes), Err(cause), "{bytes:?}");
    }
    let groups = |depth| [vec![0x0b; depth], vec![0x0c; depth]].concat();
    assert_eq!(parse(&groups(100)), Ok(Value::Unknown(1)));
    assert_eq!(parse(&groups(101)), Err(WireError::Depth));
}

#[test]
fn repeated_messages_are_merged() {
    let list = [0x5a, 3, 0x0a, 1, 7];
    let twice = [list, list].concat();
    assert_eq!(parse(&twice), Ok(Value::Merged(Field::BytesList)));
    assert_eq!(merged_body(&twice), Ok(vec![0x0a, 1, 7, 0x0a, 1, 7]));
    let interrupted = [&list[..], &[0x20, 1], &list].concat();
    assert_eq!(
        parse(&interrupted),
        Ok(Value::Message {
            field: Field::BytesList,
            body: &list[2..]
        })
    );
}

/// Whether prost's and upb's rules differ on `bytes`, given what the full check here says: prost
/// rejects a known field in another wire type and a tenth varint byte beyond 1; it accepts tags
/// and lengths of more than five bytes.
pub(crate) fn decoders_differ(bytes: &[u8], checked: Result<(), WireError>) -> bool {
    match message::Value::decode(bytes) {
        Ok(_) => matches!(checked, Err(WireError::Tag | WireError::Length)),
        Err(error) => {
            let text = error.to_string();
            text.contains("invalid wire type") || text.contains("invalid varint")
        }
    }
}

pub(crate) fn any_val() -> impl Strategy<Value = Val> {
    use message as m;
    let texts = || prop::collection::vec(any::<String>(), 0..4);
    prop_oneof![
        any::<Vec<u8>>().prop_map(Val::BytesVal),
        any::<String>().prop_map(Val::StringVal),
        any::<i32>().prop_map(Val::Int32Val),
        any::<i64>().prop_map(Val::Int64Val),
        any::<f64>().prop_map(Val::DoubleVal),
        any::<f32>().prop_map(Val::FloatVal),
        any::<bool>().prop_map(Val::BoolVal),
        any::<i64>().prop_map(Val::UnixTimestampVal),
        any::<Vec<i64>>().prop_map(|val| Val::Int64ListVal(m::Int64List { val })),
        any::<Vec<i32>>().prop_map(|val| Val::Int32SetVal(m::Int32List { val })),
        any::<Vec<f64>>().prop_map(|val| Val::DoubleListVal(m::DoubleList { val })),
        any::<Vec<f32>>().prop_map(|val| Val::FloatListVal(m::FloatList { val })),
        any::<Vec<bool>>().prop_map(|val| Val::BoolListVal(m::BoolList { val })),
        texts().prop_map(|val| Val::StringListVal(m::StringList { val })),
        texts().prop_map(|val| Val::DecimalSetVal(m::StringList { val })),
        any::<String>().prop_map(Val::JsonVal),
        (any::<i64>(), any::<String>()).prop_map(|(unix_timestamp, zone)| {
            Val::ZonedTimestampVal(m::ZonedTimestamp {
                unix_timestamp,
                zone,
            })
        }),
        (any::<String>(), any::<i64>()).prop_map(|(key, number)| {
            let value = m::Value {
                val: Some(Val::Int64Val(number)),
            };
            Val::MapVal(m::Map {
                val: [(key, value)].into(),
            })
        }),
        texts().prop_map(|val| {
            let inner = m::Value {
                val: Some(Val::StringListVal(m::StringList { val })),
            };
            Val::ListVal(m::RepeatedValue {
                val: vec![inner.clone(), m::Value { val: None }],
            })
        }),
    ]
}

proptest! {
    #[test]
    fn agrees_with_prost_on_what_feast_writes(val in any_val()) {
        let bytes = cell(val.clone());
        let parsed = parse(&bytes).unwrap();
        match (&val, parsed) {
            (Val::BytesVal(a), Value::Bytes(b)) => prop_assert_eq!(&a[..], b),
            (Val::StringVal(a), Value::String(b)) => prop_assert_eq!(a, b),
            (Val::Int32Val(a), Value::Int32(b)) => prop_assert_eq!(*a, b),
            (Val::Int64Val(a), Value::Int64(b)) => prop_assert_eq!(*a, b),
            (Val::DoubleVal(a), Value::Double(b)) => prop_assert_eq!(a.to_bits(), b.to_bits()),
            (Val::FloatVal(a), Value::Float(b)) => prop_assert_eq!(a.to_bits(), b.to_bits()),
            (Val::BoolVal(a), Value::Bool(b)) => prop_assert_eq!(*a, b),
            (Val::UnixTimestampVal(a), Value::UnixTimestamp(b)) => prop_assert_eq!(*a, b),
            (Val::JsonVal(a), Value::Text { text, .. }) => prop_assert_eq!(a, text),
            (_, Value::Message { field, body }) => {
                let mut cursor = Cursor::new(&bytes);
                let first = cursor.field(0).unwrap();
                prop_assert_eq!(first, Some((field as u32, Payload::Bytes(body))));
                prop_assert_eq!(check::message(field.layout(), body, MAX_DEPTH), Ok(()));
            }
            other => prop_assert!(false, "{other:?}"),
        }
    }

    #[test]
    fn accepts_what_prost_accepts_of_damaged_cells(
        val in any_val(),
        position in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        cut in any::<prop::sample::Index>(),
        shorten in any::<bool>(),
    ) {
        let mut bytes = cell(val);
        if !bytes.is_empty() {
            let position = position.index(bytes.len());
            bytes[position] = byte;
            if shorten {
                bytes.truncate(cut.index(bytes.len()));
            }
        }
        let checked = check::value(&bytes, MAX_DEPTH + 1);
        let valid = checked.is_ok();
        let oracle = message::Value::decode(&bytes[..]).is_ok();
        prop_assert!(
            valid == oracle || decoders_differ(&bytes, checked),
            "{checked:?} {oracle} {bytes:?}"
        );
        // The shallow parse rejects nothing that the full check accepts.
        prop_assert!(parse(&bytes).is_ok() || !valid);
    }

    #[test]
    fn survives_any_bytes(bytes in any::<Vec<u8>>()) {
        let _ = parse(&bytes);
        let _ = merged_body(&bytes);
        let _ = check::value(&bytes, MAX_DEPTH + 1);
    }
}
