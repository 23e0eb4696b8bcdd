//! The audit: what every drain of this process came to, the last so many of them.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use tidegate_core::{DrainRecord, EndpointId, Timestamp};

use crate::Controller;

/// How many records are kept.
const RECORDS: usize = 4_096;

/// What a drain came to, or has come to so far.
#[derive(Clone, Debug)]
pub struct AuditRecord {
    /// The drain.
    pub drain: DrainRecord,
    /// It is over; otherwise the drain's end is the moment of this answer.
    pub over: bool,
    /// From the arrival of the event that began it to the publish after which no new flow came; `None` where no source
    /// said so but an operator.
    pub published_after: Option<Duration>,
}

/// Every drain that is known.
#[derive(Clone, Debug)]
pub struct AuditAnswer {
    /// Those that are over, then those that are on; each part in the order in which they began or ended.
    pub records: Vec<AuditRecord>,
    /// Records that were dropped because there were too many.
    pub dropped: u64,
    /// The controller's time of this answer.
    pub now: Timestamp,
}

/// The records of a process.
#[derive(Debug, Default)]
pub(crate) struct AuditLog {
    records: VecDeque<AuditRecord>,
    dropped: u64,
    /// How long the publish took that began a drain, for drains that are on.
    published: BTreeMap<EndpointId, Duration>,
}

impl AuditLog {
    /// A drain has begun with a publish that took so long.
    pub(crate) fn began(&mut self, endpoint: EndpointId, published_after: Option<Duration>) {
        if let Some(took) = published_after {
            self.published.insert(endpoint, took);
        }
    }

    /// Goes on from a predecessor's records; those of this process come after them.
    pub(crate) fn go_on_from(&mut self, records: Vec<AuditRecord>, dropped: u64) {
        // What this process's sources called a drain before the flows came had none.
        let mut own = std::mem::take(&mut self.records);
        own.retain(|record| record.drain.flows_at_start + record.drain.ends.total() > 0);
        self.dropped += dropped;
        for record in records.into_iter().chain(own) {
            self.keep(record);
        }
    }

    fn keep(&mut self, record: AuditRecord) {
        if self.records.len() == RECORDS {
            self.records.pop_front();
            self.dropped += 1;
        }
        self.records.push_back(record);
    }

    /// A drain is over.
    pub(crate) fn over(&mut self, drain: DrainRecord) {
        let published_after = self.published.remove(&drain.endpoint.id());
        if drain.undone && drain.flows_at_start + drain.ends.total() == 0 {
            // It was over already, or never had anything to show.
            return;
        }
        self.keep(AuditRecord { drain, over: true, published_after });
    }
}

impl Controller {
    pub(crate) fn audit_answer(&self) -> AuditAnswer {
        let now = self.clock.now();
        let on = self.table.drains(now).into_iter().map(|drain| {
            let published_after = self.audit.published.get(&drain.endpoint.id()).copied();
            AuditRecord { drain, over: false, published_after }
        });
        AuditAnswer {
            records: self.audit.records.iter().cloned().chain(on).collect(),
            dropped: self.audit.dropped,
            now,
        }
    }
}
