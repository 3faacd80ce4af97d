//! Whether rows are likely to be of entities that Redis has nothing of.

use super::WritePolicy;
use crate::redis::habit::Habit;

/// What a stream has seen so far.
pub(super) struct Newcomers {
    /// Whether the rows that come are to be tried as new ones.
    expected: bool,
    /// Whether they cannot be, by the policy or the server's word.
    ruled_out: bool,
    /// Whether the server has answered to such rows.
    known: bool,
    habit: Habit,
}

impl Newcomers {
    /// Nothing seen yet. The first rows are written the usual way, so that whoever lacks the rights to
    /// that hears of it at once. Where nothing is tried again after a lost connection, nobody who might
    /// hang up is given something to hang up at.
    pub fn new(policy: WritePolicy, retries: bool) -> Self {
        Self {
            expected: false,
            ruled_out: !policy.restores || policy.field_ttl.is_some() || !retries,
            known: false,
            habit: Habit::new(),
        }
    }

    /// Whether to try the next rows as new ones.
    pub fn tries(&mut self) -> bool {
        let tries = self.are_expected();
        if self.expected
            && let Some(habit) = self.habit.passing()
        {
            self.habit = habit;
        }
        tries
    }

    /// Whether the next rows are likely to be tried.
    pub fn are_expected(&self) -> bool {
        !self.ruled_out && self.expected && self.habit.passing().is_none()
    }

    /// Of rows whose stored times were read, so many had none.
    pub fn asked(&mut self, rows: usize, unknown: usize) {
        self.expected = most(rows, unknown);
    }

    /// Rows were written, and not asked about.
    pub fn unasked(&mut self) {
        self.expected = true;
    }

    /// Of rows that were tried as new ones, so many could be `sent` so, and of these so many were new.
    pub fn tried(&mut self, rows: usize, sent: usize, new: usize) {
        self.known = true;
        self.habit = if 2 * sent >= rows && most(sent, new) {
            Habit::new()
        } else {
            self.habit.discouraged()
        };
    }

    /// The connection was lost with rows that were tried as new ones. Some proxies hang up at a command
    /// that they do not know.
    pub fn lost(&mut self) {
        self.ruled_out |= !self.known;
    }

    /// The server, or who stands before it, does not take such rows.
    pub fn rule_out(&mut self) {
        self.ruled_out = true;
    }
}

/// A row that is tried in vain costs some quarter of a write, and saves a half of it otherwise; those
/// that are left wait for questions and answers of their own.
fn most(rows: usize, part: usize) -> bool {
    8 * part >= 7 * rows
}

#[cfg(test)]
mod tests {
    use super::*;

    fn newcomers() -> Newcomers {
        Newcomers::new(restoring(), true)
    }

    fn restoring() -> WritePolicy {
        WritePolicy {
            restores: true,
            ..WritePolicy::default()
        }
    }

    #[test]
    fn the_first_rows_tell_whether_the_next_are_tried() {
        let mut seen = newcomers();
        assert!(!seen.tries());
        seen.asked(512, 400);
        assert!(!seen.tries());
        seen.asked(512, 500);
        assert!(seen.tries());
        seen.tried(4096, 2500, 2400);
        assert!(seen.tries());
        seen.tried(4096, 1000, 1000);
        assert!(!seen.tries());
    }

    #[test]
    fn entities_that_others_write_to_are_tried_ever_less_often() {
        let mut seen = newcomers();
        seen.unasked();
        let mut tries = 0;
        for _ in 0..1000 {
            if seen.tries() {
                seen.tried(100, 100, 50);
                tries += 1;
            }
        }
        assert!((15..30).contains(&tries), "{tries}");
    }

    #[test]
    fn what_is_refused_is_not_tried_again() {
        let mut seen = newcomers();
        seen.unasked();
        assert!(seen.tries());
        seen.rule_out();
        seen.asked(1, 1);
        assert!(!seen.tries());
        for mut never in [
            Newcomers::new(WritePolicy::default(), true),
            Newcomers::new(restoring(), false),
        ] {
            never.unasked();
            assert!(!never.tries());
        }
    }

    #[test]
    fn a_connection_lost_at_the_first_of_them_is_a_refusal() {
        let mut seen = newcomers();
        seen.unasked();
        seen.tried(100, 100, 100);
        seen.lost();
        assert!(seen.tries());
        let mut seen = newcomers();
        seen.unasked();
        seen.lost();
        assert!(!seen.tries());
    }
}
