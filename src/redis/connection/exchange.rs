//! The order of writes and reads in which a pipeline is sent and answered.

use std::io;

use super::{failure, is_ours, lost};
use crate::error::{Error, ErrorKind, Result};
use crate::redis::command::Commands;
use crate::redis::config::Address;

/// What to do next with the socket.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Step<'c> {
    /// Write all of this.
    Write(&'c [u8]),
    /// Read what there is.
    Read,
    /// Every reply is there.
    Done,
}

/// One pipeline on its way: two segments are unanswered at the most, so that the server has the
/// next one at hand while it answers, and neither side has to hold more than that.
pub(super) struct Exchange<'c, S> {
    address: &'c Address,
    segments: S,
    /// How many replies complete the unanswered segments, oldest first.
    due: [Option<usize>; 2],
    replies: usize,
    answered: bool,
    lost: bool,
}

/// Begins the exchange of `commands` with the server at `address`.
pub(super) fn begin<'c>(
    commands: &'c Commands,
    address: &'c Address,
) -> Exchange<'c, impl Iterator<Item = (&'c [u8], usize)>> {
    Exchange {
        address,
        segments: commands.segments(),
        due: [None, None],
        replies: commands.len(),
        answered: false,
        lost: false,
    }
}

impl<'c, S: Iterator<Item = (&'c [u8], usize)>> Exchange<'c, S> {
    /// What to do when `replies` are complete.
    pub fn step(&mut self, replies: usize) -> Result<Step<'c>> {
        while self.due[0].is_some_and(|due| replies >= due) {
            self.due = [self.due[1].take(), None];
        }
        if let Some(place) = self.due.iter_mut().find(|due| due.is_none())
            && let Some((bytes, due)) = self.segments.next()
        {
            *place = Some(due);
            return Ok(Step::Write(bytes));
        }
        if self.due[0].is_some() {
            return Ok(Step::Read);
        }
        if replies > self.replies {
            return Err(Error::new(
                ErrorKind::Protocol,
                format!("{replies} replies came to {} commands", self.replies),
            ));
        }
        Ok(Step::Done)
    }

    /// Takes note of a write.
    pub fn sent(&mut self, result: io::Result<()>) -> Result<()> {
        result.map_err(|error| self.failed(error))
    }

    /// Takes note of a read; gives the number of bytes, which is not 0.
    pub fn received(&mut self, result: io::Result<usize>) -> Result<usize> {
        match result {
            Ok(0) => Err(self.failed(io::ErrorKind::UnexpectedEof.into())),
            Ok(n) => {
                self.answered = true;
                Ok(n)
            }
            Err(error) => Err(self.failed(error)),
        }
    }

    /// Whether the connection ended before a byte of reply came.
    pub fn lost(&self) -> bool {
        self.lost
    }

    fn failed(&mut self, error: io::Error) -> Error {
        if is_ours(&error) {
            return failure(self.address, error);
        }
        self.lost = !self.answered;
        lost(self.address, &error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address() -> Address {
        Address::Unix("/test".into())
    }

    #[test]
    fn two_segments_are_in_flight() {
        let mut commands = Commands::default();
        for _ in 0..4 {
            commands.push(&[b"ECHO", &vec![b'x'; 70_000]]);
        }
        let address = address();
        let mut exchange = begin(&commands, &address);
        let mut step = |replies| match exchange.step(replies).unwrap() {
            Step::Write(_) => 'w',
            Step::Read => 'r',
            Step::Done => 'd',
        };
        let replies = [0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 4];
        let steps: String = replies.into_iter().map(&mut step).collect();
        assert_eq!(steps, "wwrrwrwrrrd");
    }

    #[test]
    fn replies_ahead_of_their_turn_do_not_stall() {
        let mut commands = Commands::default();
        for _ in 0..3 {
            commands.push(&[b"ECHO", &vec![b'x'; 70_000]]);
        }
        let address = address();
        let mut exchange = begin(&commands, &address);
        for _ in 0..2 {
            assert!(matches!(exchange.step(0).unwrap(), Step::Write(_)));
        }
        assert!(matches!(exchange.step(2).unwrap(), Step::Write(_)));
        assert_eq!(exchange.step(2).unwrap(), Step::Read);
        assert_eq!(exchange.step(3).unwrap(), Step::Done);
    }

    #[test]
    fn too_many_replies_are_an_error() {
        let mut commands = Commands::default();
        commands.push(&[b"PING"]);
        let address = address();
        let mut exchange = begin(&commands, &address);
        assert!(matches!(exchange.step(0).unwrap(), Step::Write(_)));
        assert_eq!(exchange.step(2).unwrap_err().kind(), ErrorKind::Protocol);
    }

    #[test]
    fn nothing_to_send_is_done() {
        let (commands, address) = (Commands::default(), address());
        assert_eq!(begin(&commands, &address).step(0).unwrap(), Step::Done);
    }
}
