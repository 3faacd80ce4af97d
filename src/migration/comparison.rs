//! What of an old hash is newer than what the new one has.
//!
//! Views are compared by their event timestamps, and all fields of a view move together. Which
//! fields those are is known of the registry's views only. Other fields (of features and views that
//! are gone from the registry) are added where the new hash has none; where it has another value,
//! they go the way that all views go, and if those go different ways, nothing is written.

use super::Views;
use super::hash::Hash;
use crate::event_time::EventTime;

/// Differences of times to live up to this are a matter of when they were asked for.
const TTL_TOLERANCE_MS: u64 = 1000;

/// How a new hash stands to the old one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Comparison<'a> {
    /// It has all of the old one, or newer.
    Current,
    /// The old one has something newer.
    Behind(Changes<'a>),
    /// Which of the two is right cannot be told, and why.
    Conflict(String),
}

/// What makes a new hash current.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Changes<'a> {
    /// The fields of the event timestamps that were compared, and what the new hash has there;
    /// empty where it has none.
    pub expected: Vec<(&'a [u8], &'a [u8])>,
    /// Fields that the newer row of a view lacks.
    pub removed: Vec<&'a [u8]>,
    /// Places of the old hash's fields that are written over the new one's.
    pub moved: Vec<usize>,
    /// Places of the old hash's fields that are written where the new one has none.
    pub added: Vec<usize>,
    /// The time to live that the key has to have at least.
    pub ttl: Option<Ttl>,
}

/// A key's time to live.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ttl {
    /// It does not expire.
    Forever,
    /// Milliseconds that it has left.
    Left(u64),
}

impl Changes<'_> {
    /// Whether the fields are current already.
    #[must_use]
    pub fn is_of_ttl_only(&self) -> bool {
        self.removed.is_empty() && self.moved.is_empty() && self.added.is_empty()
    }
}

/// Compares the two hashes of an entity.
///
/// # Errors
/// What is wrong with an event timestamp that cannot be read.
pub fn compare<'a>(
    old: &'a Hash,
    new: &'a Hash,
    views: &'a Views,
) -> Result<Comparison<'a>, String> {
    if new.is_empty() {
        return Ok(Comparison::Behind(whole(old)));
    }
    let mut changes = Changes::default();
    let mut claimed = vec![false; old.cells().len()];
    let (mut older, mut alike, mut newer) = (0, 0, 0);
    let mut unknown_alike = false;
    for (at, cell) in old.cells().iter().enumerate() {
        if !cell.is_timestamp() {
            continue;
        }
        claimed[at] = true;
        let stored = new.get(&cell.field).unwrap_or(b"");
        changes.expected.push((&cell.field, stored));
        let features = views.features(&cell.field);
        let places = features.unwrap_or(&[]).iter();
        let places: Vec<usize> = places.filter_map(|field| old.position(field)).collect();
        for &place in &places {
            claimed[place] = true;
        }
        let time = time_of(&cell.field, &cell.value)?;
        if stored.is_empty() || time > time_of(&cell.field, stored)? {
            newer += 1;
            changes.moved.push(at);
            changes.moved.extend(places);
            let gone = features.unwrap_or(&[]).iter();
            let gone = gone.filter(|field| old.get(*field).is_none() && new.get(*field).is_some());
            changes.removed.extend(gone.map(<[u8; 4]>::as_slice));
        } else if time == time_of(&cell.field, stored)? {
            alike += 1;
            unknown_alike |= features.is_none();
            if let Some(&place) = places.iter().find(|&&place| !has(new, old, place)) {
                return Ok(Comparison::Conflict(format!(
                    "both have the event timestamp {} but differ in field {}",
                    cell.field.escape_ascii(),
                    old.cells()[place].field.escape_ascii()
                )));
            }
        } else {
            older += 1;
        }
    }
    for (place, cell) in old.cells().iter().enumerate() {
        if claimed[place] {
            continue;
        }
        match new.get(&cell.field) {
            None => changes.added.push(place),
            Some(value) if *value == cell.value => {}
            Some(_) if older + alike == 0 => changes.moved.push(place),
            Some(_) if newer == 0 && !unknown_alike => {}
            Some(_) => {
                return Ok(Comparison::Conflict(format!(
                    "they differ in field {}, which no feature view of the registry has",
                    cell.field.escape_ascii()
                )));
            }
        }
    }
    // Where everything is out of date, so is its time to live.
    if alike > 0 || !changes.is_of_ttl_only() {
        changes.ttl = extension(old.ttl, new.ttl);
    }
    let is_current = changes.is_of_ttl_only() && changes.ttl.is_none();
    Ok(if is_current {
        Comparison::Current
    } else {
        Comparison::Behind(changes)
    })
}

/// The changes of a key that is not there.
fn whole(old: &Hash) -> Changes<'_> {
    let cells = old.cells().iter();
    Changes {
        expected: cells
            .filter(|cell| cell.is_timestamp())
            .map(|cell| (cell.field.as_slice(), &b""[..]))
            .collect(),
        moved: (0..old.cells().len()).collect(),
        // Whoever makes the key meanwhile may give it a time to live.
        ttl: Some(old.ttl.map_or(Ttl::Forever, Ttl::Left)),
        ..Changes::default()
    }
}

fn has(new: &Hash, old: &Hash, place: usize) -> bool {
    let cell = &old.cells()[place];
    new.get(&cell.field) == Some(&cell.value)
}

/// What makes data live as long as under its old key.
fn extension(old: Option<u64>, new: Option<u64>) -> Option<Ttl> {
    match (old, new) {
        (_, None) => None,
        (None, Some(_)) => Some(Ttl::Forever),
        (Some(old), Some(new)) => (old > new + TTL_TOLERANCE_MS).then_some(Ttl::Left(old)),
    }
}

