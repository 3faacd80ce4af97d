//! TLS over a socket that never waits.

use std::io::{self, Read as _, Write as _};
use std::sync::Arc;

use rustix::event::PollFlags;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};

use super::socket::Socket;

/// The client's side of a session.
pub(super) struct Session(ClientConnection);

impl Session {
    pub fn new(
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
    ) -> Result<Self, rustls::Error> {
        ClientConnection::new(config, name).map(Self)
    }

    /// What to poll for after [`read`](Self::read) or [`write`](Self::write) would have blocked.
    pub fn events(&self, writing: bool) -> PollFlags {
        let reads = self.0.is_handshaking() || !writing;
        let mut events = PollFlags::empty();
        events.set(PollFlags::IN, reads);
        events.set(PollFlags::OUT, self.0.wants_write() || !reads);
        events
    }

    /// Reads what was sent to us; 0 when the server has said goodbye.
    pub fn read(&mut self, socket: &Socket, space: &mut [u8]) -> io::Result<usize> {
        // The server may have to take what we send before it sends anything, and the other way
        // round.
        let flushed = self.flush(socket);
        loop {
            match self.0.reader().read(space) {
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
            if !self.0.is_handshaking() {
                break;
            }
            self.take_in(socket)?;
        }
        let n = self.0.writer().write(bytes)?;
        match self.flush(socket) {
            // The rest goes before whatever comes next.
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
            _ => Ok(n),
        }
    }

    fn flush(&mut self, socket: &Socket) -> io::Result<()> {
        while self.0.wants_write() {
            self.0.write_tls(&mut Plain(socket))?;
        }
        Ok(())
    }

    /// Takes in one piece of what was sent to us.
    fn take_in(&mut self, socket: &Socket) -> io::Result<()> {
        let taken = self.0.read_tls(&mut Plain(socket))?;
        if taken == 0 && self.0.is_handshaking() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if let Err(error) = self.0.process_new_packets() {
            // The server is told why, if it can be.
            let _ = self.flush(socket);
            return Err(io::Error::new(io::ErrorKind::InvalidData, error));
        }
        Ok(())
    }
}

/// The socket as rustls sees it.
struct Plain<'a>(&'a Socket);

impl io::Read for Plain<'_> {
    fn read(&mut self, space: &mut [u8]) -> io::Result<usize> {
        self.0.read(space)
    }
}

impl io::Write for Plain<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
