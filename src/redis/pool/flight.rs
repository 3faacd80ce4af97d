//! A call under way: waiting for its turn, opening a connection, talking.

use std::cell::Cell;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;

use super::round::Round;
use super::shelf::Open;
use super::turnstile::{Queued, Turn};
use super::{Call, Pool, Via};
use crate::error::Result;
use crate::redis::connection::{Connection, Connector, Opening, Progress, Talk, Wait, located};
use crate::redis::credentials::Login;
use crate::redis::reply::ReplySink;

/// One call and how far it has come.
pub(super) struct Flight<'f, 'a, S: ReplySink + ?Sized> {
    pub call: &'f mut Call<'a, S>,
    stage: Stage<'a>,
    wait: Wait,
    /// Whether what it waits for has happened.
    due: Cell<bool>,
}

/// A connection is dropped before the turn that it was opened in, for whoever is next may open
/// another. Calls through a connection of their own need no turn.
#[expect(
    clippy::large_enum_variant,
    reason = "there is one of each call, and most of its time it is the large one"
)]
enum Stage<'a> {
    New,
    /// In the queue of the pool.
    Queued(&'a Pool, Queued<'a>),
    Opening {
        opening: Box<Opening>,
        turn: Option<Turn<'a>>,
    },
    Talking {
        talk: Talk,
        since: Instant,
        /// Whether the connection is of the pool and was used before.
        kept: bool,
        open: Open<Connection>,
        turn: Option<Turn<'a>>,
    },
    Ended,
}

impl<'f, 'a, S: ReplySink + ?Sized> Flight<'f, 'a, S> {
    pub fn new(call: &'f mut Call<'a, S>) -> Self {
        call.outcome = None;
        call.took = None;
        call.ended = None;
        Self {
            call,
            stage: Stage::New,
            wait: Wait::bell(None),
            due: Cell::new(true),
        }
    }

    pub fn has_ended(&self) -> bool {
        matches!(self.stage, Stage::Ended)
    }

    /// Whether a step can be taken. A rival may have ended what was due.
    pub fn is_due(&self) -> bool {
        self.due.get() && !self.has_ended()
    }

    /// Takes note of what happened.
    pub fn notice(&self, event: bool, rung: bool, now: Instant) {
        let late = self.wait.until.is_some_and(|until| until <= now);
        let heard = rung && self.wait.events.is_empty();
        self.due.set(event || heard || late);
    }

    /// What it waits for.
    pub fn wait(&self) -> Wait {
        self.wait
    }

    /// The socket to poll and for what.
    pub fn polled(&self) -> Option<(BorrowedFd<'_>, PollFlags)> {
        let socket = match &self.stage {
            _ if self.wait.events.is_empty() => None,
            Stage::New | Stage::Queued(..) | Stage::Ended => None,
            Stage::Opening { opening, .. } => opening.socket(),
            Stage::Talking { open, .. } => Some(open.connection.as_fd()),
        };
        socket.map(|socket| (socket, self.wait.events))
    }

    /// Whether commands are on their way.
    pub fn is_talking(&self) -> bool {
        matches!(self.stage, Stage::Talking { .. })
    }

    /// How long to look for what it waits for before falling asleep; `None` if that is no socket. A
    /// stream's connection has more to send while it waits.
    pub fn looks_out(&self) -> Option<Duration> {
        if self.wait.events.is_empty() {
            return None;
        }
        Some(match (&self.stage, &self.call.via) {
            (Stage::Talking { open, .. }, Via::Pool(_)) if self.wait.events == PollFlags::IN => {
                open.connection.config().busy_poll
            }
            _ => Duration::ZERO,
        })
    }

    /// Goes on as far as possible without waiting.
    pub fn advance(&mut self, round: &Round) {
        self.due.set(false);
        match self.go_on(round) {
            Ok(Some(wait)) => self.wait = wait,
            Ok(None) => self.end(Some(Ok(()))),
            Err(error) => self.end(Some(Err(error))),
        }
    }

    /// Ends with `outcome`; `None` gives the call up for a rival.
    pub fn end(&mut self, outcome: Option<Result<()>>) {
        let stage = std::mem::replace(&mut self.stage, Stage::Ended);
        if let Stage::Talking {
            since, open, turn, ..
        } = stage
        {
            self.call.took = Some(since.elapsed());
            if open.connection.is_ready() {
                match &mut self.call.via {
                    Via::Pool(pool) => pool.blocking.put(open),
                    Via::Own(own) => own.connection = Some(open),
                }
            } else {
                drop(open);
            }
            drop(turn);
        }
        self.call.ended = outcome.as_ref().map(|_| Instant::now());
        self.call.outcome = outcome;
    }

