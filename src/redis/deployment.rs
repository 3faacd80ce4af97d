//! All servers of a deployment: a standalone server, one with replicas, a cluster, what Sentinels
//! watch.
//!
//! A [`Deployment`] is used like the [`Pool`] of a single server: commands go in, and replies come
//! out in their order. Where only one server can have the answer, commands go straight to its pool
//! and replies straight into the caller's sink (`direct`). Otherwise the pipeline is split, each
//! part is sent to its server, all at the same time, and the replies are put back in order
//! (`spread`, by [`routing`](super::routing)).
//!
//! Which servers there are is looked up (`knowledge`, `lookup`, `discovery`) when it is first needed,
//! when it has become old, and when a server is not what it was thought to be. Which of a shard's
//! answers is a matter of `choice`.

mod choice;
mod direct;
mod discovery;
mod dumps;
mod knowledge;
mod lookup;
mod node;
mod own;
mod spread;
mod way;

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub(crate) use self::dumps::{Dumps, TRIAL_LIMIT};
use self::lookup::Lookup;
pub use self::node::Node;
pub use self::own::OwnConnections;
use super::breaker::Breaker;
use super::command::Commands;
use super::config::Address;
use super::config::deployment::{DeploymentConfig, DeploymentKind, ReadFrom};
use super::connection::Interrupt;
use super::latency::HedgeBudget;
use super::reply::ReplySink;
pub use super::routing::Purpose;
use super::topology::Topology;
use super::{Deadline, Pool};
use crate::error::{Error, ErrorKind, Result};

/// The servers of a deployment. Making one does no I/O and starts no thread. Dropping it closes its
/// sockets; a forked child must forget it instead of using it.
#[derive(Debug)]
pub struct Deployment {
    config: Arc<DeploymentConfig>,
    nodes: Mutex<HashMap<Address, Arc<Node>>>,
    /// The server that does everything, where it is known from the start.
    only: Option<Arc<Node>>,
    sentinels: Vec<Pool>,
    lookup: Arc<Lookup>,
    /// Whether reads may be answered by replicas that do not know what moves between shards.
    reads_replicas_of_cluster: bool,
    /// Counts requests, so that replicas take turns.
    turn: AtomicUsize,
    hedges: Option<HedgeBudget>,
    /// Bytes of commands that are under way.
    pending: AtomicUsize,
    dumps: Dumps,
}

impl Deployment {
    /// A deployment without connections.
    #[must_use]
    pub fn new(config: Arc<DeploymentConfig>) -> Self {
        let mut deployment = Self {
            nodes: Mutex::default(),
            only: None,
            sentinels: Vec::new(),
            lookup: Arc::default(),
            reads_replicas_of_cluster: config.kind == DeploymentKind::Cluster
                && (config.read_from != ReadFrom::Primary || config.hedge.is_some()),
            turn: AtomicUsize::new(0),
            hedges: config
                .hedge
                .map(|hedge| HedgeBudget::new(hedge.max_percent)),
            pending: AtomicUsize::new(0),
            dumps: Dumps::new(config.node.read_by_dump),
            config,
        };
        let config = &deployment.config;
        if let Some(sentinel) = &config.sentinel {
            let pool = |seed: &Address| Pool::new(Arc::new(sentinel.node.at(seed.clone())));
            deployment.sentinels = config.seeds.iter().map(pool).collect();
        }
        if config.kind == DeploymentKind::Standalone
            && config.read_from == ReadFrom::Primary
            && config.hedge.is_none()
        {
            deployment.only = Some(deployment.node(&deployment.config.node.address));
        }
        deployment
    }

    /// Whether hashes can be read by DUMP.
    pub(crate) fn dumps(&self) -> &Dumps {
        &self.dumps
    }

    /// What the deployment is configured by.
    #[must_use]
    pub fn config(&self) -> &DeploymentConfig {
        &self.config
    }

    /// Sends `commands` and reads all replies into `sink`, blocking this thread until `deadline`
    /// at most. `interrupt` is asked when a signal arrives and now and then while waiting.
    ///
    /// A sink that can do without some replies is told of each that will not come; then the run
    /// does not fail. Errors are those of [`Pool::run`].
    pub fn run<S: ReplySink + ?Sized>(
        self: &Arc<Self>,
        commands: &Commands,
        sink: &mut S,
        purpose: Purpose,
        deadline: Deadline,
        interrupt: Interrupt<'_>,
    ) -> Result<()> {
        if commands.is_empty() {
            return Ok(());
        }
        let outcome = self.reserve(commands, purpose).and_then(|_reserved| {
            if self.is_direct(purpose) {
                self.run_direct(commands, sink, purpose, deadline, interrupt)
            } else {
                self.run_spread(commands, sink, purpose, None, deadline, interrupt)
            }
        });
        self.learn(purpose, &outcome);
        settle(commands, sink, outcome)
    }

    /// The same without blocking, on a tokio runtime with I/O and time: always the same one, for
    /// the connections belong to it. Dropping the future closes the connections that it used.
    pub async fn run_async<S: ReplySink + ?Sized>(
        self: &Arc<Self>,
        commands: &Commands,
        sink: &mut S,
        purpose: Purpose,
        deadline: Deadline,
    ) -> Result<()> {
        if commands.is_empty() {
            return Ok(());
        }
        let outcome = match self.reserve(commands, purpose) {
            Err(error) => Err(error),
            Ok(_reserved) if self.is_direct(purpose) => {
                self.run_direct_async(commands, sink, purpose, deadline)
                    .await
            }
            Ok(_reserved) => {
                self.run_spread_async(commands, sink, purpose, deadline)
                    .await
            }
        };
        self.learn(purpose, &outcome);
        settle(commands, sink, outcome)
    }

