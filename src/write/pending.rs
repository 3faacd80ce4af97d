//! Rows on their way: what to say for them, and what the replies mean. No I/O.

use std::collections::{HashMap, HashSet};

use super::refusal::Refusals;
use super::restore::RestoreWriter;
use super::rows::Rows;
use super::script;
use super::{Counts, Newest, WritePolicy};
use crate::error::{Error, ErrorKind, Result};
use crate::event_time::EventTime;
use crate::redis::command::Commands;
use crate::redis::reply::is_transient;
use crate::redis::tree::Reply;

/// The latest time at which Redis lets a field expire, in milliseconds: some in the year 10889.
const LATEST_EXPIRY: i128 = (1 << 48) - 2;

/// What is said for a row.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Act {
    /// Write it.
    Write,
    /// It is stored already, by an attempt whose replies were lost: set its times to live again.
    Confirm,
    /// It is not newer: renew the key's time to live.
    Renew,
    /// Write it if its entity has nothing stored.
    Create,
}

/// The rows of a batch that are not acknowledged yet.
#[derive(Debug)]
pub struct Pending {
    rows: Rows,
    policy: WritePolicy,
    /// Rows without an outcome, in their order.
    left: Vec<usize>,
    /// What the next [`commands`](Self::commands) say, in their order; a part of `left`.
    acts: Vec<(usize, Act)>,
    /// How many of the rows last asked about had no stored time.
    unknown: usize,
    /// Whether an attempt may have written rows without our hearing of it.
    repeated: bool,
    /// Whether the script was gone when it was called: it goes with each row then, since it may be
    /// flushed again.
    unscripted: bool,
}

impl Pending {
    /// All of `rows`.
    #[must_use]
    pub fn new(rows: Rows, policy: WritePolicy) -> Self {
        Self {
            left: (0..rows.len()).collect(),
            acts: Vec::new(),
            rows,
            policy,
            unknown: 0,
            repeated: false,
            unscripted: false,
        }
    }

    /// The view that the rows belong to, as it is stored.
    #[must_use]
    pub fn view(&self) -> &str {
        &self.rows.target().view
    }

    /// How many rows have no outcome yet.
    #[must_use]
    pub fn left(&self) -> usize {
        self.left.len()
    }

    /// How many of the rows last [decided](Self::decide) on had no stored time.
    #[must_use]
    pub fn unknown(&self) -> usize {
        self.unknown
    }

    /// Takes note that the last [`commands`](Self::commands) or [`creations`](Self::creations) may
    /// have arrived, or not.
    pub fn repeat(&mut self) {
        self.repeated = true;
        self.acts.clear();
    }

    /// Commands that write the rows left as those of entities of which nothing is stored, where rows
    /// can be sent so. They do nothing where something is; so of an entity's rows only the first is sent,
    /// lest a later one succeed where that had failed.
    pub fn creations(&mut self) -> Commands {
        self.acts.clear();
        let mut out = Commands::default();
        if !self.rows.has_distinct_fields() {
            return out;
        }
        let mut writer = RestoreWriter::new(self.policy.key_ttl);
        let mut time = Vec::with_capacity(16);
        let mut met: HashSet<&[u8], foldhash::fast::FixedState> = HashSet::with_capacity_and_hasher(
            self.left.len(),
            foldhash::fast::FixedState::default(),
        );
        for &row in &self.left {
            if !met.insert(self.rows.key(row)) {
                continue;
            }
            time.clear();
            self.rows.time(row).write(&mut time);
            if writer.write(&self.rows, row, &time, &mut out) {
                self.acts.push((row, Act::Create));
            }
        }
        out
    }

    /// Takes the replies to [`creations`](Self::creations) in: rows that were written are counted
    /// and leave; all others stay. `again` tells that the server may have run the commands twice.
    /// Gives whether it takes such commands.
    pub fn created(&mut self, replies: &[Reply], again: bool, counts: &mut Counts) -> bool {
        self.repeated |= again;
        let mut understood = true;
        let mut settled = Vec::with_capacity(replies.len());
        for ((row, _), reply) in std::mem::take(&mut self.acts).into_iter().zip(replies) {
            match reply {
                Reply::Error(words) => {
                    understood &= words.starts_with("BUSYKEY") || is_transient(words);
                }
                _ => settled.push(row),
            }
        }
        counts.written += settled.len() as u64;
        counts.replies += settled.len() as u64;
        self.settle(&settled, counts);
        understood
    }

    /// Whether [`questions`](Self::questions) have to be answered before there are commands.
    #[must_use]
    pub fn asks(&self) -> bool {
        self.policy.newest == Newest::Compared
    }

    /// Appends the commands that read the stored event time of every row left, if they are asked.
    pub fn questions(&self, out: &mut Commands) {
        if !self.asks() {
            return;
        }
        for &row in &self.left {
            let field = &self.rows.target().timestamp_field;
            out.push_for_key(&[b"HMGET", self.rows.key(row), field]);
        }
    }

