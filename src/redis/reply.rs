//! Replies in RESP, taken in as they arrive.
//!
//! Nothing here copies: a bulk string is a range of the buffer it was read into. What is not
//! complete yet is kept apart from what is wrong.

mod spare;

use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};

/// Takes in the replies to one pipeline. It does no I/O: a connection reads into the space that it
/// offers and says how much came.
pub trait ReplySink {
    /// Where the next bytes are to be read into; never empty. An error when the replies are larger
    /// than the limit.
    fn space(&mut self) -> Result<&mut [u8]>;

    /// Takes in the first `n` bytes of the space. Errors are of the protocol: the bytes are no
    /// RESP. An error *reply* is no error here; it is kept until every reply has been read, so that
    /// the connection stays usable, and reported by what the sink answers at the end.
    fn advance(&mut self, n: usize) -> Result<()>;

    /// How many replies are complete.
    fn replies(&self) -> usize;

    /// How many bytes the replies will have, as far as that is known; a guess.
    fn expected_bytes(&self) -> usize {
        0
    }

    /// Takes note that the reply which is next in order will not come, nor the rest of it if some
    /// has, because of `error`. A sink that can do without counts the reply as complete; others
    /// give the error back, which fails the run.
    fn unanswered(&mut self, error: &Error) -> Result<()> {
        Err(error.clone())
    }

    /// How much of the time that [`advance`](Self::advance) took in all was spent on something else than
    /// replies. It is nobody's fault but the caller's own, and does not count against a server.
    fn held_up(&self) -> Duration {
        Duration::ZERO
    }

    /// Takes note that the commands are sent once more: the connection was lost before a byte of
    /// reply came, and the server may have run them.
    fn sent_again(&mut self) {}
}

/// Bytes as they came from the socket; the part that is filled grows towards the limit.
#[derive(Debug, Default)]
pub struct ReplyBuffer {
    bytes: Vec<u8>,
    /// How many there are to be at first.
    room: usize,
    filled: usize,
    limit: usize,
}

/// The least room that is offered to a read.
const READ_BYTES: usize = 16 * 1024;

impl Drop for ReplyBuffer {
    fn drop(&mut self) {
        spare::keep(std::mem::take(&mut self.bytes));
    }
}

impl ReplyBuffer {
    /// A buffer that expects `expected` bytes and takes `limit` at the most.
    #[must_use]
    pub fn new(expected: usize, limit: usize) -> Self {
        let limit = limit.min(u32::MAX as usize - 1);
        // Room for the whole reply, so that the last read need not grow the buffer; rounded up, for what is
        // expected changes a little from read to read, and a spare buffer is to fit.
        let room = expected + expected / 16 + READ_BYTES;
        let grain = (room.next_power_of_two() / 16).max(READ_BYTES);
        let room = room.next_multiple_of(grain).min(limit);
        Self {
            bytes: Vec::new(),
            room,
            filled: 0,
            limit,
        }
    }

    /// What has come so far.
    #[must_use]
    #[inline]
    pub fn filled(&self) -> &[u8] {
        &self.bytes[..self.filled]
    }

    /// Room for the next read; at least as much as half of what is there, so that a long reply is
    /// not moved often.
    pub fn space(&mut self) -> Result<&mut [u8]> {
        // Not before: a request that waits for its turn costs no more than its commands.
        if self.bytes.is_empty() {
            self.bytes = spare::take(self.room).unwrap_or_else(|| vec![0; self.room]);
        }
        if self.bytes.len().min(self.limit) - self.filled < READ_BYTES / 4 {
            let wanted = (self.filled + (self.filled / 2).max(READ_BYTES)).min(self.limit);
            if wanted <= self.filled {
                return Err(self.too_large());
            }
            self.bytes.resize(wanted.max(self.bytes.len()), 0);
        }
        let end = self.bytes.len().min(self.limit);
        Ok(&mut self.bytes[self.filled..end])
    }

    /// Counts `n` bytes of the space as filled.
    pub fn advance(&mut self, n: usize) {
        self.filled = (self.filled + n).min(self.bytes.len()).min(self.limit);
    }

