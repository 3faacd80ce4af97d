//! What a new connection says first, and what the server's answers mean.

use super::unanswered_tls;
use crate::error::{Error, ErrorKind, Result};
use crate::redis::command::Commands;
use crate::redis::config::{RedisConfig, Role};
use crate::redis::credentials::Login;
use crate::redis::reply::{ReplySink, is_transient};
use crate::redis::tree::{Replies, Reply};

/// More than any server says to these commands.
const GREETING_LIMIT: usize = 64 * 1024;

/// Longer than any server runs, and shorter than the time since the epoch, in seconds.
const DECADES: i64 = 1_000_000_000;

const REPLICATION: &[&[u8]] = &[b"INFO", b"replication"];

/// One command of the handshake.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Stage {
    Auth,
    Name,
    Select,
    ReadOnly,
    Role,
    Replication,
    Ping,
}

/// The first commands on a connection, all in one write: log in, take a name, select the
/// database, make sure of the server's [`Role`], and ping, so that a server that wants a password, is
/// still loading its data, or is no Redis at all is found out here, where the message can say what to
/// do.
pub(super) struct Handshake {
    commands: Commands,
    stages: Vec<Stage>,
    login: Login,
}

impl Handshake {
    pub fn new(config: &RedisConfig, login: Login) -> Self {
        let mut handshake = Self::renewal(login);
        if let Some(name) = &config.client_name {
            handshake.push(Stage::Name, &[b"CLIENT", b"SETNAME", name.as_bytes()]);
        }
        if config.db != 0 {
            let db = config.db.to_string();
            handshake.push(Stage::Select, &[b"SELECT", db.as_bytes()]);
        }
        match config.role {
            Role::Any => {}
            Role::Primary => handshake.push(Stage::Role, &[b"ROLE"]),
            Role::Synced => handshake.push(Stage::Replication, REPLICATION),
            Role::SyncedNode => {
                handshake.push(Stage::ReadOnly, &[b"READONLY"]);
                handshake.push(Stage::Replication, REPLICATION);
            }
        }
        handshake.push(Stage::Ping, &[b"PING"]);
        handshake
    }

    /// The login alone, for a connection that has had another.
    pub fn renewal(login: Login) -> Self {
        let mut commands = Commands::default();
        let mut stages = Vec::new();
        if let Some(login) = &login.credentials {
            let password = login.password.expose().as_bytes();
            match login.username.as_ref().map(|name| name.expose().as_bytes()) {
                // The default user's name may be left out, and must be before Redis 6.
                None | Some(b"default") => commands.push(&[b"AUTH", password]),
                Some(name) => commands.push(&[b"AUTH", name, password]),
            }
            stages.push(Stage::Auth);
        }
        Self {
            commands,
            stages,
            login,
        }
    }

    /// The generation of the credentials.
    pub fn generation(&self) -> u64 {
        self.login.generation
    }

    fn push(&mut self, stage: Stage, command: &[&[u8]]) {
        self.stages.push(stage);
        self.commands.push(command);
    }

    pub fn commands(&self) -> &Commands {
        &self.commands
    }

    /// What takes in the answers.
    pub fn greeting(&self) -> Greeting {
        Greeting {
            replies: Replies::new(self.stages.len(), GREETING_LIMIT),
            begun: false,
        }
    }

    /// The verdict: the first error that the server said, else how the exchange went.
    pub fn judge(
        &self,
        greeting: &Greeting,
        outcome: Result<()>,
        config: &RedisConfig,
    ) -> Result<()> {
        let address = &config.address;
        for (stage, reply) in self.stages.iter().zip(greeting.replies.found()) {
            match reply {
                Reply::Error(words) if !is_harmless(*stage, words) => {
                    return Err(self.refusal(*stage, words, config));
                }
                Reply::Array(role) if *stage == Stage::Role && !is_primary(role) => {
                    let message = format!("redis at {address} is no primary any more");
                    return Err(Error::new(ErrorKind::Connection, message));
                }
                Reply::Bytes(info) if *stage == Stage::Replication && !is_synced(info) => {
                    let message = format!(
                        "redis at {address} is a replica that has not had its primary's data yet"
                    );
                    return Err(Error::new(ErrorKind::Connection, message));
                }
                _ => {}
            }
        }
        outcome.map_err(|error| match error.kind() {
            ErrorKind::Protocol => error.context(format_args!("redis at {address}")),
            ErrorKind::Connection if config.tls.is_none() && !greeting.begun => {
                error.context("logging in failed (if TLS is spoken there, set ssl: true)")
            }
            ErrorKind::Timeout if config.tls.is_some() && !greeting.begun => unanswered_tls(error),
            _ => error,
        })
    }

