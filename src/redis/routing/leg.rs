//! What goes to one server in one round.

use crate::redis::command::Commands;
use crate::redis::config::Address;

/// Commands for one server.
#[derive(Debug)]
pub struct Leg {
    /// The server.
    pub address: Address,
    /// What it is sent.
    pub commands: Commands,
    /// Whether the server is a replica of a cluster, which may not know what its shard knows.
    pub from_replica: bool,
    /// Whether a command is announced by `ASKING`: its slot is on the way to this server.
    asking: bool,
    /// For each reply the command of the pipeline that it answers; none for `ASKING`.
    replies_of: Vec<Option<usize>>,
}

impl Leg {
    /// The place of the leg to `address` among `legs`, added if there is none.
    pub(super) fn find(legs: &mut Vec<Self>, address: &Address) -> usize {
        let known = legs.iter().position(|leg| leg.address == *address);
        known.unwrap_or_else(|| {
            legs.push(Self {
                address: address.clone(),
                commands: Commands::default(),
                from_replica: false,
                asking: false,
                replies_of: Vec::new(),
            });
            legs.len() - 1
        })
    }

    /// Adds a command of the pipeline, announced by `ASKING` or not.
    pub(super) fn push(&mut self, of: &Commands, command: usize, asking: bool) {
        if asking {
            self.asking = true;
            self.commands.push(&[b"ASKING"]);
            self.replies_of.push(None);
        }
        self.commands.push_copy(of, command);
        self.replies_of.push(Some(command));
    }

    /// Whether it may as well be sent to another server of the shard.
    #[must_use]
    pub fn can_be_hedged(&self) -> bool {
        !self.asking
    }

    pub(super) fn replies_of(&self) -> &[Option<usize>] {
        &self.replies_of
    }
}
