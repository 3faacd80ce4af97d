//! All servers of a deployment: a standalone server, one with replicas, a cluster, what Sentinels
//! watch.
//!
//! A [`Deployment`] is used like the [`Pool`] of a single server: commands go in, and replies come
//! out in their order. Where only one server can have the answer, commands go straight to its pool
//! and replies straight into the caller's sink (`direct`). Otherwise the pipeline is split, each
//! part is sent to its server, all at the same time, and the replies are put back in order
//! (`spread`, by [`routing`](super::routing)).
//!
//! Which servers there are is looked up (`discovery`, `lookup`) when it is first needed, when it
//! has become old, and when a server is not what it was thought to be.

mod direct;
mod discovery;
mod lookup;
mod node;
mod own;
mod spread;

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use self::discovery::{Question, ask};
use self::lookup::{Lookup, REST};
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
use super::topology::{Shard, Topology};
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

    /// Has the topology looked up after an outage that a write met: its author tries again, and
    /// should find what took over. Reads have looked themselves.
    fn learn(self: &Arc<Self>, purpose: Purpose, outcome: &Result<()>) {
        let is_outage = outcome.as_ref().is_err_and(Error::is_outage);
        if purpose == Purpose::Write && is_outage {
            self.look_up_in_passing(REST);
        }
    }

    /// The topology, looked up if it isn't known or `anew` is asked for.
    pub fn topology(
        self: &Arc<Self>,
        anew: bool,
        deadline: Deadline,
        interrupt: Interrupt<'_>,
    ) -> Result<Arc<Topology>> {
        match self.known_topology(anew)? {
            Known::Now(topology) => Ok(topology),
            Known::After(number) => self.lookup.wait(number, deadline, interrupt),
        }
    }

    async fn topology_async(
        self: &Arc<Self>,
        anew: bool,
        deadline: Deadline,
    ) -> Result<Arc<Topology>> {
        match self.known_topology(anew)? {
            Known::Now(topology) => Ok(topology),
            Known::After(number) => self.lookup.wait_async(number, deadline).await,
        }
    }

    fn known_topology(self: &Arc<Self>, anew: bool) -> Result<Known> {
        if let Some(only) = &self.only {
            let single = Topology::single(Some(only.address().clone()), Vec::new());
            return Ok(Known::Now(Arc::new(single)));
        }
        let known = self.lookup.known();
        match known {
            Some((topology, age)) if !anew || self.lookup.is_fresh(REST) => {
                if self
                    .config
                    .topology_refresh
                    .is_some_and(|limit| age > limit)
                {
                    // What is known serves until more is.
                    self.start_lookup()?;
                }
                Ok(Known::Now(topology))
            }
            _ => self.start_lookup().map(Known::After),
        }
    }

    /// Takes note that a server is not what it was thought to be: the topology is looked up again,
    /// and connections are made anew, since a name may mean another server now.
    pub fn suspect(self: &Arc<Self>) {
        for node in self.nodes().values() {
            node.pool().clear();
        }
        self.look_up_in_passing(REST);
    }

    /// Has the topology looked up, for others: this request does without.
    fn look_up_in_passing(self: &Arc<Self>, rest: Duration) {
        if self.only.is_none() && !self.lookup.is_fresh(rest) {
            // If no thread can be started, the next request will tell.
            let _ = self.start_lookup();
        }
    }

    fn start_lookup(self: &Arc<Self>) -> Result<u64> {
        let (asking, measuring) = (self.clone(), self.clone());
        self.lookup.start(
            move || {
                let topology = asking.discover()?;
                asking.forget_others(&topology);
                Ok(topology)
            },
            move |topology| {
                if measuring.config.read_from == ReadFrom::LowestLatency {
                    let members = measuring.members(topology).into_iter();
                    let nodes: Vec<_> = members.map(|member| member.node).collect();
                    discovery::measure(&nodes);
                }
            },
        )
    }

    fn discover(&self) -> Result<Topology> {
        let config = &self.config;
        match config.kind {
            DeploymentKind::Sentinel => {
                let master = config.sentinel.as_ref().map(|sentinel| &sentinel.master);
                let question = Question::Master(master.map_or("", String::as_str));
                let start = self.turn.fetch_add(1, Ordering::Relaxed) % self.sentinels.len().max(1);
                let (after, before) = self.sentinels.split_at(start);
                let pools: Vec<_> = before.iter().chain(after).collect();
                ask(&question, &pools)
            }
            DeploymentKind::Cluster => {
                // Whoever is known first: a seed may be a name that leads anywhere in the cluster.
                let known = self.lookup.known();
                let mut addresses: Vec<&Address> = known
                    .iter()
                    .flat_map(|(topology, _)| topology.addresses())
                    .collect();
                if !addresses.is_empty() {
                    let start = self.turn.fetch_add(1, Ordering::Relaxed) % addresses.len();
                    addresses.rotate_left(start);
                    // A few, so that the seeds have their turn.
                    addresses.truncate(4);
                }
                for seed in &config.seeds {
                    if !addresses.contains(&seed) {
                        addresses.push(seed);
                    }
                }
                let mut nodes: Vec<_> = addresses.into_iter().map(|at| self.node(at)).collect();
                nodes.sort_by_key(|node| !node.is_open_to_calls());
                let pools: Vec<_> = nodes.iter().map(|node| node.pool()).collect();
                ask(&Question::Slots, &pools)
            }
            DeploymentKind::Standalone => {
                let primary = &config.node.address;
                if config.replicas.is_empty() {
                    return ask(&Question::Role, &[self.node(primary).pool()]);
                }
                Ok(Topology::single(
                    Some(primary.clone()),
                    config.replicas.clone(),
                ))
            }
        }
    }

    /// Closes the connections to servers that are no part of the deployment any more.
    fn forget_others(&self, topology: &Topology) {
        let addresses = topology.addresses();
        let seeds = &self.config.seeds;
        self.nodes()
            .retain(|address, _| addresses.contains(&address) || seeds.contains(address));
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

    /// Which server of a shard is to answer: one whose breaker lets calls through, and not one of
    /// those `avoided` if there is another.
    fn choose(
        &self,
        shard: &Shard,
        purpose: Purpose,
        avoided: &[Address],
        turn: usize,
    ) -> Result<Address> {
        let candidates = self.candidates(shard, purpose, turn);
        let mut admitting = candidates
            .iter()
            .filter(|address| purpose == Purpose::Write || self.node(address).is_open_to_calls());
        let chosen = admitting
            .clone()
            .find(|address| !avoided.contains(address))
            .or_else(|| admitting.next());
        if let (None, Some(address)) = (chosen, candidates.first()) {
            return Err(self.node(address).refusal());
        }
        chosen.map(|address| (*address).clone()).ok_or_else(|| {
            let (who, advice) = match (purpose, self.config.read_from) {
                (Purpose::Read, ReadFrom::Replica) => (
                    "replica",
                    " (read_from: prefer_replica asks the primary then)",
                ),
                _ => ("primary", ""),
            };
            let at = &self.config.node.address;
            let message = format!("the servers of {at} have no {who} at the moment{advice}");
            Error::new(ErrorKind::Connection, message).transient()
        })
    }

    /// The servers of a shard that may answer, in the order of preference.
    fn candidates<'t>(&self, shard: &'t Shard, purpose: Purpose, turn: usize) -> Vec<&'t Address> {
        let mut replicas: Vec<_> = shard.replicas.iter().collect();
        if replicas.len() > 1 {
            let count = replicas.len();
            replicas.rotate_left(turn % count);
        }
        match (purpose, self.config.read_from) {
            (Purpose::Write, _) | (_, ReadFrom::Primary) => shard.primary.iter().collect(),
            (_, ReadFrom::Replica) => replicas,
            (_, ReadFrom::PreferReplica) => {
                replicas.extend(&shard.primary);
                replicas
            }
            (_, ReadFrom::LowestLatency) => {
                replicas.extend(&shard.primary);
                // One that has never been measured is last.
                replicas.sort_by_key(|address| {
                    let distance = self.node(address).distance();
                    distance.unwrap_or(Duration::MAX)
                });
                replicas
            }
        }
    }

    /// Counts a request, for replicas to take turns.
    fn next_turn(&self) -> usize {
        self.turn.fetch_add(1, Ordering::Relaxed)
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

/// A topology that is known, or the number of the look-up to wait for.
enum Known {
    Now(Arc<Topology>),
    After(u64),
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