    /// Room for exactly `n` bytes that are not read but made of what was; an error when that is more than
    /// the limit.
    pub fn room(&mut self, n: usize) -> Result<&mut [u8]> {
        let end = self.filled + n;
        if end > self.limit {
            return Err(self.too_large());
        }
        if self.bytes.is_empty() {
            let room = self.room.max(end);
            self.bytes = spare::take(room).unwrap_or_else(|| vec![0; room]);
        } else if end > self.bytes.len() {
            let more = self.filled / 2 + READ_BYTES;
            self.bytes.resize((end + more).min(self.limit).max(end), 0);
        }
        Ok(&mut self.bytes[self.filled..end])
    }

    fn too_large(&self) -> Error {
        Error::new(
            ErrorKind::Protocol,
            format!(
                "the replies are larger than max_reply_bytes = {}: ask for fewer entities at once, or \
                 raise the limit",
                self.limit
            ),
        )
    }

    /// Puts bytes of our own, to which the limit of replies does not apply, behind those that came;
    /// answers where they start.
    pub fn append(&mut self, bytes: &[u8]) -> Result<usize> {
        let start = self.filled;
        let end = start + bytes.len();
        if end >= u32::MAX as usize {
            return Err(Error::new(
                ErrorKind::Protocol,
                "the replies leave no room for default values: ask for fewer entities at once",
            ));
        }
        self.bytes.resize(end.max(self.bytes.len()), 0);
        self.bytes[start..end].copy_from_slice(bytes);
        self.filled = end;
        self.limit = self.limit.max(end);
        Ok(start)
    }
}

/// The error of bytes that are not RESP.
#[must_use]
pub fn malformed(what: &str, at: usize, bytes: &[u8]) -> Error {
    let end = bytes.len().min(at + 32);
    Error::new(
        ErrorKind::Protocol,
        format!(
            "the server's reply is not RESP at byte {at}: {what} (\"{}\"); is this address a \
             Redis or Valkey server?",
            bytes[at.min(end)..end].escape_ascii()
        ),
    )
}

/// A bulk string in the buffer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Bulk {
    /// Where its bytes start.
    pub start: usize,
    /// How many there are; `None` for the nil reply.
    pub len: Option<usize>,
    /// Where the next reply starts.
    pub next: usize,
}

/// Reads the bulk string at `at`; `None` while it is incomplete.
#[expect(
    clippy::inline_always,
    reason = "the loop over a reply's cells is made of it"
)]
#[inline(always)]
pub fn bulk(bytes: &[u8], at: usize) -> Result<Option<Bulk>> {
    // Nearly every length has one or two digits; the general case is kept out of the loop.
    let (start, len) = match bytes.get(at..) {
        Some([b'$', a @ b'0'..=b'9', b'\r', b'\n', ..]) => (at + 4, usize::from(a - b'0')),
        Some([b'$', a @ b'0'..=b'9', b @ b'0'..=b'9', b'\r', b'\n', ..]) => {
            (at + 5, usize::from(a - b'0') * 10 + usize::from(b - b'0'))
        }
        _ => match bulk_head(bytes, at)? {
            Some((start, Some(len))) => (start, len),
            Some((start, None)) => {
                return Ok(Some(Bulk {
                    start,
                    len: None,
                    next: start,
                }));
            }
            None => return Ok(None),
        },
    };
    match bytes.get(start + len..start + len + 2) {
        Some(b"\r\n") => Ok(Some(Bulk {
            start,
            len: Some(len),
            next: start + len + 2,
        })),
        Some(_) => Err(malformed(
            "a bulk string does not end where it should",
            at,
            bytes,
        )),
        None => Ok(None),
    }
}

/// No bulk string is as long; by default Redis sends none of more than a quarter of it.
pub(crate) const BULK_LIMIT: i64 = 1 << 31;

#[cold]
fn bulk_head(bytes: &[u8], at: usize) -> Result<Option<(usize, Option<usize>)>> {
    let Some(&sigil) = bytes.get(at) else {
        return Ok(None);
    };
    if sigil != b'$' {
        return Err(malformed("a bulk string was expected", at, bytes));
    }
    let Some((text, start)) = line(bytes, at)? else {
        return Ok(None);
    };
    match integer(text) {
        Some(-1) => Ok(Some((start, None))),
        Some(len @ 0..BULK_LIMIT) => Ok(Some((start, Some(len as usize)))),
        _ => Err(malformed("a bulk string's length is wrong", at, bytes)),
    }
}

