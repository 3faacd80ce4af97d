//! A pipeline through a cluster whose answers are written here.

use super::placing::unserved;
use super::*;
use crate::redis::reply::ReplySink;
use crate::redis::topology::Shard;
use crate::redis::tree::{Replies, Reply};

fn address(port: u16) -> Address {
    Address::Tcp {
        host: "h".to_owned(),
        port,
    }
}

/// Two shards: the lower half of the slots at port 1, the upper at port 2.
fn topology() -> Topology {
    let shard = |first: i64, last: i64, port: i64| {
        Reply::Array(vec![
            Reply::Integer(first),
            Reply::Integer(last),
            Reply::Array(vec![
                Reply::Bytes(b"h".to_vec()),
                Reply::Integer(port),
                Reply::Bytes(vec![b'0'; 40]),
            ]),
        ])
    };
    let slots = Reply::Array(vec![shard(0, 8191, 1), shard(8192, 16383, 2)]);
    Topology::from_cluster_slots(&slots, &address(1)).unwrap()
}

fn servers(topology: &Topology) -> Vec<Result<Address>> {
    let primary = |shard: &Shard| shard.primary.clone().ok_or_else(|| unserved(None));
    topology.shards().iter().map(primary).collect()
}

/// Two keys of each shard, in turns: their slots are 12182 (foo), 5061 (bar), 4813 (hello),
/// 11058 (x).
const KEYS: [&str; 4] = ["foo", "bar", "x", "hello"];

fn pipeline() -> Commands {
    let mut commands = Commands::default();
    for key in KEYS {
        commands.push_for_key(&[b"GET", key.as_bytes()]);
    }
    commands
}

fn harvest(leg: &Leg, bytes: &[u8]) -> RawReplies {
    let mut replies = RawReplies::new(leg.commands.len(), 0, 1 << 20);
    replies.space().unwrap()[..bytes.len()].copy_from_slice(bytes);
    replies.advance(bytes.len()).unwrap();
    replies
}

fn delivered(routing: &Routing<'_>, due: usize) -> Result<Vec<Reply>> {
    let mut replies = Replies::new(due, 1 << 20);
    routing.deliver(&mut replies)?;
    Ok(replies.into_vec())
}

fn bytes(text: &str) -> Reply {
    Reply::Bytes(text.as_bytes().to_vec())
}

fn sent(leg: &Leg) -> String {
    let bytes: Vec<u8> = leg
        .commands
        .segments()
        .flat_map(|(bytes, _)| bytes.to_vec())
        .collect();
    let text = String::from_utf8(bytes).unwrap();
    let words = text
        .split("\r\n")
        .filter(|word| !word.starts_with(['*', '$']));
    words.collect::<Vec<_>>().join(" ").trim().to_owned()
}

/// The legs' ports and what they carry.
fn shown(legs: &[Leg]) -> Vec<(String, String)> {
    let shown = legs.iter().map(|leg| (leg.address.to_string(), sent(leg)));
    shown.collect()
}

fn pair(address: &str, words: &str) -> (String, String) {
    (address.to_owned(), words.to_owned())
}

#[test]
fn replies_come_in_the_order_of_the_commands() {
    let (commands, topology) = (pipeline(), topology());
    let mut routing = Routing::new(&commands, Purpose::Read);
    let legs = routing.legs(&topology, &servers(&topology));
    let expected = [
        pair("h:2", "GET foo GET x"),
        pair("h:1", "GET bar GET hello"),
    ];
    assert_eq!(shown(&legs), expected);
    routing.take(
        &legs[1],
        harvest(&legs[1], b"$1\r\nB\r\n-WRONGTYPE no\r\n"),
        Ok(()),
    );
    routing.take(&legs[0], harvest(&legs[0], b"$1\r\nA\r\n$-1\r\n"), Ok(()));
    assert_eq!(routing.next(Deadline::NEVER).unwrap(), Next::Deliver);
    assert_eq!(
        delivered(&routing, 4).unwrap(),
        [
            bytes("A"),
            bytes("B"),
            Reply::Nil,
            Reply::Error("WRONGTYPE no (redis at h:1)".to_owned())
        ]
    );
}

