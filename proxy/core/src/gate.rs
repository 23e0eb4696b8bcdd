//! When a gate opens: what several instances know of a pod, judged together.
//!
//! A gate first waits until the pod is terminating, then until no instance sends new flows to it (programmed), then
//! until none has a flow left on it (drained). Decided here, from what each instance knows and the time. What one
//! instance knows is `table::GateView`; who asks whom, and until when at most, is the admin side's business.

#[cfg(test)]
mod tests;

use core::time::Duration;

use crate::time::Timestamp;

/// How long a gate waits for its pod to be terminating: the slices follow the deletion by up to a second, and a pod
/// whose container is merely restarted never terminates.
pub const TERMINATING_LIMIT: Duration = Duration::from_secs(3);

/// How long a gate waits for an instance that cannot be reached.
pub const SILENCE_LIMIT: Duration = Duration::from_secs(3);

/// What one instance knows of a pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GateFacts {
    /// Its source has given a complete list, and its flows are all its own.
    pub synced: bool,
    /// The pod is an endpoint of a service that it serves, or flows are left on one.
    pub known: bool,
    /// The pod is terminating, or gone with flows left.
    pub terminating: bool,
    /// It sends no new flows to it.
    pub programmed: bool,
    /// Flows that are left on it.
    pub flows: u64,
}

/// What is known of another instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerState {
    /// What it said last; it can be reached.
    Facts(GateFacts),
    /// It cannot be reached since then.
    Silent {
        /// Since when.
        since: Timestamp,
        /// By what it said last the pod was done with.
        was_done: bool,
    },
}

/// What a gate waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GatePhase {
    /// For the source's first complete list.
    Syncing,
    /// For the pod to be terminating.
    Terminating,
    /// For the instances not to send new flows any more.
    Programmed,
    /// For the last flow's end.
    Drained,
}

/// How a gate opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GateOutcome {
    /// No flow is left on the pod, and none will come.
    Drained,
    /// The pod is not terminating: its container is restarted, or whoever asked is not about to end.
    NotTerminating,
    /// The pod was terminating and is not any more.
    Reverted,
}

/// What follows from what is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// The gate opens.
    Open(GateOutcome),
    /// It does not yet.
    Wait {
        /// What for.
        phase: GatePhase,
        /// When to judge again though nothing was heard.
        again: Option<Timestamp>,
    },
}

/// A gate's memory.
#[derive(Clone, Copy, Debug)]
pub struct Gate {
    began: Timestamp,
    /// When this instance's list was complete for the first time.
    synced: Option<Timestamp>,
    /// This instance has seen the pod terminating, or gone.
    was_terminating: bool,
}

impl GateFacts {
    /// No flow is left and none will come.
    pub fn is_done(&self) -> bool {
        self.synced && (!self.known || (self.terminating && self.programmed)) && self.flows == 0
    }

    /// No new flow will come.
    pub fn is_programmed(&self) -> bool {
        self.synced && (!self.known || (self.terminating && self.programmed))
    }
}

impl PeerState {
    /// It is not waited for any more: it cannot be reached.
    pub fn is_given_up(&self, now: Timestamp) -> bool {
        match self {
            Self::Facts(_) => false,
            Self::Silent { since, was_done } => !was_done && now.since(*since) >= SILENCE_LIMIT,
        }
    }

    fn is_terminating(&self) -> bool {
        matches!(self, Self::Facts(facts) if facts.terminating)
    }

    /// What is waited for with this peer; the phase that the gate is in at least.
    fn phase(&self, now: Timestamp) -> Option<GatePhase> {
        match self {
            Self::Facts(facts) => facts.phase(),
            Self::Silent { was_done: true, .. } => None,
            Self::Silent { .. } => (!self.is_given_up(now)).then_some(GatePhase::Programmed),
        }
    }
}

impl GateFacts {
    fn phase(&self) -> Option<GatePhase> {
        match (self.is_programmed(), self.flows) {
            (false, _) => Some(GatePhase::Programmed),
            (true, 1..) => Some(GatePhase::Drained),
            (true, 0) => None,
        }
    }
}

impl Gate {
    /// A gate that begins to wait.
    pub fn new(now: Timestamp) -> Self {
        Self { began: now, synced: None, was_terminating: false }
    }

    /// Since when it waits.
    pub fn began(&self) -> Timestamp {
        self.began
    }

    /// What follows from what is known at this moment; `own` is what this instance knows.
    pub fn judge(&mut self, own: &GateFacts, peers: &[PeerState], now: Timestamp) -> Judgement {
        if !own.synced {
            return Judgement::Wait { phase: GatePhase::Syncing, again: None };
        }
        let synced = *self.synced.get_or_insert(now);
        if self.was_terminating && own.known && !own.terminating {
            return Judgement::Open(GateOutcome::Reverted);
        }
        // A pod that is in no slice any more was terminating, though perhaps nobody saw it.
        self.was_terminating |= own.terminating || !own.known;
        let is_terminating = self.was_terminating || peers.iter().any(PeerState::is_terminating);
        if !is_terminating {
            let limit = synced.after(TERMINATING_LIMIT);
            if now >= limit {
                return Judgement::Open(GateOutcome::NotTerminating);
            }
            return Judgement::Wait { phase: GatePhase::Terminating, again: Some(limit) };
        }
        let phases = peers.iter().filter_map(|peer| peer.phase(now)).chain(own.phase());
        let Some(phase) = phases.min_by_key(|phase| *phase as u8) else {
            return Judgement::Open(GateOutcome::Drained);
        };
        let given_up = |peer: &PeerState| match peer {
            PeerState::Silent { since, was_done: false } => Some(since.after(SILENCE_LIMIT)),
            _ => None,
        };
        let again = peers.iter().filter_map(given_up).filter(|at| *at > now).min();
        Judgement::Wait { phase, again }
    }
}
