//! Connections and the pool, against real servers and against ones that misbehave.

#[path = "../redis_server/mod.rs"]
mod redis_server;

mod faults;
mod limits;
mod login;
mod rotation;
mod sharing;
mod together;

use std::time::{Duration, Instant};

use _core::error::{ErrorKind, Result};
use _core::redis::Deadline;
use _core::redis::command::Commands;
use _core::redis::pool::{Counts, Pool};
use serde_json::json;

use redis_server::replies::{Replies, Reply};
use redis_server::{RedisServer, ask, ask_async, ask_within, config};

/// How late a time limit may be noticed by one attempt on a busy machine.
const LATE: Duration = Duration::from_millis(150);

/// How late it may be noticed by the best of a few.
const PRECISION: Duration = Duration::from_millis(10);

/// Asserts that `attempt` takes `limit` and at the most [`PRECISION`] more. Other tests keep the
/// machine busy, which may delay any attempt; what is late by itself is late each time.
fn on_time(limit: Duration, what: &str, mut attempt: impl FnMut()) {
    let mut late = Vec::new();
    while late.len() < 8 {
        let start = Instant::now();
        attempt();
        let took = start.elapsed();
        let Some(over) = took.checked_sub(limit) else {
            panic!("{what}: {took:?} are less than {limit:?}");
        };
        if over < PRECISION {
            return;
        }
        late.push(over);
    }
    panic!("{what}: late by {late:?}");
}

fn pong() -> Reply {
    Reply::Status("PONG".to_owned())
}

fn ping(pool: &Pool) -> Result<Reply> {
    ask(pool, &[b"PING"])
}

/// A failure's kind and text, and how long it took.
fn fails(pool: &Pool, limit_ms: u64) -> (ErrorKind, String, Duration) {
    let start = Instant::now();
    let limit = Duration::from_millis(limit_ms);
    let error = ask_within(pool, &[b"PING"], limit).expect_err("no error");
    (error.kind(), error.to_string(), start.elapsed())
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

fn pool_at(port: u16, settings: &serde_json::Value) -> Pool {
    let mut settings = settings.clone();
    settings["connection_string"] = format!("127.0.0.1:{port}").into();
    Pool::new(config(&settings))
}

#[test]
fn one_connection_serves_request_after_request() {
    let server = RedisServer::start(&[]);
    let pool = server.pool(json!({"client_name": "reused"}));
    assert_eq!(pool.counts(), Counts::default());
    for _ in 0..100 {
        assert_eq!(ping(&pool).unwrap(), pong());
    }
    assert_eq!(pool.counts(), Counts { open: 1, idle: 1 });
    assert_eq!(server.clients("reused"), 1);
    let mut nothing = Replies::default();
    pool.run(&Commands::default(), &mut nothing, Deadline::NEVER, &|| {
        Ok(())
    })
    .unwrap();
    runtime().block_on(async {
        for _ in 0..100 {
            assert_eq!(ask_async(&pool, &[b"PING"]).await.unwrap(), pong());
        }
    });
    assert_eq!(pool.async_counts(), Counts { open: 1, idle: 1 });
}

#[test]
fn unix_sockets() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("redis.sock");
    let path = path.to_str().unwrap();
    let _server = RedisServer::start(&["--unixsocket", path]);
    let pool = Pool::new(config(
        &json!({"connection_string": format!("unix://{path}?db=3")}),
    ));
    // The server listens on its port first, which is what its start waits for.
    let end = Instant::now() + Duration::from_secs(5);
    while ping(&pool).is_err() && Instant::now() < end {}
    assert_eq!(ping(&pool).unwrap(), pong());
    runtime().block_on(async { assert_eq!(ask_async(&pool, &[b"PING"]).await.unwrap(), pong()) });
    let nowhere = Pool::new(config(
        &json!({"connection_string": "unix:///nowhere/redis.sock"}),
    ));
    let (kind, message, _) = fails(&nowhere, 1000);
    assert_eq!(kind, ErrorKind::Connection);
    assert!(
        message.starts_with("cannot connect to redis at unix:/nowhere/redis.sock"),
        "{message}"
    );
}

/// Thirty megabytes there and back, in hundreds of segments, and one of eight megabytes.
fn large_pipeline(pool: &Pool) {
    let mut commands = Commands::default();
    let text = |n: usize| format!("{n}:").repeat(200 + n % 7);
    for n in 0..20_000 {
        commands.push(&[b"ECHO", text(n).as_bytes()]);
    }
    commands.push(&[b"ECHO", &vec![b'x'; 8 << 20]]);
    let check = |replies: &mut Replies| {
        let replies = replies.take();
        assert_eq!(replies.len(), 20_001);
        for (n, reply) in replies[..20_000].iter().enumerate() {
            assert_eq!(*reply, Reply::Bulk(text(n).into_bytes()));
        }
        assert_eq!(replies[20_000], Reply::Bulk(vec![b'x'; 8 << 20]));
    };
    let sink = || Replies::within(usize::MAX, 1 << 20);
    let mut replies = sink();
    let deadline = || Deadline::after(Some(Duration::from_secs(30)));
    pool.run(&commands, &mut replies, deadline(), &|| Ok(()))
        .unwrap();
    check(&mut replies);
    let mut replies = sink();
    runtime()
        .block_on(pool.run_async(&commands, &mut replies, deadline()))
        .unwrap();
    check(&mut replies);
}

#[test]
fn plain_connections_carry_large_pipelines() {
    large_pipeline(&RedisServer::start(&[]).pool(json!({})));
}

#[test]
fn databases() {
    let server = RedisServer::start(&["--databases", "4"]);
    let third = server.pool(json!({"db": 3}));
    ask(&third, &[b"SET", b"k", b"v"]).unwrap();
    assert_eq!(
        ask(&third, &[b"GET", b"k"]).unwrap(),
        Reply::Bulk(b"v".to_vec())
    );
    assert_eq!(
        ask(&server.pool(json!({})), &[b"GET", b"k"]).unwrap(),
        Reply::Null
    );
    let (kind, message, _) = fails(&server.pool(json!({"db": 4})), 1000);
    assert_eq!(kind, ErrorKind::Server);
    assert!(
        message.contains("refused database 4: ERR DB index is out of range"),
        "{message}"
    );
}
