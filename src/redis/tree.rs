//! Replies as a tree of owned values: for the commands that are few (writes' acknowledgements,
//! SCAN, HKEYS, DEL). Reads use the [`grid`](crate::grid) instead.

use super::reply::{self, ReplyBuffer, ReplySink, malformed};
use crate::error::Result;

/// One reply of RESP2.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Reply {
    /// The nil bulk string or array.
    Nil,
    /// A number.
    Integer(i64),
    /// A status, such as `OK`.
    Status(String),
    /// A bulk string.
    Bytes(Vec<u8>),
    /// The server's words of refusal.
    Error(String),
    /// Replies within a reply.
    Array(Vec<Reply>),
}

/// How deep arrays may nest; SCAN needs two levels.
const DEPTH: u32 = 8;

/// Collects the replies to one pipeline.
#[derive(Debug)]
pub struct Replies {
    buffer: ReplyBuffer,
    at: usize,
    due: usize,
    found: Vec<Reply>,
    sent_again: bool,
}

impl Replies {
    /// A collector of `due` replies of at most `limit` bytes in all.
    #[must_use]
    pub fn new(due: usize, limit: usize) -> Self {
        Self {
            buffer: ReplyBuffer::new(due * 8, limit),
            at: 0,
            due,
            found: Vec::with_capacity(due),
            sent_again: false,
        }
    }

    /// Whether the server may have run the commands twice.
    #[must_use]
    pub fn were_sent_again(&self) -> bool {
        self.sent_again
    }

    /// The replies that are complete.
    #[must_use]
    pub fn found(&self) -> &[Reply] {
        &self.found
    }

    /// The bytes of a reply that is not.
    #[must_use]
    pub fn rest(&self) -> &[u8] {
        &self.buffer.filled()[self.at..]
    }

    /// The replies, in the order of the commands.
    #[must_use]
    pub fn into_vec(self) -> Vec<Reply> {
        self.found
    }

    /// Takes the replies out that have come so far.
    #[must_use]
    pub fn take(&mut self) -> Vec<Reply> {
        std::mem::take(&mut self.found)
    }
}

impl ReplySink for Replies {
    fn space(&mut self) -> Result<&mut [u8]> {
        self.buffer.space()
    }

    fn advance(&mut self, n: usize) -> Result<()> {
        self.buffer.advance(n);
        let bytes = self.buffer.filled();
        while self.at < bytes.len() {
            if self.found.len() == self.due {
                return Err(malformed(
                    "more was sent than was asked for",
                    self.at,
                    bytes,
                ));
            }
            let Some((reply, next)) = parse(bytes, self.at, DEPTH)? else {
                return Ok(());
            };
            self.found.push(reply);
            self.at = next;
        }
        Ok(())
    }

    fn replies(&self) -> usize {
        self.found.len()
    }

    fn sent_again(&mut self) {
        self.sent_again = true;
    }
}

/// The reply at `at` and where the next one starts; `None` while it is incomplete.
fn parse(bytes: &[u8], at: usize, depth: u32) -> Result<Option<(Reply, usize)>> {
    let Some(&sigil) = bytes.get(at) else {
        return Ok(None);
    };
    if sigil == b'$' {
        return Ok(reply::bulk(bytes, at)?.map(|bulk| {
            let reply = bulk.len.map_or(Reply::Nil, |len| {
                Reply::Bytes(bytes[bulk.start..bulk.start + len].to_vec())
            });
            (reply, bulk.next)
        }));
    }
    let Some((text, next)) = reply::line(bytes, at)? else {
        return Ok(None);
    };
    let number =
        || reply::integer(text).ok_or_else(|| malformed("a number was expected", at, bytes));
    Ok(Some(match sigil {
        b'+' => (Reply::Status(reply::error_text(text)), next),
        b'-' => (Reply::Error(reply::error_text(text)), next),
        b':' => (Reply::Integer(number()?), next),
        b'*' if depth > 0 => match number()? {
            -1 => (Reply::Nil, next),
            count => {
                let mut items = Vec::new();
                let mut at = next;
                for _ in 0..count {
                    let Some((item, next)) = parse(bytes, at, depth - 1)? else {
                        return Ok(None);
                    };
                    items.push(item);
                    at = next;
                }
                (Reply::Array(items), at)
            }
        },
        _ => return Err(malformed("no reply starts so", at, bytes)),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_collected_however_they_arrive() {
        let bytes = b"*2\r\n$1\r\n0\r\n*2\r\n$1\r\na\r\n$-1\r\n:7\r\n+OK\r\n-ERR no\r\n*-1\r\n";
        for step in 1..bytes.len() {
            let mut replies = Replies::new(5, 1 << 16);
            for piece in bytes.chunks(step) {
                replies.space().unwrap()[..piece.len()].copy_from_slice(piece);
                replies.advance(piece.len()).unwrap();
            }
            let keys = Reply::Array(vec![Reply::Bytes(b"a".to_vec()), Reply::Nil]);
            assert_eq!(
                replies.into_vec(),
                [
                    Reply::Array(vec![Reply::Bytes(b"0".to_vec()), keys]),
                    Reply::Integer(7),
                    Reply::Status("OK".to_owned()),
                    Reply::Error("ERR no".to_owned()),
                    Reply::Nil,
                ]
            );
        }
    }

    #[test]
    fn what_was_not_asked_for_is_refused() {
        let mut replies = Replies::new(1, 1 << 16);
        replies.space().unwrap()[..8].copy_from_slice(b":1\r\n:2\r\n");
        assert!(replies.advance(8).is_err());
    }
}
