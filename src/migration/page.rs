//! A page of keys, migrated in pipelines.

use std::collections::HashSet;
use std::sync::Arc;

use super::comparison::{Changes, Comparison, Ttl, compare};
use super::hash::Hash;
use super::readings::Reading;
use super::report::{Outcome, PageReport};
use super::script::{CHANGED, DONE, push_delete, push_merge};
use super::{Migration, Mode};
use crate::error::{Error, ErrorKind, Result};
use crate::redis::Deadline;
use crate::redis::command::Commands;
use crate::redis::connection::Interrupt;
use crate::redis::deployment::{Deployment, Purpose};
use crate::redis::reply::is_transient;
use crate::redis::tree::{Replies, Reply};

/// How often a key is compared again that somebody else writes to meanwhile.
const ROUNDS: usize = 10;

/// A key on its way.
pub(super) struct Task<'k> {
    pub old_key: &'k [u8],
    pub new_key: Vec<u8>,
}

/// A task with what is stored under both keys.
pub(super) struct Stored<'k> {
    pub task: Task<'k>,
    pub old: Hash,
    new: Hash,
}

/// The work on one page.
pub(super) struct Work<'a> {
    migration: &'a Migration,
    mode: Mode,
    pub deployment: &'a Arc<Deployment>,
    pub interrupt: Interrupt<'a>,
    report: PageReport,
}

impl Migration {
    /// Migrates those of `keys` that are this project's of version 2. A page that failed half-way
    /// can be run again: what is done is found to be done.
    ///
    /// # Errors
    /// Those of the deployment, and [`ErrorKind::Server`] for a refusal that is not about one key alone.
    pub fn run_page(
        &self,
        keys: &[Vec<u8>],
        mode: Mode,
        deployment: &Arc<Deployment>,
        interrupt: Interrupt<'_>,
    ) -> Result<PageReport> {
        let mut work = Work {
            migration: self,
            mode,
            deployment,
            interrupt,
            report: PageReport::default(),
        };
        let mut tasks = work.recognize(keys);
        for _ in 0..ROUNDS {
            if tasks.is_empty() {
                break;
            }
            tasks = work.round(tasks)?;
        }
        for task in tasks {
            work.tell(Outcome::Failed, &task, "it is written to all the time");
        }
        Ok(work.report)
    }
}

