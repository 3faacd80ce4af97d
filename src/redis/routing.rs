//! A pipeline split among the servers that have its keys, and the replies put back in order.
//!
//! No I/O here. [`Routing::legs`] says what to send where, [`Routing::take`] takes in what came
//! back, [`Routing::next`] says whether another round is needed, and [`Routing::deliver`] hands the
//! replies over as if one server had sent them. In between, commands that were redirected
//! (`MOVED`, `ASK`) follow to where they were sent, and reads that met a passing trouble are tried
//! again, a few times and never longer than the caller's deadline.
//!
//! A write that met trouble is not tried again here, for only its author can tell whether it was
//! done; one that was redirected was not done, and follows. Where a later command of the same key
//! was accepted meanwhile, the order would be lost: then the redirection itself is the reply.

mod delivery;
mod intake;
mod leg;
mod placing;
#[cfg(test)]
mod tests;

use std::time::Duration;

pub use self::leg::Leg;
use self::placing::Placing;
use super::command::{Aim, Commands};
use super::config::Address;
use super::deadline::Deadline;
use super::raw::RawReplies;
use super::slot::slot_of;
use super::topology::Topology;
use crate::error::{Error, ErrorKind, Result};

/// How often commands follow redirections. Two are usual while a slot moves.
const REDIRECTIONS: usize = 16;

/// The pauses before reads that met trouble are tried again. Together they outlast a restarted
/// connection or a slot's move, not a failover, for which no request should wait.
const PAUSES: [Duration; 4] = [
    Duration::ZERO,
    Duration::from_millis(10),
    Duration::from_millis(40),
    Duration::from_millis(100),
];

/// What a pipeline is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Purpose {
    /// Reads, which may be answered by replicas and tried again.
    Read,
    /// Writes, or commands of the caller's own.
    Write,
}

/// What to do after a round.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Next {
    /// Every command has its reply, or an error that stays.
    Deliver,
    /// Commands are left: another round.
    Again {
        /// Whether the topology is to be looked up first: a server was not where it should be.
        look_up: bool,
        /// How long to wait.
        pause: Duration,
    },
}

/// Where a command stands.
#[derive(Clone, Copy, Debug)]
enum Fate {
    /// To be sent to the server that has its key.
    Open(Last),
    /// To be sent to one of [`Routing::redirected`].
    Redirected { to: usize, asking: bool },
    /// Answered, by a reply of one of the harvests.
    Answered { harvest: usize, reply: usize },
    /// Answered by a replica that has nothing at this key. While a slot moves its keys go from the
    /// old owner's replicas before the slot does, and only the owner can tell where they are: it is
    /// asked, and the answer stands where it cannot be.
    Doubted { harvest: usize, reply: usize },
    /// Not to be answered, because of one of [`Routing::errors`].
    Failed(usize),
}

/// What an open command met last.
#[derive(Clone, Copy, Debug)]
enum Last {
    Nothing,
    Error(usize),
    Reply { harvest: usize, reply: usize },
}

/// The replies of one server to one leg.
#[derive(Debug)]
struct Harvest {
    from: Address,
    replies: RawReplies,
}

/// One pipeline on its way through several servers.
#[derive(Debug)]
pub struct Routing<'c> {
    commands: &'c Commands,
    purpose: Purpose,
    fates: Vec<Fate>,
    harvests: Vec<Harvest>,
    redirected: Vec<Address>,
    errors: Vec<Error>,
    avoided: Vec<Address>,
    redirections: usize,
    troubles: usize,
    /// What the last round brought.
    round: Round,
}

#[derive(Clone, Copy, Debug, Default)]
struct Round {
    /// The first error of a leg.
    broken: Option<usize>,
    troubled: bool,
    confirming: bool,
    /// The first refusal of a circuit breaker.
    refused: Option<usize>,
    /// Whether one came when the commands were on their way already.
    overtaken: bool,
}

impl<'c> Routing<'c> {
    /// All of `commands` to be sent.
    #[must_use]
    pub fn new(commands: &'c Commands, purpose: Purpose) -> Self {
        Self {
            commands,
            purpose,
            fates: vec![Fate::Open(Last::Nothing); commands.len()],
            harvests: Vec::new(),
            redirected: Vec::new(),
            errors: Vec::new(),
            avoided: Vec::new(),
            redirections: 0,
            troubles: 0,
            round: Round::default(),
        }
    }

    /// The servers that met trouble, which others should be preferred to.
    #[must_use]
    pub fn avoided(&self) -> &[Address] {
        &self.avoided
    }

