use std::time::Duration;

use tidegate_core::{AdminState, EndpointSelector, Event, FlowId, ServiceName};
use tokio::time::Instant;

use crate::{
    ControlError, Desired, FlowFilter, StateDirectory,
    rig::{Manner, Rig, listener, slice, sliced},
};

const TWO: [Manner; 2] = [Manner::Willing, Manner::Willing];

async fn started(manners: &[Manner], state: Option<StateDirectory>) -> Rig {
    let desired = Desired {
        services: vec![sliced("web"), sliced("db")],
        listeners: vec![listener("web", "web")],
        ..Desired::default()
    };
    let rig = Rig::start(desired, manners, state);
    let web = slice("web", &[("10.0.0.1", "web-0"), ("10.0.0.2", "web-1")]);
    rig.event(Event::SlicesListed(vec![web, slice("db", &[("10.0.0.1", "db-0")])])).await;
    rig.settled().await;
    rig.told();
    rig
}

fn pod(service: &str, pod: &str) -> EndpointSelector {
    EndpointSelector::Pod { service: ServiceName::new("default", service), pod: pod.into() }
}

fn address(service: &str, address: &str) -> EndpointSelector {
    let address = address.parse().unwrap();
    EndpointSelector::Address { service: ServiceName::new("default", service), address }
}

fn words() -> (String, String) {
    ("ada".to_owned(), "disk".to_owned())
}

