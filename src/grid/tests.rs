//! The scanner against replies made up by hand and by chance, cut at every place.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::entity_key::{KeyColumn, KeyVersion};
use crate::value::FeastType;

/// A plan that wants the features `a` and `b` of view `v`.
fn plan() -> Arc<Plan> {
    let mut plan = Plan::new(vec!["id".to_owned()]);
    let group = plan.add_group(&["id"], &[0], KeyVersion::V3, "p").unwrap();
    for feature in ["a", "b"] {
        plan.add_column(group, feature, "v", feature, FeastType::Int64, None);
    }
    Arc::new(plan)
}

fn request(plan: &Plan, entities: i64) -> ReadRequest {
    let ids = KeyColumn::Int64((0..entities).collect());
    ReadRequest::new(plan, &[ids], entities as usize).unwrap()
}

fn bulk(out: &mut Vec<u8>, text: &[u8]) {
    out.extend(format!("${}\r\n", text.len()).into_bytes());
    out.extend(text);
    out.extend(b"\r\n");
}

fn hash(pairs: &[(&[u8], &[u8])]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", pairs.len() * 2).into_bytes();
    for (name, value) in pairs {
        bulk(&mut out, name);
        bulk(&mut out, value);
    }
    out
}

/// Feeds `bytes` in pieces of `step`.
fn feed(scanner: &mut GridScanner, mut bytes: &[u8], step: usize) -> Result<()> {
    while !bytes.is_empty() {
        let space = scanner.space()?;
        let n = step.min(bytes.len()).min(space.len());
        space[..n].copy_from_slice(&bytes[..n]);
        scanner.advance(n)?;
        bytes = &bytes[n..];
    }
    Ok(())
}

/// Three entities: the first is probed by HGETALL, the others by HMGET of a, `_ts:v`, b.
fn replies() -> Vec<u8> {
    let a = crate::plan::feature_field("v", "a");
    let b = crate::plan::feature_field("v", "b");
    let mut bytes = hash(&[
        (b"_ts:v", b"T"),
        (b"none", b"unwanted"),
        (&b, b""),
        (&a, b"A0"),
    ]);
    bytes.extend(b"*3\r\n$2\r\nA1\r\n$-1\r\n$2\r\nB1\r\n");
    bytes.extend(b"*3\r\n$-1\r\n$-1\r\n$-1\r\n");
    bytes
}

#[test]
fn cells_are_found_however_the_bytes_arrive() {
    let plan = plan();
    for step in 1..replies().len() {
        let request = request(&plan, 3);
        let mut scanner = GridScanner::new(plan.clone(), &request, 1 << 20);
        // What the first round learned must not change what the next one asks for here.
        scanner.samples.clear();
        scanner.samples.resize(1, ShapeSample::default());
        feed(&mut scanner, &replies(), step).unwrap();
        assert_eq!(scanner.replies(), 3);
        scanner.samples[0].hashes = 0;
        let grid = scanner.finish(&request.groups).unwrap();
        let row = |entity| [0, 1, 2].map(|field| grid.cell(0, entity, field));
        assert_eq!(row(0), [Some(&b"A0"[..]), Some(b"T"), Some(b"")]);
        assert_eq!(row(1), [Some(&b"A1"[..]), None, Some(b"B1")]);
        assert_eq!(row(2), [None, None, None]);
    }
}

#[test]
fn an_error_reply_is_told_after_all_replies_are_read() {
    let plan = plan();
    let request = request(&plan, 2);
    let mut scanner = GridScanner::new(plan, &request, 1 << 20);
    feed(
        &mut scanner,
        b"-WRONGTYPE not a hash\r\n*3\r\n$-1\r\n$-1\r\n$-1\r\n",
        7,
    )
    .unwrap();
    assert_eq!(scanner.replies(), 2);
    let error = scanner.finish(&request.groups).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Server);
    let text = error.to_string();
    assert!(
        text.contains("WRONGTYPE not a hash") && text.contains("'v'"),
        "{text}"
    );
}

#[test]
fn replies_that_do_not_fit_the_question_are_refused() {
    let plan = plan();
    for wrong in [
        &b"*3\r\n"[..],
        b"*-1\r\n",
        b"+OK\r\n",
        b":1\r\n",
        b"*2\r\n$-1\r\n$1\r\nx\r\n",
        b"*2\r\n*1\r\n",
        b"*0\r\n*2\r\n",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
    ] {
        let request = request(&plan, 2);
        let mut scanner = GridScanner::new(plan.clone(), &request, 1 << 20);
        let error = feed(&mut scanner, wrong, 3).unwrap_err();
        assert_eq!(
            error.kind(),
            ErrorKind::Protocol,
            "{}",
            wrong.escape_ascii()
        );
    }
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in any::<Vec<u8>>(), step in 1_usize..40) {
        let plan = plan();
        let request = request(&plan, 3);
        let mut scanner = GridScanner::new(plan, &request, 1 << 16);
        let _ = feed(&mut scanner, &bytes, step);
    }

    #[test]
    fn damaged_replies_never_panic(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        step in 1_usize..40,
    ) {
        let mut bytes = replies();
        for (index, byte) in damage {
            let at = index.index(bytes.len());
            bytes[at] = byte;
        }
        let plan = plan();
        let request = request(&plan, 3);
        let mut scanner = GridScanner::new(plan, &request, 1 << 16);
        if feed(&mut scanner, &bytes, step).is_ok() && scanner.replies() == 3 {
            let grid = scanner.finish(&request.groups);
            if let Ok(grid) = grid {
                for entity in 0..3 {
                    for field in 0..3 {
                        let _ = grid.cell(0, entity, field);
                    }
                }
            }
        }
    }
}
