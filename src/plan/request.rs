//! One read: rows of join-key values become commands.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use super::{Plan, Retrieval};
use crate::entity_key::KeyColumn;
use crate::error::{Error, ErrorKind, Result};
use crate::redis::command::Commands;

/// Consecutive replies that are of one kind.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Run {
    /// The index of the [`KeyGroup`](super::KeyGroup).
    pub group: usize,
    /// The command that they answer.
    pub retrieval: Retrieval,
    /// The first entity.
    pub first: usize,
    /// How many there are.
    pub count: usize,
}

/// The entities of one key group, each once.
#[derive(Debug)]
pub struct GroupRows {
    /// The Redis keys, end to end.
    keys: Vec<u8>,
    /// Where each key ends.
    ends: Vec<usize>,
    /// For each row of the request its entity; `None` when every row has its own.
    entities: Option<Vec<u32>>,
}

impl GroupRows {
    /// How many different entities there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is no entity.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The Redis key of an entity.
    #[must_use]
    pub fn key(&self, entity: usize) -> &[u8] {
        let start = if entity == 0 {
            0
        } else {
            self.ends[entity - 1]
        };
        &self.keys[start..self.ends[entity]]
    }

    /// The entity of a row of the request.
    #[must_use]
    #[inline]
    pub fn entity(&self, row: usize) -> usize {
        self.entities
            .as_ref()
            .map_or(row, |entities| entities[row] as usize)
    }

    fn new(mut keys: Vec<u8>, mut ends: Vec<usize>) -> Self {
        let mut seen: HashMap<&[u8], u32, RandomState> =
            HashMap::with_capacity_and_hasher(ends.len(), RandomState::default());
        let mut entities = Vec::with_capacity(ends.len());
        let mut start = 0;
        for &end in &ends {
            let next = seen.len() as u32;
            entities.push(*seen.entry(&keys[start..end]).or_insert(next));
            start = end;
        }
        if seen.len() == ends.len() {
            return Self {
                keys,
                ends,
                entities: None,
            };
        }
        let (mut kept, mut kept_ends) = (Vec::new(), Vec::new());
        start = 0;
        for (&end, &entity) in ends.iter().zip(&entities) {
            if entity as usize == kept_ends.len() {
                kept.extend_from_slice(&keys[start..end]);
                kept_ends.push(kept.len());
            }
            start = end;
        }
        keys = kept;
        ends = kept_ends;
        Self {
            keys,
            ends,
            entities: Some(entities),
        }
    }
}

/// The commands of one read, and what their replies will be.
#[derive(Debug)]
pub struct ReadRequest {
    /// What is sent.
    pub commands: Commands,
    /// What comes back, in order.
    pub runs: Vec<Run>,
    /// The entities of each key group.
    pub groups: Vec<GroupRows>,
    /// How many rows the request has.
    pub rows: usize,
    /// How many bytes of replies to expect; a guess.
    pub reply_bytes: usize,
    /// A key group whose hashes are read by HGETALL and would better be read by DUMP.
    pub dump_pays: Option<usize>,
    /// Key groups of whose entities only the first is read until its hash is known.
    waiting: Vec<usize>,
}

impl ReadRequest {
    /// Writes the commands that read the plan's features for `rows` rows, whose join-key values
    /// are in `columns`. DUMP is used only if it `dumps`.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] when a column has another number of rows.
    pub fn new(plan: &Plan, columns: &[KeyColumn], rows: usize, dumps: bool) -> Result<Self> {
        if let Some(odd) = columns.iter().find(|column| column.len() != rows) {
            return Err(Error::new(
                ErrorKind::Argument,
                format!("a join key has {} values for {rows} rows", odd.len()),
            ));
        }
        let mut request = Self {
            commands: Commands::with_capacity(rows * plan.groups().len() * 96),
            runs: Vec::with_capacity(plan.groups().len()),
            groups: Vec::with_capacity(plan.groups().len()),
            rows,
            reply_bytes: 0,
            dump_pays: None,
            waiting: Vec::new(),
        };
        for (index, group) in plan.groups().iter().enumerate() {
            let inputs: Vec<&KeyColumn> = group.key_columns.iter().map(|&i| &columns[i]).collect();
            let (keys, ends) = group.writer.write_all(&inputs);
            let entities = GroupRows::new(keys, ends);
            request.groups.push(entities);
            request.add_group(plan, index, dumps);
        }
        Ok(request)
    }

