//! A blocking socket that keeps time and can be interrupted.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use socket2::SockRef;

use super::Interrupt;
use super::patience::Patience;

/// How much later than asked a socket may wake up. Setting its time limit is a system call, which
/// this saves for nearly every request.
const SLACK: Duration = Duration::from_millis(1);

/// The longest sleep of a thread that waits for the server. A signal wakes it, but not one that
/// comes just before it falls asleep.
const NAP: Duration = Duration::from_millis(200);

/// A stream of either family.
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    pub fn options(&self) -> SockRef<'_> {
        match self {
            Self::Tcp(stream) => SockRef::from(stream),
            Self::Unix(stream) => SockRef::from(stream),
        }
    }

    fn read(&mut self, space: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(space),
            Self::Unix(stream) => stream.read(space),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(bytes),
            Self::Unix(stream) => stream.write(bytes),
        }
    }
}

/// A stream and the time limits that the kernel holds for it; `None` before the first.
pub(super) struct Socket {
    pub stream: Stream,
    read_limit: Option<Duration>,
    write_limit: Option<Duration>,
}

impl Socket {
    pub fn new(stream: Stream) -> Self {
        Self {
            stream,
            read_limit: None,
            write_limit: None,
        }
    }
}

#[derive(Clone, Copy)]
enum Direction {
    Read,
    Write,
}

/// A socket in use: reads and writes end when patience does or when `interrupt` says so, with
/// this crate's error inside that of I/O, so that they can work below TLS.
pub(super) struct Wire<'a> {
    pub socket: &'a mut Socket,
    pub patience: &'a Patience<'a>,
    pub interrupt: Interrupt<'a>,
}

impl Wire<'_> {
    fn patiently(
        &mut self,
        direction: Direction,
        mut operation: impl FnMut(&mut Stream) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let since = Instant::now();
        let mut now = since;
        let mut woken = false;
        loop {
            let left = match self.patience.until(since) {
                None => None,
                Some(until) if until <= now => return Err(self.patience.expired_io()),
                Some(until) => Some(until - now),
            };
            let nap = left.map_or(NAP, |left| left.min(NAP));
            self.limit(direction, nap, woken)?;
            match operation(&mut self.socket.stream) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                    (self.interrupt)().map_err(io::Error::other)?;
                }
                // What these are called differs between systems.
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
                    ) =>
                {
                    woken = true;
                    (self.interrupt)().map_err(io::Error::other)?;
                }
                result => return result,
            }
            now = Instant::now();
        }
    }

    /// Has the kernel wake us after `nap`. A limit that is too short is kept, unless it has just
    /// `woken` us: waking too early costs one round here, once.
    fn limit(&mut self, direction: Direction, nap: Duration, woken: bool) -> io::Result<()> {
        let socket = &mut *self.socket;
        let held = match direction {
            Direction::Read => &mut socket.read_limit,
            Direction::Write => &mut socket.write_limit,
        };
        // Less would be rounded to no limit at all.
        let nap = nap.max(SLACK);
        let fits = held.is_some_and(|held| held <= nap + SLACK && (held == nap || !woken));
        if fits {
            return Ok(());
        }
        match direction {
            Direction::Read => socket.stream.options().set_read_timeout(Some(nap))?,
            Direction::Write => socket.stream.options().set_write_timeout(Some(nap))?,
        }
        *held = Some(nap);
        Ok(())
    }
}

impl Read for Wire<'_> {
    fn read(&mut self, space: &mut [u8]) -> io::Result<usize> {
        self.patiently(Direction::Read, |stream| stream.read(space))
    }
}

impl Write for Wire<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.patiently(Direction::Write, |stream| stream.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
