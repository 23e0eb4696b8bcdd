use tidegate_core::{Permit, ServiceSettings, Tier};
use tokio::time::advance;

use super::*;
use crate::{
    LifecycleSettings,
    rig::{Manner, Rig, fixed, listener, slice, sliced},
};

const TWO: [Manner; 2] = [Manner::Willing, Manner::Willing];

fn one_sliced() -> Desired {
    Desired { services: vec![sliced("web")], listeners: vec![listener("web", "web")], ..Desired::default() }
}

fn one_fixed() -> Desired {
    Desired { services: vec![fixed("db")], listeners: vec![listener("db", "db")], ..Desired::default() }
}

/// B5: nobody is refused for want of endpoints that were not read yet.
#[tokio::test(start_paused = true)]
async fn a_listener_waits_for_the_first_complete_list() {
    let rig = Rig::start(one_sliced(), &TWO, None);
    rig.event(Event::SliceApplied(slice("web", &[("10.0.0.1", "web-0")]))).await;
    rig.settled().await;
    assert_eq!(rig.handle.lifecycle(), Lifecycle::Starting);
    assert!(rig.told().is_empty());

    rig.event(Event::SlicesListed(vec![slice("web", &[("10.0.0.1", "web-0")])])).await;
    rig.settled().await;
    assert_eq!(rig.told(), ["0: listen web for default/web", "1: listen web for default/web"]);
    assert_eq!(rig.handle.lifecycle(), Lifecycle::Ready);
    assert_eq!(rig.handle.ready().await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_listener_with_fixed_endpoints_waits_for_nothing() {
    let mut desired = one_fixed();
    desired.services.push(sliced("web"));
    desired.listeners.push(listener("web", "web"));
    let rig = Rig::start(desired, &[Manner::Willing], None);
    rig.settled().await;
    assert_eq!(rig.told(), ["0: listen db for default/db"]);
    assert_eq!(rig.handle.lifecycle(), Lifecycle::Starting);
}

#[tokio::test(start_paused = true)]
async fn the_wait_for_a_source_is_bounded() {
    let rig = Rig::start(one_sliced(), &[Manner::Willing], None);
    let mut lifecycle = rig.handle.subscribe();
    let begun = Instant::now();
    lifecycle.wait_for(|lifecycle| *lifecycle == Lifecycle::Ready).await.unwrap();
    assert_eq!(begun.elapsed().as_secs(), LifecycleSettings::default().sync_wait.as_secs());
    let reasons = rig.handle.ready().await.unwrap_err().0;
    assert_eq!(reasons, ["the source has given no complete list yet"]);
}

/// B7: what arrives together is published together.
#[tokio::test(start_paused = true)]
async fn a_burst_is_one_publish() {
    let rig = Rig::start(one_sliced(), &TWO, None);
    rig.event(Event::SlicesListed(Vec::new())).await;
    rig.settled().await;
    let counters = rig.handle.counters();
    let before = counters.publishes.load(Ordering::Relaxed);
    for last in 1..=50 {
        rig.event(Event::SliceApplied(slice("web", &[(&format!("10.0.0.{last}"), "web-0")]))).await;
    }
    rig.settled().await;
    assert_eq!(counters.publishes.load(Ordering::Relaxed), before + 1);
    assert_eq!(counters.events(EventKind::SliceApplied).load(Ordering::Relaxed), 50);
    assert_eq!(counters.arrival_to_publish.counts().sum::<u64>(), 51);
    assert_eq!(rig.cell.load().generation(), counters.generation.load(Ordering::Relaxed));
}

/// D3, A17: what a vanished endpoint means for its flows, and that it is undone when the endpoint is back.
#[tokio::test(start_paused = true)]
async fn a_vanished_endpoint_arms_its_flows_and_a_returned_one_disarms_them() {
    let rig = Rig::start(one_sliced(), &[Manner::Willing], None);
    let web = [("10.0.0.1", "web-0")];
    rig.event(Event::SlicesListed(vec![slice("web", &web)])).await;
    rig.settled().await;
    let services = rig.handle.services().await.unwrap().services;
    let permit = Permit::enter(&services[0].endpoints[0].endpoint, Tier::Ready).unwrap();
    rig.told();

    rig.event(Event::SlicesListed(Vec::new())).await;
    rig.settled().await;
    assert_eq!(rig.told(), ["0: user timeout Some(10s)"]);
    rig.event(Event::SlicesListed(vec![slice("web", &web)])).await;
    rig.settled().await;
    assert_eq!(rig.told(), ["0: user timeout None"]);
    drop(permit);
}

#[tokio::test(start_paused = true)]
async fn on_removal_close_closes() {
    let mut desired = one_sliced();
    desired.services[0].settings =
        ServiceSettings { on_removal: OnRemoval::Close, ..ServiceSettings::default() };
    let rig = Rig::start(desired, &[Manner::Willing], None);
    rig.event(Event::SlicesListed(vec![slice("web", &[("10.0.0.1", "web-0")])])).await;
    rig.settled().await;
    let services = rig.handle.services().await.unwrap().services;
    let _permit = Permit::enter(&services[0].endpoints[0].endpoint, Tier::Ready).unwrap();
    rig.told();
    rig.event(Event::SlicesListed(Vec::new())).await;
    rig.settled().await;
    assert_eq!(rig.told(), ["0: close endpoint, removal"]);
}

/// R7: readiness first, then listeners, then flows, then workers.
#[tokio::test(start_paused = true)]
async fn a_shutdown_waits_for_the_last_flow() {
    let rig = Rig::start(one_fixed(), &TWO, None);
    rig.settled().await;
    rig.told();
    rig.flows.store(2, Ordering::Relaxed);
    rig.handle.shutdown();
    rig.settled().await;
    assert_eq!(rig.handle.ready().await.unwrap_err().0, ["the process is draining"]);
    assert!(rig.told().is_empty(), "listeners stay open for the delay");

    let mut lifecycle = rig.handle.subscribe();
    lifecycle.wait_for(|lifecycle| *lifecycle == Lifecycle::Waiting).await.unwrap();
    assert_eq!(rig.told(), ["0: stop accepting 0", "1: stop accepting 0"]);
    advance(Duration::from_secs(3_600)).await;
    assert_eq!(rig.handle.lifecycle(), Lifecycle::Waiting);

    rig.flows.store(0, Ordering::Relaxed);
    assert_eq!(rig.task.await.unwrap(), Ended { flows_cut: 0, forced: false });
    assert_eq!(*rig.told.lock().unwrap(), ["0: stop", "1: stop"]);
}

#[tokio::test(start_paused = true)]
async fn the_grace_ends_a_shutdown() {
    let mut desired = one_fixed();
    desired.lifecycle.grace = Some(Duration::from_secs(20));
    let rig = Rig::start(desired, &TWO, None);
    rig.settled().await;
    rig.flows.store(2, Ordering::Relaxed);
    let begun = Instant::now();
    rig.handle.shutdown();
    assert_eq!(rig.task.await.unwrap(), Ended { flows_cut: 2, forced: false });
    assert_eq!(begun.elapsed().as_secs(), 25);
}

#[tokio::test(start_paused = true)]
async fn a_second_request_ends_a_shutdown_at_once() {
    let rig = Rig::start(one_fixed(), &TWO, None);
    rig.settled().await;
    rig.flows.store(2, Ordering::Relaxed);
    let begun = Instant::now();
    rig.handle.shutdown();
    rig.settled().await;
    rig.handle.shutdown();
    assert_eq!(rig.task.await.unwrap(), Ended { flows_cut: 2, forced: true });
    assert!(begun.elapsed() < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn a_silent_worker_does_not_hold_up_a_shutdown_for_ever() {
    let rig = Rig::start(one_fixed(), &[Manner::Willing, Manner::Silent], None);
    rig.settled().await;
    let begun = Instant::now();
    rig.handle.shutdown();
    rig.task.await.unwrap();
    let seconds = begun.elapsed().as_secs();
    assert!((13..=14).contains(&seconds), "{seconds}: delay 5, closing 5, stopping 3");
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_takes_nothing_does_not_stop_the_others() {
    let rig = Rig::start(one_fixed(), &[Manner::Stuck, Manner::Willing], None);
    rig.settled().await;
    rig.told();
    for round in 0..20 {
        let name = format!("round-{round}");
        let mut new = one_fixed();
        new.listeners[0].name = name.as_str().into();
        rig.handle.reload(new).await.unwrap();
        rig.settled().await;
        assert_eq!(rig.told(), [format!("1: retarget {name} to default/db")]);
    }
    assert!(rig.handle.counters().commands_deferred.load(Ordering::Relaxed) > 0);
}

#[tokio::test(start_paused = true)]
async fn the_last_flow_of_a_draining_endpoint_is_heard_of() {
    let rig = Rig::start(one_sliced(), &TWO, None);
    rig.event(Event::SlicesListed(vec![slice("web", &[("10.0.0.1", "web-0")])])).await;
    rig.settled().await;
    let drain = async || rig.handle.services().await.unwrap().services[0].endpoints[0].drain.clone();
    let endpoint = rig.handle.services().await.unwrap().services[0].endpoints[0].endpoint.clone();
    let permit = Permit::enter(&endpoint, Tier::Ready).unwrap();
    let service = tidegate_core::ServiceName::new("default", "web");
    let selector = tidegate_core::EndpointSelector::Pod { service, pod: "web-0".into() };
    rig.handle.drain(selector, "ada".to_owned(), String::new(), None).await.unwrap();
    assert_eq!(drain().await.unwrap().flows_at_start, 1);
    assert_eq!(drain().await.unwrap().drained, None);
    assert!(permit.release(), "the worker is told to report it");
    rig.reports.send(Report::EndpointEmptied(endpoint.id())).await.unwrap();
    rig.settled().await;
    assert!(drain().await.unwrap().drained.is_some());
    let drained = rig.handle.counters().notices(NoticeKind::Drained);
    assert_eq!(drained.load(Ordering::Relaxed), 1);
}
