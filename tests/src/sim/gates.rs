//! What the simulation asserts of gates: their counts are exact, none opens early on any instance, and each opens when
//! nothing is left to wait for.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tidegate_core::{Endpoint, Gate, GateFacts, GateOutcome, Judgement, PeerState, Timestamp};

use super::{seen::Seen, world::World};

/// How long a gate waits for a silent instance, and for its pod to be terminating.
const LIMIT: Duration = Duration::from_secs(3);

/// A pod that waits, or did.
pub(super) struct Waiting {
    gate: Gate,
    began: Timestamp,
    /// Since when the source is known to be complete.
    synced: Option<Timestamp>,
    /// It was seen to be terminating, or gone.
    was_terminating: bool,
    outcome: Option<GateOutcome>,
    /// By what is known here it could be told that nothing is left.
    is_done: bool,
}

impl World {
    /// Some pod begins to wait at a gate; it may have waited before.
    pub(super) fn ask_gate(&mut self) {
        let Some(uid) = self.generator.pod_uid(&self.model) else { return };
        self.table.ask_gate(&uid);
        self.table.find_gated();
        self.poll();
        self.model.gates.insert(Arc::clone(&uid));
        self.act();
        let known = self.gates.get(&uid);
        if known.is_none_or(|waiting| waiting.outcome.is_some()) {
            let waiting = Waiting {
                gate: Gate::new(self.now),
                began: self.now,
                synced: None,
                was_terminating: false,
                outcome: None,
                is_done: known.is_some_and(|waiting| waiting.is_done),
            };
            self.gates.insert(uid, waiting);
        }
    }

    /// Looks at every gate: which pods could be told that nothing is left, and who is told what.
    pub(super) fn check_gates(&mut self) {
        let counts = self.counts();
        let mut gates = std::mem::take(&mut self.gates);
        for (uid, waiting) in &mut gates {
            let facts = self.table.gate(uid).expect("it was looked for").facts(self.table.is_synced());
            let is_own = |endpoint: &Endpoint| endpoint.identity().pod_uid.as_ref() == Some(uid);
            let flows = self.flows.iter().filter(|flow| is_own(&flow.endpoint)).count();
            assert_eq!(facts.flows, flows as u64, "the gate of {uid} counts every flow: {facts:?}");
            assert!(facts.known || flows == 0, "a pod with flows is an endpoint");
            let is_terminating = self.ledger.is_terminating(uid, &counts);
            assert!(facts.terminating || !is_terminating, "{uid} is terminating: {facts:?}");
            waiting.is_done = facts.known && facts.terminating && facts.programmed && flows == 0;
            if waiting.outcome.is_none() {
                self.judge(uid, waiting, &facts);
            }
        }
        self.gates = gates;
    }

    fn judge(&mut self, uid: &Arc<str>, waiting: &mut Waiting, facts: &GateFacts) {
        let now = self.now;
        let peers: Vec<PeerState> =
            self.instances.iter_mut().map(|instance| instance.ask(uid, waiting.began, now)).collect();
        let judgement = waiting.gate.judge(facts, &peers, now);
        let may_open = self.may_open(uid, waiting, facts, &peers);
        match judgement {
            Judgement::Open(outcome) => {
                assert_eq!(Some(outcome), may_open, "{uid} of {facts:?} and {peers:?} at {now:?}");
                self.check_opened(uid, outcome, &peers);
                waiting.outcome = Some(outcome);
            }
            Judgement::Wait { again, .. } => {
                assert_eq!(may_open, None, "{uid} waits for nothing: {facts:?} and {peers:?} at {now:?}");
                self.seen.gates_that_wait += 1;
                // Until then nothing changes by itself, and something does then.
                let later = again.map_or(now.after(LIMIT * 1_000), |at| at.before(Duration::from_nanos(1)));
                let same = { waiting.gate }.judge(facts, &peers, later.max(now));
                assert!(matches!(same, Judgement::Wait { again: still, .. } if still == again), "{same:?}");
                if let Some(at) = again {
                    assert!(at > now, "it is judged again at once");
                    assert_ne!({ waiting.gate }.judge(facts, &peers, at), judgement);
                }
            }
        }
    }

