//! The newest credentials of a provider, and the thread that renews them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::question::Questions;
use super::{CredentialProvider, Issued, Login};
use crate::error::{Error, ErrorKind, Result};

/// The least time between two questions, but for the first ones, which someone waits for.
const PAUSE: Duration = Duration::from_secs(1);

/// How long to wait after a first failure; twice that after the next, and so on.
const FIRST_BACKOFF: Duration = Duration::from_millis(100);

/// The longest wait while there is nothing to log in with, and while the old credentials serve.
const BACKOFF: Duration = PAUSE;
const RENEWAL_BACKOFF: Duration = Duration::from_secs(30);

/// The share of their life for which credentials are used.
const USED: f64 = 0.8;

/// Called when a question has been answered.
type Wake = Box<dyn FnOnce() + Send>;

/// A provider, and what it has issued.
pub(super) struct Issuer {
    shared: Arc<Shared>,
}

struct Shared {
    questions: Questions,
    refresh: Duration,
    /// That of the newest login, to be looked at before each use of a connection.
    generation: AtomicU64,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// `None` until the provider has issued something; kept when it fails later.
    newest: Option<Login>,
    /// Why the last question failed, if it did.
    failed: Option<Error>,
    /// How many questions in a row did.
    failures: u32,
    /// How many questions have been answered, one way or the other.
    answers: u64,
    /// When the last question was put.
    asked: Option<Instant>,
    /// The first moment at which to ask again, and the one at which to do so unasked.
    not_before: Option<Instant>,
    renewal: Option<Instant>,
    /// Whether someone has asked since the last answer, who may have given up meanwhile.
    wanted: bool,
    /// Who waits, by ticket, and how many tickets were given out.
    waiting: BTreeMap<u64, Wake>,
    tickets: u64,
    running: bool,
    closed: bool,
}

/// A question that is under way. Who drops it is not called any more.
pub(in crate::redis) struct Request {
    shared: Arc<Shared>,
    /// The generation that will not do any more.
    generation: u64,
    /// Which answer it waits for.
    answer: u64,
    /// Its place among those who wait; 0 if it need not.
    ticket: u64,
}

impl Issuer {
    /// `limit` is how long the provider has for an answer.
    pub fn new(provider: Arc<dyn CredentialProvider>, refresh: Duration, limit: Duration) -> Self {
        Self {
            shared: Arc::new(Shared {
                questions: Questions::new(provider, limit),
                refresh,
                generation: AtomicU64::new(0),
                state: Mutex::default(),
                changed: Condvar::new(),
            }),
        }
    }

    pub fn generation(&self) -> u64 {
        self.shared.generation.load(Ordering::Acquire)
    }

    pub fn newest(&self) -> Option<Login> {
        self.shared.state().newest.clone()
    }

    /// Asks for what is newer than `generation`, unless that is at hand. The thread is started by
    /// the first who asks.
    pub fn request(issuer: &Arc<Self>, generation: u64, wake: Wake) -> Result<Request> {
        let shared = &issuer.shared;
        let mut state = shared.state();
        let request = |answer, ticket| Request {
            shared: shared.clone(),
            generation,
            answer,
            ticket,
        };
        if state.login_after(generation).is_some() {
            return Ok(request(state.answers, 0));
        }
        if !state.running {
            let worker = shared.clone();
            std::thread::Builder::new()
                .name("feast-rs-credentials".to_owned())
                .spawn(move || worker.keep_renewing())
                .map_err(|error| {
                    Error::new(
                        ErrorKind::Connection,
                        format!("the thread that renews credentials cannot be started: {error}"),
                    )
                })?;
            state.running = true;
        }
        state.wanted = true;
        state.tickets += 1;
        let (answer, ticket) = (state.answers + 1, state.tickets);
        state.waiting.insert(ticket, wake);
        drop(state);
        shared.changed.notify_all();
        Ok(request(answer, ticket))
    }
}

impl Drop for Issuer {
    fn drop(&mut self) {
        self.shared.state().closed = true;
        self.shared.changed.notify_all();
    }
}

