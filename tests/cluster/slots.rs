//! Slots and topology of a real cluster.

use _core::error::ErrorKind;
use _core::redis::config::Address;
use _core::redis::slot::{SLOTS, slot_of};
use _core::redis::topology::{Shard, Topology};
use serde_json::json;

use crate::redis_server::cluster::{Cluster, node};
use crate::redis_server::replies::Reply;
use crate::redis_server::{RedisServer, answer, ask};

#[test]
fn a_cluster_through_a_failover() {
    let mut cluster = Cluster::start(3, 1, &[]);
    let topology = cluster.topology(0);
    let shard = |primary, replica: &[usize]| Shard {
        primary: Some(cluster.address(primary)),
        replicas: replica.iter().map(|&n| cluster.address(n)).collect(),
    };
    let shards = [shard(0, &[3]), shard(1, &[4]), shard(2, &[5])];
    assert_eq!(topology.shards(), shards);
    assert_eq!(topology.slots_of(0), [0..=5460]);
    assert_eq!(topology.slots_of(1), [5461..=10921]);
    assert_eq!(topology.slots_of(2), [10922..=SLOTS - 1]);
    assert_eq!(topology.unowned_slots(), []);
    assert_eq!(topology.addresses().len(), 6);
    for n in 1..6 {
        assert_eq!(cluster.topology(n), topology, "node {n}");
    }

    // Each key is where its slot is said to be.
    for n in 0..50 {
        let key = format!("key-{n}");
        let primary = cluster.primary_of(slot_of(key.as_bytes()), 0);
        let pool = cluster.nodes[primary].pool(json!({}));
        let stored = ask(&pool, &[b"SET", key.as_bytes(), b"value"]);
        assert_eq!(stored.unwrap(), Reply::Status("OK".to_owned()), "{key}");
    }

    // With a primary's consent: the two change places.
    let [before, after] = [shard(2, &[5]), shard(5, &[2])];
    cluster.fail_over_to(5);
    assert_ne!(cluster.topology(0), topology);
    assert_eq!(cluster.topology(0).shards()[2], after);
    cluster.fail_over_to(2);
    assert_eq!(cluster.topology(0).shards()[2], before);
    assert_eq!(cluster.topology(0), topology);

    // Without: the one that is down is gone.
    let alone = shard(3, &[]);
    let joined = shard(3, &[0]);
    cluster.nodes[0].kill();
    cluster.wait_until_known(1, |topology| topology.shards()[0] == alone);
    assert_eq!(cluster.topology(1).slots_of(0), [0..=5460]);
    // And comes back as a replica.
    cluster.nodes[0].restart();
    cluster.wait_until_whole();
    assert_eq!(cluster.topology(1).shards()[0], joined);
}

#[test]
fn slots_are_those_of_the_server() {
    let server = node(&[]);
    let pool = server.pool(json!({}));
    let mut random = 88_172_645_463_325_252_u64;
    for n in 0..2000 {
        // A third of the bytes are braces and a zero.
        let key: Vec<u8> = (0..n % 60)
            .map(|_| {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                match random >> 40 & 15 {
                    0 | 1 => b'{',
                    2 | 3 => b'}',
                    4 => 0,
                    _ => random as u8,
                }
            })
            .collect();
        let slot = ask(&pool, &[b"CLUSTER", b"KEYSLOT", &key]).unwrap();
        let expected = Reply::Integer(i64::from(slot_of(&key)));
        assert_eq!(slot, expected, "{}", key.escape_ascii());
    }
}

#[test]
fn nodes_that_are_called_by_names() {
    let cluster = Cluster::start(2, 0, &[]);
    let primaries = |n: usize| {
        let topology = cluster.topology(n);
        let primary = |shard: &Shard| shard.primary.clone();
        topology.shards().iter().map(primary).collect::<Vec<_>>()
    };
    let here = |n| Some(cluster.address(n));
    let set = |n, name, value| {
        assert_eq!(cluster.text(n, &["CONFIG", "SET", name, value]), "OK");
    };
    // Without names the servers' addresses are told besides.
    set(0, "cluster-preferred-endpoint-type", "hostname");
    assert_eq!(primaries(0), [here(0), here(1)]);
    set(1, "cluster-announce-hostname", "second.example");
    let named = Some(Address::Tcp {
        host: "second.example".to_owned(),
        port: cluster.nodes[1].port,
    });
    cluster.wait_until_known(0, |topology| topology.shards()[1].primary == named);
    assert_eq!(primaries(1), [here(0), here(1)]);
    // Where they are asked.
    set(0, "cluster-preferred-endpoint-type", "unknown-endpoint");
    assert_eq!(primaries(0), [here(0), here(1)]);
}

#[test]
fn a_server_that_is_in_no_cluster() {
    let server = RedisServer::start(&[]);
    let reply = answer(&server.pool(json!({})), &[b"CLUSTER", b"SLOTS"]).unwrap();
    let address = server.config(json!({})).address.clone();
    let error = Topology::from_cluster_slots(&reply, &address).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("redis_type: redis"), "{error}");
    let server = node(&[]);
    let reply = answer(&server.pool(json!({})), &[b"CLUSTER", b"SLOTS"]).unwrap();
    let topology = Topology::from_cluster_slots(&reply, &address).unwrap();
    assert_eq!(topology.shards(), []);
}
