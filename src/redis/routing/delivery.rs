//! The replies, handed over as if one server had sent them.

use super::{Fate, Harvest, Routing};
use crate::error::{Error, ErrorKind, Result};
use crate::redis::reply::ReplySink;

impl Routing<'_> {
    /// Hands the replies over, in the order of the commands.
    ///
    /// # Errors
    /// Those of the sink: for bytes that are no reply, and for a reply that will not come.
    pub fn deliver<S: ReplySink + ?Sized>(&self, sink: &mut S) -> Result<()> {
        if self
            .harvests
            .iter()
            .any(|harvest| harvest.replies.were_sent_again())
        {
            sink.sent_again();
        }
        let mut feed = Feed { sink, filled: 0 };
        for fate in &self.fates {
            match *fate {
                Fate::Answered { harvest, reply } | Fate::Doubted { harvest, reply } => {
                    let Harvest { from, replies } = &self.harvests[harvest];
                    match replies.reply(reply) {
                        // Whose words they are is not seen any more from here on.
                        [b'-', words @ .., b'\r', b'\n'] => {
                            let mut line = vec![b'-'];
                            line.extend_from_slice(words);
                            line.extend_from_slice(format!(" (redis at {from})\r\n").as_bytes());
                            feed.put(&line)?;
                        }
                        bytes => feed.put(bytes)?,
                    }
                }
                Fate::Failed(error) => feed.unanswered(&self.errors[error])?,
                Fate::Open(_) | Fate::Redirected { .. } => {
                    let error = Error::new(ErrorKind::Protocol, "a command was not answered");
                    feed.unanswered(&error)?;
                }
            }
        }
        feed.flush()
    }
}

/// Fills a sink's space before it is told.
struct Feed<'s, S: ?Sized> {
    sink: &'s mut S,
    filled: usize,
}

impl<S: ReplySink + ?Sized> Feed<'_, S> {
    fn put(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let space = self.sink.space()?;
            let room = &mut space[self.filled..];
            let n = room.len().min(bytes.len());
            room[..n].copy_from_slice(&bytes[..n]);
            let full = n == room.len();
            self.filled += n;
            bytes = &bytes[n..];
            if full {
                self.flush()?;
            }
        }
        Ok(())
    }

    fn unanswered(&mut self, error: &Error) -> Result<()> {
        self.flush()?;
        self.sink.unanswered(error)
    }

    fn flush(&mut self) -> Result<()> {
        let n = std::mem::take(&mut self.filled);
        if n > 0 {
            self.sink.advance(n)?;
        }
        Ok(())
    }
}