    /// Whether the server refused the credentials, rather than the connection.
    pub fn is_login_refused(&self, greeting: &Greeting) -> bool {
        let first = greeting.replies.found().first();
        match (self.stages.first(), first) {
            (Some(Stage::Auth), Some(Reply::Error(words))) => !is_transient(words),
            _ => false,
        }
    }

    fn refusal(&self, stage: Stage, words: &str, config: &RedisConfig) -> Error {
        let address = &config.address;
        let (what, advice) = if words.starts_with("NOAUTH") {
            (
                "wants a password".to_owned(),
                "; set password (or auth_token), and username if it has one",
            )
        } else if words.starts_with("WRONGPASS") || words.starts_with("ERR invalid password") {
            (
                "refused the credentials".to_owned(),
                "; check username and password (or auth_token); in a connection string, a URL's must \
             be percent-encoded, and one with a comma is safest under its own key",
            )
        } else if words.starts_with("ERR wrong number of arguments") && stage == Stage::Auth {
            (
                "refused the credentials".to_owned(),
                "; a server older than Redis 6 knows no user names, leave username out",
            )
        } else {
            match stage {
                Stage::Auth => (
                    "refused the credentials".to_owned(),
                    "; check username and password (or auth_token)",
                ),
                Stage::Select => (
                    format!("refused database {}", config.db),
                    "; check db against the server's own number of databases",
                ),
                Stage::Name => ("refused the client_name".to_owned(), ""),
                Stage::ReadOnly => (
                    "refused to be read from as a node of a cluster".to_owned(),
                    "; if it is a standalone server, set redis_type: redis",
                ),
                Stage::Role | Stage::Replication | Stage::Ping => ("is not ready".to_owned(), ""),
            }
        };
        let shown = self.without_secrets(words);
        let error = Error::new(
            ErrorKind::Server,
            format!("redis at {address} {what}: {shown}{advice}"),
        )
        .at_login();
        if is_transient(words) {
            error.transient()
        } else {
            error
        }
    }

    /// The server's words. A server that does not know a command repeats its arguments, here the
    /// credentials.
    fn without_secrets(&self, words: &str) -> String {
        let end = words.find(", with args").unwrap_or(words.len());
        let mut words = words[..end].to_owned();
        if let Some(login) = &self.login.credentials {
            for secret in login.username.iter().chain([&login.password]) {
                if !secret.expose().is_empty() && secret.expose() != "default" {
                    words = words.replace(secret.expose(), "***");
                }
            }
        }
        words
    }
}

/// Whether the connection serves all the same. An ACL may forbid PING, ROLE and INFO, and a proxy may
/// not know them; a server that cannot save its data refuses PING with the writes, and answers reads.
fn is_harmless(stage: Stage, words: &str) -> bool {
    let harmless = ["NOPERM", "ERR unknown", "MISCONF"];
    match stage {
        Stage::Ping | Stage::Role => harmless.iter().any(|code| words.starts_with(code)),
        // Each proxy has words of its own for commands that it does not pass on.
        Stage::Replication => !words.starts_with("NOAUTH") && !is_transient(words),
        _ => false,
    }
}

/// What ROLE says of a primary.
fn is_primary(role: &[Reply]) -> bool {
    matches!(role.first(), Some(Reply::Bytes(name)) if name == b"master")
}

/// What INFO says of a primary, and of a replica that has been in touch with its own. One that has not
/// counts its link as down for -1 seconds; before Redis 6.2, since the epoch.
fn is_synced(info: &[u8]) -> bool {
    let info = String::from_utf8_lossy(info);
    let value = |name: &str| {
        let mut lines = info.lines().filter_map(|line| line.trim().split_once(':'));
        lines.find_map(|(known, value)| (known == name).then_some(value))
    };
    let down = value("master_link_down_since_seconds").and_then(|down| down.parse().ok());
    value("role") != Some("slave")
        || value("master_link_status") != Some("down")
        || down.is_none_or(|down: i64| (0..DECADES).contains(&down))
}

