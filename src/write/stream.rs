//! Any number of batches, written in their order by a thread while the next one is encoded.
//!
//! The commands that write a batch and the questions about the next one go out together, so that
//! Redis is never idle while rows come. While rows are of entities that Redis has nothing of, they
//! are sent without a question. When something goes wrong the batches are taken one by one
//! until it is over: the times that are stored are read again, so that no row is written twice in
//! a way that shows.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::batch::{check_server, drive, exchange, of_view, told};
use super::line::{Answers, Line as _, OwnLine, SharedLine};
use super::newcomers::Newcomers;
use super::pending::Pending;
use super::queue::Queue;
use super::retry::Retry;
use super::rows::Rows;
use super::{Counts, WritePolicy};
use crate::error::{Error, ErrorKind, Result};
use crate::redis::Deadline;
use crate::redis::command::Commands;
use crate::redis::connection::Interrupt;
use crate::redis::deployment::Deployment;

/// Batches that wait for the writer.
const QUEUED: usize = 2;
/// How often a thread that waits for the writer looks up.
const WATCH: Duration = Duration::from_millis(2);
/// How long [`WriteStream::abort`] waits for the commands on their way.
const GRACE: Duration = Duration::from_secs(1);

/// Rows on their way to Redis. Dropping it abandons what was not sent.
#[derive(Debug)]
pub struct WriteStream {
    shared: Arc<Shared>,
    policy: WritePolicy,
    /// The thread, until it is known to have ended.
    writer: Mutex<Option<JoinHandle<()>>>,
    /// The process whose writer it is.
    owner: u32,
}

#[derive(Debug)]
struct Shared {
    queue: Queue<Parcel>,
    /// Whether rows are likely to be sent as those of new entities.
    creating: AtomicBool,
    progress: Mutex<Progress>,
    cancelled: AtomicBool,
}

/// Rows on their way to the writer.
#[derive(Debug)]
struct Parcel {
    rows: Pending,
    /// Their [creations](Pending::creations), if these were likely to be needed: made by the thread
    /// that encodes, while Redis is busy with the rows before.
    creations: Option<Commands>,
}

#[derive(Debug, Default)]
struct Progress {
    counts: Counts,
    error: Option<Error>,
}

