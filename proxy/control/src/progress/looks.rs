//! What workers said of draining flows when they looked last, summed up for each service: for metrics.
//!
//! A scrape has nobody look: anybody may scrape, as often as they like. The controller has workers look while a drain is on,
//! every [`EVERY`], and takes what they say to operators who ask too; a scrape reads what there is. So a number is at most
//! that old, and a moment more; without a drain nobody looks.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tidegate_core::{DrainRecord, ServicePort, Timestamp};

use super::{ProgressAnswer, per_second};

/// How often workers look: a tenth as often as for an operator who follows.
const EVERY: Duration = Duration::from_secs(10);

/// How the flows of a service's draining endpoints were doing.
#[derive(Clone, Debug, PartialEq)]
pub struct DrainingFlows {
    /// Which service.
    pub service: ServicePort,
    /// Those that were silent for `drain.quiet` or longer.
    pub idle: u64,
    /// Bytes that they moved in a second, both ways.
    pub bytes_per_second: f64,
    /// When the oldest of them was accepted.
    pub oldest: Option<Timestamp>,
    /// Those that their deadlines will cut as things stand; `None` where that is not known of any endpoint.
    pub will_be_cut: Option<u64>,
}

/// The last look.
#[derive(Debug, Default)]
pub(crate) struct Looks {
    /// When it was asked for; `None` while no drain is on.
    asked: Option<Timestamp>,
    seen: Arc<[DrainingFlows]>,
}

impl Looks {
    /// Whether workers shall look now, where these drains are on; it is taken for asked then.
    pub(super) fn is_due(&mut self, drains: &[DrainRecord], now: Timestamp) -> bool {
        if drains.is_empty() {
            *self = Self::default();
            return false;
        }
        let is_due = self.asked.is_none_or(|asked| now.since(asked) >= EVERY);
        if is_due {
            self.asked = Some(now);
        }
        is_due
    }

    /// Takes what workers said, whoever asked.
    pub(crate) fn note(&mut self, answer: &ProgressAnswer) {
        self.asked = Some(answer.now);
        let mut services: BTreeMap<&ServicePort, DrainingFlows> = BTreeMap::new();
        // Sums without a worker's part are not the service's.
        for drain in answer.drains.iter().filter(|_| answer.silent.is_empty()) {
            let Some(survey) = drain.survey else { continue };
            let sum = services.entry(&drain.service).or_insert_with(|| DrainingFlows {
                service: drain.service.clone(),
                idle: 0,
                bytes_per_second: 0.0,
                oldest: None,
                will_be_cut: None,
            });
            sum.idle += survey.idle;
            sum.bytes_per_second += per_second(survey.bytes);
            sum.oldest = [sum.oldest, survey.oldest].into_iter().flatten().min();
            if let Some(cut) = drain.will_be_cut {
                sum.will_be_cut = Some(sum.will_be_cut.unwrap_or(0) + cut);
            }
        }
        self.seen = services.into_values().collect();
    }

    /// What was seen, by service; those are missing of which a worker did not say anything.
    pub(crate) fn seen(&self) -> Arc<[DrainingFlows]> {
        Arc::clone(&self.seen)
    }
}

#[cfg(test)]
mod tests;
