//! Connections that only one stream of writes uses, one to each server.
//!
//! One that was given up may have commands on their way that the server runs later, when it wakes
//! up or the network heals: over newer rows of the same entities, which another connection wrote
//! meanwhile. So the server is told to end it before anything is sent to it again. What a server
//! does that has lost its place as primary meanwhile is undone when it joins its successor.

use std::collections::HashMap;

use super::Node;
use crate::error::Result;
use crate::redis::command::Commands;
use crate::redis::config::Address;
use crate::redis::connection::Interrupt;
use crate::redis::pool::OwnConnection;
use crate::redis::tree::{Replies, Reply};

/// Connections by their server.
#[derive(Debug, Default)]
pub struct OwnConnections {
    open: HashMap<Address, Own>,
    /// The connections that were given up.
    given_up: HashMap<Address, Name>,
}

/// A connection and the server's name for it.
#[derive(Debug)]
pub(super) struct Own {
    pub connection: OwnConnection,
    name: Option<Name>,
}

/// What tells a connection from all others of a server.
#[derive(Debug)]
struct Name {
    /// Of the server's process: after a restart the numbers begin anew, and whoever has this one
    /// then is a stranger. Empty where the server does not say.
    process: Vec<u8>,
    number: i64,
}

impl OwnConnections {
    /// Takes the connection to `node` out, opened if need be.
    pub(super) fn take(&mut self, node: &Node, interrupt: Interrupt<'_>) -> Result<Own> {
        if let Some(own) = self.open.remove(node.address()) {
            return Ok(own);
        }
        let mut connection = node.pool().own();
        let mut ask = |commands: &[&[&[u8]]]| -> Result<Vec<Reply>> {
            let mut pipeline = Commands::default();
            for command in commands {
                pipeline.push(command);
            }
            let limit = node.pool().config().max_reply_bytes;
            let mut replies = Replies::new(pipeline.len(), limit);
            connection.run(&pipeline, &mut replies, interrupt)?;
            Ok(replies.into_vec())
        };
        // A proxy may not know these commands, and an ACL may forbid them.
        let name = Name::of(&ask(&[&[b"INFO", b"server"], &[b"CLIENT", b"ID"]])?);
        if let (Some(name), Some(lost)) = (&name, self.given_up.get(node.address()))
            && name.process == lost.process
        {
            let number = lost.number.to_string();
            ask(&[&[
                b"CLIENT",
                b"KILL",
                b"ID",
                number.as_bytes(),
                b"TYPE",
                b"normal",
            ]])?;
        }
        self.given_up.remove(node.address());
        Ok(Own { connection, name })
    }

    /// Takes a connection back after its use.
    pub(super) fn put(&mut self, address: &Address, own: Own, outcome: &Result<()>) {
        if outcome.is_ok() {
            self.open.insert(address.clone(), own);
        } else if let Some(name) = own.name {
            self.given_up.insert(address.clone(), name);
        }
    }

    /// Ends all connections, after every reply has come: the names may mean other servers now.
    pub fn clear(&mut self) {
        self.open.clear();
    }
}

impl Name {
    /// Reads the replies to `INFO server` and `CLIENT ID`.
    fn of(replies: &[Reply]) -> Option<Self> {
        let [info, Reply::Integer(number)] = replies else {
            return None;
        };
        let process = match info {
            Reply::Bytes(text) => text
                .split(|&byte| byte == b'\n')
                .find_map(|line| line.strip_prefix(b"run_id:"))
                .map_or_else(Vec::new, |id| id.trim_ascii().to_vec()),
            _ => Vec::new(),
        };
        Some(Self {
            process,
            number: *number,
        })
    }
}
