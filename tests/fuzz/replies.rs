//! A mutation fuzzer of the reply scanner, with the reply tree as the oracle.
//!
//! Replies that Redis could send are damaged and fed in pieces of random size. The scanner must
//! not panic; what it accepts, the tree must accept too, and every cell must be the value that the
//! tree has for the field.

use std::sync::Arc;

use _core::entity_key::{KeyColumn, KeyVersion};
use _core::error::Result;
use _core::grid::GridScanner;
use _core::plan::{Plan, ReadRequest, Retrieval, feature_field, timestamp_field};
use _core::redis::reply::ReplySink;
use _core::redis::tree::{Replies, Reply};
use _core::value::FeastType;

use super::{Random, fuzz};

const FEATURES: [&str; 4] = ["a", "b", "c", "d"];
const ENTITIES: usize = 5;

fn plan() -> Plan {
    let mut plan = Plan::new(vec!["id".to_owned()]);
    let group = plan.add_group(&["id"], &[0], KeyVersion::V3, "p").unwrap();
    for feature in FEATURES {
        plan.add_column(group, feature, "v", feature, FeastType::Int64, None);
    }
    plan
}

/// The wanted fields, in the order of their indices.
fn fields() -> Vec<Vec<u8>> {
    let mut fields: Vec<Vec<u8>> = FEATURES
        .iter()
        .map(|feature| feature_field("v", feature).to_vec())
        .collect();
    fields.insert(1, timestamp_field("v"));
    fields
}

fn bulk(random: &mut Random, out: &mut Vec<u8>) {
    let lengths = [0, 1, 2, 9, 10, 11, 99, 100, 101, 1000];
    let len = lengths[random.below(lengths.len())];
    out.extend(format!("${len}\r\n").into_bytes());
    out.extend((0..len).map(|_| random.next() as u8));
    out.extend(b"\r\n");
}

/// Replies as Redis would send them, in the forms that `request` asks for.
fn replies(random: &mut Random, request: &ReadRequest) -> Vec<u8> {
    let fields = fields();
    let mut out = Vec::new();
    for run in &request.runs {
        for _ in 0..run.count {
            match (random.below(12), run.retrieval) {
                (0, _) => out.extend(b"-WRONGTYPE not a hash\r\n"),
                (1, Retrieval::HGetAll) => out.extend(b"*0\r\n"),
                (_, Retrieval::HGetAll) => {
                    let pairs = random.below(9);
                    out.extend(format!("*{}\r\n", 2 * pairs).into_bytes());
                    for place in 0..pairs {
                        if random.below(4) == 0 {
                            bulk(random, &mut out);
                        } else {
                            let field = &fields[place % fields.len()];
                            out.extend(format!("${}\r\n", field.len()).into_bytes());
                            out.extend(field);
                            out.extend(b"\r\n");
                        }
                        bulk(random, &mut out);
                    }
                }
                (_, Retrieval::Dump) => unreachable!("these hashes are too small for it"),
                (_, Retrieval::HMGet) => {
                    out.extend(format!("*{}\r\n", fields.len()).into_bytes());
                    for _ in 0..fields.len() {
                        if random.below(3) == 0 {
                            out.extend(b"$-1\r\n");
                        } else {
                            bulk(random, &mut out);
                        }
                    }
                }
            }
        }
    }
    out
}

fn damage(random: &mut Random, bytes: &mut Vec<u8>) {
    for _ in 0..random.below(3) {
        let at = random.below(bytes.len());
        match random.below(5) {
            0 => bytes.truncate(at),
            1 => drop(bytes.splice(at..at, *b"$-1\r\n")),
            2 => drop(bytes.splice(at..at, [b"*$-+:\r\n09"[random.below(9)]])),
            3 if !bytes.is_empty() => drop(bytes.remove(at)),
            _ if !bytes.is_empty() => bytes[at] = random.next() as u8,
            _ => {}
        }
    }
}

fn feed(sink: &mut dyn ReplySink, mut bytes: &[u8], random: &mut Random) -> Result<()> {
    while !bytes.is_empty() {
        let space = sink.space()?;
        let n = (1 + random.below(600)).min(bytes.len()).min(space.len());
        space[..n].copy_from_slice(&bytes[..n]);
        sink.advance(n)?;
        bytes = &bytes[n..];
    }
    Ok(())
}

/// The value that the tree has for a wanted field of one reply.
fn expected<'a>(reply: &'a Reply, retrieval: Retrieval, index: usize) -> Option<&'a [u8]> {
    let Reply::Array(items) = reply else {
        return None;
    };
    let bytes = |reply: &'a Reply| match reply {
        Reply::Bytes(bytes) => Some(bytes.as_slice()),
        _ => None,
    };
    match retrieval {
        Retrieval::HMGet => bytes(&items[index]),
        Retrieval::Dump => unreachable!("these hashes are too small for it"),
        Retrieval::HGetAll => {
            let name = &fields()[index];
            let mut pairs = items.chunks(2).rev();
            let pair = pairs.find(|pair| bytes(&pair[0]) == Some(name))?;
            bytes(&pair[1])
        }
    }
}

fn check(random: &mut Random, plan: &Arc<Plan>, damaged: bool) {
    let ids = KeyColumn::Int64((0..ENTITIES as i64).collect());
    let request = ReadRequest::new(plan, &[ids], ENTITIES, false).unwrap();
    let mut bytes = replies(random, &request);
    if damaged {
        damage(random, &mut bytes);
    }
    let mut scanner = GridScanner::new(plan.clone(), &request, 1 << 20);
    let outcome = feed(&mut scanner, &bytes, random);
    let mut tree = Replies::new(ENTITIES, 1 << 20);
    let parsed = feed(&mut tree, &bytes, random);
    assert!(
        damaged || outcome.is_ok(),
        "{outcome:?} of {}",
        bytes.escape_ascii()
    );
    if outcome.is_err() || scanner.replies() < ENTITIES {
        return;
    }
    assert!(parsed.is_ok(), "{parsed:?} of {}", bytes.escape_ascii());
    let tree = tree.into_vec();
    let refused = tree.iter().any(|reply| matches!(reply, Reply::Error(_)));
    let Ok(grid) = scanner.finish(&request.groups, |error| error) else {
        assert!(refused, "{}", bytes.escape_ascii());
        return;
    };
    for run in &request.runs {
        for (entity, reply) in tree.iter().enumerate().skip(run.first).take(run.count) {
            for index in 0..fields().len() {
                assert_eq!(
                    grid.cell(0, entity, index),
                    expected(reply, run.retrieval, index),
                    "entity {entity}, field {index} of {}",
                    bytes.escape_ascii()
                );
            }
        }
    }
}

#[test]
fn damaged_replies() {
    // A plan that has learned nothing asks by HMGET, one that has by HGETALL: both are needed.
    let mut plan_in_use = Arc::new(plan());
    fuzz("replies", |random| {
        if random.below(50) == 0 {
            plan_in_use = Arc::new(plan());
        }
        check(random, &plan_in_use, false);
        check(random, &plan_in_use, true);
    });
}
