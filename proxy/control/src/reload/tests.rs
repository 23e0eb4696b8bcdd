use std::net::TcpListener;

use tidegate_core::Policy;

use super::*;
use crate::rig::{Manner, Rig, fixed, listener, port};

const ONE: [Manner; 1] = [Manner::Willing];

fn desired(services: &[&str], listeners: &[(&str, &str)]) -> Desired {
    Desired {
        services: services.iter().map(|service| fixed(service)).collect(),
        listeners: listeners.iter().map(|(name, service)| listener(name, service)).collect(),
        ..Desired::default()
    }
}

async fn started(desired: Desired) -> Rig {
    let rig = Rig::start(desired, &ONE, None);
    rig.settled().await;
    rig.told();
    rig
}

#[tokio::test(start_paused = true)]
async fn an_equal_configuration_changes_nothing() {
    let same = desired(&["web"], &[("web", "web")]);
    let rig = started(same.clone()).await;
    let generation = rig.handle.services().await.unwrap().generation;
    let outcome = rig.handle.reload(same).await.unwrap();
    assert_eq!(outcome, ReloadOutcome { generation, ..ReloadOutcome::default() });
    rig.settled().await;
    assert!(rig.told().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_reload_opens_retargets_and_closes() {
    let rig = started(desired(&["web", "db"], &[("a", "web"), ("b", "db"), ("c", "db")])).await;
    let mut new = desired(&["web", "api"], &[("a", "api"), ("d", "web")]);
    new.services[0].settings.policy = Policy::Maglev;
    // `c` goes on under another name, so that only `b` or `c` is closed; which one is decided by their order.
    let outcome = rig.handle.reload(new).await.unwrap();
    rig.settled().await;
    assert_eq!(outcome.listeners_opened, []);
    assert_eq!(outcome.listeners_changed, ["a".into(), "d".into()]);
    assert_eq!(outcome.listeners_closed, ["c".into()]);
    assert_eq!(outcome.services_added, [port("api")]);
    assert_eq!(outcome.services_changed, [port("web")]);
    assert_eq!(outcome.services_removed, [port("db")]);
    assert_eq!(
        rig.told(),
        ["0: retarget a to default/api", "0: retarget d to default/web", "0: stop accepting 2"]
    );
    let services = rig.handle.services().await.unwrap().services;
    let ports: Vec<_> = services.iter().map(|view| view.port.clone()).collect();
    assert_eq!(ports, [port("api"), port("web")]);
}

/// What waits in the accept queue of a listener that is closed still finds its service.
#[tokio::test(start_paused = true)]
async fn a_service_goes_only_after_its_listener() {
    let rig = Rig::start(desired(&["web"], &[("web", "web")]), &[Manner::Clinging], None);
    rig.settled().await;
    rig.handle.reload(desired(&["api"], &[])).await.unwrap();
    let configured = async || {
        let services = rig.handle.services().await.unwrap().services;
        services.iter().map(|view| view.port.to_string()).collect::<Vec<_>>()
    };
    rig.settled().await;
    assert_eq!(configured().await, ["default/api", "default/web"]);
    tokio::time::advance(RETIRE_LIMIT).await;
    rig.settled().await;
    assert_eq!(configured().await, ["default/api"]);
}

#[tokio::test(start_paused = true)]
async fn a_service_that_comes_back_while_it_retires_stays() {
    let rig = Rig::start(desired(&["web"], &[("web", "web")]), &[Manner::Silent], None);
    rig.settled().await;
    rig.handle.reload(desired(&["api"], &[])).await.unwrap();
    let mut new = desired(&["api", "web"], &[]);
    new.services[1].settings.policy = Policy::Maglev;
    rig.handle.reload(new).await.unwrap();
    let services = rig.handle.services().await.unwrap().services;
    assert_eq!(services[1].settings.policy, Policy::Maglev, "not what it was when it was given up");
    tokio::time::advance(RETIRE_LIMIT * 2).await;
    rig.settled().await;
    assert_eq!(rig.handle.services().await.unwrap().services.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_address_in_use_refuses_the_whole_reload() {
    let rig = started(desired(&["web"], &[("web", "web")])).await;
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut new = desired(&["api"], &[("first", "api"), ("second", "api")]);
    new.listeners[1].address = taken.local_addr().unwrap();
    let error = rig.handle.reload(new).await.unwrap_err().to_string();
    assert!(error.starts_with("listener `second`: "), "{error}");
    assert!(error.ends_with("nothing was changed"), "{error}");
    rig.settled().await;
    assert!(rig.told().is_empty());
    assert_eq!(rig.handle.services().await.unwrap().services[0].port, port("web"));
    let last = rig.handle.last_reload().unwrap();
    assert_eq!(last.refused, Some(error));
    let counters = rig.handle.counters();
    assert_eq!(counters.reloads_refused.load(std::sync::atomic::Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn a_listener_without_a_service_is_refused() {
    let rig = started(desired(&["web"], &[("web", "web")])).await;
    let error = rig.handle.reload(desired(&["web"], &[("web", "wbe")])).await.unwrap_err();
    assert!(matches!(error, ReloadError::ServiceMissing { .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_refuses_reloads() {
    let rig = started(desired(&["web"], &[("web", "web")])).await;
    rig.handle.shutdown();
    rig.settled().await;
    let error = rig.handle.reload(desired(&["web"], &[("web", "web")])).await.unwrap_err();
    assert!(matches!(error, ReloadError::ShuttingDown), "{error}");
}

/// What a source merely asks for keeps nothing else from being applied, and is tried again.
#[tokio::test(start_paused = true)]
async fn a_wanted_listener_that_cannot_be_bound_is_left_out() {
    let rig = started(desired(&["web"], &[("web", "web")])).await;
    let mut new = desired(&["web", "lb"], &[("web", "web")]);
    // Some other process has it.
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = other.local_addr().unwrap();
    new.wanted = vec![DesiredListener { address: taken, ..listener("lb", "lb") }, listener("lb2", "lb")];
    let outcome = rig.handle.follow_source(new.clone()).await.unwrap();
    assert_eq!(outcome.listeners_opened, ["lb2".into()]);
    let unbound: Vec<_> = outcome.unbound.iter().map(|it| (&*it.listener, it.address)).collect();
    assert_eq!(unbound, [("lb", taken)]);
    drop(other);
    let outcome = rig.handle.follow_source(new.clone()).await.unwrap();
    assert_eq!((outcome.listeners_opened, outcome.unbound), (vec!["lb".into()], Vec::new()));
    // Gone with their Service.
    let outcome = rig.handle.follow_source(desired(&["web"], &[("web", "web")])).await.unwrap();
    assert_eq!(outcome.listeners_closed, ["lb2".into(), "lb".into()]);
    assert_eq!(rig.handle.last_reload(), None, "nobody reloaded anything");
}

#[tokio::test(start_paused = true)]
async fn the_process_is_not_ready_before_it_is_known_what_is_wanted() {
    let waiting = Desired { awaits_wanted: true, ..desired(&["web"], &[("web", "web")]) };
    let rig = Rig::start(waiting, &ONE, None);
    rig.settled().await;
    assert_eq!(rig.handle.lifecycle(), crate::Lifecycle::Starting);
    rig.handle.follow_source(desired(&["web"], &[("web", "web")])).await.unwrap();
    rig.settled().await;
    assert_eq!(rig.handle.lifecycle(), crate::Lifecycle::Ready);
}
