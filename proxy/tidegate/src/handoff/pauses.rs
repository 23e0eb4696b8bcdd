//! How long flows stood still while they moved.

use std::time::Duration;

/// How long each flow was frozen.
#[derive(Default)]
pub(super) struct Pauses(pub(super) Vec<Duration>);

impl Pauses {
    /// So many of 100 flows were frozen for no longer than this.
    pub(super) fn percentile(&mut self, percent: usize) -> Duration {
        self.0.sort_unstable();
        let at = (self.0.len() * percent).div_ceil(100).max(1) - 1;
        self.0.get(at).copied().unwrap_or_default()
    }
}
