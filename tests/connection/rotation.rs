//! Credentials that change while connections are in use, and certificates that are replaced.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use _core::error::{Error, ErrorKind, Result};
use _core::redis::Deadline;
use _core::redis::config::deployment::DeploymentConfig;
use _core::redis::config::{Credentials, Secret};
use _core::redis::credentials::{CredentialProvider, Issued, Promise};
use _core::redis::pool::Pool;
use serde_json::json;

use crate::login::tls_server;
use crate::redis_server::certificates::Certificates;
use crate::redis_server::replies::{Replies, Reply};
use crate::redis_server::{RedisServer, ask, ask_async, command};
use crate::{fails, ping, pong, runtime};

/// Issues what it is told to.
#[derive(Default)]
struct Vault {
    password: Mutex<String>,
    life: Option<Duration>,
    pause: Mutex<Duration>,
    sealed: AtomicBool,
    questions: AtomicUsize,
}

impl Vault {
    fn new(password: &str, life: Option<Duration>) -> Arc<Self> {
        Arc::new(Self {
            password: Mutex::new(password.to_owned()),
            life,
            ..Self::default()
        })
    }

    fn set(&self, password: &str) {
        password.clone_into(&mut self.password.lock().unwrap());
    }

    fn questions(&self) -> usize {
        self.questions.load(Ordering::SeqCst)
    }
}

impl CredentialProvider for Vault {
    fn name(&self) -> String {
        "tests.vault".to_owned()
    }

    fn ask(self: Arc<Self>, promise: Promise) -> Result<()> {
        self.questions.fetch_add(1, Ordering::SeqCst);
        std::thread::spawn(move || promise.keep(self.answer()));
        Ok(())
    }
}

impl Vault {
    fn answer(&self) -> Result<Issued> {
        let pause = *self.pause.lock().unwrap();
        std::thread::sleep(pause);
        if self.sealed.load(Ordering::SeqCst) {
            return Err(Error::new(ErrorKind::Connection, "the vault is sealed"));
        }
        Ok(Issued {
            credentials: Credentials {
                username: Some(Secret::from("feast".to_owned())),
                password: Secret::from(self.password.lock().unwrap().clone()),
            },
            expires_in: self.life,
        })
    }
}

/// A server whose user `feast` has `password`, and a pool that logs in with what `vault` issues.
fn guarded(vault: &Arc<Vault>, mut settings: serde_json::Value) -> (RedisServer, Pool, Pool) {
    let password = format!(">{}", vault.password.lock().unwrap());
    let server = RedisServer::start(&["--user", "feast", "on", &password, "~*", "+@all"]);
    let admin = server.pool(json!({}));
    settings["connection_string"] = format!("127.0.0.1:{}", server.port).into();
    settings["credential_provider"] = "tests.vault".into();
    let config = DeploymentConfig::from_json(&settings.to_string()).unwrap();
    let pool = Pool::new(config.in_process(Some(vault.clone())).node);
    (server, pool, admin)
}

/// Gives the user another password in place of what it had.
fn rotate(admin: &Pool, password: &str) {
    let new = format!(">{password}");
    let parts: [&[u8]; 5] = [b"ACL", b"SETUSER", b"feast", b"resetpass", new.as_bytes()];
    ask(admin, &parts).unwrap();
}

/// Ends all connections of the user, as ACL DELUSER and some cloud services do.
fn cut_off(admin: &Pool) {
    ask(admin, &[b"CLIENT", b"KILL", b"USER", b"feast"]).unwrap();
}

