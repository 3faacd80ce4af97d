//! How long a server has taken of late, and how many reads may be sent a second time because of it.
//!
//! No I/O, no clock and no lock: a record is a few atomic additions, and a fork may come at any
//! moment.

use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use super::config::deployment::HedgeSettings;

/// A power of two is divided into this many buckets, each a sixteenth wide at the most.
const PARTS_BITS: u32 = 4;
const PARTS: u64 = 1 << PARTS_BITS;

/// Latencies from 2^10 to 2^36 nanoseconds are told apart: from a microsecond to a minute.
const FIRST_BIT: u32 = 10;
const LAST_BIT: u32 = 36;
const BUCKETS: usize = ((LAST_BIT - FIRST_BIT) as u64 * PARTS) as usize;

/// How many latencies a histogram takes before the other one is begun anew.
const TURN: u64 = 1024;

/// With fewer latencies than this, no percentile is told.
const ENOUGH: u64 = 50;

/// The latest latency's part in the smoothed one is an eighth, as in TCP's round trip.
const SMOOTHING: u64 = 8;

type Histogram = [AtomicU32; BUCKETS];

/// The recent latencies of a server: one to two thousand of them.
///
/// Two histograms take turns: one is added to while the other still counts, and then that one is
/// cleared and added to. What other threads record in the moment of clearing may be lost.
#[derive(Debug)]
pub struct Latencies {
    recorded: AtomicU64,
    /// In nanoseconds; 0 is none.
    smoothed: AtomicU64,
    histograms: Box<[Histogram; 2]>,
}

impl Default for Latencies {
    fn default() -> Self {
        Self {
            recorded: AtomicU64::new(0),
            smoothed: AtomicU64::new(0),
            histograms: Box::new([const { [const { AtomicU32::new(0) }; BUCKETS] }; 2]),
        }
    }
}

impl Latencies {
    /// Takes note of a call that was answered after `latency`.
    pub fn record(&self, latency: Duration) {
        let nanos = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX).max(1);
        let number = self.recorded.fetch_add(1, Ordering::Relaxed);
        let histogram = &self.histograms[(number / TURN % 2) as usize];
        if number.is_multiple_of(TURN) {
            for bucket in histogram {
                bucket.store(0, Ordering::Relaxed);
            }
        }
        histogram[bucket(nanos)].fetch_add(1, Ordering::Relaxed);
        // Of two at the same time one may be lost, which smooths as well.
        let before = self.smoothed.load(Ordering::Relaxed);
        let after = match before {
            0 => nanos,
            _ => before - before / SMOOTHING + nanos / SMOOTHING,
        };
        self.smoothed.store(after.max(1), Ordering::Relaxed);
    }

    /// The latency that `percent` (0 to 100) of the recent calls did not exceed, too high by a
    /// sixteenth at the most; `None` until fifty have been recorded.
    #[must_use]
    pub fn percentile(&self, percent: f64) -> Option<Duration> {
        let [one, other] = &*self.histograms;
        let counts = one.iter().zip(other).map(|(one, other)| {
            u64::from(one.load(Ordering::Relaxed)) + u64::from(other.load(Ordering::Relaxed))
        });
        let mut below = [0; BUCKETS];
        let mut total = 0;
        for (below, count) in below.iter_mut().zip(counts) {
            total += count;
            *below = total;
        }
        if total < ENOUGH {
            return None;
        }
        let rank = ((percent / 100.0 * total as f64).ceil() as u64).clamp(1, total);
        let bucket = below.partition_point(|&below| below < rank);
        Some(Duration::from_nanos(upper_end(bucket)))
    }

    /// The exponentially smoothed latency; `None` until one has been recorded.
    #[must_use]
    pub fn smoothed(&self) -> Option<Duration> {
        match self.smoothed.load(Ordering::Relaxed) {
            0 => None,
            nanos => Some(Duration::from_nanos(nanos)),
        }
    }

    /// How long a read is waited for before it is sent again; `None` while too little is known.
    #[must_use]
    pub fn hedge_delay(&self, settings: &HedgeSettings) -> Option<Duration> {
        let delay = self.percentile(settings.percentile)?;
        Some(delay.max(settings.min))
    }
}

