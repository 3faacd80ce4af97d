//! What a new connection says first, and what the server's answers mean.

use crate::error::{Error, ErrorKind, Result};
use crate::redis::command::Commands;
use crate::redis::config::RedisConfig;
use crate::redis::reply::{ReplySink, is_transient};

/// More than any server says to these commands.
const GREETING_LIMIT: usize = 16 * 1024;

/// One command of the handshake.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Stage {
    Auth,
    Name,
    Select,
    Ping,
}

/// The first commands on a connection, all in one write: log in, take a name, select the
/// database, and ping, so that a server that wants a password, is still loading its data, or is
/// no Redis at all is found out here, where the message can say what to do.
pub(super) struct Handshake {
    commands: Commands,
    stages: Vec<Stage>,
}

impl Handshake {
    pub fn new(config: &RedisConfig) -> Self {
        let mut handshake = Self {
            commands: Commands::default(),
            stages: Vec::new(),
        };
        if let Some(login) = &config.credentials {
            let password = login.password.expose().as_bytes();
            match login.username.as_ref().map(|name| name.expose().as_bytes()) {
                // The default user's name may be left out, and must be before Redis 6.
                None | Some(b"default") => handshake.push(Stage::Auth, &[b"AUTH", password]),
                Some(name) => handshake.push(Stage::Auth, &[b"AUTH", name, password]),
            }
        }
        if let Some(name) = &config.client_name {
            handshake.push(Stage::Name, &[b"CLIENT", b"SETNAME", name.as_bytes()]);
        }
        if config.db != 0 {
            let db = config.db.to_string();
            handshake.push(Stage::Select, &[b"SELECT", db.as_bytes()]);
        }
        handshake.push(Stage::Ping, &[b"PING"]);
        handshake
    }

    fn push(&mut self, stage: Stage, command: &[&[u8]]) {
        self.stages.push(stage);
        self.commands.push(command);
    }

    pub fn commands(&self) -> &Commands {
        &self.commands
    }

    /// The verdict: the first error that the server said, else how the exchange went.
    pub fn judge(
        &self,
        greeting: &Greeting,
        outcome: Result<()>,
        config: &RedisConfig,
    ) -> Result<()> {
        for (stage, line) in self.stages.iter().zip(greeting.lines()) {
            if let Some(words) = line.strip_prefix(b"-") {
                let words = String::from_utf8_lossy(words);
                // An ACL may forbid PING, and a proxy may not know it; a server that cannot save its
                // data refuses it with the writes, and answers reads.
                let harmless = ["NOPERM", "ERR unknown", "MISCONF"];
                let harmless = harmless.iter().any(|code| words.starts_with(code));
                if *stage != Stage::Ping || !harmless {
                    return Err(refusal(*stage, &words, config));
                }
            }
        }
        outcome.map_err(|error| match error.kind() {
            ErrorKind::Protocol => error.context(format_args!("redis at {}", config.address)),
            ErrorKind::Connection if config.tls.is_none() && greeting.bytes.is_empty() => {
                error.context("logging in failed (if TLS is spoken there, set ssl: true)")
            }
            _ => error,
        })
    }
}

fn refusal(stage: Stage, words: &str, config: &RedisConfig) -> Error {
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
            Stage::Ping => ("is not ready".to_owned(), ""),
        }
    };
    let shown = without_secrets(words, config);
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
fn without_secrets(words: &str, config: &RedisConfig) -> String {
    let end = words.find(", with args").unwrap_or(words.len());
    let mut words = words[..end].to_owned();
    if let Some(login) = &config.credentials {
        for secret in login.username.iter().chain([&login.password]) {
            if !secret.expose().is_empty() && secret.expose() != "default" {
                words = words.replace(secret.expose(), "***");
            }
        }
    }
    words
}

/// The answers to a handshake: a line each.
#[derive(Default)]
pub(super) struct Greeting {
    bytes: Vec<u8>,
    space: Vec<u8>,
    replies: usize,
}

impl Greeting {
    fn lines(&self) -> impl Iterator<Item = &[u8]> {
        self.bytes
            .split_inclusive(|&byte| byte == b'\n')
            .filter_map(|line| line.strip_suffix(b"\r\n"))
    }
}

impl ReplySink for Greeting {
    fn space(&mut self) -> Result<&mut [u8]> {
        self.space.resize(1024, 0);
        Ok(&mut self.space)
    }

    fn advance(&mut self, n: usize) -> Result<()> {
        self.bytes.extend_from_slice(&self.space[..n]);
        let lines = self.lines().count();
        let foreign = self
            .bytes
            .split_inclusive(|&byte| byte == b'\n')
            .any(|line| !matches!(line[0], b'+' | b'-'));
        if foreign || self.bytes.len() > GREETING_LIMIT {
            return Err(Error::new(
                ErrorKind::Protocol,
                "the server's answer is not Redis' protocol; is it Redis that listens there, and \
                 without TLS?",
            ));
        }
        self.replies = lines;
        Ok(())
    }

    fn replies(&self) -> usize {
        self.replies
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn config(mut settings: serde_json::Value) -> RedisConfig {
        settings["connection_string"] = "h:1".into();
        RedisConfig::from_json(&settings.to_string()).unwrap()
    }

    fn verdict(config: &RedisConfig, answer: &[u8]) -> Result<()> {
        let mut greeting = Greeting::default();
        greeting.space()?[..answer.len()].copy_from_slice(answer);
        let outcome = greeting.advance(answer.len());
        Handshake::new(config).judge(&greeting, outcome, config)
    }

    #[test]
    fn says_what_is_configured_in_one_write() {
        let said = |settings| {
            let handshake = Handshake::new(&config(settings));
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
        let mut greeting = Greeting::default();
        let endless = (0..100).find_map(|_| {
            greeting.space().unwrap().fill(b'+');
            greeting.advance(1024).err()
        });
        assert_eq!(endless.unwrap().kind(), ErrorKind::Protocol);
    }
}
