//! What a write is sent through: the shared connections, or those of a stream's own.

use std::sync::Arc;

use crate::error::Result;
use crate::redis::Deadline;
use crate::redis::command::Commands;
use crate::redis::connection::Interrupt;
use crate::redis::deployment::{Deployment, OwnConnections, Purpose};
use crate::redis::tree::{Replies, Reply};

/// The replies to a pipeline.
#[derive(Debug, Default)]
pub(super) struct Answers {
    /// One for each command.
    pub replies: Vec<Reply>,
    /// Whether the server may have run the commands twice.
    pub again: bool,
}

impl From<Replies> for Answers {
    fn from(replies: Replies) -> Self {
        Self {
            again: replies.were_sent_again(),
            replies: replies.into_vec(),
        }
    }
}

/// A way to the servers for the calling thread.
pub(super) trait Line {
    /// Whose servers they are.
    fn deployment(&self) -> &Arc<Deployment>;

    /// Sends `commands` and collects their replies.
    fn exchange(&mut self, commands: &Commands, interrupt: Interrupt<'_>) -> Result<Answers>;

    /// Takes note that a server refuses to be written to, for now or in its role.
    fn suspect(&mut self);
}

/// A collector of the replies to `commands`.
pub(super) fn collector(commands: &Commands, deployment: &Deployment) -> Replies {
    Replies::new(commands.len(), deployment.config().node.max_reply_bytes)
}

/// Any of the deployment's connections, for a limited time.
#[derive(Debug)]
pub(super) struct SharedLine<'d> {
    pub deployment: &'d Arc<Deployment>,
    pub deadline: Deadline,
}

impl Line for SharedLine<'_> {
    fn deployment(&self) -> &Arc<Deployment> {
        self.deployment
    }

    fn exchange(&mut self, commands: &Commands, interrupt: Interrupt<'_>) -> Result<Answers> {
        let mut replies = collector(commands, self.deployment);
        let (sink, deadline) = (&mut replies, self.deadline);
        self.deployment
            .run(commands, sink, Purpose::Write, deadline, interrupt)?;
        Ok(replies.into())
    }

    fn suspect(&mut self) {
        self.deployment.suspect();
    }
}

/// Connections that only one stream writes through.
#[derive(Debug)]
pub(super) struct OwnLine {
    deployment: Arc<Deployment>,
    connections: OwnConnections,
}

impl OwnLine {
    /// Connects when it is first used.
    pub fn new(deployment: Arc<Deployment>) -> Self {
        Self {
            deployment,
            connections: OwnConnections::default(),
        }
    }

    /// Makes sure that there is a server to write to.
    pub fn connect(&mut self, interrupt: Interrupt<'_>) -> Result<()> {
        let mut ping = Commands::default();
        ping.push(&[b"PING"]);
        self.exchange(&ping, interrupt).map(|_| ())
    }
}

impl Line for OwnLine {
    fn deployment(&self) -> &Arc<Deployment> {
        &self.deployment
    }

    fn exchange(&mut self, commands: &Commands, interrupt: Interrupt<'_>) -> Result<Answers> {
        let mut replies = collector(commands, &self.deployment);
        let connections = &mut self.connections;
        self.deployment
            .run_own(connections, commands, &mut replies, interrupt)?;
        Ok(replies.into())
    }

    fn suspect(&mut self) {
        self.connections.clear();
        self.deployment.suspect();
    }
}
