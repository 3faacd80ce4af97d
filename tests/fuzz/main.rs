//! Fuzzers for stable Rust. Each runs for `FUZZ_SECONDS` (5 unless set), from `FUZZ_SEED` (random
//! unless set, and printed, so that a failure can be repeated).

mod replies;
mod values;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// xorshift64*.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() >> 33) as usize % bound.max(1)
    }
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

/// Calls `round` until time is up; it panics when it finds something.
fn fuzz(what: &str, mut round: impl FnMut(&mut Random)) {
    let seed = setting("FUZZ_SEED").unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        now.map_or(1, |now| now.as_nanos() as u64) | 1
    });
    println!("{what}: FUZZ_SEED={seed}");
    let mut random = Random(seed);
    let end = Instant::now() + Duration::from_secs(setting("FUZZ_SECONDS").unwrap_or(5));
    let mut rounds = 0_u64;
    while Instant::now() < end {
        for _ in 0..100 {
            round(&mut random);
        }
        rounds += 100;
    }
    println!("{what}: {rounds} rounds");
}
