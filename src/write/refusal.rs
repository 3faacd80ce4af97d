//! What Redis refused, told by view, entity and the server's words.

use super::rows::Target;
use crate::error::{Error, ErrorKind, Result};

/// How many entities a message names.
const NAMED: usize = 3;

/// Whether the server's words tell of a trouble that passes by itself: it loads its data, lost its
/// script, fails over or moves a slot.
pub(super) fn passes(words: &str) -> bool {
    let code = words.split_ascii_whitespace().next().unwrap_or("");
    matches!(
        code,
        "LOADING" | "NOSCRIPT" | "READONLY" | "TRYAGAIN" | "CLUSTERDOWN" | "MASTERDOWN" | "BUSY"
    )
}

/// The rows that were refused, of which the first are named.
#[derive(Debug, Default)]
pub(super) struct Refusal {
    entities: Vec<String>,
    words: String,
    rows: usize,
}

impl Refusal {
    /// Adds a row.
    pub fn add(&mut self, target: &Target, key: &[u8], words: &str) {
        if self.rows == 0 {
            words.clone_into(&mut self.words);
        }
        if self.entities.len() < NAMED {
            self.entities.push(target.entity(key));
        }
        self.rows += 1;
    }

    /// The error, if a row was refused.
    pub fn into_result(self, target: &Target, what: &str) -> Result<()> {
        if self.rows == 0 {
            return Ok(());
        }
        let more = match self.rows - self.entities.len() {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        Err(Error::new(
            ErrorKind::Server,
            format!(
                "refused to {what} feature view '{}' for {}{more}: {}",
                target.view,
                self.entities.join("; "),
                self.words
            ),
        ))
    }
}
