//! Any reply of RESP2, read plainly: the yardstick for cleverer readers.

use _core::error::{Error, ErrorKind, Result};
use _core::redis::reply::ReplySink;

/// A reply.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Reply {
    Status(String),
    Failure(String),
    Integer(i64),
    Bulk(Vec<u8>),
    Null,
    Array(Vec<Reply>),
}

/// All replies to a pipeline.
#[derive(Default)]
pub struct Replies {
    bytes: Vec<u8>,
    filled: usize,
    read: usize,
    complete: Vec<Reply>,
    limits: Option<(usize, usize)>,
}

impl Replies {
    /// Replies of `limit` bytes at the most, read at up to `window` bytes a time.
    pub fn within(limit: usize, window: usize) -> Self {
        Self {
            limits: Some((limit, window)),
            ..Self::default()
        }
    }

    pub fn take(&mut self) -> Vec<Reply> {
        std::mem::take(&mut self.complete)
    }

    /// How many bytes came in.
    pub fn received(&self) -> usize {
        self.filled
    }
}

impl ReplySink for Replies {
    fn space(&mut self) -> Result<&mut [u8]> {
        let (limit, window) = self.limits.unwrap_or((usize::MAX, 64 * 1024));
        if self.filled >= limit {
            return Err(Error::new(ErrorKind::Protocol, "the reply is too large"));
        }
        self.bytes.resize(self.filled + window, 0);
        Ok(&mut self.bytes[self.filled..])
    }

    fn advance(&mut self, n: usize) -> Result<()> {
        self.filled += n;
        while let Some((reply, end)) = parse(&self.bytes[..self.filled], self.read)? {
            self.complete.push(reply);
            self.read = end;
        }
        Ok(())
    }

    fn replies(&self) -> usize {
        self.complete.len()
    }
}

/// The reply at `at` and where it ends, or `None` while it is incomplete.
fn parse(bytes: &[u8], at: usize) -> Result<Option<(Reply, usize)>> {
    let rest = &bytes[at..];
    let Some(length) = rest.windows(2).position(|pair| pair == b"\r\n") else {
        return Ok(None);
    };
    let line = String::from_utf8_lossy(&rest[1..length]).into_owned();
    let end = at + length + 2;
    let number = || {
        line.parse::<i64>()
            .map_err(|_| Error::new(ErrorKind::Protocol, "not a number"))
    };
    let reply = match rest[0] {
        b'+' => (Reply::Status(line), end),
        b'-' => (Reply::Failure(line), end),
        b':' => (Reply::Integer(number()?), end),
        b'$' | b'*' if number()? < 0 => (Reply::Null, end),
        b'$' => {
            let length = usize::try_from(number()?).unwrap();
            match bytes.get(end..end + length + 2) {
                None => return Ok(None),
                Some(text) => (Reply::Bulk(text[..length].to_vec()), end + length + 2),
            }
        }
        b'*' => {
            let mut items = Vec::new();
            let mut end = end;
            for _ in 0..number()? {
                let Some((item, next)) = parse(bytes, end)? else {
                    return Ok(None);
                };
                items.push(item);
                end = next;
            }
            (Reply::Array(items), end)
        }
        _ => return Err(Error::new(ErrorKind::Protocol, "not RESP")),
    };
    Ok(Some(reply))
}
