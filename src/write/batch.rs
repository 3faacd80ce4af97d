//! One batch, written by the calling thread or a task.

use std::sync::Arc;
use std::time::Duration;

use super::line::{Answers, Line, SharedLine, collector};
use super::pending::Pending;
use super::retry::{Retry, pause};
use super::rows::Rows;
use super::{Counts, WritePolicy};
use crate::error::{Error, ErrorKind, Result};
use crate::redis::Deadline;
use crate::redis::command::Commands;
use crate::redis::connection::Interrupt;
use crate::redis::deployment::{Deployment, Purpose};
use crate::redis::tree::Reply;

/// Writes batches in their order on the calling thread, until `deadline` at most. `interrupt` is asked
/// when a signal arrives.
///
/// A server that is silent until then may still do what it was sent.
pub fn write(
    batches: Vec<Rows>,
    policy: WritePolicy,
    deployment: &Arc<Deployment>,
    deadline: Deadline,
    interrupt: Interrupt<'_>,
) -> Result<Counts> {
    let mut counts = Counts::of_read(&batches);
    let mut line = SharedLine {
        deployment,
        deadline,
    };
    check_server(policy, &mut line, interrupt)?;
    for rows in batches {
        let mut pending = Pending::new(rows, policy);
        let mut retry = Retry::new(IMMEDIATE, deadline);
        drive(&mut pending, &mut line, &mut counts, &mut retry, interrupt)
            .map_err(|error| told(error, &counts))?;
    }
    Ok(counts)
}

/// The same as a task.
pub async fn write_async(
    batches: Vec<Rows>,
    policy: WritePolicy,
    deployment: &Arc<Deployment>,
    deadline: Deadline,
) -> Result<Counts> {
    let mut counts = Counts::of_read(&batches);
    check_server_async(policy, deployment, deadline).await?;
    for rows in batches {
        let mut pending = Pending::new(rows, policy);
        let mut retry = Retry::new(IMMEDIATE, deadline);
        while let Err(error) = attempt_async(&mut pending, deployment, deadline, &mut counts).await
        {
            if error.is_outage() {
                deployment.suspect();
            }
            let again = retry.again(error).map_err(|error| of_view(error, &pending));
            let pause = again.map_err(|error| told(error, &counts))?;
            tokio::time::sleep(pause).await;
        }
    }
    Ok(counts)
}

/// The window for a single batch: long enough for a script that was flushed, too short for a caller
/// to notice. Whoever sends single batches decides alone whether to send one again.
const IMMEDIATE: Duration = Duration::from_millis(100);

/// Writes what is left of a batch, again while `retry` says so.
pub(super) fn drive(
    pending: &mut Pending,
    line: &mut impl Line,
    counts: &mut Counts,
    retry: &mut Retry,
    interrupt: Interrupt<'_>,
) -> Result<()> {
    while let Err(error) = attempt(pending, line, counts, interrupt) {
        if error.is_outage() {
            line.suspect();
        }
        let again = retry.again(error).map_err(|error| of_view(error, pending));
        pause(again?, interrupt)?;
    }
    retry.succeed();
    Ok(())
}

fn attempt(
    pending: &mut Pending,
    line: &mut impl Line,
    counts: &mut Counts,
    interrupt: Interrupt<'_>,
) -> Result<()> {
    let mut commands = Commands::default();
    pending.questions(&mut commands);
    let stored = exchange(&commands, line, counts, interrupt)?;
    pending
        .decide(&stored.replies, counts)
        .map_err(|error| line.deployment().located(error))?;
    let mut commands = Commands::default();
    pending.commands(&mut commands);
    let answers = exchange(&commands, line, counts, interrupt).inspect_err(|_| pending.repeat())?;
    pending
        .acknowledge(&answers.replies, answers.again, counts)
        .map_err(|error| line.deployment().located(error))
}

