//! One thread that waits for several calls at once.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::Call;
use super::flight::Flight;
use super::lookout::look;
use super::round::Round;
use crate::error::{Error, ErrorKind, Result};
use crate::redis::connection::Interrupt;
use crate::redis::deadline::Deadline;
use crate::redis::reply::ReplySink;

/// The longest sleep of a thread that waits for servers. A signal wakes it, but not one that comes
/// just before it falls asleep.
const NAP: Duration = Duration::from_millis(200);

/// The same for one that waits for a turn, or to be connected.
const WATCH: Duration = Duration::from_millis(50);

/// Runs all calls on the calling thread, at the same time, until `deadline` at most. Each ends with
/// an outcome of its own, and gives its turn and its connection back when it does, whatever the
/// others wait for. `interrupt` is asked when a signal arrives and now and then; its error ends the
/// calls that are under way.
///
/// The outcomes' errors are those of [`Pool::run`](super::Pool::run).
pub fn run_all<'a, S: ReplySink + ?Sized + 'a>(
    calls: &mut [Call<'a, S>],
    deadline: Deadline,
    interrupt: Interrupt<'_>,
) {
    let mut flights: Vec<_> = calls.iter_mut().map(Flight::new).collect();
    drive(&mut flights, deadline, interrupt);
}

/// Runs one call.
pub(super) fn run<S: ReplySink + ?Sized>(
    mut call: Call<'_, S>,
    deadline: Deadline,
    interrupt: Interrupt<'_>,
) -> Result<()> {
    drive(&mut [Flight::new(&mut call)], deadline, interrupt);
    call.outcome.unwrap_or(Ok(()))
}

fn drive<S: ReplySink + ?Sized>(
    flights: &mut [Flight<'_, '_, S>],
    deadline: Deadline,
    interrupt: Interrupt<'_>,
) {
    let round = Round::new(deadline);
    let mut asked = None;
    loop {
        for at in 0..flights.len() {
            if flights[at].is_due() {
                flights[at].advance(&round);
                give_up_rivals(flights, at);
            }
        }
        if flights.iter().all(Flight::has_ended) {
            return;
        }
        if let Err(error) = sleep(flights, &round, &mut asked, interrupt) {
            for flight in flights.iter_mut().filter(|flight| !flight.has_ended()) {
                flight.end(Some(Err(error.clone())));
            }
            return;
        }
    }
}

/// Gives up the rivals of the call at `winner`, if that has succeeded.
fn give_up_rivals<S: ReplySink + ?Sized>(flights: &mut [Flight<'_, '_, S>], winner: usize) {
    let call = &flights[winner].call;
    let (Some(Ok(())), Some(rival)) = (&call.outcome, call.rival) else {
        return;
    };
    for flight in flights {
        if flight.call.rival == Some(rival) && !flight.has_ended() {
            flight.end(None);
        }
    }
}

/// Waits until something can go on, or a while.
fn sleep<S: ReplySink + ?Sized>(
    flights: &[Flight<'_, '_, S>],
    round: &Round,
    asked: &mut Option<Instant>,
    interrupt: Interrupt<'_>,
) -> Result<()> {
    let now = Instant::now();
    let under_way = || flights.iter().filter(|flight| !flight.has_ended());
    let talking = under_way().all(Flight::is_talking);
    let asks = *asked.get_or_insert(now) + if talking { NAP } else { WATCH };
    let wakes = under_way().filter_map(|flight| flight.wait().until);
    let end = wakes.fold(asks, Instant::min);
    let left = || end.saturating_duration_since(Instant::now());
    let mut fds: Vec<_> = under_way()
        .filter_map(Flight::polled)
        .chain(
            round
                .bell_in_use()
                .map(|bell| (bell.as_fd(), PollFlags::IN)),
        )
        .map(|(fd, events)| PollFd::from_borrowed_fd(fd, events))
        .collect();
    let looks = under_way().filter_map(Flight::looks_out).min();
    let polled = match look(&mut fds, looks.unwrap_or_default().min(left())) {
        Ok(0) => poll(&mut fds, Some(&timespec(left()))),
        found => found,
    };
    let woken = match polled {
        Ok(_) => false,
        Err(Errno::INTR) => true,
        Err(error) => {
            return Err(Error::new(
                ErrorKind::Connection,
                format!("waiting for redis failed: {error}"),
            ));
        }
    };
    let now = Instant::now();
    let events: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
    let mut events = events.into_iter();
    let rung = round.bell_in_use().is_some() && events.next_back() == Some(true);
    for flight in under_way() {
        let event = flight.polled().is_some() && events.next() == Some(true);
        flight.notice(event, rung, now);
    }
    if let (true, Some(bell)) = (rung, round.bell_in_use()) {
        bell.heard();
    }
    if woken || now >= asks {
        *asked = Some(now);
        interrupt()?;
    }
    Ok(())
}

fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: duration.as_secs() as i64,
        tv_nsec: i64::from(duration.subsec_nanos()),
    }
}
