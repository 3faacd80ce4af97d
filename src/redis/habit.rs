//! How often to try something that pays for some threads and not for others.

/// How many occasions in a row are passed over at the most.
pub(crate) const MOST_SKIPPED: u32 = 63;

/// After each try in vain twice as many occasions are passed over as before, so that what never pays
/// is tried some one time in 64.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Habit {
    /// How many occasions are still to be passed over.
    skip: u32,
    /// How many were before the last try in vain.
    skipped: u32,
}

impl Habit {
    /// A habit of trying each time.
    pub const fn new() -> Self {
        Self {
            skip: 0,
            skipped: 0,
        }
    }

    /// The habit after an occasion that is passed over; `None` if this one is to be tried.
    pub fn passing(self) -> Option<Self> {
        let skip = self.skip.checked_sub(1)?;
        Some(Self { skip, ..self })
    }

    /// After a try in vain.
    pub fn discouraged(self) -> Self {
        let skip = (2 * self.skipped + 1).min(MOST_SKIPPED);
        Self {
            skip,
            skipped: skip,
        }
    }
}
