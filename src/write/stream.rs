//! Any number of batches, written in their order by a thread while the next one is encoded.
//!
//! The commands that write a batch and the questions about the next one go out together, so that
//! Redis is never idle while rows come. When something goes wrong the batches are taken one by one
//! until it is over: the times that are stored are read again, so that no row is written twice in
//! a way that shows.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::batch::{check_server, drive, exchange, told};
use super::pending::Pending;
use super::queue::Queue;
use super::retry::Retry;
use super::rows::Rows;
use super::{Counts, WritePolicy};
use crate::error::{Error, ErrorKind, Result};
use crate::redis::Pool;
use crate::redis::command::Commands;
use crate::redis::connection::Interrupt;

/// Batches that wait for the writer.
const QUEUED: usize = 2;
/// How often a thread that waits for the writer looks up.
const WATCH: Duration = Duration::from_millis(20);
/// How long [`WriteStream::abort`] waits for the commands on their way.
const GRACE: Duration = Duration::from_secs(1);

/// Rows on their way to Redis. Dropping it abandons what was not sent.
#[derive(Debug)]
pub struct WriteStream {
    shared: Arc<Shared>,
    writer: Option<JoinHandle<()>>,
    /// The process whose writer it is.
    owner: u32,
}

#[derive(Debug)]
struct Shared {
    queue: Queue<Rows>,
    progress: Mutex<Progress>,
    cancelled: AtomicBool,
}

#[derive(Debug, Default)]
struct Progress {
    counts: Counts,
    error: Option<Error>,
}

impl Shared {
    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl WriteStream {
    /// A stream to what `pool` is connected to. A failure that may pass is met by further attempts
    /// for `retry_window` at the most. Starts a thread; `interrupt` is asked while the server's
    /// abilities are.
    pub fn new(
        pool: Arc<Pool>,
        policy: WritePolicy,
        retry_window: Duration,
        interrupt: Interrupt<'_>,
    ) -> Result<Self> {
        check_server(policy, &pool, interrupt)?;
        let shared = Arc::new(Shared {
            queue: Queue::new(QUEUED),
            progress: Mutex::default(),
            cancelled: AtomicBool::new(false),
        });
        let writer = Writer {
            shared: shared.clone(),
            pool,
            policy,
            retry: Retry::new(retry_window),
            counts: Counts::default(),
        };
        let thread = std::thread::Builder::new().name("feast-rs-write".to_owned());
        let writer = thread.spawn(move || writer.run()).map_err(|cause| {
            Error::new(
                ErrorKind::Connection,
                format!("the thread that writes cannot be started: {cause}"),
            )
        })?;
        Ok(Self {
            shared,
            writer: Some(writer),
            owner: std::process::id(),
        })
    }

    /// Hands rows over, once there is room for them.
    ///
    /// # Errors
    /// That of rows handed over earlier, and `interrupt`'s.
    pub fn push(&self, rows: Rows, interrupt: Interrupt<'_>) -> Result<()> {
        self.check_owner()?;
        match self.shared.queue.push(rows, interrupt)? {
            None => Ok(()),
            Some(_) => Err(self.failure()),
        }
    }

    /// What became of the rows so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.shared.progress().counts
    }

    /// Waits until every row is acknowledged.
    ///
    /// # Errors
    /// The first failure of any row, with how many were acknowledged, and `interrupt`'s.
    pub fn finish(&mut self, interrupt: Interrupt<'_>) -> Result<Counts> {
        self.check_owner()?;
        self.shared.queue.close();
        while self
            .writer
            .as_ref()
            .is_some_and(|writer| !writer.is_finished())
        {
            std::thread::sleep(WATCH.min(Duration::from_millis(2)));
            interrupt()?;
        }
        let ended = self
            .writer
            .take()
            .is_none_or(|writer| writer.join().is_ok());
        let progress = self.shared.progress();
        match &progress.error {
            Some(error) => Err(error.clone()),
            None if ended => Ok(progress.counts),
            None => Err(Error::new(ErrorKind::Connection, "the writing thread died")),
        }
    }

    /// Gives up what was not sent, and waits a moment for the commands on their way.
    pub fn abort(&mut self) {
        self.shared.cancelled.store(true, Ordering::Relaxed);
        if self.owner != std::process::id() {
            std::mem::forget(self.writer.take());
            return;
        }
        self.shared.queue.discard();
        let end = Instant::now() + GRACE;
        while let Some(writer) = &self.writer
            && !writer.is_finished()
            && Instant::now() < end
        {
            std::thread::sleep(WATCH);
        }
        self.writer = None;
    }

