//! Whether the servers can be asked for whole hashes by DUMP.
//!
//! Most can. Some users have no right to it, and some servers and proxies do not know it, of which a few
//! hang up on what they do not know. So it is tried by itself first, behind a read that would have used
//! it, where nothing depends on the outcome.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::redis::habit::Habit;

/// What a trial may add to a read.
pub(crate) const TRIAL_LIMIT: Duration = Duration::from_millis(50);

/// A trial in vain counts for so many: where a connection is lost by it, it is a failure of a server that
/// is well, and there must be few among the reads that succeed.
const IN_VAIN: u32 = 3;

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
        matches!(*self.state(), State::Usable)
    }

    /// Whether the caller is to try it now. It is in vain unless it [worked](Self::worked): who tries may
    /// be cancelled, and nobody else tries meanwhile.
    pub fn are_to_be_tried(&self) -> bool {
        let mut state = self.state();
        let State::Untried(habit) = *state else {
            return false;
        };
        if let Some(passing) = habit.passing() {
            *state = State::Untried(passing);
            return false;
        }
        *state = State::Untried((0..IN_VAIN).fold(habit, |habit, _| habit.discouraged()));
        true
    }

    /// A hash was dumped.
    pub fn worked(&self) {
        *self.state() = State::Usable;
    }

    /// Reads with it came to no end. If another server was behind that, or another proxy before the
    /// server, this one may not take it.
    pub fn doubt(&self) {
        let mut state = self.state();
        if matches!(*state, State::Usable) {
            *state = State::Untried(Habit::new().discouraged());
        }
    }

    /// The server refuses it.
    pub fn rule_out(&self) {
        *self.state() = State::RuledOut;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
            trials += usize::from(dumps.are_to_be_tried());
        }
        assert!((15..30).contains(&trials), "{trials}");
        assert!(!dumps.are_usable());
        dumps.worked();
        assert!(dumps.are_usable() && !dumps.are_to_be_tried());
    }

    #[test]
    fn what_failed_is_tried_again_before_it_is_used() {
        let dumps = Dumps::new(true);
        dumps.worked();
        dumps.doubt();
        assert!(!dumps.are_usable());
        assert!((0..3).any(|_| dumps.are_to_be_tried()));
        dumps.worked();
        assert!(dumps.are_usable());
        dumps.rule_out();
        dumps.doubt();
        assert!((0..1000).all(|_| !dumps.are_to_be_tried()));
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
