use std::sync::Arc;

use tidegate_core::{Conditions, Event, Permit, Tier};
use tokio::time::{Instant, advance};

use super::*;
use crate::{
    Desired,
    rig::{Manner, Rig, listener, slice, sliced},
};

const LEAVING: Conditions = Conditions { ready: false, serving: true, terminating: true };

fn two_pods(conditions: Conditions) -> Event {
    let mut slice = slice("web", &[("10.0.0.1", "web-0"), ("10.0.0.2", "web-1")]);
    slice.endpoints[0].conditions = conditions;
    Event::SliceApplied(slice)
}

async fn rig() -> Rig {
    let desired = Desired {
        services: vec![sliced("web")],
        listeners: vec![listener("web", "web")],
        ..Desired::default()
    };
    Rig::start(desired, &[Manner::Willing], None)
}

async fn listed() -> Rig {
    let rig = rig().await;
    rig.event(two_pods(Conditions::default())).await;
    rig.event(Event::SlicesListed(vec![slice("web", &[("10.0.0.1", "web-0"), ("10.0.0.2", "web-1")])])).await;
    rig.settled().await;
    rig
}

/// The last flow's end is told by the worker's report alone: no tick, no poll.
#[tokio::test(start_paused = true)]
async fn a_waiter_hears_of_the_last_flows_end() {
    let rig = listed().await;
    let snapshot = rig.cell.load_full();
    let service = snapshot.service(tidegate_core::ServiceId(0)).unwrap();
    let endpoint = service.endpoints().next().unwrap();
    let flow = Permit::enter(endpoint, Tier::Ready).unwrap();
    let mut gate = rig.handle.gate("uid-web-0".into()).await.unwrap();
    let facts = gate.borrow_and_update().facts();
    assert_eq!((facts.synced, facts.known, facts.terminating, facts.flows), (true, true, false, 1));
    rig.event(two_pods(LEAVING)).await;
    gate.changed().await.unwrap();
    let facts = gate.borrow_and_update().facts();
    assert!(facts.terminating && facts.programmed && facts.flows == 1, "{facts:?}");
    let begun = Instant::now();
    assert!(flow.release());
    let report = crate::Report::EndpointEmptied(endpoint.id());
    rig.reports.send(report).await.unwrap();
    gate.changed().await.unwrap();
    assert!(gate.borrow().facts().is_done());
    assert_eq!(begun.elapsed(), Duration::ZERO, "no timer was waited for");
}

/// D11: before the first complete list nothing is said.
#[tokio::test(start_paused = true)]
async fn before_the_first_list_a_gate_says_not_yet() {
    let rig = rig().await;
    rig.event(two_pods(LEAVING)).await;
    let mut gate = rig.handle.gate("uid-web-0".into()).await.unwrap();
    assert!(!gate.borrow().facts().synced);
    rig.event(Event::SlicesListed(vec![slice("web", &[("10.0.0.2", "web-1")])])).await;
    gate.wait_for(|state| state.synced).await.unwrap();
    assert!(gate.borrow().facts().is_done(), "it is in no slice, and has no flow");
}

/// From when a successor may accept, that no flow is here says nothing; taken back, it does.
#[tokio::test(start_paused = true)]
async fn a_handoff_holds_every_gate() {
    let rig = listed().await;
    rig.event(two_pods(LEAVING)).await;
    let mut gate = rig.handle.gate("uid-web-0".into()).await.unwrap();
    gate.wait_for(|state| state.facts().is_done()).await.unwrap();
    assert!(rig.handle.lend_listeners().await.unwrap().is_ok());
    gate.wait_for(|state| !state.facts().is_done()).await.unwrap();
    rig.handle.take_back_listeners().await.unwrap();
    gate.wait_for(|state| state.facts().is_done()).await.unwrap();
}

/// A pod that nobody waits for is forgotten, and there is a limit to how many are waited for.
#[tokio::test(start_paused = true)]
async fn pods_are_bounded_and_forgotten() {
    let rig = listed().await;
    let mut gates = Vec::new();
    for number in 0..PODS_LIMIT {
        gates.push(rig.handle.gate(format!("uid-{number}").into()).await.unwrap());
    }
    let refused = rig.handle.gate("one-more".into()).await.unwrap_err().to_string();
    assert!(refused.contains("gates wait for 4096 pods, which is the limit"), "{refused}");
    let shared: Arc<str> = "uid-7".into();
    assert!(rig.handle.gate(shared).await.is_ok(), "one that is waited for already is no more");
    gates.truncate(1);
    assert!(
        rig.handle.gate("one-more".into()).await.is_ok(),
        "those that nobody waits for make room at once"
    );
}

/// How long the controller has for one event while so many of the same pods are waited for, at its quickest.
async fn event_beside(gates: usize) -> Duration {
    let rig = listed().await;
    let pods: Vec<_> =
        (0..PODS_LIMIT).map(|n| (format!("10.1.{}.{}", n / 250, n % 250), n.to_string())).collect();
    let pods: Vec<_> = pods.iter().map(|(address, pod)| (&**address, &**pod)).collect();
    let mut all = slice("web", &pods);
    all.name.name = "web-2".into();
    rig.event(Event::SliceApplied(all)).await;
    let mut waiting = Vec::new();
    for (_, pod) in &pods[..gates] {
        waiting.push(rig.handle.gate(format!("uid-{pod}").into()).await.unwrap());
    }
    for gate in &mut waiting {
        gate.wait_for(|state| state.synced && state.facts().known).await.unwrap();
    }
    let mut quickest = Duration::MAX;
    for conditions in [LEAVING, Conditions::default()].repeat(5) {
        let begun = std::time::Instant::now();
        rig.event(two_pods(conditions)).await;
        rig.settled().await;
        quickest = quickest.min(begun.elapsed());
    }
    quickest
}

/// Thousands of gates are cheap: in a table of as many endpoints an event beside as many as may wait takes a few times as
/// long as beside one. Were each to look through all endpoints, it would be hundreds of times.
#[tokio::test(start_paused = true)]
async fn an_event_is_cheap_beside_as_many_gates_as_may_wait() {
    let (one, most) = (event_beside(1).await, event_beside(PODS_LIMIT).await);
    println!("an event beside one gate: {one:?}, beside {PODS_LIMIT}: {most:?}");
    assert!(most < one * 20, "{one:?}, {most:?}");
}

/// Uids that no pod has cost no look at all endpoints each: the first is looked for at once, others together.
#[tokio::test(start_paused = true)]
async fn pods_are_looked_for_together() {
    let rig = listed().await;
    let first = rig.handle.gate("no-pod".into()).await.unwrap();
    assert!(first.borrow().synced);
    let begun = Instant::now();
    let mut second = rig.handle.gate("no-pod-either".into()).await.unwrap();
    let mut third = rig.handle.gate("uid-web-0".into()).await.unwrap();
    assert!(!second.borrow().synced && !third.borrow().synced);
    third.wait_for(|state| state.synced).await.unwrap();
    second.wait_for(|state| state.synced).await.unwrap();
    assert_eq!(begun.elapsed(), LOOK_EVERY);
    assert!(third.borrow().facts().known && !second.borrow().facts().known);
    advance(LOOK_EVERY).await;
    let fourth = rig.handle.gate("no-pod-of-all".into()).await.unwrap();
    assert!(fourth.borrow().synced, "and at once again");
}
