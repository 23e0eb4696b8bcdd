//! What a proxy's processes take: how many there are, their memory and their processor time, from `/proc`.
//!
//! Memory is the proportional set size: a page that several processes share counts once among them. Resident memory
//! would count it in each of nginx's old workers. Processor time includes processes that have ended and were waited
//! for, or what old workers did would be missing.

use std::collections::BTreeSet;
use std::fs;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail};

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
    let processes = below(root)?;
    if !processes.iter().any(|stat| stat.pid == root && stat.runs()) {
        bail!("the proxy's process has ended");
    }
    let ticks = processes.iter().map(|stat| stat.ticks).sum::<u64>();
    let per_second = rustix::param::clock_ticks_per_second();
    let running = || processes.iter().filter(|stat| stat.runs());
    Ok(Look {
        count: running().count(),
        // A process may end between two files.
        memory: running().filter_map(|stat| memory(stat.pid)).sum(),
        cpu: Duration::from_secs_f64(ticks as f64 / per_second as f64),
    })
}

/// Proportional set size in KiB.
fn memory(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The fields of `/proc/PID/stat` that count.
#[derive(Debug, PartialEq)]
struct Stat {
    pid: u32,
    state: char,
    parent: u32,
    /// Of all its threads, and of children that it has waited for.
    ticks: u64,
}

impl Stat {
    fn parse(text: &str) -> Option<Self> {
        // The name in parentheses may hold anything, so fields are counted from the last parenthesis.
        let (head, tail) = text.rsplit_once(')')?;
        let fields: Vec<&str> = tail.split_whitespace().collect();
        let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
        Some(Self {
            pid: head.split_whitespace().next()?.parse().ok()?,
            state: fields.first()?.chars().next()?,
            parent: u32::try_from(number(1)?).ok()?,
            ticks: number(11)? + number(12)? + number(13)? + number(14)?,
        })
    }

    fn runs(&self) -> bool {
        self.state != 'Z' && self.state != 'X'
    }
}

/// `root` and its descendants.
fn below(root: u32) -> anyhow::Result<Vec<Stat>> {
    let mut rest: Vec<Stat> = fs::read_dir("/proc")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok())
        .filter_map(|pid| Stat::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?))
        .collect();
    let mut pids = BTreeSet::from([root]);
    let mut found = Vec::new();
    loop {
        let (new, other): (Vec<Stat>, Vec<Stat>) =
            rest.into_iter().partition(|stat| pids.contains(&stat.pid) || pids.contains(&stat.parent));
        if new.is_empty() {
            return Ok(found);
        }
        pids.extend(new.iter().map(|stat| stat.pid));
        found.extend(new);
        rest = other;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_stat_whose_name_holds_spaces_and_parentheses() {
        let text = "42 (a ) b) S 7 42 42 0 -1 4194304 100 0 0 0 30 12 5 2 20 0 1 0 1 1 1";
        assert_eq!(Stat::parse(text), Some(Stat { pid: 42, state: 'S', parent: 7, ticks: 49 }));
        assert_eq!(Stat::parse("42 (x"), None);
    }

    #[test]
    fn sees_this_process_and_no_other_that_is_not_there() {
        let look = look_now(std::process::id()).unwrap();
        assert!(look.count >= 1 && look.memory > 0, "{look:?}");
        assert!(look_now(u32::MAX).is_err());
    }
}
