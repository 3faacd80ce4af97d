//! Dumped hashes made up by chance.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::entity_key::KeyVersion;
use crate::grid::listpack::{HASH_LISTPACK, TAIL_BYTES};
use crate::grid::tests::feed;
use crate::plan::{Plan, ReadRequest, feature_field};
use crate::redis::reply::ReplySink;
use crate::value::FeastType;

const FEATURES: [&str; 3] = ["a", "b", "c"];

fn plan() -> Arc<Plan> {
    let mut plan = Plan::new(vec!["id".to_owned()]);
    let group = plan.add_group(&["id"], &[0], KeyVersion::V3, "p").unwrap();
    for feature in FEATURES {
        plan.add_column(group, feature, "v", feature, FeastType::Int64, None);
    }
    Arc::new(plan)
}

/// A scanner of DUMPs of so many entities.
fn scanner(plan: &Arc<Plan>, entities: usize) -> GridScanner {
    let (keys, ends) = (vec![b'k'; entities], (1..=entities).collect());
    // Each is to be an entity of its own.
    let keys = keys.iter().zip(0..).map(|(_, n)| n).collect();
    let mut request = ReadRequest::of_keys(plan, keys, ends, false);
    request.runs = vec![Run {
        group: 0,
        retrieval: Retrieval::Dump,
        first: 0,
        count: entities,
    }];
    GridScanner::new(plan.clone(), &request, 1 << 20)
}

/// An element as `lpAppend` writes it.
fn push(out: &mut Vec<u8>, part: &[u8]) {
    let start = out.len();
    let number = std::str::from_utf8(part).ok().and_then(|text| {
        let number: i64 = text.parse().ok()?;
        (number.to_string() == text).then_some(number)
    });
    match number {
        Some(n @ 0..=127) => out.push(n as u8),
        Some(n @ -4096..=4095) => {
            out.extend([0xC0 | ((n >> 8) & 0x1F) as u8, n as u8]);
        }
        Some(n) => {
            let bytes = n.to_le_bytes();
            let (head, width) = match n {
                -0x8000..=0x7FFF => (0xF1, 2),
                -0x80_0000..=0x7F_FFFF => (0xF2, 3),
                -0x8000_0000..=0x7FFF_FFFF => (0xF3, 4),
                _ => (0xF4, 8),
            };
            out.push(head);
            out.extend_from_slice(&bytes[..width]);
        }
        None => {
            match part.len() {
                len @ 0..=63 => out.push(0x80 | len as u8),
                len @ 64..=4095 => out.extend([0xE0 | (len >> 8) as u8, len as u8]),
                len => {
                    out.push(0xF0);
                    out.extend((len as u32).to_le_bytes());
                }
            }
            out.extend_from_slice(part);
        }
    }
    let size = out.len() - start;
    let back = match size {
        0..=127 => 1,
        128..16383 => 2,
        16383..2_097_151 => 3,
        _ => 4,
    };
    out.extend(std::iter::repeat_n(0, back));
}

fn listpack_of(pairs: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
    let mut out = vec![0; HEAD_BYTES];
    for (name, value) in pairs {
        push(&mut out, name);
        push(&mut out, value);
    }
    out.push(LISTPACK_END);
    let size = out.len() as u32;
    out[..4].copy_from_slice(&size.to_le_bytes());
    out
}

fn put_length(out: &mut Vec<u8>, len: usize) {
    match len {
        0..0x40 => out.push(len as u8),
        0x40..0x4000 => out.extend([0x40 | (len >> 8) as u8, len as u8]),
        _ => {
            out.push(0x80);
            out.extend((len as u32).to_be_bytes());
        }
    }
}

/// The reply to a DUMP of these pairs, packed (as literals alone) or plain.
fn reply(pairs: &[(Vec<u8>, Vec<u8>)], packed: bool) -> Vec<u8> {
    let listpack = listpack_of(pairs);
    let mut payload = vec![HASH_LISTPACK];
    if packed {
        let literals: Vec<u8> = (listpack.chunks(32))
            .flat_map(|run| [&[run.len() as u8 - 1], run].concat())
            .collect();
        payload.push(0xC3);
        put_length(&mut payload, literals.len());
        put_length(&mut payload, listpack.len());
        payload.extend(literals);
    } else {
        put_length(&mut payload, listpack.len());
        payload.extend(listpack);
    }
    payload.extend([0; TAIL_BYTES]);
    bulk(&payload)
}

fn bulk(payload: &[u8]) -> Vec<u8> {
    let head = format!("${}\r\n", payload.len());
    [head.as_bytes(), payload, b"\r\n"].concat()
}

fn wanted(pairs: &[(Vec<u8>, Vec<u8>)], field: &[u8]) -> Option<Vec<u8>> {
    let pair = pairs.iter().rev().find(|(name, _)| name == field)?;
    Some(pair.1.clone())
}