#[test]
fn redirections_are_followed() {
    let (commands, topology) = (pipeline(), topology());
    let mut routing = Routing::new(&commands, Purpose::Read);
    let legs = routing.legs(&topology, &servers(&topology));
    routing.take(
        &legs[0],
        harvest(&legs[0], b"-MOVED 12182 h:3\r\n-ASK 11058 h:1\r\n"),
        Ok(()),
    );
    routing.take(
        &legs[1],
        harvest(&legs[1], b"$1\r\nB\r\n$1\r\nD\r\n"),
        Ok(()),
    );
    let next = routing.next(Deadline::NEVER).unwrap();
    assert!(matches!(next, Next::Again { look_up: false, .. }));
    let legs = routing.legs(&topology, &servers(&topology));
    let expected = [pair("h:3", "GET foo"), pair("h:1", "ASKING GET x")];
    assert_eq!(shown(&legs), expected);
    routing.take(&legs[0], harvest(&legs[0], b"$1\r\nA\r\n"), Ok(()));
    routing.take(&legs[1], harvest(&legs[1], b"+OK\r\n$1\r\nC\r\n"), Ok(()));
    assert_eq!(routing.next(Deadline::NEVER).unwrap(), Next::Deliver);
    let texts = ["A", "B", "C", "D"].map(bytes);
    assert_eq!(delivered(&routing, 4).unwrap(), texts);
}

#[test]
fn endless_redirections_are_an_error() {
    let (commands, topology) = (pipeline(), topology());
    for purpose in [Purpose::Read, Purpose::Write] {
        let mut routing = Routing::new(&commands, purpose);
        let error = loop {
            for leg in routing.legs(&topology, &servers(&topology)) {
                let words = b"-MOVED 1 h:3\r\n".repeat(leg.commands.len());
                let replies = harvest(&leg, &words);
                routing.take(&leg, replies, Ok(()));
            }
            match routing.next(Deadline::NEVER) {
                Ok(Next::Deliver) => break delivered(&routing, 4).unwrap_err(),
                Ok(Next::Again { .. }) => {}
                Err(error) => break error,
            }
        };
        assert!(
            error.to_string().contains("redirected a key 16 times"),
            "{error}"
        );
    }
}

#[test]
fn a_read_that_met_trouble_is_tried_again_and_then_told() {
    let (commands, topology) = (pipeline(), topology());
    let mut routing = Routing::new(&commands, Purpose::Read);
    let lost = || Error::new(ErrorKind::Connection, "lost");
    let mut rounds = 0;
    loop {
        rounds += 1;
        for leg in routing.legs(&topology, &servers(&topology)) {
            let (replies, outcome) = if leg.address == address(1) {
                (harvest(&leg, b""), Err(lost()))
            } else {
                (
                    harvest(
                        &leg,
                        b"$1\r\nA\r\n-TRYAGAIN no\r\n"[..]
                            .get(..if rounds == 1 { 21 } else { 0 })
                            .unwrap(),
                    ),
                    Ok(()),
                )
            };
            if rounds > 1 && leg.address == address(2) {
                let replies = harvest(&leg, b"$1\r\nC\r\n");
                routing.take(&leg, replies, Ok(()));
                continue;
            }
            routing.take(&leg, replies, outcome);
        }
        match routing.next(Deadline::NEVER).unwrap() {
            Next::Deliver => break,
            Next::Again { look_up, .. } => assert!(look_up),
        }
    }
    assert_eq!(rounds, 1 + PAUSES.len());
    assert_eq!(routing.avoided(), [address(1)]);
    let error = delivered(&routing, 4).unwrap_err();
    assert_eq!(error.to_string(), "lost");
}

#[test]
fn a_write_that_met_trouble_is_its_authors_affair() {
    let (commands, topology) = (pipeline(), topology());
    let mut routing = Routing::new(&commands, Purpose::Write);
    let legs = routing.legs(&topology, &servers(&topology));
    routing.take(
        &legs[0],
        harvest(&legs[0], b"+OK\r\n-TRYAGAIN no\r\n"),
        Ok(()),
    );
    routing.take(&legs[1], harvest(&legs[1], b"+OK\r\n+OK\r\n"), Ok(()));
    assert_eq!(routing.next(Deadline::NEVER).unwrap(), Next::Deliver);
    let mut routing = Routing::new(&commands, Purpose::Write);
    let legs = routing.legs(&topology, &servers(&topology));
    let lost = Error::new(ErrorKind::Connection, "lost");
    routing.take(&legs[0], harvest(&legs[0], b"+OK\r\n"), Err(lost));
    routing.take(&legs[1], harvest(&legs[1], b"+OK\r\n+OK\r\n"), Ok(()));
    assert_eq!(
        routing.next(Deadline::NEVER).unwrap_err().to_string(),
        "lost"
    );
}

