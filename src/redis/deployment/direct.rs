//! Requests that one server answers.

use std::sync::Arc;

use super::{Deployment, Node, OwnConnections, Purpose};
use crate::error::{Error, Result};
use crate::redis::Deadline;
use crate::redis::command::Commands;
use crate::redis::config::Address;

use crate::redis::connection::Interrupt;
use crate::redis::reply::ReplySink;
use crate::redis::topology::Topology;

/// How often a read is sent to another server, or to the same one once more is known.
const ATTEMPTS: usize = 4;

impl Deployment {
    pub(super) fn run_direct<S: ReplySink + ?Sized>(
        self: &Arc<Self>,
        commands: &Commands,
        sink: &mut S,
        purpose: Purpose,
        deadline: Deadline,
        interrupt: Interrupt<'_>,
    ) -> Result<()> {
        if let Some(only) = &self.only {
            return attempt(only, || {
                only.pool().run(commands, sink, deadline, interrupt)
            });
        }
        let mut tries = Tries::new(purpose);
        let mut topology = self.topology(false, deadline, interrupt)?;
        loop {
            let mut sink = Witness::new(sink);
            let node = self.server(&topology, purpose, &tries.avoided);
            let outcome = node.and_then(|node| {
                tries.used = Some(node.address().clone());
                attempt(&node, || {
                    node.pool().run(commands, &mut sink, deadline, interrupt)
                })
            });
            let Err(error) = outcome else { return Ok(()) };
            tries.again(error, sink.touched, deadline)?;
            if let Ok(found) = self.topology(true, deadline, interrupt) {
                topology = found;
            }
        }
    }

    pub(super) async fn run_direct_async<S: ReplySink + ?Sized>(
        self: &Arc<Self>,
        commands: &Commands,
        sink: &mut S,
        purpose: Purpose,
        deadline: Deadline,
    ) -> Result<()> {
        if let Some(only) = &self.only {
            let admitted = only.admit()?;
            let outcome = only.pool().run_async(commands, sink, deadline).await;
            only.record(&admitted, &outcome);
            return outcome;
        }
        let mut tries = Tries::new(purpose);
        let mut topology = self.topology_async(false, deadline).await?;
        loop {
            let mut sink = Witness::new(sink);
            let outcome = match self.server(&topology, purpose, &tries.avoided) {
                Err(error) => Err(error),
                Ok(node) => {
                    tries.used = Some(node.address().clone());
                    match node.admit() {
                        Err(refused) => Err(refused),
                        Ok(admitted) => {
                            let pool = node.pool();
                            let outcome = pool.run_async(commands, &mut sink, deadline).await;
                            node.record(&admitted, &outcome);
                            outcome
                        }
                    }
                }
            };
            let Err(error) = outcome else { return Ok(()) };
            tries.again(error, sink.touched, deadline)?;
            if let Ok(found) = self.topology_async(true, deadline).await {
                topology = found;
            }
        }
    }

    pub(super) fn run_direct_own<S: ReplySink + ?Sized>(
        self: &Arc<Self>,
        own: &mut OwnConnections,
        commands: &Commands,
        sink: &mut S,
        interrupt: Interrupt<'_>,
    ) -> Result<()> {
        let node = if let Some(only) = &self.only {
            only.clone()
        } else {
            let topology = self.topology(false, Deadline::NEVER, interrupt)?;
            self.server(&topology, Purpose::Write, &[])?
        };
        let mut used = own.take(&node, interrupt)?;
        let outcome = used.connection.run(commands, sink, interrupt);
        own.put(node.address(), used, &outcome);
        outcome
    }

    fn server(
        &self,
        topology: &Topology,
        purpose: Purpose,
        avoided: &[Address],
    ) -> Result<Arc<Node>> {
        // A topology of one shard, as every one is that was not asked of a cluster.
        self.choose(&topology.shards()[0], purpose, avoided)
            .map(|address| self.node(&address))
    }
}

fn attempt(node: &Node, call: impl FnOnce() -> Result<()>) -> Result<()> {
    let admitted = node.admit()?;
    let outcome = call();
    node.record(&admitted, &outcome);
    outcome
}

/// The attempts of one read.
struct Tries {
    purpose: Purpose,
    made: usize,
    used: Option<Address>,
    avoided: Vec<Address>,
}

impl Tries {
    fn new(purpose: Purpose) -> Self {
        Self {
            purpose,
            made: 0,
            used: None,
            avoided: Vec::new(),
        }
    }

    /// Takes note of a failure; gives it back if it is to stay one. A write is not tried again
    /// here, for only its author can tell whether it was done.
    fn again(&mut self, error: Error, touched: bool, deadline: Deadline) -> Result<()> {
        self.made += 1;
        let left = deadline.remaining().is_ok();
        if self.purpose == Purpose::Write
            || touched
            || !left
            || !error.is_outage()
            || self.made == ATTEMPTS
        {
            return Err(error);
        }
        self.avoided.extend(self.used.take());
        Ok(())
    }
}

/// Passes replies on, and knows whether any bytes came.
struct Witness<'s, S: ?Sized> {
    sink: &'s mut S,
    touched: bool,
}

impl<'s, S: ReplySink + ?Sized> Witness<'s, S> {
    fn new(sink: &'s mut S) -> Self {
        Self {
            sink,
            touched: false,
        }
    }
}

impl<S: ReplySink + ?Sized> ReplySink for Witness<'_, S> {
    fn space(&mut self) -> Result<&mut [u8]> {
        self.sink.space()
    }

    fn advance(&mut self, n: usize) -> Result<()> {
        self.touched = true;
        self.sink.advance(n)
    }

    fn replies(&self) -> usize {
        self.sink.replies()
    }

    fn unanswered(&mut self, error: &Error) -> Result<()> {
        self.sink.unanswered(error)
    }

    fn sent_again(&mut self) {
        self.sink.sent_again();
    }
}
