//! What is counted at the gate: who waits, how waits end and how long they take, who is turned away.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::http::StatusCode;
use tidegate_control::Histogram;
use tidegate_core::GateOutcome;
use tokio::time::Instant;

use super::GateAnswer;
use crate::refusal::Refusal;

/// From a moment to minutes: a gate opens at once, or with a flow.
const BOUNDS: &[Duration] = &[
    Duration::from_millis(10),
    Duration::from_millis(100),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(3),
    Duration::from_secs(5),
    Duration::from_secs(10),
    Duration::from_secs(15),
    Duration::from_secs(25),
    Duration::from_secs(60),
    Duration::from_secs(300),
    Duration::from_secs(1_800),
];

/// How a question at the gate ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GateEnd {
    Drained,
    NotTerminating,
    Reverted,
    TimeOver,
    /// Whoever asked went away.
    Left,
    /// This process stopped to answer.
    Stopped,
    /// The pod is no endpoint here.
    UnknownPod,
    /// The question means nothing.
    Invalid,
    /// As many wait as may.
    Busy,
}

/// Why another instance was turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PeerRefusal {
    /// No token, or a wrong one.
    Token,
    /// Not over TLS.
    PlainText,
    /// This instance has no peers, or cannot read its token.
    Configuration,
}

impl GateEnd {
    pub(crate) const ALL: [Self; 9] = [
        Self::Drained,
        Self::NotTerminating,
        Self::Reverted,
        Self::TimeOver,
        Self::Left,
        Self::Stopped,
        Self::UnknownPod,
        Self::Invalid,
        Self::Busy,
    ];

    /// The label of the metric.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Drained => "drained",
            Self::NotTerminating => "not_terminating",
            Self::Reverted => "reverted",
            Self::TimeOver => "time_over",
            Self::Left => "left",
            Self::Stopped => "stopped",
            Self::UnknownPod => "unknown_pod",
            Self::Invalid => "invalid",
            Self::Busy => "busy",
        }
    }

    pub(super) fn of_outcome(outcome: Option<GateOutcome>) -> Self {
        match outcome {
            Some(GateOutcome::Drained) => Self::Drained,
            Some(GateOutcome::NotTerminating) => Self::NotTerminating,
            Some(GateOutcome::Reverted) => Self::Reverted,
            None => Self::TimeOver,
        }
    }

    fn of_refusal(refusal: &Refusal) -> Self {
        match refusal.status {
            StatusCode::NOT_FOUND => Self::UnknownPod,
            StatusCode::BAD_REQUEST => Self::Invalid,
            StatusCode::TOO_MANY_REQUESTS => Self::Busy,
            _ => Self::Stopped,
        }
    }
}

impl PeerRefusal {
    pub(crate) const ALL: [Self; 3] = [Self::Token, Self::PlainText, Self::Configuration];

    /// The label of the metric.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::PlainText => "plain_text",
            Self::Configuration => "configuration",
        }
    }

    pub(super) fn of(status: StatusCode) -> Self {
        match status {
            StatusCode::UNAUTHORIZED => Self::Token,
            StatusCode::FORBIDDEN => Self::PlainText,
            _ => Self::Configuration,
        }
    }
}

/// What is counted at the gate.
#[derive(Debug)]
pub struct GateCounters {
    /// There is a gate.
    is_served: AtomicBool,
    waiting: AtomicU64,
    ends: [AtomicU64; GateEnd::ALL.len()],
    waits: Histogram,
    unreachable: AtomicU64,
    peers_refused: [AtomicU64; PeerRefusal::ALL.len()],
}

impl Default for GateCounters {
    fn default() -> Self {
        Self {
            is_served: AtomicBool::new(false),
            waiting: AtomicU64::new(0),
            ends: Default::default(),
            waits: Histogram::new(BOUNDS),
            unreachable: AtomicU64::new(0),
            peers_refused: Default::default(),
        }
    }
}

impl GateCounters {
    /// There is a gate from here on.
    pub(crate) fn serve(&self) {
        self.is_served.store(true, Ordering::Relaxed);
    }

    pub(super) fn peer_refused(&self, why: PeerRefusal) {
        self.peers_refused[why as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn is_served(&self) -> bool {
        self.is_served.load(Ordering::Relaxed)
    }

    pub(crate) fn waiting(&self) -> u64 {
        self.waiting.load(Ordering::Relaxed)
    }

    pub(crate) fn ended(&self, end: GateEnd) -> u64 {
        self.ends[end as usize].load(Ordering::Relaxed)
    }

    pub(crate) fn waits(&self) -> &Histogram {
        &self.waits
    }

    pub(crate) fn unreachable(&self) -> u64 {
        self.unreachable.load(Ordering::Relaxed)
    }

    pub(crate) fn peers_refused(&self, why: PeerRefusal) -> u64 {
        self.peers_refused[why as usize].load(Ordering::Relaxed)
    }
}

/// A question at the gate: counted while it waits, and by how it ended when it is dropped.
pub(super) struct Asked {
    counters: Arc<GateCounters>,
    began: Instant,
    end: GateEnd,
}

impl Asked {
    pub(super) fn begin(counters: &Arc<GateCounters>) -> Self {
        counters.waiting.fetch_add(1, Ordering::Relaxed);
        Self { counters: Arc::clone(counters), began: Instant::now(), end: GateEnd::Left }
    }

    /// It has its answer.
    pub(super) fn answered(&mut self, end: GateEnd, answer: &GateAnswer) {
        self.end = end;
        self.counters.waits.record(self.began.elapsed());
        let unreachable = answer.instances.iter().filter(|instance| instance.state == "unreachable").count();
        self.counters.unreachable.fetch_add(unreachable as u64, Ordering::Relaxed);
    }

    /// As many wait as may.
    pub(super) fn is_one_too_many(&mut self) {
        self.end = GateEnd::Busy;
    }

    /// It has none.
    pub(super) fn refused(&mut self, refusal: &Refusal) {
        if self.end == GateEnd::Left {
            self.end = GateEnd::of_refusal(refusal);
        }
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.counters.waiting.fetch_sub(1, Ordering::Relaxed);
        self.counters.ends[self.end as usize].fetch_add(1, Ordering::Relaxed);
    }
}
