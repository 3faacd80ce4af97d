//! A private cluster.

use std::time::{Duration, Instant};

use _core::redis::config::Address;
use _core::redis::slot::SLOTS;
use _core::redis::topology::Topology;
use serde_json::json;

use super::replies::Reply;
use super::{RedisServer, answer, ask, free_port};

/// How long a change may take until every node knows of it, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// The nodes' bus listens this far above the port of the commands.
pub const BUS: u16 = 10_000;

/// Servers that make up a cluster, ended when it is dropped.
///
/// At first the nodes are in order: the primaries, each with as many slots as the next, in
/// ascending order; then the replicas of the first, of the second, and so on.
pub struct Cluster {
    pub nodes: Vec<RedisServer>,
    primaries: usize,
    replicas: usize,
}

impl Cluster {
    /// A cluster with this many primaries and replicas of each, whose nodes have `arguments`
    /// besides. A node that is silent for a second is held to be down.
    pub fn start(primaries: usize, replicas: usize, arguments: &[&str]) -> Self {
        let nodes = primaries * (1 + replicas);
        let cluster = Self {
            nodes: (0..nodes).map(|_| node(arguments)).collect(),
            primaries,
            replicas,
        };
        let share = |n: usize| n * usize::from(SLOTS) / primaries;
        for (n, node) in cluster.nodes.iter().enumerate() {
            // Of two nodes with the same epoch one would have to give way first.
            cluster.tell(n, &["CLUSTER", "SET-CONFIG-EPOCH", &(n + 1).to_string()]);
            if n < primaries {
                let slots = (share(n)..share(n + 1)).map(|slot| slot.to_string());
                let command = ["CLUSTER", "ADDSLOTS"].map(str::to_owned);
                let command: Vec<String> = command.into_iter().chain(slots).collect();
                let parts: Vec<&str> = command.iter().map(String::as_str).collect();
                cluster.tell(n, &parts);
            }
            if n > 0 {
                cluster.tell(0, &["CLUSTER", "MEET", "127.0.0.1", &node.port.to_string()]);
            }
        }
        let all_met = || (0..nodes).all(|n| cluster.peers(n) == nodes);
        wait_until("the nodes have met", all_met);
        for n in primaries..nodes {
            let id = cluster.id((n - primaries) / replicas);
            cluster.tell(n, &["CLUSTER", "REPLICATE", &id]);
        }
        cluster.wait_until_whole();
        cluster
    }

    /// Waits until every node knows of all the slots, primaries and replicas that there were at
    /// first, and every replica is in step.
    pub fn wait_until_whole(&self) {
        let is_whole = |topology: &Topology| {
            topology.unowned_slots().is_empty()
                && topology.shards().len() == self.primaries
                && (topology.shards().iter()).all(|shard| shard.replicas.len() == self.replicas)
        };
        let states = || {
            (0..self.nodes.len()).all(|n| {
                let info = self.text(n, &["CLUSTER", "INFO"]);
                let replication = self.text(n, &["INFO", "replication"]);
                info.contains("cluster_state:ok")
                    && !replication.contains("master_link_status:down")
                    && is_whole(&self.topology(n))
                    && self.topology(n) == self.topology(0)
            })
        };
        wait_until("all nodes know the cluster", states);
    }

    /// Waits until the node `n`, which must be running, says of the cluster what `wanted` is to
    /// hold for.
    pub fn wait_until_known(&self, n: usize, wanted: impl Fn(&Topology) -> bool) {
        wait_until("the cluster changes", || wanted(&self.topology(n)));
    }

    /// What the node `n` says of the cluster.
    pub fn topology(&self, n: usize) -> Topology {
        let node = &self.nodes[n];
        let reply = answer(&node.pool(json!({})), &[b"CLUSTER", b"SLOTS"]).unwrap();
        Topology::from_cluster_slots(&reply, &self.address(n)).unwrap()
    }

    /// Where the node `n` listens.
    pub fn address(&self, n: usize) -> Address {
        Address::Tcp {
            host: "127.0.0.1".to_owned(),
            port: self.nodes[n].port,
        }
    }

    /// The node that listens at `address`.
    pub fn at(&self, address: &Address) -> usize {
        let mut places = 0..self.nodes.len();
        places.find(|&n| self.address(n) == *address).unwrap()
    }

    /// The node that is the primary of `slot`, as the running node `n` sees it.
    pub fn primary_of(&self, slot: u16, n: usize) -> usize {
        let topology = self.topology(n);
        self.at(topology.shard_of(slot).unwrap().primary.as_ref().unwrap())
    }

    /// The nodes as the host:port list of a connection string.
    pub fn seeds(&self) -> String {
        let seeds: Vec<String> = (0..self.nodes.len())
            .map(|n| self.address(n).to_string())
            .collect();
        seeds.join(",")
    }

    /// The id of the node `n`.
    pub fn id(&self, n: usize) -> String {
        self.text(n, &["CLUSTER", "MYID"])
    }

    /// Makes the replica `n` the primary of its shard, with its primary's consent, and waits until
    /// every node knows.
    pub fn fail_over_to(&self, n: usize) {
        self.tell(n, &["CLUSTER", "FAILOVER"]);
        let address = self.address(n);
        wait_until("the failover is known", || {
            let known = |other| self.topology(other).primaries().contains(&&address);
            (0..self.nodes.len()).all(known)
        });
        self.wait_until_whole();
    }

