//! What nodes answer while they are not the ones to ask.

use _core::redis::slot::slot_of;
use _core::redis::topology::redirect::Redirect;
use serde_json::json;

use crate::redis_server::ask;
use crate::redis_server::cluster::{Cluster, wait_until};
use crate::redis_server::replies::Reply;

/// The redirect that the node `n` answers a command with.
fn redirect(cluster: &Cluster, n: usize, parts: &[&[u8]]) -> Option<Redirect> {
    match ask(&cluster.nodes[n].pool(json!({})), parts).unwrap() {
        Reply::Failure(words) => {
            let redirect = Redirect::parse(&words, &cluster.address(n));
            Some(redirect.unwrap_or_else(|| panic!("{words}")))
        }
        _ => None,
    }
}

#[test]
fn a_slot_on_its_way() {
    let cluster = Cluster::start(2, 0, &[]);
    let (from, to) = (1, 0);
    // Two keys in one slot, of which the first to move is not known before.
    let keys: [&[u8]; 2] = [b"{foo}1", b"{foo}2"];
    let slot = slot_of(keys[0]);
    assert_eq!(cluster.primary_of(slot, 0), from);
    let pool = cluster.nodes[from].pool(json!({}));
    for key in keys {
        ask(&pool, &[b"SET", key, b"value"]).unwrap();
    }
    let address = cluster.address(from);
    let moved = Some(Redirect::Moved { slot, address });
    assert_eq!(redirect(&cluster, to, &[b"GET", keys[0]]), moved);
    assert_eq!(redirect(&cluster, from, &[b"GET", keys[0]]), None);

    let before = cluster.topology(0);
    cluster.begin_move(slot, to);
    let address = cluster.address(to);
    let ask_there = Some(Redirect::Ask { slot, address });
    assert_eq!(redirect(&cluster, from, &[b"GET", keys[0]]), None);
    assert_eq!(redirect(&cluster, from, &[b"GET", b"{foo}none"]), ask_there);
    assert_eq!(redirect(&cluster, to, &[b"GET", keys[0]]), moved);
    assert_eq!(cluster.move_keys(slot, to, 1), 1);
    let found = keys.map(|key| redirect(&cluster, from, &[b"GET", key]));
    assert!(
        found.contains(&None) && found.contains(&ask_there),
        "{found:?}"
    );
    let both: [&[u8]; 3] = [b"MGET", keys[0], keys[1]];
    let try_again = Some(Redirect::TryAgain);
    assert_eq!(redirect(&cluster, from, &both), try_again);
    assert_eq!(cluster.topology(0), before);

    assert_eq!(cluster.move_keys(slot, to, 10), 1);
    assert_eq!(cluster.move_keys(slot, to, 10), 0);
    cluster.end_move(slot, to);
    let address = cluster.address(to);
    let after = before.with_moved(slot, &address);
    assert_eq!(cluster.topology(from), after);
    let moved = Some(Redirect::Moved { slot, address });
    assert_eq!(redirect(&cluster, from, &[b"GET", keys[0]]), moved);
    assert_eq!(redirect(&cluster, to, &both), None);

    cluster.move_slot(slot, from);
    assert_eq!(cluster.topology(to), before);
}

#[test]
fn a_cluster_that_is_down() {
    let mut cluster = Cluster::start(3, 0, &[]);
    cluster.nodes[2].kill();
    let key = b"{foo}1";
    assert_eq!(cluster.primary_of(slot_of(key), 0), 2);
    wait_until("the cluster is down", || {
        redirect(&cluster, 0, &[b"GET", key]) == Some(Redirect::ClusterDown)
    });
    // The others' keys with it.
    let mut keys = (0..).map(|n| format!("key-{n}"));
    let other = keys.find(|key| cluster.primary_of(slot_of(key.as_bytes()), 0) == 0);
    let other = other.unwrap();
    let down = Some(Redirect::ClusterDown);
    assert_eq!(redirect(&cluster, 0, &[b"GET", other.as_bytes()]), down);
    // A primary that is down is told like one that is up.
    let topology = cluster.topology(0);
    assert_eq!(topology.shards()[2].primary, Some(cluster.address(2)));
}

#[test]
fn a_primary_whose_place_another_node_has_taken() {
    let mut cluster = Cluster::start(3, 0, &["--cluster-require-full-coverage", "no"]);
    let key = b"{foo}1";
    let slot = slot_of(key);
    assert_eq!(cluster.primary_of(slot, 0), 2);
    cluster.forget_itself(2);
    wait_until("its address is no longer known", || {
        redirect(&cluster, 0, &[b"GET", key]) == Some(Redirect::Elsewhere { slot })
    });
    assert_eq!(cluster.topology(0).shards()[2].primary, None);
}
