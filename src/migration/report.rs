//! What became of a page's keys.

/// How many keys of each outcome are named.
const NAMED: u64 = 10;

/// What became of a key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// It was copied to a key that was not there.
    Migrated,
    /// Some of it was newer than what its new key had.
    Merged,
    /// Its new key has all of it, or newer.
    Skipped,
    /// Which of the two keys is right cannot be told.
    Conflicting,
    /// It could not be read or written.
    Failed,
    /// Its copy was verified and it was deleted.
    Deleted,
    /// It was to be deleted, but changed meanwhile.
    Kept,
    /// It looks like a key of version 2, but is none of this project's.
    Unrecognised,
    /// It can be read in several ways.
    Ambiguous,
}

impl Outcome {
    /// All outcomes, in the order in which they are told.
    pub const ALL: [Self; 9] = [
        Self::Migrated,
        Self::Merged,
        Self::Skipped,
        Self::Conflicting,
        Self::Failed,
        Self::Deleted,
        Self::Kept,
        Self::Unrecognised,
        Self::Ambiguous,
    ];

    /// The outcome's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Migrated => "migrated",
            Self::Merged => "merged",
            Self::Skipped => "skipped",
            Self::Conflicting => "conflicting",
            Self::Failed => "failed",
            Self::Deleted => "deleted",
            Self::Kept => "kept",
            Self::Unrecognised => "unrecognised",
            Self::Ambiguous => "ambiguous",
        }
    }
}

/// What became of a page's keys.
#[derive(Clone, Debug, Default)]
pub struct PageReport {
    counts: [u64; Outcome::ALL.len()],
    /// The first keys of each outcome: the entity, or the key itself, and what there is to say.
    pub samples: Vec<(Outcome, String)>,
}

impl PageReport {
    /// How many keys had this outcome.
    #[must_use]
    pub fn count(&self, outcome: Outcome) -> u64 {
        self.counts[outcome as usize]
    }

    /// Adds a key; `sample` is asked for if it is one of the first.
    pub(super) fn add(&mut self, outcome: Outcome, sample: impl FnOnce() -> String) {
        let count = &mut self.counts[outcome as usize];
        if *count < NAMED {
            self.samples.push((outcome, sample()));
        }
        *count += 1;
    }
}
