use std::collections::BTreeMap;

use serde_json::json;
use tidegate_core::{Conditions, Event, FlowEnd, Permit, Tier};

use super::*;
use crate::rig::{Manner, Rig, listener, slice, sliced};

/// Terminating, and ready all the same: publishNotReadyAddresses.
const KEPT_READY: Conditions = Conditions { ready: true, serving: true, terminating: true };

/// A process whose source says this of the pod web-0.
async fn process(conditions: Conditions) -> Rig {
    let desired = Desired {
        services: vec![sliced("web")],
        listeners: vec![listener("web", "web")],
        ..Desired::default()
    };
    let rig = Rig::start(desired, &[Manner::Willing], None);
    let mut slice = slice("web", &[("10.0.0.1", "web-0"), ("10.0.0.2", "web-1")]);
    slice.endpoints[0].conditions = conditions;
    rig.event(Event::SlicesListed(vec![slice])).await;
    rig.settled().await;
    rig
}

async fn drained(rig: &Rig) -> Vec<Option<String>> {
    let services = rig.handle.services().await.unwrap().services;
    let causes =
        |view: &tidegate_core::table::EndpointView| view.drain.as_ref().map(|it| it.causes.to_string());
    services[0].endpoints.iter().map(causes).collect()
}

/// What a gate asked for holds in the successor, too, where nobody waits any more; what is no uid is left out.
#[tokio::test(start_paused = true)]
async fn what_gates_asked_for_is_handed_over() {
    let (before, after) = (process(KEPT_READY).await, process(KEPT_READY).await);
    drop(before.handle.gate("uid-web-0".into()).await.unwrap());
    let mut told = before.handle.gated().await.unwrap();
    assert_eq!(told, ["uid-web-0"]);
    assert_eq!(drained(&after).await, [None, None]);
    told.splice(0..0, [String::new(), "x".repeat(129)]);
    after.handle.take_gated(told).await.unwrap();
    assert_eq!(drained(&after).await, [Some("gate".to_owned()), None]);
    assert_eq!(after.handle.gated().await.unwrap(), ["uid-web-0"]);
}

/// A predecessor drained what is ready here: its record is kept as that of a drain that was undone, with the flows that came.
#[tokio::test(start_paused = true)]
async fn a_drain_that_ends_by_the_handoff_has_its_record() {
    let rig = process(Conditions::default()).await;
    let snapshot = rig.cell.load_full();
    let service = snapshot.service(ServiceId(0)).unwrap();
    let endpoint = service.endpoints().next().unwrap();
    let _flows: Vec<_> = (0..2).map(|_| Permit::enter(endpoint, Tier::Ready).unwrap()).collect();
    let ends: BTreeMap<_, _> = [(FlowEnd::Broken, 1_u64), (FlowEnd::Elsewhere, 3)]
        .map(|(end, count)| (end.word().to_owned(), count))
        .into();
    let (identity, port) = (endpoint.identity(), endpoint.service().port.as_deref());
    let told = json!({
        "service": ["default", "web", port],
        "address": identity.address,
        "podUid": identity.pod_uid.as_deref(),
        "began": 1_000, "ended": 2_000, "flowsAtStart": 4, "flowsLeft": 0, "ends": ends,
    });
    rig.handle.take_drains(json!({"on": [told]}), false).await.unwrap();
    let answer = rig.handle.audit().await.unwrap();
    let [record] = &*answer.records else { panic!("{:?}", answer.records) };
    let drain = &record.drain;
    let counts = (drain.flows_at_start, drain.flows_left, drain.ends.of(FlowEnd::Broken));
    assert_eq!((drain.undone, record.over, counts), (true, true, (4, 2, 1)));
    assert_eq!(drain.ends.of(FlowEnd::Elsewhere), 1, "one has not come");
}
