//! How one thread wakes another that waits for sockets.

use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};

/// A pipe that the waiting thread polls with its sockets. Both ends live as long as anyone holds
/// it: ringing after the other has gone must not be writing to a closed pipe.
#[derive(Debug)]
pub(in crate::redis) struct Bell {
    rung: AtomicBool,
    reader: PipeReader,
    writer: PipeWriter,
}

impl Bell {
    pub fn new() -> io::Result<Self> {
        let (reader, writer) = io::pipe()?;
        Ok(Self {
            rung: AtomicBool::new(false),
            reader,
            writer,
        })
    }

    /// Wakes who waits, or will. Never blocks: there is one byte in the pipe at the most.
    pub fn ring(&self) {
        if !self.rung.swap(true, Ordering::AcqRel) {
            let _ = (&self.writer).write(&[1]);
        }
    }

    /// Takes the ring that the pipe was polled for; to be followed by a look at what it was for.
    pub fn heard(&self) {
        let _ = (&self.reader).read(&mut [0]);
        self.rung.store(false, Ordering::Release);
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.reader.as_fd()
    }
}
