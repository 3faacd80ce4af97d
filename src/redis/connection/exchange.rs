//! The order of writes and reads in which a pipeline is sent and answered.

use std::collections::VecDeque;
use std::io;
use std::time::{Duration, Instant};

use super::{failure, is_ours, lost};
use crate::error::{Error, ErrorKind, Result};
use crate::redis::command::{Commands, SEGMENT_BYTES};
use crate::redis::config::Address;

/// What to do next with the socket.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Step<'c> {
    /// Write this, or as much of it as goes.
    Write(&'c [u8]),
    /// Read what there is.
    Read,
    /// Every reply is there.
    Done,
}

/// How many segments are unanswered at the most, where the server is near.
const SEGMENTS: usize = 8;

/// Where it is not, there is one more for each such part of a round trip. A server makes no more bytes
/// of replies meanwhile than a segment is expected to have.
const SEGMENT_TIME: Duration = Duration::from_micros(128);

/// How many bytes of commands they have at the most; but two may be unanswered, however long.
const UNANSWERED_BYTES: usize = 2 * SEGMENT_BYTES;

/// One pipeline on its way: few segments are unanswered at a time, so that the server has the next
/// ones at hand while it answers, and neither side, nor a proxy between, has to hold more than that.
#[derive(Debug)]
pub(super) struct Exchange {
    /// How long the server takes to begin with an answer, at the least that is known.
    round_trip: Duration,
    /// When the first bytes were sent.
    began: Option<Instant>,
    /// The segment to write next, or being written.
    segment: usize,
    /// How many bytes of it are written.
    written: usize,
    /// Of the unanswered segments, oldest first, how many replies complete each and how many bytes of
    /// commands it has.
    due: VecDeque<(usize, usize)>,
    /// How many bytes they have in all.
    unanswered: usize,
    answered: bool,
    lost: bool,
}

impl Exchange {
    /// A pipeline through a connection whose shortest round trip is known, or `Duration::MAX`.
    pub fn new(round_trip: Duration) -> Self {
        Self {
            round_trip,
            began: None,
            segment: 0,
            written: 0,
            due: VecDeque::new(),
            unanswered: 0,
            answered: false,
            lost: false,
        }
    }

