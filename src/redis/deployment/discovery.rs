//! Asking the servers what there is: a cluster for its slots, Sentinels for the primary, a primary
//! for its replicas.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Node;
use crate::error::{Error, ErrorKind, Result};
use crate::redis::Deadline;
use crate::redis::command::Commands;
use crate::redis::config::Address;
use crate::redis::pool::{Call, Pool, Via, run_all};
use crate::redis::raw::RawReplies;
use crate::redis::reply::ReplySink;
use crate::redis::topology::role::Role;
use crate::redis::topology::{Topology, sentinel};
use crate::redis::tree::{Replies, Reply};

/// The longest that a look-up takes, however long the limits on connecting are: there are other
/// servers to ask.
const LIMIT: Duration = Duration::from_secs(2);

/// How long one server has before the next one is asked, too.
const HEAD_START: Duration = Duration::from_millis(30);

/// How long a ping may take.
const PING_LIMIT: Duration = Duration::from_secs(1);

/// How many are asked at once.
const ASKED: usize = 8;

/// A question about the topology, and what its answer means.
pub(super) enum Question<'a> {
    /// To any node of a cluster.
    Slots,
    /// To any Sentinel, about the servers that it knows under this name.
    Master(&'a str),
    /// To a primary.
    Role,
}

impl Question<'_> {
    fn commands(&self) -> Commands {
        let mut commands = Commands::default();
        match self {
            Self::Slots => commands.push(&[b"CLUSTER", b"SLOTS"]),
            Self::Master(name) => {
                let name = name.as_bytes();
                commands.push(&[b"SENTINEL", b"GET-MASTER-ADDR-BY-NAME", name]);
                commands.push(&[b"SENTINEL", b"REPLICAS", name]);
            }
            Self::Role => commands.push(&[b"ROLE"]),
        }
        commands
    }

    fn answered(&self, replies: &[Reply], asked: &Address) -> Result<Topology> {
        match (self, replies) {
            (Self::Slots, [slots]) => Topology::from_cluster_slots(slots, asked),
            (Self::Master(name), [master, replicas]) => {
                let primary = sentinel::primary(master, name, asked)?;
                let replicas = sentinel::replicas(replicas, name, asked)?;
                Ok(Topology::single(Some(primary), replicas))
            }
            (Self::Role, [role]) => match Role::parse(role, asked)? {
                Role::Primary { replicas } => Ok(Topology::single(Some(asked.clone()), replicas)),
                Role::Replica { .. } => Ok(Topology::single(None, vec![asked.clone()])),
                Role::Sentinel => Err(Error::new(
                    ErrorKind::Config,
                    format!("{asked} is a Sentinel: set redis_type to redis_sentinel"),
                )),
            },
            _ => Err(Error::new(
                ErrorKind::Protocol,
                format!("redis at {asked} gave an answer too few"),
            )),
        }
    }
}

/// Asks servers until one has a good answer; the first ones get a head start.
///
/// # Errors
/// The first of theirs, if none has.
pub(super) fn ask(question: &Question<'_>, pools: &[&Pool]) -> Result<Topology> {
    let commands = question.commands();
    let now = Instant::now();
    let mut answers: Vec<_> = pools
        .iter()
        .take(ASKED)
        .map(|pool| Answer::new(question, &commands, pool))
        .collect();
    let mut calls: Vec<_> = answers
        .iter_mut()
        .zip(pools)
        .zip(0_u32..)
        .map(|((answer, pool), place)| {
            let mut call = Call::new(Via::Pool(pool), &commands, answer);
            call.begins = Some(now + place * HEAD_START);
            call.rival = Some(0);
            call
        })
        .collect();
    run_all(&mut calls, Deadline::after(Some(LIMIT)), &|| Ok(()));
    let failed = calls
        .into_iter()
        .find_map(|call| call.outcome.and_then(Result::err));
    match answers.into_iter().find_map(|answer| answer.topology) {
        Some(topology) => Ok(topology),
        None => Err(failed
            .unwrap_or_else(|| Error::new(ErrorKind::Connection, "there is no server to ask"))),
    }
}

/// Pings servers, all at once, so that it is known who is near. One that does not answer counts as
/// far away.
pub(super) fn measure(nodes: &[Arc<Node>]) {
    let mut commands = Commands::default();
    commands.push(&[b"PING"]);
    // The first may have to connect.
    for _ in 0..2 {
        let mut pongs: Vec<_> = nodes.iter().map(|_| RawReplies::new(1, 0, 1024)).collect();
        let mut calls: Vec<_> = nodes
            .iter()
            .zip(&mut pongs)
            .map(|(node, pong)| Call::new(Via::Pool(node.pool()), &commands, pong))
            .collect();
        run_all(&mut calls, Deadline::after(Some(PING_LIMIT)), &|| Ok(()));
        for (node, call) in nodes.iter().zip(calls) {
            match (call.outcome, call.took) {
                (Some(Ok(())), Some(took)) => node.set_distance(took),
                _ => node.set_distance(PING_LIMIT),
            }
        }
    }
}

/// The answer of one server, which is good only if it can be understood.
struct Answer<'a> {
    question: &'a Question<'a>,
    asked: Address,
    due: usize,
    replies: Replies,
    topology: Option<Topology>,
}

impl<'a> Answer<'a> {
    fn new(question: &'a Question<'a>, commands: &Commands, pool: &Pool) -> Self {
        Self {
            question,
            asked: pool.config().address.clone(),
            due: commands.len(),
            replies: Replies::new(commands.len(), pool.config().max_reply_bytes),
            topology: None,
        }
    }
}

impl ReplySink for Answer<'_> {
    fn space(&mut self) -> Result<&mut [u8]> {
        self.replies.space()
    }

    fn advance(&mut self, n: usize) -> Result<()> {
        self.replies.advance(n)?;
        if self.replies.replies() == self.due {
            let replies = self.replies.take();
            let topology = self.question.answered(&replies, &self.asked)?;
            if topology.shards().is_empty() {
                // It was taken out of its cluster, or never was in it; others may know more.
                let message = format!("redis at {} knows of no slots", self.asked);
                return Err(Error::new(ErrorKind::Connection, message).transient());
            }
            self.topology = Some(topology);
        }
        Ok(())
    }

    fn replies(&self) -> usize {
        match self.topology {
            Some(_) => self.due,
            None => self.replies.replies(),
        }
    }
}