fn text(pool: &Pool, parts: &[&[u8]]) -> String {
    match ask(pool, parts).unwrap() {
        Reply::Bulk(text) => String::from_utf8(text).unwrap(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_provider_is_asked_by_the_first_connection() {
    let vault = Vault::new("one", None);
    let (_server, pool, _) = guarded(&vault, json!({}));
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(vault.questions(), 0);
    assert_eq!(text(&pool, &[b"ACL", b"WHOAMI"]), "feast");
    runtime().block_on(async { assert_eq!(ask_async(&pool, &[b"PING"]).await.unwrap(), pong()) });
    assert_eq!(vault.questions(), 1);
    // The first to come is asynchronous.
    let vault = Vault::new("one", None);
    let (_server, pool, _) = guarded(&vault, json!({}));
    runtime().block_on(async { assert_eq!(ask_async(&pool, &[b"PING"]).await.unwrap(), pong()) });
    assert_eq!(ping(&pool).unwrap(), pong());
    assert_eq!(vault.questions(), 1);
}

#[test]
fn a_refused_login_is_tried_again_with_newer_credentials() {
    let vault = Vault::new("one", None);
    let (_server, pool, admin) = guarded(&vault, json!({}));
    let runtime = runtime();
    ping(&pool).unwrap();
    for (n, password) in ["two", "three"].into_iter().enumerate() {
        std::thread::sleep(Duration::from_millis(1100));
        vault.set(password);
        rotate(&admin, password);
        cut_off(&admin);
        let start = Instant::now();
        if n == 0 {
            assert_eq!(ping(&pool).unwrap(), pong());
        }
        runtime.block_on(async { assert_eq!(ask_async(&pool, &[b"PING"]).await.unwrap(), pong()) });
        assert!(start.elapsed() < Duration::from_millis(500));
        assert_eq!(vault.questions(), n + 2);
        assert_eq!(ping(&pool).unwrap(), pong());
        assert_eq!(vault.questions(), n + 2);
    }
}

#[test]
fn what_the_provider_has_no_help_for_is_told() {
    let vault = Vault::new("s3cret", None);
    let (_server, pool, admin) = guarded(&vault, json!({}));
    rotate(&admin, "other");
    let (kind, message, took) = fails(&pool, 5000);
    assert_eq!(kind, ErrorKind::Server, "{message}");
    assert!(message.contains("WRONGPASS"), "{message}");
    assert!(took < Duration::from_millis(1500), "{took:?}");
    assert_eq!(vault.questions(), 2);
    let asynchronous = runtime().block_on(ask_async(&pool, &[b"PING"]));
    assert!(asynchronous.unwrap_err().to_string().contains("WRONGPASS"));
    assert_eq!(vault.questions(), 3);
    // It fails now, and says so beside the server's words.
    vault.sealed.store(true, Ordering::SeqCst);
    let (kind, message, _) = fails(&pool, 5000);
    assert_eq!(kind, ErrorKind::Server, "{message}");
    for words in ["WRONGPASS", "the vault is sealed"] {
        assert!(message.contains(words), "{message}");
    }
    assert!(!message.contains("s3cret"), "{message}");
}

#[test]
fn a_provider_that_fails_or_is_slow_at_first() {
    let vault = Vault::new("one", None);
    vault.sealed.store(true, Ordering::SeqCst);
    let (_server, pool, _) = guarded(&vault, json!({}));
    let (kind, message, took) = fails(&pool, 5000);
    assert_eq!(
        (kind, message.as_str()),
        (ErrorKind::Connection, "tests.vault: the vault is sealed")
    );
    assert!(took < Duration::from_millis(500), "{took:?}");
    let asynchronous = runtime()
        .block_on(ask_async(&pool, &[b"PING"]))
        .unwrap_err();
    assert_eq!(asynchronous.to_string(), message);
    // The limit holds while it thinks.
    vault.sealed.store(false, Ordering::SeqCst);
    *vault.pause.lock().unwrap() = Duration::from_secs(1);
    let (kind, message, took) = fails(&pool, 200);
    assert_eq!(kind, ErrorKind::Timeout, "{message}");
    assert!(message.contains("waiting for credentials"), "{message}");
    assert!((190..350).contains(&took.as_millis()), "{took:?}");
    let late = runtime().block_on(async {
        let mut replies = Replies::default();
        let start = Instant::now();
        let deadline = Deadline::after(Some(Duration::from_millis(200)));
        let outcome = pool
            .run_async(&command(&[b"PING"]), &mut replies, deadline)
            .await;
        (outcome.unwrap_err(), start.elapsed())
    });
    assert_eq!(late.0.kind(), ErrorKind::Timeout, "{}", late.0);
    assert!((190..350).contains(&late.1.as_millis()), "{:?}", late.1);
    assert_eq!(ping(&pool).unwrap(), pong());
}

/// How many files, sockets and pipes this process has open.
fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

#[test]
fn a_provider_that_hangs_uses_up_no_descriptors() {
    let vault = Vault::new("one", None);
    *vault.pause.lock().unwrap() = Duration::from_secs(600);
    let (_server, pool, _admin) = guarded(&vault, json!({}));
    let before = descriptors();
    for _ in 0..500 {
        let (kind, message, _) = fails(&pool, 2);
        assert_eq!(kind, ErrorKind::Timeout, "{message}");
    }
    // A pipe of each would be 1000. Other tests open some meanwhile.
    let after = descriptors();
    assert!(after < before + 300, "{before}, then {after}");
    assert_eq!(vault.questions(), 1);
}

/// Eight threads and sixteen tasks, while the password changes four times.
#[test]
fn a_rotation_under_load_drops_no_request() {
    let vault = Vault::new("p0", Some(Duration::from_millis(1300)));
    let (_server, pool, admin) = guarded(&vault, json!({"redis_pool_size": 8}));
    let (pool, done) = (Arc::new(pool), Arc::new(AtomicBool::new(false)));
    let counted = Arc::new(AtomicUsize::new(0));
    let slowest = Arc::new(Mutex::new(Duration::ZERO));
    let note = {
        let (counted, slowest) = (counted.clone(), slowest.clone());
        move |start: Instant| {
            counted.fetch_add(1, Ordering::Relaxed);
            let mut slowest = slowest.lock().unwrap();
            *slowest = start.elapsed().max(*slowest);
        }
    };
    ping(&pool).unwrap();
    // From now on the provider takes its time, and nobody waits for it.
    *vault.pause.lock().unwrap() = Duration::from_millis(900);
    let runtime = runtime();
    let tasks: Vec<_> = (0..16)
        .map(|_| {
            let (pool, done, note) = (pool.clone(), done.clone(), note.clone());
            runtime.spawn(async move {
                while !done.load(Ordering::Relaxed) {
                    let start = Instant::now();
                    assert_eq!(ask_async(&pool, &[b"PING"]).await.unwrap(), pong());
                    note(start);
                }
            })
        })
        .collect();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let start = Instant::now();
                    assert_eq!(ping(&pool).unwrap(), pong());
                    note(start);
                }
            });
        }
        for round in 1..=4 {
            // As a rotation is done: the new password is added, issued, and the old one removed once
            // it has expired.
            let (new, old) = (format!("p{round}"), format!("<p{}", round - 1));
            let added = format!(">{new}");
            ask(&admin, &[b"ACL", b"SETUSER", b"feast", added.as_bytes()]).unwrap();
            vault.set(&new);
            std::thread::sleep(Duration::from_millis(2400));
            ask(&admin, &[b"ACL", b"SETUSER", b"feast", old.as_bytes()]).unwrap();
            if round % 2 == 0 {
                cut_off(&admin);
            }
        }
        std::thread::sleep(Duration::from_millis(200));
        done.store(true, Ordering::Relaxed);
    });
    for task in tasks {
        runtime.block_on(task).unwrap();
    }
    let (counted, slowest) = (counted.load(Ordering::Relaxed), *slowest.lock().unwrap());
    assert!(counted > 1000, "{counted} requests");
    assert!(slowest < Duration::from_millis(800), "{slowest:?}");
}

