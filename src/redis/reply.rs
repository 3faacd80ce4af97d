//! Replies, taken in as they arrive.

use crate::error::Result;

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
}
