use super::*;

fn at(host: &str, port: u16) -> Address {
    address(host, port).unwrap()
}

fn asked() -> Address {
    at("seed", 7000)
}

fn bulk(text: &str) -> Reply {
    Reply::Bytes(text.into())
}

/// A server as Redis 7 describes it.
fn node(endpoint: Reply, port: i64, id: &str, metadata: &[&str]) -> Reply {
    let metadata = metadata.iter().map(|text| bulk(text)).collect();
    Reply::Array(vec![
        endpoint,
        Reply::Integer(port),
        bulk(id),
        Reply::Array(metadata),
    ])
}

fn host(host: &str, port: i64) -> Reply {
    node(bulk(host), port, &format!("{host}:{port}"), &[])
}

fn range(first: i64, last: i64, nodes: Vec<Reply>) -> Reply {
    let mut items = vec![Reply::Integer(first), Reply::Integer(last)];
    items.extend(nodes);
    Reply::Array(items)
}

fn read(ranges: Vec<Reply>) -> Result<Topology> {
    Topology::from_cluster_slots(&Reply::Array(ranges), &asked())
}

/// The primary of the slot 0 that `node` is described as.
fn primary(node: Reply) -> Option<Address> {
    let topology = read(vec![range(0, 0, vec![node])]).unwrap();
    topology.shard_of(0).unwrap().primary.clone()
}

#[test]
fn a_cluster() {
    let ranges = vec![
        range(10923, 16383, vec![host("c", 3), host("f", 6)]),
        range(0, 99, vec![host("a", 1), host("d", 4), host("b", 9)]),
        range(200, 5460, vec![host("a", 1), host("d", 4)]),
        range(5461, 10922, vec![host("b", 2)]),
    ];
    let topology = read(ranges.clone()).unwrap();
    let shard = |primary, replicas: &[Address]| Shard {
        primary: Some(primary),
        replicas: replicas.into(),
    };
    assert_eq!(
        topology.shards(),
        [
            shard(at("a", 1), &[at("b", 9), at("d", 4)]),
            shard(at("b", 2), &[]),
            shard(at("c", 3), &[at("f", 6)]),
        ]
    );
    assert_eq!(topology.slots_of(0), [0..=99, 200..=5460]);
    assert_eq!(topology.slots_of(1), [5461..=10922]);
    assert_eq!(topology.slots_of(2), [10923..=16383]);
    assert_eq!(topology.slots_of(3), []);
    assert_eq!(topology.unowned_slots(), [100..=199]);
    for (slot, shard) in [(0, Some(0)), (99, Some(0)), (100, None), (16383, Some(2))] {
        assert_eq!(topology.index_of(slot), shard);
    }
    assert_eq!(topology.index_of(16384), None);
    assert_eq!(topology.shard_of(u16::MAX), None);
    let addresses = [("a", 1), ("b", 9), ("d", 4), ("b", 2), ("c", 3), ("f", 6)];
    let addresses = addresses.map(|(host, port)| at(host, port));
    assert_eq!(topology.addresses(), addresses.iter().collect::<Vec<_>>());
    assert_eq!(
        topology.primaries(),
        [&at("a", 1), &at("b", 2), &at("c", 3)]
    );
    let reversed = ranges.into_iter().rev().collect();
    assert_eq!(read(reversed).unwrap(), topology);
}

#[test]
fn a_server_that_does_not_know_its_host_is_where_it_was_asked() {
    let here = Some(at("seed", 7001));
    assert_eq!(primary(host("", 7001)), here);
    assert_eq!(
        primary(node(Reply::Nil, 7001, "x", &["ip", "10.0.0.1"])),
        here
    );
    assert_eq!(primary(node(bulk("?"), 7001, "x", &["ip", ""])), here);
    let socket = Address::Unix("/redis.sock".into());
    let reply = Reply::Array(vec![range(0, 0, vec![host("", 7001)])]);
    let topology = Topology::from_cluster_slots(&reply, &socket).unwrap();
    assert_eq!(topology.addresses(), [&socket]);
}

#[test]
fn host_names_and_addresses() {
    let names = |endpoint| node(bulk(endpoint), 7001, "x", &["ip", "10.0.0.1"]);
    assert_eq!(primary(names("a.example")), Some(at("a.example", 7001)));
    assert_eq!(primary(names("?")), Some(at("10.0.0.1", 7001)));
    assert_eq!(primary(host("?", 7001)), None);
    assert_eq!(primary(host("a", 0)), None);
    let hidden = &["hostname", "a.example", "ip", "::1"];
    let hidden = node(bulk("?"), 7001, "x", hidden);
    assert_eq!(primary(hidden), Some(at("::1", 7001)));
    // Redis 3 and 4 give no more than this.
    let bare = |items| primary(Reply::Array(items));
    let found = Some(at("10.0.0.1", 7001));
    assert_eq!(bare(vec![bulk("10.0.0.1"), Reply::Integer(7001)]), found);
    assert_eq!(bare(vec![bulk("10.0.0.1"), bulk("7001")]), found);
}