/// Lines are lengths, statuses and error texts; none is longer than this.
const LINE_LIMIT: usize = 64 * 1024;

/// The line at `at` without its sigil and end, and where the next one starts; `None` while it is
/// incomplete.
pub fn line(bytes: &[u8], at: usize) -> Result<Option<(&[u8], usize)>> {
    let rest = bytes.get(at + 1..).unwrap_or_default();
    let window = &rest[..rest.len().min(LINE_LIMIT)];
    match window.windows(2).position(|pair| pair == b"\r\n") {
        Some(length) => Ok(Some((&window[..length], at + 1 + length + 2))),
        None if rest.len() >= LINE_LIMIT => Err(malformed("a line has no end", at, bytes)),
        None => Ok(None),
    }
}

/// A signed decimal integer, as RESP writes it.
#[must_use]
pub fn integer(text: &[u8]) -> Option<i64> {
    let (digits, negative) = match text {
        [b'-', digits @ ..] => (digits, true),
        digits => (digits, false),
    };
    if digits.is_empty() || digits.len() > 18 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let value = digits
        .iter()
        .fold(0_i64, |value, digit| value * 10 + i64::from(digit - b'0'));
    Some(if negative { -value } else { value })
}

/// The text of an error reply, for a message.
#[must_use]
pub fn error_text(text: &[u8]) -> String {
    String::from_utf8_lossy(text).into_owned()
}

/// Whether an error reply tells of a state that passes by itself: the server loads its data, lost its
/// scripts, fails over, moves a slot or is busy with a script.
#[must_use]
pub fn is_transient(words: &str) -> bool {
    let code = words.split_ascii_whitespace().next().unwrap_or("");
    matches!(
        code,
        "LOADING" | "NOSCRIPT" | "READONLY" | "TRYAGAIN" | "CLUSTERDOWN" | "MASTERDOWN" | "BUSY"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bulk_strings_are_ranges() {
        let bytes = b"$3\r\nabc\r\n$-1\r\n$0\r\n\r\n$12\r\nabcdefghijkl\r\n";
        let first = bulk(bytes, 0).unwrap().unwrap();
        assert_eq!((first.start, first.len, first.next), (4, Some(3), 9));
        let nil = bulk(bytes, 9).unwrap().unwrap();
        assert_eq!((nil.len, nil.next), (None, 14));
        let empty = bulk(bytes, 14).unwrap().unwrap();
        assert_eq!((empty.len, empty.next), (Some(0), 20));
        let last = bulk(bytes, 20).unwrap().unwrap();
        assert_eq!(
            (last.start, last.len, last.next),
            (25, Some(12), bytes.len())
        );
    }

    #[test]
    fn every_prefix_is_incomplete_not_wrong() {
        for whole in [
            &b"$12\r\nabcdefghijkl\r\n"[..],
            b"$3\r\nabc\r\n",
            b"$-1\r\n",
        ] {
            for end in 0..whole.len() {
                assert_eq!(bulk(&whole[..end], 0).unwrap(), None, "{end}");
            }
        }
    }

    #[test]
    fn what_is_not_resp_is_refused() {
        for wrong in [
            &b"+OK\r\n"[..],
            b"$x\r\n",
            b"$-2\r\n",
            b"$3\r\nabcdef",
            b"$99999999999999999999\r\n",
            b"HTTP/1.1 400 Bad Request\r\n",
        ] {
            let error = bulk(wrong, 0).unwrap_err();
            assert_eq!(
                error.kind(),
                ErrorKind::Protocol,
                "{}",
                wrong.escape_ascii()
            );
        }
    }

    #[test]
    fn a_buffer_stops_at_its_limit() {
        let mut buffer = ReplyBuffer::new(0, 20_000);
        let mut total = 0;
        let error = loop {
            match buffer.space() {
                Ok(space) => total += space.len(),
                Err(error) => break error,
            }
            let n = buffer.space().unwrap().len();
            buffer.advance(n);
        };
        assert_eq!(total, 20_000);
        assert!(error.to_string().contains("max_reply_bytes"), "{error}");
    }
}
