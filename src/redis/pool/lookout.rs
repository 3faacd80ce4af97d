//! Looking for a reply for a moment before falling asleep.
//!
//! A server on the same host answers a small read sooner than the kernel puts a thread to sleep and
//! wakes it again, so a thread that looks for the reply meanwhile has it sooner. That costs its
//! core for at most `busy_poll_us`. A server that is farther away answers later than that: after
//! each look in vain the thread sleeps twice as often without one as before, so that it looks in vain
//! some one time in 64. So it does as well when another thread wants the core.

use std::cell::Cell;
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, Timespec, poll};
use rustix::io::Errno;

use crate::redis::habit::Habit;

/// A thread that lets others run and is back only after this long has kept one of them waiting.
const CROWDED: Duration = Duration::from_micros(15);

const AT_ONCE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 0,
};

thread_local! {
    static HABIT: Cell<Habit> = const { Cell::new(Habit::new()) };
}

/// Looks for an event of `fds`, for `limit` at most; as `poll`, how many came.
pub(super) fn look(fds: &mut [PollFd<'_>], limit: Duration) -> Result<usize, Errno> {
    if limit.is_zero() || !has_cores() {
        return Ok(0);
    }
    let habit = HABIT.get();
    if let Some(passing) = habit.passing() {
        HABIT.set(passing);
        return Ok(0);
    }
    let begin = Instant::now();
    let mut last = begin;
    loop {
        let events = poll(fds, Some(&AT_ONCE))?;
        if events > 0 {
            HABIT.set(Habit::new());
            return Ok(events);
        }
        thread::yield_now();
        let now = Instant::now();
        if now - begin >= limit || now - last > CROWDED {
            HABIT.set(habit.discouraged());
            return Ok(0);
        }
        last = now;
    }
}

/// Whether a server on this host can run while a thread looks for its reply.
fn has_cores() -> bool {
    static CORES: OnceLock<bool> = OnceLock::new();
    *CORES.get_or_init(|| thread::available_parallelism().is_ok_and(|cores| cores.get() > 1))
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    use rustix::event::PollFlags;

    use super::*;
    use crate::redis::habit::MOST_SKIPPED;

    #[test]
    fn a_server_that_is_far_away_is_seldom_looked_for() {
        if !has_cores() {
            return;
        }
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let looks = |times: u32| -> u32 {
            (0..times)
                .map(|_| {
                    let begin = Instant::now();
                    let mut fds = [PollFd::new(&ours, PollFlags::IN)];
                    assert_eq!(look(&mut fds, Duration::from_millis(1)), Ok(0));
                    // A look ends early where others want the core, but not at once.
                    u32::from(begin.elapsed() > CROWDED)
                })
                .sum()
        };
        let vain = looks(1000);
        assert!((1000 / 64..100).contains(&vain), "{vain}");

        theirs.write_all(b"+OK\r\n").unwrap();
        let soon = |limit| look(&mut [PollFd::new(&ours, PollFlags::IN)], limit) == Ok(1);
        assert!(!soon(Duration::ZERO));
        let limit = Duration::from_millis(1);
        let found = (0..=MOST_SKIPPED).filter(|_| soon(limit)).count();
        assert!(found > 0);
        // It pays again.
        assert!((0..10).all(|_| soon(limit)));
    }
}
