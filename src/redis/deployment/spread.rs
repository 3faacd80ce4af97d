//! Requests whose commands several servers answer, or one of several.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;

use super::lookup::{REST, REST_WHILE_REFUSED};
use super::own::Own;
use super::way::{Reach, Returned, Way, given_up, whichever};
use super::{Deployment, OwnConnections, Purpose};
use crate::error::Result;
use crate::redis::Deadline;
use crate::redis::command::Commands;
use crate::redis::config::Address;
use crate::redis::connection::Interrupt;
use crate::redis::pool::{Call, Via, run_all};
use crate::redis::raw::RawReplies;
use crate::redis::reply::ReplySink;
use crate::redis::routing::{Leg, Next, Routing};
use crate::redis::topology::Topology;

/// How long the owner of a key has to say whether a replica was right to know nothing of it. The
/// owner may be down, and then no slot of its moves.
const CONFIRMATION: Duration = Duration::from_millis(250);

impl Deployment {
    pub(super) fn run_spread<S: ReplySink + ?Sized>(
        self: &Arc<Self>,
        commands: &Commands,
        sink: &mut S,
        purpose: Purpose,
        mut own: Option<&mut OwnConnections>,
        deadline: Deadline,
        interrupt: Interrupt<'_>,
    ) -> Result<()> {
        let mut routing = Routing::new(commands, purpose);
        let mut topology = self.topology(false, deadline, interrupt)?;
        loop {
            let servers = self.servers(&topology, purpose, routing.avoided());
            let legs = routing.legs(&topology, &servers);
            let expected = expected_bytes(sink, commands);
            let end = end_of_round(&routing, deadline);
            let returned = match &mut own {
                None => {
                    let reach = Reach::new(&topology, purpose, routing.avoided());
                    self.exchange(legs, &reach, expected, end, interrupt)
                }
                Some(own) => self.exchange_own(legs, own, expected, end, interrupt),
            };
            self.take_in(&mut routing, returned, &topology);
            interrupt()?;
            match routing.next(deadline)? {
                Next::Deliver => {
                    if routing.is_refused() {
                        self.look_up_in_passing(REST_WHILE_REFUSED);
                    }
                    return routing.deliver(sink);
                }
                Next::Again { look_up, pause } => {
                    if !look_up {
                        self.look_up_in_passing(REST);
                    } else if let Ok(found) = self.topology(true, deadline, interrupt) {
                        topology = found;
                    }
                    // Too short for anybody to want to interrupt it.
                    std::thread::sleep(within(pause, deadline));
                }
            }
        }
    }

    pub(super) async fn run_spread_async<S: ReplySink + ?Sized>(
        self: &Arc<Self>,
        commands: &Commands,
        sink: &mut S,
        purpose: Purpose,
        deadline: Deadline,
    ) -> Result<()> {
        let mut routing = Routing::new(commands, purpose);
        let mut topology = self.topology_async(false, deadline).await?;
        loop {
            let servers = self.servers(&topology, purpose, routing.avoided());
            let legs = routing.legs(&topology, &servers);
            let expected = expected_bytes(sink, commands);
            let end = end_of_round(&routing, deadline);
            let reach = Reach::new(&topology, purpose, routing.avoided());
            let exchanges = legs
                .into_iter()
                .map(|leg| self.exchange_async(leg, &reach, expected, end));
            let returned = join_all(exchanges).await;
            self.take_in(&mut routing, returned, &topology);
            match routing.next(deadline)? {
                Next::Deliver => {
                    if routing.is_refused() {
                        self.look_up_in_passing(REST_WHILE_REFUSED);
                    }
                    return routing.deliver(sink);
                }
                Next::Again { look_up, pause } => {
                    if !look_up {
                        self.look_up_in_passing(REST);
                    } else if let Ok(found) = self.topology_async(true, deadline).await {
                        topology = found;
                    }
                    tokio::time::sleep(within(pause, deadline)).await;
                }
            }
        }
    }

    /// The server of each shard that is to answer, or why there is none.
    fn servers(
        &self,
        topology: &Topology,
        purpose: Purpose,
        avoided: &[Address],
    ) -> Vec<Result<Address>> {
        let shards = topology.shards().iter();
        let turn = self.next_turn();
        shards
            .map(|shard| self.choose(shard, purpose, avoided, turn))
            .collect()
    }

    /// Takes in what a round brought.
    fn take_in(&self, routing: &mut Routing<'_>, returned: Vec<Returned>, topology: &Topology) {
        for mut returned in returned {
            let leg = &mut returned.leg;
            leg.from_replica = self.reads_replicas_of_cluster && topology.has_replica(&leg.address);
            routing.take(leg, returned.replies, returned.outcome);
        }
    }

