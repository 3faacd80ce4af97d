//! Results on their way to an event loop.
//!
//! A worker thread must not wait for the GIL, so it puts the result into a queue and writes a byte
//! to a socket that the loop watches; the loop's own thread turns results into Python objects.

use std::io::{Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use tokio::task::AbortHandle;

use crate::error::{Error, ErrorKind};

/// What a finished task becomes in Python; run by the loop's thread.
pub type Outcome = Box<dyn FnOnce(Python<'_>) -> PyResult<Py<PyAny>> + Send>;

/// The queue of one event loop.
#[pyclass(frozen, module = "feast_rs._core")]
pub struct Completions {
    queue: Arc<Queue>,
    wakeups: UnixStream,
}

/// The end of the queue that workers hold.
pub struct Queue {
    outcomes: Mutex<Vec<(u64, Outcome)>>,
    wakeup: UnixStream,
}

impl Queue {
    /// Hands over the outcome of the task with this token, and wakes the loop up.
    pub fn push(&self, token: u64, outcome: Outcome) {
        let mut outcomes = self.outcomes.lock().unwrap_or_else(PoisonError::into_inner);
        outcomes.push((token, outcome));
        let first = outcomes.len() == 1;
        drop(outcomes);
        if first {
            // A full socket has woken the loop already; a closed one has no loop behind it.
            let _ = (&self.wakeup).write(&[0]);
        }
    }
}

/// A task's duty to answer. A task that panics breaks it, which is told to whoever waits, who
/// would wait forever otherwise.
pub struct Promise {
    queue: Arc<Queue>,
    token: u64,
}

impl Promise {
    /// The duty of the task with this token.
    pub fn new(queue: Arc<Queue>, token: u64) -> Self {
        Self { queue, token }
    }

    /// Answers.
    pub fn keep(self, outcome: Outcome) {
        self.queue.push(self.token, outcome);
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let broken = |_: Python<'_>| {
                Err(PyRuntimeError::new_err(
                    "a bug in feast-rs ended the request; please report it with what stderr says",
                ))
            };
            self.queue.push(self.token, Box::new(broken));
        }
    }
}

#[pymethods]
impl Completions {
    #[new]
    fn new() -> PyResult<Self> {
        let failed = |cause: std::io::Error| {
            Error::new(
                ErrorKind::Connection,
                format!("no socket pair for the event loop: {cause}"),
            )
        };
        let (wakeups, wakeup) = UnixStream::pair().map_err(failed)?;
        wakeups.set_nonblocking(true).map_err(failed)?;
        wakeup.set_nonblocking(true).map_err(failed)?;
        Ok(Self {
            queue: Arc::new(Queue {
                outcomes: Mutex::default(),
                wakeup,
            }),
            wakeups,
        })
    }

    /// The file descriptor that is readable when there is something to drain.
    fn fileno(&self) -> RawFd {
        self.wakeups.as_raw_fd()
    }

    /// The finished tasks: their tokens, and the result or the exception of each.
    fn drain(&self, py: Python<'_>) -> Vec<(u64, Option<Py<PyAny>>, Option<PyErr>)> {
        let mut bytes = [0; 64];
        while matches!((&self.wakeups).read(&mut bytes), Ok(n) if n == bytes.len()) {}
        let outcomes = std::mem::take(
            &mut *self
                .queue
                .outcomes
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        );
        outcomes
            .into_iter()
            .map(|(token, outcome)| match outcome(py) {
                Ok(value) => (token, Some(value), None),
                Err(error) => (token, None, Some(error)),
            })
            .collect()
    }
}

impl Completions {
    /// The end for a worker.
    pub fn queue(&self) -> Arc<Queue> {
        self.queue.clone()
    }
}

/// A task under way.
#[pyclass(frozen, module = "feast_rs._core")]
pub struct Task(pub AbortHandle);

#[pymethods]
impl Task {
    /// Stops the task at its next wait; its connection is closed, since replies may be under way.
    fn cancel(&self) {
        self.0.abort();
    }
}