    /// Begins to move `slot` from its primary to the primary `to`: from now on, keys that are not
    /// there are asked for at `to`.
    pub fn begin_move(&self, slot: u16, to: usize) {
        let from = self.primary_of(slot, to);
        let slot = slot.to_string();
        self.tell(
            to,
            &["CLUSTER", "SETSLOT", &slot, "IMPORTING", &self.id(from)],
        );
        self.tell(
            from,
            &["CLUSTER", "SETSLOT", &slot, "MIGRATING", &self.id(to)],
        );
    }

    /// Moves at most `count` keys of `slot` to the primary `to`; gives how many went.
    pub fn move_keys(&self, slot: u16, to: usize, count: usize) -> usize {
        let from = self.nodes[self.primary_of(slot, to)].pool(json!({}));
        let (slot, count) = (slot.to_string(), count.to_string());
        let command = [
            &b"CLUSTER"[..],
            b"GETKEYSINSLOT",
            slot.as_bytes(),
            count.as_bytes(),
        ];
        let Reply::Array(keys) = ask(&from, &command).unwrap() else {
            panic!("no list of keys")
        };
        let port = self.nodes[to].port.to_string();
        for key in &keys {
            let Reply::Bulk(key) = key else {
                panic!("{key:?} is no key")
            };
            let command = [
                &b"MIGRATE"[..],
                b"127.0.0.1",
                port.as_bytes(),
                key,
                b"0",
                b"5000",
            ];
            let moved = ask(&from, &command).unwrap();
            // A key may have gone meanwhile.
            assert!(matches!(&moved, Reply::Status(word) if word == "OK" || word == "NOKEY"));
        }
        keys.len()
    }

    /// Ends the move of a slot without keys to the primary `to`, and waits until every node knows.
    pub fn end_move(&self, slot: u16, to: usize) {
        let from = self.primary_of(slot, to);
        let (id, text) = (self.id(to), slot.to_string());
        // The new owner first, so that at no moment there is none.
        for n in [to, from] {
            self.tell(n, &["CLUSTER", "SETSLOT", &text, "NODE", &id]);
        }
        wait_until("the move is known", || {
            (0..self.nodes.len()).all(|n| self.primary_of(slot, n) == to)
        });
    }

    /// Moves `slot` with its keys to the primary `to`.
    pub fn move_slot(&self, slot: u16, to: usize) {
        self.begin_move(slot, to);
        while self.move_keys(slot, to, 100) > 0 {}
        self.end_move(slot, to);
    }

    /// The text that the node `n` answers.
    pub fn text(&self, n: usize, parts: &[&str]) -> String {
        let pool = self.nodes[n].pool(json!({}));
        let parts: Vec<&[u8]> = parts.iter().map(|part| part.as_bytes()).collect();
        match ask(&pool, &parts).unwrap() {
            Reply::Bulk(text) => String::from_utf8(text).unwrap(),
            Reply::Status(text) => text,
            other => panic!("{other:?}"),
        }
    }

    fn tell(&self, n: usize, parts: &[&str]) {
        assert_eq!(self.text(n, parts), "OK");
    }

    /// Starts the node `n` again as one that has lost what it knew, its own name with it.
    pub fn forget_itself(&mut self, n: usize) {
        let node = &mut self.nodes[n];
        node.kill();
        std::fs::remove_file(node.directory.path().join("nodes.conf")).unwrap();
        node.restart();
    }

    /// How many nodes the node `n` has shaken hands with, itself among them.
    fn peers(&self, n: usize) -> usize {
        let nodes = self.text(n, &["CLUSTER", "NODES"]);
        let met = |line: &&str| !line.contains("handshake") && !line.contains("noaddr");
        nodes.lines().filter(met).count()
    }
}

/// A node of a cluster that knows of no other and has no slots yet.
pub fn node(arguments: &[&str]) -> RedisServer {
    let settings = [
        "--cluster-enabled yes",
        "--cluster-node-timeout 1000",
        "--cluster-replica-validity-factor 0",
        "--repl-diskless-sync-delay 0",
    ];
    let settings: Vec<&str> = settings.iter().flat_map(|text| text.split(' ')).collect();
    for _ in 0..5 {
        let node = RedisServer::start_at(bus_port, |port| {
            let own = ["--port".to_owned(), port.to_string()];
            let others = settings.iter().chain(arguments);
            own.into_iter()
                .chain(others.map(|&word| word.to_owned()))
                .collect()
        });
        // It ends when the port of the bus has been taken meanwhile.
        if ask(&node.pool(json!({})), &[b"PING"]).is_ok() {
            return node;
        }
    }
    panic!("no node of a cluster starts");
}

/// A free port whose port for the bus is free as well.
fn bus_port() -> u16 {
    loop {
        let port = free_port();
        if std::net::TcpListener::bind(("127.0.0.1", port + BUS)).is_ok() {
            return port;
        }
    }
}

/// Waits until `holds`.
pub fn wait_until(what: &str, holds: impl Fn() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
