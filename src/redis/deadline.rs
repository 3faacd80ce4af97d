//! The moment by which a whole call must have answered.

use std::time::{Duration, Instant};

use crate::error::{Error, ErrorKind, Result};

/// The end of a call's time, or none.
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    end: Option<Instant>,
    limit: Duration,
    /// The setting that it comes from.
    setting: &'static str,
}

impl Deadline {
    /// A call without a limit.
    pub const NEVER: Self = Self {
        end: None,
        limit: Duration::ZERO,
        setting: "request_timeout_ms",
    };

    /// A call that has `limit` from now; `None` is no limit.
    #[must_use]
    pub fn after(limit: Option<Duration>) -> Self {
        Self {
            end: limit.and_then(|limit| Instant::now().checked_add(limit)),
            limit: limit.unwrap_or_default(),
            ..Self::NEVER
        }
    }

    /// The same, set by another setting than `request_timeout_ms`, which errors then name.
    #[must_use]
    pub fn set_by(self, setting: &'static str) -> Self {
        Self { setting, ..self }
    }

    /// This one, or `limit` from now if that is sooner.
    #[must_use]
    pub fn within(&self, limit: Duration) -> Self {
        let sooner = Self::after(Some(limit)).set_by(self.setting);
        match (self.end, sooner.end) {
            (Some(end), Some(other)) if end <= other => *self,
            _ => sooner,
        }
    }

    /// This one, `by` later.
    #[must_use]
    pub fn later(&self, by: Duration) -> Self {
        Self {
            end: self.end.and_then(|end| end.checked_add(by)),
            ..*self
        }
    }

    /// The instant at which time is up, if there is one.
    #[must_use]
    pub fn instant(&self) -> Option<Instant> {
        self.end
    }

    /// What is left: `None` without a limit, an error once it has passed.
    pub fn remaining(&self) -> Result<Option<Duration>> {
        let Some(end) = self.end else {
            return Ok(None);
        };
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(self.exceeded());
        }
        Ok(Some(left))
    }

    /// Whether less than half of the time is left.
    #[must_use]
    pub fn is_half_gone(&self) -> bool {
        self.end
            .is_some_and(|end| end.saturating_duration_since(Instant::now()) < self.limit / 2)
    }

    /// The error of a call that ran out of time.
    #[must_use]
    pub fn exceeded(&self) -> Error {
        Error::new(
            ErrorKind::Timeout,
            format!(
                "the request did not finish within {} = {}",
                self.setting,
                self.limit.as_millis()
            ),
        )
    }
}
