//! Rows into commands: what Feast's `online_write_batch` writes, and when it does not.
//!
//! A row is one HSET of the view's event timestamp and its features, followed by an EXPIRE when
//! keys have a time to live. Unless told otherwise a row is written only if it is newer than what
//! is stored and than the rows of its batch that came before it: the stored timestamps are read
//! first, which is a race between writers that stock Feast has too.

use std::collections::HashMap;

use crate::entity_key::{EntityKeyWriter, KeyColumn, KeyVersion};
use crate::error::{Error, ErrorKind, Result};
use crate::features::EventTime;
use crate::plan::{feature_field, timestamp_field};
use crate::redis::command::Commands;
use crate::redis::tree::{Replies, Reply};
use crate::redis::{Deadline, Pool};
use crate::value::write_varint;

/// A row to write.
#[derive(Clone, Debug)]
struct Row {
    key: Vec<u8>,
    time: EventTime,
    /// The fields of the features with their serialized values, as arguments of HSET.
    cells: Vec<([u8; 4], Vec<u8>)>,
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Written {
    /// Rows that were not newer than what is stored.
    pub skipped: usize,
    /// Acknowledged commands: one a row, or two when keys have a time to live.
    pub replies: usize,
}

/// Rows of one feature view.
#[derive(Debug)]
pub struct WriteBatch {
    view: String,
    timestamp: Vec<u8>,
    project: String,
    version: KeyVersion,
    key_ttl: Option<u64>,
    rows: Vec<Row>,
    fields: HashMap<String, [u8; 4]>,
    /// The rows that the commands of [`hset_commands`](Self::hset_commands) write.
    written: Vec<usize>,
}

impl WriteBatch {
    /// An empty batch for the stored view `view` of `project`. `key_ttl` is in seconds.
    #[must_use]
    pub fn new(view: &str, project: &str, version: KeyVersion, key_ttl: Option<u64>) -> Self {
        Self {
            view: view.to_owned(),
            timestamp: timestamp_field(view),
            project: project.to_owned(),
            version,
            key_ttl,
            rows: Vec::new(),
            fields: HashMap::new(),
            written: Vec::new(),
        }
    }

    /// Adds a row: its join keys and their values (columns of one row), its event time, and its
    /// features by name with their serialized values.
    pub fn push(
        &mut self,
        join_keys: &[&str],
        values: &[&KeyColumn],
        time: EventTime,
        features: Vec<(String, Vec<u8>)>,
    ) -> Result<()> {
        let writer = EntityKeyWriter::new(join_keys, self.version, self.project.as_bytes())?;
        let mut key = Vec::new();
        writer.write(values, 0, &mut key);
        let cells = features
            .into_iter()
            .map(|(feature, value)| {
                let field = *self
                    .fields
                    .entry(feature)
                    .or_insert_with_key(|feature| feature_field(&self.view, feature));
                (field, value)
            })
            .collect();
        self.rows.push(Row { key, time, cells });
        Ok(())
    }

    /// How many rows there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Writes the batch on the calling thread; `skip_dedup` writes every row without reading what
    /// is stored. `interrupt` is asked when a signal arrives.
    pub fn run(
        mut self,
        pool: &Pool,
        skip_dedup: bool,
        interrupt: &dyn Fn() -> Result<()>,
    ) -> Result<Written> {
        let exchange = |commands: &Commands| -> Result<Vec<Reply>> {
            let mut replies = Replies::new(commands.len(), pool.config().max_reply_bytes);
            pool.run(commands, &mut replies, Deadline::NEVER, interrupt)?;
            Ok(replies.into_vec())
        };
        let stored = if skip_dedup {
            None
        } else {
            Some(exchange(&self.timestamp_commands())?)
        };
        let commands = self
            .hset_commands(stored.as_deref())
            .map_err(|error| pool.located(error))?;
        self.finish(&exchange(&commands)?)
            .map_err(|error| pool.located(error))
    }

