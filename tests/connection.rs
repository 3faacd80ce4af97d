//! Connections and the pool, against real servers and against ones that misbehave.

mod redis_server;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use _core::error::{Error, ErrorKind, Result};
use _core::redis::Deadline;
use _core::redis::command::Commands;
use _core::redis::pool::{Counts, Pool};
use serde_json::json;

use redis_server::certificates::Certificates;
use redis_server::replies::{Replies, Reply};
use redis_server::{RedisServer, ask, ask_async, ask_within, command, config, free_port, signal};

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

#[test]
fn credentials() {
    let secret = "p,a=s@s:%w\"1";
    let server = RedisServer::start(&[
        "--requirepass",
        secret,
        "--user",
        "tok3n",
        "on",
        ">s3cret",
        "~*",
        "+@all",
        "-ping",
    ]);
    for settings in [
        json!({"password": secret}),
        json!({"auth_token": secret, "username": "default"}),
        json!({"username": "tok3n", "password": "s3cret"}),
    ] {
        let pool = server.pool(settings);
        assert_eq!(
            ask(&pool, &[b"ECHO", b"x"]).unwrap(),
            Reply::Bulk(b"x".to_vec())
        );
    }
    for (settings, text) in [
        (json!({}), "wants a password: NOAUTH"),
        (
            json!({"password": "s3crets"}),
            "refused the credentials: WRONGPASS",
        ),
        (
            json!({"username": "tok3n", "password": "s3crets"}),
            "refused the credentials: WRONGPASS",
        ),
        (
            json!({"username": "tok3nless"}),
            "refused the credentials: WRONGPASS",
        ),
    ] {
        let pool = server.pool(settings.clone());
        let (kind, message, _) = fails(&pool, 1000);
        assert_eq!(kind, ErrorKind::Server, "{settings}: {message}");
        assert!(message.contains(text), "{settings}: {message}");
        assert!(
            !message.contains("s3cret") && !message.contains("tok3n"),
            "{message}"
        );
        assert_eq!(pool.counts(), Counts::default());
        let asynchronous = runtime()
            .block_on(ask_async(&pool, &[b"PING"]))
            .unwrap_err();
        assert_eq!(asynchronous.to_string(), message);
    }
    let open = RedisServer::start(&[]);
    let (kind, message, _) = fails(&open.pool(json!({"password": "s3cret"})), 1000);
    assert_eq!(kind, ErrorKind::Server);
    assert!(
        message.contains("without any password configured"),
        "{message}"
    );
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

/// A server with TLS only; `clients` says whether it wants their certificates.
fn tls_server(certificates: &Certificates, clients: &str) -> RedisServer {
    RedisServer::start_with(|port| {
        let path = |path: &std::path::Path| path.to_str().unwrap().to_owned();
        [
            "--port",
            "0",
            "--tls-port",
            &port.to_string(),
            "--tls-auth-clients",
            clients,
            "--tls-cert-file",
            &path(&certificates.server),
            "--tls-key-file",
            &path(&certificates.server_key),
            "--tls-ca-cert-file",
            &path(&certificates.ca),
        ]
        .map(str::to_owned)
        .to_vec()
    })
}

#[test]
fn tls() {
    let directory = tempfile::tempdir().unwrap();
    let certificates = Certificates::make(directory.path(), &["localhost", "127.0.0.1"]);
    let (ca, client, key) = (
        &certificates.ca,
        &certificates.client,
        &certificates.client_key,
    );
    let runtime = runtime();
    let both = |pool: &Pool| {
        let blocking = ping(pool).map_err(|error| error.to_string());
        let asynchronous = runtime.block_on(ask_async(pool, &[b"PING"]));
        assert_eq!(blocking, asynchronous.map_err(|error| error.to_string()));
        blocking
    };

    let server = tls_server(&certificates, "no");
    for settings in [
        json!({"ssl": true, "ssl_ca_certs": ca}),
        json!({"ssl": true, "ssl_ca_certs": ca, "ssl_min_version": "TLSv1.3"}),
        json!({"ssl": true, "ssl_ca_path": directory.path()}),
        json!({"ssl": true, "ssl_ca_data": std::fs::read_to_string(ca).unwrap()}),
        json!({"ssl": true, "ssl_ca_certs": ca, "ssl_server_name": "localhost"}),
        json!({"ssl": true, "ssl_ca_certs": ca, "ssl_server_name": "else", "ssl_check_hostname": false}),
        json!({"ssl": true, "ssl_cert_reqs": "none"}),
    ] {
        let pool = server.pool(settings.clone());
        assert_eq!(both(&pool), Ok(pong()), "{settings}");
        assert_eq!(both(&pool), Ok(pong()), "{settings}");
        assert_eq!(pool.counts(), Counts { open: 1, idle: 1 });
    }
    let other = tempfile::tempdir().unwrap();
    let strangers = Certificates::make(other.path(), &["localhost"]);
    for (settings, text) in [
        (
            json!({"ssl": true, "ssl_ca_certs": strangers.ca}),
            "TLS with redis at 127.0.0.1",
        ),
        (
            json!({"ssl": true, "ssl_ca_certs": strangers.ca, "ssl_check_hostname": false}),
            "TLS with redis at 127.0.0.1",
        ),
        (
            json!({"ssl": true, "ssl_ca_certs": ca, "ssl_server_name": "else"}),
            "not valid for name",
        ),
        (
            json!({"ssl": true, "ssl_ca_certs": "/nowhere.pem"}),
            "ssl_ca_certs: /nowhere.pem",
        ),
        (json!({}), "set ssl: true"),
    ] {
        let message = both(&server.pool(settings.clone())).unwrap_err();
        assert!(message.contains(text), "{settings}: {message}");
    }

    let strict = tls_server(&certificates, "yes");
    let known =
        json!({"ssl": true, "ssl_ca_certs": ca, "ssl_certfile": client, "ssl_keyfile": key});
    assert_eq!(both(&strict.pool(known)), Ok(pong()));
    let unknown = both(&strict.pool(json!({"ssl": true, "ssl_ca_certs": ca}))).unwrap_err();
    assert!(unknown.contains("redis at 127.0.0.1"), "{unknown}");

    let plain = RedisServer::start(&[]);
    let start = Instant::now();
    let refused = both(&plain.pool(json!({
        "ssl": true, "ssl_ca_certs": ca, "socket_connect_timeout": 0.5,
    })));
    assert!(refused.is_err() && start.elapsed() < Duration::from_secs(2));
}

#[test]
fn tls_carries_large_pipelines() {
    let directory = tempfile::tempdir().unwrap();
    let certificates = Certificates::make(directory.path(), &["127.0.0.1"]);
    let server = tls_server(&certificates, "no");
    large_pipeline(&server.pool(json!({"ssl": true, "ssl_ca_certs": certificates.ca})));
}

#[test]
fn plain_connections_carry_large_pipelines() {
    large_pipeline(&RedisServer::start(&[]).pool(json!({})));
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
        let over = took.saturating_sub(Duration::from_millis(expected));
        assert!(
            took >= Duration::from_millis(expected) && over < Duration::from_millis(50),
            "{took:?}"
        );
    }
    let start = Instant::now();
    let error = runtime.block_on(ask_async(&pool, &[b"PING"])).unwrap_err();
    assert!(error.to_string().contains("socket_timeout"), "{error}");
    assert!(
        start.elapsed() < Duration::from_millis(350),
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
    assert!(took < Duration::from_millis(120), "{took:?}");
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

/// A server that plays `script` on each connection, with its number, after the handshake's PING.
fn play(
    script: impl Fn(usize, &mut std::net::TcpStream) + Send + 'static,
) -> (u16, Arc<AtomicUsize>) {
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
fn hear(stream: &mut std::net::TcpStream) -> usize {
    stream.read(&mut [0; 1024]).unwrap_or(0)
}

fn pool_at(port: u16, settings: &serde_json::Value) -> Pool {
    let mut settings = settings.clone();
    settings["connection_string"] = format!("127.0.0.1:{port}").into();
    Pool::new(config(&settings))
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
    assert!(took < Duration::from_millis(200), "{took:?}");
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
    assert!(took < Duration::from_millis(250), "{took:?}");
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
fn what_is_no_redis_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            hear(&mut stream);
            stream
                .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                .unwrap();
        }
    });
    let (kind, message, _) = fails(&pool_at(port, &json!({})), 5000);
    assert_eq!(kind, ErrorKind::Protocol);
    assert!(
        message.contains(&format!("redis at 127.0.0.1:{port}")),
        "{message}"
    );
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
fn connecting_is_bounded() {
    // A full backlog: the kernel answers no further attempt.
    let full = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let any: std::net::SocketAddr = "127.0.0.1:0".parse().unwrap();
    full.bind(&any.into()).unwrap();
    full.listen(0).unwrap();
    let address = full.local_addr().unwrap().as_socket().unwrap();
    let _fillers: Vec<_> = (0..4)
        .map(|_| {
            let filler = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
            let filler = filler.unwrap();
            filler.set_nonblocking(true).unwrap();
            let _ = filler.connect(&address.into());
            filler
        })
        .collect();
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
        assert!(took < Duration::from_millis(expected + 60), "{took:?}");
    }
    let start = Instant::now();
    let error = runtime()
        .block_on(ask_async(&pool, &[b"PING"]))
        .unwrap_err();
    assert!(
        error.to_string().contains("socket_connect_timeout"),
        "{error}"
    );
    assert!(start.elapsed() < Duration::from_millis(210));
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

#[test]
fn the_server_has_too_many_clients() {
    let server = RedisServer::start(&["--maxclients", "1"]);
    let first = server.pool(json!({}));
    // The connection that found the server ready may still be counted.
    let start = Instant::now();
    while ping(&first).is_err() && start.elapsed() < Duration::from_secs(5) {}
    let (kind, message, _) = fails(&server.pool(json!({})), 1000);
    assert_eq!(kind, ErrorKind::Server, "{message}");
    assert!(message.contains("max number of clients"), "{message}");
    ping(&first).unwrap();
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

#[test]
fn an_exhausted_pool_makes_wait_until_the_limit() {
    let server = RedisServer::start(&[]);
    let pool = Arc::new(server.pool(json!({"redis_pool_size": 2})));
    let text = "all 2 connections to redis at";
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| ask(&pool, &[b"BLPOP", b"none", b"0.5"]).unwrap());
        }
        std::thread::sleep(Duration::from_millis(100));
        let (kind, message, took) = fails(&pool, 100);
        assert_eq!(kind, ErrorKind::Timeout);
        assert!(
            message.contains(text) && message.contains("request_timeout_ms = 100"),
            "{message}"
        );
        assert!(
            took >= Duration::from_millis(100) && took < Duration::from_millis(150),
            "{took:?}"
        );
        let stopped = pool.run(
            &command(&[b"PING"]),
            &mut Replies::default(),
            Deadline::NEVER,
            &|| Err(Error::new(ErrorKind::Argument, "interrupted")),
        );
        assert_eq!(stopped.unwrap_err().kind(), ErrorKind::Argument);
        assert_eq!(ping(&pool).unwrap(), pong());
    });
    assert_eq!(pool.counts(), Counts { open: 2, idle: 2 });

    runtime().block_on(async {
        let blocking: Vec<_> = (0..2)
            .map(|_| {
                let pool = pool.clone();
                tokio::spawn(async move { ask_async(&pool, &[b"BLPOP", b"none", b"0.5"]).await })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(100)).await;
        let mut replies = Replies::default();
        let limit = Deadline::after(Some(Duration::from_millis(100)));
        let refused = command(&[b"PING"]);
        let refused = pool.run_async(&refused, &mut replies, limit);
        assert!(refused.await.unwrap_err().to_string().contains(text));
        assert_eq!(ask_async(&pool, &[b"PING"]).await.unwrap(), pong());
        for blocked in blocking {
            assert_eq!(blocked.await.unwrap().unwrap(), Reply::Null);
        }
    });
}

