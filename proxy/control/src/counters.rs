//! What the controller counts. Written by the controller, read by whoever renders metrics.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use tidegate_core::{Event, Notice};

/// The kinds of events that reach the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// The wanted services.
    Services,
    /// Where this process runs.
    Node,
    /// Which nodes are going away.
    NodesLeaving,
    /// A complete list of slices.
    SlicesListed,
    /// Several slices, new, changed or gone.
    SlicesChanged,
    /// One slice, new or changed.
    SliceApplied,
    /// One slice, gone.
    SliceDeleted,
    /// An operator's wish.
    AdminState,
    /// When a pod is killed.
    PodDeadline,
    /// A pod is gone.
    PodGone,
    /// The last flow of an endpoint ended.
    EndpointEmptied,
}

/// The kinds of notices that the table gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoticeKind {
    /// An endpoint appeared.
    EndpointAdded,
    /// Conditions changed.
    ConditionsChanged,
    /// A drain began.
    DrainBegan,
    /// A drain was undone.
    DrainUndone,
    /// A draining endpoint has no flows any more.
    Drained,
    /// An endpoint is gone.
    EndpointRemoved,
    /// A service lost its last eligible endpoint, or got one again.
    Eligibility,
    /// A listener leaves out a port that is needed.
    AmbiguousPort,
    /// A slice, or part of one, is not used.
    SliceIgnored,
    /// Slices of a service with fixed endpoints.
    SlicesShadowed,
    /// Flows begin to move to endpoints that were added.
    RebalanceBegan,
    /// No more of them move.
    RebalanceEnded,
}

/// What the controller counts.
#[derive(Debug, Default)]
pub struct ControlCounters {
    events: [AtomicU64; EventKind::ALL.len()],
    notices: [AtomicU64; NoticeKind::ALL.len()],
    /// Snapshots published.
    pub publishes: AtomicU64,
    /// The generation that was published last.
    pub generation: AtomicU64,
    /// From a source event's arrival to the publish that contains it.
    pub arrival_to_publish: Histogram,
    /// Reloads that were applied.
    pub reloads_applied: AtomicU64,
    /// Reloads that were refused; the configuration in force stayed.
    pub reloads_refused: AtomicU64,
    /// Entries of slices that are not used.
    pub slice_entries_ignored: AtomicU64,
    /// Commands that had to wait because a worker's channel was full.
    pub commands_deferred: AtomicU64,
    /// Commands that were given up because a worker took none for too long, or is gone.
    pub commands_dropped: AtomicU64,
    /// Handoffs that were begun with this process as the predecessor and came to nothing.
    pub handoffs_failed: AtomicU64,
    /// Flows that were taken over from a predecessor.
    pub flows_taken_over: AtomicU64,
    /// Times that the state directory could not be written.
    pub state_errors: AtomicU64,
    /// Drains that nobody noticed: no flow was broken or cut, and none came after they began.
    pub drains_clean: AtomicU64,
    /// Drains that broke or cut a flow, or into which one came.
    pub drains_broken: AtomicU64,
    /// Drains that were undone.
    pub drains_undone: AtomicU64,
    /// Audit records that were not written to the audit's file.
    pub audit_lost: AtomicU64,
}

impl EventKind {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Services,
        Self::Node,
        Self::NodesLeaving,
        Self::SlicesListed,
        Self::SlicesChanged,
        Self::SliceApplied,
        Self::SliceDeleted,
        Self::AdminState,
        Self::PodDeadline,
        Self::PodGone,
        Self::EndpointEmptied,
    ];

    /// The word in metrics.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Services => "services",
            Self::Node => "node",
            Self::NodesLeaving => "nodes_leaving",
            Self::SlicesListed => "slices_listed",
            Self::SlicesChanged => "slices_changed",
            Self::SliceApplied => "slice_applied",
            Self::SliceDeleted => "slice_deleted",
            Self::AdminState => "admin_state",
            Self::PodDeadline => "pod_deadline",
            Self::PodGone => "pod_gone",
            Self::EndpointEmptied => "endpoint_emptied",
        }
    }

    /// The kind of an event.
    pub const fn of(event: &Event) -> Self {
        match event {
            Event::ServicesConfigured(_) => Self::Services,
            Event::NodeIs { .. } => Self::Node,
            Event::NodesLeaving(_) => Self::NodesLeaving,
            Event::SlicesListed(_) => Self::SlicesListed,
            Event::SlicesChanged { .. } => Self::SlicesChanged,
            Event::SliceApplied(_) => Self::SliceApplied,
            Event::SliceDeleted(_) => Self::SliceDeleted,
            Event::AdminStateRequested { .. } => Self::AdminState,
            Event::PodDeadline { .. } => Self::PodDeadline,
            Event::PodGone { .. } => Self::PodGone,
            Event::EndpointEmptied(_) => Self::EndpointEmptied,
        }
    }
}