/// Values of all the forms that a listpack has for them.
fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..80),
        any::<i64>().prop_map(|number| number.to_string().into_bytes()),
        (-5000..5000_i64).prop_map(|number| number.to_string().into_bytes()),
        (0..64_u32).prop_map(|bits| (i64::MIN >> bits).to_string().into_bytes()),
        prop_oneof![Just(4095_usize), Just(4096), 16_370..16_390_usize]
            .prop_map(|len| vec![b'x'; len]),
    ]
}

fn hash() -> impl Strategy<Value = Vec<(Vec<u8>, Vec<u8>)>> {
    let name = prop_oneof![
        Just(feature_field("v", "a").to_vec()),
        Just(feature_field("v", "b").to_vec()),
        Just(feature_field("v", "c").to_vec()),
        Just(b"_ts:v".to_vec()),
        Just(b"1234".to_vec()),
        prop::collection::vec(any::<u8>(), 0..9),
    ];
    let pairs = prop::collection::vec((name, value()), 0..12);
    // Names are there once.
    pairs.prop_map(|mut pairs| {
        let mut seen = std::collections::HashSet::new();
        pairs.retain(|(name, _)| seen.insert(name.clone()));
        pairs
    })
}

proptest! {
    #[test]
    fn every_cell_is_found(
        hashes in prop::collection::vec((hash(), any::<bool>()), 1..8), step in 1..5000_usize
    ) {
        let plan = plan();
        let mut scanner = scanner(&plan, hashes.len());
        let bytes: Vec<u8> = hashes.iter().flat_map(|(pairs, packed)| reply(pairs, *packed)).collect();
        feed(&mut scanner, &bytes, step).unwrap();
        prop_assert_eq!(scanner.replies(), hashes.len());
        prop_assert!(scanner.undumped().is_empty());
        let names = [
            feature_field("v", "a").to_vec(),
            b"_ts:v".to_vec(),
            feature_field("v", "b").to_vec(),
            feature_field("v", "c").to_vec(),
        ];
        for (entity, (pairs, _)) in hashes.iter().enumerate() {
            for (field, name) in names.iter().enumerate() {
                let found = scanner.grid.cell(0, entity, field).map(<[u8]>::to_vec);
                prop_assert_eq!(found, wanted(pairs, name));
            }
        }
    }

    #[test]
    fn damage_makes_no_panic(
        pairs in hash(), packed in any::<bool>(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut payload = reply(&pairs, packed);
        let start = payload.iter().position(|&byte| byte == b'\n').unwrap() + 1;
        let end = payload.len() - 2;
        for (place, byte) in damage {
            payload[start + place.index(end - start)] = byte;
        }
        let mut scanner = scanner(&plan(), 1);
        feed(&mut scanner, &payload, 1 << 20).unwrap();
        let given_up = !scanner.undumped().is_empty();
        for field in 0..=FEATURES.len() {
            let cell = scanner.grid.cell(0, 0, field);
            prop_assert!(!given_up || cell.is_none());
        }
    }
}

#[test]
fn what_is_no_listpack_is_asked_for_again() {
    let plan = plan();
    let mut scanner = scanner(&plan, 6);
    let pairs = [(feature_field("v", "a").to_vec(), b"A".to_vec())];
    let string = [&[0, 1, b'x'][..], &[0; TAIL_BYTES]].concat();
    let mut bytes = reply(&pairs, false);
    bytes.extend(b"$-1\r\n");
    bytes.extend(bulk(&string));
    bytes.extend(bulk(b""));
    bytes.extend(reply(&pairs, true));
    bytes.extend(b"-NOPERM this user has no permissions\r\n");
    feed(&mut scanner, &bytes, 7).unwrap();
    assert!(scanner.refused_dump());
    assert_eq!(scanner.entities_there(0), 0);
    let runs = scanner.undumped();
    let places: Vec<_> = runs.iter().map(|run| (run.first, run.count)).collect();
    assert_eq!(places, [(2, 2), (5, 1)]);
    assert!(runs.iter().all(|run| run.retrieval == Retrieval::HGetAll));
    let name = feature_field("v", "a");
    for (value, sent) in [("2", "1"), ("3", "1"), ("5", "1")] {
        let head = "*2\r\n$4\r\n";
        let tail = format!("\r\n${sent}\r\n{value}\r\n");
        feed(
            &mut scanner,
            &[head.as_bytes(), &name, tail.as_bytes()].concat(),
            3,
        )
        .unwrap();
    }
    assert_eq!(scanner.replies(), 3);
    let cells: Vec<_> = (0..6)
        .map(|entity| scanner.grid.cell(0, entity, 0))
        .collect();
    let expected = [
        Some(&b"A"[..]),
        None,
        Some(b"2"),
        Some(b"3"),
        Some(b"A"),
        Some(b"5"),
    ];
    assert_eq!(cells, expected);
}

#[test]
fn a_transient_refusal_is_no_refusal_of_dump() {
    let mut scanner = scanner(&plan(), 1);
    feed(
        &mut scanner,
        b"-LOADING Redis is loading the dataset in memory\r\n",
        9,
    )
    .unwrap();
    assert!(!scanner.refused_dump());
    assert_eq!(scanner.undumped().len(), 1);
}