    /// Sends all legs at once and waits for all of them.
    fn exchange(
        &self,
        legs: Vec<Leg>,
        reach: &Reach<'_>,
        expected: impl Fn(&Leg) -> usize,
        deadline: Deadline,
        interrupt: Interrupt<'_>,
    ) -> Vec<Returned> {
        let mut ways: Vec<_> = legs
            .into_iter()
            .map(|leg| {
                let expected = expected(&leg);
                let hedge = self.hedge(&leg, reach);
                Way::new(self, leg, hedge, expected)
            })
            .collect();
        let admitted: Vec<_> = ways
            .iter()
            .map(|way| way.node.admit(reach.purpose, deadline))
            .collect();
        let now = Instant::now();
        let mut calls = Vec::with_capacity(ways.len());
        let mut places = Vec::with_capacity(ways.len());
        for (way, admitted) in ways.iter_mut().zip(&admitted) {
            let rival = calls.len();
            if admitted.is_ok() {
                let commands = &way.leg.commands;
                let mut call = Call::new(Via::Pool(way.node.pool()), commands, &mut way.replies);
                call.rival = way.hedge.as_ref().map(|_| rival);
                calls.push(call);
                if let (Some(hedge), Some(second)) = (&way.hedge, &mut way.second) {
                    let via = Via::Pool(hedge.node.pool());
                    let mut call = Call::new(via, commands, second);
                    call.rival = Some(rival);
                    call.begins = Some(now + hedge.after);
                    calls.push(call);
                }
            }
            places.push(rival..calls.len());
        }
        run_all(&mut calls, deadline, interrupt);
        let results: Vec<_> = calls
            .into_iter()
            .map(|call| (call.outcome, call.ended, call.took.is_some()))
            .collect();
        let mut returned = Vec::with_capacity(ways.len());
        for ((way, admitted), place) in ways.into_iter().zip(admitted).zip(places) {
            returned.push(match admitted {
                Err(refused) => way.into_returned(Err(refused), None),
                Ok(admitted) => {
                    let mut results = results[place].iter();
                    let first = results.next();
                    let ended = first.and_then(|(_, ended, _)| *ended);
                    let first = first.and_then(|(outcome, ..)| outcome.clone());
                    match &first {
                        Some(outcome) => admitted.settle(outcome, ended),
                        None => admitted.beaten(),
                    }
                    let second = results.next().filter(|(.., began)| *began);
                    if let (Some(_), Some(hedges)) = (second, &self.hedges) {
                        hedges.spend();
                    }
                    let second = second.and_then(|(outcome, ..)| outcome.as_ref());
                    way.into_returned(first.unwrap_or_else(|| Err(given_up())), second)
                }
            });
        }
        returned
    }

    /// The same for writes, over the caller's own connections.
    fn exchange_own(
        &self,
        legs: Vec<Leg>,
        own: &mut OwnConnections,
        expected: impl Fn(&Leg) -> usize,
        deadline: Deadline,
        interrupt: Interrupt<'_>,
    ) -> Vec<Returned> {
        let limit = self.config.node.max_reply_bytes;
        let mut ways: Vec<(Leg, RawReplies, Result<Own>)> = legs
            .into_iter()
            .map(|leg| {
                let replies = RawReplies::new(leg.commands.len(), expected(&leg), limit);
                let connection = own.take(&self.node(&leg.address), interrupt);
                (leg, replies, connection)
            })
            .collect();
        let mut calls = Vec::with_capacity(ways.len());
        for (leg, replies, connection) in &mut ways {
            if let Ok(used) = connection {
                let via = Via::Own(&mut used.connection);
                calls.push(Call::new(via, &leg.commands, replies));
            }
        }
        run_all(&mut calls, deadline, interrupt);
        let mut outcomes = calls
            .into_iter()
            .map(|call| call.outcome.unwrap_or_else(|| Err(given_up())))
            .collect::<Vec<_>>()
            .into_iter();
        let mut returned = Vec::with_capacity(ways.len());
        for (leg, replies, connection) in ways {
            let outcome = match connection {
                Err(error) => Err(error),
                Ok(used) => {
                    let outcome = outcomes.next().unwrap_or_else(|| Err(given_up()));
                    own.put(&leg.address, used, &outcome);
                    outcome
                }
            };
            returned.push(Returned {
                leg,
                replies,
                outcome,
            });
        }
        returned
    }

    async fn exchange_async(
        &self,
        leg: Leg,
        reach: &Reach<'_>,
        expected: impl Fn(&Leg) -> usize,
        deadline: Deadline,
    ) -> Returned {
        let expected = expected(&leg);
        let hedge = self.hedge(&leg, reach);
        let mut way = Way::new(self, leg, hedge, expected);
        let admitted = match way.node.admit(reach.purpose, deadline) {
            Err(refused) => return way.into_returned(Err(refused), None),
            Ok(admitted) => admitted,
        };
        let commands = &way.leg.commands;
        let first = way
            .node
            .pool()
            .run_async(commands, &mut way.replies, deadline);
        let (Some(hedge), Some(second)) = (&way.hedge, &mut way.second) else {
            let outcome = first.await;
            admitted.settle(&outcome, None);
            return way.into_returned(outcome, None);
        };
        let second = async {
            let end = deadline.instant().map(tokio::time::Instant::from_std);
            let begins = tokio::time::Instant::now() + hedge.after;
            tokio::time::sleep_until(end.map_or(begins, |end| begins.min(end))).await;
            deadline.remaining()?;
            if let Some(hedges) = &self.hedges {
                hedges.spend();
            }
            let pool = hedge.node.pool();
            pool.run_async(commands, second, deadline).await
        };
        let (first, second) = whichever(first, second, admitted).await;
        way.into_returned(first, second.as_ref())
    }
}

/// How many bytes of replies to expect to a leg, as far as the sink knows.
fn expected_bytes<S: ReplySink + ?Sized>(
    sink: &S,
    commands: &Commands,
) -> impl Fn(&Leg) -> usize + Copy {
    let (bytes, all) = (sink.expected_bytes(), commands.len().max(1));
    move |leg: &Leg| bytes / all * leg.commands.len()
}

/// When a round ends. One that only asks whether replicas were right is worth no long wait.
fn end_of_round(routing: &Routing<'_>, deadline: Deadline) -> Deadline {
    if routing.is_confirming() {
        deadline.within(CONFIRMATION)
    } else {
        deadline
    }
}

/// The pause, no longer than the time that is left.
fn within(pause: Duration, deadline: Deadline) -> Duration {
    match deadline.remaining() {
        Ok(Some(left)) => pause.min(left),
        Ok(None) => pause,
        Err(_) => Duration::ZERO,
    }
}
