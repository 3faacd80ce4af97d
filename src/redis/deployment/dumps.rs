//! Whether the servers can be asked for whole hashes by DUMP.
//!
//! Most can. Some users have no right to it, and some servers and proxies do not know it, of which a few
//! hang up on what they do not know. So it is tried by itself first, behind a read that would have used
//! it, where nothing depends on the outcome.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::redis::habit::Habit;

/// What a trial may add to a read.
pub(crate) const TRIAL_LIMIT: Duration = Duration::from_millis(50);

#[derive(Clone, Copy, Debug)]
enum State {
    Untried(Habit),
    Usable,
    RuledOut,
}

/// What is known of a deployment's DUMP.
#[derive(Debug)]
pub(crate) struct Dumps(Mutex<State>);

impl Dumps {
    /// Nothing known yet, or ruled out by the configuration.
    pub fn new(allowed: bool) -> Self {
        Self(Mutex::new(if allowed {
            State::Untried(Habit::new())
        } else {
            State::RuledOut
        }))
    }

    /// Whether reads may use it.
    pub fn are_usable(&self) -> bool {
        matches!(self.state(), State::Usable)
    }

    /// Whether it is to be tried now.
    pub fn are_to_be_tried(&self) -> bool {
        let State::Untried(habit) = self.state() else {
            return false;
        };
        match habit.passing() {
            Some(passing) => {
                self.set(State::Untried(passing));
                false
            }
            None => true,
        }
    }

    /// A hash was dumped.
    pub fn worked(&self) {
        self.set(State::Usable);
    }

    /// A trial did not come to an end, or showed nothing.
    pub fn failed(&self) {
        if let State::Untried(habit) = self.state() {
            self.set(State::Untried(habit.discouraged()));
        }
    }

    /// The server refuses it.
    pub fn rule_out(&self) {
        self.set(State::RuledOut);
    }

    fn state(&self) -> State {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, state: State) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trials_in_vain_become_seldom() {
        let dumps = Dumps::new(true);
        let mut trials = 0;
        for _ in 0..1000 {
            if dumps.are_to_be_tried() {
                dumps.failed();
                trials += 1;
            }
        }
        assert!((15..30).contains(&trials), "{trials}");
        assert!(!dumps.are_usable());
        dumps.worked();
        assert!(dumps.are_usable() && !dumps.are_to_be_tried());
    }

    #[test]
    fn what_is_refused_is_not_tried_again() {
        let dumps = Dumps::new(true);
        dumps.worked();
        dumps.rule_out();
        assert!(!dumps.are_usable() && !dumps.are_to_be_tried());
        let never = Dumps::new(false);
        assert!(!never.are_usable() && !never.are_to_be_tried());
    }
}
