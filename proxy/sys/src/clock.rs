//! A cheap clock.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// The monotonic clock as of the kernel's last tick (clock_gettime(2), CLOCK_MONOTONIC_COARSE): a few milliseconds
/// late at most, and a fraction of the cost of the exact one. Only differences of it mean anything.
pub fn coarse_time() -> Duration {
    let now = clock_gettime(ClockId::MonotonicCoarse);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(now.tv_nsec).unwrap_or(0))
}
