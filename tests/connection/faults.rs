//! Servers that go away, come back, or answer wrongly.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use _core::error::ErrorKind;
use _core::redis::Deadline;
use _core::redis::pool::{Counts, Pool};
use serde_json::json;

use crate::redis_server::replies::Replies;
use crate::redis_server::{RedisServer, ask, ask_async, command, config, free_port};
use crate::{fails, ping, pong, pool_at, runtime};

#[test]
fn a_server_that_is_gone_and_comes_back() {
    let mut server = RedisServer::start(&[]);
    let pool = server.pool(json!({}));
    let runtime = runtime();
    ping(&pool).unwrap();
    runtime.block_on(ask_async(&pool, &[b"PING"])).unwrap();

    server.kill();
    for _ in 0..2 {
        let (kind, message, took) = fails(&pool, 1000);
        assert_eq!(kind, ErrorKind::Connection);
        assert!(
            message.starts_with("cannot connect to redis at 127.0.0.1:"),
            "{message}"
        );
        assert!(took < Duration::from_millis(500));
        let error = runtime.block_on(ask_async(&pool, &[b"PING"])).unwrap_err();
        assert_eq!(error.to_string(), message);
    }
    server.restart();
    assert_eq!(ping(&pool).unwrap(), pong());
    assert_eq!(
        runtime.block_on(ask_async(&pool, &[b"PING"])).unwrap(),
        pong()
    );
}

#[test]
fn a_restart_between_requests_goes_unnoticed() {
    let mut server = RedisServer::start(&[]);
    let pool = Arc::new(server.pool(json!({})));
    let runtime = runtime();
    for pause in [Duration::ZERO, Duration::from_millis(1100)] {
        // Several connections, all of which die.
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| ask(&pool, &[b"BLPOP", b"none", b"0.05"]).unwrap());
            }
        });
        runtime.block_on(async {
            let asking = |_| {
                let pool = pool.clone();
                tokio::spawn(async move { ask_async(&pool, &[b"BLPOP", b"none", b"0.05"]).await })
            };
            for asked in (0..4).map(asking).collect::<Vec<_>>() {
                asked.await.unwrap().unwrap();
            }
        });
        assert_eq!((pool.counts().idle, pool.async_counts().idle), (4, 4));
        server.kill();
        server.restart();
        std::thread::sleep(pause);
        assert_eq!(ping(&pool).unwrap(), pong());
        assert_eq!(
            runtime.block_on(ask_async(&pool, &[b"PING"])).unwrap(),
            pong()
        );
        assert_eq!(pool.counts(), Counts { open: 1, idle: 1 });
        assert_eq!(pool.async_counts(), Counts { open: 1, idle: 1 });
    }
}

#[test]
fn a_server_killed_during_a_request() {
    let mut server = RedisServer::start(&[]);
    let pool = server.pool(json!({}));
    let (blocking, asynchronous) = std::thread::scope(|scope| {
        let blocking = scope.spawn(|| ask(&pool, &[b"BLPOP", b"none", b"9"]));
        let asynchronous =
            scope.spawn(|| runtime().block_on(ask_async(&pool, &[b"BLPOP", b"none", b"9"])));
        std::thread::sleep(Duration::from_millis(200));
        server.kill();
        (blocking.join().unwrap(), asynchronous.join().unwrap())
    });
    for outcome in [blocking, asynchronous] {
        let error = outcome.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Connection, "{error}");
        assert!(error.to_string().contains("redis at 127.0.0.1:"), "{error}");
    }
    assert_eq!((pool.counts().open, pool.async_counts().open), (0, 0));
    server.restart();
    assert_eq!(ping(&pool).unwrap(), pong());
}

