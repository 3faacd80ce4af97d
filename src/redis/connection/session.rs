//! TLS over a socket that never waits.

use std::io::{self, Read as _, Write as _};
use std::sync::Arc;

use rustix::event::PollFlags;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};

use super::socket::Socket;

/// How much is read from the socket in one go: rustls itself asks for four kilobytes at a time.
const INBOX: usize = 64 * 1024;

/// The session, and what was read of it and not looked at yet.
pub(super) struct Session {
    tls: ClientConnection,
    inbox: Vec<u8>,
    /// Which bytes of the inbox are still to be looked at.
    from: usize,
    to: usize,
}

impl Session {
    pub fn new(
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
    ) -> Result<Self, rustls::Error> {
        Ok(Self {
            tls: ClientConnection::new(config, name)?,
            inbox: Vec::new(),
            from: 0,
            to: 0,
        })
    }

    /// What to poll for after [`read`](Self::read) or [`write`](Self::write) would have blocked.
    pub fn events(&self, writing: bool) -> PollFlags {
        let reads = self.tls.is_handshaking() || !writing;
        let mut events = PollFlags::empty();
        events.set(PollFlags::IN, reads);
        events.set(PollFlags::OUT, self.tls.wants_write() || !reads);
        events
    }

    /// Reads what was sent to us; 0 when the server has said goodbye.
    pub fn read(&mut self, socket: &Socket, space: &mut [u8]) -> io::Result<usize> {
        // The server may have to take what we send before it sends anything, and the other way
        // round.
        let flushed = self.flush(socket);
        loop {
            match self.tls.reader().read(space) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return result,
            }
            match &flushed {
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
                    return flushed.map(|()| 0);
                }
                _ => self.take_in(socket)?,
            }
        }
    }

    /// Takes `bytes`, or as much as goes, to be sent.
    pub fn write(&mut self, socket: &Socket, bytes: &[u8]) -> io::Result<usize> {
        loop {
            self.flush(socket)?;
            if !self.tls.is_handshaking() {
                break;
            }
            self.take_in(socket)?;
        }
        let n = self.tls.writer().write(bytes)?;
        match self.flush(socket) {
            // The rest goes before whatever comes next.
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
            _ => Ok(n),
        }
    }

    fn flush(&mut self, socket: &Socket) -> io::Result<()> {
        while self.tls.wants_write() {
            self.tls.write_tls(&mut Outlet(socket))?;
        }
        Ok(())
    }

    /// Takes in one piece of what was sent to us.
    fn take_in(&mut self, socket: &Socket) -> io::Result<()> {
        if self.from == self.to {
            self.inbox.resize(INBOX, 0);
            (self.from, self.to) = (0, socket.read(&mut self.inbox)?);
        }
        let taken = self.tls.read_tls(&mut &self.inbox[self.from..self.to])?;
        self.from += taken;
        if taken == 0 && self.tls.is_handshaking() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if let Err(error) = self.tls.process_new_packets() {
            // The server is told why, if it can be.
            let _ = self.flush(socket);
            return Err(io::Error::new(io::ErrorKind::InvalidData, error));
        }
        Ok(())
    }
}

/// What rustls writes to.
struct Outlet<'a>(&'a Socket);

impl io::Write for Outlet<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
