//! A pipeline to be run, and how it went.

use std::fmt;
use std::time::{Duration, Instant};

use super::{OwnConnection, Pool};
use crate::error::Result;
use crate::redis::command::Commands;
use crate::redis::reply::ReplySink;

/// Which connection carries a [`Call`].
#[derive(Debug)]
pub enum Via<'a> {
    /// Any of the pool's, once it is the call's turn.
    Pool(&'a Pool),
    /// One that nobody else uses.
    Own(&'a mut OwnConnection),
}

/// One pipeline to one server.
pub struct Call<'a, S: ReplySink + ?Sized = dyn ReplySink + 'a> {
    /// What carries it.
    pub via: Via<'a>,
    /// What to send.
    pub commands: &'a Commands,
    /// What takes the replies in.
    pub sink: &'a mut S,
    /// The moment before which it does not begin; `None` is at once.
    pub begins: Option<Instant>,
    /// Calls with the same number are rivals: when the first of them succeeds the others are given
    /// up and their connections closed. One that fails does not end the others.
    pub rival: Option<usize>,
    /// How it went: `None` before it was run, and when it was given up for a rival.
    pub outcome: Option<Result<()>>,
    /// When it ended, unless it was given up for a rival.
    pub ended: Option<Instant>,
    /// How long it took from when it began to send until its end; `None` if it never had a
    /// connection to send through.
    pub took: Option<Duration>,
}

impl<'a, S: ReplySink + ?Sized> Call<'a, S> {
    /// A call that begins at once and has no rivals.
    pub fn new(via: Via<'a>, commands: &'a Commands, sink: &'a mut S) -> Self {
        Self {
            via,
            commands,
            sink,
            begins: None,
            rival: None,
            outcome: None,
            ended: None,
            took: None,
        }
    }
}

impl<S: ReplySink + ?Sized> fmt::Debug for Call<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("via", &self.via)
            .field("commands", &self.commands.len())
            .field("rival", &self.rival)
            .field("outcome", &self.outcome)
            .field("took", &self.took)
            .finish_non_exhaustive()
    }
}