#[test]
fn hosts_without_a_server() {
    let runtime = runtime();
    for target in [
        "no-such-host.invalid:6379".to_owned(),
        format!("localhost:{}", free_port()),
    ] {
        let pool = Pool::new(config(&json!({"connection_string": &target})));
        let (kind, message, _) = fails(&pool, 20_000);
        assert!(matches!(kind, ErrorKind::Connection | ErrorKind::Timeout));
        assert!(message.contains(&format!("redis at {target}")), "{message}");
        let error = runtime.block_on(ask_async(&pool, &[b"PING"])).unwrap_err();
        assert_eq!(error.kind(), kind);
    }
}

/// A server that plays `script` on each connection, with its number, after the handshake's PING.
pub fn play(script: impl Fn(usize, &mut TcpStream) + Send + 'static) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let accepted = Arc::new(AtomicUsize::new(0));
    let counter = accepted.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let number = counter.fetch_add(1, Ordering::SeqCst);
            hear(&mut stream);
            stream.write_all(b"+PONG\r\n").unwrap();
            script(number, &mut stream);
        }
    });
    (port, accepted)
}

/// Reads one request of a few bytes.
pub fn hear(stream: &mut TcpStream) -> usize {
    stream.read(&mut [0; 1024]).unwrap_or(0)
}

#[test]
fn half_a_reply_then_the_end_is_not_sent_again() {
    let (port, accepted) = play(|number, stream| {
        hear(stream);
        stream.write_all(b"+PONG\r\n").unwrap();
        hear(stream);
        if number == 0 {
            stream.write_all(b"+PO").unwrap();
        }
    });
    let pool = pool_at(port, &json!({}));
    ping(&pool).unwrap();
    let (kind, message, _) = fails(&pool, 5000);
    assert_eq!(kind, ErrorKind::Connection);
    assert_eq!(
        message,
        format!("redis at 127.0.0.1:{port} closed the connection")
    );
    assert_eq!(accepted.load(Ordering::SeqCst), 1);
}

#[test]
fn a_kept_connection_that_ends_unanswered_is_replaced_once() {
    let (port, accepted) = play(|number, stream| {
        if number % 2 == 0 {
            hear(stream);
            stream.write_all(b"+PONG\r\n").unwrap();
        }
        hear(stream);
    });
    let pool = pool_at(port, &json!({}));
    // Connection 0 answers once, then ends; its replacement 1 ends unanswered.
    ping(&pool).unwrap();
    let (kind, message, _) = fails(&pool, 5000);
    assert_eq!(kind, ErrorKind::Connection);
    assert!(message.ends_with("closed the connection"), "{message}");
    assert_eq!(accepted.load(Ordering::SeqCst), 2);
    assert_eq!(pool.counts(), Counts::default());
    ping(&pool).unwrap();
}

#[test]
fn too_many_replies_end_the_connection() {
    let (port, _) = play(|_, stream| {
        hear(stream);
        stream.write_all(b"+PONG\r\n+PONG\r\n").unwrap();
        hear(stream);
    });
    let pool = pool_at(port, &json!({}));
    let (kind, message, _) = fails(&pool, 5000);
    assert_eq!(kind, ErrorKind::Protocol, "{message}");
    assert_eq!(pool.counts().open, 0);
}

#[test]
fn a_reply_beyond_the_limit_costs_only_its_connection() {
    let server = RedisServer::start(&[]);
    let pool = server.pool(json!({}));
    ask(&pool, &[b"SET", b"k", &vec![b'x'; 1 << 20]]).unwrap();
    let get = command(&[b"GET", b"k"]);
    let deadline = Deadline::after(Some(Duration::from_secs(5)));
    let mut small = Replies::within(1000, 1000);
    let error = pool
        .run(&get, &mut small, deadline, &|| Ok(()))
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Protocol);
    assert_eq!(pool.counts().open, 0);
    let mut small = Replies::within(1000, 1000);
    let asynchronous = runtime().block_on(pool.run_async(&get, &mut small, deadline));
    assert_eq!(asynchronous.unwrap_err().kind(), ErrorKind::Protocol);
    assert_eq!(ping(&pool).unwrap(), pong());
}
