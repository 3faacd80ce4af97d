use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::types::Int16Type;
use arrow_array::{
    Array, ArrayRef, Date32Array, DictionaryArray, FixedSizeBinaryArray, Float64Array, Int32Array,
    Int64Array, LargeStringArray, NullArray, RecordBatch, StringArray, StringViewArray,
    TimestampMicrosecondArray, TimestampNanosecondArray, UInt8Array, UInt64Array,
};
use proptest::prelude::*;

use super::*;

const MEMORY: usize = 1 << 20;

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(
        columns.into_iter().map(|(name, array)| (name, array, true)),
    )
    .unwrap()
}

fn times(times: &[i64]) -> ArrayRef {
    Arc::new(TimestampNanosecondArray::from(times.to_vec()))
}

fn by(join_keys: &[&str], created: Option<&str>, hint: usize, memory: usize) -> LatestRows {
    LatestRows::new(
        join_keys.iter().map(|&name| name.to_owned()).collect(),
        "at".to_owned(),
        created.map(str::to_owned),
        hint,
        memory,
    )
}

/// The positions of the latest rows, by as many passes as it takes.
fn latest(rows: &mut LatestRows, batches: &[RecordBatch]) -> Vec<usize> {
    let mut number = 0;
    while number < rows.passes() {
        rows.start(number).unwrap();
        for batch in batches {
            rows.add(batch).unwrap();
        }
        number += 1;
    }
    rows.finish().unwrap();
    let mut positions = Vec::new();
    let mut before = 0;
    for batch in batches {
        let mask = rows.mask(batch.num_rows()).unwrap();
        positions.extend(mask.values().set_indices().map(|row| before + row));
        before += batch.num_rows();
    }
    assert_eq!(positions.len(), rows.latest());
    assert_eq!(before, rows.rows());
    positions
}

fn latest_of(key: ArrayRef, event: &[i64]) -> Vec<usize> {
    latest(
        &mut by(&["id"], None, event.len(), MEMORY),
        &[batch(vec![("id", key), ("at", times(event))])],
    )
}

fn error_of(join_keys: &[&str], created: Option<&str>, columns: Vec<(&str, ArrayRef)>) -> Error {
    let mut rows = by(join_keys, created, 0, MEMORY);
    rows.start(0).unwrap();
    rows.add(&batch(columns)).unwrap_err()
}

#[test]
fn the_greatest_event_timestamp_is_the_latest() {
    let keys = Arc::new(Int64Array::from(vec![1, 2, 1, 1, 2]));
    assert_eq!(latest_of(keys, &[5, 7, 6, -1, 8]), [2, 4]);
}

#[test]
fn of_equals_the_last_in_the_source_is_the_latest() {
    let keys = Arc::new(Int64Array::from(vec![1, 2, 1]));
    assert_eq!(latest_of(keys, &[5, 5, 5]), [1, 2]);
}

#[test]
fn created_timestamps_decide_between_equals_and_null_is_the_lowest() {
    let created = |values: Vec<Option<i64>>| -> ArrayRef {
        Arc::new(TimestampMicrosecondArray::from(values))
    };
    for (event, values, winner) in [
        ([1, 1, 1], vec![Some(3), Some(9), Some(4)], 1),
        ([1, 2, 1], vec![Some(3), None, Some(4)], 1),
        ([1, 1, 1], vec![None, Some(-5), None], 1),
        ([1, 1, 1], vec![Some(i64::MIN), None, None], 0),
        ([1, 1, 1], vec![None, None, None], 2),
        ([1, 1, 1], vec![Some(3), Some(3), None], 1),
    ] {
        let batch = batch(vec![
            ("id", Arc::new(Int64Array::from(vec![1, 1, 1]))),
            ("at", times(&event)),
            ("made", created(values)),
        ]);
        let mut rows = by(&["id"], Some("made"), 3, MEMORY);
        assert_eq!(latest(&mut rows, &[batch]), [winner]);
    }
}

#[test]
fn without_join_keys_there_is_one_entity() {
    let batches = [
        batch(vec![("at", times(&[3, 1]))]),
        batch(vec![("at", times(&[2, 3, 0]))]),
    ];
    assert_eq!(latest(&mut by(&[], None, 5, MEMORY), &batches), [3]);
}

