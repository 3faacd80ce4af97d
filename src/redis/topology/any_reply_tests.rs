//! Whatever a server answers: no panic, and a topology that is whole.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree;

use super::redirect::Redirect;
use super::role::Role;
use super::{Address, Reply, SLOTS, Shard, Topology, sentinel};

fn asked() -> impl Strategy<Value = Address> {
    let host = "[a-c]|::1|";
    let tcp = (host, any::<u16>()).prop_map(|(host, port)| Address::Tcp { host, port });
    prop_oneof![9 => tcp, 1 => Just(Address::Unix("/redis.sock".into()))]
}

/// Texts that mean something to the readers.
const KNOWN: [&str; 17] = [
    "",
    "?",
    "::1",
    "a",
    "b",
    "ip",
    "port",
    "flags",
    "slave,s_down",
    "master",
    "slave",
    "sync",
    "sentinel",
    "6379",
    "0",
    "master-link-status",
    "err",
];

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => prop::sample::select(&KNOWN[..]).prop_map(|text| text.as_bytes().to_vec()),
        1 => vec(any::<u8>(), 0..6),
    ]
}

fn reply() -> impl Strategy<Value = Reply> {
    let leaf = prop_oneof![
        4 => bytes().prop_map(Reply::Bytes),
        1 => Just(Reply::Nil),
        2 => (-1..20_000_i64).prop_map(Reply::Integer),
        1 => any::<i64>().prop_map(Reply::Integer),
        1 => ".{0,8}".prop_map(Reply::Status),
        1 => ".{0,8}".prop_map(Reply::Error),
    ];
    leaf.prop_recursive(4, 64, 8, |inner| vec(inner, 0..8).prop_map(Reply::Array))
}

/// A server as `CLUSTER SLOTS` describes it.
fn server() -> impl Strategy<Value = Reply> {
    let host = prop::sample::select(&["", "?", "::1", "a", "b"][..]);
    let endpoint = prop_oneof![
        40 => host.prop_map(|host| Reply::Bytes(host.into())),
        4 => Just(Reply::Nil),
        1 => bytes().prop_map(Reply::Bytes),
    ];
    let port = (0..4_i64).prop_map(Reply::Integer);
    let id = bytes().prop_map(Reply::Bytes);
    let metadata = vec(bytes().prop_map(Reply::Bytes), 0..5).prop_map(Reply::Array);
    (endpoint, port, id, metadata, 2..5_usize).prop_map(|(endpoint, port, id, metadata, length)| {
        let mut items = vec![endpoint, port, id, metadata];
        items.truncate(length);
        Reply::Array(items)
    })
}

/// Ranges of slots as `CLUSTER SLOTS` gives them, now and then with something else instead.
fn slots() -> impl Strategy<Value = Reply> {
    let cuts = prop::collection::btree_set(0..i64::from(SLOTS), 0..16);
    (cuts, vec(vec(server(), 1..4), 8)).prop_perturb(|(cuts, servers), mut random| {
        let cuts: Vec<i64> = cuts.into_iter().collect();
        let ranges = cuts.chunks_exact(2).zip(servers).map(|(ends, servers)| {
            let mut items = vec![Reply::Integer(ends[0]), Reply::Integer(ends[1])];
            items.extend(servers);
            if random.random_ratio(1, 30) {
                let place = random.random_range(0..items.len());
                items[place] = Reply::Integer(random.random_range(-1..20_000));
            }
            Reply::Array(items)
        });
        Reply::Array(ranges.collect())
    })
}

fn is_whole(topology: &Topology) -> Result<(), TestCaseError> {
    let count = topology.shards().len();
    let mut owned = 0;
    let mut firsts = Vec::new();
    for (index, Shard { primary, replicas }) in topology.shards().iter().enumerate() {
        let ranges = topology.slots_of(index);
        for range in &ranges {
            prop_assert!(range.start() <= range.end());
            for slot in range.clone() {
                prop_assert_eq!(topology.index_of(slot), Some(index));
                owned += 1;
            }
        }
        firsts.push(*ranges.first().expect("a shard has slots").start());
        prop_assert!(replicas.is_sorted_by(|a, b| a < b));
        prop_assert!(
            replicas
                .iter()
                .all(|replica| Some(replica) != primary.as_ref())
        );
    }
    prop_assert!(firsts.is_sorted());
    let unowned = topology.unowned_slots().into_iter().flatten();
    let unowned = unowned.inspect(|&slot| assert_eq!(topology.shard_of(slot), None));
    prop_assert_eq!(owned + unowned.count(), usize::from(SLOTS));
    prop_assert!((SLOTS..=u16::MAX).all(|slot| topology.index_of(slot).is_none()));
    prop_assert_eq!(topology.slots_of(count), []);
    Ok(())
}

