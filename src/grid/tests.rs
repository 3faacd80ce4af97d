//! The scanner against replies made up by hand and by chance, cut at every place.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::entity_key::{KeyColumn, KeyVersion};
use crate::error::{Error, ErrorKind, Result};
use crate::plan::{Plan, ReadRequest, ShapeSample};
use crate::redis::reply::ReplySink;
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
    ReadRequest::new(plan, &[ids], entities as usize, false).unwrap()
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
pub(super) fn feed(scanner: &mut GridScanner, mut bytes: &[u8], step: usize) -> Result<()> {
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
        let grid = scanner.finish(&request.groups, |error| error).unwrap();
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
    let error = scanner.finish(&request.groups, |error| error).unwrap_err();
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

/// The same plan, whose feature `a` has a default value.
fn plan_with_default() -> Arc<Plan> {
    let mut plan = Plan::new(vec!["id".to_owned()]);
    let group = plan.add_group(&["id"], &[0], KeyVersion::V3, "p").unwrap();
    for feature in ["a", "b", "a"] {
        let column = plan.add_column(group, feature, "v", feature, FeastType::Int64, None);
        if feature == "a" {
            plan.set_default(column, b"default".to_vec());
        }
    }
    Arc::new(plan)
}

fn outage() -> Error {
    Error::new(ErrorKind::Timeout, "redis at h:1 is silent")
}

/// Feeds `bytes`, after which nothing more comes.
fn cut_after(
    plan: &Arc<Plan>,
    request: &ReadRequest,
    bytes: &[u8],
    step: usize,
    limit: usize,
) -> Grid {
    let scanner = GridScanner::new(plan.clone(), request, limit);
    let mut scanner = scanner.on_error(OnError::Defaults);
    feed(&mut scanner, bytes, step).unwrap();
    while scanner.replies() < request.commands.len() {
        scanner.unanswered(&outage()).unwrap();
    }
    // Nothing is awaited any more.
    assert!(scanner.unanswered(&outage()).is_err());
    scanner.finish(&request.groups, |error| error).unwrap()
}

const DEFAULTS: [Option<&[u8]>; 3] = [Some(b"default"), None, None];

#[test]
fn a_cut_at_any_place_leaves_true_values_and_defaults() {
    let whole = replies();
    let ends = [
        whole.len() - b"*3\r\n$2\r\nA1\r\n$-1\r\n$2\r\nB1\r\n*3\r\n$-1\r\n$-1\r\n$-1\r\n".len(),
        whole.len() - b"*3\r\n$-1\r\n$-1\r\n$-1\r\n".len(),
        whole.len(),
    ];
    let stored: [[Option<&[u8]>; 3]; 3] = [
        [Some(b"A0"), Some(b"T"), Some(b"")],
        [Some(b"A1"), None, Some(b"B1")],
        [None; 3],
    ];
    for cut in 0..=whole.len() {
        // A plan of its own, so that nothing is known of the hashes.
        let plan = plan_with_default();
        let request = request(&plan, 3);
        let grid = cut_after(&plan, &request, &whole[..cut], 1 + cut % 5, 1 << 20);
        let complete = ends.iter().filter(|&&end| end <= cut).count();
        for (entity, stored) in stored.iter().enumerate() {
            let row = [0, 1, 2].map(|field| grid.cell(0, entity, field));
            let lost = entity >= complete;
            assert_eq!(row, if lost { DEFAULTS } else { *stored }, "{cut} {entity}");
            let told = grid.unanswered().is_some_and(|u| u.contains(0, entity));
            assert_eq!(told, lost, "{cut} {entity}");
        }
        match grid.unanswered() {
            Some(unanswered) => {
                assert_eq!(unanswered.entities(), 3 - complete);
                assert_eq!(unanswered.error().to_string(), outage().to_string());
            }
            None => assert_eq!(complete, 3),
        }
    }
}

#[test]
fn replies_after_one_that_does_not_come_are_taken() {
    let plan = plan_with_default();
    let request = request(&plan, 3);
    let scanner = GridScanner::new(plan, &request, 1 << 20);
    let mut scanner = scanner.on_error(OnError::Defaults);
    feed(&mut scanner, b"*4\r\n$5\r\n_ts:v\r\n$1\r\nT\r\n$4", 3).unwrap();
    scanner.unanswered(&outage()).unwrap();
    feed(
        &mut scanner,
        b"*3\r\n$2\r\nA1\r\n$-1\r\n$2\r\nB1\r\n*3\r\n",
        4,
    )
    .unwrap();
    scanner
        .unanswered(&Error::new(ErrorKind::Connection, "later"))
        .unwrap();
    assert_eq!(scanner.replies(), 3);
    assert_eq!(scanner.samples[0].hashes, 0);
    let grid = scanner.finish(&request.groups, |error| error).unwrap();
    let row = |entity| [0, 1, 2].map(|field| grid.cell(0, entity, field));
    assert_eq!(row(0), DEFAULTS);
    assert_eq!(row(1), [Some(&b"A1"[..]), None, Some(b"B1")]);
    assert_eq!(row(2), DEFAULTS);
    let unanswered = grid.unanswered().unwrap();
    assert_eq!(unanswered.entities(), 2);
    assert_eq!(unanswered.error().to_string(), outage().to_string());
}

#[test]
fn only_an_outage_is_made_up_for_and_only_when_asked() {
    let plan = plan_with_default();
    let request = request(&plan, 1);
    let mut raising = GridScanner::new(plan.clone(), &request, 1 << 20);
    let error = raising.unanswered(&outage()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    let scanner = GridScanner::new(plan, &request, 1 << 20);
    let mut scanner = scanner.on_error(OnError::Defaults);
    for kind in [
        ErrorKind::Interrupted,
        ErrorKind::Protocol,
        ErrorKind::Config,
    ] {
        let error = scanner.unanswered(&Error::new(kind, "no")).unwrap_err();
        assert_eq!(error.kind(), kind);
    }
    assert_eq!(scanner.replies(), 0);
}

#[test]
fn a_servers_passing_state_is_an_outage_and_other_refusals_are_not() {
    let plan = plan_with_default();
    let request = request(&plan, 2);
    let scan = |bytes: &[u8]| {
        let scanner = GridScanner::new(plan.clone(), &request, 1 << 20);
        let mut scanner = scanner.on_error(OnError::Defaults);
        feed(&mut scanner, bytes, 9).unwrap();
        scanner.unanswered(&outage()).unwrap();
        scanner.finish(&request.groups, |error| error.context("redis at h:1"))
    };
    for words in ["LOADING", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "BUSY"] {
        let grid = scan(format!("-{words} wait\r\n").as_bytes()).unwrap();
        let unanswered = grid.unanswered().unwrap();
        assert_eq!(unanswered.entities(), 2);
        let text = unanswered.error().to_string();
        assert!(
            text.starts_with("redis at h:1: ") && text.contains(words),
            "{text}"
        );
        assert_eq!([0, 1, 2].map(|field| grid.cell(0, 0, field)), DEFAULTS);
    }
    for words in ["WRONGTYPE", "NOPERM", "ERR"] {
        let error = scan(format!("-{words} no\r\n").as_bytes()).unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[test]
fn default_values_do_not_count_as_replies() {
    let plan = plan_with_default();
    let request = request(&plan, 3);
    let first = b"*0\r\n";
    let grid = cut_after(&plan, &request, first, 4, first.len());
    assert_eq!(grid.cell(0, 0, 0), None);
    assert_eq!(grid.cell(0, 2, 0), Some(&b"default"[..]));
    assert!(!grid.unanswered().unwrap().contains(0, 0));
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
    fn an_outage_amid_random_bytes_never_panics(
        pieces in prop::collection::vec(prop::option::of(any::<Vec<u8>>()), 0..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let plan = plan_with_default();
        let request = request(&plan, 3);
        let scanner = GridScanner::new(plan, &request, 1 << 16);
        let mut scanner = scanner.on_error(OnError::Defaults);
        let whole = replies();
        let mut sound = feed(&mut scanner, &whole[..cut.index(whole.len())], 8).is_ok();
        for piece in pieces {
            sound = sound && match piece {
                Some(bytes) => feed(&mut scanner, &bytes, 8).is_ok(),
                None => scanner.unanswered(&outage()).is_ok(),
            };
        }
        while sound && scanner.replies() < 3 {
            scanner.unanswered(&outage()).unwrap();
        }
        if sound && let Ok(grid) = scanner.finish(&request.groups, |error| error) {
            for entity in 0..3 {
                for field in 0..3 {
                    let _ = grid.cell(0, entity, field);
                }
            }
        }
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
            let grid = scanner.finish(&request.groups, |error| error);
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
