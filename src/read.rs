//! One read from end to end: commands out, replies into the grid, the grid into the answer.

use std::sync::Arc;
use std::time::Duration;

use crate::entity_key::KeyColumn;
use crate::error::{Error, ErrorKind, Result};
use crate::features::{Features, Onlooker, Watched};
use crate::grid::{self, GridScanner, OnError};
use crate::plan::{Plan, ReadRequest, whole_hashes};
use crate::redis::Deadline;
use crate::redis::command::Commands;
use crate::redis::deployment::{Deployment, Purpose, TRIAL_LIMIT};
use crate::redis::reply::is_transient;
use crate::redis::tree::{Replies, Reply};

/// The largest reply to a trial.
const TRIAL_BYTES: usize = 1 << 20;

/// A read that is ready to be run, blocking or async.
#[derive(Debug)]
pub struct Read {
    plan: Arc<Plan>,
    keys: Vec<KeyColumn>,
    request: ReadRequest,
    scanner: GridScanner,
    strict: bool,
}

impl Read {
    /// Reads the plan's features for `rows` rows of join-key values from `deployment`. With `strict`,
    /// missing and outdated rows get a status of their own.
    pub fn new(
        plan: Arc<Plan>,
        keys: Vec<KeyColumn>,
        rows: usize,
        strict: bool,
        deployment: &Deployment,
    ) -> Result<Self> {
        let dumps = deployment.dumps().are_usable();
        let request = ReadRequest::new(&plan, &keys, rows, dumps)?;
        Ok(Self::of(plan, keys, request, strict, deployment))
    }

    /// Reads the features of the plan's only key group for Redis keys that are given, end to end
    /// and with where each ends.
    #[must_use]
    pub fn of_keys(
        plan: Arc<Plan>,
        keys: Vec<u8>,
        ends: Vec<usize>,
        deployment: &Deployment,
    ) -> Self {
        let dumps = deployment.dumps().are_usable();
        let request = ReadRequest::of_keys(&plan, keys, ends, dumps);
        Self::of(plan, Vec::new(), request, false, deployment)
    }

    fn of(
        plan: Arc<Plan>,
        keys: Vec<KeyColumn>,
        request: ReadRequest,
        strict: bool,
        deployment: &Deployment,
    ) -> Self {
        let limit = deployment.config().node.max_reply_bytes;
        let scanner = GridScanner::new(plan.clone(), &request, limit);
        Self {
            plan,
            keys,
            request,
            scanner,
            strict,
        }
    }

    /// Sets what becomes of the read when the server is out of order; it fails unless told
    /// otherwise.
    #[must_use]
    pub fn on_error(mut self, on_error: OnError) -> Self {
        self.scanner = self.scanner.on_error(on_error);
        self
    }

    /// Runs the read on the calling thread. `interrupt` is asked when a signal arrives, and
    /// `onlooker` is shown what has come of the answer while the rest is waited for.
    pub fn run(
        mut self,
        deployment: &Arc<Deployment>,
        deadline: Deadline,
        interrupt: &dyn Fn() -> Result<()>,
        onlooker: &mut impl Onlooker,
    ) -> Result<Features> {
        let commands = &self.request.commands;
        let mut sink = Watched {
            plan: &self.plan,
            groups: &self.request.groups,
            scanner: &mut self.scanner,
            onlooker,
            expected: commands.len(),
            looked: Duration::ZERO,
        };
        deployment
            .run(commands, &mut sink, Purpose::Read, deadline, interrupt)
            .map_err(|error| self.failed(deployment, error))?;
        if self.go_on(deployment) {
            let (rest, scanner) = (&self.request.commands, &mut self.scanner);
            deployment
                .run(rest, scanner, Purpose::Read, deadline, interrupt)
                .map_err(|error| self.failed(deployment, error))?;
        }
        if let Some(again) = self.whole_hashes(deployment) {
            let scanner = &mut self.scanner;
            deployment
                .run(&again, scanner, Purpose::Read, deadline, interrupt)
                .map_err(|error| self.failed(deployment, error))?;
        }
        if let Some((trial, deadline)) = self.trial(deployment, deadline) {
            let mut replies = Replies::new(1, TRIAL_BYTES);
            let outcome = deployment.run(&trial, &mut replies, Purpose::Read, deadline, interrupt);
            judge(deployment, outcome, replies)?;
        }
        self.finish(deployment)
    }