/// The bucket of a latency.
fn bucket(nanos: u64) -> usize {
    let nanos = nanos.clamp(1 << FIRST_BIT, (1 << LAST_BIT) - 1);
    let bit = nanos.ilog2();
    let part = (nanos >> (bit - PARTS_BITS)) - PARTS;
    (u64::from(bit - FIRST_BIT) * PARTS + part) as usize
}

/// The latency at which the next bucket begins.
fn upper_end(bucket: usize) -> u64 {
    let (bit, part) = (bucket as u64 / PARTS, bucket as u64 % PARTS);
    (PARTS + part + 1) << (bit + u64::from(FIRST_BIT - PARTS_BITS))
}

/// One call that is sent again, in the units of the budget.
const HEDGE: i64 = 1_000_000;

/// What is not used is kept for later, but no more than for this many.
const BURST: i64 = 10;

/// Sees to it that reads are sent again for no more than a part of all calls.
///
/// Each call pays in its part, each that is sent again takes out a whole. It begins with nothing,
/// so that the part holds from the first call on; and little is kept, so that a server that has
/// become slow after a good hour does not get twice the calls.
#[derive(Debug)]
pub struct HedgeBudget {
    part: i64,
    saved: AtomicI64,
    calls: AtomicU64,
    hedges: AtomicU64,
}

/// What a [`HedgeBudget`] has seen since it was made.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct HedgeCounts {
    /// Calls, without those that were sent again.
    pub calls: u64,
    /// Calls that were sent again.
    pub hedges: u64,
}

impl HedgeBudget {
    /// A budget of `max_percent` of the calls.
    #[must_use]
    pub fn new(max_percent: f64) -> Self {
        Self {
            part: (max_percent.clamp(0.0, 100.0) / 100.0 * HEDGE as f64) as i64,
            saved: AtomicI64::new(0),
            calls: AtomicU64::new(0),
            hedges: AtomicU64::new(0),
        }
    }

