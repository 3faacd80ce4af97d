//! The hash table of a pass: each entity's latest row so far.
//!
//! Open addressing with linear probing, a slot being four or five integers in a row: a look-up is
//! one cache miss, or two. The slots of a group of rows are touched before the first of them is
//! used, so that these misses overlap.

use std::hint::black_box;

use super::times::Times;

/// Rows put at once.
pub(super) const GROUP: usize = 64;

/// Slots of the smallest table.
const LEAST_SLOTS: usize = 1024;

/// A slot's first two integers are the hash, and the others decide which row is later, in this
/// order: event timestamp, created timestamp (0 for null), position. The position is the row's plus
/// one, with [`CREATED`] if its created timestamp is not null; 0 is an empty slot.
type Slot<const INTEGERS: usize> = [u64; INTEGERS];

/// Marks the position of a row that has a created timestamp: the earliest that there can be is later
/// than null.
const CREATED: u64 = 1 << 63;

/// The table, with or without created timestamps.
#[derive(Debug)]
pub(super) enum Table {
    Plain(Slots<4>),
    Created(Slots<5>),
}

macro_rules! either {
    ($table:expr, $slots:ident => $then:expr) => {
        match $table {
            Table::Plain($slots) => $then,
            Table::Created($slots) => $then,
        }
    };
}

impl Table {
    /// An empty table that will take at most `memory` bytes.
    pub(super) fn new(created: bool, memory: usize) -> Self {
        if created {
            Self::Created(Slots::new(memory))
        } else {
            Self::Plain(Slots::new(memory))
        }
    }

    /// How many entities it holds when it cannot grow any more.
    pub(super) fn room(&self) -> usize {
        either!(self, slots => room(slots.most))
    }

    pub(super) fn len(&self) -> usize {
        either!(self, slots => slots.len)
    }

    /// Empties it for the next pass.
    pub(super) fn clear(&mut self) {
        either!(self, slots => {
            slots.all.fill([0; _]);
            slots.len = 0;
        });
    }

    /// Empties it, and gives its memory back.
    pub(super) fn free(&mut self) {
        either!(self, slots => {
            slots.all = Vec::new();
            slots.len = 0;
        });
    }

    /// Keeps the entities of these hashes only.
    pub(super) fn retain(&mut self, keep: impl Fn(u128) -> bool) {
        either!(self, slots => slots.retain(keep));
    }

    /// Puts the rows of those hashes in that are wanted; there is room for all. They are the rows
    /// from `start` of a batch, before which the source had `before` rows.
    pub(super) fn put(
        &mut self,
        hashes: &[u128],
        wanted: impl Fn(u128) -> bool,
        times: &Times,
        start: usize,
        before: usize,
    ) {
        let position = |row: usize| (before + row) as u64 + 1;
        match self {
            Self::Plain(slots) => slots.put(hashes, wanted, |index, lower, upper| {
                let row = start + index;
                [lower, upper, times.event(row), position(row)]
            }),
            Self::Created(slots) => slots.put(hashes, wanted, |index, lower, upper| {
                let row = start + index;
                let (created, mark) = times.created(row).map_or((0, 0), |time| (time, CREATED));
                [
                    lower,
                    upper,
                    times.event(row),
                    created,
                    position(row) | mark,
                ]
            }),
        }
    }

    /// The rows that are their entities' latest, counted from 0, in no order.
    pub(super) fn rows(&self) -> Box<dyn Iterator<Item = usize> + '_> {
        either!(self, slots => Box::new(slots.rows()))
    }
}

#[derive(Debug)]
pub(super) struct Slots<const INTEGERS: usize> {
    all: Vec<Slot<INTEGERS>>,
    len: usize,
    /// So many slots there are at most: the least number times a power of two.
    most: usize,
}

/// How many entities so many slots hold.
fn room(slots: usize) -> usize {
    slots / 4 * 3
}

/// The slot where the search for a hash begins.
fn home(lower: u64, slots: usize) -> usize {
    ((u128::from(lower) * slots as u128) >> 64) as usize
}

impl<const INTEGERS: usize> Slots<INTEGERS> {
    fn new(memory: usize) -> Self {
        // While it grows, there are the old slots as well, which are half as many.
        let fit = memory / size_of::<Slot<INTEGERS>>() / 3 * 2;
        let mut most = LEAST_SLOTS;
        while most <= fit / 2 {
            most *= 2;
        }
        Self {
            all: vec![[0; INTEGERS]; LEAST_SLOTS],
            len: 0,
            most,
        }
    }

    fn put(
        &mut self,
        hashes: &[u128],
        wanted: impl Fn(u128) -> bool,
        slot_of: impl Fn(usize, u64, u64) -> Slot<INTEGERS>,
    ) {
        if self.len + hashes.len() > room(self.all.len()) && self.all.len() < self.most {
            self.grow();
        }
        let mut found = [(0, 0); GROUP];
        let mut count = 0;
        let (mut touched, last) = (0, self.all.len() - 1);
        for (index, &hash) in hashes.iter().enumerate() {
            if wanted(hash) {
                let at = home(hash as u64, self.all.len());
                // The search goes on in the next cache line as often as not.
                touched |= self.all[at][INTEGERS - 1] | self.all[last.min(at + 2)][0];
                found[count] = (index, at);
                count += 1;
            }
        }
        black_box(touched);
        for &(index, at) in &found[..count] {
            let hash = hashes[index];
            self.put_one(at, slot_of(index, hash as u64, (hash >> 64) as u64));
        }
    }

    fn put_one(&mut self, mut at: usize, row: Slot<INTEGERS>) {
        loop {
            let slot = &mut self.all[at];
            if slot[INTEGERS - 1] == 0 {
                *slot = row;
                self.len += 1;
                return;
            }
            if slot[..2] == row[..2] {
                if slot[2..] < row[2..] {
                    *slot = row;
                }
                return;
            }
            at += 1;
            if at == self.all.len() {
                at = 0;
            }
        }
    }

    fn grow(&mut self) {
        let more = vec![[0; INTEGERS]; self.all.len() * 2];
        let slots = std::mem::replace(&mut self.all, more);
        self.put_again(slots);
    }

    fn retain(&mut self, keep: impl Fn(u128) -> bool) {
        let keep = |slot: &&Slot<INTEGERS>| {
            slot[INTEGERS - 1] != 0 && keep(u128::from(slot[1]) << 64 | u128::from(slot[0]))
        };
        let mut kept = Vec::with_capacity(self.all.iter().filter(keep).count());
        kept.extend(self.all.iter().filter(keep));
        self.all.fill([0; INTEGERS]);
        self.put_again(kept);
    }

    fn put_again(&mut self, slots: Vec<Slot<INTEGERS>>) {
        self.len = 0;
        for slot in slots {
            if slot[INTEGERS - 1] != 0 {
                self.put_one(home(slot[0], self.all.len()), slot);
            }
        }
    }

    fn rows(&self) -> impl Iterator<Item = usize> + '_ {
        self.all.iter().filter_map(|slot| {
            let position = slot[INTEGERS - 1] & !CREATED;
            position.checked_sub(1).map(|row| row as usize)
        })
    }
}
