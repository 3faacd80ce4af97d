//! A mutation fuzzer of the value decoder, with prost as the oracle.
//!
//! Cells that Feast could have written are damaged and spliced; for each the decoder must not
//! panic, must agree with prost on what is valid, and must read the same value: decoded to JSON
//! and encoded again, prost reads it as it reads the cell.
//!
//! Where prost and upb, which Feast uses, disagree, the decoder follows upb: a known field in
//! another wire type is an unknown field (prost: an error), tags and lengths take at most five
//! bytes (prost: ten), the tenth byte of a varint may be anything below 128 (prost: at most 1).
//! Of damaged maps prost is no judge: it does not look at the wire type of an entry, and keeps
//! entries with foreign fields. `tests/test_values.py` holds them against upb itself.

use _core::value::cursor::WireError;
use _core::value::message::{self as m, map_key::Key, value::Val};
use _core::value::number::number;
use _core::value::wire::{merged_body, parse};
use _core::value::{Cause, ColumnDecoder, FeastType, encode};
use arrow_array::Array;
use arrow_array::cast::AsArray;
use prost::Message;

use super::{Random, fuzz};

const DTYPES: [&str; 20] = [
    "Bytes",
    "String",
    "Int32",
    "Int64",
    "Float64",
    "Float32",
    "Bool",
    "UnixTimestamp",
    "Map",
    "Json",
    "ScalarMap",
    "ZonedTimestamp",
    "Array(Int64)",
    "Array(Float32)",
    "Set(String)",
    "Array(Bool)",
    "Array(Array(Int64))",
    "Array(Map)",
    "Struct({a: Int64, b: Array(Float32)})",
    "Array(Struct({a: String}))",
];

fn value(val: Val) -> m::Value {
    m::Value { val: Some(val) }
}

fn samples() -> Vec<Vec<u8>> {
    let texts = |texts: &[&str]| m::StringList {
        val: texts.iter().map(|&text| text.to_owned()).collect(),
    };
    let map = m::Map {
        val: [
            ("a".to_owned(), value(Val::Int64Val(-1))),
            (
                "b".to_owned(),
                value(Val::FloatListVal(m::FloatList { val: vec![0.5] })),
            ),
            ("é".to_owned(), m::Value { val: None }),
        ]
        .into(),
    };
    let entry = |key, val| m::ScalarMapEntry {
        key: Some(m::MapKey { key: Some(key) }),
        value: Some(value(val)),
    };
    let scalar_map = m::ScalarMap {
        val: vec![
            entry(Key::Int64Key(5), Val::BoolVal(true)),
            entry(Key::UuidKey("u".to_owned()), Val::MapVal(map.clone())),
        ],
    };
    let nested = m::RepeatedValue {
        val: vec![
            value(Val::Int64ListVal(m::Int64List { val: vec![1, -1] })),
            m::Value { val: None },
            value(Val::StringSetVal(texts(&["x"]))),
        ],
    };
    let vals = vec![
        Val::BytesVal(vec![0xff, 0]),
        Val::StringVal("héllo".to_owned()),
        Val::Int32Val(-5),
        Val::Int64Val(1 << 40),
        Val::DoubleVal(0.1),
        Val::FloatVal(1.5),
        Val::BoolVal(true),
        Val::UnixTimestampVal(1_700_000_000),
        Val::BytesListVal(m::BytesList {
            val: vec![vec![1], vec![]],
        }),
        Val::StringListVal(texts(&["a", "", "é"])),
        Val::Int32ListVal(m::Int32List {
            val: vec![1, -2, 300],
        }),
        Val::Int64ListVal(m::Int64List {
            val: vec![1, -2, 1 << 50],
        }),
        Val::DoubleListVal(m::DoubleList {
            val: vec![0.1, -0.0],
        }),
        Val::FloatSetVal(m::FloatList {
            val: vec![0.5, 2.0],
        }),
        Val::BoolListVal(m::BoolList {
            val: vec![true, false],
        }),
        Val::UnixTimestampListVal(m::Int64List { val: vec![5] }),
        Val::MapVal(map.clone()),
        Val::MapListVal(m::MapList {
            val: vec![map.clone(), m::Map::default()],
        }),
        Val::JsonVal("{}".to_owned()),
        Val::StructVal(map.clone()),
        Val::StructListVal(m::MapList { val: vec![map] }),
        Val::UuidVal("u".to_owned()),
        Val::DecimalListVal(texts(&["1.5"])),
        Val::ListVal(nested.clone()),
        Val::SetVal(m::RepeatedValue {
            val: vec![value(Val::ListVal(nested))],
        }),
        Val::ScalarMapVal(scalar_map),
        Val::ZonedTimestampVal(m::ZonedTimestamp {
            unix_timestamp: 5,
            zone: "UTC".to_owned(),
        }),
    ];
    let mut cells: Vec<_> = vals
        .into_iter()
        .map(|val| value(val).encode_to_vec())
        .collect();
    cells.push(Vec::new());
    cells.push(vec![0x0b, 0x13, 0x08, 1, 0x14, 0x0c]);
    cells.push(vec![0x9a, 3, 2, 1, 2]);
    cells
}

