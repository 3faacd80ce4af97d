//! One leg's way to its server, and to a second one if that takes long.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Either, select};

use super::node::Admitted;
use super::{Deployment, Node, Purpose};
use crate::error::{Error, ErrorKind, Result};
use crate::redis::config::Address;
use crate::redis::raw::RawReplies;
use crate::redis::routing::Leg;
use crate::redis::topology::Topology;

/// What came back for a leg.
pub(super) struct Returned {
    pub leg: Leg,
    pub replies: RawReplies,
    pub outcome: Result<()>,
}

/// Whom a request may go to.
pub(super) struct Reach<'a> {
    pub topology: &'a Topology,
    pub purpose: Purpose,
    pub avoided: Vec<Address>,
}

impl<'a> Reach<'a> {
    pub fn new(topology: &'a Topology, purpose: Purpose, avoided: &[Address]) -> Self {
        Self {
            topology,
            purpose,
            avoided: avoided.to_vec(),
        }
    }
}

/// A second server that may answer a leg, and when it is asked.
pub(super) struct Hedge {
    pub node: Arc<Node>,
    pub after: Duration,
}

impl Deployment {
    /// Who else may answer a leg, if hedging is on and the budget allows.
    pub(super) fn hedge(&self, leg: &Leg, reach: &Reach<'_>) -> Option<Hedge> {
        let hedges = self.hedges.as_ref()?;
        let settings = self.config.hedge?;
        if reach.purpose == Purpose::Write || !leg.can_be_hedged() {
            return None;
        }
        hedges.count_call();
        let shard = reach.topology.shards().iter().find(|shard| {
            shard.primary.as_ref() == Some(&leg.address) || shard.replicas.contains(&leg.address)
        })?;
        let others = shard.replicas.iter().chain(&shard.primary);
        let node = others
            .filter(|address| **address != leg.address && !reach.avoided.contains(address))
            .map(|address| self.node(address))
            .find(|node| node.is_open_to_calls())?;
        let after = self.node(&leg.address).latencies().hedge_delay(&settings)?;
        hedges.allows().then_some(Hedge { node, after })
    }
}

/// A leg, its server, and perhaps a second one.
pub(super) struct Way {
    pub leg: Leg,
    pub node: Arc<Node>,
    pub replies: RawReplies,
    pub hedge: Option<Hedge>,
    /// The second server's replies.
    pub second: Option<RawReplies>,
}

impl Way {
    pub fn new(deployment: &Deployment, leg: Leg, hedge: Option<Hedge>, expected: usize) -> Self {
        let limit = deployment.config.node.max_reply_bytes;
        let replies = || RawReplies::new(leg.commands.len(), expected, limit);
        Self {
            node: deployment.node(&leg.address),
            replies: replies(),
            second: hedge.as_ref().map(|_| replies().picky()),
            hedge,
            leg,
        }
    }

    /// The replies of whichever server has given all.
    pub fn into_returned(mut self, first: Result<()>, second: Option<&Result<()>>) -> Returned {
        if let (Err(_), Some(Ok(()))) = (&first, second)
            && let (Some(hedge), Some(replies)) = (&self.hedge, self.second.take())
        {
            self.leg.address = hedge.node.address().clone();
            return Returned {
                leg: self.leg,
                replies,
                outcome: Ok(()),
            };
        }
        Returned {
            leg: self.leg,
            replies: self.replies,
            outcome: first,
        }
    }
}

/// Waits for the first success, or for both failures.
pub(super) async fn whichever(
    first: impl Future<Output = Result<()>>,
    second: impl Future<Output = Result<()>>,
    admitted: Admitted,
) -> (Result<()>, Option<Result<()>>) {
    let (first, second) = (pin!(first), pin!(second));
    match select(first, second).await {
        Either::Left((outcome, second)) => {
            admitted.settle(&outcome, None);
            if outcome.is_ok() {
                return (outcome, None);
            }
            (outcome, Some(second.await))
        }
        Either::Right((outcome, first)) => {
            if outcome.is_ok() {
                admitted.beaten();
                return (Err(given_up()), Some(outcome));
            }
            let first = first.await;
            admitted.settle(&first, None);
            (first, Some(outcome))
        }
    }
}

/// What is said of a call that was ended because another one answered first, if it is ever seen.
pub(super) fn given_up() -> Error {
    Error::new(
        ErrorKind::Connection,
        "the call was given up for another one's answer",
    )
}
