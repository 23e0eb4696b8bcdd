//! What a process and all its children have used so far, from `/proc`; for the whole machine see [`machine`].
//!
//! Processor time includes processes that have ended and were waited for: what old workers did counts as well.

pub(crate) mod machine;

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use anyhow::{Context, bail};

/// Processor time, user and system, of `root` and everything below it.
///
/// # Errors
///
/// When `root` is gone: then there is nothing to compare.
pub(crate) fn cpu(root: u32) -> anyhow::Result<Duration> {
    Ok(time(&processes(root)?))
}

/// Processor time, user and system, of these processes.
pub(crate) fn time(processes: &[Stat]) -> Duration {
    ticks(processes.iter().map(|stat| stat.ticks).sum::<u64>())
}

/// The time of so many of the kernel's ticks.
fn ticks(ticks: u64) -> Duration {
    let per_second = rustix::param::clock_ticks_per_second();
    Duration::from_secs(ticks / per_second)
        + Duration::from_nanos(ticks % per_second * 1_000_000_000 / per_second)
}

/// Resident memory in bytes of `root` and everything below it.
///
/// # Errors
///
/// As for [`cpu`].
pub(crate) fn resident(root: u32) -> anyhow::Result<u64> {
    let mut kib = 0;
    for stat in processes(root)? {
        let status = fs::read_to_string(format!("/proc/{}/status", stat.pid))
            .with_context(|| format!("process {} is gone", stat.pid))?;
        kib += field_kib(&status, "VmRSS:").unwrap_or(0);
    }
    Ok(kib * 1024)
}

/// Proportional set size in KiB: a page that several processes share counts once among them. Resident memory would count
/// it in each of nginx's old workers.
pub(crate) fn proportional_kib(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    field_kib(&text, "Pss:")
}

fn field_kib(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The fields of `/proc/PID/stat` that count.
#[derive(Debug, PartialEq)]
pub(crate) struct Stat {
    pub(crate) pid: u32,
    state: char,
    parent: u32,
    /// utime, stime, cutime, cstime: all threads, ended ones too, and children that it has waited for.
    ticks: u64,
}

impl Stat {
    fn parse(text: &str) -> Option<Self> {
        // The name in parentheses may hold anything, so fields are counted from the last parenthesis.
        let (head, tail) = text.rsplit_once(')')?;
        let pid = head.split_whitespace().next()?.parse().ok()?;
        let fields: Vec<&str> = tail.split_whitespace().collect();
        let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
        Some(Self {
            pid,
            state: fields.first()?.chars().next()?,
            parent: u32::try_from(number(1)?).ok()?,
            ticks: number(11)? + number(12)? + number(13)? + number(14)?,
        })
    }

    /// It is no corpse that waits for its parent.
    pub(crate) fn runs(&self) -> bool {
        self.state != 'Z' && self.state != 'X'
    }
}

/// `root` and its descendants.
///
/// # Errors
///
/// When `root` is gone.
pub(crate) fn processes(root: u32) -> anyhow::Result<Vec<Stat>> {
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
            break;
        }
        pids.extend(new.iter().map(|stat| stat.pid));
        found.extend(new);
        rest = other;
    }
    if !found.iter().any(|stat| stat.pid == root && stat.runs()) {
        bail!("process {root} is gone");
    }
    Ok(found)
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
    fn reads_resident_memory() {
        assert_eq!(field_kib("Name:\tx\nVmRSS:\t   123 kB\n", "VmRSS:"), Some(123));
        assert!(resident(std::process::id()).unwrap() > 0);
        assert!(cpu(u32::MAX).is_err());
    }
}
