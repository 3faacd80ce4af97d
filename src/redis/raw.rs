//! Replies as they came, with where each ends: for whoever puts the replies of several servers back
//! into one order before anything looks inside.

use super::reply::{self, ReplyBuffer, ReplySink, is_transient, malformed};
use crate::error::{Error, ErrorKind, Result};

/// Collects the replies to one pipeline of one server.
#[derive(Debug)]
pub struct RawReplies {
    buffer: ReplyBuffer,
    ends: Vec<usize>,
    due: usize,
    /// Where the next unscanned byte is.
    at: usize,
    /// How many items of the reply at `at` are still to come, items within items counted in.
    left: usize,
    sent_again: bool,
    picky: bool,
}

impl RawReplies {
    /// A collector of `due` replies, `expected` bytes of them and `limit` at the most.
    #[must_use]
    pub fn new(due: usize, expected: usize, limit: usize) -> Self {
        Self {
            buffer: ReplyBuffer::new(expected, limit),
            ends: Vec::with_capacity(due),
            due,
            at: 0,
            left: 0,
            sent_again: false,
            picky: false,
        }
    }

    /// The same, for which replies that are all of a state that passes by itself are none.
    #[must_use]
    pub fn picky(mut self) -> Self {
        self.picky = true;
        self
    }

    /// Fails if all replies are the server's word that its state will pass.
    fn pick(&self) -> Result<()> {
        let mut words = None;
        for reply in 0..self.ends.len() {
            match self.error(reply).filter(|words| is_transient(words)) {
                Some(said) => words = Some(said),
                None => return Ok(()),
            }
        }
        match words {
            Some(words) => Err(Error::new(ErrorKind::Server, words).transient()),
            None => Ok(()),
        }
    }

    /// The bytes of a reply.
    #[must_use]
    pub fn reply(&self, reply: usize) -> &[u8] {
        let start = match reply {
            0 => 0,
            _ => self.ends[reply - 1],
        };
        &self.buffer.filled()[start..self.ends[reply]]
    }

    /// The server's words, if a reply is an error.
    #[must_use]
    pub fn error(&self, reply: usize) -> Option<String> {
        match self.reply(reply) {
            [b'-', words @ .., b'\r', b'\n'] => Some(reply::error_text(words)),
            _ => None,
        }
    }

    /// Whether a reply says that there is nothing: nil, an empty array, or an array of nils.
    #[must_use]
    pub fn is_absence(&self, reply: usize) -> bool {
        let bytes = self.reply(reply);
        if bytes.first() != Some(&b'*') {
            return bytes == b"$-1\r\n";
        }
        let head = bytes.iter().position(|&byte| byte == b'\n');
        let items = head.map_or(&[][..], |head| &bytes[head + 1..]);
        items.chunks(5).all(|item| item == b"$-1\r\n")
    }

    /// Whether the server may have run the commands twice.
    #[must_use]
    pub fn were_sent_again(&self) -> bool {
        self.sent_again
    }

    fn scan(&mut self) -> Result<()> {
        let bytes = self.buffer.filled();
        while let Some(&sigil) = bytes.get(self.at) {
            if self.left == 0 {
                if self.ends.len() == self.due {
                    let what = "more was sent than was asked for";
                    return Err(malformed(what, self.at, bytes));
                }
                self.left = 1;
            }
            if sigil == b'$' {
                let Some(bulk) = reply::bulk(bytes, self.at)? else {
                    return Ok(());
                };
                self.at = bulk.next;
            } else {
                if !matches!(sigil, b'*' | b'+' | b'-' | b':') {
                    return Err(malformed("a reply was expected", self.at, bytes));
                }
                let Some((text, next)) = reply::line(bytes, self.at)? else {
                    return Ok(());
                };
                if sigil == b'*' {
                    // The nil array has none.
                    let items = reply::integer(text).filter(|items| *items >= -1);
                    let items = items
                        .ok_or_else(|| malformed("an array's length is wrong", self.at, bytes))?;
                    self.left = self.left.saturating_add(items.max(0) as usize);
                }
                self.at = next;
            }
            self.left -= 1;
            if self.left == 0 {
                self.ends.push(self.at);
            }
        }
        Ok(())
    }
}

impl ReplySink for RawReplies {
    fn space(&mut self) -> Result<&mut [u8]> {
        self.buffer.space()
    }

    fn advance(&mut self, n: usize) -> Result<()> {
        self.buffer.advance(n);
        self.scan()?;
        if self.picky && self.ends.len() == self.due {
            self.pick()?;
        }
        Ok(())
    }

    fn replies(&self) -> usize {
        self.ends.len()
    }

    fn sent_again(&mut self) {
        self.sent_again = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    fn collect(pieces: &[&[u8]], due: usize) -> Result<RawReplies> {
        let mut replies = RawReplies::new(due, 0, 1 << 20);
        for piece in pieces {
            replies.space()?[..piece.len()].copy_from_slice(piece);
            replies.advance(piece.len())?;
        }
        Ok(replies)
    }

    const WHOLE: &[&[u8]] = &[
        b"*2\r\n$1\r\na\r\n$2\r\n\r\n\r\n",
        b"-MOVED 7 h:1\r\n",
        b"*-1\r\n",
        b"*0\r\n",
        b"*2\r\n*1\r\n:7\r\n*2\r\n$-1\r\n+OK\r\n",
        b"$3\r\nabc\r\n",
    ];

    #[test]
    fn replies_end_where_they_do_however_they_arrive() {
        let bytes = WHOLE.concat();
        for cut in 1..bytes.len() {
            let replies = collect(&[&bytes[..cut], &bytes[cut..]], WHOLE.len()).unwrap();
            assert_eq!(replies.replies(), WHOLE.len());
            for (place, reply) in WHOLE.iter().enumerate() {
                assert_eq!(&replies.reply(place), reply);
            }
        }
        let replies = collect(&[&bytes], WHOLE.len()).unwrap();
        assert_eq!(replies.error(1).unwrap(), "MOVED 7 h:1");
        assert_eq!(replies.error(2), None);
    }

    #[test]
    fn nothing_is_told_from_something() {
        let absent = [
            &b"*-1\r\n"[..],
            b"*0\r\n",
            b"$-1\r\n",
            b"*2\r\n$-1\r\n$-1\r\n",
        ];
        let present = [
            &b"*1\r\n$0\r\n\r\n"[..],
            b"*2\r\n$-1\r\n$1\r\na\r\n",
            b"*2\r\n$1\r\na\r\n$-1\r\n",
            b"$0\r\n\r\n",
            b":0\r\n",
            b"+OK\r\n",
        ];
        for (replies, expected) in [(&absent[..], true), (&present[..], false)] {
            for reply in replies {
                let collected = collect(&[reply], 1).unwrap();
                assert_eq!(collected.is_absence(0), expected, "{reply:?}");
            }
        }
    }

    #[test]
    fn what_is_no_reply_is_refused() {
        for wrong in [&b"HTTP/1.1\r\n"[..], b"*-2\r\n", b":1\r\n:2\r\n"] {
            let error = collect(&[wrong], 1).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Protocol);
        }
    }
}
