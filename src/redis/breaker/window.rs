//! Calls counted over a sliding window.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The calls of a window.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counts {
    /// All that ended in it.
    pub calls: u64,
    /// Those of them that failed.
    pub failures: u64,
    /// Those of them that went well but slowly.
    pub slow: u64,
}

const SLICES: u64 = 16;

/// As many slices as make up the window, written over one after the other.
#[derive(Debug)]
pub(super) struct Window {
    slice_nanos: u64,
    slices: [Slice; SLICES as usize],
}

#[derive(Debug, Default)]
struct Slice {
    calls: DatedCount,
    failures: DatedCount,
    slow: DatedCount,
}

/// A count and the number of the slice of time that it is of, in one word: whoever comes first in a
/// new slice starts it from nothing, and nobody's count gets lost.
#[derive(Debug, Default)]
struct DatedCount(AtomicU64);

/// More calls than this in one slice are not counted.
const COUNT_BITS: u32 = 24;
const COUNT_MASK: u64 = (1 << COUNT_BITS) - 1;

impl DatedCount {
    fn add(&self, tick: u64) {
        // A thread that is so late that its slice has been written over counts no more.
        let _ = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |word| {
                let counted = word >> COUNT_BITS;
                if counted < tick {
                    Some(tick << COUNT_BITS | 1)
                } else {
                    (counted == tick && word & COUNT_MASK < COUNT_MASK).then_some(word + 1)
                }
            });
    }

    /// The count, if it is of a slice from `oldest` on.
    fn since(&self, oldest: u64) -> u64 {
        let word = self.0.load(Ordering::Relaxed);
        if word >> COUNT_BITS < oldest {
            return 0;
        }
        word & COUNT_MASK
    }
}

impl Window {
    pub fn new(length: Duration) -> Self {
        Self {
            slice_nanos: (super::nanos(length) / SLICES).max(1),
            slices: Default::default(),
        }
    }

    /// Counts a call that ended at `now`. One that failed is not counted as slow besides.
    pub fn count(&self, now: u64, failed: bool, slow: bool) {
        let tick = self.tick(now);
        let slice = &self.slices[(tick % SLICES) as usize];
        slice.calls.add(tick);
        if failed {
            slice.failures.add(tick);
        } else if slow {
            slice.slow.add(tick);
        }
    }

    /// The calls of the window that ends at `now`.
    pub fn counts(&self, now: u64) -> Counts {
        let oldest = (self.tick(now) + 1).saturating_sub(SLICES);
        let mut counts = Counts::default();
        for slice in &self.slices {
            counts.calls += slice.calls.since(oldest);
            counts.failures += slice.failures.since(oldest);
            counts.slow += slice.slow.since(oldest);
        }
        counts
    }

    pub fn clear(&self) {
        for slice in &self.slices {
            for count in [&slice.calls, &slice.failures, &slice.slow] {
                count.0.store(0, Ordering::Relaxed);
            }
        }
    }

    /// The number of the slice of time that `now` is in. Forty bits are years of the shortest
    /// window that makes sense; after them the number stays.
    fn tick(&self, now: u64) -> u64 {
        (now / self.slice_nanos).min(u64::MAX >> COUNT_BITS)
    }
}