impl Shared {
    fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
        self.queue.discard();
    }

    fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl WriteStream {
    /// A stream to the servers of `deployment`. A failure that may pass is met by further attempts
    /// for `retry_window` at the most. Starts a thread; `interrupt` is asked while the server's
    /// abilities are.
    pub fn new(
        deployment: Arc<Deployment>,
        policy: WritePolicy,
        retry_window: Duration,
        interrupt: Interrupt<'_>,
    ) -> Result<Self> {
        let mut line = SharedLine {
            deployment: &deployment,
            deadline: Deadline::NEVER,
        };
        check_server(policy, &mut line, interrupt)?;
        let shared = Arc::new(Shared {
            queue: Queue::new(QUEUED),
            creating: AtomicBool::new(false),
            progress: Mutex::default(),
            cancelled: AtomicBool::new(false),
        });
        let writer = Writer {
            shared: shared.clone(),
            line: OwnLine::new(deployment),
            retry: Retry::new(retry_window, Deadline::NEVER),
            newcomers: Newcomers::new(policy, !retry_window.is_zero()),
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
            policy,
            writer: Mutex::new(Some(writer)),
            owner: std::process::id(),
        })
    }

    /// Hands rows over, once there is room for them.
    ///
    /// # Errors
    /// That of rows handed over earlier, and `interrupt`'s.
    pub fn push(&self, rows: Rows, interrupt: Interrupt<'_>) -> Result<()> {
        self.check_owner()?;
        let mut rows = Pending::new(rows, self.policy);
        let creating = self.shared.creating.load(Ordering::Relaxed);
        let creations = creating.then(|| rows.creations());
        let parcel = Parcel { rows, creations };
        match self.shared.queue.push(parcel, interrupt)? {
            None => Ok(()),
            Some(_) => Err(self.failure()),
        }
    }

    /// What became of the rows so far.
    pub fn counts(&self) -> Result<Counts> {
        self.check_owner()?;
        Ok(self.shared.progress().counts)
    }

    /// Waits until every row is acknowledged.
    ///
    /// # Errors
    /// The first failure of any row, with how many were acknowledged; that the stream was aborted;
    /// and `interrupt`'s.
    pub fn finish(&self, interrupt: Interrupt<'_>) -> Result<Counts> {
        self.check_owner()?;
        self.shared.queue.close();
        while !self.has_ended() {
            std::thread::sleep(WATCH);
            interrupt()?;
        }
        let ended = match self.writer().take() {
            Some(writer) => writer.join().is_ok(),
            None => true,
        };
        let progress = self.shared.progress();
        match &progress.error {
            Some(error) => Err(error.clone()),
            None if !ended => Err(Error::new(ErrorKind::Connection, "the writing thread died")),
            None if self.shared.is_cancelled() => Err(told(aborted(), &progress.counts)),
            None => Ok(progress.counts),
        }
    }

    /// Gives up what was not sent, and waits a moment for the commands on their way. Nothing after
    /// [`finish`](Self::finish).
    pub fn abort(&self) {
        if self.owner != std::process::id() || self.writer().is_none() {
            return;
        }
        self.shared.cancel();
        let end = Instant::now() + GRACE;
        while !self.has_ended() && Instant::now() < end {
            std::thread::sleep(WATCH);
        }
    }

    fn has_ended(&self) -> bool {
        self.writer().as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Only for the owner: in a child another thread of the parent may have the lock for ever.
    fn writer(&self) -> MutexGuard<'_, Option<JoinHandle<()>>> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
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
        if self.owner != std::process::id() {
            // Of the thread there is nothing here but its handle.
            std::mem::forget(std::mem::take(&mut self.writer));
        } else if !self.has_ended() {
            self.shared.cancel();
        }
    }
}

fn aborted() -> Error {
    Error::new(ErrorKind::Argument, "writing was aborted")
}