    /// Writes the batch as a task.
    pub async fn run_async(mut self, pool: &Pool, skip_dedup: bool) -> Result<Written> {
        let exchange = async |commands: &Commands| -> Result<Vec<Reply>> {
            let mut replies = Replies::new(commands.len(), pool.config().max_reply_bytes);
            pool.run_async(commands, &mut replies, Deadline::NEVER)
                .await?;
            Ok(replies.into_vec())
        };
        let stored = if skip_dedup {
            None
        } else {
            Some(exchange(&self.timestamp_commands()).await?)
        };
        let commands = self
            .hset_commands(stored.as_deref())
            .map_err(|error| pool.located(error))?;
        self.finish(&exchange(&commands).await?)
            .map_err(|error| pool.located(error))
    }

    fn finish(&self, replies: &[Reply]) -> Result<Written> {
        self.check(replies)?;
        Ok(Written {
            skipped: self.rows.len() - self.written.len(),
            replies: replies.len(),
        })
    }

    /// The commands that read the stored event time of every row.
    fn timestamp_commands(&self) -> Commands {
        let mut commands = Commands::default();
        for row in &self.rows {
            commands.push(&[b"HMGET", &row.key, &self.timestamp]);
        }
        commands
    }

    /// The commands that write the rows which are newer than the `stored` event times, the
    /// replies to [`timestamp_commands`](Self::timestamp_commands); `None` writes every row.
    ///
    /// # Errors
    /// [`ErrorKind::Server`] when a stored time could not be read, [`ErrorKind::Decode`] when it
    /// is malformed; then nothing is to be written.
    fn hset_commands(&mut self, stored: Option<&[Reply]>) -> Result<Commands> {
        self.written = match stored {
            None => (0..self.rows.len()).collect(),
            Some(stored) => self.newer_rows(stored)?,
        };
        let mut commands = Commands::default();
        let mut time = Vec::new();
        for &row in &self.written {
            let row = &self.rows[row];
            time.clear();
            row.time.write(&mut time);
            commands.begin(4 + 2 * row.cells.len());
            commands.argument(b"HSET");
            commands.argument(&row.key);
            commands.argument(&self.timestamp);
            commands.argument(&time);
            for (field, value) in &row.cells {
                commands.argument(field);
                commands.argument(value);
            }
            commands.end();
            if let Some(seconds) = self.key_ttl {
                commands.push(&[b"EXPIRE", &row.key, seconds.to_string().as_bytes()]);
            }
        }
        Ok(commands)
    }

    /// Checks the replies to [`hset_commands`](Self::hset_commands).
    ///
    /// # Errors
    /// [`ErrorKind::Server`] with the view, the first entity that was refused, the server's words,
    /// and how many rows were acknowledged.
    fn check(&self, replies: &[Reply]) -> Result<()> {
        let per_row = 1 + usize::from(self.key_ttl.is_some());
        let refused: Vec<(usize, &str)> = replies
            .chunks(per_row)
            .zip(&self.written)
            .filter_map(|(replies, &row)| {
                replies.iter().find_map(|reply| match reply {
                    Reply::Error(words) => Some((row, words.as_str())),
                    _ => None,
                })
            })
            .collect();
        let Some((row, words)) = refused.first() else {
            return Ok(());
        };
        Err(self.refusal(*row, "write", words).context(format!(
            "{} of {} rows were acknowledged",
            self.written.len() - refused.len(),
            self.written.len()
        )))
    }