    /// Decides what to say for each row left, by the replies to [`questions`](Self::questions) or,
    /// where none were asked, by none. Rows that are not newer are counted as skipped.
    ///
    /// # Errors
    /// [`ErrorKind::Server`] when a stored time could not be read, [`ErrorKind::Decode`] when one is
    /// malformed. Nothing was written of these rows then.
    pub fn decide(&mut self, stored: &[Reply], counts: &mut Counts) -> Result<()> {
        self.acts.clear();
        if !self.asks() {
            self.acts
                .extend(self.left.iter().map(|&row| (row, Act::Write)));
            return Ok(());
        }
        let stored = self.stored_times(stored)?;
        let none = EventTime::default();
        self.unknown = stored.iter().filter(|time| **time == none).count();
        let renews = self.policy.renew_skipped && self.policy.key_ttl.is_some();
        let lives = self.policy.key_ttl.is_some() || self.policy.field_ttl.is_some();
        let mut newest: HashMap<&[u8], i128, foldhash::fast::FixedState> =
            HashMap::with_capacity_and_hasher(
                self.left.len(),
                foldhash::fast::FixedState::default(),
            );
        let mut settled = Vec::new();
        for (&row, before) in self.left.iter().zip(stored) {
            let before = before.total_nanos();
            let key = self.rows.key(row);
            let within = newest.get(key).copied().unwrap_or(0);
            let time = self.rows.time(row).total_nanos();
            let latest = before.max(within);
            // Zero stands for "none", as in stock: a row of the epoch itself never blocks another.
            if latest == 0 || time > latest {
                newest.insert(key, time);
                self.acts.push((row, Act::Write));
            } else if self.repeated && time == before && within < time {
                newest.insert(key, time);
                if lives {
                    self.acts.push((row, Act::Confirm));
                } else {
                    settled.push(row);
                    counts.written += 1;
                    counts.replies += 1;
                }
            } else if renews {
                self.acts.push((row, Act::Renew));
            } else {
                settled.push(row);
                counts.skipped += 1;
            }
        }
        self.settle(&settled, counts);
        Ok(())
    }

    /// Appends the commands for the rows decided on; gives how many replies are due.
    pub fn commands(&self, out: &mut Commands) -> usize {
        let before = out.len();
        let atomic = self.policy.newest == Newest::Atomic;
        if self.loads_script() {
            out.push_for_each(&[b"SCRIPT", b"LOAD", script::SOURCE.as_bytes()]);
        }
        let mut time = Vec::with_capacity(16);
        for &(row, act) in &self.acts {
            time.clear();
            self.rows.time(row).write(&mut time);
            if atomic {
                self.atomic_command(row, &time, out);
            } else {
                self.plain_commands(row, act, &time, out);
            }
        }
        out.len() - before
    }

    fn plain_commands(&self, row: usize, act: Act, time: &[u8], out: &mut Commands) {
        let (key, field) = (self.rows.key(row), &self.rows.target().timestamp_field);
        let width = self.rows.width(row);
        if act == Act::Write {
            out.begin(4 + 2 * width);
            out.raw(b"$4\r\nHSET\r\n");
            out.key(key);
            out.argument(field);
            out.argument(time);
            out.raw(self.rows.cells(row));
            out.end();
        }
        if let Some(seconds) = self.policy.key_ttl {
            out.push_for_key(&[b"EXPIRE", key, seconds.to_string().as_bytes()]);
        }
        if let Some(expiry) = self.expiry(row)
            && act != Act::Renew
        {
            out.begin(6 + width);
            out.argument(b"HPEXPIREAT");
            out.key(key);
            out.argument(expiry.to_string().as_bytes());
            out.argument(b"FIELDS");
            out.argument((width + 1).to_string().as_bytes());
            out.argument(field);
            for (field, _) in self.rows.named_cells(row) {
                out.argument(field);
            }
            out.end();
        }
    }

    /// Whether the commands begin with one that loads the script.
    fn loads_script(&self) -> bool {
        self.policy.newest == Newest::Atomic && !self.unscripted && !self.acts.is_empty()
    }

    fn atomic_command(&self, row: usize, time: &[u8], out: &mut Commands) {
        out.begin(9 + 2 * self.rows.width(row));
        if self.unscripted {
            out.argument(b"EVAL");
            out.argument(script::SOURCE.as_bytes());
        } else {
            out.argument(b"EVALSHA");
            out.argument(script::SHA.as_bytes());
        }
        out.argument(b"1");
        out.key(self.rows.key(row));
        out.argument(&self.rows.target().timestamp_field);
        out.argument(time);
        out.argument(self.policy.key_ttl.unwrap_or(0).to_string().as_bytes());
        out.argument(if self.policy.renew_skipped {
            b"1"
        } else {
            b"0"
        });
        out.argument(self.expiry(row).unwrap_or(0).to_string().as_bytes());
        out.raw(self.rows.cells(row));
        out.end();
    }

