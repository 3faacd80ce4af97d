//! Requests that one server answers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::lookup::REST_WHILE_REFUSED;
use super::node::Admitted;
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
            let admitted = only.admit(purpose, deadline)?;
            let outcome = only.pool().run(commands, sink, deadline, interrupt);
            admitted.settle(&outcome, ended(sink));
            return outcome;
        }
        let mut tries = Tries::new(purpose);
        let mut topology = self.topology(false, deadline, interrupt)?;
        loop {
            let mut sink = Witness::new(sink);
            let node = self.server(&topology, purpose, &tries.avoided);
            let outcome = node.and_then(|node| {
                let admitted = tries.begin(&node, deadline)?;
                let pool = node.pool();
                let outcome = pool.run(commands, &mut sink, deadline, interrupt);
                admitted.settle(&outcome, ended(&sink));
                outcome
            });
            let Err(error) = outcome else { return Ok(()) };
            if error.is_refusal() {
                self.look_up_in_passing(REST_WHILE_REFUSED);
                tries.refused(error)?;
                continue;
            }
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
            let admitted = only.admit(purpose, deadline)?;
            let outcome = only.pool().run_async(commands, sink, deadline).await;
            admitted.settle(&outcome, None);
            return outcome;
        }
        let mut tries = Tries::new(purpose);
        let mut topology = self.topology_async(false, deadline).await?;
        loop {
            let mut sink = Witness::new(sink);
            let node = self.server(&topology, purpose, &tries.avoided);
            let node = node.and_then(|node| Ok((tries.begin(&node, deadline)?, node)));
            let outcome = match node {
                Err(error) => Err(error),
                Ok((admitted, node)) => {
                    let pool = node.pool();
                    let outcome = pool.run_async(commands, &mut sink, deadline).await;
                    admitted.settle(&outcome, None);
                    outcome
                }
            };
            let Err(error) = outcome else { return Ok(()) };
            if error.is_refusal() {
                self.look_up_in_passing(REST_WHILE_REFUSED);
                tries.refused(error)?;
                continue;
            }
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
        self.choose(&topology.shards()[0], purpose, avoided, self.next_turn())
            .map(|address| self.node(&address))
    }
}

/// When a server had answered all that `sink` has, or would have if nothing else had been done
/// meanwhile.
fn ended<S: ReplySink + ?Sized>(sink: &S) -> Option<Instant> {
    Instant::now().checked_sub(sink.held_up())
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

    /// Begins a call to `node`, unless its breaker keeps it back.
    fn begin(&mut self, node: &Arc<Node>, deadline: Deadline) -> Result<Admitted> {
        self.used = Some(node.address().clone());
        node.admit(self.purpose, deadline)
    }

    /// Takes note of a refusal, and gives it back unless it came when a server had been chosen:
    /// then another one may do.
    fn refused(&mut self, refusal: Error) -> Result<()> {
        self.made += 1;
        match self.used.take() {
            Some(used) if self.made < ATTEMPTS => self.avoided.push(used),
            _ => return Err(refusal),
        }
        Ok(())
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

    fn expected_bytes(&self) -> usize {
        self.sink.expected_bytes()
    }

    fn unanswered(&mut self, error: &Error) -> Result<()> {
        self.sink.unanswered(error)
    }

    fn held_up(&self) -> Duration {
        self.sink.held_up()
    }

    fn sent_again(&mut self) {
        self.sink.sent_again();
    }
}
