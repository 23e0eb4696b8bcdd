//! How much of what, and when.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::milliseconds;

/// The shape of one measurement.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Plan {
    /// Endpoints that are ready at a time.
    pub(crate) endpoints: usize,
    /// How many times all of them are replaced.
    pub(crate) rollouts: usize,
    /// From one replacement to the next.
    #[serde(rename = "paceMs", with = "milliseconds")]
    pub(crate) pace: Duration,
    /// A terminating endpoint stays at least so long, as a pod does whose preStop hook waits for load balancers.
    #[serde(rename = "preStopMs", with = "milliseconds")]
    pub(crate) pre_stop: Duration,
    /// A terminating endpoint stays at most so long.
    #[serde(rename = "graceMs", with = "milliseconds")]
    pub(crate) grace: Duration,
    /// Long-lived flows kept open whose lives fit in the grace.
    pub(crate) fitting: usize,
    /// Long-lived flows kept open whose lives do not.
    pub(crate) outliving: usize,
    /// From one request of a long-lived flow to the next.
    #[serde(rename = "periodMs", with = "milliseconds")]
    pub(crate) period: Duration,
    /// Short connections in a second.
    pub(crate) short_per_second: u32,
}

impl Plan {
    /// About 20 seconds: three rollouts within nine, each endpoint with eight to come to its end.
    pub(crate) const FULL: Self = Self {
        endpoints: 5,
        rollouts: 3,
        pace: Duration::from_millis(600),
        pre_stop: Duration::from_secs(1),
        grace: Duration::from_secs(8),
        fitting: 80,
        outliving: 20,
        period: Duration::from_millis(100),
        short_per_second: 1000,
    };

    /// About six seconds.
    pub(crate) const QUICK: Self = Self {
        endpoints: 4,
        rollouts: 2,
        pace: Duration::from_millis(300),
        pre_stop: Duration::from_millis(500),
        grace: Duration::from_millis(2500),
        ..Self::FULL
    };

    /// Endpoints that there are in the course of time.
    pub(crate) fn total(&self) -> usize {
        self.endpoints * (self.rollouts + 1)
    }

    /// Endpoints that are replaced.
    pub(crate) fn replacements(&self) -> usize {
        self.endpoints * self.rollouts
    }

    /// About how long it all takes; a run that takes much longer hangs.
    pub(crate) fn length(&self) -> Duration {
        self.steady() + self.pace * self.replacements() as u32 + self.grace + self.steady()
    }

    /// Load before the first replacement, and after the last endpoint has gone.
    pub(crate) fn steady(&self) -> Duration {
        self.pace * 2
    }

    /// The life of the `number`th long-lived flow: spread evenly, and the same for every proxy.
    ///
    /// A life fits when eight tenths of the grace are enough for it: what is left is for a busy machine. One that
    /// outlives the grace takes a quarter to twice as long again.
    pub(crate) fn life(&self, fits: bool, number: u64) -> Duration {
        // Multiples of the golden ratio fill the unit interval without a pattern.
        let share = (number as f64 * 0.618_033_988_749_895).fract();
        let graces = if fits { 0.2 + 0.6 * share } else { 1.25 + 0.75 * share };
        self.grace.mul_f64(graces)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_life_fits_or_does_not() {
        for number in 0..1000 {
            assert!(Plan::FULL.life(true, number) <= Plan::FULL.grace.mul_f64(0.8));
            assert!(Plan::FULL.life(false, number) >= Plan::FULL.grace.mul_f64(1.25));
        }
    }

    #[test]
    fn some_lives_outlast_a_rollout_and_fit_the_grace() {
        let rollout = Plan::FULL.pace * Plan::FULL.endpoints as u32;
        assert!((0..100).any(|number| Plan::FULL.life(true, number) > rollout * 2));
    }
}
