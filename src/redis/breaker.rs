//! A circuit breaker: a server that fails, or is too slow, is left alone for a while.
//!
//! *Closed*, it lets every call pass and counts over a sliding [window](BreakerSettings::window). It
//! *opens* when enough of the calls have failed or were slow. After much traffic that went well this
//! takes most of a window, so it opens as well when that many calls in a row failed, the last of which
//! began when the first had failed already: what all calls under way stumbled over may be gone. Then
//! it refuses all calls for
//! [`open_for`](BreakerSettings::open_for). Then it is *half-open*: one call is let through as a
//! probe. If that goes well the breaker closes and counts anew; if not, it stays open for as long
//! again. The time does not grow from one failed probe to the next: a probe costs one call, and a
//! server that is back should be found soon.
//!
//! No I/O, and no clock: the time is an argument. No lock either: all state is in atomics, each of
//! which is consistent by itself, so a fork may come at any moment.

mod window;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use self::window::Window;
use super::config::deployment::BreakerSettings;

pub use self::window::Counts;

/// How a call went.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Outcome {
    /// Whether the server answered. An answer that is an error reply about the data is one too.
    pub ok: bool,
    /// How long it took.
    pub elapsed: Duration,
}

/// Whether a call may be made.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Admission {
    /// It may.
    Go,
    /// It may, and what comes of it decides for the calls after it: the caller owes a
    /// [`Breaker::record`] with `was_probe`, or a [`Breaker::abandon`].
    Probe,
    /// It may not.
    Refused {
        /// When a probe will be let through, at the latest.
        until: Instant,
    },
}

/// What a breaker does with calls.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum BreakerState {
    /// It lets them pass.
    Closed,
    /// It refuses them.
    Open {
        /// When it will be half-open.
        until: Instant,
    },
    /// It refuses them but for one, which is to be made or under way.
    HalfOpen,
}

/// A circuit breaker of one server. Times that are given to it should be those of now, about: each
/// thread may be late by as much as it likes.
#[derive(Debug)]
pub struct Breaker {
    settings: BreakerSettings,
    /// Times are kept as nanoseconds since then.
    epoch: Instant,
    /// A [`Phase`] as [`Phase::word`].
    phase: AtomicU64,
    window: Window,
    row: Row,
}

/// The failures since a call went well.
#[derive(Debug, Default)]
struct Row {
    length: AtomicU64,
    /// When the first of them ended.
    since: AtomicU64,
}

impl Row {
    fn end(&self) {
        if self.length.load(Ordering::Relaxed) > 0 {
            self.length.store(0, Ordering::Relaxed);
        }
    }

    /// Adds a failure at `now` of a call that began at `began`; how many there are, if the call
    /// began after the first of them.
    fn add(&self, began: u64, now: u64) -> u64 {
        let before = self.length.fetch_add(1, Ordering::Relaxed);
        if before == 0 {
            self.since.store(now, Ordering::Relaxed);
        }
        if began >= self.since.load(Ordering::Relaxed) {
            before + 1
        } else {
            0
        }
    }
}

/// The state with its time, in nanoseconds since the epoch.
#[derive(Clone, Copy)]
enum Phase {
    Closed,
    Open { until: u64 },
    Probing { since: u64 },
}

impl Phase {
    /// Two bits of which, sixty-two of when: a hundred years.
    fn word(self) -> u64 {
        match self {
            Self::Closed => 0,
            Self::Open { until } => until << 2 | 1,
            Self::Probing { since } => since << 2 | 2,
        }
    }

    fn of_word(word: u64) -> Self {
        match (word & 3, word >> 2) {
            (1, until) => Self::Open { until },
            (2, since) => Self::Probing { since },
            _ => Self::Closed,
        }
    }
}

impl Breaker {
    /// A closed breaker.
    #[must_use]
    pub fn new(settings: BreakerSettings) -> Self {
        Self {
            window: Window::new(settings.window),
            row: Row::default(),
            settings,
            epoch: Instant::now(),
            phase: AtomicU64::new(Phase::Closed.word()),
        }
    }

