//! Buffers of answers that are gone.
//!
//! A read of a thousand entities takes megabytes, and fetching those from the system and clearing them
//! each time costs a tenth of the read.

use std::collections::VecDeque;
use std::sync::Mutex;

static SPARE: Mutex<Spare> = Mutex::new(Spare::new());

/// How many buffers are kept, and how many bytes in all.
const MOST_BUFFERS: usize = 8;
const MOST_BYTES: usize = 32 << 20;

/// Smaller ones cost nothing to make; a larger one would leave room for no other.
const LEAST: usize = 16 * 1024;
const LARGEST: usize = MOST_BYTES / 2;

/// How many times larger than asked for a buffer may be; the rest of it lies idle for as long as
/// the answer is kept.
const EXCESS: usize = 4;

/// The buffers, the oldest first.
struct Spare {
    buffers: VecDeque<Vec<u8>>,
    bytes: usize,
}

/// A buffer of at least `room` bytes, if there is one that fits. The lock is never waited for: after a
/// fork it may be held by a thread that is not there.
pub fn take(room: usize) -> Option<Vec<u8>> {
    SPARE.try_lock().ok()?.take(room)
}

/// Keeps a buffer for the next answer. What it holds is overwritten before it is read.
pub fn keep(buffer: Vec<u8>) {
    if let Ok(mut spare) = SPARE.try_lock() {
        spare.keep(buffer);
    }
}

impl Spare {
    const fn new() -> Self {
        Self {
            buffers: VecDeque::new(),
            bytes: 0,
        }
    }

    fn take(&mut self, room: usize) -> Option<Vec<u8>> {
        let fitting = room..=room.saturating_mul(EXCESS);
        let (place, _) = self
            .buffers
            .iter()
            .enumerate()
            .filter(|(_, buffer)| fitting.contains(&buffer.len()))
            .min_by_key(|(_, buffer)| buffer.len())?;
        let buffer = self.buffers.remove(place)?;
        self.bytes -= buffer.len();
        Some(buffer)
    }

    fn keep(&mut self, buffer: Vec<u8>) {
        if !(LEAST..=LARGEST).contains(&buffer.len()) {
            return;
        }
        self.bytes += buffer.len();
        self.buffers.push_back(buffer);
        while self.buffers.len() > MOST_BUFFERS || self.bytes > MOST_BYTES {
            self.bytes -= self.buffers.pop_front().map_or(0, |buffer| buffer.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_that_fits_is_taken() {
        let mut spare = Spare::new();
        for size in [400_000, 100_000, 200_000] {
            spare.keep(vec![0; size]);
        }
        assert_eq!(spare.take(500_000), None);
        assert_eq!(spare.take(150_000).unwrap().len(), 200_000);
        assert_eq!(spare.take(150_000).unwrap().len(), 400_000);
        // The last one is more than four times as large.
        assert_eq!(spare.take(20_000), None);
        assert_eq!(spare.take(100_000).unwrap().len(), 100_000);
        assert_eq!(spare.bytes, 0);
    }

    #[test]
    fn no_more_is_kept_than_allowed() {
        let mut spare = Spare::new();
        for size in [LEAST - 1, LARGEST + 1] {
            spare.keep(vec![0; size]);
            assert_eq!(spare.bytes, 0);
        }
        for _ in 0..2 * MOST_BUFFERS {
            spare.keep(vec![0; LEAST]);
        }
        assert_eq!(spare.bytes, MOST_BUFFERS * LEAST);
        for _ in 0..3 {
            spare.keep(vec![0; LARGEST]);
            assert!(spare.bytes <= MOST_BYTES && spare.buffers.len() <= MOST_BUFFERS);
        }
        assert_eq!(spare.bytes, 2 * LARGEST);
        assert_eq!(spare.buffers.len(), 2);
    }
}