/// What the thread works with.
struct Writer {
    shared: Arc<Shared>,
    line: OwnLine,
    retry: Retry,
    newcomers: Newcomers,
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
            if shared.is_cancelled() {
                return Err(aborted());
            }
            Ok(())
        };
        let mut decided: Option<Pending> = None;
        while let Some(Parcel { rows, creations }) = shared.queue.pop() {
            let first = self.counts.read == 0;
            self.counts.read += rows.left() as u64;
            let mut next = rows;
            if first {
                let connected = self.connect(&interrupt);
                connected.map_err(|error| of_view(error, &next))?;
            }
            if self.newcomers.tries() {
                self.write_decided(decided.take(), &interrupt)?;
                self.create(next, creations, &interrupt)?;
            } else if next.asks() {
                decided = self.write_and_ask(decided, next, &interrupt)?;
            } else {
                self.drive(&mut next, &interrupt)?;
                self.newcomers.unasked();
            }
            let creating = self.newcomers.are_expected();
            shared.creating.store(creating, Ordering::Relaxed);
            shared.progress().counts = self.counts;
        }
        interrupt()?;
        self.write_decided(decided, &interrupt)?;
        shared.progress().counts = self.counts;
        Ok(())
    }

    /// A server that cannot be reached to begin with is most likely not there, which is told at
    /// once; one that is lost later is waited for.
    fn connect(&mut self, interrupt: Interrupt<'_>) -> Result<()> {
        while let Err(error) = self.line.connect(interrupt) {
            super::retry::pause(self.retry.again(error)?, interrupt)?;
        }
        self.retry.succeed();
        Ok(())
    }

    /// Writes the rows decided on and asks about the next ones in one exchange; gives the next ones
    /// back, decided on, or nothing if they are written already: after a failure, or as those of new
    /// entities.
    fn write_and_ask(
        &mut self,
        decided: Option<Pending>,
        mut next: Pending,
        interrupt: Interrupt<'_>,
    ) -> Result<Option<Pending>> {
        let (mut commands, due) = commands_of(decided.as_ref());
        next.questions(&mut commands);
        let outcome = exchange(&commands, &mut self.line, &mut self.counts, interrupt);
        let settled = self.acknowledge(decided, &outcome, due, interrupt)?;
        let asked = next.left();
        let decision = match outcome {
            Ok(answers) if settled => next
                .decide(&answers.replies[due..], &mut self.counts)
                .map_err(|error| self.line.deployment().located(error)),
            // The answers are older than what was written since.
            Ok(_) => return self.drive(&mut next, interrupt).map(|()| None),
            Err(error) => Err(error),
        };
        match decision {
            Ok(()) => {
                self.retry.succeed();
                self.newcomers.asked(asked, next.unknown());
                if self.newcomers.tries() {
                    return self.create(next, None, interrupt).map(|()| None);
                }
                Ok(Some(next))
            }
            Err(error) => {
                self.recover(&mut next, Err(error), interrupt)?;
                Ok(None)
            }
        }
    }

    /// Writes rows that were decided on.
    fn write_decided(&mut self, decided: Option<Pending>, interrupt: Interrupt<'_>) -> Result<()> {
        let (commands, due) = commands_of(decided.as_ref());
        let outcome = exchange(&commands, &mut self.line, &mut self.counts, interrupt);
        self.acknowledge(decided, &outcome, due, interrupt)
            .map(|_| ())
    }

    /// Writes rows as those of new entities, then those of them whose entities are not.
    fn create(
        &mut self,
        mut rows: Pending,
        creations: Option<Commands>,
        interrupt: Interrupt<'_>,
    ) -> Result<()> {
        let creations = creations.unwrap_or_else(|| rows.creations());
        let tried = rows.left();
        match exchange(&creations, &mut self.line, &mut self.counts, interrupt) {
            Ok(answers) => {
                self.retry.succeed();
                if !rows.created(&answers.replies, answers.again, &mut self.counts) {
                    self.newcomers.rule_out();
                }
                let new = tried - rows.left();
                self.newcomers.tried(tried, creations.len(), new);
                if rows.left() > 0 {
                    self.drive(&mut rows, interrupt)?;
                }
                Ok(())
            }
            Err(error) => {
                rows.repeat();
                self.newcomers.lost();
                self.recover(&mut rows, Err(error), interrupt)
            }
        }
    }

    /// Takes what came of the commands of rows that were decided on, the first `due` replies, and goes
    /// on until they are written. Gives whether that was at once.
    fn acknowledge(
        &mut self,
        decided: Option<Pending>,
        outcome: &Result<Answers>,
        due: usize,
        interrupt: Interrupt<'_>,
    ) -> Result<bool> {
        let Some(mut rows) = decided else {
            return Ok(true);
        };
        let written = match outcome {
            Ok(answers) => rows
                .acknowledge(&answers.replies[..due], false, &mut self.counts)
                .map_err(|error| self.line.deployment().located(error)),
            Err(error) => {
                rows.repeat();
                Err(error.clone())
            }
        };
        let settled = written.is_ok();
        self.recover(&mut rows, written, interrupt)?;
        Ok(settled)
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
        if error.is_outage() {
            self.line.suspect();
        }
        let pause = self.retry.again(error)?;
        super::retry::pause(pause, interrupt)?;
        self.drive(rows, interrupt)
    }

    fn drive(&mut self, rows: &mut Pending, interrupt: Interrupt<'_>) -> Result<()> {
        drive(
            rows,
            &mut self.line,
            &mut self.counts,
            &mut self.retry,
            interrupt,
        )
    }
}

/// The commands that write rows decided on, and how many replies are due to them.
fn commands_of(decided: Option<&Pending>) -> (Commands, usize) {
    let mut commands = Commands::default();
    let due = decided.map_or(0, |rows| rows.commands(&mut commands));
    (commands, due)
}

struct Closing(Arc<Shared>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.queue.discard();
    }
}
