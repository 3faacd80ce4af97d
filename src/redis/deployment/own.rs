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
    /// The servers' numbers of the connections that were given up.
    given_up: HashMap<Address, i64>,
}

/// A connection and the server's number of it.
#[derive(Debug)]
pub(super) struct Own {
    pub connection: OwnConnection,
    id: Option<i64>,
}

impl OwnConnections {
    /// Takes the connection to `node` out, opened if need be.
    pub(super) fn take(&mut self, node: &Node, interrupt: Interrupt<'_>) -> Result<Own> {
        if let Some(own) = self.open.remove(node.address()) {
            return Ok(own);
        }
        let mut connection = node.pool().own();
        let mut commands = Commands::default();
        if let Some(id) = self.given_up.get(node.address()) {
            commands.push(&[b"CLIENT", b"KILL", b"ID", id.to_string().as_bytes()]);
        }
        commands.push(&[b"CLIENT", b"ID"]);
        let mut replies = Replies::new(commands.len(), node.pool().config().max_reply_bytes);
        connection.run(&commands, &mut replies, interrupt)?;
        // A proxy may not know these commands, and an ACL may forbid them.
        let id = match replies.into_vec().pop() {
            Some(Reply::Integer(id)) => Some(id),
            _ => None,
        };
        self.given_up.remove(node.address());
        Ok(Own { connection, id })
    }

    /// Takes a connection back after its use.
    pub(super) fn put(&mut self, address: &Address, own: Own, outcome: &Result<()>) {
        if outcome.is_ok() {
            self.open.insert(address.clone(), own);
        } else if let Some(id) = own.id {
            self.given_up.insert(address.clone(), id);
        }
    }

    /// Ends all connections, after every reply has come: the names may mean other servers now.
    pub fn clear(&mut self) {
        self.open.clear();
    }
}