    /// When the fields of a row expire, in milliseconds since the epoch, if they do.
    fn expiry(&self, row: usize) -> Option<i64> {
        let life = i128::try_from(self.policy.field_ttl?.as_millis()).ok()?;
        let end = self.rows.time(row).total_nanos() / 1_000_000 + life;
        // Redis takes no time before the epoch, and the script no zero, which stands for "never".
        Some(end.clamp(1, LATEST_EXPIRY) as i64)
    }

    /// Takes the replies to [`commands`](Self::commands) in: acknowledged rows are counted and
    /// leave, as do refused ones; those that met a passing trouble of the server stay. `again` tells
    /// that the server may have run the commands twice.
    ///
    /// # Errors
    /// [`ErrorKind::Server`] with the view, the first entities that were refused and the server's
    /// words, once all replies are counted.
    pub fn acknowledge(
        &mut self,
        replies: &[Reply],
        again: bool,
        counts: &mut Counts,
    ) -> Result<()> {
        self.repeated |= again;
        // If the script could not be loaded, the rows' own replies tell.
        let mut replies = replies.iter().skip(usize::from(self.loads_script()));
        let acts = std::mem::take(&mut self.acts);
        let mut refusals = Refusals::default();
        let mut settled = Vec::with_capacity(acts.len());
        for (row, act) in acts {
            let due = self.replies_due(act);
            let mut outcome = None;
            let mut error = None;
            for reply in replies.by_ref().take(due) {
                match reply {
                    Reply::Error(words) => error = error.or(Some(words.as_str())),
                    Reply::Integer(number) => outcome = outcome.or(Some(*number)),
                    _ => {}
                }
            }
            if let Some(words) = error {
                self.unscripted |= words.starts_with("NOSCRIPT");
                if refusals.add(self.rows.target(), self.rows.key(row), words) {
                    continue;
                }
                counts.failed += 1;
            } else if self.was_skipped(row, act, outcome) {
                counts.skipped += 1;
            } else {
                counts.written += 1;
                counts.replies += due as u64;
            }
            settled.push(row);
        }
        self.settle(&settled, counts);
        // Of the rows left, a write may have been done and its time to live been refused; a script
        // does all or nothing.
        self.repeated |= self.policy.newest != Newest::Atomic && !self.left.is_empty();
        refusals.into_result(self.rows.target(), "write")
    }

    fn was_skipped(&self, row: usize, act: Act, outcome: Option<i64>) -> bool {
        match (self.policy.newest, outcome) {
            (Newest::Atomic, Some(script::AS_OLD)) => !self.repeated || self.is_duplicate(row),
            (Newest::Atomic, outcome) => outcome == Some(script::OLDER),
            _ => act == Act::Renew,
        }
    }

    /// Whether an earlier row of the batch has the entity and the time of this one; asked only after
    /// a failure.
    fn is_duplicate(&self, row: usize) -> bool {
        let (key, time) = (self.rows.key(row), self.rows.time(row));
        (0..row).any(|earlier| self.rows.time(earlier) == time && self.rows.key(earlier) == key)
    }

    fn replies_due(&self, act: Act) -> usize {
        if self.policy.newest == Newest::Atomic {
            return 1;
        }
        let key = usize::from(self.policy.key_ttl.is_some());
        let fields = usize::from(self.policy.field_ttl.is_some());
        match act {
            Act::Write => 1 + key + fields,
            Act::Confirm => key + fields,
            Act::Renew => key,
            Act::Create => 1,
        }
    }

    /// Takes rows, given in their order, off those left.
    fn settle(&mut self, settled: &[usize], counts: &mut Counts) {
        let newest = settled.iter().map(|&row| self.rows.time(row)).max();
        counts.newest = counts.newest.max(newest);
        let mut settled = settled.iter().copied().peekable();
        self.left.retain(|&row| settled.next_if_eq(&row).is_none());
    }

    /// The event times in the replies to [`questions`](Self::questions); the epoch for none.
    fn stored_times(&self, replies: &[Reply]) -> Result<Vec<EventTime>> {
        let target = self.rows.target();
        let mut refusals = Refusals::default();
        let mut times = Vec::with_capacity(replies.len());
        for (&row, reply) in self.left.iter().zip(replies) {
            let key = self.rows.key(row);
            let mut time = EventTime::default();
            if let Reply::Error(words) = reply {
                refusals.add(target, key, words);
            } else if let Reply::Array(values) = reply
                && let Some(Reply::Bytes(message)) = values.first()
            {
                time = EventTime::parse(message).map_err(|cause| {
                    Error::new(
                        ErrorKind::Decode,
                        format!(
                            "the event timestamp of feature view '{}' for {}: {cause}",
                            target.view,
                            target.entity(key)
                        ),
                    )
                })?;
            }
            times.push(time);
        }
        refusals.into_result(target, "read the event timestamp of")?;
        Ok(times)
    }
}
