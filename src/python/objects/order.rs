//! The order in which new objects come to lie in memory.
//!
//! Python's allocator keeps the free blocks of a pool in a list, and hands out first what was freed
//! last. Objects of a list that were made one after the other lie one after the other, are freed so,
//! and leave their blocks in that order to the next answer. But where one list ends and the next
//! begins is elsewhere in each answer, and each end leaves a break. After some hundred answers, or
//! one of another make, neighbours in a list are strewn over a pool, and to make and to free them
//! misses the cache object by object: it takes twice as long. So blocks that are found in disorder
//! are all taken, and freed in the order of their addresses, before the next objects are made.

use std::cell::Cell;

use pyo3::prelude::*;
use pyo3::types::PyInt;

use crate::redis::habit::Habit;

/// For fewer objects it is not worth looking.
const LEAST: usize = 1024;

/// For so many it is done at a time: more would have left the cache before they are made.
const AT_ONCE: usize = 4096;

/// How many blocks are looked at.
const PROBES: usize = 128;

/// How many of them may lie before the one that is taken before them. Where they are strewn it is
/// one in two; an answer leaves one or two, and so many cost in so many answers what it takes to put
/// the blocks in order. How far apart they lie does not count: between objects that stay there is no
/// better place.
const STEPS_BACK: usize = PROBES / 10;

thread_local! {
    /// Another allocator may have another order.
    static HABIT: Cell<Habit> = const { Cell::new(Habit::new()) };
}

/// The blocks of memory that one answer's numbers are made in.
#[derive(Default)]
pub struct BlockOrder {
    /// How many of the next ones have been looked after.
    ready: usize,
}

impl BlockOrder {
    /// Puts the blocks in order, if they are not, in which the `next` objects are made, of `left` in
    /// all that will be.
    pub fn prepare(&mut self, py: Python<'_>, next: usize, left: usize) {
        if self.ready < next {
            let objects = left.min(AT_ONCE).max(next);
            if objects >= LEAST {
                restore(py, objects);
                self.ready = objects;
            }
        }
        self.ready = self.ready.saturating_sub(next);
    }
}

fn restore(py: Python<'_>, objects: usize) {
    if !is_strewn(py) {
        return;
    }
    if let Some(passing) = HABIT.get().passing() {
        HABIT.set(passing);
        return;
    }
    sort(py, objects);
    HABIT.set(if is_strewn(py) {
        HABIT.get().discouraged()
    } else {
        Habit::new()
    });
}

/// Takes the next blocks and frees them in such an order that they are taken in that of their
/// addresses.
fn sort(py: Python<'_>, objects: usize) {
    let mut blocks = numbers(py, objects);
    blocks.sort_unstable_by_key(address);
    free(blocks);
}

/// Whether the next blocks are in disorder. They are left as they are.
fn is_strewn(py: Python<'_>) -> bool {
    let blocks = numbers(py, PROBES);
    let steps_back = blocks
        .windows(2)
        .filter(|pair| address(&pair[1]) < address(&pair[0]))
        .count();
    free(blocks);
    steps_back > STEPS_BACK
}

/// Numbers for which Python keeps no objects, of the size of a float.
fn numbers(py: Python<'_>, count: usize) -> Vec<Bound<'_, PyInt>> {
    std::iter::repeat_with(|| PyInt::new(py, 1_i64 << 40))
        .take(count)
        .collect()
}

fn address(object: &Bound<'_, PyInt>) -> usize {
    object.as_ptr().addr()
}

/// Frees the last one first, so that the first one's block is the next to be taken.
fn free(mut blocks: Vec<Bound<'_, PyInt>>) {
    while blocks.pop().is_some() {}
}