impl NoticeKind {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::EndpointAdded,
        Self::ConditionsChanged,
        Self::DrainBegan,
        Self::DrainUndone,
        Self::Drained,
        Self::EndpointRemoved,
        Self::Eligibility,
        Self::AmbiguousPort,
        Self::SliceIgnored,
        Self::SlicesShadowed,
        Self::RebalanceBegan,
        Self::RebalanceEnded,
    ];

    /// The word in metrics.
    pub const fn word(self) -> &'static str {
        match self {
            Self::EndpointAdded => "endpoint_added",
            Self::ConditionsChanged => "conditions_changed",
            Self::DrainBegan => "drain_began",
            Self::DrainUndone => "drain_undone",
            Self::Drained => "drained",
            Self::EndpointRemoved => "endpoint_removed",
            Self::Eligibility => "eligibility",
            Self::AmbiguousPort => "ambiguous_port",
            Self::SliceIgnored => "slice_ignored",
            Self::SlicesShadowed => "slices_shadowed",
            Self::RebalanceBegan => "rebalance_began",
            Self::RebalanceEnded => "rebalance_ended",
        }
    }

    /// The kind of a notice.
    pub const fn of(notice: &Notice) -> Self {
        match notice {
            Notice::EndpointAdded { .. } => Self::EndpointAdded,
            Notice::ConditionsChanged { .. } => Self::ConditionsChanged,
            Notice::DrainBegan { .. } => Self::DrainBegan,
            Notice::DrainUndone { .. } => Self::DrainUndone,
            Notice::Drained { .. } => Self::Drained,
            Notice::EndpointRemoved { .. } => Self::EndpointRemoved,
            Notice::Eligibility { .. } => Self::Eligibility,
            Notice::AmbiguousPort { .. } => Self::AmbiguousPort,
            Notice::SliceIgnored { .. } => Self::SliceIgnored,
            Notice::SlicesShadowed { .. } => Self::SlicesShadowed,
            Notice::RebalanceBegan { .. } => Self::RebalanceBegan,
            Notice::RebalanceEnded { .. } => Self::RebalanceEnded,
        }
    }
}

impl ControlCounters {
    /// Events of a kind that reached the table.
    pub fn events(&self, kind: EventKind) -> &AtomicU64 {
        &self.events[kind as usize]
    }

    /// Notices of a kind.
    pub fn notices(&self, kind: NoticeKind) -> &AtomicU64 {
        &self.notices[kind as usize]
    }
}

/// Durations by size.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static [Duration],
    counts: Box<[AtomicU64]>,
    nanos: AtomicU64,
}

/// From microseconds to seconds.
impl Default for Histogram {
    fn default() -> Self {
        Self::new(&Self::SHORT)
    }
}

impl Histogram {
    /// From microseconds to seconds.
    pub const SHORT: [Duration; 16] = [
        Duration::from_micros(25),
        Duration::from_micros(50),
        Duration::from_micros(100),
        Duration::from_micros(250),
        Duration::from_micros(500),
        Duration::from_millis(1),
        Duration::from_micros(2_500),
        Duration::from_millis(5),
        Duration::from_millis(10),
        Duration::from_millis(25),
        Duration::from_millis(50),
        Duration::from_millis(100),
        Duration::from_millis(250),
        Duration::from_millis(500),
        Duration::from_secs(1),
        Duration::from_secs(5),
    ];

    /// With these upper bounds, which ascend; one more bucket takes what is longer.
    pub fn new(bounds: &'static [Duration]) -> Self {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self { bounds, counts, nanos: AtomicU64::new(0) }
    }

    /// The buckets' upper bounds; that of the last one is left out.
    pub fn bounds(&self) -> &'static [Duration] {
        self.bounds
    }

    /// Counts one duration.
    pub fn record(&self, duration: Duration) {
        let bucket = self.bounds.partition_point(|bound| *bound < duration);
        self.counts[bucket].fetch_add(1, Ordering::Relaxed);
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    /// How many durations each bucket has, the one without a bound last; not cumulative.
    pub fn counts(&self) -> impl Iterator<Item = u64> {
        self.counts.iter().map(|count| count.load(Ordering::Relaxed))
    }

    /// All durations together.
    pub fn sum(&self) -> Duration {
        Duration::from_nanos(self.nanos.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests;
