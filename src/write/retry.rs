//! When a write is tried again.

use std::time::{Duration, Instant};

use crate::error::{Error, ErrorKind, Result};
use crate::redis::Deadline;
use crate::redis::connection::Interrupt;

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// How often a pause looks up.
const WATCH: Duration = Duration::from_millis(50);

/// Attempts after a failure that may pass: ever longer pauses, until a window without success ends.
#[derive(Debug)]
pub(super) struct Retry {
    window: Duration,
    deadline: Deadline,
    failing_since: Option<Instant>,
    pause: Duration,
    succeeded: bool,
}

impl Retry {
    /// Tries for `window` since the last success, and not beyond `deadline`; zero is not at all.
    pub fn new(window: Duration, deadline: Deadline) -> Self {
        Self {
            window,
            deadline,
            failing_since: None,
            pause: FIRST_PAUSE,
            succeeded: false,
        }
    }

    /// Takes note of a success.
    pub fn succeed(&mut self) {
        self.succeeded = true;
        self.failing_since = None;
        self.pause = FIRST_PAUSE;
    }

    /// How long to pause before the next attempt, or the error if there is to be none.
    ///
    /// A server that never answered is most likely none: that is told at once.
    pub fn again(&mut self, error: Error) -> Result<Duration> {
        let lost = matches!(error.kind(), ErrorKind::Connection | ErrorKind::Timeout);
        let passing = lost && self.succeeded || error.is_transient();
        let since = *self.failing_since.get_or_insert_with(Instant::now);
        let in_time = match self.deadline.remaining() {
            Ok(left) => left.is_none_or(|left| self.pause < left),
            Err(_) => false,
        };
        if !passing || !in_time || since.elapsed() + self.pause > self.window {
            return Err(match since.elapsed().as_secs() {
                seconds @ 1.. if passing => {
                    error.context(format_args!("tried again for {seconds} s"))
                }
                _ => error,
            });
        }
        let pause = self.pause;
        self.pause = (2 * pause).min(LONGEST_PAUSE);
        Ok(pause)
    }
}

/// Waits, and asks `interrupt` meanwhile.
pub(super) fn pause(length: Duration, interrupt: Interrupt<'_>) -> Result<()> {
    let end = Instant::now() + length;
    loop {
        interrupt()?;
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        std::thread::sleep(left.min(WATCH));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(kind: ErrorKind, message: &str) -> Error {
        Error::new(kind, message)
    }

    #[test]
    fn only_what_passes_is_tried_again() {
        let mut retry = Retry::new(Duration::from_secs(60), Deadline::NEVER);
        let refused = error(ErrorKind::Connection, "refused");
        assert!(retry.again(refused.clone()).is_err());
        retry.succeed();
        assert_eq!(retry.again(refused.clone()).unwrap(), FIRST_PAUSE);
        assert_eq!(retry.again(refused).unwrap(), 2 * FIRST_PAUSE);
        let loading = error(ErrorKind::Server, "LOADING").transient();
        assert!(retry.again(loading.context("redis at x")).is_ok());
        assert!(retry.again(error(ErrorKind::Server, "LOADING")).is_err());
        let mut never = Retry::new(Duration::ZERO, Deadline::NEVER);
        never.succeed();
        assert!(never.again(error(ErrorKind::Timeout, "")).is_err());
        let soon = Deadline::after(Some(FIRST_PAUSE / 2));
        let mut late = Retry::new(Duration::from_secs(60), soon);
        late.succeed();
        assert!(late.again(error(ErrorKind::Connection, "")).is_err());
    }
}
