//! What records of drains have to add up to: how flows ended, counted here.

use std::collections::BTreeMap;

use tidegate_core::{AdmissionMode, DrainRecord, Endpoint, EndpointId, FlowEnd};

use super::world::World;

/// Flows that ended, by how.
type Counts = [u64; FlowEnd::ALL.len()];

/// How flows of endpoints that were not open have ended.
#[derive(Default)]
pub(super) struct Tally {
    ends: BTreeMap<EndpointId, Counts>,
    /// As of the beginning of the drain that is on, or of its last record.
    before: BTreeMap<EndpointId, Counts>,
}

impl Tally {
    /// A flow is about to end.
    pub(super) fn count(&mut self, endpoint: &Endpoint, end: FlowEnd) {
        if endpoint.admission().mode() != AdmissionMode::Open {
            self.ends.entry(endpoint.id()).or_default()[end as usize] += 1;
        }
    }

    fn begin(&mut self, id: EndpointId) {
        let ends = self.ends.get(&id).copied().unwrap_or_default();
        self.before.insert(id, ends);
    }
}

impl World {
    /// A drain has begun with so many flows.
    pub(super) fn drain_began(&mut self, endpoint: &Endpoint, flows: u64) {
        let own = self.flows.iter().filter(|flow| flow.endpoint.id() == endpoint.id()).count();
        assert_eq!(flows, own as u64, "flows when the drain of {endpoint:?} began");
        self.tally.begin(endpoint.id());
    }

    /// Every flow that was there is accounted for, once and as it ended; others came only as a last resort.
    pub(super) fn check_record(&mut self, record: &DrainRecord) {
        let id = record.endpoint.id();
        let own = self.flows.iter().filter(|flow| flow.endpoint.id() == id).count() as u64;
        assert_eq!(record.flows_left, own, "{record:?}");
        assert!(record.undone || own == 0, "{record:?}");
        let ends = self.tally.ends.get(&id).copied().unwrap_or_default();
        let before = self.tally.before.get(&id).expect("its drain began");
        for end in FlowEnd::ALL {
            let since = ends[end as usize] - before[end as usize];
            assert_eq!(record.ends.of(end), since, "{}: {record:?}", end.word());
        }
        let after = record.flows_after_start();
        let came = self.came_late.remove(&id).unwrap_or(0);
        assert_eq!(after, came, "{record:?}");
        assert_eq!(record.flows_at_start + came, own + record.ends.total(), "{record:?}");
        self.tally.begin(id);
        self.seen.records_with_flows += u64::from(record.flows_at_start > 0);
        self.seen.records_of_sheds += u64::from(record.ends.of(FlowEnd::Shed) > 0);
        self.seen.undone_with_flows += u64::from(record.undone && own > 0 && record.deadline.is_some());
    }
}
