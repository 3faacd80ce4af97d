//! A socket that never makes its thread wait.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};
use socket2::{Domain, SockAddr, SockRef, Type};

/// A connection that has ended must not end the process by a signal. Where there is no such flag
/// socket2 sets an option of the socket to that effect.
#[cfg(not(target_vendor = "apple"))]
const QUIETLY: SendFlags = SendFlags::NOSIGNAL;
#[cfg(target_vendor = "apple")]
const QUIETLY: SendFlags = SendFlags::empty();

/// A socket of either family. What would block fails as `WouldBlock`.
pub(super) struct Socket(socket2::Socket);

impl Socket {
    /// Begins to connect. `WouldBlock` is a Unix socket whose backlog is full: nothing tells when
    /// there is room again.
    pub fn connect(address: &SockAddr, keepalive: bool) -> io::Result<Self> {
        let socket = socket2::Socket::new(address.domain(), Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        if address.domain() != Domain::UNIX {
            prepare(&SockRef::from(&socket), keepalive)?;
        }
        match socket.connect(address) {
            Err(error) if Errno::from_io_error(&error) != Some(Errno::INPROGRESS) => Err(error),
            _ => Ok(Self(socket)),
        }
    }

    /// Whether connecting has succeeded; its error if it failed.
    pub fn is_connected(&self) -> io::Result<bool> {
        match self.0.take_error()? {
            Some(error) => Err(error),
            None => Ok(self.0.peer_addr().is_ok()),
        }
    }

    pub fn read(&self, space: &mut [u8]) -> io::Result<usize> {
        let (n, _) = rustix::io::retry_on_intr(|| {
            rustix::net::recv(&self.0, &mut *space, RecvFlags::empty())
        })?;
        Ok(n)
    }

    pub fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        Ok(rustix::io::retry_on_intr(|| {
            rustix::net::send(&self.0, bytes, QUIETLY)
        })?)
    }

    /// Whether the server has ended the connection while it was idle.
    pub fn has_ended(&self, tls: bool) -> bool {
        has_ended(&SockRef::from(&self.0), tls)
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Whether a non-blocking socket is at its end, or, without TLS, has bytes nobody asked for.
pub(super) fn has_ended(socket: &SockRef<'_>, tls: bool) -> bool {
    match socket.peek(&mut [std::mem::MaybeUninit::uninit()]) {
        Ok(0) => true,
        // TLS has messages of its own, such as session tickets.
        Ok(_) => !tls,
        Err(error) => error.kind() != io::ErrorKind::WouldBlock,
    }
}

/// Sets what every TCP connection has: no delay of small writes, and probes that keep idle
/// connections in the tables of cloud networks and notice within a minute when they aren't.
pub(super) fn prepare(socket: &SockRef<'_>, keepalive: bool) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    if keepalive {
        let probes = socket2::TcpKeepalive::new()
            .with_time(Duration::from_secs(30))
            .with_interval(Duration::from_secs(10))
            .with_retries(3);
        socket.set_tcp_keepalive(&probes)?;
    }
    Ok(())
}