#[tokio::test(start_paused = true)]
async fn readiness_is_the_workers_answer() {
    let rig = started(&TWO, None).await;
    assert_eq!(rig.handle.ready().await, Ok(()));
    assert_eq!(rig.handle.alive().await, Ok(()));

    let rig = started(&[Manner::Willing, Manner::Silent], None).await;
    let begun = Instant::now();
    let reasons = rig.handle.ready().await.unwrap_err().0;
    assert_eq!(reasons, ["worker 1 did not answer within 1s"]);
    assert_eq!(begun.elapsed().as_secs(), 1);
    assert_eq!(rig.handle.alive().await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_lost_worker_is_neither_ready_nor_alive() {
    let rig = started(&[Manner::Willing, Manner::Gone], None).await;
    assert_eq!(rig.handle.alive().await.unwrap_err().0, ["worker 1 has ended"]);
    assert!(rig.handle.ready().await.unwrap_err().to_string().contains("worker 1 has ended"));
}

#[tokio::test(start_paused = true)]
async fn the_status_names_the_silent_worker() {
    let rig = started(&[Manner::Willing, Manner::Silent], None).await;
    let status = rig.handle.status().await.unwrap();
    let generations: Vec<_> = status.workers.iter().map(|worker| worker.generation).collect();
    assert_eq!(generations, [Some(1), None]);
    assert!(status.synced);
    assert_eq!(status.listeners.len(), 1);
    assert!(status.listeners[0].accepting);
    assert_ne!(status.listeners[0].address.port(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_drain_says_what_it_changed() {
    let rig = started(&TWO, None).await;
    let (by, reason) = words();
    let outcome = rig.handle.drain(pod("web", "web-1"), by.clone(), reason.clone(), None).await.unwrap();
    assert_eq!(outcome.kept, Ok(false));
    assert_eq!(outcome.endpoints.len(), 1);
    let change = &outcome.endpoints[0];
    assert_eq!(change.address, "10.0.0.2:80".parse().unwrap());
    assert_eq!((change.state, change.unchanged, change.eligible), (AdminState::Drain, false, false));

    let again = rig.handle.drain(pod("web", "web-1"), by.clone(), reason.clone(), None).await.unwrap();
    assert!(again.endpoints[0].unchanged);

    // By its address, though it was drained by its pod's name.
    let undone = rig.handle.undrain(address("web", "10.0.0.2:80"), by, reason).await.unwrap();
    let change = &undone.endpoints[0];
    assert_eq!((change.state, change.unchanged, change.eligible), (AdminState::InService, false, true));
}

#[tokio::test(start_paused = true)]
async fn an_unknown_service_or_endpoint_is_an_error_that_names_the_known_ones() {
    let rig = started(&TWO, None).await;
    let (by, reason) = words();
    let error = rig.handle.drain(pod("wbe", "web-1"), by.clone(), reason.clone(), None).await.unwrap_err();
    assert_eq!(error.to_string(), "there is no service `default/wbe`; there are: default/db, default/web");
    let error = rig.handle.undrain(address("web", "10.0.0.3:80"), by, reason).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "service `default/web` has no endpoint `10.0.0.3:80`; it has: 10.0.0.1:80 (web-0), 10.0.0.2:80 (web-1)"
    );
}

#[tokio::test(start_paused = true)]
async fn a_drain_survives_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let open = || Some(StateDirectory::open(directory.path()).unwrap());
    let (by, reason) = words();
    let first = started(&TWO, open()).await;
    let outcome = first.handle.drain(pod("web", "web-1"), by.clone(), reason.clone(), None).await.unwrap();
    assert_eq!(outcome.kept, Ok(true));
    let kept = open().unwrap().load();

    let second = started(&TWO, open()).await;
    let services = second.handle.services().await.unwrap().services;
    let request = services[1].endpoints[1].operator.as_ref().unwrap();
    assert_eq!((request.state, &*request.by, &*request.reason), (AdminState::Drain, "ada", "disk"));
    assert!(!services[1].endpoints[1].eligible);

    // What is in force since before the restart keeps its time.
    second.handle.drain(pod("web", "web-0"), by.clone(), reason.clone(), None).await.unwrap();
    let now_kept = open().unwrap().load();
    assert_eq!((now_kept.len(), &now_kept[0]), (2, &kept[0]));

    second.handle.undrain(pod("web", "web-0"), by.clone(), reason.clone()).await.unwrap();
    second.handle.undrain(pod("web", "web-1"), by, reason).await.unwrap();
    let third = started(&TWO, open()).await;
    assert!(third.handle.services().await.unwrap().services[1].endpoints.iter().all(|view| view.eligible));
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_cannot_be_written_is_told_and_the_drain_holds() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state");
    let rig = started(&TWO, Some(StateDirectory::open(&path).unwrap())).await;
    std::fs::remove_dir(&path).unwrap();
    let (by, reason) = words();
    let outcome = rig.handle.drain(pod("web", "web-1"), by, reason, None).await.unwrap();
    let error = outcome.kept.unwrap_err().to_string();
    assert!(error.contains("will not survive a restart"), "{error}");
    assert_eq!(outcome.endpoints[0].state, AdminState::Drain);
}

#[tokio::test(start_paused = true)]
async fn flows_are_gathered_from_all_workers() {
    let rig = started(&TWO, None).await;
    let answer = rig.handle.flows(FlowFilter::default(), 100).await.unwrap();
    assert_eq!((answer.total, answer.silent.len(), answer.truncated), (10, 0, false));
    assert_eq!(rig.told(), ["0: list 100 of None", "1: list 100 of None"]);

    let filter = FlowFilter { endpoint: Some("web-1".to_owned()), ..FlowFilter::default() };
    rig.handle.flows(filter, 100).await.unwrap();
    let id = rig.handle.services().await.unwrap().services[1].endpoints[1].endpoint.id().0;
    assert_eq!(rig.told(), [format!("0: list 100 of Some({id})"), format!("1: list 100 of Some({id})")]);
}

#[tokio::test(start_paused = true)]
async fn flows_say_which_worker_is_silent() {
    let rig = started(&[Manner::Silent, Manner::Willing], None).await;
    let answer = rig.handle.flows(FlowFilter::default(), 100).await.unwrap();
    assert_eq!((answer.total, &answer.silent[..]), (5, &[0][..]));
}

#[tokio::test(start_paused = true)]
async fn a_filter_that_fits_nothing_is_an_error() {
    let rig = started(&TWO, None).await;
    let nowhere = FlowFilter { endpoint: Some("10.9.9.9:80".to_owned()), ..FlowFilter::default() };
    assert!(matches!(rig.handle.flows(nowhere, 1).await, Err(ControlError::NoSuchEndpoint(_))));
    let service = Some(ServiceName::new("default", "wbe"));
    let unknown = FlowFilter { service, endpoint: None };
    assert!(matches!(rig.handle.flows(unknown, 1).await, Err(ControlError::UnknownService { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_flow_is_closed_by_whichever_worker_has_it() {
    let rig = started(&TWO, None).await;
    assert_eq!(rig.handle.close_flow(FlowId(42)).await, Ok(()));
    assert_eq!(rig.handle.close_flow(FlowId(43)).await, Err(ControlError::UnknownFlow(FlowId(43))));
    let rig = started(&[Manner::Silent, Manner::Willing], None).await;
    assert_eq!(rig.handle.close_flow(FlowId(42)).await, Ok(()));
    assert_eq!(rig.handle.close_flow(FlowId(43)).await, Err(ControlError::WorkersSilent(vec![0])));
}

#[tokio::test(start_paused = true)]
async fn a_controller_that_has_ended_says_so() {
    let rig = started(&TWO, None).await;
    rig.handle.shutdown();
    rig.handle.shutdown();
    rig.task.await.unwrap();
    assert_eq!(rig.handle.services().await.unwrap_err(), ControlError::Gone);
    assert!(rig.handle.ready().await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_controller_that_does_not_answer_is_not_waited_for_for_ever() {
    let rig = started(&TWO, None).await;
    let (requests, _stuck) = tokio::sync::mpsc::channel(1);
    let handle = crate::ControlHandle { requests, ..rig.handle };
    let begun = Instant::now();
    assert!(matches!(handle.services().await, Err(ControlError::Deadline(_))));
    assert!(begun.elapsed() < Duration::from_secs(4));
}

/// A drain's deadline only moves earlier, and the answer says which one holds.
#[tokio::test(start_paused = true)]
async fn an_earlier_deadline_stays() {
    let rig = started(&TWO, None).await;
    let drain = async |seconds: Option<u64>| {
        let (by, reason) = words();
        let deadline = seconds.map(Duration::from_secs);
        let outcome = rig.handle.drain(pod("web", "web-0"), by, reason, deadline).await.unwrap();
        let change = &outcome.endpoints[0];
        (change.deadline, change.earlier_deadline)
    };
    assert_eq!(drain(None).await, (None, false));
    let (first, stays) = drain(Some(90)).await;
    assert!(first.is_some() && !stays);
    assert_eq!(drain(Some(600)).await, (first, true));
    assert_eq!(drain(None).await, (first, false), "nobody asked for another one");
    let (second, stays) = drain(Some(30)).await;
    assert!(second < first && !stays, "{second:?} {first:?}");
}
