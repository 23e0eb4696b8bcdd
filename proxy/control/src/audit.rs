//! The audit: what every drain of this process came to, the last so many of them.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tidegate_core::{DrainCauses, DrainRecord, Endpoint, EndpointId, FlowEnd, Timestamp};
use tokio::sync::broadcast;

use crate::{ControlCounters, Controller};

/// How many records are kept where nobody says otherwise.
pub const RECORDS: usize = 4_096;
/// How much news waits for who is behind; whoever is further behind misses some, and is told how much.
const NEWS: usize = 1_024;

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

impl AuditRecord {
    /// Nobody noticed this drain: no flow was broken or cut, and none came after it began.
    pub fn broke_nothing(&self) -> bool {
        let ends = &self.drain.ends;
        ends.of(FlowEnd::Broken) + ends.of(FlowEnd::Cut) + self.drain.flows_after_start() == 0
    }
}

/// What becomes of drains, as it happens.
#[derive(Clone, Debug)]
pub enum DrainNews {
    /// One has begun.
    Began(DrainBeginning),
    /// One is over.
    Over(Arc<AuditRecord>),
}

/// A drain that has begun.
#[derive(Clone, Debug)]
pub struct DrainBeginning {
    /// The endpoint.
    pub endpoint: Arc<Endpoint>,
    /// Its pod, as namespace/name.
    pub pod: Option<Arc<str>>,
    /// Who wants it.
    pub causes: DrainCauses,
    /// Flows at that moment.
    pub flows: u64,
    /// When what is left is cut, where that was known already.
    pub deadline: Option<Timestamp>,
}

/// Every drain that is known.
#[derive(Clone, Debug)]
pub struct AuditAnswer {
    /// Those that are over, then those that are on; each part in the order in which they began or ended.
    pub records: Vec<AuditRecord>,
    /// Records that were dropped because there were too many.
    pub dropped: u64,
    /// When the last of those drains ended.
    pub dropped_until: Option<Timestamp>,
    /// The controller's time of this answer.
    pub now: Timestamp,
}

/// The records of a process.
#[derive(Debug)]
pub(crate) struct AuditLog {
    /// How many are kept.
    keep: Arc<AtomicUsize>,
    /// A predecessor's records are still to come: what ends until then had no flows.
    awaits: bool,
    counters: Arc<ControlCounters>,
    news: broadcast::Sender<DrainNews>,
    records: VecDeque<Arc<AuditRecord>>,
    dropped: u64,
    dropped_until: Option<Timestamp>,
    /// How long the publish took that began a drain, for drains that are on.
    published: BTreeMap<EndpointId, Duration>,
}

impl AuditLog {
    pub(crate) fn new(counters: Arc<ControlCounters>, awaits: bool) -> Self {
        Self {
            keep: Arc::new(AtomicUsize::new(RECORDS)),
            awaits,
            counters,
            news: broadcast::Sender::new(NEWS),
            records: VecDeque::new(),
            dropped: 0,
            dropped_until: None,
            published: BTreeMap::new(),
        }
    }

    /// How many records are kept; may be set at any time.
    pub(crate) fn keep(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.keep)
    }

    /// Where news comes from, for as long as this lives.
    pub(crate) fn news(&self) -> broadcast::WeakSender<DrainNews> {
        self.news.downgrade()
    }

    /// A drain has begun with a publish that took so long.
    pub(crate) fn began(&mut self, began: DrainBeginning, published_after: Option<Duration>) {
        self.goes_on(began.endpoint.id(), published_after);
        if !self.awaits || began.flows > 0 {
            // Nobody needs to listen.
            let _ = self.news.send(DrainNews::Began(began));
        }
    }

    /// A drain began in another process, with a publish that took so long.
    pub(crate) fn goes_on(&mut self, endpoint: EndpointId, published_after: Option<Duration>) {
        if let Some(took) = published_after {
            self.published.insert(endpoint, took);
        }
    }

    /// Goes on from a predecessor's records; those of this process come after them. They are no news: the predecessor
    /// told them.
    pub(crate) fn go_on_from(
        &mut self,
        records: Vec<AuditRecord>,
        dropped: u64,
        dropped_until: Option<Timestamp>,
    ) {
        self.awaits = false;
        // What this process's sources called a drain before the flows came had none.
        let mut own = std::mem::take(&mut self.records);
        own.retain(|record| record.drain.flows_at_start + record.drain.ends.total() > 0);
        self.dropped += dropped;
        self.dropped_until = self.dropped_until.max(dropped_until);
        for record in records.into_iter().map(Arc::new).chain(own) {
            self.add(record);
        }
    }

    fn add(&mut self, record: Arc<AuditRecord>) {
        let keep = self.keep.load(Ordering::Relaxed).max(1);
        while self.records.len() >= keep {
            if let Some(oldest) = self.records.pop_front() {
                self.dropped_until = self.dropped_until.max(Some(oldest.drain.ended));
            }
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
        let record = Arc::new(AuditRecord { drain, over: true, published_after });
        self.add(Arc::clone(&record));
        if self.awaits && record.drain.flows_at_start + record.drain.ends.total() == 0 {
            return;
        }
        let outcome = match (record.drain.undone, record.broke_nothing()) {
            (true, _) => &self.counters.drains_undone,
            (false, true) => &self.counters.drains_clean,
            (false, false) => &self.counters.drains_broken,
        };
        outcome.fetch_add(1, Ordering::Relaxed);
        let _ = self.news.send(DrainNews::Over(record));
    }

    /// The records from a number on, and the number of the one that comes next. Every record has the number after that of
    /// the one before, also where that was dropped.
    pub(crate) fn starting_at(&self, number: u64) -> (impl Iterator<Item = &Arc<AuditRecord>>, u64) {
        let gone = number.saturating_sub(self.dropped);
        let skipped = usize::try_from(gone).unwrap_or(usize::MAX);
        (self.records.iter().skip(skipped), self.dropped + self.records.len() as u64)
    }

    /// Those that were over at this moment or later.
    pub(crate) fn since(&self, moment: Timestamp) -> impl Iterator<Item = &AuditRecord> {
        let recent = self
            .records
            .iter()
            .map(|record| &**record)
            .rev()
            .take_while(move |record| record.drain.ended >= moment);
        recent.collect::<Vec<_>>().into_iter().rev()
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
            records: self.audit.records.iter().map(|record| AuditRecord::clone(record)).chain(on).collect(),
            dropped: self.audit.dropped,
            dropped_until: self.audit.dropped_until,
            now,
        }
    }
}
