//! Keys of version 2, told from all others.
//!
//! In version 2 a join key's name has no length, so a key can be read only by who knows the names:
//! it is tried with the join keys of each feature view. A key that fits exactly one reading to its
//! last byte, the project's name, is taken; what fits several is not guessed at.

use crate::entity_key::{EntityKeyWriter, KeyVersion, escape_glob, parse_keys, skip_values};
use crate::error::Result;

/// The first bytes of every key of version 2: the type of the first join key's name.
const HEAD: &[u8] = b"\x02\0\0\0";

/// What a key is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Reading {
    /// One of version 2, with its name in version 3.
    Old {
        /// The same entity's key of version 3.
        new_key: Vec<u8>,
        /// Whether its join keys are among the chosen.
        chosen: bool,
    },
    /// One of version 3.
    New,
    /// It can be read in several ways.
    Ambiguous,
    /// None of this project's.
    Unknown,
}

/// The ways in which a project's keys can be read.
#[derive(Debug)]
pub struct Readings {
    project: Vec<u8>,
    sets: Vec<JoinKeys>,
}

/// The join keys of a feature view.
#[derive(Debug)]
struct JoinKeys {
    names: Vec<String>,
    old: EntityKeyWriter,
    new: EntityKeyWriter,
    chosen: bool,
}

impl Readings {
    /// The readings of a project's keys by sets of join keys, each with whether it is chosen.
    ///
    /// # Errors
    /// [`ErrorKind::EntityKey`](crate::error::ErrorKind::EntityKey) when a set names a join key
    /// twice.
    pub fn new(project: &str, sets: Vec<(Vec<String>, bool)>) -> Result<Self> {
        let project = project.as_bytes().to_vec();
        let sets = sets
            .into_iter()
            .map(|(names, chosen)| {
                let texts: Vec<&str> = names.iter().map(String::as_str).collect();
                Ok(JoinKeys {
                    old: EntityKeyWriter::new(&texts, KeyVersion::V2, &project)?,
                    new: EntityKeyWriter::new(&texts, KeyVersion::V3, &project)?,
                    names,
                    chosen,
                })
            })
            .collect::<Result<_>>()?;
        Ok(Self { project, sets })
    }

    /// The glob pattern for SCAN that all keys of version 2 match, and some others.
    #[must_use]
    pub fn pattern(&self) -> Vec<u8> {
        let mut pattern = HEAD.to_vec();
        pattern.push(b'*');
        escape_glob(&self.project, &mut pattern);
        pattern
    }

    /// What `key` is.
    #[must_use]
    pub fn read(&self, key: &[u8]) -> Reading {
        let mut found = None;
        for set in &self.sets {
            let Some(rest) = set.values(key, &self.project) else {
                continue;
            };
            if found.replace((set, rest)).is_some() {
                return Reading::Ambiguous;
            }
        }
        let is_new = self.sets.iter().any(|set| set.new.owns(key));
        match found {
            Some(_) if is_new => Reading::Ambiguous,
            // Both versions have the same join keys in the same order; only the names differ.
            Some((set, rest)) => Reading::Old {
                new_key: [set.new.prefix(), rest].concat(),
                chosen: set.chosen,
            },
            None if is_new => Reading::New,
            None => Reading::Unknown,
        }
    }

    /// The entity of a key of version 2 for a message: `driver_id=1001`, or the key itself where it
    /// cannot be read.
    #[must_use]
    pub fn entity(&self, key: &[u8]) -> String {
        let raw = || format!("\"{}\"", key.escape_ascii());
        let mut fitting = self
            .sets
            .iter()
            .filter(|set| set.values(key, &self.project).is_some());
        let (Some(set), None) = (fitting.next(), fitting.next()) else {
            return raw();
        };
        let names: Vec<&str> = set.names.iter().map(String::as_str).collect();
        let bare = &key[..key.len() - self.project.len()];
        let Ok(columns) = parse_keys(std::iter::once(bare), KeyVersion::V2, &names) else {
            return raw();
        };
        let parts = columns
            .iter()
            .map(|(name, column)| format!("{name}={}", column.display(0)));
        parts.collect::<Vec<_>>().join(", ")
    }
}

impl JoinKeys {
    /// What follows the names in a key of version 2 of these join keys, if `key` is one.
    fn values<'a>(&self, key: &'a [u8], project: &[u8]) -> Option<&'a [u8]> {
        let rest = key.strip_prefix(self.old.prefix())?;
        (skip_values(rest, self.names.len())? == project).then_some(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entity_key::KeyColumn;

    fn readings(sets: &[&[&str]]) -> Readings {
        let sets = sets
            .iter()
            .map(|names| (names.iter().map(|&name| name.to_owned()).collect(), true));
        Readings::new("proj", sets.collect()).unwrap()
    }

    fn key(names: &[&str], columns: &[KeyColumn], version: KeyVersion, project: &str) -> Vec<u8> {
        let writer = EntityKeyWriter::new(names, version, project.as_bytes()).unwrap();
        writer.write_all(&columns.iter().collect::<Vec<_>>()).0
    }

    #[test]
    fn a_key_of_version_2_becomes_that_of_version_3() {
        let readings = readings(&[&["a"], &["b", "a"]]);
        let columns = [KeyColumn::strings(["proj"]), KeyColumn::Int64(vec![-1])];
        let old = key(&["b", "a"], &columns, KeyVersion::V2, "proj");
        let new_key = key(&["b", "a"], &columns, KeyVersion::V3, "proj");
        assert_eq!(readings.read(&new_key), Reading::New);
        let chosen = true;
        assert_eq!(readings.read(&old), Reading::Old { new_key, chosen });
        assert_eq!(readings.entity(&old), "a=-1, b=\"proj\"");
    }

    #[test]
    fn others_are_left_alone() {
        let readings = readings(&[&["id"]]);
        let column = [KeyColumn::Int32(vec![1])];
        for project in ["my_proj", "proj2", ""] {
            let other = key(&["id"], &column, KeyVersion::V2, project);
            assert_eq!(readings.read(&other), Reading::Unknown);
        }
        let other = key(&["id2"], &column, KeyVersion::V2, "proj");
        assert_eq!(readings.read(&other), Reading::Unknown);
        // Version 1 has int64 in four bytes.
        let first = b"\x02\0\0\0id\x04\0\0\0\x04\0\0\0\x01\0\0\0proj";
        assert_eq!(readings.read(first), Reading::Unknown);
    }

    #[test]
    fn what_fits_twice_is_not_guessed_at() {
        let odd = "a\x02\0\0\0\x05\0\0\0x";
        let readings = readings(&[&["a"], &[odd]]);
        // A text of 17 bytes after "a", or a number after the odd name.
        let mut twice = format!("\x02\0\0\0{odd}").into_bytes();
        twice.extend(b"\x03\0\0\0\x04\0\0\0projproj");
        assert!(matches!(readings.read(&twice), Reading::Old { .. }));
        let shifted = "a\x02\0\0\0\x0d\0\0\0x";
        let readings = self::readings(&[&["a"], &[shifted]]);
        let mut twice = format!("\x02\0\0\0{shifted}").into_bytes();
        twice.extend(b"\x03\0\0\0\x04\0\0\0abcdproj");
        assert_eq!(readings.read(&twice), Reading::Ambiguous);
        assert!(readings.entity(&twice).starts_with('"'));
    }
}