    /// Writes the commands that read the plan's only key group for entities whose Redis keys are
    /// given, end to end and with where each ends.
    #[must_use]
    pub fn of_keys(plan: &Plan, keys: Vec<u8>, ends: Vec<usize>, dumps: bool) -> Self {
        let rows = ends.len();
        let mut request = Self {
            commands: Commands::with_capacity(keys.len() + rows * 32),
            runs: Vec::new(),
            groups: Vec::new(),
            rows,
            reply_bytes: 0,
            dump_pays: None,
            waiting: Vec::new(),
        };
        let entities = GroupRows::new(keys, ends);
        request.groups.push(entities);
        request.add_group(plan, 0, dumps);
        request
    }

    /// Whether some entities are not asked for yet.
    #[must_use]
    pub fn waits(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Writes the commands for the entities that waited until something of their hashes is known, in the
    /// place of those that are answered.
    pub fn go_on(&mut self, plan: &Plan, dumps: bool) {
        (self.commands, self.runs) = (Commands::default(), Vec::new());
        for index in std::mem::take(&mut self.waiting) {
            self.add_entities(plan, index, 1, dumps);
        }
    }

    /// Whether some hashes are read by DUMP.
    #[must_use]
    pub fn dumps(&self) -> bool {
        (self.runs.iter()).any(|run| run.retrieval == Retrieval::Dump)
    }

    fn add_group(&mut self, plan: &Plan, index: usize, dumps: bool) {
        if !self.groups[index].is_empty() && !plan.groups()[index].fields.is_empty() {
            self.add_entities(plan, index, 0, dumps);
        }
    }

    /// Adds the commands for the entities of a key group from the first one on that was not asked for.
    fn add_entities(&mut self, plan: &Plan, index: usize, mut first: usize, dumps: bool) {
        let group = &plan.groups()[index];
        let count = self.groups[index].len();
        let choice = (group.shape).choose(group.fields.len(), count - first, dumps);
        if choice.dump_pays && !dumps {
            self.dump_pays = Some(index);
        }
        self.reply_bytes += choice.reply_bytes * (count - first);
        if choice.probe {
            self.add_run(plan, index, Retrieval::HGetAll, first..first + 1, 0);
            first += 1;
            // Once: the next entity may not be stored either.
            if choice.waits && first == 1 && first < count {
                self.waiting.push(index);
                return;
            }
        }
        if first < count {
            let reply = choice.reply_bytes;
            self.add_run(plan, index, choice.retrieval, first..count, reply);
        }
    }

    fn add_run(
        &mut self,
        plan: &Plan,
        group: usize,
        retrieval: Retrieval,
        range: std::ops::Range<usize>,
        reply_bytes: usize,
    ) {
        let fields = &plan.groups()[group].fields;
        let entities = &self.groups[group];
        self.runs.push(Run {
            group,
            retrieval,
            first: range.start,
            count: range.len(),
        });
        for entity in range {
            let key = entities.key(entity);
            match retrieval {
                Retrieval::HGetAll => begin_hgetall(&mut self.commands, key),
                Retrieval::Dump => {
                    self.commands.raw(b"*2\r\n$4\r\nDUMP\r\n");
                    self.commands.key(key);
                }
                Retrieval::HMGet => {
                    self.commands.begin(2 + fields.len());
                    self.commands.raw(b"$5\r\nHMGET\r\n");
                    self.commands.key(key);
                    self.commands.raw(fields.resp());
                }
            }
            self.commands.end_expecting(reply_bytes);
        }
    }
}

/// Commands that read the whole hashes of some entities, with so many bytes of reply to expect for each.
#[must_use]
pub fn whole_hashes(groups: &[GroupRows], runs: &[Run], reply_bytes: usize) -> Commands {
    let mut commands = Commands::default();
    for run in runs {
        for entity in run.first..run.first + run.count {
            begin_hgetall(&mut commands, groups[run.group].key(entity));
            commands.end_expecting(reply_bytes);
        }
    }
    commands
}

fn begin_hgetall(commands: &mut Commands, key: &[u8]) {
    commands.raw(b"*2\r\n$7\r\nHGETALL\r\n");
    commands.key(key);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entity_key::KeyVersion;
    use crate::plan::ShapeSample;
    use crate::value::FeastType;

    fn plan() -> Plan {
        let mut plan = Plan::new(vec!["id".to_owned()]);
        let group = plan.add_group(&["id"], &[0], KeyVersion::V3, "p").unwrap();
        plan.add_column(group, "f", "v", "f", FeastType::Int64, None);
        plan
    }

    #[test]
    fn repeated_entities_are_read_once() {
        let columns = [KeyColumn::Int64(vec![7, 8, 7, 9, 8])];
        let request = ReadRequest::new(&plan(), &columns, 5, false).unwrap();
        assert_eq!(request.commands.len(), 3);
        let rows: Vec<_> = (0..5).map(|row| request.groups[0].entity(row)).collect();
        assert_eq!(rows, [0, 1, 0, 2, 1]);
    }

    #[test]
    fn views_of_one_entity_key_share_a_command() {
        let mut plan = plan();
        let group = plan.add_group(&["id"], &[0], KeyVersion::V3, "p").unwrap();
        plan.add_column(group, "g", "w", "g", FeastType::Int64, None);
        assert_eq!(plan.groups().len(), 1);
        assert_eq!(plan.groups()[0].fields.len(), 4);
        let request = ReadRequest::new(&plan, &[KeyColumn::Int64(vec![1])], 1, false).unwrap();
        assert_eq!(request.commands.len(), 1);
    }

    #[test]
    fn a_dear_read_of_unknown_hashes_waits_for_the_first_one() {
        let mut plan = Plan::new(vec!["id".to_owned()]);
        let group = plan
            .add_group(&["id"], &[0], KeyVersion::V3, "waits")
            .unwrap();
        for number in 0..100 {
            let name = format!("f{number}");
            plan.add_column(group, &name, "v", &name, FeastType::Int64, None);
        }
        let columns = [KeyColumn::Int64((0..1000).collect())];
        let runs = |request: &ReadRequest| {
            let runs = request.runs.iter();
            runs.map(|run| (run.retrieval, run.first, run.count))
                .collect::<Vec<_>>()
        };
        let mut unknown = ReadRequest::new(&plan, &columns, 1000, false).unwrap();
        assert!(unknown.waits());
        assert_eq!(runs(&unknown), [(Retrieval::HGetAll, 0, 1)]);
        // There was no hash.
        unknown.go_on(&plan, false);
        assert!(!unknown.waits());
        let rest = [(Retrieval::HGetAll, 1, 1), (Retrieval::HMGet, 2, 998)];
        assert_eq!(runs(&unknown), rest);
        assert_eq!(unknown.commands.len(), 999);

        let mut known = ReadRequest::new(&plan, &columns, 1000, false).unwrap();
        plan.groups()[group].shape.learn(&ShapeSample {
            hashes: 1,
            pairs: 101,
            bytes: 2000,
            wanted_bytes: 900,
            ..ShapeSample::default()
        });
        known.go_on(&plan, false);
        assert_eq!(runs(&known), [(Retrieval::HGetAll, 1, 999)]);
    }

    #[test]
    fn a_short_column_is_refused() {
        let error = ReadRequest::new(&plan(), &[KeyColumn::Int64(vec![7])], 2, false).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Argument);
    }
}