#[test]
fn a_kept_connection_takes_the_new_login() {
    let vault = Vault::new("one", Some(Duration::from_millis(1250)));
    let (server, pool, admin) = guarded(&vault, json!({"client_name": "kept"}));
    ping(&pool).unwrap();
    vault.set("two");
    ask(&admin, &[b"ACL", b"SETUSER", b"feast", b">two"]).unwrap();
    std::thread::sleep(Duration::from_millis(1200));
    assert_eq!(ping(&pool).unwrap(), pong());
    // It is the same connection.
    assert_eq!(server.clients("kept"), 1);
    let stats = text(&admin, &[b"INFO", b"commandstats"]);
    assert!(stats.contains("cmdstat_auth:calls=2,"), "{stats}");
    // One whose new login is refused is replaced.
    vault.set("three");
    std::thread::sleep(Duration::from_millis(1100));
    rotate(&admin, "four");
    vault.set("four");
    assert_eq!(ping(&pool).unwrap(), pong());
    assert_eq!(pool.counts().open, 1);
}

/// What a connection says that is opened for it.
fn fresh(pool: &Pool) -> std::result::Result<Reply, String> {
    let mut replies = Replies::default();
    let mut own = pool.own();
    own.run(&command(&[b"PING"]), &mut replies, &|| Ok(()))
        .map_err(|error| error.to_string())?;
    Ok(replies.take().remove(0))
}

