//! Private Sentinels.

use _core::redis::config::Address;
use serde_json::json;

use super::cluster::wait_until;
use super::replies::Reply;
use super::{RedisServer, ask, free_port};

/// Sentinels that watch a primary, ended when they are dropped.
pub struct Sentinels {
    pub servers: Vec<RedisServer>,
    name: String,
}

impl Sentinels {
    /// This many Sentinels that watch the server at `port` under `name`, have `settings` (lines of
    /// a configuration file) besides, and know of each other and of `replicas` replicas. A server
    /// that is silent for a second is held to be down, if most of them find so.
    pub fn start(count: usize, name: &str, port: u16, replicas: usize, settings: &str) -> Self {
        let quorum = count / 2 + 1;
        let file = format!(
            "sentinel monitor {name} 127.0.0.1 {port} {quorum}\n\
             sentinel down-after-milliseconds {name} 1000\n\
             sentinel failover-timeout {name} 5000\n\
             {settings}\n"
        );
        let arguments = |port: u16| {
            ["--sentinel", "--port", &port.to_string()]
                .map(str::to_owned)
                .into()
        };
        let start = |_| RedisServer::start_from(Some(&file), free_port, arguments);
        let sentinels = Self {
            servers: (0..count).map(start).collect(),
            name: name.to_owned(),
        };
        wait_until("the Sentinels know each other", || {
            (0..count).all(|n| {
                let ask = |list| match sentinels.ask(n, &["SENTINEL", list, name]) {
                    Reply::Array(items) => items.len(),
                    other => panic!("{other:?}"),
                };
                ask("SENTINELS") == count - 1 && ask("REPLICAS") == replicas
            })
        });
        sentinels
    }

    /// Where the Sentinel `n` listens.
    pub fn address(&self, n: usize) -> Address {
        Address::Tcp {
            host: "127.0.0.1".to_owned(),
            port: self.servers[n].port,
        }
    }

    /// The port of the primary, as the Sentinel `n` sees it.
    pub fn primary(&self, n: usize) -> u16 {
        let command = ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", &self.name];
        match &self.ask(n, &command) {
            Reply::Array(items) => match &items[..] {
                [_, Reply::Bulk(port)] => std::str::from_utf8(port).unwrap().parse().unwrap(),
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    }

    /// What the Sentinel `n` answers.
    pub fn ask(&self, n: usize, parts: &[&str]) -> Reply {
        let parts: Vec<&[u8]> = parts.iter().map(|part| part.as_bytes()).collect();
        ask(&self.servers[n].pool(json!({})), &parts).unwrap()
    }
}