    /// Sends writes over connections that nobody else uses.
    pub fn run_own<S: ReplySink + ?Sized>(
        self: &Arc<Self>,
        own: &mut OwnConnections,
        commands: &Commands,
        sink: &mut S,
        interrupt: Interrupt<'_>,
    ) -> Result<()> {
        if commands.is_empty() {
            return Ok(());
        }
        if self.is_direct(Purpose::Write) {
            return self.run_direct_own(own, commands, sink, interrupt);
        }
        let deadline = Deadline::NEVER;
        self.run_spread(
            commands,
            sink,
            Purpose::Write,
            Some(own),
            deadline,
            interrupt,
        )
    }

    /// Sends `commands` to the server or Sentinel at `address` and to no other.
    pub fn run_at<S: ReplySink + ?Sized>(
        self: &Arc<Self>,
        address: &Address,
        commands: &Commands,
        sink: &mut S,
        deadline: Deadline,
        interrupt: Interrupt<'_>,
    ) -> Result<()> {
        let is_asked = |pool: &&Pool| pool.config().address == *address;
        if let Some(sentinel) = self.sentinels.iter().find(is_asked) {
            return sentinel.run(commands, sink, deadline, interrupt);
        }
        let node = self.node(address);
        let outcome = node.pool().run(commands, sink, deadline, interrupt);
        self.learn(Purpose::Write, &outcome);
        outcome
    }

    /// The server at `address`, new if it was never used.
    fn node(&self, address: &Address) -> Arc<Node> {
        if let Some(only) = &self.only
            && only.address() == address
        {
            return only.clone();
        }
        let mut nodes = self.nodes();
        if let Some(node) = nodes.get(address) {
            return node.clone();
        }
        let pool = Pool::new(Arc::new(self.config.node.at(address.clone())));
        let breaker = self.config.breaker.map(Breaker::new);
        let node = Arc::new(Node::new(pool, breaker));
        nodes.insert(address.clone(), node.clone());
        node
    }

    fn nodes(&self) -> MutexGuard<'_, HashMap<Address, Arc<Node>>> {
        // Nothing in here can be left half done by a panic.
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether one server has the answer to all commands, and no other could do in its place.
    fn is_direct(&self, purpose: Purpose) -> bool {
        let reads_replicas = self.config.read_from != ReadFrom::Primary || self.hedges.is_some();
        self.config.kind != DeploymentKind::Cluster
            && (purpose == Purpose::Write || !reads_replicas)
    }

    /// Counts the bytes of `commands` as under way.
    ///
    /// # Errors
    /// [`ErrorKind::Timeout`] when there are too many, so that a server that does not answer costs
    /// no more memory than that.
    fn reserve(&self, commands: &Commands, purpose: Purpose) -> Result<Reserved<'_>> {
        // Spread over servers they are copied.
        let copies = if self.is_direct(purpose) { 1 } else { 2 };
        let bytes = copies * commands.byte_len();
        let reserved = Reserved {
            pending: &self.pending,
            bytes,
        };
        let before = self.pending.fetch_add(bytes, Ordering::Relaxed);
        let limit = self.config.max_pending_bytes;
        // A single request, however large, is the caller's own affair.
        if before > 0 && before + bytes > limit {
            return Err(Error::new(
                ErrorKind::Timeout,
                format!(
                    "requests of {before} bytes wait for redis at {} already \
                     (max_pending_bytes = {limit}); it answers too slowly for so many requests",
                    self.config.node.address
                ),
            ));
        }
        Ok(reserved)
    }

    /// An error of what a server said, with its address. Where the commands were spread, the words
    /// have it already.
    pub(crate) fn located(&self, error: Error) -> Error {
        if error.kind() != ErrorKind::Server || !self.is_direct(Purpose::Read) {
            return error;
        }
        let known = self.lookup.known();
        let primary = known.as_ref().and_then(|(topology, _)| {
            let from_primary = self.config.read_from == ReadFrom::Primary;
            topology
                .primaries()
                .first()
                .copied()
                .filter(|_| from_primary)
        });
        let address = primary.unwrap_or(&self.config.node.address);
        error.context(format_args!("redis at {address}"))
    }

    /// The servers of a topology.
    #[must_use]
    pub fn members(&self, topology: &Topology) -> Vec<Member> {
        let mut members = Vec::new();
        for (place, shard) in topology.shards().iter().enumerate() {
            let slots: Vec<_> = topology
                .slots_of(place)
                .into_iter()
                .map(|range| (*range.start(), *range.end()))
                .collect();
            let primary = shard.primary.iter().map(|address| (address, true));
            let replicas = shard.replicas.iter().map(|address| (address, false));
            members.extend(primary.chain(replicas).map(|(address, is_primary)| Member {
                node: self.node(address),
                is_primary,
                slots: slots.clone(),
            }));
        }
        members
    }
}

/// A server and its place in the deployment.
#[derive(Clone, Debug)]
pub struct Member {
    /// The server.
    pub node: Arc<Node>,
    /// Whether it takes writes.
    pub is_primary: bool,
    /// The first and the last of each range of slots that its shard has.
    pub slots: Vec<(u16, u16)>,
}

/// Bytes that count as under way until this is dropped.
struct Reserved<'a> {
    pending: &'a AtomicUsize,
    bytes: usize,
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        self.pending.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Tells the sink of replies that will not come because of an outage; an error of another kind
/// stays one.
fn settle<S: ReplySink + ?Sized>(
    commands: &Commands,
    sink: &mut S,
    outcome: Result<()>,
) -> Result<()> {
    match outcome {
        Err(error) if error.is_outage() => {
            for _ in sink.replies()..commands.len() {
                sink.unanswered(&error)?;
            }
            Ok(())
        }
        outcome => outcome,
    }
}
