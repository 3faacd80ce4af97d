//! What a write is sent through: the shared connections, or one of a stream's own.

use std::sync::Arc;

use crate::error::Result;
use crate::redis::Pool;
use crate::redis::command::Commands;
use crate::redis::connection::Interrupt;
use crate::redis::pool::OwnConnection;
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

/// A way to the server for the calling thread.
pub(super) trait Line {
    /// Whose server it is.
    fn pool(&self) -> &Pool;

    /// Sends `commands` and collects their replies.
    fn exchange(&mut self, commands: &Commands, interrupt: Interrupt<'_>) -> Result<Answers>;
}

/// A collector of the replies to `commands`.
pub(super) fn collector(commands: &Commands, pool: &Pool) -> Replies {
    Replies::new(commands.len(), pool.config().max_reply_bytes)
}

/// Through any of the pool's connections.
impl Line for &Pool {
    fn pool(&self) -> &Pool {
        self
    }

    fn exchange(&mut self, commands: &Commands, interrupt: Interrupt<'_>) -> Result<Answers> {
        let mut replies = collector(commands, self);
        self.run(
            commands,
            &mut replies,
            crate::redis::Deadline::NEVER,
            interrupt,
        )?;
        Ok(replies.into())
    }
}

/// A connection that only one stream writes through.
///
/// One that was given up may have commands on their way that the server runs later, when it wakes
/// up or the network heals: over newer rows of the same entities, which another connection wrote
/// meanwhile. So the server is told to end it before anything is sent again.
#[derive(Debug)]
pub(super) struct OwnLine {
    pool: Arc<Pool>,
    open: Option<(OwnConnection, Option<i64>)>,
    /// The server's number of the connection that was given up.
    given_up: Option<i64>,
}

impl OwnLine {
    /// Connects when it is first used.
    pub fn new(pool: Arc<Pool>) -> Self {
        Self {
            pool,
            open: None,
            given_up: None,
        }
    }

    /// Connects, unless it is connected.
    pub fn connect(&mut self, interrupt: Interrupt<'_>) -> Result<()> {
        if self.open.is_some() {
            return Ok(());
        }
        let mut connection = self.pool.own();
        let mut commands = Commands::default();
        if let Some(id) = self.given_up {
            commands.push(&[b"CLIENT", b"KILL", b"ID", id.to_string().as_bytes()]);
        }
        commands.push(&[b"CLIENT", b"ID"]);
        let mut replies = collector(&commands, &self.pool);
        connection.run(&commands, &mut replies, interrupt)?;
        // A proxy may not know these commands, and an ACL may forbid them.
        let id = match replies.into_vec().pop() {
            Some(Reply::Integer(id)) => Some(id),
            _ => None,
        };
        self.given_up = None;
        self.open = Some((connection, id));
        Ok(())
    }
}

impl Line for OwnLine {
    fn pool(&self) -> &Pool {
        &self.pool
    }

    fn exchange(&mut self, commands: &Commands, interrupt: Interrupt<'_>) -> Result<Answers> {
        self.connect(interrupt)?;
        let mut replies = collector(commands, &self.pool);
        if let Some((connection, id)) = &mut self.open
            && let Err(error) = connection.run(commands, &mut replies, interrupt)
        {
            self.given_up = *id;
            self.open = None;
            return Err(error);
        }
        Ok(replies.into())
    }
}