#[test]
fn threads_share_the_pool() {
    let server = RedisServer::start(&[]);
    for size in [1, 5, 64] {
        let pool = server.pool(json!({"redis_pool_size": size}));
        std::thread::scope(|scope| {
            for thread in 0..32 {
                let pool = &pool;
                scope.spawn(move || {
                    for n in 0..100 {
                        let text = format!("{thread}-{n}").into_bytes();
                        assert_eq!(ask(pool, &[b"ECHO", &text]).unwrap(), Reply::Bulk(text));
                    }
                });
            }
        });
        let counts = pool.counts();
        assert!(
            counts.open <= size && counts.open == counts.idle,
            "{counts:?}"
        );
    }
}

#[test]
fn tasks_share_the_pool_and_cancel_cleanly() {
    let server = RedisServer::start(&[]);
    let pool = Arc::new(server.pool(json!({"redis_pool_size": 8, "client_name": "tasks"})));
    runtime().block_on(async {
        let task = |task: usize| {
            let pool = pool.clone();
            tokio::spawn(async move {
                for n in 0..50 {
                    let text = format!("{task}-{n}").into_bytes();
                    let echo = [&b"ECHO"[..], &text];
                    if (task + n).is_multiple_of(5) {
                        // Given up at any point: before the turn, while connecting, half-way.
                        let patience = Duration::from_micros((n * 13) as u64);
                        let _ = tokio::time::timeout(patience, ask_async(&pool, &echo)).await;
                    } else {
                        let reply = ask_async(&pool, &echo).await.unwrap();
                        assert_eq!(reply, Reply::Bulk(text));
                    }
                }
            })
        };
        for task in (0..64).map(task).collect::<Vec<_>>() {
            task.await.unwrap();
        }
        let counts = pool.async_counts();
        assert!(counts.open <= 8 && counts.open == counts.idle, "{counts:?}");

        let open = counts.open;
        let blocked = ask_async(&pool, &[b"BLPOP", b"none", b"5"]);
        let _ = tokio::time::timeout(Duration::from_millis(50), blocked).await;
        assert_eq!(pool.async_counts().open, open - 1);
        assert_eq!(ask_async(&pool, &[b"PING"]).await.unwrap(), pong());
    });
    let start = Instant::now();
    while server.clients("tasks") != pool.async_counts().open {
        assert!(start.elapsed() < Duration::from_secs(5), "connections leak");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn waiting_threads_are_served_in_turn() {
    let server = RedisServer::start(&[]);
    let pool = server.pool(json!({"redis_pool_size": 1}));
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    ping(&pool).unwrap();
                }
            });
        }
        for _ in 0..50 {
            let waited = ask_within(&pool, &[b"PING"], Duration::from_millis(500));
            if waited.is_err() {
                stop.store(true, Ordering::Relaxed);
            }
            waited.unwrap();
        }
        stop.store(true, Ordering::Relaxed);
    });
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
        std::process::Command::new("sh")
            .args(["-c", &script])
            .spawn()
            .unwrap()
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
    assert_eq!((replies.take(), asked.into_inner()), (vec![Reply::Null], 1));

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

#[test]
fn signals_reach_their_process() {
    // What the tests above rely on.
    let mut child = std::process::Command::new("sleep")
        .arg("5")
        .spawn()
        .unwrap();
    signal("TERM", child.id());
    assert!(!child.wait().unwrap().success());
}
