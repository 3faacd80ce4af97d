use super::*;

const WINDOW: Duration = Duration::from_secs(10);
const OPEN: Duration = Duration::from_secs(1);
const INSTANT: Duration = Duration::from_nanos(1);

fn settings() -> BreakerSettings {
    BreakerSettings {
        window: WINDOW,
        min_calls: 10,
        failure_percent: 50.0,
        slow: Some(Duration::from_millis(100)),
        open_for: OPEN,
    }
}

/// A breaker and a clock of its own.
struct Bench {
    breaker: Breaker,
    now: Instant,
}

const GOOD: Outcome = Outcome {
    ok: true,
    elapsed: Duration::from_millis(1),
};
const BAD: Outcome = Outcome {
    ok: false,
    elapsed: Duration::from_millis(1),
};
const SLOW: Outcome = Outcome {
    ok: true,
    elapsed: Duration::from_millis(101),
};

impl Bench {
    fn new(settings: BreakerSettings) -> Self {
        let breaker = Breaker::new(settings);
        let now = breaker.epoch;
        Self { breaker, now }
    }

    /// A breaker that has just opened.
    fn opened() -> Self {
        let bench = Self::new(settings());
        bench.record(10, BAD);
        assert_eq!(
            bench.state(),
            BreakerState::Open {
                until: bench.now + OPEN
            }
        );
        bench
    }

    fn wait(&mut self, duration: Duration) {
        self.now += duration;
    }

    fn admit(&self) -> Admission {
        let admits = self.breaker.admits(self.now);
        let admission = self.breaker.admit(self.now);
        assert_eq!(admits, !matches!(admission, Admission::Refused { .. }));
        admission
    }

    fn record(&self, times: usize, outcome: Outcome) {
        for _ in 0..times {
            self.breaker.record(self.now, outcome, false);
        }
    }

    fn probed(&self, outcome: Outcome) {
        self.breaker.record(self.now, outcome, true);
    }

    fn state(&self) -> BreakerState {
        self.breaker.state(self.now)
    }

    fn counts(&self) -> (u64, u64, u64) {
        let counts = self.breaker.counts(self.now);
        (counts.calls, counts.failures, counts.slow)
    }
}

#[test]
fn it_opens_at_the_percentage_and_not_before() {
    let bench = Bench::new(settings());
    bench.record(6, GOOD);
    bench.record(5, BAD);
    assert_eq!(bench.state(), BreakerState::Closed);
    assert_eq!(bench.admit(), Admission::Go);
    bench.record(1, BAD);
    let until = bench.now + OPEN;
    assert_eq!(bench.state(), BreakerState::Open { until });
    assert_eq!(bench.admit(), Admission::Refused { until });
    assert_eq!(bench.counts(), (12, 6, 0));
}

#[test]
fn failures_in_a_row_open_it_whatever_was_before() {
    let mut bench = Bench::new(settings());
    bench.record(100_000, GOOD);
    // Twenty that were under way when it began.
    bench.wait(SLOW.elapsed);
    let timed_out = Outcome { ok: false, ..SLOW };
    bench.record(20, timed_out);
    assert_eq!(bench.state(), BreakerState::Closed);
    bench.wait(SLOW.elapsed);
    bench.record(1, timed_out);
    let until = bench.now + OPEN;
    assert_eq!(bench.state(), BreakerState::Open { until });

    let mut bench = Bench::new(settings());
    bench.record(100_000, GOOD);
    for _ in 0..9 {
        bench.wait(SLOW.elapsed);
        bench.record(1, timed_out);
    }
    assert_eq!(bench.state(), BreakerState::Closed);
    bench.record(1, GOOD);
    for _ in 0..9 {
        bench.wait(SLOW.elapsed);
        bench.record(1, timed_out);
    }
    assert_eq!(bench.state(), BreakerState::Closed);
    bench.wait(SLOW.elapsed);
    bench.record(1, timed_out);
    assert_ne!(bench.state(), BreakerState::Closed);
}

#[test]
fn few_calls_do_not_open_it() {
    let bench = Bench::new(settings());
    bench.record(9, BAD);
    assert_eq!(bench.state(), BreakerState::Closed);
    // The tenth makes enough of them, but a call that goes well opens nothing.
    bench.record(1, GOOD);
    assert_eq!(bench.state(), BreakerState::Closed);
    bench.record(1, BAD);
    assert_ne!(bench.state(), BreakerState::Closed);
}

