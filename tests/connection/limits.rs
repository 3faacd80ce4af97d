//! Time limits, and signals while waiting.

use std::fs::File;
use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use _core::error::{Error, ErrorKind, Result};
use _core::redis::Deadline;
use _core::redis::pool::Pool;
use _core::redis::reply::ReplySink;
use serde_json::json;

use crate::faults::{hear, play};
use crate::redis_server::replies::{Replies, Reply};
use crate::redis_server::{RedisServer, ask, ask_async, ask_within, command, config};
use crate::{LATE, fails, on_time, ping, pong, pool_at, runtime};

#[test]
fn silence_ends_with_the_shorter_limit() {
    let server = RedisServer::start(&[]);
    let pool = server.pool(json!({"socket_timeout": 0.3, "socket_connect_timeout": 5}));
    let runtime = runtime();
    ping(&pool).unwrap();
    runtime.block_on(ask_async(&pool, &[b"PING"])).unwrap();
    server.signal("STOP");

    // The first uses the connection there is, the second has to log in to a new one.
    for (limit, expected, texts) in [
        (5000, 300, ["sent nothing for 300 ms (socket_timeout)"; 2]),
        (
            100,
            100,
            ["connecting to redis at", "request_timeout_ms = 100"],
        ),
    ] {
        let (kind, message, took) = fails(&pool, limit);
        assert_eq!(kind, ErrorKind::Timeout, "{message}");
        assert!(texts.iter().all(|text| message.contains(text)), "{message}");
        let expected = Duration::from_millis(expected);
        assert!(took >= expected && took < expected + LATE, "{took:?}");
    }
    let start = Instant::now();
    let error = runtime.block_on(ask_async(&pool, &[b"PING"])).unwrap_err();
    assert!(error.to_string().contains("socket_timeout"), "{error}");
    assert!(
        start.elapsed() < Duration::from_millis(300) + LATE,
        "{:?}",
        start.elapsed()
    );

    server.signal("CONT");
    assert_eq!(ping(&pool).unwrap(), pong());
    assert_eq!(
        runtime.block_on(ask_async(&pool, &[b"PING"])).unwrap(),
        pong()
    );
}

#[test]
fn the_request_limit_holds_on_a_kept_connection() {
    let server = RedisServer::start(&[]);
    let pool = server.pool(json!({}));
    let runtime = runtime();
    ping(&pool).unwrap();
    server.signal("STOP");
    let (kind, message, took) = fails(&pool, 80);
    assert_eq!(kind, ErrorKind::Timeout);
    assert!(
        message.contains("waiting for redis at") && message.contains("= 80"),
        "{message}"
    );
    assert!(took < Duration::from_millis(80) + LATE, "{took:?}");
    server.signal("CONT");
    // A short limit leaves a short one in the kernel, which must not end a longer request.
    ask_within(&pool, &[b"PING"], Duration::from_millis(40)).unwrap();
    let blocked = ask(&pool, &[b"BLPOP", b"none", b"0.3"]).unwrap();
    assert_eq!((blocked, pool.counts().open), (Reply::Null, 1));
    let blocked = runtime.block_on(ask_async(&pool, &[b"BLPOP", b"none", b"0.1"]));
    assert_eq!(blocked.unwrap(), Reply::Null);
    let (kind, ..) = fails(&pool, 0);
    assert_eq!(kind, ErrorKind::Timeout);
}

#[test]
fn half_a_reply_then_silence() {
    let (port, accepted) = play(|_, stream| {
        hear(stream);
        stream.write_all(b"$10\r\nabc").unwrap();
        hear(stream);
    });
    let pool = pool_at(port, &json!({"socket_timeout": 0.1}));
    let (kind, message, took) = fails(&pool, 5000);
    assert_eq!(kind, ErrorKind::Timeout);
    assert!(message.contains("socket_timeout"), "{message}");
    assert!(took < Duration::from_millis(100) + LATE, "{took:?}");
    assert_eq!(
        (pool.counts().open, accepted.load(Ordering::SeqCst)),
        (0, 1)
    );
    let error = runtime()
        .block_on(ask_async(&pool, &[b"PING"]))
        .unwrap_err();
    assert_eq!(error.to_string(), message);
}

