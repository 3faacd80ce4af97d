//! Which servers there are, as far as is known, and when they are asked again.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Deployment;
use super::discovery::{self, Question, ask};
use super::lookup::REST;
use crate::error::{Error, Result};
use crate::redis::Deadline;
use crate::redis::config::Address;
use crate::redis::config::deployment::{DeploymentKind, ReadFrom};
use crate::redis::connection::Interrupt;
use crate::redis::routing::Purpose;
use crate::redis::topology::Topology;

/// A topology that is known, or the number of the look-up to wait for.
enum Known {
    Now(Arc<Topology>),
    After(u64),
}

impl Deployment {
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

    pub(super) async fn topology_async(
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
    pub(super) fn look_up_in_passing(self: &Arc<Self>, rest: Duration) {
        if self.only.is_none() && !self.lookup.is_fresh(rest) {
            // If no thread can be started, the next request will tell.
            let _ = self.start_lookup();
        }
    }

    /// Has the topology looked up after an outage that a write met: its author tries again, and
    /// should find what took over. Reads have looked themselves.
    pub(super) fn learn(self: &Arc<Self>, purpose: Purpose, outcome: &Result<()>) {
        let is_outage = outcome.as_ref().is_err_and(Error::is_outage);
        if purpose == Purpose::Write && is_outage {
            self.look_up_in_passing(REST);
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
}