#[test]
fn a_source_without_a_row_has_no_latest() {
    let empty = batch(vec![
        ("id", Arc::new(NullArray::new(0))),
        ("at", times(&[])),
    ]);
    assert!(latest(&mut by(&["id"], None, 0, MEMORY), &[empty]).is_empty());
    assert!(latest(&mut by(&["id"], None, 0, MEMORY), &[]).is_empty());
}

#[test]
fn keys_of_every_kind_are_known_by_their_values() {
    let text = [
        "a",
        "",
        "a",
        "ab",
        "longer than a view's twelve bytes",
        "ab",
    ];
    let expected = [1, 2, 4, 5];
    let mut columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from(text.to_vec())),
        Arc::new(LargeStringArray::from(text.to_vec())),
        Arc::new(StringViewArray::from(text.to_vec())),
        Arc::new(text.into_iter().collect::<DictionaryArray<Int16Type>>()),
        Arc::new(Int32Array::from(vec![1, 0, 1, -2, i32::MIN, -2])),
        Arc::new(UInt8Array::from(vec![1, 0, 1, 255, 7, 255])),
        Arc::new(UInt64Array::from(vec![1, 0, 1, u64::MAX, 7, u64::MAX])),
        Arc::new(Date32Array::from(vec![1, 0, 1, -2, 7, -2])),
        Arc::new(TimestampMicrosecondArray::from(vec![1, 0, 1, -2, 7, -2]).with_timezone("UTC")),
        Arc::new(
            FixedSizeBinaryArray::try_from_iter([b"ab", b"aa", b"ab", b"zz", b"az", b"zz"].iter())
                .unwrap(),
        ),
    ];
    for kind in [
        DataType::Binary,
        DataType::LargeBinary,
        DataType::BinaryView,
    ] {
        columns.push(arrow_cast::cast(&columns[0], &kind).unwrap());
    }
    let nested = DataType::Dictionary(Box::new(DataType::UInt32), Box::new(DataType::LargeBinary));
    columns.push(arrow_cast::cast(&columns[0], &nested).unwrap());
    for keys in columns {
        let kind = keys.data_type().clone();
        assert_eq!(latest_of(keys.clone(), &[0; 6]), expected, "{kind}");
        // In two batches, the second a slice.
        let whole = batch(vec![("id", keys), ("at", times(&[0; 6]))]);
        let halves = [whole.slice(0, 3), whole.slice(3, 3)];
        let mut rows = by(&["id"], None, 6, MEMORY);
        assert_eq!(latest(&mut rows, &halves), expected, "{kind}");
    }
}

#[test]
fn values_of_several_keys_do_not_run_into_each_other() {
    let whole = batch(vec![
        (
            "a",
            Arc::new(StringArray::from(vec!["x", "xy", "x", "yx", "x"])),
        ),
        (
            "b",
            Arc::new(StringArray::from(vec!["yx", "x", "yx", "x", ""])),
        ),
        ("at", times(&[0; 5])),
    ]);
    let mut rows = by(&["a", "b"], None, 5, MEMORY);
    assert_eq!(latest(&mut rows, &[whole]), [1, 2, 3, 4]);
}