    /// Whether a circuit breaker kept commands of the last round back, for good if no other round
    /// comes.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        self.round.refused.is_some()
    }

    /// Begins a round: what to send to which server. `servers` has one for each shard, or why
    /// there is none.
    pub fn legs(&mut self, topology: &Topology, servers: &[Result<Address>]) -> Vec<Leg> {
        self.round = Round::default();
        let commands = self.commands;
        let mut placing = Placing::new(topology, servers);
        // Which leg each command goes on; where none, it stays or goes on all.
        let places: Vec<Option<usize>> = (0..self.fates.len())
            .map(|command| self.place(command, &mut placing))
            .collect();
        let mut legs = placing.legs;
        let mut confirming = true;
        for (command, place) in places.into_iter().enumerate() {
            let fate = self.fates[command];
            match place {
                Some(leg) => {
                    confirming &= matches!(fate, Fate::Doubted { .. });
                    let asking = matches!(fate, Fate::Redirected { asking: true, .. });
                    legs[leg].push(commands, command, asking);
                }
                None if matches!(fate, Fate::Open(Last::Nothing))
                    && commands.aim(command) == Aim::Each =>
                {
                    confirming = false;
                    for leg in &mut legs {
                        leg.push(commands, command, false);
                    }
                }
                None => {}
            }
        }
        self.round.confirming = confirming;
        legs.retain(|leg| !leg.commands.is_empty());
        legs
    }

    fn place(&mut self, command: usize, placing: &mut Placing<'_, 'c>) -> Option<usize> {
        let aim = self.commands.aim(command);
        match self.fates[command] {
            Fate::Redirected { to, .. } => {
                let to = &self.redirected[to];
                match (self.purpose, aim) {
                    (Purpose::Write, Aim::Key(key)) => placing.in_order(key, to),
                    _ => Some(Leg::find(&mut placing.legs, to)),
                }
            }
            Fate::Doubted { harvest, reply } => {
                let leg = match aim {
                    Aim::Key(key) => placing.owner(slot_of(key)),
                    Aim::Any | Aim::Each => None,
                };
                if leg.is_none() {
                    self.fates[command] = Fate::Answered { harvest, reply };
                }
                leg
            }
            Fate::Open(_) => {
                let slot = match aim {
                    Aim::Key(key) => Some(slot_of(key)),
                    Aim::Any => None,
                    Aim::Each => return None,
                };
                match placing.server(slot) {
                    Ok(leg) => Some(leg),
                    Err(error) => {
                        let error = self.broke(error);
                        self.fates[command] = Fate::Open(Last::Error(error));
                        None
                    }
                }
            }
            Fate::Answered { .. } | Fate::Failed(_) => None,
        }
    }

    /// Whether this round only asks whether replicas were right to know nothing.
    #[must_use]
    pub fn is_confirming(&self) -> bool {
        self.round.confirming
    }

    /// Whether another round is needed.
    ///
    /// # Errors
    /// The first error of a leg, where the commands are writes.
    pub fn next(&mut self, deadline: Deadline) -> Result<Next> {
        let round = self.round;
        if let (Some(broken), Purpose::Write) = (round.broken, self.purpose) {
            return Err(self.errors[broken].clone());
        }
        let in_time = deadline.remaining();
        if round.broken.is_some() || round.troubled {
            self.troubles += 1;
            let fits = |pause: &&Duration| match in_time {
                Ok(left) => left.is_none_or(|left| **pause < left),
                Err(_) => false,
            };
            if let Some(pause) = PAUSES.get(self.troubles - 1).filter(fits) {
                return Ok(Next::Again {
                    look_up: true,
                    pause: *pause,
                });
            }
            self.give_up();
            return Ok(Next::Deliver);
        }
        if round.overtaken && self.troubles < PAUSES.len() {
            // Another request sends the probe; another server may do.
            self.troubles += 1;
            return Ok(Next::Again {
                look_up: false,
                pause: Duration::ZERO,
            });
        }
        let is_doubted = |fate: &Fate| matches!(fate, Fate::Doubted { .. });
        if self.fates.iter().any(is_doubted) {
            return Ok(Next::Again {
                look_up: false,
                pause: Duration::ZERO,
            });
        }
        let is_redirected = |fate: &Fate| matches!(fate, Fate::Redirected { .. });
        if !self.fates.iter().any(is_redirected) {
            self.give_up();
            return Ok(Next::Deliver);
        }
        self.redirections += 1;
        let error = match in_time {
            Err(late) => Some(late),
            Ok(_) if self.redirections > REDIRECTIONS => Some(
                Error::new(
                    ErrorKind::Server,
                    format!("the cluster redirected a key {REDIRECTIONS} times"),
                )
                .transient(),
            ),
            Ok(_) => None,
        };
        if let Some(error) = error {
            if self.purpose == Purpose::Write {
                return Err(error);
            }
            self.broke(error);
            self.give_up();
            return Ok(Next::Deliver);
        }
        // Two servers that send each other's keys back will agree in a moment.
        let pause = PAUSES[(self.redirections / 4).min(1)];
        Ok(Next::Again {
            look_up: false,
            pause,
        })
    }

    /// Leaves every open command with what it met last.
    fn give_up(&mut self) {
        let mut broken = self.round.broken.or(self.round.refused);
        for fate in &mut self.fates {
            *fate = match *fate {
                Fate::Open(Last::Error(error)) => Fate::Failed(error),
                Fate::Open(Last::Reply { harvest, reply }) | Fate::Doubted { harvest, reply } => {
                    Fate::Answered { harvest, reply }
                }
                Fate::Open(Last::Nothing) | Fate::Redirected { .. } => {
                    Fate::Failed(*broken.get_or_insert_with(|| {
                        self.errors.push(unsettled());
                        self.errors.len() - 1
                    }))
                }
                other => other,
            };
        }
    }
}

/// Why a command that was on its way to another server did not get there in time.
fn unsettled() -> Error {
    let what = "a slot was on its way between servers of the cluster until the time was up";
    Error::new(ErrorKind::Server, what).transient()
}
