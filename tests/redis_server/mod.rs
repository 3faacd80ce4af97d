//! A private Redis server or cluster for a test, certificates for it, and a reader of any reply.
//!
//! `FEAST_RS_REDIS_SERVER` names the executable; else it is `redis-server` of the `PATH`.

#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::missing_panics_doc, reason = "a test fails by a panic")]

pub mod certificates;
pub mod cluster;
pub mod replies;
pub mod sentinels;

use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use _core::error::Result;
use _core::redis::Deadline;
use _core::redis::command::Commands;
use _core::redis::config::RedisConfig;
use _core::redis::config::deployment::DeploymentConfig;
use _core::redis::pool::Pool;
use _core::redis::tree;
use serde_json::json;

use self::replies::{Replies, Reply};

/// A server of the test's own, killed at its end.
pub struct RedisServer {
    child: Option<Child>,
    arguments: Vec<String>,
    directory: tempfile::TempDir,
    has_file: bool,
    pub port: u16,
}

/// The name of a server's configuration file, where it has one.
const FILE: &str = "server.conf";

impl RedisServer {
    /// A server on a free port of the loopback, with `arguments` besides.
    pub fn start(arguments: &[&str]) -> Self {
        Self::start_with(|port| {
            let own = ["--port".to_owned(), port.to_string()];
            let others = arguments.iter().map(|&argument| argument.to_owned());
            own.into_iter().chain(others).collect()
        })
    }

    /// A server with arguments that depend on the port.
    pub fn start_with(arguments: impl Fn(u16) -> Vec<String>) -> Self {
        Self::start_at(free_port, arguments)
    }

    /// A server on a port that `choose` finds free, with arguments that depend on it.
    pub fn start_at(choose: fn() -> u16, arguments: impl Fn(u16) -> Vec<String>) -> Self {
        Self::start_from(None, choose, arguments)
    }

    /// A server with a configuration file of this text, which it may write to.
    pub fn start_from(
        file: Option<&str>,
        choose: fn() -> u16,
        arguments: impl Fn(u16) -> Vec<String>,
    ) -> Self {
        // Another process may take the port between the choice and its use.
        for _ in 0..5 {
            let port = choose();
            let mut server = Self {
                child: None,
                arguments: arguments(port),
                directory: tempfile::tempdir().unwrap(),
                has_file: file.is_some(),
                port,
            };
            if let Some(text) = file {
                std::fs::write(server.directory.path().join(FILE), text).unwrap();
            }
            if server.try_restart() {
                return server;
            }
        }
        panic!("redis-server does not start; is it installed? (FEAST_RS_REDIS_SERVER)");
    }

    /// Starts the server again after [`kill`](Self::kill), on the same port.
    pub fn restart(&mut self) {
        assert!(self.try_restart(), "redis-server does not start again");
    }

    fn try_restart(&mut self) -> bool {
        let executable = std::env::var("FEAST_RS_REDIS_SERVER");
        let mut child = Command::new(executable.as_deref().unwrap_or("redis-server"))
            .args(self.has_file.then_some(FILE))
            .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .args(["--daemonize", "no"])
            .args(&self.arguments)
            .current_dir(self.directory.path())
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server must be installed (or named by FEAST_RS_REDIS_SERVER)");
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(10) {
            if child.try_wait().unwrap().is_some() {
                return false;
            }
            if TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
                self.child = Some(child);
                return true;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        false
    }

    /// Ends the server without a goodbye.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Stops the server's process (`STOP`) or lets it go on (`CONT`).
    pub fn signal(&self, name: &str) {
        let id = self.child.as_ref().unwrap().id();
        signal(name, id);
    }

    /// A configuration for this server with `settings` besides.
    pub fn config(&self, mut settings: serde_json::Value) -> Arc<RedisConfig> {
        settings["connection_string"] = format!("127.0.0.1:{}", self.port).into();
        config(&settings)
    }

    /// A pool for this server with `settings` besides.
    pub fn pool(&self, settings: serde_json::Value) -> Pool {
        Pool::new(self.config(settings))
    }

    /// How many connections with this name the server has.
    pub fn clients(&self, name: &str) -> usize {
        let list = ask(&self.pool(json!({})), &[b"CLIENT", b"LIST"]).unwrap();
        let Reply::Bulk(text) = list else {
            panic!("{list:?}")
        };
        let text = String::from_utf8(text).unwrap();
        let name = format!(" name={name} ");
        text.lines().filter(|line| line.contains(&name)).count()
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Sends the signal `name` to a process.
pub fn signal(name: &str, process: u32) {
    let status = Command::new("kill")
        .args([format!("-{name}"), process.to_string()])
        .status();
    assert!(status.unwrap().success());
}

/// A configuration from `settings`.
pub fn config(settings: &serde_json::Value) -> Arc<RedisConfig> {
    DeploymentConfig::from_json(&settings.to_string())
        .unwrap()
        .node
}

/// The ports that tests are given. They are below those of outgoing connections, and so are the
/// ports of the buses, [`BUS`](cluster::BUS) above.
const PORTS: std::ops::Range<u16> = 12_000..22_000;

/// A port that nobody listens on and no other test of this process was given, so that nobody answers
/// in the place of a server that is down.
pub fn free_port() -> u16 {
    // Processes that run side by side begin far from each other.
    static NEXT: LazyLock<AtomicU32> =
        LazyLock::new(|| AtomicU32::new(std::process::id().wrapping_mul(7919)));
    loop {
        let place = NEXT.fetch_add(1, Ordering::Relaxed) as usize % PORTS.len();
        let port = PORTS.start + u16::try_from(place).unwrap();
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// A pipeline of one command.
pub fn command(parts: &[&[u8]]) -> Commands {
    let mut commands = Commands::default();
    commands.push(parts);
    commands
}

/// The reply to one command, within ten seconds.
pub fn ask(pool: &Pool, parts: &[&[u8]]) -> Result<Reply> {
    ask_within(pool, parts, Duration::from_secs(10))
}

/// The reply to one command as the crate reads it, within ten seconds.
pub fn answer(pool: &Pool, parts: &[&[u8]]) -> Result<tree::Reply> {
    let mut replies = tree::Replies::new(1, 1 << 24);
    let deadline = Deadline::after(Some(Duration::from_secs(10)));
    pool.run(&command(parts), &mut replies, deadline, &|| Ok(()))?;
    Ok(replies.into_vec().remove(0))
}

/// The reply to one command, within `limit`.
pub fn ask_within(pool: &Pool, parts: &[&[u8]], limit: Duration) -> Result<Reply> {
    let mut replies = Replies::default();
    let deadline = Deadline::after(Some(limit));
    pool.run(&command(parts), &mut replies, deadline, &|| Ok(()))?;
    Ok(replies.take().remove(0))
}

/// The reply to one command, asynchronously, within ten seconds.
pub async fn ask_async(pool: &Pool, parts: &[&[u8]]) -> Result<Reply> {
    let mut replies = Replies::default();
    let deadline = Deadline::after(Some(Duration::from_secs(10)));
    pool.run_async(&command(parts), &mut replies, deadline)
        .await?;
    Ok(replies.take().remove(0))
}