#[test]
fn nulls_and_unfit_types_are_told_with_column_and_row() {
    let id = |values: Vec<Option<i64>>| -> ArrayRef { Arc::new(Int64Array::from(values)) };
    let mut rows = by(&["id"], None, 0, MEMORY);
    rows.start(0).unwrap();
    rows.add(&batch(vec![
        ("id", id(vec![Some(1); 3])),
        ("at", times(&[0; 3])),
    ]))
    .unwrap();
    let error = rows
        .add(&batch(vec![
            ("id", id(vec![Some(1), None])),
            ("at", times(&[0, 0])),
        ]))
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::EntityKey);
    assert!(error.to_string().contains("'id'"), "{error}");
    assert!(error.to_string().contains("row 4 "), "{error}");

    let texts = DictionaryArray::<Int16Type>::new(
        vec![0, 1].into(),
        Arc::new(StringArray::from(vec![Some("a"), None])),
    );
    let error = error_of(
        &["id"],
        None,
        vec![("id", Arc::new(texts)), ("at", times(&[0, 0]))],
    );
    assert_eq!(error.kind(), ErrorKind::EntityKey);
    assert!(error.to_string().contains("row 1 "), "{error}");

    let error = error_of(
        &["id"],
        None,
        vec![
            ("id", Arc::new(Float64Array::from(vec![1.0]))),
            ("at", times(&[0])),
        ],
    );
    assert_eq!(error.kind(), ErrorKind::EntityKey);
    assert!(error.to_string().contains("Float64"), "{error}");

    let event: ArrayRef = Arc::new(TimestampNanosecondArray::from(vec![Some(1), None]));
    let error = error_of(
        &["id"],
        None,
        vec![("id", id(vec![Some(1); 2])), ("at", event)],
    );
    assert_eq!(error.kind(), ErrorKind::Encode);
    assert!(error.to_string().contains("'at'"), "{error}");
    assert!(error.to_string().contains("row 1 "), "{error}");

    for (event, made) in [
        (id(vec![Some(1)]), times(&[0])),
        (times(&[0]), Arc::new(StringArray::from(vec!["2020-01-01"]))),
    ] {
        let columns = vec![("id", id(vec![Some(1)])), ("at", event), ("made", made)];
        let error = error_of(&["id"], Some("made"), columns);
        assert_eq!(error.kind(), ErrorKind::Encode);
        assert!(error.to_string().contains("is no timestamp"), "{error}");
    }

    let error = error_of(&["id"], None, vec![("at", times(&[0]))]);
    assert_eq!(error.to_string(), "the source has no column 'id'");
}

#[test]
fn timestamps_of_another_unit_are_not_compared() {
    let id = || -> ArrayRef { Arc::new(Int64Array::from(vec![1])) };
    let mut rows = by(&["id"], None, 0, MEMORY);
    rows.start(0).unwrap();
    rows.add(&batch(vec![("id", id()), ("at", times(&[0]))]))
        .unwrap();
    let microseconds = Arc::new(TimestampMicrosecondArray::from(vec![0]));
    let error = rows
        .add(&batch(vec![("id", id()), ("at", microseconds)]))
        .unwrap_err();
    assert!(error.to_string().contains("'at'"), "{error}");
}

/// So many entities, each with `versions` rows.
fn source(entities: i64, versions: usize) -> Vec<RecordBatch> {
    (0..versions)
        .map(|version| {
            let keys = Int64Array::from_iter_values(0..entities);
            let event: Vec<i64> = (0..entities)
                .map(|id| (id + version as i64) % versions as i64)
                .collect();
            batch(vec![("id", Arc::new(keys)), ("at", times(&event))])
        })
        .collect()
}

#[test]
fn a_table_too_small_for_all_takes_more_passes() {
    let (entities, versions) = (5_000, 3);
    let batches = source(entities, versions);
    let size = entities as usize;
    let expected: Vec<usize> = (0..versions)
        .flat_map(|version| {
            (0..size)
                .filter(move |id| (id + version) % versions == versions - 1)
                .map(move |id| version * size + id)
        })
        .collect();
    for hint in [0, size, versions * size] {
        let mut rows = by(&["id"], None, hint, 0);
        let promised = rows.passes();
        assert_eq!(latest(&mut rows, &batches), expected);
        let passes = rows.passes();
        assert!((6..16).contains(&passes), "{passes}");
        assert!(hint == 0 || promised >= passes, "{promised} {passes}");
    }
    let mut rows = by(&["id"], None, versions * size, MEMORY);
    assert_eq!(latest(&mut rows, &batches), expected);
    assert_eq!(rows.passes(), 1);
}

#[test]
fn one_pass_is_promised_where_the_table_suffices() {
    // 64 bytes an entity, in a table whose size is a power of two.
    assert_eq!(by(&["id"], None, 700_000, 64 << 20).passes(), 1);
    assert!(by(&["id"], None, 1_100_000, 64 << 20).passes() > 1);
    // 80 bytes with created timestamps.
    assert_eq!(by(&["id"], Some("made"), 700_000, 80 << 20).passes(), 1);
}

#[test]
fn passes_that_are_not_needed_do_nothing() {
    let batches = source(10, 2);
    let mut rows = by(&["id"], None, 1 << 30, 0);
    for number in 0..3 {
        rows.start(number).unwrap();
        for batch in &batches {
            rows.add(batch).unwrap();
        }
    }
    rows.finish().unwrap();
    assert_eq!(rows.latest(), 10);
}