#[test]
fn slow_calls_count_where_they_are_to() {
    let bench = Bench::new(settings());
    bench.record(5, GOOD);
    bench.record(2, BAD);
    bench.record(2, SLOW);
    assert_eq!(bench.state(), BreakerState::Closed);
    let slow_and_bad = Outcome { ok: false, ..SLOW };
    bench.record(1, slow_and_bad);
    assert_ne!(bench.state(), BreakerState::Closed);
    assert_eq!(bench.counts(), (10, 3, 2));

    let bench = Bench::new(BreakerSettings {
        slow: None,
        ..settings()
    });
    bench.record(100, SLOW);
    assert_eq!(bench.state(), BreakerState::Closed);
    assert_eq!(bench.counts(), (100, 0, 0));
}

#[test]
fn the_window_slides() {
    let mut bench = Bench::new(settings());
    bench.record(9, BAD);
    bench.wait(WINDOW / 2);
    bench.record(10, GOOD);
    assert_eq!(bench.counts(), (19, 9, 0));
    bench.wait((WINDOW / 2).abs_diff(INSTANT));
    assert_eq!(bench.counts(), (19, 9, 0));
    bench.wait(INSTANT);
    assert_eq!(bench.counts(), (10, 0, 0));
    bench.record(9, BAD);
    assert_eq!(bench.state(), BreakerState::Closed);
    bench.wait(WINDOW * 1000);
    assert_eq!(bench.counts(), (0, 0, 0));
}

#[test]
fn a_thread_that_is_late_changes_nothing_that_is_newer() {
    let mut bench = Bench::new(settings());
    let late = bench.now;
    bench.wait(WINDOW);
    bench.record(3, GOOD);
    bench.breaker.record(late, BAD, false);
    assert_eq!(bench.counts(), (3, 0, 0));
    // Before the breaker was made, by the caller's clock.
    let before = late.checked_sub(WINDOW).unwrap();
    bench.breaker.record(before, BAD, false);
    assert_eq!(bench.counts(), (3, 0, 0));
}

#[test]
fn a_probe_that_goes_well_closes_it() {
    let mut bench = Bench::opened();
    bench.wait(OPEN.abs_diff(INSTANT));
    assert!(matches!(bench.admit(), Admission::Refused { .. }));
    bench.wait(INSTANT);
    assert_eq!(bench.state(), BreakerState::HalfOpen);
    assert_eq!(bench.admit(), Admission::Probe);
    assert_eq!(bench.state(), BreakerState::HalfOpen);
    let until = bench.now + OPEN;
    assert_eq!(bench.admit(), Admission::Refused { until });
    // Calls from before the breaker opened end now, and say nothing.
    bench.record(3, GOOD);
    bench.record(3, BAD);
    assert_eq!(bench.state(), BreakerState::HalfOpen);
    bench.probed(GOOD);
    assert_eq!(bench.state(), BreakerState::Closed);
    assert_eq!(bench.admit(), Admission::Go);
    // What opened it is forgotten.
    assert_eq!(bench.counts(), (0, 0, 0));
    bench.record(9, BAD);
    assert_eq!(bench.state(), BreakerState::Closed);
}

#[test]
fn a_probe_that_fails_or_is_slow_opens_it_again() {
    for outcome in [BAD, SLOW] {
        let mut bench = Bench::opened();
        for _ in 0..20 {
            bench.wait(OPEN);
            assert_eq!(bench.admit(), Admission::Probe);
            bench.wait(Duration::from_millis(200));
            bench.probed(outcome);
            let until = bench.now + OPEN;
            assert_eq!(bench.state(), BreakerState::Open { until });
            assert_eq!(bench.admit(), Admission::Refused { until });
        }
    }
}

#[test]
fn a_probe_that_is_never_heard_of_is_given_up() {
    let mut bench = Bench::opened();
    bench.wait(OPEN);
    assert_eq!(bench.admit(), Admission::Probe);
    bench.wait(OPEN.abs_diff(INSTANT));
    assert!(matches!(bench.admit(), Admission::Refused { .. }));
    bench.wait(INSTANT);
    assert_eq!(bench.admit(), Admission::Probe);
    // The first is heard of after all.
    bench.probed(GOOD);
    assert_eq!(bench.state(), BreakerState::Closed);
    bench.probed(BAD);
    assert_eq!(bench.state(), BreakerState::Closed);
}