#[test]
fn a_redirected_write_does_not_pass_a_later_one_of_its_key() {
    let mut commands = Commands::default();
    for value in [b"1", b"2"] {
        commands.push_for_key(&[b"SET", b"foo", value]);
    }
    let topology = topology();
    let mut routing = Routing::new(&commands, Purpose::Write);
    let legs = routing.legs(&topology, &servers(&topology));
    routing.take(
        &legs[0],
        harvest(&legs[0], b"-ASK 12182 h:1\r\n+OK\r\n"),
        Ok(()),
    );
    assert_eq!(routing.next(Deadline::NEVER).unwrap(), Next::Deliver);
    let replies = delivered(&routing, 2).unwrap();
    assert!(matches!(&replies[0], Reply::Error(words) if words.starts_with("ASK 12182 h:1")));
}

#[test]
fn a_script_is_loaded_wherever_it_is_called() {
    let mut commands = Commands::default();
    commands.push_for_each(&[b"SCRIPT", b"LOAD", b"s"]);
    commands.push_for_key(&[b"EVALSHA", b"foo"]);
    commands.push_for_key(&[b"EVALSHA", b"bar"]);
    let topology = topology();
    let mut routing = Routing::new(&commands, Purpose::Write);
    let legs = routing.legs(&topology, &servers(&topology));
    let expected = [
        pair("h:2", "SCRIPT LOAD s EVALSHA foo"),
        pair("h:1", "SCRIPT LOAD s EVALSHA bar"),
    ];
    assert_eq!(shown(&legs), expected);
    for leg in &legs {
        routing.take(leg, harvest(leg, b"+sha\r\n:1\r\n"), Ok(()));
    }
    assert_eq!(routing.next(Deadline::NEVER).unwrap(), Next::Deliver);
    assert_eq!(delivered(&routing, 3).unwrap().len(), 3);
}

/// A sink that does without what does not come: whether each reply came.
struct Forgiving(Vec<bool>, RawReplies);

impl ReplySink for Forgiving {
    fn space(&mut self) -> Result<&mut [u8]> {
        self.1.space()
    }

    fn advance(&mut self, n: usize) -> Result<()> {
        let before = self.1.replies();
        self.1.advance(n)?;
        self.0.extend((before..self.1.replies()).map(|_| true));
        Ok(())
    }

    fn replies(&self) -> usize {
        self.0.len()
    }

    fn unanswered(&mut self, _: &Error) -> Result<()> {
        self.0.push(false);
        Ok(())
    }
}

fn came(routing: &Routing<'_>) -> Vec<bool> {
    let mut sink = Forgiving(Vec::new(), RawReplies::new(4, 0, 1 << 20));
    routing.deliver(&mut sink).unwrap();
    sink.0
}

#[test]
fn a_slot_without_server_fails_only_its_keys() {
    let (commands, topology) = (pipeline(), topology());
    let mut routing = Routing::new(&commands, Purpose::Read);
    let mut servers = servers(&topology);
    servers[0] = Err(unserved(Some(7)));
    loop {
        for leg in routing.legs(&topology, &servers) {
            let replies = harvest(&leg, b"$1\r\nA\r\n$1\r\nC\r\n");
            routing.take(&leg, replies, Ok(()));
        }
        if routing.next(Deadline::NEVER).unwrap() == Next::Deliver {
            break;
        }
    }
    assert_eq!(came(&routing), [true, false, true, false]);
}

#[test]
fn what_a_breaker_keeps_back_fails_at_once() {
    let (commands, topology) = (pipeline(), topology());
    let mut routing = Routing::new(&commands, Purpose::Read);
    let mut servers = servers(&topology);
    let refusal = || Error::new(ErrorKind::Connection, "left alone").refusal();
    servers[0] = Err(refusal());
    let legs = routing.legs(&topology, &servers);
    assert_eq!(shown(&legs), [pair("h:2", "GET foo GET x")]);
    let replies = harvest(&legs[0], b"$1\r\nA\r\n$1\r\nC\r\n");
    routing.take(&legs[0], replies, Ok(()));
    assert!(routing.is_refused());
    assert_eq!(routing.next(Deadline::NEVER).unwrap(), Next::Deliver);
    assert_eq!(came(&routing), [true, false, true, false]);
    let error = delivered(&routing, 4).unwrap_err();
    assert_eq!(error.to_string(), "left alone");
}