    /// What a gate may be told at this moment, in the plainest words.
    fn may_open(
        &self,
        uid: &Arc<str>,
        waiting: &mut Waiting,
        own: &GateFacts,
        peers: &[PeerState],
    ) -> Option<GateOutcome> {
        if !self.model.synced {
            return None;
        }
        let synced = *waiting.synced.get_or_insert(self.now);
        if waiting.was_terminating && own.known && !own.terminating {
            return Some(GateOutcome::Reverted);
        }
        waiting.was_terminating |= own.terminating || !own.known;
        let says_so = |peer: &PeerState| matches!(peer, PeerState::Facts(facts) if facts.terminating);
        if !waiting.was_terminating && !peers.iter().any(says_so) {
            let is_over = self.now.since(synced) >= LIMIT;
            return is_over.then_some(GateOutcome::NotTerminating);
        }
        let is_closed = !own.known || (own.terminating && !self.is_open(uid));
        if own.flows > 0 || !is_closed {
            return None;
        }
        let is_over_elsewhere = self.instances.iter().zip(peers).all(|(instance, peer)| match peer {
            // What it says is looked up there as well.
            PeerState::Facts(facts) => {
                let is_closed = !facts.known || (facts.terminating && !instance.is_open(uid));
                facts.synced && instance.flows_of(uid) == 0 && is_closed
            }
            PeerState::Silent { since, was_done } => *was_done || self.now.since(*since) >= LIMIT,
        });
        is_over_elsewhere.then_some(GateOutcome::Drained)
    }

    /// Whether the model says that some endpoint of the pod's takes flows.
    fn is_open(&self, uid: &Arc<str>) -> bool {
        let ports = self.model.configs.keys();
        let mut expected =
            ports.filter_map(|port| self.model.expect(port)).filter(|expected| !expected.ambiguous);
        expected.any(|expected| expected.takes_flows(uid))
    }

    fn check_opened(&mut self, uid: &Arc<str>, outcome: GateOutcome, peers: &[PeerState]) {
        let seen = &mut self.seen;
        match outcome {
            GateOutcome::Drained => {
                let own =
                    self.flows.iter().any(|flow| flow.endpoint.identity().pod_uid.as_ref() == Some(uid));
                assert!(!own, "flows are left on {uid}");
                for (instance, peer) in self.instances.iter().zip(peers) {
                    let is_silent = matches!(peer, PeerState::Silent { .. });
                    let was_done = matches!(peer, PeerState::Silent { was_done: true, .. });
                    assert_eq!(peer.is_given_up(self.now), is_silent && !was_done, "{peer:?}");
                    assert!(is_silent || instance.flows_of(uid) == 0, "flows are left on {uid} elsewhere");
                    seen.gates_done_before_silence += u64::from(was_done);
                    seen.gates_given_up += u64::from(is_silent && !was_done);
                }
                seen.gates_drained += 1;
            }
            GateOutcome::NotTerminating => seen.gates_not_terminating += 1,
            GateOutcome::Reverted => seen.gates_reverted += 1,
        }
    }
}

/// A flow has entered an endpoint: its pod was not told that none would.
pub(super) fn check_entered(gates: &BTreeMap<Arc<str>, Waiting>, seen: &mut Seen, endpoint: &Endpoint) {
    let Some(uid) = &endpoint.identity().pod_uid else { return };
    let waiting = gates.get(uid);
    let is_done = waiting.is_some_and(|waiting| waiting.is_done);
    assert!(!is_done, "a flow came to {endpoint:?} after its gate had opened");
    seen.flows_at_gates += u64::from(waiting.is_some());
}
