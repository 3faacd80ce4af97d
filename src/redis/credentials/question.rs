//! Questions to a provider, which may never answer.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::mpsc::{self, RecvTimeoutError, SyncSender};
use std::time::Duration;

use super::{CredentialProvider, Issued};
use crate::error::{Error, ErrorKind, Result};
use crate::redis::connection::Attempt;

/// How long a provider is waited for. The clients of the clouds give up by themselves sooner; this is
/// for what has no limit at all, such as a socket or a lock without one.
pub const ANSWER_LIMIT: Duration = Duration::from_secs(60);

/// How many questions may hang before no more are put: nothing can end a provider's thread.
const HANGING: usize = 4;

/// Where a provider's answer goes to. One that is dropped unkept is a failure.
pub struct Promise {
    answer: SyncSender<Result<Issued>>,
    _attempt: Attempt,
}

impl Promise {
    /// Hands the answer over; the first counts, unless it is too late. Never waits.
    pub fn keep(&self, answer: Result<Issued>) {
        // There is room for one. Nobody listens any more if this fails.
        let _ = self.answer.try_send(answer);
    }
}

/// Puts questions to a provider, one at a time, and waits for the answers.
pub(super) struct Questions {
    provider: Arc<dyn CredentialProvider>,
    limit: Duration,
    /// Those whose promise is not dropped yet.
    hanging: Arc<AtomicUsize>,
}

impl Questions {
    pub fn new(provider: Arc<dyn CredentialProvider>, limit: Duration) -> Self {
        Self {
            provider,
            limit,
            hanging: Arc::default(),
        }
    }

    /// What the provider says, within the limit. Errors name it.
    pub fn put(&self) -> Result<Issued> {
        let answer = self.wait().unwrap_or_else(|error| {
            self.provider.unheard(&error);
            Err(error)
        });
        answer.map_err(|error| error.context(self.provider.name()))
    }

    /// What the provider says; an error of its own if it says nothing.
    fn wait(&self) -> Result<Result<Issued>> {
        let failure = |message| Error::new(ErrorKind::Connection, message);
        let Some(attempt) = Attempt::start(&self.hanging, HANGING) else {
            return Err(failure(format!("{HANGING} calls of it are hanging")));
        };
        let (answer, answered) = mpsc::sync_channel(1);
        let promise = Promise {
            answer,
            _attempt: attempt,
        };
        self.provider.clone().ask(promise)?;
        answered.recv_timeout(self.limit).map_err(|error| {
            failure(match error {
                RecvTimeoutError::Timeout => format!("it has not answered within {:?}", self.limit),
                RecvTimeoutError::Disconnected => "it ended without an answer".to_owned(),
            })
        })
    }
}