#[test]
fn what_a_breaker_keeps_back_on_its_way_may_go_elsewhere() {
    let (commands, topology) = (pipeline(), topology());
    let mut routing = Routing::new(&commands, Purpose::Read);
    let mut servers = servers(&topology);
    let legs = routing.legs(&topology, &servers);
    let refusal = Error::new(ErrorKind::Connection, "left alone").refusal();
    let replies = harvest(&legs[0], b"$1\r\nA\r\n$1\r\nC\r\n");
    routing.take(&legs[0], replies, Ok(()));
    routing.take(&legs[1], harvest(&legs[1], b""), Err(refusal));
    let again = Next::Again {
        look_up: false,
        pause: Duration::ZERO,
    };
    assert_eq!(routing.next(Deadline::NEVER).unwrap(), again);
    assert_eq!(routing.avoided(), [address(1)]);
    servers[0] = Ok(address(4));
    let legs = routing.legs(&topology, &servers);
    assert_eq!(shown(&legs), [pair("h:4", "GET bar GET hello")]);
    let replies = harvest(&legs[0], b"$1\r\nB\r\n$1\r\nD\r\n");
    routing.take(&legs[0], replies, Ok(()));
    assert!(!routing.is_refused());
    assert_eq!(routing.next(Deadline::NEVER).unwrap(), Next::Deliver);
    assert_eq!(
        delivered(&routing, 4).unwrap(),
        ["A", "B", "C", "D"].map(bytes)
    );
}

#[test]
fn no_pause_is_made_that_outlasts_the_deadline() {
    let (commands, topology) = (pipeline(), topology());
    let mut routing = Routing::new(&commands, Purpose::Read);
    let deadline = Deadline::after(Some(Duration::from_millis(9)));
    for last in [false, true] {
        for leg in routing.legs(&topology, &servers(&topology)) {
            let lost = Error::new(ErrorKind::Connection, "lost");
            routing.take(&leg, harvest(&leg, b""), Err(lost));
        }
        let next = routing.next(deadline).unwrap();
        assert_eq!(next == Next::Deliver, last, "{next:?}");
    }
}

#[test]
fn a_slot_at_a_server_without_name_is_looked_up() {
    let (commands, topology) = (pipeline(), topology());
    let mut routing = Routing::new(&commands, Purpose::Read);
    let legs = routing.legs(&topology, &servers(&topology));
    let words = b"-MOVED 12182 ?:3\r\n$1\r\nC\r\n";
    routing.take(&legs[0], harvest(&legs[0], words), Ok(()));
    let replies = harvest(&legs[1], b"$1\r\nB\r\n$1\r\nD\r\n");
    routing.take(&legs[1], replies, Ok(()));
    let next = routing.next(Deadline::NEVER).unwrap();
    assert!(matches!(next, Next::Again { look_up: true, .. }));
    let legs = routing.legs(&topology, &servers(&topology));
    assert_eq!(shown(&legs), [pair("h:2", "GET foo")]);
}

/// The topology with a replica of the lower half at port 4.
fn with_replica() -> Topology {
    let node = |port: i64| {
        Reply::Array(vec![
            Reply::Bytes(b"h".to_vec()),
            Reply::Integer(port),
            Reply::Bytes(vec![b'0'; 40]),
        ])
    };
    let shard = |first, last, nodes: &[i64]| {
        let head = [Reply::Integer(first), Reply::Integer(last)];
        let nodes = nodes.iter().map(|port| node(*port));
        Reply::Array(head.into_iter().chain(nodes).collect())
    };
    let slots = Reply::Array(vec![shard(0, 8191, &[1, 4]), shard(8192, 16383, &[2])]);
    Topology::from_cluster_slots(&slots, &address(1)).unwrap()
}

/// Reads the lower half's keys from the replica, which knows nothing of `hello`.
fn doubting<'c>(commands: &'c Commands, topology: &Topology) -> Routing<'c> {
    let mut routing = Routing::new(commands, Purpose::Read);
    let servers = [Ok(address(4)), Ok(address(2))];
    let mut legs = routing.legs(topology, &servers);
    assert_eq!(legs[1].address, address(4));
    legs[1].from_replica = true;
    let replies = harvest(&legs[0], b"$1\r\nA\r\n$-1\r\n");
    routing.take(&legs[0], replies, Ok(()));
    let replies = harvest(&legs[1], b"$1\r\nB\r\n*2\r\n$-1\r\n$-1\r\n");
    routing.take(&legs[1], replies, Ok(()));
    let next = routing.next(Deadline::NEVER).unwrap();
    assert!(matches!(next, Next::Again { look_up: false, .. }));
    routing
}

