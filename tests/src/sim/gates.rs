//! What the simulation asserts of gates: their counts are exact, and none opens early.

use std::{collections::BTreeMap, sync::Arc};

use tidegate_core::Endpoint;

use super::{seen::Seen, world::World};

impl World {
    /// Some pod begins to wait at a gate.
    pub(super) fn ask_gate(&mut self) {
        let Some(uid) = self.generator.pod_uid(&self.model) else { return };
        self.table.ask_gate(&uid);
        self.poll();
        self.model.gates.insert(Arc::clone(&uid));
        self.gates.entry(uid).or_default();
    }

    /// Looks at every gate: which pods could be told that nothing is left.
    pub(super) fn check_gates(&mut self) {
        for (uid, is_open) in &mut self.gates {
            let facts = self.table.gate(uid).facts(true);
            let is_own = |endpoint: &Endpoint| endpoint.identity().pod_uid.as_ref() == Some(uid);
            let flows = self.flows.iter().filter(|flow| is_own(&flow.endpoint)).count();
            assert_eq!(facts.flows, flows as u64, "the gate of {uid} counts every flow: {facts:?}");
            assert!(facts.known || flows == 0, "a pod with flows is an endpoint");
            let was_open = std::mem::replace(is_open, facts.known && facts.terminating && facts.is_done());
            self.seen.gates_opened += u64::from(*is_open && !was_open);
        }
    }
}

/// A flow has entered an endpoint: its pod was not told that none would.
pub(super) fn check_entered(gates: &BTreeMap<Arc<str>, bool>, seen: &mut Seen, endpoint: &Endpoint) {
    let Some(uid) = &endpoint.identity().pod_uid else { return };
    let is_open = gates.get(uid).copied();
    assert_ne!(is_open, Some(true), "a flow came to {endpoint:?} after its gate had opened");
    seen.flows_at_gates += u64::from(is_open.is_some());
}
