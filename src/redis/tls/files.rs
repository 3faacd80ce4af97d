//! What the files of TLS said when they were last read, and whether they say it still.

use std::fmt;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use rustls::ClientConfig;

use super::TlsSettings;
use crate::error::Result;

/// How long it is believed that the files are unchanged.
const BELIEVED: Duration = Duration::from_secs(1);

/// How TLS is spoken, with what was read of the files. Shared by the connections to all servers of
/// a deployment.
pub struct TlsFiles {
    settings: TlsSettings,
    read: Mutex<Option<Reading>>,
}

struct Reading {
    client: Arc<ClientConfig>,
    stamps: Vec<Stamp>,
    since: Instant,
    /// When it was last known to be what the files say.
    checked: Instant,
    /// Whether to read them again whatever their stamps are.
    distrusted: bool,
}

/// What changes with a file: its time, its length, and, of a link, where it leads.
#[derive(Eq, PartialEq)]
struct Stamp {
    modified: Option<SystemTime>,
    length: u64,
    path: Option<PathBuf>,
}

impl Stamp {
    fn of(path: &Path) -> Self {
        let metadata = path.metadata().ok();
        Self {
            modified: metadata.as_ref().and_then(|data| data.modified().ok()),
            length: metadata.map_or(0, |data| data.len()),
            path: path.canonicalize().ok(),
        }
    }
}

impl TlsFiles {
    /// Does not read the files yet.
    #[must_use]
    pub fn new(settings: TlsSettings) -> Self {
        Self {
            settings,
            read: Mutex::new(None),
        }
    }

    /// rustls' configuration, if it was read and looked at a moment ago. Does no I/O.
    #[must_use]
    pub fn at_hand(&self) -> Option<Arc<ClientConfig>> {
        // Who reads the files has the lock meanwhile.
        let read = self.read.try_lock().ok()?;
        let reading = read.as_ref()?;
        let believed = !reading.distrusted && reading.checked.elapsed() < BELIEVED;
        believed.then(|| reading.client.clone())
    }

    /// rustls' configuration as the files say now. Reads them if they have changed, which takes
    /// tens of milliseconds for the machine's own authorities. A file that is being replaced may
    /// be unreadable for a moment; what was read before serves meanwhile.
    pub fn client(&self) -> Result<Arc<ClientConfig>> {
        // Nothing in here can be left half done by a panic.
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let stamps: Vec<_> = self.settings.files().map(Stamp::of).collect();
        if let Some(reading) = &mut *read
            && !reading.distrusted
            && reading.stamps == stamps
        {
            reading.checked = Instant::now();
            return Ok(reading.client.clone());
        }
        match (self.settings.client_config(), &mut *read) {
            (Ok(client), read) => {
                *read = Some(Reading {
                    client: client.clone(),
                    stamps,
                    since: Instant::now(),
                    checked: Instant::now(),
                    distrusted: false,
                });
                Ok(client)
            }
            (Err(_), Some(reading)) => {
                reading.checked = Instant::now();
                reading.distrusted = false;
                Ok(reading.client.clone())
            }
            (Err(error), None) => Err(error),
        }
    }

    /// Takes note that `client` was of no use: unless they were read a moment ago, the files are read
    /// again before the next connection.
    pub fn distrust(&self, client: &Arc<ClientConfig>) {
        if let Ok(mut read) = self.read.try_lock()
            && let Some(reading) = &mut *read
            && Arc::ptr_eq(&reading.client, client)
            && reading.since.elapsed() >= BELIEVED
        {
            reading.distrusted = true;
        }
    }
}

impl Deref for TlsFiles {
    type Target = TlsSettings;

    fn deref(&self) -> &TlsSettings {
        &self.settings
    }
}

impl fmt::Debug for TlsFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.settings.fmt(f)
    }
}
