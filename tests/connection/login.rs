//! What a server asks of a new connection: credentials, certificates, a place.

use std::io::Write;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use _core::error::ErrorKind;
use _core::redis::config::{RedisConfig, Role};
use _core::redis::pool::{Counts, Pool};
use serde_json::json;

use crate::faults::hear;
use crate::redis_server::certificates::Certificates;
use crate::redis_server::cluster::node;
use crate::redis_server::replies::Reply;
use crate::redis_server::{RedisServer, ask, ask_async};
use crate::{fails, large_pipeline, ping, pong, pool_at, runtime};

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

/// A server with TLS only; `clients` says whether it wants their certificates.
pub fn tls_server(certificates: &Certificates, clients: &str) -> RedisServer {
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
fn over_tls() {
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
    assert!(start.elapsed() < Duration::from_secs(2));
    let message = refused.unwrap_err();
    assert!(message.contains("if no TLS is spoken there"), "{message}");
}

#[test]
fn over_tls_go_large_pipelines() {
    let directory = tempfile::tempdir().unwrap();
    let certificates = Certificates::make(directory.path(), &["127.0.0.1"]);
    let server = tls_server(&certificates, "no");
    large_pipeline(&server.pool(json!({"ssl": true, "ssl_ca_certs": certificates.ca})));
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
fn over_tls_a_self_signed_certificate_is_trusted_when_it_is_given() {
    let directory = tempfile::tempdir().unwrap();
    let own = Certificates::self_signed(directory.path(), &["127.0.0.1"], 4000);
    let unknown = ping(&tls_server(&own, "no").pool(json!({"ssl": true})));
    let unknown = unknown.unwrap_err().to_string();
    assert!(unknown.contains("ssl_ca_certs"), "{unknown}");
    let trial = |names: &[&str], until, settings: &serde_json::Value| {
        let directory = tempfile::tempdir().unwrap();
        let own = Certificates::self_signed(directory.path(), names, until);
        let mut settings = settings.clone();
        settings["ssl"] = true.into();
        settings["ssl_ca_certs"] = own.ca.to_str().into();
        let answer = ping(&tls_server(&own, "no").pool(settings));
        answer.map_err(|error| error.to_string())
    };
    let lax = json!({"ssl_check_hostname": false});
    assert_eq!(trial(&["127.0.0.1"], 4000, &json!({})), Ok(pong()));
    assert_eq!(trial(&["else"], 4000, &lax), Ok(pong()));
    let other = trial(&["else"], 4000, &json!({})).unwrap_err();
    assert!(other.contains("not valid for name"), "{other}");
    for settings in [json!({}), lax] {
        let expired = trial(&["127.0.0.1"], 2020, &settings).unwrap_err();
        assert!(expired.contains("expired"), "{expired}");
    }
}

#[test]
fn a_replica_is_told_from_a_primary() {
    let primary = RedisServer::start(&[]);
    let replica = RedisServer::start(&["--replicaof", "127.0.0.1 1"]);
    let node = |server: &RedisServer| server.config(json!({"redis_type": "redis_sentinel"}));
    assert_eq!(ping(&Pool::new(node(&primary))).unwrap(), pong());
    let demoted = Pool::new(node(&replica));
    let (kind, message, _) = fails(&demoted, 1000);
    assert_eq!(kind, ErrorKind::Connection);
    let expected = format!("redis at 127.0.0.1:{} is no primary any more", replica.port);
    assert_eq!(message, expected);
    let asynchronous = runtime().block_on(ask_async(&demoted, &[b"PING"]));
    assert_eq!(asynchronous.unwrap_err().to_string(), expected);
    let mut config = RedisConfig::clone(&node(&replica));
    config.role = Role::Any;
    let as_replica = Pool::new(config.into());
    assert_eq!(ping(&as_replica).unwrap(), pong());
    // Who may not ask is let in all the same.
    let locked = RedisServer::start(&["--user", "feast", "on", ">p", "~*", "+@all", "-role"]);
    let settings = json!({"redis_type": "redis_sentinel", "username": "feast", "password": "p"});
    assert_eq!(ping(&locked.pool(settings)).unwrap(), pong());
}

#[test]
fn a_replica_is_read_from_when_it_has_data() {
    let settings = || json!({"read_from": "replica", "replicas": "h"});
    let primary = RedisServer::start(&[]);
    assert_eq!(ping(&primary.pool(settings())).unwrap(), pong());
    let replica = RedisServer::start(&["--replicaof", "127.0.0.1 1"]);
    let pool = replica.pool(settings());
    let (kind, message, _) = fails(&pool, 1000);
    assert_eq!(kind, ErrorKind::Connection);
    let expected = format!(
        "redis at 127.0.0.1:{} is a replica that has not had its primary's data yet",
        replica.port
    );
    assert_eq!(message, expected);
    let asynchronous = runtime().block_on(ask_async(&pool, &[b"PING"]));
    assert_eq!(asynchronous.unwrap_err().to_string(), expected);
    let port = primary.port.to_string();
    let admin = replica.pool(json!({}));
    ask(&admin, &[b"REPLICAOF", b"127.0.0.1", port.as_bytes()]).unwrap();
    let wait_until = |condition: &dyn Fn() -> bool| {
        let begin = Instant::now();
        while !condition() {
            assert!(begin.elapsed().as_secs() < 20);
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    wait_until(&|| ping(&pool).is_ok());
    // What it has had it still has when its primary is gone.
    drop(primary);
    wait_until(&|| match ask(&admin, &[b"INFO", b"replication"]) {
        Ok(Reply::Bulk(info)) => String::from_utf8_lossy(&info).contains("master_link_status:down"),
        other => panic!("{other:?}"),
    });
    pool.clear();
    assert_eq!(ping(&pool).unwrap(), pong());
}

#[test]
fn a_node_of_a_cluster_is_read_from() {
    let settings = json!({"redis_type": "redis_cluster", "read_from": "replica"});
    let node = node(&[]);
    assert_eq!(ping(&node.pool(settings.clone())).unwrap(), pong());
    let alone = RedisServer::start(&[]);
    if matches!(
        ask(&alone.pool(json!({})), &[b"READONLY"]),
        Ok(Reply::Status(_))
    ) {
        // Valkey takes it outside of a cluster too.
        return;
    }
    let (kind, message, _) = fails(&alone.pool(settings), 1000);
    assert_eq!(kind, ErrorKind::Server);
    assert!(message.contains("set redis_type: redis"), "{message}");
}