#[test]
fn a_reply_that_trickles_ends_with_the_request_limit() {
    let (port, _) = play(|_, stream| {
        hear(stream);
        stream.write_all(b"$1000\r\n").unwrap();
        while stream.write_all(b"x").is_ok() {
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    let pool = pool_at(port, &json!({"socket_timeout": 5}));
    let (kind, message, took) = fails(&pool, 200);
    assert_eq!(kind, ErrorKind::Timeout);
    assert!(message.contains("request_timeout_ms = 200"), "{message}");
    assert!(took < Duration::from_millis(200) + LATE, "{took:?}");
}

/// A listener whose backlog is full: the kernel answers no further attempt.
fn full_backlog(listens_at: &socket2::SockAddr) -> (socket2::Socket, Vec<socket2::Socket>) {
    let socket = || socket2::Socket::new(listens_at.domain(), socket2::Type::STREAM, None).unwrap();
    let full = socket();
    full.bind(listens_at).unwrap();
    full.listen(0).unwrap();
    let address = full.local_addr().unwrap();
    let fillers = (0..4).map(|_| {
        let filler = socket();
        filler.set_nonblocking(true).unwrap();
        let _ = filler.connect(&address);
        filler
    });
    let fillers = fillers.collect();
    (full, fillers)
}

fn loopback() -> socket2::SockAddr {
    "127.0.0.1:0".parse::<SocketAddr>().unwrap().into()
}

#[test]
fn connecting_is_bounded() {
    let (full, _fillers) = full_backlog(&loopback());
    let address = full.local_addr().unwrap().as_socket().unwrap();
    let pool = pool_at(address.port(), &json!({"socket_connect_timeout": 0.15}));
    for (limit, expected, text) in [
        (
            5000,
            150,
            "gave no connection within 150 ms (socket_connect_timeout)",
        ),
        (80, 80, "request_timeout_ms = 80"),
    ] {
        let (kind, message, took) = fails(&pool, limit);
        assert_eq!(kind, ErrorKind::Timeout, "{message}");
        assert!(message.contains(text), "{message}");
        assert!(took < Duration::from_millis(expected) + LATE, "{took:?}");
    }
    let start = Instant::now();
    let error = runtime()
        .block_on(ask_async(&pool, &[b"PING"]))
        .unwrap_err();
    assert!(
        error.to_string().contains("socket_connect_timeout"),
        "{error}"
    );
    assert!(start.elapsed() < Duration::from_millis(150) + LATE);
}

#[test]
fn a_signal_is_heeded_while_waiting_for_a_reply() {
    let server = RedisServer::start(&[]);
    let pool = server.pool(json!({}));
    ping(&pool).unwrap();
    // A process that is stopped and goes on finds its waits interrupted (signal(7)).
    let nudge = || {
        let myself = std::process::id();
        let script = format!("sleep 0.2; kill -STOP {myself}; sleep 0.02; kill -CONT {myself}");
        Command::new("sh").args(["-c", &script]).spawn().unwrap()
    };
    let asked = AtomicUsize::new(0);
    let block = command(&[b"BLPOP", b"none", b"0.5"]);
    let deadline = Deadline::after(Some(Duration::from_secs(5)));
    let mut replies = Replies::default();
    let mut nudging = nudge();
    let outcome = pool.run(&block, &mut replies, deadline, &|| {
        asked.fetch_add(1, Ordering::SeqCst);
        Ok(())
    });
    nudging.wait().unwrap();
    outcome.unwrap();
    assert_eq!(replies.take(), vec![Reply::Null]);
    // Each nap asks, too.
    assert!((1..=5).contains(&asked.into_inner()));

    let mut nudging = nudge();
    let start = Instant::now();
    let outcome = pool.run(&block, &mut replies, deadline, &|| {
        Err(Error::new(ErrorKind::Argument, "interrupted"))
    });
    nudging.wait().unwrap();
    assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Argument);
    assert!(start.elapsed() < Duration::from_millis(450));
    assert_eq!(pool.counts().open, 0);
}

/// Runs a command that cannot be answered into its limit, on a thread and on a runtime.
fn ends_on_time(pool: &Pool, what: &str, parts: &[&[u8]]) {
    let limit = Duration::from_millis(60);
    let commands = command(parts);
    on_time(limit, what, || {
        let deadline = Deadline::after(Some(limit));
        let outcome = pool.run(&commands, &mut Replies::default(), deadline, &|| Ok(()));
        assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Timeout, "{what}");
    });
    let runtime = runtime();
    on_time(limit, &format!("{what}, async"), || {
        let deadline = Deadline::after(Some(limit));
        let mut replies = Replies::default();
        let outcome = runtime.block_on(pool.run_async(&commands, &mut replies, deadline));
        assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Timeout, "{what}");
    });
    // Some of its threads may never end.
    runtime.shutdown_background();
}

#[test]
fn every_phase_ends_on_time() {
    let block: &[&[u8]] = &[b"BLPOP", b"none", b"0"];
    let server = RedisServer::start(&[]);
    // Each time limit that passes costs the connection, so that all but the first attempts connect.
    ends_on_time(&server.pool(json!({})), "reading", block);

    let pool = server.pool(json!({"redis_pool_size": 1}));
    std::thread::scope(|scope| {
        scope.spawn(|| ask(&pool, &[b"BLPOP", b"none", b"2"]).unwrap());
        while pool.counts().open == 0 {
            std::thread::yield_now();
        }
        on_time(Duration::from_millis(60), "waiting for a turn", || {
            let (kind, message, _) = fails(&pool, 60);
            assert_eq!(kind, ErrorKind::Timeout);
            assert!(message.contains("all 1 connections"), "{message}");
        });
    });

    server.signal("STOP");
    ends_on_time(&server.pool(json!({})), "logging in", block);
    server.signal("CONT");

    let (full, _fillers) = full_backlog(&loopback());
    let port = full.local_addr().unwrap().as_socket().unwrap().port();
    ends_on_time(&pool_at(port, &json!({})), "connecting", block);

    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let tls = json!({"ssl": true, "ssl_cert_reqs": "none"});
    ends_on_time(&pool_at(port, &tls), "TLS", block);

    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("full.sock");
    let (_full, _fillers) = full_backlog(&socket2::SockAddr::unix(&path).unwrap());
    let path = format!("unix://{}", path.display());
    let unix = Pool::new(config(&json!({"connection_string": path})));
    ends_on_time(&unix, "connecting to a Unix socket", block);
}

