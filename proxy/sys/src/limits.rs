//! The process's limits.

use std::ops::RangeInclusive;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// How many descriptors the process may have, after raising.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DescriptorLimit {
    /// What was in force at the start.
    pub before: u64,
    /// What is in force.
    pub now: u64,
}

/// Descriptors that are neither flows' nor pipes': listeners, epolls, the admin side, logs.
const RESERVED: u64 = 256;

/// At most one descriptor in so many is one end of a pipe.
const PIPE_SHARE: u64 = 16;

/// More pipes than this are of no use: each may pin a megabyte.
const MOST_PIPES: u64 = 1024;

impl DescriptorLimit {
    /// Flows that this allows: two sockets each.
    pub fn flows(self) -> u64 {
        let others = RESERVED.min(self.now / 2) + 2 * self.pipes();
        self.now.saturating_sub(others) / 2
    }

    /// Pipes that this allows: two descriptors each.
    pub fn pipes(self) -> u64 {
        (self.now / PIPE_SHARE / 2).min(MOST_PIPES)
    }
}

/// The ports that this host gives to its own connects (`net.ipv4.ip_local_port_range`, which holds for IPv6 too).
pub fn local_ports() -> RangeInclusive<u16> {
    let text = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let mut words = text.split_whitespace().map(str::parse);
    match (words.next(), words.next()) {
        (Some(Ok(first)), Some(Ok(last))) => first..=last,
        // Unreadable: any port may be one of them.
        _ => 1..=u16::MAX,
    }
}

/// Raises RLIMIT_NOFILE to the hard limit, as far as the kernel lets.
pub fn raise_descriptor_limit() -> DescriptorLimit {
    let limit = getrlimit(Resource::Nofile);
    let before = limit.current.unwrap_or(u64::MAX);
    // A refusal leaves the soft limit in force, which is what `now` then says.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    let now = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    DescriptorLimit { before, now }
}