    /// Counts a call.
    pub fn count_call(&self) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let _ = self
            .saved
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |saved| {
                (saved < BURST * HEDGE).then(|| (saved + self.part).min(BURST * HEDGE))
            });
    }

    /// Whether a call may be sent again now.
    #[must_use]
    pub fn allows(&self) -> bool {
        self.saved.load(Ordering::Relaxed) >= HEDGE
    }

    /// Counts a call that is sent again. Of calls that were [allowed](Self::allows) at the same
    /// time more may be sent again than there was room for; those after them make up for it.
    pub fn spend(&self) {
        self.saved.fetch_sub(HEDGE, Ordering::Relaxed);
        self.hedges.fetch_add(1, Ordering::Relaxed);
    }

    /// The calls so far.
    #[must_use]
    pub fn counts(&self) -> HedgeCounts {
        HedgeCounts {
            calls: self.calls.load(Ordering::Relaxed),
            hedges: self.hedges.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admit(budget: &HedgeBudget) -> bool {
        let allowed = budget.allows();
        if allowed {
            budget.spend();
        }
        allowed
    }

    fn micros(micros: u64) -> Duration {
        Duration::from_micros(micros)
    }

    /// Whether `found` is `exact` or too high by a sixteenth at the most.
    fn is_about(found: Duration, exact: Duration) -> bool {
        found >= exact && found <= exact + exact / 16
    }

    #[test]
    fn buckets_are_narrow_and_without_gaps() {
        for bucket_number in 0..BUCKETS {
            let end = upper_end(bucket_number);
            assert_eq!(bucket(end - 1), bucket_number);
            assert_eq!(bucket(end), (bucket_number + 1).min(BUCKETS - 1));
            if bucket_number > 0 {
                let begin = upper_end(bucket_number - 1);
                assert!((end - begin) as f64 <= begin as f64 / 16.0);
            }
        }
        assert_eq!(bucket(0), 0);
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn percentiles() {
        let latencies = Latencies::default();
        for n in 1..ENOUGH {
            latencies.record(micros(100 * n));
            assert_eq!(latencies.percentile(50.0), None);
        }
        for n in ENOUGH..=1000 {
            latencies.record(micros(100 * n));
        }
        for (percent, exact) in [
            (0.0, 100),
            (0.1, 100),
            (50.0, 50_000),
            (95.0, 95_000),
            (99.9, 99_900),
            (100.0, 100_000),
        ] {
            let found = latencies.percentile(percent).unwrap();
            assert!(is_about(found, micros(exact)), "{percent}: {found:?}");
        }
    }

    #[test]
    fn old_latencies_are_forgotten() {
        let latencies = Latencies::default();
        for _ in 0..5000 {
            latencies.record(micros(1000));
        }
        for _ in 0..TURN {
            latencies.record(micros(20));
        }
        let old = latencies.percentile(100.0).unwrap();
        assert!(is_about(old, micros(1000)), "{old:?}");
        for _ in 0..TURN {
            latencies.record(micros(20));
        }
        let new = latencies.percentile(100.0).unwrap();
        assert!(is_about(new, micros(20)), "{new:?}");
    }

    #[test]
    fn extreme_latencies() {
        let latencies = Latencies::default();
        for _ in 0..ENOUGH {
            latencies.record(Duration::ZERO);
            latencies.record(Duration::MAX);
        }
        assert!(latencies.percentile(0.0).unwrap() < micros(2));
        assert!(latencies.percentile(100.0).unwrap() > Duration::from_secs(60));
        assert!(latencies.percentile(f64::NAN).is_some());
        assert!(latencies.smoothed().is_some());
    }

    #[test]
    fn the_smoothed_latency_follows() {
        let latencies = Latencies::default();
        assert_eq!(latencies.smoothed(), None);
        latencies.record(micros(800));
        assert_eq!(latencies.smoothed(), Some(micros(800)));
        latencies.record(micros(1600));
        assert_eq!(latencies.smoothed(), Some(micros(900)));
        for _ in 0..100 {
            latencies.record(micros(200));
        }
        assert!(is_about(latencies.smoothed().unwrap(), micros(200)));
    }

    #[test]
    fn a_hedge_waits_for_the_percentile_and_a_least_time() {
        let latencies = Latencies::default();
        let mut settings = HedgeSettings {
            percentile: 95.0,
            min: micros(1000),
            max_percent: 10.0,
        };
        assert_eq!(latencies.hedge_delay(&settings), None);
        for _ in 0..ENOUGH {
            latencies.record(micros(100));
        }
        assert_eq!(latencies.hedge_delay(&settings), Some(micros(1000)));
        settings.min = micros(1);
        let delay = latencies.hedge_delay(&settings).unwrap();
        assert!(is_about(delay, micros(100)), "{delay:?}");
    }

    #[test]
    fn threads_record_together() {
        let latencies = Latencies::default();
        std::thread::scope(|scope| {
            for thread in 1..=8 {
                let latencies = &latencies;
                scope.spawn(move || {
                    for _ in 0..TURN / 8 {
                        latencies.record(micros(100 * thread));
                    }
                });
            }
        });
        let median = latencies.percentile(50.0).unwrap();
        assert!((micros(400)..micros(600)).contains(&median), "{median:?}");
    }

    #[test]
    fn a_budget_is_a_part_of_the_calls() {
        let budget = HedgeBudget::new(10.0);
        let mut sent_again = 0;
        for call in 1..=1000 {
            budget.count_call();
            sent_again += u64::from(admit(&budget));
            assert!(sent_again <= call / 10, "call {call}");
        }
        assert_eq!(sent_again, 100);
        let (calls, hedges) = (1000, 100);
        assert_eq!(budget.counts(), HedgeCounts { calls, hedges });
    }

    #[test]
    fn little_of_a_budget_is_kept() {
        let budget = HedgeBudget::new(50.0);
        for _ in 0..1000 {
            budget.count_call();
        }
        let burst = (0..1000).filter(|_| admit(&budget)).count() as u64;
        assert_eq!(burst, BURST as u64);
    }

    #[test]
    fn extreme_budgets() {
        for (percent, admitted) in [(0.0, 0), (-1.0, 0), (f64::NAN, 0), (100.0, 5), (1e9, 5)] {
            let budget = HedgeBudget::new(percent);
            assert!(!admit(&budget));
            for _ in 0..5 {
                budget.count_call();
            }
            let sent = (0..10).filter(|_| admit(&budget)).count();
            assert_eq!(sent, admitted, "{percent}");
        }
    }

    #[test]
    fn threads_share_a_budget() {
        let budget = HedgeBudget::new(10.0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..1000 {
                        budget.count_call();
                        admit(&budget);
                    }
                });
            }
        });
        let counts = budget.counts();
        assert_eq!(counts.calls, 8000);
        assert!(counts.hedges <= 808, "{counts:?}");
        assert!(counts.hedges > 700, "{counts:?}");
    }
}