    fn check_owner(&self) -> Result<()> {
        if self.owner == std::process::id() {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Argument,
            "rows cannot be written by a stream of the parent process: open one in this process",
        ))
    }

    fn failure(&self) -> Error {
        let error = self.shared.progress().error.clone();
        error.unwrap_or_else(|| {
            Error::new(ErrorKind::Argument, "the stream was finished or aborted")
        })
    }
}

impl Drop for WriteStream {
    fn drop(&mut self) {
        if self.writer.is_some() {
            self.shared.cancelled.store(true, Ordering::Relaxed);
            if self.owner == std::process::id() {
                self.shared.queue.discard();
            } else {
                std::mem::forget(self.writer.take());
            }
        }
    }
}

/// What the thread works with.
struct Writer {
    shared: Arc<Shared>,
    pool: Arc<Pool>,
    policy: WritePolicy,
    retry: Retry,
    counts: Counts,
}

impl Writer {
    fn run(mut self) {
        // Whoever waits for room in the queue must hear of a panic, too.
        let _closing = Closing(self.shared.clone());
        if let Err(error) = self.write_all() {
            let mut progress = self.shared.progress();
            progress.counts = self.counts;
            progress.error = Some(told(error, &self.counts));
        }
    }

    fn write_all(&mut self) -> Result<()> {
        let shared = self.shared.clone();
        let interrupt = || {
            if shared.cancelled.load(Ordering::Relaxed) {
                return Err(Error::new(ErrorKind::Connection, "writing was aborted"));
            }
            Ok(())
        };
        let mut decided: Option<Pending> = None;
        while let Some(rows) = shared.queue.pop() {
            self.counts.read += rows.len() as u64;
            let mut next = Pending::new(rows, self.policy);
            if next.asks() {
                decided = self.write_and_ask(decided, next, &interrupt)?;
            } else {
                self.drive(&mut next, &interrupt)?;
            }
            shared.progress().counts = self.counts;
        }
        if let Some(mut last) = decided {
            self.write_decided(&mut last, &interrupt)?;
        }
        shared.progress().counts = self.counts;
        Ok(())
    }

    /// Writes the rows decided on and asks about the next ones in one exchange; gives the next ones
    /// back, decided on, or nothing if they are written already.
    fn write_and_ask(
        &mut self,
        decided: Option<Pending>,
        mut next: Pending,
        interrupt: Interrupt<'_>,
    ) -> Result<Option<Pending>> {
        let mut commands = Commands::default();
        let due = decided
            .as_ref()
            .map_or(0, |rows| rows.commands(&mut commands));
        next.questions(&mut commands);
        let outcome = exchange(&commands, &self.pool, &mut self.counts, interrupt);
        let mut settled = true;
        if let Some(mut rows) = decided {
            let written = match &outcome {
                Ok(replies) => rows.acknowledge(&replies[..due], &mut self.counts),
                Err(error) => {
                    rows.repeat();
                    Err(error.clone())
                }
            };
            settled = written.is_ok();
            self.recover(&mut rows, written, interrupt)?;
        }
        let decision = match outcome {
            Ok(replies) if settled => next.decide(&replies[due..], &mut self.counts),
            // The answers are older than what was written since.
            Ok(_) => return self.drive(&mut next, interrupt).map(|()| None),
            Err(error) => Err(error),
        };
        match decision {
            Ok(()) => {
                self.retry.succeed();
                Ok(Some(next))
            }
            Err(error) => {
                self.recover(&mut next, Err(error), interrupt)?;
                Ok(None)
            }
        }
    }

    /// Writes rows that were decided on.
    fn write_decided(&mut self, rows: &mut Pending, interrupt: Interrupt<'_>) -> Result<()> {
        let mut commands = Commands::default();
        rows.commands(&mut commands);
        let outcome = exchange(&commands, &self.pool, &mut self.counts, interrupt);
        let written = match outcome {
            Ok(replies) => rows.acknowledge(&replies, &mut self.counts),
            Err(error) => {
                rows.repeat();
                Err(error)
            }
        };
        self.recover(rows, written, interrupt)
    }

    /// Goes on after a failure that may pass, with the rows that are left.
    fn recover(
        &mut self,
        rows: &mut Pending,
        outcome: Result<()>,
        interrupt: Interrupt<'_>,
    ) -> Result<()> {
        let Err(error) = outcome else {
            return Ok(());
        };
        let pause = self.retry.again(self.pool.located(error))?;
        super::retry::pause(pause, interrupt)?;
        self.drive(rows, interrupt)
    }

    fn drive(&mut self, rows: &mut Pending, interrupt: Interrupt<'_>) -> Result<()> {
        drive(
            rows,
            &self.pool,
            &mut self.counts,
            &mut self.retry,
            interrupt,
        )
    }
}

struct Closing(Arc<Shared>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.queue.discard();
    }
}