fn damage(random: &mut Random, samples: &[Vec<u8>]) -> Vec<u8> {
    let mut cell = samples[random.below(samples.len())].clone();
    for _ in 0..random.below(4) {
        let position = random.below(cell.len() + 1);
        match random.below(6) {
            0 if position < cell.len() => cell[position] = random.next() as u8,
            1 if position < cell.len() => cell[position] ^= 1 << random.below(8),
            2 => cell.truncate(position),
            3 => cell.insert(position, random.next() as u8),
            4 => cell.extend_from_slice(&samples[random.below(samples.len())]),
            _ if position < cell.len() => {
                cell.remove(position);
            }
            _ => {}
        }
    }
    cell
}

/// Whether prost's verdict may differ from upb's, by the list above.
fn may_differ(
    cell: &[u8],
    oracle: &Result<m::Value, prost::DecodeError>,
    cause: Option<Cause>,
) -> bool {
    if may_hold_map(cell) {
        return true;
    }
    match oracle {
        Ok(_) => matches!(
            cause,
            Some(
                Cause::Unknown(_)
                    | Cause::Wire(WireError::Tag | WireError::Length | WireError::Depth)
            )
        ),
        Err(error) => {
            let text = error.to_string();
            text.contains("invalid wire type") || text.contains("invalid varint")
        }
    }
}

/// Whether the tag of a map, a struct or a list of them is anywhere in the bytes.
fn may_hold_map(cell: &[u8]) -> bool {
    let tag = |pair: &[u8]| {
        matches!(
            (pair[0], pair[1] & 0x7f),
            (0xa2 | 0xaa, 1) | (0x92 | 0x9a, 2)
        )
    };
    cell.windows(2).any(tag)
}

/// Whether the JSON text says less than the message, on purpose: NaN has no payload, a null
/// timestamp is null, and what a scalar map's entry lacks is written as empty.
fn is_exact(message: &m::Value, shown: &str) -> bool {
    let loses = ["NaN", "-9223372036854775808", "key: None", "value: None"];
    message.val.is_some() && !loses.iter().any(|what| shown.contains(what))
}

fn check(cell: &[u8], damaged: bool, invalid: &FeastType, dtypes: &[FeastType]) {
    let oracle = m::Value::decode(cell);
    let mut decoder = ColumnDecoder::new(invalid, 1);
    let outcome = decoder.extend([Some(cell)].into_iter());
    match (outcome, &oracle) {
        (Err(_), Err(_)) => {}
        (Err(error), Ok(_)) => assert!(
            may_differ(cell, &oracle, Some(error.cause)),
            "{error} but prost reads {oracle:?} from {cell:02x?}"
        ),
        (Ok(()), Err(_)) => assert!(
            may_differ(cell, &oracle, None),
            "{:?} but prost says {oracle:?} of {cell:02x?}",
            decoder.finish().as_string::<i64>()
        ),
        (Ok(()), Ok(message)) => {
            let shown = format!("{message:?}");
            let again = encode(&decoder.finish(), invalid).expect("its own text");
            let again = m::Value::decode(again.value(0)).expect("a Value");
            if is_exact(message, &shown) && !(damaged && may_hold_map(cell)) {
                assert_eq!(format!("{again:?}"), shown, "{cell:02x?}");
            }
        }
    }
    let _ = parse(cell);
    let _ = merged_body(cell);
    let _ = number(Some(cell));
    for dtype in dtypes {
        let mut decoder = ColumnDecoder::new(dtype, 2);
        let outcome = decoder.extend([None, Some(cell)].into_iter());
        let rows = decoder.finish().len();
        assert_eq!(rows, if outcome.is_ok() { 2 } else { 0 });
    }
}

#[test]
fn damaged_cells() {
    let invalid = FeastType::Invalid;
    let dtypes: Vec<FeastType> = DTYPES.iter().map(|text| text.parse().unwrap()).collect();
    let samples = samples();
    for sample in &samples {
        check(sample, false, &invalid, &dtypes);
    }
    fuzz("cells", |random| {
        let cell = damage(random, &samples);
        check(&cell, true, &invalid, &dtypes);
    });
}