    fn newer_rows(&self, stored: &[Reply]) -> Result<Vec<usize>> {
        let mut newest: HashMap<&[u8], i128> = HashMap::with_capacity(self.rows.len());
        let mut written = Vec::with_capacity(self.rows.len());
        for (index, (row, reply)) in self.rows.iter().zip(stored).enumerate() {
            let before = match reply {
                Reply::Error(words) => {
                    return Err(self.refusal(index, "read the event timestamp", words));
                }
                Reply::Array(values) => match values.first() {
                    Some(Reply::Bytes(message)) => EventTime::parse(message).map_err(|cause| {
                        Error::new(
                            ErrorKind::Decode,
                            format!(
                                "the event timestamp of feature view '{}' for entity key \
                                 \"{}\": {cause}",
                                self.view,
                                row.key.escape_ascii()
                            ),
                        )
                    })?,
                    _ => EventTime::default(),
                },
                _ => EventTime::default(),
            };
            let latest = before
                .total_nanos()
                .max(newest.get(row.key.as_slice()).copied().unwrap_or(0));
            let time = row.time.total_nanos();
            // Zero stands for "none", as in stock: a row of the epoch itself never blocks another.
            if latest != 0 && time <= latest {
                continue;
            }
            newest.insert(&row.key, time);
            written.push(index);
        }
        Ok(written)
    }

    fn refusal(&self, row: usize, what: &str, words: &str) -> Error {
        Error::new(
            ErrorKind::Server,
            format!(
                "refused to {what} feature view '{}' for entity key \"{}\": {words}",
                self.view,
                self.rows[row].key.escape_ascii()
            ),
        )
    }
}

impl EventTime {
    /// Nanoseconds since the epoch.
    #[must_use]
    pub fn total_nanos(self) -> i128 {
        i128::from(self.seconds) * 1_000_000_000 + i128::from(self.nanos)
    }

    /// Appends the time as a serialized `google.protobuf.Timestamp`.
    pub fn write(self, out: &mut Vec<u8>) {
        for (field, value) in [(1, self.seconds), (2, i64::from(self.nanos))] {
            if value != 0 {
                out.push(field << 3);
                write_varint(out, value as u64);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(times: &[(i64, i64)]) -> WriteBatch {
        let mut batch = WriteBatch::new("v", "p", KeyVersion::V3, None);
        for &(id, seconds) in times {
            let time = EventTime { seconds, nanos: 0 };
            batch
                .push(&["id"], &[&KeyColumn::Int64(vec![id])], time, Vec::new())
                .unwrap();
        }
        batch
    }

    fn stored(seconds: &[Option<i64>]) -> Vec<Reply> {
        let reply = |seconds: &Option<i64>| {
            let mut bytes = Vec::new();
            let value = seconds.map_or(Reply::Nil, |seconds| {
                EventTime { seconds, nanos: 0 }.write(&mut bytes);
                Reply::Bytes(bytes)
            });
            Reply::Array(vec![value])
        };
        seconds.iter().map(reply).collect()
    }

    #[test]
    fn only_newer_rows_are_written() {
        let mut batch = batch(&[(1, 10), (2, 10), (3, 10), (4, 10)]);
        let commands = batch
            .hset_commands(Some(&stored(&[None, Some(9), Some(10), Some(11)])))
            .unwrap();
        assert_eq!(commands.len(), 2);
        assert_eq!(batch.written, [0, 1]);
    }

    #[test]
    fn rows_of_one_entity_are_compared_within_the_batch() {
        let mut batch = batch(&[(1, 10), (1, 9), (1, 10), (1, 11)]);
        batch.hset_commands(Some(&stored(&[None; 4]))).unwrap();
        assert_eq!(batch.written, [0, 3]);
    }

    #[test]
    fn without_stored_times_everything_is_written_in_order() {
        let mut batch = batch(&[(1, 10), (1, 9)]);
        assert_eq!(batch.hset_commands(None).unwrap().len(), 2);
    }

    #[test]
    fn a_refused_write_is_told() {
        let mut batch = batch(&[(1, 10), (2, 10)]);
        batch.hset_commands(None).unwrap();
        let replies = [Reply::Integer(1), Reply::Error("OOM no memory".to_owned())];
        let error = batch.check(&replies).unwrap_err().to_string();
        assert!(
            error.contains("OOM") && error.contains("1 of 2 rows"),
            "{error}"
        );
    }
}
