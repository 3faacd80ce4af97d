//! A hash as Redis holds it.

use crate::redis::tree::Reply;

/// What the field of each view's event timestamp begins with.
const TIMESTAMP: &[u8] = b"_ts:";

/// The fields of a hash and its times to live; a key that is not there has no field.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Hash {
    /// In the server's order, which a copy keeps.
    cells: Vec<Cell>,
    /// Places of the fields, sorted by field.
    sorted: Vec<usize>,
    /// Milliseconds that the key has left; `None` for ever.
    pub ttl: Option<u64>,
}

/// A field of a hash.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Cell {
    /// Its name.
    pub field: Vec<u8>,
    /// Its value.
    pub value: Vec<u8>,
    /// When it expires, in milliseconds since the epoch.
    pub expiry: Option<u64>,
}

impl Cell {
    /// Whether this is a view's event timestamp.
    #[must_use]
    pub fn is_timestamp(&self) -> bool {
        self.field.starts_with(TIMESTAMP)
    }
}

impl Hash {
    /// A hash from the replies to HGETALL and PTTL; the server's words if it refused one.
    pub fn from_replies(all: Reply, ttl: &Reply) -> Result<Self, String> {
        let items = match all {
            Reply::Array(items) => items,
            Reply::Error(words) => return Err(words),
            other => return Err(unexpected("HGETALL", &other)),
        };
        let mut cells = Vec::with_capacity(items.len() / 2);
        let mut items = items.into_iter();
        while let (Some(field), Some(value)) = (items.next(), items.next()) {
            let (Reply::Bytes(field), Reply::Bytes(value)) = (field, value) else {
                return Err("HGETALL was answered with something else than texts".to_owned());
            };
            cells.push(Cell {
                field,
                value,
                expiry: None,
            });
        }
        let ttl = match ttl {
            // It expired after its fields were read.
            Reply::Integer(-2) => return Ok(Self::default()),
            Reply::Integer(left) => u64::try_from(*left).ok(),
            Reply::Error(words) => return Err(words.clone()),
            other => return Err(unexpected("PTTL", other)),
        };
        let mut hash = Self {
            cells,
            sorted: Vec::new(),
            ttl,
        };
        hash.sort();
        Ok(hash)
    }

    fn sort(&mut self) {
        let cells = &self.cells;
        self.sorted = (0..cells.len()).collect();
        self.sorted
            .sort_unstable_by(|&a, &b| cells[a].field.cmp(&cells[b].field));
    }

    /// Takes the reply to HPEXPIRETIME for all fields in their order. Fields that have expired by
    /// now are dropped.
    pub fn set_expiries(&mut self, reply: &Reply) -> Result<(), String> {
        let times = match reply {
            Reply::Array(times) if times.len() == self.cells.len() => times,
            // The whole hash has expired.
            Reply::Nil => {
                *self = Self::default();
                return Ok(());
            }
            Reply::Array(times) if times.iter().all(|time| *time == Reply::Integer(-2)) => {
                *self = Self::default();
                return Ok(());
            }
            Reply::Error(words) => return Err(words.clone()),
            other => return Err(unexpected("HPEXPIRETIME", other)),
        };
        let mut times = times.iter();
        self.cells.retain_mut(|cell| match times.next() {
            Some(Reply::Integer(-2)) => false,
            Some(Reply::Integer(time)) => {
                cell.expiry = u64::try_from(*time).ok();
                true
            }
            _ => true,
        });
        self.sort();
        Ok(())
    }

    /// Whether there is no such key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.cells.is_empty()
    }

    /// The fields.
    #[must_use]
    pub fn cells(&self) -> &[Cell] {
        &self.cells
    }

    /// Where `field` is among the fields.
    #[must_use]
    pub fn position(&self, field: &[u8]) -> Option<usize> {
        let found = self
            .sorted
            .binary_search_by(|&at| self.cells[at].field.as_slice().cmp(field));
        Some(self.sorted[found.ok()?])
    }

    /// The value of `field`.
    #[must_use]
    pub fn get(&self, field: &[u8]) -> Option<&[u8]> {
        Some(self.cells[self.position(field)?].value.as_slice())
    }
}

fn unexpected(command: &str, reply: &Reply) -> String {
    format!("{command} was answered with {reply:?}")
}

#[cfg(test)]
impl Hash {
    /// A hash of these fields that never expires.
    pub(super) fn of(cells: &[(&[u8], &[u8])]) -> Self {
        let texts = cells.iter().flat_map(|&(field, value)| [field, value]);
        let items = texts.map(|text| Reply::Bytes(text.to_vec())).collect();
        Self::from_replies(Reply::Array(items), &Reply::Integer(-1)).unwrap()
    }
}
