//! The process's limits.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// How many descriptors the process may have, after raising.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DescriptorLimit {
    /// What was in force at the start.
    pub before: u64,
    /// What is in force.
    pub now: u64,
}

/// Descriptors that are not flows' own: listeners, epolls, pipes, the admin side, logs.
const RESERVED: u64 = 256;

impl DescriptorLimit {
    /// Flows that this allows: two sockets each.
    pub fn flows(self) -> u64 {
        self.now.saturating_sub(RESERVED.min(self.now / 2)) / 2
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
