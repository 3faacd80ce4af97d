//! What Redis refused, told by view, entity and the server's words.

use super::rows::Target;
use crate::error::{Error, ErrorKind, Result};
use crate::redis::reply::is_transient;

/// How many entities a message names.
const NAMED: usize = 3;

/// The rows that were refused: for good, or by a state of the server that passes.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    lasting: Refusal,
    transient: Refusal,
}

/// Rows, of which the first are named.
#[derive(Debug, Default)]
struct Refusal {
    entities: Vec<String>,
    words: String,
    rows: usize,
}

impl Refusals {
    /// Adds a row; gives whether it may be tried again.
    pub fn add(&mut self, target: &Target, key: &[u8], words: &str) -> bool {
        let transient = is_transient(words);
        let refusal = if transient {
            &mut self.transient
        } else {
            &mut self.lasting
        };
        refusal.add(target, key, words);
        transient
    }

    /// The error, if a row was refused: of those refused for good, if there are any.
    pub fn into_result(self, target: &Target, what: &str) -> Result<()> {
        if self.lasting.rows > 0 {
            return Err(self.lasting.error(target, what));
        }
        if self.transient.rows > 0 {
            return Err(self.transient.error(target, what).transient());
        }
        Ok(())
    }
}

impl Refusal {
    fn add(&mut self, target: &Target, key: &[u8], words: &str) {
        if self.rows == 0 {
            words.clone_into(&mut self.words);
        }
        if self.entities.len() < NAMED {
            self.entities.push(target.entity(key));
        }
        self.rows += 1;
    }

    fn error(self, target: &Target, what: &str) -> Error {
        let more = match self.rows - self.entities.len() {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        Error::new(
            ErrorKind::Server,
            format!(
                "refused to {what} feature view '{}' for {}{more}: {}",
                target.view,
                self.entities.join("; "),
                self.words
            ),
        )
    }
}