    /// What to do when `replies` of those to `commands` are complete.
    pub fn step<'c>(&mut self, commands: &'c Commands, replies: usize) -> Result<Step<'c>> {
        while let Some(&(due, bytes)) = self.due.front()
            && replies >= due
        {
            self.due.pop_front();
            self.unanswered -= bytes;
        }
        if let Some((bytes, due)) = commands.segment(self.segment)
            && self.has_room(bytes.len())
        {
            if self.written < bytes.len() {
                return Ok(Step::Write(&bytes[self.written..]));
            }
            self.due.push_back((due, bytes.len()));
            self.unanswered += bytes.len();
            self.segment += 1;
            self.written = 0;
            return self.step(commands, replies);
        }
        if !self.due.is_empty() {
            return Ok(Step::Read);
        }
        let expected = commands.len();
        if replies > expected {
            return Err(Error::new(
                ErrorKind::Protocol,
                format!("{replies} replies came to {expected} commands"),
            ));
        }
        Ok(Step::Done)
    }

    /// Whether a segment of so many bytes may be sent.
    fn has_room(&self, bytes: usize) -> bool {
        let more = self.round_trip.as_micros() / SEGMENT_TIME.as_micros();
        let most = SEGMENTS.saturating_add(usize::try_from(more).unwrap_or(usize::MAX));
        self.due.len() < 2 || self.due.len() < most && self.unanswered + bytes <= UNANSWERED_BYTES
    }

    /// Takes note of `n` bytes written.
    pub fn sent(&mut self, n: usize) {
        self.written += n;
        self.began.get_or_insert_with(Instant::now);
    }

    /// Takes note of bytes read.
    pub fn received(&mut self) {
        if let (false, Some(began)) = (self.answered, self.began) {
            self.round_trip = self.round_trip.min(began.elapsed());
        }
        self.answered = true;
    }

    /// The shortest round trip so far, for the connection's next pipeline.
    pub fn round_trip(&self) -> Duration {
        self.round_trip
    }

    /// Whether a byte of reply has come.
    pub fn answered(&self) -> bool {
        self.answered
    }

    /// Whether the connection ended before a byte of reply came.
    pub fn lost(&self) -> bool {
        self.lost
    }

    /// Takes note of a failure to write to `address`, or to read from it; gives this crate's error.
    pub fn failed(&mut self, error: io::Error, address: &Address) -> Error {
        if is_ours(&error) {
            return failure(address, error);
        }
        self.lost = !self.answered;
        lost(address, &error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the exchange does as replies come: each segment is written in one go.
    fn steps(commands: &Commands, replies: &[usize]) -> String {
        let mut exchange = Exchange::new(Duration::ZERO);
        let step = |&replies: &usize| match exchange.step(commands, replies).unwrap() {
            Step::Write(bytes) => {
                let n = bytes.len();
                exchange.sent(n);
                'w'
            }
            Step::Read => 'r',
            Step::Done => 'd',
        };
        replies.iter().map(step).collect()
    }

    #[test]
    fn two_segments_are_in_flight() {
        let mut commands = Commands::default();
        for _ in 0..4 {
            commands.push(&[b"ECHO", &vec![b'x'; 70_000]]);
        }
        let replies = [0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 4];
        assert_eq!(steps(&commands, &replies), "wwrrwrwrrrd");
    }

    #[test]
    fn of_commands_with_long_replies_a_few_are_in_flight() {
        let mut commands = Commands::default();
        for _ in 0..10 {
            commands.begin(1);
            commands.argument(b"PING");
            commands.end_expecting(1 << 20);
        }
        assert_eq!(steps(&commands, &[0; 9]), "wwwwwwwwr");
        let replies = [0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 2, 2, 10];
        assert_eq!(steps(&commands, &replies), "wwwwwwwwrwrrwrd");
    }

    #[test]
    fn more_are_in_flight_to_a_server_far_away() {
        let mut commands = Commands::default();
        for _ in 0..40 {
            commands.begin(1);
            commands.end_expecting(1 << 20);
        }
        for (round_trip, most) in [(0, 8), (1000, 15), (u64::MAX, 40)] {
            let mut exchange = Exchange::new(Duration::from_micros(round_trip));
            let mut written = 0;
            while let Step::Write(bytes) = exchange.step(&commands, 0).unwrap() {
                let n = bytes.len();
                exchange.sent(n);
                written += 1;
            }
            assert_eq!(written, most);
            exchange.received();
            assert!(exchange.round_trip() <= Duration::from_micros(round_trip));
        }
    }

    #[test]
    fn replies_ahead_of_their_turn_do_not_stall() {
        let mut commands = Commands::default();
        for _ in 0..3 {
            commands.push(&[b"ECHO", &vec![b'x'; 70_000]]);
        }
        assert_eq!(steps(&commands, &[0, 0, 2, 2, 3]), "wwwrd");
    }

    #[test]
    fn a_segment_is_written_in_as_many_parts_as_it_takes() {
        let mut commands = Commands::default();
        commands.push(&[b"PING"]);
        let (whole, _) = commands.segment(0).unwrap();
        let mut exchange = Exchange::new(Duration::ZERO);
        for from in [0, 1, 7] {
            assert_eq!(
                exchange.step(&commands, 0).unwrap(),
                Step::Write(&whole[from..])
            );
            exchange.sent(if from == 0 { 1 } else { 6 });
        }
        exchange.sent(whole.len() - 13);
        assert_eq!(exchange.step(&commands, 0).unwrap(), Step::Read);
        assert_eq!(exchange.step(&commands, 1).unwrap(), Step::Done);
    }

    #[test]
    fn too_many_replies_are_an_error() {
        let mut commands = Commands::default();
        commands.push(&[b"PING"]);
        let mut exchange = Exchange::new(Duration::ZERO);
        exchange.sent(commands.byte_len());
        let error = exchange.step(&commands, 2).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Protocol);
    }

    #[test]
    fn nothing_to_send_is_done() {
        assert_eq!(steps(&Commands::default(), &[0]), "d");
    }
}
