//! The tokio runtime of this process: made by the first async call, and made anew after a fork.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::runtime::{Builder, Runtime};

use crate::error::{Error, ErrorKind, Result};

/// Workers only move bytes and scan replies; a few serve thousands of requests a second.
const WORKERS: usize = 4;

static RUNTIME: Mutex<Option<(u32, Arc<Runtime>)>> = Mutex::new(None);

/// The runtime. Called with the GIL held, as is `fork`, so that the lock is free in a child.
pub fn runtime() -> Result<Arc<Runtime>> {
    let process = std::process::id();
    let mut current = RUNTIME.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((owner, runtime)) = &*current
        && *owner == process
    {
        return Ok(runtime.clone());
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let runtime = Builder::new_multi_thread()
        .worker_threads(cores.min(WORKERS))
        .thread_name("feast-rs")
        .enable_all()
        .build()
        .map_err(|cause| {
            Error::new(
                ErrorKind::Connection,
                format!("the threads for async calls cannot be started: {cause}"),
            )
        })?;
    let runtime = Arc::new(runtime);
    // The parent's runtime has no threads here, and its poller is shared with the parent: closing
    // anything of it would reach over. So it is left where it is.
    std::mem::forget(current.replace((process, runtime.clone())));
    Ok(runtime)
}