#[test]
fn preparing_ends_on_time() {
    // A pipe that nobody writes to stands for whatever a thread may hang in: files here, the
    // resolver of names likewise.
    let directory = tempfile::tempdir().unwrap();
    let pipe = directory.path().join("ca.pem");
    let made = Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let settings =
        |size: usize| json!({"ssl": true, "ssl_ca_certs": pipe, "redis_pool_size": size});
    ends_on_time(&pool_at(port, &settings(64)), "preparing", &[b"PING"]);

    // Threads that hang don't become ever more.
    let pool = pool_at(port, &settings(2));
    for _ in 0..2 {
        let (kind, ..) = fails(&pool, 30);
        assert_eq!(kind, ErrorKind::Timeout);
    }
    let (kind, message, _) = fails(&pool, 5000);
    assert_eq!(kind, ErrorKind::Connection);
    assert!(
        message.contains("2 attempts to connect are hanging"),
        "{message}"
    );

    // Nor do those of a runtime, which are counted by themselves.
    let runtime = runtime();
    let attempt = |limit| {
        let start = Instant::now();
        let deadline = Deadline::after(Some(Duration::from_millis(limit)));
        let commands = command(&[b"PING"]);
        let mut replies = Replies::default();
        let outcome = runtime.block_on(pool.run_async(&commands, &mut replies, deadline));
        (outcome.unwrap_err(), start.elapsed())
    };
    for _ in 0..2 {
        let (error, _) = attempt(30);
        assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    }
    for _ in 0..20 {
        let (error, took) = attempt(5000);
        assert_eq!(
            (error.kind(), error.to_string()),
            (ErrorKind::Connection, message.clone())
        );
        assert!(took < LATE, "{took:?}");
    }

    // There is room again once they have ended: the first finds the pipe's end, the others a file.
    let writer = File::options().read(true).write(true).open(&pipe).unwrap();
    let file = directory.path().join("other.pem");
    std::fs::write(&file, "no certificate").unwrap();
    std::fs::rename(&file, &pipe).unwrap();
    drop(writer);
    let end = Instant::now() + Duration::from_secs(5);
    while (attempt(5000).0.kind(), fails(&pool, 5000).0) != (ErrorKind::Config, ErrorKind::Config) {
        assert!(
            Instant::now() < end,
            "{} {:?}",
            attempt(5000).0,
            fails(&pool, 5000)
        );
    }
}

/// Takes replies in, a millisecond for each of the reads, and keeps none.
struct Slow(Vec<u8>);

impl ReplySink for Slow {
    fn space(&mut self) -> Result<&mut [u8]> {
        Ok(&mut self.0)
    }

    fn advance(&mut self, _n: usize) -> Result<()> {
        std::thread::sleep(Duration::from_millis(1));
        Ok(())
    }

    fn replies(&self) -> usize {
        0
    }
}

#[test]
fn a_reply_that_never_pauses_ends_on_time() {
    let (port, _) = play(|_, stream| {
        hear(stream);
        while stream.write_all(&[b'x'; 1 << 14]).is_ok() {}
    });
    let pool = pool_at(port, &json!({}));
    let limit = Duration::from_millis(60);
    let commands = command(&[b"PING"]);
    let sink = || Slow(vec![0; 1024]);
    on_time(limit, "taking in", || {
        let deadline = Deadline::after(Some(limit));
        let outcome = pool.run(&commands, &mut sink(), deadline, &|| Ok(()));
        assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Timeout);
    });
    // The task's thread is the one that looks at the clock, too.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    on_time(limit, "taking in, async", || {
        let deadline = Deadline::after(Some(limit));
        let mut sink = sink();
        let outcome = runtime.block_on(pool.run_async(&commands, &mut sink, deadline));
        assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Timeout);
    });
}

#[test]
fn writing_ends_on_time() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    // Answers the handshake and reads no more.
    std::thread::spawn(move || {
        let mut deaf = Vec::new();
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            hear(&mut stream);
            stream.write_all(b"+PONG\r\n").unwrap();
            deaf.push(stream);
        }
    });
    let much = vec![b'x'; 32 << 20];
    ends_on_time(&pool_at(port, &json!({})), "writing", &[b"ECHO", &much]);
}