impl Work<'_> {
    fn recognize<'k>(&mut self, keys: &'k [Vec<u8>]) -> Vec<Task<'k>> {
        let mut seen = HashSet::with_capacity(keys.len());
        let mut tasks = Vec::with_capacity(keys.len());
        for key in keys {
            // SCAN may give a key twice.
            if !seen.insert(key) {
                continue;
            }
            let outcome = match self.migration.readings.read(key) {
                Reading::Old {
                    new_key,
                    chosen: true,
                } => {
                    tasks.push(Task {
                        old_key: key,
                        new_key,
                    });
                    continue;
                }
                Reading::Old { chosen: false, .. } | Reading::New => continue,
                Reading::Ambiguous => Outcome::Ambiguous,
                Reading::Unknown => Outcome::Unrecognised,
            };
            self.report
                .add(outcome, || format!("\"{}\"", key.escape_ascii()));
        }
        tasks
    }

    /// Brings every task as far as it goes; gives those whose new key changed meanwhile.
    fn round<'k>(&mut self, tasks: Vec<Task<'k>>) -> Result<Vec<Task<'k>>> {
        let stored = self.read(tasks)?;
        let mut behind = Vec::new();
        let mut verified = Vec::new();
        for pair in &stored {
            match compare(&pair.old, &pair.new, &self.migration.views) {
                Err(what) => self.tell(Outcome::Failed, &pair.task, &what),
                Ok(Comparison::Conflict(what)) => {
                    self.tell(Outcome::Conflicting, &pair.task, &what);
                }
                Ok(Comparison::Current) => {
                    self.tell(Outcome::Skipped, &pair.task, "");
                    verified.push(pair);
                }
                Ok(Comparison::Behind(changes)) if self.mode.dry_run => {
                    self.tell(outcome_of(pair, &changes), &pair.task, "");
                }
                Ok(Comparison::Behind(changes)) => behind.push((pair, changes)),
            }
        }
        let mut again = Vec::new();
        let mut written = Vec::new();
        let replies = self.call(behind.len(), |commands, with_text, at| {
            let (pair, changes) = &behind[at];
            push_merge(commands, with_text, &pair.task.new_key, &pair.old, changes);
        })?;
        for ((pair, changes), reply) in behind.iter().zip(replies) {
            match reply {
                Reply::Integer(DONE) => {
                    self.tell(outcome_of(pair, changes), &pair.task, "");
                    written.push(*pair);
                }
                Reply::Integer(CHANGED) => again.push(pair.task.again()),
                Reply::Error(words) if is_of_key(&words) => {
                    self.tell(Outcome::Failed, &pair.task, &words);
                }
                other => return Err(self.refused("a script", &other)),
            }
        }
        if self.mode.delete && !self.mode.dry_run {
            self.verify(written, &mut verified)?;
            let safe = self.replicated(verified)?;
            self.delete(&safe)?;
        }
        Ok(again)
    }

    /// Reads both hashes of every task; tasks whose old hash is gone or is none are dropped.
    fn read<'k>(&mut self, tasks: Vec<Task<'k>>) -> Result<Vec<Stored<'k>>> {
        let mut commands = Commands::default();
        for task in &tasks {
            push_read(&mut commands, task.old_key);
            push_read(&mut commands, &task.new_key);
        }
        let mut replies = self.exchange(&commands)?.into_iter();
        let mut stored = Vec::with_capacity(tasks.len());
        for task in tasks {
            let old = next_hash(&mut replies);
            let new = next_hash(&mut replies);
            let old = match old {
                Ok(old) => old,
                Err(words) if is_of_key(&words) => {
                    self.tell(Outcome::Unrecognised, &task, &words);
                    continue;
                }
                Err(words) => return Err(self.refusal("HGETALL", &words)),
            };
            let new = match new {
                Ok(new) => new,
                Err(words) if is_of_key(&words) => {
                    self.tell(Outcome::Failed, &task, &format!("its new key: {words}"));
                    continue;
                }
                Err(words) => return Err(self.refusal("HGETALL", &words)),
            };
            stored.push(Stored { task, old, new });
        }
        if self.migration.field_expiry {
            self.read_expiries(&mut stored)?;
        }
        let report = &mut self.report;
        stored.retain(|pair| {
            let has_rows = pair.old.cells().iter().any(super::hash::Cell::is_timestamp);
            if !has_rows && !pair.old.is_empty() {
                report.add(Outcome::Unrecognised, || {
                    let entity = self.migration.readings.entity(pair.task.old_key);
                    format!("{entity}: it has no event timestamp")
                });
            }
            has_rows
        });
        Ok(stored)
    }

    fn read_expiries(&self, stored: &mut [Stored<'_>]) -> Result<()> {
        let mut commands = Commands::default();
        let asked = |pair: &Stored<'_>| !pair.old.is_empty();
        for pair in stored.iter().filter(|pair| asked(pair)) {
            let fields = pair.old.cells();
            let count = fields.len().to_string();
            let head: [&[u8]; 4] = [
                b"HPEXPIRETIME",
                pair.task.old_key,
                b"FIELDS",
                count.as_bytes(),
            ];
            let names = fields.iter().map(|cell| cell.field.as_slice());
            commands.push_for_key(&head.into_iter().chain(names).collect::<Vec<_>>());
        }
        let replies = self.exchange(&commands)?;
        for (pair, reply) in stored.iter_mut().filter(|pair| asked(pair)).zip(replies) {
            pair.old
                .set_expiries(&reply)
                .map_err(|words| self.refusal("HPEXPIRETIME", &words))?;
        }
        Ok(())
    }

    /// Reads the new hashes back; those that have all of the old ones are added to `verified`.
    fn verify<'s, 'k>(
        &mut self,
        written: Vec<&'s Stored<'k>>,
        verified: &mut Vec<&'s Stored<'k>>,
    ) -> Result<()> {
        let mut commands = Commands::default();
        for pair in &written {
            push_read(&mut commands, &pair.task.new_key);
        }
        let mut replies = self.exchange(&commands)?.into_iter();
        for pair in written {
            let new = match next_hash(&mut replies) {
                Ok(new) => new,
                Err(words) if is_of_key(&words) => Hash::default(),
                Err(words) => return Err(self.refusal("HGETALL", &words)),
            };
            if self.is_copy(&pair.old, &new) {
                verified.push(pair);
            } else {
                let what = "its copy is not what was written";
                self.tell(Outcome::Kept, &pair.task, what);
            }
        }
        Ok(())
    }

    /// Whether a new hash has all of the old one, or newer.
    pub fn is_copy(&self, old: &Hash, new: &Hash) -> bool {
        match compare(old, new, &self.migration.views) {
            Ok(Comparison::Current) => true,
            // Time went by since the old key's time to live was asked for.
            Ok(Comparison::Behind(changes)) => {
                changes.is_of_ttl_only() && changes.ttl != Some(Ttl::Forever)
            }
            Ok(Comparison::Conflict(_)) | Err(_) => false,
        }
    }

    fn delete(&mut self, verified: &[&Stored<'_>]) -> Result<()> {
        let replies = self.call(verified.len(), |commands, with_text, at| {
            let pair = verified[at];
            push_delete(commands, with_text, pair.task.old_key, &pair.old);
        })?;
        for (pair, reply) in verified.iter().zip(replies) {
            match reply {
                Reply::Integer(DONE) => self.tell(Outcome::Deleted, &pair.task, ""),
                Reply::Integer(CHANGED) => {
                    self.tell(Outcome::Kept, &pair.task, "it was written to meanwhile");
                }
                // It is gone already.
                Reply::Integer(_) => {}
                Reply::Error(words) if is_of_key(&words) => {
                    self.tell(Outcome::Kept, &pair.task, &words);
                }
                other => return Err(self.refused("a script", &other)),
            }
        }
        Ok(())
    }

    /// Runs a script `calls` times, with its text where a server does not know it yet.
    fn call(&self, calls: usize, push: impl Fn(&mut Commands, bool, usize)) -> Result<Vec<Reply>> {
        let mut commands = Commands::default();
        for at in 0..calls {
            push(&mut commands, false, at);
        }
        let mut replies = self.exchange(&commands)?;
        let unknown =
            |reply: &Reply| matches!(reply, Reply::Error(words) if words.starts_with("NOSCRIPT"));
        let again: Vec<usize> = (0..calls).filter(|&at| unknown(&replies[at])).collect();
        let mut commands = Commands::default();
        for &at in &again {
            push(&mut commands, true, at);
        }
        for (at, reply) in again.into_iter().zip(self.exchange(&commands)?) {
            replies[at] = reply;
        }
        Ok(replies)
    }

    fn exchange(&self, commands: &Commands) -> Result<Vec<Reply>> {
        let deployment = self.deployment;
        let limit = deployment.config().node.max_reply_bytes;
        let mut replies = Replies::new(commands.len(), limit);
        let (sink, deadline) = (&mut replies, Deadline::NEVER);
        deployment.run(commands, sink, Purpose::Write, deadline, self.interrupt)?;
        Ok(replies.into_vec())
    }

    pub fn tell(&mut self, outcome: Outcome, task: &Task<'_>, what: &str) {
        self.report.add(outcome, || {
            let entity = self.migration.readings.entity(task.old_key);
            if what.is_empty() {
                entity
            } else {
                format!("{entity}: {what}")
            }
        });
    }

    fn refused(&self, what: &str, reply: &Reply) -> Error {
        match reply {
            Reply::Error(words) => self.refusal(what, words),
            other => self.refusal(what, &format!("answered {other:?}")),
        }
    }

    fn refusal(&self, what: &str, words: &str) -> Error {
        let error = Error::new(ErrorKind::Server, format!("refused {what}: {words}"));
        let error = if is_transient(words) {
            error.transient()
        } else {
            error
        };
        self.deployment.located(error)
    }
}

impl<'k> Task<'k> {
    fn again(&self) -> Task<'k> {
        Task {
            old_key: self.old_key,
            new_key: self.new_key.clone(),
        }
    }
}

fn outcome_of(pair: &Stored<'_>, changes: &Changes<'_>) -> Outcome {
    if pair.new.is_empty() {
        Outcome::Migrated
    } else if changes.is_of_ttl_only() {
        Outcome::Skipped
    } else {
        Outcome::Merged
    }
}

pub(super) fn push_read(commands: &mut Commands, key: &[u8]) {
    commands.push_for_key(&[b"HGETALL", key]);
    commands.push_for_key(&[b"PTTL", key]);
}

pub(super) fn next_hash(replies: &mut impl Iterator<Item = Reply>) -> Result<Hash, String> {
    let (Some(all), Some(ttl)) = (replies.next(), replies.next()) else {
        return Err("a reply is missing".to_owned());
    };
    Hash::from_replies(all, &ttl)
}

/// Whether a refusal is about its key alone.
fn is_of_key(words: &str) -> bool {
    words.contains("WRONGTYPE")
}