/// The answers to a handshake, as far as they have come.
pub(super) struct Greeting {
    replies: Replies,
    /// Whether a byte has come.
    begun: bool,
}

impl Greeting {
    /// Whether the server has said anything.
    pub fn has_begun(&self) -> bool {
        self.begun
    }
}

impl ReplySink for Greeting {
    fn space(&mut self) -> Result<&mut [u8]> {
        self.replies.space().map_err(|_| foreign())
    }

    fn advance(&mut self, n: usize) -> Result<()> {
        self.begun |= n > 0;
        self.replies.advance(n).map_err(|_| foreign())?;
        // What listens there may wait for more than it was told, so that its line never ends.
        match self.replies.rest().first() {
            None | Some(b'+' | b'-' | b'*' | b'$') => Ok(()),
            Some(_) => Err(foreign()),
        }
    }

    fn replies(&self) -> usize {
        self.replies.replies()
    }
}

fn foreign() -> Error {
    Error::new(
        ErrorKind::Protocol,
        "the server's answer is not Redis' protocol; is it Redis that listens there, and without \
         TLS?",
    )
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::redis::config::deployment::DeploymentConfig;

    fn config(mut settings: serde_json::Value) -> RedisConfig {
        settings["connection_string"] = "h:1".into();
        let config = DeploymentConfig::from_json(&settings.to_string()).unwrap();
        Arc::unwrap_or_clone(config.node)
    }

    fn verdict(config: &RedisConfig, answer: &[u8]) -> Result<()> {
        let handshake = Handshake::new(config, config.credentials.newest().unwrap());
        let mut greeting = handshake.greeting();
        greeting.space()?[..answer.len()].copy_from_slice(answer);
        let outcome = greeting.advance(answer.len());
        handshake.judge(&greeting, outcome, config)
    }

    #[test]
    fn says_what_is_configured_in_one_write() {
        let said = |settings| {
            let config = config(settings);
            let login = config.credentials.newest().unwrap();
            let handshake = Handshake::new(&config, login);
            let segments: Vec<_> = handshake.commands().segments().collect();
            assert_eq!(segments.len(), 1);
            let text = String::from_utf8_lossy(segments[0].0).into_owned();
            let words = text
                .split("\r\n")
                .filter(|word| !word.starts_with(['*', '$']));
            words.collect::<Vec<_>>().join(" ")
        };
        assert_eq!(said(json!({})), "PING ");
        assert_eq!(said(json!({"password": "p"})), "AUTH p PING ");
        assert_eq!(
            said(json!({"username": "default", "password": "p"})),
            "AUTH p PING "
        );
        assert_eq!(
            said(json!({"username": "u", "db": 2, "client_name": "c"})),
            "AUTH u  CLIENT SETNAME c SELECT 2 PING "
        );
        assert_eq!(
            said(json!({"redis_type": "redis_cluster", "read_from": "replica"})),
            "READONLY INFO replication PING "
        );
        assert_eq!(said(json!({"redis_type": "redis_cluster"})), "PING ");
        assert_eq!(
            said(json!({"read_from": "prefer_replica"})),
            "INFO replication PING "
        );
        let sentinel = json!({"redis_type": "redis_sentinel", "password": "p", "db": 1});
        assert_eq!(said(sentinel), "AUTH p SELECT 1 ROLE PING ");
    }

    #[test]
    fn the_servers_words_and_what_to_do() {
        let login = config(json!({"username": "tok3n", "password": "s3cret", "db": 5}));
        assert!(verdict(&login, b"+OK\r\n+OK\r\n+PONG\r\n").is_ok());
        assert!(verdict(&login, b"+OK\r\n+OK\r\n-NOPERM no\r\n").is_ok());
        assert!(verdict(&login, b"+OK\r\n+OK\r\n-MISCONF no\r\n").is_ok());
        for (answer, kind, text) in [
            (
                &b"-WRONGPASS invalid\r\n"[..],
                ErrorKind::Server,
                "check username and password",
            ),
            (
                b"-ERR unknown command `AUTH`, with args beginning with: `s3cret`\r\n",
                ErrorKind::Server,
                "unknown command",
            ),
            (
                b"-ERR no s3cret for tok3n\r\n",
                ErrorKind::Server,
                "no *** for ***",
            ),
            (
                b"-ERR wrong number of arguments for 'auth' command\r\n",
                ErrorKind::Server,
                "older than Redis 6",
            ),
            (
                b"+OK\r\n-ERR DB index is out of range\r\n",
                ErrorKind::Server,
                "refused database 5",
            ),
            (
                b"+OK\r\n+OK\r\n-LOADING dataset\r\n",
                ErrorKind::Server,
                "not ready: LOADING",
            ),
            (
                b"-NOAUTH Authentication required.\r\n",
                ErrorKind::Server,
                "wants a password",
            ),
            (
                b"HTTP/1.1 400 Bad Request\r\n",
                ErrorKind::Protocol,
                "not Redis' protocol",
            ),
        ] {
            let error = verdict(&login, answer).unwrap_err();
            let message = error.to_string();
            assert_eq!(error.kind(), kind, "{message}");
            assert!(message.contains(text), "{message}");
            assert!(
                !message.contains("s3cret") && !message.contains("tok3n"),
                "{message}"
            );
        }
    }

    #[test]
    fn a_greeting_without_end_is_refused() {
        let mut greeting = Handshake::new(&config(json!({})), Login::default()).greeting();
        let endless = (0..100).find_map(|_| {
            let space = match greeting.space() {
                Ok(space) => space,
                Err(error) => return Some(error),
            };
            space.fill(b'+');
            let n = space.len();
            greeting.advance(n).err()
        });
        assert_eq!(endless.unwrap().kind(), ErrorKind::Protocol);
    }

    #[test]
    fn a_replica_is_no_primary() {
        let node = config(json!({"redis_type": "redis_sentinel"}));
        let primary =
            b"*3\r\n$6\r\nmaster\r\n:3129659\r\n*1\r\n*3\r\n$1\r\nh\r\n$1\r\n2\r\n$1\r\n3\r\n+PONG\r\n";
        assert!(verdict(&node, primary).is_ok());
        assert!(verdict(&node, b"-NOPERM no ROLE for you\r\n+PONG\r\n").is_ok());
        let replica = b"*5\r\n$5\r\nslave\r\n$1\r\nh\r\n:1\r\n$9\r\nconnected\r\n:5\r\n+PONG\r\n";
        let error = verdict(&node, replica).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Connection);
        assert!(error.to_string().contains("h:1 is no primary"), "{error}");
        let replica_node = RedisConfig {
            role: Role::Any,
            ..node
        };
        assert!(verdict(&replica_node, b"+PONG\r\n").is_ok());
    }

    #[test]
    fn a_replica_without_data_is_not_read() {
        let node = config(json!({"read_from": "replica"}));
        let answer = |lines: &str| format!("${}\r\n{lines}\r\n+PONG\r\n", lines.len());
        let lines = |role: &str, link: &str, down: &str| {
            format!(
                "# Replication\r\nrole:{role}\r\nmaster_link_status:{link}\r\n\
                 master_link_down_since_seconds:{down}\r\nslave_priority:100\r\n"
            )
        };
        for good in [
            lines("slave", "up", "-1"),
            lines("slave", "down", "0"),
            lines("slave", "down", "9070"),
            lines("master", "down", "-1"),
            "# Replication\r\nrole:master\r\nconnected_slaves:0\r\n".to_owned(),
            String::new(),
        ] {
            assert!(verdict(&node, answer(&good).as_bytes()).is_ok(), "{good}");
        }
        assert!(verdict(&node, b"-NOPERM no INFO for you\r\n+PONG\r\n").is_ok());
        assert!(verdict(&node, b"-unsupported command 'INFO'\r\n+PONG\r\n").is_ok());
        assert!(verdict(&node, b"-LOADING dataset\r\n-LOADING dataset\r\n").is_err());
        for bad in [
            lines("slave", "down", "-1"),
            lines("slave", "down", "1795000000"),
        ] {
            let error = verdict(&node, answer(&bad).as_bytes()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Connection);
            assert!(
                error
                    .to_string()
                    .contains("h:1 is a replica that has not had"),
                "{error}"
            );
        }
    }

    #[test]
    fn a_standalone_server_is_no_node_of_a_cluster() {
        let node = config(json!({"redis_type": "redis_cluster", "read_from": "replica"}));
        let words = b"-ERR This instance has cluster support disabled\r\n+PONG\r\n";
        let message = verdict(&node, words).unwrap_err().to_string();
        assert!(message.contains("set redis_type: redis"), "{message}");
    }
}