async fn attempt_async(
    pending: &mut Pending,
    deployment: &Arc<Deployment>,
    deadline: Deadline,
    counts: &mut Counts,
) -> Result<()> {
    let mut commands = Commands::default();
    pending.questions(&mut commands);
    let stored = exchange_async(&commands, deployment, deadline, counts).await?;
    pending
        .decide(&stored.replies, counts)
        .map_err(|error| deployment.located(error))?;
    let mut commands = Commands::default();
    pending.commands(&mut commands);
    let answers = exchange_async(&commands, deployment, deadline, counts)
        .await
        .inspect_err(|_| pending.repeat())?;
    pending
        .acknowledge(&answers.replies, answers.again, counts)
        .map_err(|error| deployment.located(error))
}

/// Sends `commands` and collects their replies.
pub(super) fn exchange(
    commands: &Commands,
    line: &mut impl Line,
    counts: &mut Counts,
    interrupt: Interrupt<'_>,
) -> Result<Answers> {
    if commands.is_empty() {
        return Ok(Answers::default());
    }
    counts.bytes += commands.byte_len() as u64;
    line.exchange(commands, interrupt)
}

async fn exchange_async(
    commands: &Commands,
    deployment: &Arc<Deployment>,
    deadline: Deadline,
    counts: &mut Counts,
) -> Result<Answers> {
    let mut replies = collector(commands, deployment);
    counts.bytes += commands.byte_len() as u64;
    deployment
        .run_async(commands, &mut replies, Purpose::Write, deadline)
        .await?;
    Ok(replies.into())
}

/// The error with the view that was written; a refusal names it already.
pub(super) fn of_view(error: Error, pending: &Pending) -> Error {
    match error.kind() {
        ErrorKind::Server => error,
        _ => error.context(format_args!("feature view '{}'", pending.view())),
    }
}

/// The error with what was done until then.
pub(super) fn told(error: Error, counts: &Counts) -> Error {
    error.context(format_args!(
        "{} of {} rows were acknowledged",
        counts.written + counts.skipped,
        counts.read
    ))
}

/// Fails if the server cannot do what `policy` needs; asks it only where that depends on its
/// release.
pub(super) fn check_server(
    policy: WritePolicy,
    line: &mut impl Line,
    interrupt: Interrupt<'_>,
) -> Result<()> {
    if policy.field_ttl.is_none() {
        return Ok(());
    }
    let mut commands = Commands::default();
    commands.push(&[b"COMMAND", b"INFO", b"HPEXPIREAT"]);
    let answers = exchange(&commands, line, &mut Counts::default(), interrupt)?;
    unknown_expiry(&answers.replies, line.deployment())
}

/// The same as a task.
async fn check_server_async(
    policy: WritePolicy,
    deployment: &Arc<Deployment>,
    deadline: Deadline,
) -> Result<()> {
    if policy.field_ttl.is_none() {
        return Ok(());
    }
    let mut commands = Commands::default();
    commands.push(&[b"COMMAND", b"INFO", b"HPEXPIREAT"]);
    let answers = exchange_async(&commands, deployment, deadline, &mut Counts::default()).await?;
    unknown_expiry(&answers.replies, deployment)
}

/// The error of a server that does not know the command. One that forbids to ask is believed.
fn unknown_expiry(replies: &[Reply], deployment: &Arc<Deployment>) -> Result<()> {
    let Some(Reply::Array(commands)) = replies.first() else {
        return Ok(());
    };
    match commands.first() {
        Some(Reply::Nil) | None => Err(deployment.located(Error::new(
            ErrorKind::Server,
            "ttl_per_view needs a server whose hash fields expire: Redis 7.4 or Valkey 9 and \
             later; leave ttl_per_view out, or upgrade the server",
        ))),
        Some(_) => Ok(()),
    }
}

impl Counts {
    fn of_read(batches: &[Rows]) -> Self {
        Self {
            read: batches.iter().map(|rows| rows.len() as u64).sum(),
            ..Self::default()
        }
    }
}