    fn go_on(&mut self, round: &Round) -> Result<Option<Wait>> {
        loop {
            match &mut self.stage {
                Stage::New => {
                    if let Some(wait) = self.begin(round)? {
                        return Ok(Some(wait));
                    }
                }
                Stage::Queued(pool, queued) => {
                    let (pool, deadline) = (*pool, round.deadline);
                    if deadline.remaining().is_err() {
                        return Err(pool.exhausted(deadline));
                    }
                    match queued.turn() {
                        Some(turn) => self.take_turn(pool, turn, round)?,
                        None => return Ok(Some(Wait::bell(deadline.instant()))),
                    }
                }
                Stage::Opening { opening, .. } => match opening.advance()? {
                    Progress::Waiting(wait) => return Ok(Some(wait)),
                    Progress::Done(connection) => self.opened(connection, round),
                },
                Stage::Talking { .. } => match self.talk() {
                    Err(error) if !self.replace_connection(round)? => return Err(error),
                    Err(_) => {}
                    Ok(waiting) => return Ok(waiting),
                },
                Stage::Ended => return Ok(None),
            }
        }
    }

    /// Begins, unless it is to begin later.
    fn begin(&mut self, round: &Round) -> Result<Option<Wait>> {
        if self.call.commands.is_empty() && matches!(self.call.via, Via::Pool(_)) {
            self.stage = Stage::Ended;
            return Ok(None);
        }
        round.deadline.remaining()?;
        if let Some(begins) = self.call.begins
            && begins > Instant::now()
        {
            let end = round.deadline.instant();
            return Ok(Some(Wait::until(end.map_or(begins, |end| end.min(begins)))));
        }
        match &mut self.call.via {
            Via::Pool(pool) => {
                let pool: &'a Pool = pool;
                match pool.turnstile.enter() {
                    Some(turn) => self.take_turn(pool, turn, round)?,
                    None => self.stage = Stage::Queued(pool, pool.turnstile.queue(round.bell()?)),
                }
            }
            Via::Own(own) => {
                let connector = own.connector.clone();
                match own.connection.take() {
                    Some(open) => self.go_through(&connector, open, false, None, round)?,
                    None => self.open(&connector, None, None, round)?,
                }
            }
        }
        Ok(None)
    }

    /// Goes on with the connection used last, or a new one.
    fn take_turn(&mut self, pool: &Pool, turn: Turn<'a>, round: &Round) -> Result<()> {
        match pool.blocking.take(Connection::is_stale) {
            Some(open) => self.go_through(&pool.connector, open, true, Some(turn), round),
            None => self.open(&pool.connector, None, Some(turn), round),
        }
    }

    /// Goes on with an open connection, which is given its newer login first if there is one.
    fn go_through(
        &mut self,
        connector: &Arc<Connector>,
        open: Open<Connection>,
        kept: bool,
        turn: Option<Turn<'a>>,
        round: &Round,
    ) -> Result<()> {
        if let Some(login) = open.connection.newer_login() {
            return self.open(connector, Some((open.connection, login)), turn, round);
        }
        self.talk_through(open, kept, turn, round);
        Ok(())
    }

    /// Goes on with a connection that is opened, or `renewed`: given another login.
    fn open(
        &mut self,
        connector: &Arc<Connector>,
        renewed: Option<(Connection, Login)>,
        turn: Option<Turn<'a>>,
        round: &Round,
    ) -> Result<()> {
        let (deadline, bell) = (round.deadline, || round.bell());
        let opening = match renewed {
            Some((connection, login)) => {
                Opening::renew(connector, connection, login, deadline, bell)
            }
            None => Opening::begin(connector, deadline, bell),
        }?;
        self.stage = Stage::Opening {
            opening: Box::new(opening),
            turn,
        };
        Ok(())
    }

    /// Begins to talk through a new connection.
    fn opened(&mut self, connection: Connection, round: &Round) {
        let open = match &self.call.via {
            Via::Pool(pool) => pool.blocking.count(connection),
            Via::Own(own) => own.counter.count(connection),
        };
        let turn = match &mut self.stage {
            Stage::Opening { turn, .. } => turn.take(),
            _ => None,
        };
        self.talk_through(open, false, turn, round);
    }

    fn talk_through(
        &mut self,
        open: Open<Connection>,
        kept: bool,
        turn: Option<Turn<'a>>,
        round: &Round,
    ) {
        let since = Instant::now();
        self.stage = Stage::Talking {
            talk: Talk::new(&open.connection, round.deadline, since),
            since,
            kept,
            open,
            turn,
        };
    }

    /// Sends what goes and takes in what has come; `None` when all has.
    fn talk(&mut self) -> Result<Option<Wait>> {
        let Stage::Talking { talk, open, .. } = &mut self.stage else {
            return Ok(None);
        };
        let connection = &mut open.connection;
        talk.advance(connection, self.call.commands, self.call.sink)
            .map_err(|error| located(&connection.config().address, error))
    }

    /// Opens another connection in place of a kept one that turned out dead before a byte of reply
    /// came, if it is one.
    fn replace_connection(&mut self, round: &Round) -> Result<bool> {
        let Via::Pool(pool) = self.call.via else {
            return Ok(false);
        };
        let turn = match &mut self.stage {
            Stage::Talking {
                kept: true,
                open,
                turn,
                ..
            } if open.connection.is_lost() => turn.take(),
            _ => return Ok(false),
        };
        self.stage = Stage::Ended;
        pool.blocking.clear();
        self.call.sink.sent_again();
        self.open(&pool.connector, None, turn, round)?;
        Ok(true)
    }
}