#[test]
fn what_a_replica_does_not_know_its_primary_is_asked() {
    let (commands, topology) = (pipeline(), with_replica());
    let servers = [Ok(address(4)), Ok(address(2))];
    let mut routing = doubting(&commands, &topology);
    let legs = routing.legs(&topology, &servers);
    assert_eq!(shown(&legs), [pair("h:1", "GET hello")]);
    assert!(routing.is_confirming());
    // The slot is on its way.
    let replies = harvest(&legs[0], b"-ASK 4813 h:2\r\n");
    routing.take(&legs[0], replies, Ok(()));
    assert!(matches!(
        routing.next(Deadline::NEVER).unwrap(),
        Next::Again { look_up: false, .. }
    ));
    let legs = routing.legs(&topology, &servers);
    assert_eq!(shown(&legs), [pair("h:2", "ASKING GET hello")]);
    let replies = harvest(&legs[0], b"+OK\r\n$1\r\nD\r\n");
    routing.take(&legs[0], replies, Ok(()));
    assert_eq!(routing.next(Deadline::NEVER).unwrap(), Next::Deliver);
    let replies = delivered(&routing, 4).unwrap();
    assert_eq!(replies, [bytes("A"), bytes("B"), Reply::Nil, bytes("D")]);
}

#[test]
fn a_replicas_word_stands_where_its_primary_is_out_of_reach() {
    let (commands, topology) = (pipeline(), with_replica());
    let servers = [Ok(address(4)), Ok(address(2))];
    let lost = || Error::new(ErrorKind::Connection, "lost");
    let answers: [(&[u8], Result<()>); 3] = [
        (b"", Err(lost())),
        (b"-LOADING wait\r\n", Ok(())),
        (b"*2\r\n$-1\r\n$-1\r\n", Ok(())),
    ];
    for (answer, outcome) in answers {
        let mut routing = doubting(&commands, &topology);
        let legs = routing.legs(&topology, &servers);
        routing.take(&legs[0], harvest(&legs[0], answer), outcome);
        assert_eq!(routing.next(Deadline::NEVER).unwrap(), Next::Deliver);
        let nothing = Reply::Array(vec![Reply::Nil, Reply::Nil]);
        let replies = delivered(&routing, 4).unwrap();
        assert_eq!(replies, [bytes("A"), bytes("B"), Reply::Nil, nothing]);
    }
}

#[test]
fn redirected_writes_of_a_key_stay_in_order() {
    let mut commands = Commands::default();
    for value in [b"1", b"2", b"3"] {
        commands.push_for_key(&[b"SET", b"foo", value]);
    }
    let topology = topology();
    let mut routing = Routing::new(&commands, Purpose::Write);
    let legs = routing.legs(&topology, &servers(&topology));
    let words = b"-ASK 12182 h:1\r\n-MOVED 12182 h:1\r\n-MOVED 12182 h:3\r\n";
    routing.take(&legs[0], harvest(&legs[0], words), Ok(()));
    assert!(matches!(
        routing.next(Deadline::NEVER).unwrap(),
        Next::Again { look_up: false, .. }
    ));
    // One connection for the first two, and the third waits for them.
    let legs = routing.legs(&topology, &servers(&topology));
    let expected = [pair("h:1", "ASKING SET foo 1 SET foo 2")];
    assert_eq!(shown(&legs), expected);
    let replies = harvest(&legs[0], b"+OK\r\n+OK\r\n+OK\r\n");
    routing.take(&legs[0], replies, Ok(()));
    assert!(matches!(
        routing.next(Deadline::NEVER).unwrap(),
        Next::Again { look_up: false, .. }
    ));
    let legs = routing.legs(&topology, &servers(&topology));
    assert_eq!(shown(&legs), [pair("h:3", "SET foo 3")]);
    routing.take(&legs[0], harvest(&legs[0], b"+OK\r\n"), Ok(()));
    assert_eq!(routing.next(Deadline::NEVER).unwrap(), Next::Deliver);
    assert_eq!(delivered(&routing, 3).unwrap().len(), 3);
}

#[test]
fn a_redirection_at_the_end_of_the_time_is_an_outage() {
    let (commands, topology) = (pipeline(), topology());
    let mut routing = Routing::new(&commands, Purpose::Read);
    let deadline = Deadline::after(Some(Duration::from_nanos(1)));
    let legs = routing.legs(&topology, &servers(&topology));
    let words = b"-TRYAGAIN no\r\n-MOVED 11058 h:3\r\n";
    routing.take(&legs[0], harvest(&legs[0], words), Ok(()));
    let replies = harvest(&legs[1], b"$1\r\nB\r\n$1\r\nD\r\n");
    routing.take(&legs[1], replies, Ok(()));
    assert_eq!(routing.next(deadline).unwrap(), Next::Deliver);
    assert_eq!(came(&routing), [true, true, false, true]);
    assert!(delivered(&routing, 4).unwrap_err().is_outage());
}
