//! What a proxy's processes take: how many there are, their memory (proportional set size) and their processor
//! time, from `/proc`.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;

use crate::usage;

/// From one look to the next.
const INTERVAL: Duration = Duration::from_millis(200);

/// One look at a process and everything below it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Look {
    /// Processes that run.
    pub(super) count: usize,
    /// In KiB.
    pub(super) memory: u64,
    /// User and system.
    pub(super) cpu: Duration,
}

/// The most that was seen.
#[derive(Clone, Debug, Default)]
pub(super) struct Most(Arc<Mutex<Look>>);

impl Most {
    pub(super) fn get(&self) -> Look {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, look: Look) {
        let mut most = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        most.count = most.count.max(look.count);
        most.memory = most.memory.max(look.memory);
    }

    /// Looks again and again; returns when there is nothing more to see.
    pub(super) async fn watch(self, root: u32) -> anyhow::Error {
        loop {
            match look(root).await {
                Ok(look) => self.add(look),
                Err(error) => return error,
            }
            tokio::time::sleep(INTERVAL).await;
        }
    }
}

/// Looks once, beside the runtime: many processes take a while.
///
/// # Errors
///
/// When `root` is gone.
pub(super) async fn look(root: u32) -> anyhow::Result<Look> {
    tokio::task::spawn_blocking(move || look_now(root)).await.context("cannot look at the proxy")?
}

fn look_now(root: u32) -> anyhow::Result<Look> {
    let processes = usage::processes(root)?;
    let running = || processes.iter().filter(|stat| stat.runs());
    Ok(Look {
        count: running().count(),
        // A process may end between two files.
        memory: running().filter_map(|stat| usage::proportional_kib(stat.pid)).sum(),
        cpu: usage::time(&processes),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sees_this_process_and_no_other_that_is_not_there() {
        let look = look_now(std::process::id()).unwrap();
        assert!(look.count >= 1 && look.memory > 0, "{look:?}");
        assert!(look_now(u32::MAX).is_err());
    }
}
