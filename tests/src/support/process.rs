//! What the kernel says of a process (proc(5)), and limits on it.

use std::{collections::BTreeSet, fs, time::Duration};

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, prlimit, setrlimit};

use super::until;

/// A process, by its number.
#[derive(Clone, Copy, Debug)]
pub struct Process(Pid);

impl Process {
    /// The process of this number.
    pub fn new(pid: u32) -> Self {
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
        Self(pid.expect("a child has a number"))
    }

    /// Its number.
    pub fn number(self) -> u32 {
        self.0.as_raw_nonzero().get().cast_unsigned()
    }

    /// Its open descriptors.
    pub fn descriptors(self) -> BTreeSet<u64> {
        let directory = fs::read_dir(format!("/proc/{}/fd", self.0)).unwrap();
        directory.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect()
    }

    /// What its open descriptors are, as the kernel names them.
    pub fn open_files(self) -> Vec<String> {
        let directory = fs::read_dir(format!("/proc/{}/fd", self.0)).unwrap();
        let named = directory.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
        named.map(|path| path.display().to_string()).collect()
    }

    /// How many descriptors it has open once that number stays the same, so that no answer of its admin API is on its
    /// way any more.
    pub fn settled_descriptors(self) -> usize {
        let (mut last, mut same) = (0, 0);
        until("the number of open descriptors stays the same", || {
            let seen = self.descriptors().len();
            same = if seen == last { same + 1 } else { 0 };
            last = seen;
            same == 10
        });
        last
    }

    /// Its resident memory, in bytes.
    pub fn resident(self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0)).unwrap();
        let line =
            status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a live process has memory");
        let kib: u64 = line.trim().trim_end_matches(" kB").parse().unwrap();
        kib * 1024
    }

    /// The processor time it has used.
    pub fn processor_time(self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0)).unwrap();
        // After the name, which is in parentheses and may hold anything: state, and from the 14th field on the times.
        let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
        let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        // USER_HZ is 100 wherever Linux runs.
        Duration::from_millis(ticks * 10)
    }

    /// Limits its descriptors so that it can open `free` more and not one beyond.
    pub fn leave_descriptors(self, free: usize) {
        let open = self.descriptors();
        let limit = (0..).filter(|number| !open.contains(number)).nth(free).expect("numbers do not end");
        self.limit_descriptors(limit);
    }

    /// Sets the limit on its descriptors' numbers.
    pub fn limit_descriptors(self, limit: u64) {
        let maximum = getrlimit(Resource::Nofile).maximum;
        prlimit(Some(self.0), Resource::Nofile, Rlimit { current: Some(limit), maximum }).unwrap();
    }

    /// Waits until it stands still, because it was stopped.
    #[track_caller]
    pub fn wait_until_stopped(self) {
        until("the process stands still", || {
            let status = fs::read_to_string(format!("/proc/{}/status", self.0)).unwrap_or_default();
            status.lines().any(|line| line.starts_with("State:") && line.contains("(stopped)"))
        });
    }

    /// Sends it a signal.
    pub fn signal(self, signal: Signal) {
        kill_process(self.0, signal).unwrap();
    }

    /// Raises this test's own limit on descriptors to the hard limit, and returns it.
    pub fn raise_own_descriptor_limit() -> u64 {
        let limit = getrlimit(Resource::Nofile);
        let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
        getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
    }
}