impl Request {
    /// The newer credentials, if they are there. An error when the provider failed, `None` in it
    /// when it has nothing newer.
    pub fn outcome(&self) -> Option<Result<Option<Login>>> {
        let state = self.shared.state();
        if let Some(login) = state.login_after(self.generation) {
            return Some(Ok(Some(login)));
        }
        (state.answers >= self.answer).then(|| state.failed.clone().map_or(Ok(None), Err))
    }

    /// The error of who cannot wait any longer.
    pub fn given_up(&self, error: Error) -> Error {
        match &self.shared.state().failed {
            Some(failed) => {
                error.context(format_args!("waiting for credentials, after \"{failed}\""))
            }
            None => error.context("waiting for credentials"),
        }
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        // What wakes may hold descriptors: without this, a provider that hangs would use them up.
        let wake = self.shared.state().waiting.remove(&self.ticket);
        drop(wake);
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing in here can be left half done by a panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks whenever someone wants it or it is time for it, until the issuer is dropped.
    fn keep_renewing(&self) {
        let mut state = self.state();
        while !state.closed {
            let now = Instant::now();
            match state.next_question(now) {
                Some(due) if due <= now => {
                    state.asked = Some(now);
                    drop(state);
                    let answer = self.questions.put();
                    state = self.state();
                    let waiting = state.take_in(answer, self.refresh);
                    let newest = state.newest.as_ref().map_or(0, |login| login.generation);
                    self.generation.store(newest, Ordering::Release);
                    drop(state);
                    for wake in waiting.into_values() {
                        wake();
                    }
                    state = self.state();
                }
                Some(due) => {
                    (state, _) = self
                        .changed
                        .wait_timeout(state, due - now)
                        .unwrap_or_else(PoisonError::into_inner);
                }
                None => {
                    state = self
                        .changed
                        .wait(state)
                        .unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
    }
}

impl State {
    fn login_after(&self, generation: u64) -> Option<Login> {
        let newest = self.newest.as_ref();
        newest
            .filter(|login| login.generation > generation)
            .cloned()
    }

    /// When to ask next; `None` while nobody has asked and nothing is there to be renewed.
    fn next_question(&self, now: Instant) -> Option<Instant> {
        if self.wanted {
            return Some(self.not_before.unwrap_or(now));
        }
        self.renewal
    }

    /// Takes the answer in. Returns who has waited for it.
    fn take_in(&mut self, answer: Result<Issued>, refresh: Duration) -> BTreeMap<u64, Wake> {
        let now = Instant::now();
        let asked = self.asked.unwrap_or(now);
        match answer {
            Ok(issued) => {
                self.failed = None;
                self.failures = 0;
                let used = issued.expires_in.map_or(refresh, |life| {
                    Duration::try_from_secs_f64(life.as_secs_f64() * USED)
                        .map_or(refresh, |used| used.min(refresh))
                });
                self.not_before = Some(asked + PAUSE);
                self.renewal = asked.checked_add(used.max(PAUSE));
                self.keep(issued);
            }
            Err(error) => {
                self.failed = Some(error);
                self.failures += 1;
                let serving = self.newest.is_some();
                let limit = if serving { RENEWAL_BACKOFF } else { BACKOFF };
                let doublings = (self.failures - 1).min(10);
                let backoff = (FIRST_BACKOFF * 2_u32.pow(doublings)).min(limit);
                // Where a login was refused nobody helps himself by asking more often.
                let someone = now + if serving { backoff.max(PAUSE) } else { backoff };
                self.not_before = Some(someone);
                self.renewal = serving.then_some(someone);
            }
        }
        self.answers += 1;
        self.wanted = false;
        std::mem::take(&mut self.waiting)
    }

    /// Keeps what was issued as the newest, unless it is what is there already.
    fn keep(&mut self, issued: Issued) {
        let (known, generation) = match &self.newest {
            Some(login) => (login.credentials.as_ref(), login.generation),
            None => (None, 0),
        };
        if known != Some(&issued.credentials) {
            self.newest = Some(Login {
                credentials: Some(issued.credentials),
                generation: generation + 1,
            });
        }
    }
}