#[test]
fn a_source_that_changes_is_told() {
    let batches = source(2_000, 1);
    let message = |error: Error| {
        assert_eq!(error.kind(), ErrorKind::Argument);
        error.to_string()
    };
    let after_a_pass = || {
        let mut rows = by(&["id"], None, 2_000, 0);
        rows.start(0).unwrap();
        rows.add(&batches[0]).unwrap();
        rows.start(1).unwrap();
        rows
    };
    let mut more = after_a_pass();
    more.add(&batches[0]).unwrap();
    let error = message(more.add(&batches[0].slice(0, 1)).unwrap_err());
    assert!(error.contains("2000 rows, and has 2001"), "{error}");
    let mut fewer = after_a_pass();
    fewer.add(&batches[0].slice(1, 1_999)).unwrap();
    let error = message(fewer.start(2).unwrap_err());
    assert!(error.contains("2000 rows, and has 1999"), "{error}");
    let mut masked = by(&["id"], None, 2_000, MEMORY);
    assert_eq!(latest(&mut masked, &batches).len(), 2_000);
    let error = message(masked.mask(1).unwrap_err());
    assert!(error.contains("2000 rows, and has 2001"), "{error}");
}

#[test]
fn steps_out_of_order_are_refused() {
    let batches = source(2_000, 1);
    let mut rows = by(&["id"], None, 0, 0);
    assert!(rows.add(&batches[0]).is_err());
    assert!(rows.mask(1).is_err());
    assert!(rows.finish().is_err());
    assert!(rows.start(1).is_err());
    rows.start(0).unwrap();
    rows.add(&batches[0]).unwrap();
    assert!(rows.mask(1).is_err());
    let error = rows.finish().unwrap_err().to_string();
    assert!(error.contains("1 passes"), "{error}");
    assert_eq!(
        latest(&mut by(&["id"], None, 0, MEMORY), &batches).len(),
        2_000
    );
}

#[derive(Clone, Debug)]
struct Row {
    number: i64,
    text: String,
    event: i64,
    created: Option<i64>,
}

fn rows() -> impl Strategy<Value = Vec<Row>> {
    let row = (0..40_i64, "[ab]{0,3}", -3..3_i64, any::<Option<bool>>());
    let row = row.prop_map(|(number, text, event, created)| Row {
        number,
        text,
        event,
        created: created.map(i64::from),
    });
    prop::collection::vec(row, 0..4_000)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn the_latest_are_those_of_a_naive_search(
        rows in rows(),
        size in 1..500_usize,
        small in any::<bool>(),
        with_created in any::<bool>(),
    ) {
        let mut best: HashMap<(i64, &str), (i64, Option<i64>, usize)> = HashMap::new();
        for (position, row) in rows.iter().enumerate() {
            let created = row.created.filter(|_| with_created);
            let this = (row.event, created, position);
            let known = best.entry((row.number, &row.text)).or_insert(this);
            *known = this.max(*known);
        }
        let mut expected: Vec<usize> = best.values().map(|&(_, _, position)| position).collect();
        expected.sort_unstable();

        let batches: Vec<RecordBatch> = rows
            .chunks(size)
            .enumerate()
            .map(|(index, rows)| {
                let texts: ArrayRef = Arc::new(StringArray::from_iter_values(
                    rows.iter().map(|row| &row.text),
                ));
                // A key is known by its value, however it is encoded.
                let texts = match index % 3 {
                    0 => texts,
                    1 => arrow_cast::cast(&texts, &DataType::Utf8View).unwrap(),
                    _ => {
                        let kind = DataType::Dictionary(
                            Box::new(DataType::Int32),
                            Box::new(DataType::Utf8),
                        );
                        arrow_cast::cast(&texts, &kind).unwrap()
                    }
                };
                let numbers = Int64Array::from_iter_values(rows.iter().map(|row| row.number));
                let event: Vec<i64> = rows.iter().map(|row| row.event).collect();
                let created: TimestampMicrosecondArray =
                    rows.iter().map(|row| row.created).collect();
                batch(vec![
                    ("made", Arc::new(created)),
                    ("text", texts),
                    ("at", times(&event)),
                    ("number", Arc::new(numbers)),
                ])
            })
            .collect();
        let created = with_created.then_some("made");
        let memory = if small { 0 } else { MEMORY };
        let mut rows = by(&["number", "text"], created, 0, memory);
        prop_assert_eq!(latest(&mut rows, &batches), expected);
    }
}