proptest! {
    #[test]
    fn no_reply_panics(reply in reply(), asked in asked()) {
        if let Ok(topology) = Topology::from_cluster_slots(&reply, &asked) {
            is_whole(&topology)?;
        }
        let _ = Role::parse(&reply, &asked);
        let _ = sentinel::primary(&reply, "name", &asked);
        let _ = sentinel::replicas(&reply, "name", &asked);
        let _ = sentinel::sentinels(&reply, "name", &asked);
    }

    #[test]
    fn slots_make_a_whole_topology(
        reply in slots(),
        asked in asked(),
        moves in vec((0..SLOTS, asked()), 0..8),
    ) {
        let Ok(mut topology) = Topology::from_cluster_slots(&reply, &asked) else {
            return Ok(());
        };
        is_whole(&topology)?;
        let Reply::Array(ranges) = &reply else {
            unreachable!()
        };
        let reversed = Reply::Array(ranges.iter().rev().cloned().collect());
        let reversed = Topology::from_cluster_slots(&reversed, &asked).unwrap();
        prop_assert_eq!(&reversed, &topology);
        for (slot, address) in moves {
            topology = topology.with_moved(slot, &address);
            is_whole(&topology)?;
            let shard = topology.shard_of(slot).unwrap();
            prop_assert_eq!(shard.primary.as_ref(), Some(&address));
        }
    }

    #[test]
    fn no_error_panics(words in "(MOVED|ASK|.{0,5}) ?.{0,20}", asked in asked()) {
        let _ = Redirect::parse(&words, &asked);
    }

    #[test]
    fn redirects_are_read_as_written(
        code in "MOVED|ASK",
        wanted in any::<u16>(),
        host in "[a-z0-9.:-]{0,12}|[?]",
        port in any::<u16>(),
        asked in asked(),
    ) {
        let found = Redirect::parse(&format!("{code} {wanted} {host}:{port}"), &asked);
        let (slot, address) = match found {
            None => {
                prop_assert!(wanted >= SLOTS);
                return Ok(());
            }
            Some(Redirect::Elsewhere { slot }) => {
                prop_assert!(host == "?" || port == 0);
                prop_assert_eq!(slot, wanted);
                return Ok(());
            }
            Some(Redirect::Moved { slot, address }) => {
                prop_assert_eq!(code, "MOVED");
                (slot, address)
            }
            Some(Redirect::Ask { slot, address }) => {
                prop_assert_eq!(code, "ASK");
                (slot, address)
            }
            Some(other) => panic!("{other:?}"),
        };
        prop_assert_eq!(slot, wanted);
        prop_assert!(slot < SLOTS);
        match (address, asked) {
            (Address::Unix(_), Address::Unix(_)) => prop_assert_eq!(host, ""),
            (Address::Tcp { host: found, port: at }, Address::Tcp { host: from, .. }) if host.is_empty() => {
                prop_assert_eq!((found, at), (from, port));
            }
            (Address::Tcp { host: found, port: at }, _) => {
                prop_assert_eq!((found, at), (host, port));
            }
            (found, _) => panic!("{found:?}"),
        }
    }
}

/// The strategies above reach what they are to reach.
#[test]
fn generated_slots_are_mostly_read() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut read = 0;
    let asked = Address::Tcp {
        host: "a".to_owned(),
        port: 1,
    };
    for _ in 0..200 {
        let reply = slots().new_tree(&mut runner).unwrap().current();
        let topology = Topology::from_cluster_slots(&reply, &asked);
        read += usize::from(topology.is_ok_and(|topology| topology.shards().len() > 1));
    }
    assert!(read > 100, "{read} of 200");
}