#[test]
fn shards_without_a_known_primary_stay_apart() {
    let topology = read(vec![
        range(0, 9, vec![node(bulk("?"), 1, "a", &[]), host("x", 1)]),
        range(10, 19, vec![node(bulk("?"), 1, "b", &[]), host("?", 2)]),
        range(20, 29, vec![node(bulk("?"), 1, "a", &[]), host("x", 1)]),
    ])
    .unwrap();
    assert_eq!(topology.shards().len(), 2);
    assert_eq!(topology.slots_of(0), [0..=9, 20..=29]);
    assert_eq!(topology.shards()[0].replicas, [at("x", 1)]);
    assert_eq!(topology.shards()[1], Shard::default());
    assert_eq!(topology.addresses(), [&at("x", 1)]);
}

#[test]
fn a_server_that_knows_of_no_slots() {
    let topology = read(vec![]).unwrap();
    assert_eq!(topology.shards(), []);
    assert_eq!(topology.unowned_slots(), [0..=16383]);
}

#[test]
fn what_is_no_list_of_slots_is_refused() {
    let node = || host("a", 1);
    for ranges in [
        vec![Reply::Nil],
        vec![Reply::Array(vec![])],
        vec![range(0, 0, vec![])],
        vec![range(1, 0, vec![node()])],
        vec![range(-1, 0, vec![node()])],
        vec![range(0, 16384, vec![node()])],
        vec![range(0, i64::MAX, vec![node()])],
        vec![range(0, 0, vec![Reply::Nil])],
        vec![range(0, 0, vec![node(), Reply::Array(vec![])])],
        vec![range(0, 0, vec![host("a", -1)])],
        vec![range(0, 0, vec![host("a", 65536)])],
        vec![range(0, 5, vec![node()]), range(5, 6, vec![node()])],
        vec![range(
            0,
            0,
            vec![Reply::Array(vec![
                Reply::Bytes(vec![0xff]),
                Reply::Integer(1),
            ])],
        )],
    ] {
        let error = read(ranges.clone()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Protocol, "{ranges:?}");
        assert!(error.to_string().contains("seed:7000"), "{error}");
    }
    let refused = |words: &str| {
        let reply = Reply::Error(words.to_owned());
        Topology::from_cluster_slots(&reply, &asked()).unwrap_err()
    };
    let error = refused("ERR This instance has cluster support disabled");
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("redis_type"), "{error}");
    let error = refused("NOPERM this user has no permissions");
    assert_eq!(
        (error.kind(), error.is_transient()),
        (ErrorKind::Server, false)
    );
    assert!(refused("LOADING Redis is loading").is_transient());
}

#[test]
fn one_shard_has_every_slot() {
    let topology = Topology::single(Some(at("a", 1)), vec![at("c", 1), at("b", 1), at("c", 1)]);
    assert_eq!(topology.slots_of(0), [0..=16383]);
    assert_eq!(topology.index_of(16384), None);
    assert_eq!(topology.unowned_slots(), []);
    let shard = topology.shard_of(12182).unwrap();
    assert_eq!(shard.replicas, [at("b", 1), at("c", 1)]);
}

/// Slots 0..=9 at `a`, whose replicas are `b` and `c`, and 10..=19 at `d`.
fn two_shards() -> Topology {
    let nodes = vec![host("a", 1), host("b", 1), host("c", 1)];
    let ranges = vec![range(0, 9, nodes), range(10, 19, vec![host("d", 1)])];
    read(ranges).unwrap()
}

#[test]
fn a_slot_moves_to_another_shard() {
    let before = two_shards();
    let after = before.with_moved(5, &at("d", 1));
    assert_ne!(after, before);
    assert_eq!(after.shards(), before.shards());
    assert_eq!(after.slots_of(0), [0..=4, 6..=9]);
    assert_eq!(after.slots_of(1), [5..=5, 10..=19]);
    assert_eq!(after.with_moved(5, &at("a", 1)), before);
    assert_eq!(before.with_moved(5, &at("a", 1)), before);
    assert_eq!(before.with_moved(16384, &at("e", 1)), before);
}

#[test]
fn a_slot_moves_to_a_replica_that_was_promoted() {
    let after = two_shards().with_moved(5, &at("b", 1));
    let promoted = Shard {
        primary: Some(at("b", 1)),
        replicas: vec![at("c", 1)],
    };
    assert_eq!(after.shard_of(0), Some(&promoted));
    assert_eq!(after.slots_of(0), [0..=9]);
}

#[test]
fn a_slot_moves_to_a_new_server() {
    let new = || Shard {
        primary: Some(at("e", 1)),
        replicas: vec![],
    };
    let after = two_shards().with_moved(20, &at("e", 1));
    assert_eq!(after.shards()[2], new());
    assert_eq!(after.slots_of(2), [20..=20]);
    // The last slot of a shard takes it out, and the order stays that of the slots.
    let mut after = two_shards();
    for slot in 0..=9 {
        after = after.with_moved(slot, &at("e", 1));
    }
    assert_eq!(after.shards()[0], new());
    assert_eq!(after.addresses(), [&at("e", 1), &at("d", 1)]);
    assert_eq!(after.slots_of(0), [0..=9]);
    assert_eq!(after.slots_of(1), [10..=19]);
}