    /// Runs the read as a task. Dropping it closes the connections that it uses.
    pub async fn run_async(
        mut self,
        deployment: &Arc<Deployment>,
        deadline: Deadline,
    ) -> Result<Features> {
        let (commands, scanner) = (&self.request.commands, &mut self.scanner);
        deployment
            .run_async(commands, scanner, Purpose::Read, deadline)
            .await
            .map_err(|error| self.failed(deployment, error))?;
        if self.go_on(deployment) {
            let (rest, scanner) = (&self.request.commands, &mut self.scanner);
            deployment
                .run_async(rest, scanner, Purpose::Read, deadline)
                .await
                .map_err(|error| self.failed(deployment, error))?;
        }
        if let Some(again) = self.whole_hashes(deployment) {
            let scanner = &mut self.scanner;
            deployment
                .run_async(&again, scanner, Purpose::Read, deadline)
                .await
                .map_err(|error| self.failed(deployment, error))?;
        }
        if let Some((trial, deadline)) = self.trial(deployment, deadline) {
            let mut replies = Replies::new(1, TRIAL_BYTES);
            let outcome = deployment
                .run_async(&trial, &mut replies, Purpose::Read, deadline)
                .await;
            judge(deployment, outcome, replies)?;
        }
        self.finish(deployment)
    }

    /// Whether there are more commands, which waited for the first hash of their key group to be known.
    fn go_on(&mut self, deployment: &Deployment) -> bool {
        if !self.request.waits() {
            return false;
        }
        self.scanner.learn_so_far();
        let dumps = deployment.dumps().are_usable();
        self.request.go_on(&self.plan, dumps);
        self.scanner.go_on(&self.request.runs);
        true
    }

    /// The commands that are left to be answered, where DUMP did not tell of a hash.
    fn whole_hashes(&mut self, deployment: &Deployment) -> Option<Commands> {
        let runs = self.scanner.undumped();
        if self.scanner.refused_dump() {
            deployment.dumps().rule_out();
        }
        if runs.is_empty() {
            return None;
        }
        // It takes up to twice the room that it has in a DUMP.
        let bytes = 2 * self.request.reply_bytes / self.request.commands.len();
        Some(whole_hashes(&self.request.groups, &runs, bytes))
    }

    /// A DUMP of a stored entity, where reads like this one would use it and it was not tried yet.
    fn trial(&self, deployment: &Deployment, deadline: Deadline) -> Option<(Commands, Deadline)> {
        let group = self.request.dump_pays?;
        let entity = self.scanner.grid().stored_entity(group)?;
        if !deployment.dumps().are_to_be_tried() {
            return None;
        }
        let mut commands = Commands::default();
        commands.begin(2);
        commands.argument(b"DUMP");
        commands.key(self.request.groups[group].key(entity));
        commands.end();
        Some((commands, deadline.within(TRIAL_LIMIT)))
    }

    /// Learns from a failure, lest all later reads meet the same.
    fn failed(&self, deployment: &Deployment, error: Error) -> Error {
        if error.is_outage() && self.request.dumps() {
            deployment.dumps().doubt();
        }
        self.scanner.learn_dumps();
        error
    }

    fn finish(self, deployment: &Deployment) -> Result<Features> {
        let located = |error| deployment.located(error);
        let dumps = self.request.dumps();
        let grid = self.scanner.finish(&self.request.groups, located)?;
        if dumps && grid.unanswered().is_some() {
            deployment.dumps().doubt();
        }
        Ok(Features::new(
            self.plan,
            self.request.rows,
            self.keys,
            self.request.groups,
            grid,
            self.strict,
        ))
    }
}

/// Learns from the outcome of a trial. Unless the caller was interrupted, it is nobody's error.
fn judge(deployment: &Deployment, outcome: Result<()>, replies: Replies) -> Result<()> {
    let dumps = deployment.dumps();
    match outcome {
        Ok(()) => match replies.into_vec().pop() {
            Some(Reply::Bytes(payload)) if grid::is_read(&payload) => dumps.worked(),
            Some(Reply::Error(words)) if !is_transient(&words) => dumps.rule_out(),
            _ => {}
        },
        Err(error) if error.kind() == ErrorKind::Interrupted => return Err(error),
        Err(_) => {}
    }
    Ok(())
}