#[test]
fn a_probe_that_is_abandoned_makes_room_for_the_next() {
    let mut bench = Bench::opened();
    bench.breaker.abandon();
    assert!(matches!(bench.admit(), Admission::Refused { .. }));
    bench.wait(OPEN);
    assert_eq!(bench.admit(), Admission::Probe);
    bench.breaker.abandon();
    assert_eq!(bench.state(), BreakerState::HalfOpen);
    assert_eq!(bench.admit(), Admission::Probe);
    bench.probed(GOOD);
    bench.breaker.abandon();
    assert_eq!(bench.state(), BreakerState::Closed);
}

#[test]
fn extreme_settings_are_no_trap() {
    let bench = Bench::new(BreakerSettings {
        window: Duration::ZERO,
        min_calls: 0,
        failure_percent: 0.0,
        slow: Some(Duration::MAX),
        open_for: Duration::MAX,
    });
    bench.record(1, GOOD);
    assert_eq!(bench.state(), BreakerState::Closed);
    bench.record(1, BAD);
    assert!(matches!(bench.state(), BreakerState::Open { .. }));
    assert!(matches!(bench.admit(), Admission::Refused { .. }));
}

#[test]
fn threads_lose_no_call_and_share_one_probe() {
    const THREADS: usize = 8;
    const CALLS: usize = 2000;
    let mut bench = Bench::new(settings());
    let across = |work: &(dyn Fn(&Bench, usize) + Sync), bench: &Bench| {
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                scope.spawn(move || work(bench, thread));
            }
        });
    };
    // Each thread is in another sixteenth of the window, and all meet in the last of them.
    let calls = |bench: &Bench, thread: usize| {
        for call in 0..CALLS {
            let at = bench.now + WINDOW * (thread * call % 16) as u32 / 16;
            bench.breaker.record(at, GOOD, false);
        }
    };
    across(&calls, &bench);
    bench.wait(WINDOW * 15 / 16);
    assert_eq!(bench.counts(), ((THREADS * CALLS) as u64, 0, 0));
    bench.record(THREADS * CALLS, BAD);
    for round in 0..100 {
        bench.wait(OPEN);
        let probes = AtomicU64::new(0);
        let probe = |bench: &Bench, _| match bench.admit() {
            Admission::Probe => drop(probes.fetch_add(1, Ordering::Relaxed)),
            Admission::Refused { .. } => {}
            Admission::Go => panic!("it is open"),
        };
        across(&probe, &bench);
        assert_eq!(probes.into_inner(), 1, "round {round}");
        bench.probed(BAD);
    }
}

/// Threads do as callers do, on a server that fails for a while and then is well: whatever the
/// order in which they come, calls are refused while it fails and pass when it is well.
#[test]
fn threads_find_a_server_that_is_back() {
    const THREADS: usize = 8;
    let settings = BreakerSettings {
        window: Duration::from_millis(200),
        open_for: Duration::from_millis(5),
        ..settings()
    };
    let breaker = Breaker::new(settings);
    let well_from = breaker.epoch + Duration::from_millis(100);
    let [made, refused, probes] = [const { AtomicU64::new(0) }; 3];
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                let mut went_well = 0;
                while went_well < 1000 {
                    let start = Instant::now();
                    assert!(start < well_from + Duration::from_secs(10), "it stays open");
                    let admission = breaker.admit(start);
                    if let Admission::Refused { until } = admission {
                        assert!(until <= start + settings.open_for * 2);
                        refused.fetch_add(1, Ordering::Relaxed);
                        std::thread::yield_now();
                        continue;
                    }
                    let was_probe = admission == Admission::Probe;
                    let ok = start >= well_from;
                    if !ok {
                        made.fetch_add(1, Ordering::Relaxed);
                        probes.fetch_add(u64::from(was_probe), Ordering::Relaxed);
                    }
                    went_well += u32::from(ok);
                    let outcome = Outcome { ok, ..GOOD };
                    breaker.record(Instant::now(), outcome, was_probe);
                }
            });
        }
    });
    assert_eq!(breaker.state(Instant::now()), BreakerState::Closed);
    let [made, refused, probes] = [made, refused, probes].map(AtomicU64::into_inner);
    // Ten calls open it; each thread may have one more under way by then.
    assert!(
        made <= 10 + THREADS as u64 + probes,
        "{made} calls, {probes} probes"
    );
    assert!(probes <= 20, "{probes} probes");
    assert!(refused > 0);
}
