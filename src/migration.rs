//! Hashes under entity keys of version 2, copied to their keys of version 3.
//!
//! The modules, in the order in which a page of keys meets them:
//!
//! 1. [`readings`]: which keys are this project's of version 2, and what they are in version 3.
//! 2. [`hash`]: what Redis holds under both.
//! 3. [`comparison`]: what of the old hash is newer than what the new one has.
//! 4. [`script`]: the changes, made in one step if nobody else was faster; and the deletion of an
//!    old hash, if it is still what was copied.
//! 5. [`page`]: all of that for some hundred keys at a time, in pipelines, with a [`report`].
//!
//! The two keys of an entity lie in different slots of a cluster, so no script sees both, and
//! RESTORE of a DUMP can create a hash but not merge into one; it also wants servers of about one
//! release. So the old hash is read (HGETALL), compared here with the new one, and what is newer is
//! sent to the new key together with the event timestamps that were found there. The script writes
//! nothing if one of them is another by then; the key is read and compared again. This works alike
//! on every server, and what decides is here alone, for a dry run and for the verification too.

pub mod comparison;
pub mod hash;
pub mod page;
pub mod readings;
mod replicas;
pub mod report;
pub mod script;

use std::collections::HashMap;

use self::readings::Readings;
use crate::plan::{feature_field, timestamp_field};

/// What is to be migrated, and how.
#[derive(Debug)]
pub struct Migration {
    readings: Readings,
    views: Views,
    /// Whether the servers know times to live of hash fields.
    field_expiry: bool,
}

/// The hash fields of the feature views by the field of their event timestamp.
#[derive(Clone, Debug, Default)]
pub struct Views(HashMap<Vec<u8>, Vec<[u8; 4]>>);

impl Views {
    /// The fields of views, each named as it is stored, with its features.
    pub fn new<'a, F: AsRef<str> + 'a>(
        views: impl IntoIterator<Item = (&'a str, &'a [F])>,
    ) -> Self {
        let mut fields = HashMap::new();
        for (view, features) in views {
            let features = features
                .iter()
                .map(|name| feature_field(view, name.as_ref()));
            fields.insert(timestamp_field(view), features.collect());
        }
        Self(fields)
    }

    /// The features' fields of the view with this event timestamp's field, if the view is known.
    #[must_use]
    pub fn features(&self, timestamp: &[u8]) -> Option<&[[u8; 4]]> {
        self.0.get(timestamp).map(Vec::as_slice)
    }
}

impl Migration {
    /// A migration of the keys that `readings` recognizes.
    #[must_use]
    pub fn new(readings: Readings, views: Views, field_expiry: bool) -> Self {
        Self {
            readings,
            views,
            field_expiry,
        }
    }

    /// Which keys are recognized.
    #[must_use]
    pub fn readings(&self) -> &Readings {
        &self.readings
    }
}

/// What is done about each key.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Mode {
    /// Nothing is written.
    pub dry_run: bool,
    /// Old hashes are deleted once their copies are verified.
    pub delete: bool,
}
