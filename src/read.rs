//! One read from end to end: commands out, replies into the grid, the grid into the answer.

use std::sync::Arc;
use std::time::Duration;

use crate::entity_key::KeyColumn;
use crate::error::Result;
use crate::features::{Features, Onlooker, Watched};
use crate::grid::{GridScanner, OnError};
use crate::plan::{Plan, ReadRequest};
use crate::redis::Deadline;
use crate::redis::deployment::{Deployment, Purpose};

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
    /// Reads the plan's features for `rows` rows of join-key values. With `strict`, missing and
    /// outdated rows get a status of their own.
    pub fn new(
        plan: Arc<Plan>,
        keys: Vec<KeyColumn>,
        rows: usize,
        strict: bool,
        max_reply_bytes: usize,
    ) -> Result<Self> {
        let request = ReadRequest::new(&plan, &keys, rows)?;
        Ok(Self::of(plan, keys, request, strict, max_reply_bytes))
    }

    /// Reads the features of the plan's only key group for Redis keys that are given, end to end
    /// and with where each ends.
    #[must_use]
    pub fn of_keys(
        plan: Arc<Plan>,
        keys: Vec<u8>,
        ends: Vec<usize>,
        max_reply_bytes: usize,
    ) -> Self {
        let request = ReadRequest::of_keys(&plan, keys, ends);
        Self::of(plan, Vec::new(), request, false, max_reply_bytes)
    }

    fn of(
        plan: Arc<Plan>,
        keys: Vec<KeyColumn>,
        request: ReadRequest,
        strict: bool,
        max_reply_bytes: usize,
    ) -> Self {
        let scanner = GridScanner::new(plan.clone(), &request, max_reply_bytes);
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
        deployment.run(commands, &mut sink, Purpose::Read, deadline, interrupt)?;
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
            .await?;
        self.finish(deployment)
    }

    fn finish(self, deployment: &Deployment) -> Result<Features> {
        let located = |error| deployment.located(error);
        let grid = self.scanner.finish(&self.request.groups, located)?;
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