fn time_of(field: &[u8], message: &[u8]) -> Result<EventTime, String> {
    EventTime::parse(message)
        .map_err(|_| format!("the event timestamp {} is malformed", field.escape_ascii()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::feature_field;

    fn at(seconds: i64) -> Vec<u8> {
        let mut message = Vec::new();
        EventTime { seconds, nanos: 0 }.write(&mut message);
        message
    }

    fn views() -> Views {
        Views::new([("v", &["a", "b"][..]), ("w", &["a"][..])])
    }

    /// A view, its time and its features: `("v", 7, &[("a", "x")])`.
    type Row<'a> = (&'a str, i64, &'a [(&'a str, &'a str)]);

    /// A hash of views' rows.
    fn hash(rows: &[Row<'_>]) -> Hash {
        let mut cells: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        for (view, seconds, features) in rows {
            cells.push((format!("_ts:{view}").into_bytes(), at(*seconds)));
            for (feature, value) in *features {
                cells.push((
                    feature_field(view, feature).to_vec(),
                    value.as_bytes().to_vec(),
                ));
            }
        }
        let cells: Vec<(&[u8], &[u8])> = cells.iter().map(|(f, v)| (&f[..], &v[..])).collect();
        Hash::of(&cells)
    }

    fn changes<'a>(old: &'a Hash, new: &'a Hash, views: &'a Views) -> Changes<'a> {
        match compare(old, new, views).unwrap() {
            Comparison::Behind(changes) => changes,
            other => panic!("{other:?}"),
        }
    }

    fn is_current(old: &Hash, new: &Hash) -> bool {
        compare(old, new, &views()).unwrap() == Comparison::Current
    }

    fn is_conflict(old: &Hash, new: &Hash) -> bool {
        matches!(
            compare(old, new, &views()).unwrap(),
            Comparison::Conflict(_)
        )
    }

    #[test]
    fn a_missing_key_gets_all() {
        let mut old = hash(&[("v", 7, &[("a", "x")]), ("gone", 8, &[("z", "y")])]);
        old.ttl = Some(500);
        let (new, views) = (Hash::default(), views());
        let changes = changes(&old, &new, &views);
        assert_eq!(changes.moved.len(), old.cells().len());
        assert_eq!(changes.ttl, Some(Ttl::Left(500)));
        assert_eq!(changes.expected.len(), 2);
    }

    #[test]
    fn views_move_whole_and_by_themselves() {
        let old = hash(&[("v", 7, &[("a", "x")]), ("w", 7, &[("a", "old")])]);
        let new = hash(&[
            ("v", 6, &[("a", "y"), ("b", "y")]),
            ("w", 8, &[("a", "new")]),
        ]);
        let views = views();
        let changes = changes(&old, &new, &views);
        let moved = changes
            .moved
            .iter()
            .map(|&place| old.cells()[place].field.as_slice());
        assert!(moved.eq([b"_ts:v".as_slice(), &feature_field("v", "a")]));
        assert_eq!(changes.removed, [feature_field("v", "b").as_slice()]);
        assert_eq!(changes.expected[0], (b"_ts:v".as_slice(), at(6).as_slice()));
    }

    #[test]
    fn what_is_newer_or_alike_stays() {
        let old = hash(&[("v", 7, &[("a", "x")])]);
        assert!(is_current(&old, &hash(&[("v", 8, &[("a", "y")])])));
        assert!(is_current(
            &old,
            &hash(&[("v", 7, &[("a", "x"), ("b", "z")])])
        ));
        assert!(is_conflict(&old, &hash(&[("v", 7, &[("a", "y")])])));
        assert!(is_conflict(&old, &hash(&[("v", 7, &[])])));
    }

    #[test]
    fn fields_of_no_known_view_go_with_all_views() {
        let spare: Row<'_> = ("gone", 1, &[("z", "old")]);
        let old = hash(&[("v", 7, &[("a", "x")]), spare]);
        let with = |v, gone, z: &'static str| {
            let features: &[(&str, &str)] = if z.is_empty() { &[] } else { &[("z", z)] };
            hash(&[("v", v, &[("a", "x")]), ("gone", gone, features)])
        };
        let views = views();
        assert_eq!(changes(&old, &with(8, 2, ""), &views).added.len(), 1);
        assert_eq!(changes(&old, &with(6, 0, "new"), &views).moved.len(), 4);
        assert!(is_current(&old, &with(8, 2, "new")));
        assert!(is_current(&old, &with(8, 1, "old")));
        for (v, gone) in [(8, 0), (6, 2), (8, 1)] {
            assert!(is_conflict(&old, &with(v, gone, "new")), "{v} {gone}");
        }
    }

    #[test]
    fn data_lives_as_long_as_before() {
        let mut old = hash(&[("v", 7, &[("a", "x")])]);
        let mut new = old.clone();
        let views = views();
        new.ttl = Some(60_000);
        assert_eq!(changes(&old, &new, &views).ttl, Some(Ttl::Forever));
        old.ttl = Some(60_500);
        assert!(is_current(&old, &new));
        old.ttl = Some(90_000);
        let changes = changes(&old, &new, &views);
        assert_eq!(changes.ttl, Some(Ttl::Left(90_000)));
        assert!(changes.is_of_ttl_only());
        let mut newer = hash(&[("v", 8, &[("a", "x")])]);
        newer.ttl = Some(1);
        assert!(is_current(&old, &newer));
    }

    #[test]
    fn a_malformed_timestamp_is_told() {
        let old = Hash::of(&[(b"_ts:v", b"\xff")]);
        let error = compare(&old, &hash(&[("v", 1, &[])]), &views()).unwrap_err();
        assert!(error.contains("_ts:v"), "{error}");
    }
}