/// Server and files of another authority, while connections are open.
#[test]
fn over_tls_certificates_are_replaced() {
    let directories = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let [own, other, stranger] =
        std::array::from_fn(|n| Certificates::make(directories[n].path(), &["127.0.0.1"]));
    let server = tls_server(&own, "yes");
    let pool = Arc::new(server.pool(json!({
        "ssl": true, "ssl_ca_certs": own.ca, "ssl_certfile": own.client,
        "ssl_keyfile": own.client_key,
    })));
    let runtime = runtime();
    let both = || {
        assert_eq!(ping(&pool).unwrap(), pong());
        let asynchronous = runtime.block_on(ask_async(&pool, &[b"PING"]));
        assert_eq!(asynchronous.unwrap(), pong());
    };
    both();
    assert_eq!(fresh(&pool), Ok(pong()));

    let path = |path: &std::path::Path| path.to_str().unwrap().as_bytes().to_vec();
    let (certificate, key, ca) = (
        path(&other.server),
        path(&other.server_key),
        path(&other.ca),
    );
    let parts: [&[u8]; 8] = [
        b"CONFIG",
        b"SET",
        b"tls-cert-file",
        &certificate,
        b"tls-key-file",
        &key,
        b"tls-ca-cert-file",
        &ca,
    ];
    assert_eq!(ask(&pool, &parts).unwrap(), Reply::Status("OK".to_owned()));
    std::thread::sleep(Duration::from_millis(1100));
    let refused = fresh(&pool).unwrap_err();
    assert!(refused.contains("TLS with redis at 127.0.0.1"), "{refused}");
    // Connections that are open stay.
    both();

    for (to, from) in [
        (&own.ca, &other.ca),
        (&own.client, &other.client),
        (&own.client_key, &other.client_key),
    ] {
        std::fs::copy(from, to).unwrap();
    }
    assert_eq!(
        fresh(&pool),
        Ok(pong()),
        "the files are read after a failure"
    );
    let busy = pool.clone();
    let waiting = runtime.spawn(async move { ask_async(&busy, &[b"BLPOP", b"none", b"1"]).await });
    std::thread::sleep(Duration::from_millis(200));
    both();
    assert_eq!(
        pool.async_counts().open,
        2,
        "the second is of the new authority"
    );
    runtime.block_on(waiting).unwrap().unwrap();

    std::fs::copy(&stranger.ca, &own.ca).unwrap();
    std::thread::sleep(Duration::from_millis(1100));
    let refused = fresh(&pool).unwrap_err();
    assert!(refused.contains("TLS with redis at 127.0.0.1"), "{refused}");
    both();
}