    /// Whether a call may be made at `now`.
    ///
    /// One probe is under way at a time. One that has not been heard of for as long as the breaker
    /// stays open is given up, and another is let through.
    pub fn admit(&self, now: Instant) -> Admission {
        let now = self.nanos(now);
        let mut word = self.phase.load(Ordering::Acquire);
        loop {
            let until = match Phase::of_word(word) {
                Phase::Closed => return Admission::Go,
                Phase::Open { until } => until,
                Phase::Probing { since } => since.saturating_add(self.open_nanos()),
            };
            if now < until {
                return Admission::Refused {
                    until: self.instant(until),
                };
            }
            match self.change(word, Phase::Probing { since: now }) {
                Ok(_) => return Admission::Probe,
                Err(other) => word = other,
            }
        }
    }

    /// Whether [`admit`](Self::admit) would let a call through at `now`.
    #[must_use]
    pub fn admits(&self, now: Instant) -> bool {
        match Phase::of_word(self.phase.load(Ordering::Acquire)) {
            Phase::Closed => true,
            Phase::Open { until } => until <= self.nanos(now),
            Phase::Probing { since } => since.saturating_add(self.open_nanos()) <= self.nanos(now),
        }
    }

    /// Takes note of a call that was admitted and ended at `now`.
    pub fn record(&self, now: Instant, outcome: Outcome, was_probe: bool) {
        let now = self.nanos(now);
        let slow = self
            .settings
            .slow
            .is_some_and(|limit| outcome.elapsed > limit);
        self.window.count(now, !outcome.ok, slow);
        let went_well = outcome.ok && !slow;
        let in_a_row = if went_well {
            self.row.end();
            0
        } else {
            let began = now.saturating_sub(nanos(outcome.elapsed));
            self.row.add(began, now)
        };
        let too_many = in_a_row >= u64::from(self.settings.min_calls);
        let mut word = self.phase.load(Ordering::Acquire);
        loop {
            let next = match Phase::of_word(word) {
                Phase::Closed if !went_well && (too_many || self.is_too_much(now)) => {
                    self.open(now)
                }
                Phase::Probing { .. } if was_probe && went_well => Phase::Closed,
                Phase::Probing { .. } if was_probe => self.open(now),
                _ => return,
            };
            // What came before does not count for the time after. Calls that end right now may get
            // lost with it, but none is counted twice.
            if matches!(next, Phase::Closed) {
                self.window.clear();
            }
            match self.change(word, next) {
                Ok(_) => return,
                Err(other) => word = other,
            }
        }
    }

    /// Takes note of a probe that was given up without a result, for no reason of the server's: the
    /// next call is the probe.
    pub fn abandon(&self) {
        let word = self.phase.load(Ordering::Acquire);
        if let Phase::Probing { .. } = Phase::of_word(word) {
            // If somebody was faster, there is a result after all, or another probe.
            let _ = self.change(word, Phase::Open { until: 0 });
        }
    }

    /// What it does with calls at `now`.
    #[must_use]
    pub fn state(&self, now: Instant) -> BreakerState {
        match Phase::of_word(self.phase.load(Ordering::Acquire)) {
            Phase::Closed => BreakerState::Closed,
            Phase::Open { until } if self.nanos(now) < until => BreakerState::Open {
                until: self.instant(until),
            },
            Phase::Open { .. } | Phase::Probing { .. } => BreakerState::HalfOpen,
        }
    }

    /// The calls of the window that ends at `now`.
    #[must_use]
    pub fn counts(&self, now: Instant) -> Counts {
        self.window.counts(self.nanos(now))
    }

    fn is_too_much(&self, now: u64) -> bool {
        let Counts {
            calls,
            failures,
            slow,
        } = self.window.counts(now);
        calls >= u64::from(self.settings.min_calls)
            && (failures + slow) as f64 * 100.0 >= self.settings.failure_percent * calls as f64
    }

    fn open(&self, now: u64) -> Phase {
        Phase::Open {
            until: now.saturating_add(self.open_nanos()),
        }
    }

    fn change(&self, from: u64, to: Phase) -> Result<u64, u64> {
        self.phase
            .compare_exchange(from, to.word(), Ordering::AcqRel, Ordering::Acquire)
    }

    fn open_nanos(&self) -> u64 {
        nanos(self.settings.open_for)
    }

    fn nanos(&self, now: Instant) -> u64 {
        nanos(now.saturating_duration_since(self.epoch))
    }

    fn instant(&self, nanos: u64) -> Instant {
        self.epoch + Duration::from_nanos(nanos)
    }
}

/// At most fifty years, so that the sum of two fits into the bits that are there for it.
fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).map_or(1 << 60, |nanos| nanos.min(1 << 60))
}

#[cfg(test)]
mod tests;
