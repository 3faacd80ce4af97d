//! What came back for the legs of a round, and what follows from it for each command.

use std::collections::HashSet;

use super::leg::Leg;
use super::{Fate, Harvest, Last, Purpose, Routing};
use crate::error::{Error, Result};
use crate::redis::command::Aim;
use crate::redis::config::Address;
use crate::redis::raw::RawReplies;
use crate::redis::reply::{ReplySink, is_transient};
use crate::redis::topology::redirect::Redirect;

impl Routing<'_> {
    pub(super) fn broke(&mut self, error: Error) -> usize {
        let first = if error.is_refusal() {
            &mut self.round.refused
        } else {
            &mut self.round.broken
        };
        let place = self.errors.len();
        first.get_or_insert(place);
        self.errors.push(error);
        place
    }

    /// Takes in what came back for a leg, whole or not.
    pub fn take(&mut self, leg: &Leg, replies: RawReplies, outcome: Result<()>) {
        let harvest = self.harvests.len();
        let mut accepted: HashSet<&[u8]> = HashSet::new();
        let due = leg.replies_of();
        for reply in (0..replies.replies().min(due.len())).rev() {
            let Some(command) = due[reply] else { continue };
            let answered = Fate::Answered { harvest, reply };
            let fate = match replies.error(reply) {
                None if leg.from_replica && replies.is_absence(reply) => {
                    Fate::Doubted { harvest, reply }
                }
                None => answered,
                Some(words) => match self.fates[command] {
                    // The owner is in no state to tell more.
                    Fate::Doubted { harvest, reply } if is_transient(&words) => {
                        Fate::Answered { harvest, reply }
                    }
                    _ => self.met(leg, harvest, reply, &words),
                },
            };
            // Of a command that every server runs, one reply is enough.
            if self.commands.aim(command) == Aim::Each
                && matches!(self.fates[command], Fate::Answered { .. })
            {
                continue;
            }
            self.fates[command] = fate;
            if self.purpose == Purpose::Write
                && let Aim::Key(key) = self.commands.aim(command)
            {
                match fate {
                    Fate::Answered { .. } => {
                        accepted.insert(key);
                    }
                    Fate::Redirected { .. } if accepted.contains(key) => {
                        self.fates[command] = answered;
                    }
                    _ => {}
                }
            }
        }
        if let Err(error) = outcome {
            self.cut_off(leg, replies.replies(), error);
        }
        self.harvests.push(Harvest {
            from: leg.address.clone(),
            replies,
        });
    }

    /// Takes note that no more replies come of a leg.
    fn cut_off(&mut self, leg: &Leg, answered: usize, error: Error) {
        let rest: Vec<usize> = leg
            .replies_of()
            .iter()
            .skip(answered)
            .flatten()
            .copied()
            .collect();
        let mut confirming = !rest.is_empty();
        for &command in &rest {
            let fate = &mut self.fates[command];
            match *fate {
                Fate::Doubted { harvest, reply } => *fate = Fate::Answered { harvest, reply },
                _ => confirming = false,
            }
        }
        if confirming {
            return;
        }
        if !self.avoided.contains(&leg.address) {
            self.avoided.push(leg.address.clone());
        }
        self.round.overtaken |= error.is_refusal();
        let error = self.broke(error);
        for command in rest {
            let fate = &mut self.fates[command];
            if !matches!(fate, Fate::Answered { .. }) {
                *fate = Fate::Open(Last::Error(error));
            }
        }
    }

    /// What becomes of a command whose reply is an error.
    fn met(&mut self, leg: &Leg, harvest: usize, reply: usize, words: &str) -> Fate {
        match Redirect::parse(words, &leg.address) {
            Some(Redirect::Moved { address, .. }) => self.redirect(address, false),
            Some(Redirect::Ask { address, .. }) => self.redirect(address, true),
            Some(Redirect::Elsewhere { .. }) if self.purpose == Purpose::Read => {
                self.round.troubled = true;
                Fate::Open(Last::Reply { harvest, reply })
            }
            _ if self.purpose == Purpose::Read && is_transient(words) => {
                self.round.troubled = true;
                // A slot that moves is at its place; others have the whole server in that state.
                if !words.starts_with("TRYAGAIN") && !self.avoided.contains(&leg.address) {
                    self.avoided.push(leg.address.clone());
                }
                Fate::Open(Last::Reply { harvest, reply })
            }
            _ => Fate::Answered { harvest, reply },
        }
    }

    fn redirect(&mut self, address: Address, asking: bool) -> Fate {
        let known = self.redirected.iter().position(|known| *known == address);
        let to = known.unwrap_or_else(|| {
            self.redirected.push(address);
            self.redirected.len() - 1
        });
        Fate::Redirected { to, asking }
    }
}
