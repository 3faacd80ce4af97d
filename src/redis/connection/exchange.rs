//! The order of writes and reads in which a pipeline is sent and answered.

use std::collections::VecDeque;
use std::io;

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

/// How many segments are unanswered at the most.
const SEGMENTS: usize = 8;

/// With so many unanswered bytes of commands no further segment is sent.
const UNANSWERED_BYTES: usize = 2 * SEGMENT_BYTES;

/// One pipeline on its way: few segments are unanswered at a time, so that the server has the next
/// ones at hand while it answers, and neither side, nor a proxy between, has to hold more than that.
#[derive(Debug, Default)]
pub(super) struct Exchange {
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
    /// What to do when `replies` of those to `commands` are complete.
    pub fn step<'c>(&mut self, commands: &'c Commands, replies: usize) -> Result<Step<'c>> {
        while let Some(&(due, bytes)) = self.due.front()
            && replies >= due
        {
            self.due.pop_front();
            self.unanswered -= bytes;
        }
        if self.due.len() < SEGMENTS
            && self.unanswered < UNANSWERED_BYTES
            && let Some((bytes, due)) = commands.segment(self.segment)
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

    /// Takes note of `n` bytes written.
    pub fn sent(&mut self, n: usize) {
        self.written += n;
    }

    /// Takes note of bytes read.
    pub fn received(&mut self) {
        self.answered = true;
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
        let mut exchange = Exchange::default();
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
        let mut exchange = Exchange::default();
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
        let mut exchange = Exchange::default();
        exchange.sent(commands.byte_len());
        let error = exchange.step(&commands, 2).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Protocol);
    }

    #[test]
    fn nothing_to_send_is_done() {
        assert_eq!(steps(&Commands::default(), &[0]), "d");
    }
}
