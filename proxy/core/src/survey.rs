//! What workers can tell of the flows of endpoints, asked for and gathered off the flows' own path.
//!
//! An admission knows how many flows an endpoint has; only workers know how busy those are.

use core::time::Duration;

use crate::{endpoint::EndpointId, time::Timestamp};

/// An endpoint whose flows are surveyed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SurveyOf {
    /// Which.
    pub endpoint: EndpointId,
    /// A flow is idle that has been silent for so long.
    pub quiet: Duration,
}

/// How the flows of an endpoint are doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// Flows.
    pub flows: u64,
    /// Those of them that are idle.
    pub idle: u64,
    /// Bytes that they moved while they were looked at, both ways. A flow that came or went meanwhile is not in it.
    pub bytes: u64,
    /// When the oldest of them was accepted.
    pub oldest: Option<Timestamp>,
}

impl Survey {
    /// Takes another worker's part in.
    pub fn add(&mut self, other: &Self) {
        self.flows += other.flows;
        self.idle += other.idle;
        self.bytes += other.bytes;
        self.oldest = [self.oldest, other.oldest].into_iter().flatten().min();
    }

    /// Takes a flow in that has been silent for so long.
    pub fn count(&mut self, opened: Timestamp, silent: Duration, quiet: Duration) {
        self.add(&Self { flows: 1, idle: u64::from(silent >= quiet), bytes: 0, oldest: Some(opened) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_two_workers_are_one_survey() {
        let at = Timestamp::from_millis;
        let quiet = Duration::from_millis(250);
        let mut survey = Survey::default();
        survey.count(at(20), Duration::from_millis(250), quiet);
        survey.count(at(10), Duration::from_millis(249), quiet);
        survey.add(&Survey { flows: 3, idle: 1, bytes: 7, oldest: Some(at(15)) });
        survey.add(&Survey::default());
        assert_eq!(survey, Survey { flows: 5, idle: 2, bytes: 7, oldest: Some(at(10)) });
    }
}
