use alloc::{vec, vec::Vec};
use std::string::{String, ToString};

use crate::{
    AdminState, EndpointSelector, Event, ServiceName, Table,
    sample::{LEAVING, READY, World, endpoint, slice, slice_name},
};

fn address(text: &str) -> EndpointSelector {
    EndpointSelector::Address { service: ServiceName::new("default", "web"), address: text.parse().unwrap() }
}

fn pod(name: &str) -> EndpointSelector {
    EndpointSelector::Pod { service: ServiceName::new("default", "web"), pod: name.into() }
}

fn two() -> World {
    World::listed(vec![slice(
        "a",
        vec![endpoint("p1", "10.0.0.1", READY), endpoint("p2", "10.0.0.2", READY)],
    )])
}

/// An operator's drain is as terminating, with its own words, and undone by the operator.
#[test]
fn an_operator_drains_and_undrains() {
    for selector in [address("10.0.0.1:80"), pod("p1")] {
        let mut world = two();
        world.said();
        world.ask(AdminState::Drain, selector.clone());
        assert_eq!(world.eligible(), ["10.0.0.2:80"]);
        assert_eq!(
            world.said(),
            ["drain 10.0.0.1:80 0 flows: operator ann", "drained 10.0.0.1:80 after 0 ms",]
        );
        assert_eq!(world.endpoint("10.0.0.1:80").operator.unwrap().by, "ann");
        world.ask(AdminState::InService, selector);
        assert_eq!(world.eligible(), ["10.0.0.1:80", "10.0.0.2:80"]);
        assert_eq!(world.said(), ["undone 10.0.0.1:80 0 flows"]);
        assert!(world.endpoint("10.0.0.1:80").operator.is_none());
        assert!(world.table.operator_requests().is_empty());
    }
}

/// A drain asked by Kubernetes and one asked by an operator: undoing one leaves the other.
#[test]
fn two_drains_are_undone_one_by_one() {
    let says = |conditions| slice("a", vec![endpoint("p1", "10.0.0.1", conditions)]);
    let mut world = World::listed(vec![says(READY)]);
    let _flow = world.admit().unwrap();
    world.ask(AdminState::Drain, address("10.0.0.1:80"));
    let since = world.endpoint("10.0.0.1:80").drain.unwrap().since;
    world.wait_millis(5);
    world.apply(says(LEAVING));
    let drain = world.endpoint("10.0.0.1:80").drain.unwrap();
    assert_eq!(
        (&*drain.causes.to_string(), drain.since),
        ("slice default/a says terminating, operator ann", since)
    );
    world.said();
    world.ask(AdminState::InService, address("10.0.0.1:80"));
    assert_eq!(
        world.endpoint("10.0.0.1:80").drain.unwrap().causes.to_string(),
        "slice default/a says terminating"
    );
    world.ask(AdminState::Drain, address("10.0.0.1:80"));
    world.apply(says(READY));
    assert_eq!(world.endpoint("10.0.0.1:80").drain.unwrap().causes.to_string(), "operator ann");
    assert!(world.admit().is_err());
    assert!(!world.said().iter().any(|line| line.starts_with("undone")));
    world.ask(AdminState::InService, address("10.0.0.1:80"));
    assert!(world.admit().is_ok());
}

/// A request also holds for endpoints that come later, and over their going and coming.
#[test]
fn a_request_waits_for_its_endpoint() {
    let mut world = World::listed(Vec::new());
    world.ask(AdminState::Drain, pod("p1"));
    world.ask(AdminState::Drain, address("10.0.0.2:80"));
    world.apply(slice("a", vec![endpoint("p1", "10.0.0.1", READY), endpoint("p2", "10.0.0.2", READY)]));
    assert_eq!(world.eligible(), Vec::<String>::new());
    world.tell(Event::SliceDeleted(slice_name("a")));
    world.apply(slice("b", vec![endpoint("p1", "10.0.0.9", READY), endpoint("p3", "10.0.0.2", READY)]));
    assert_eq!(world.eligible(), Vec::<String>::new(), "by pod wherever it is, by address whoever has it");
}

/// Where an address and a pod name one endpoint, the later request wins.
#[test]
fn the_later_request_wins() {
    let mut world = two();
    world.ask(AdminState::Drain, address("10.0.0.1:80"));
    world.ask(AdminState::InService, pod("p1"));
    assert_eq!(world.eligible(), ["10.0.0.1:80", "10.0.0.2:80"]);
    world.ask(AdminState::Drain, address("10.0.0.1:80"));
    assert_eq!(world.eligible(), ["10.0.0.2:80"]);
}

/// The same the other way round: an address in service overrules a drain of its pod.
#[test]
fn an_address_in_service_overrules_its_pods_drain() {
    let mut world = two();
    world.ask(AdminState::Drain, pod("p1"));
    world.ask(AdminState::InService, address("10.0.0.1:80"));
    assert_eq!(world.eligible(), ["10.0.0.1:80", "10.0.0.2:80"]);
    let mut restored = two();
    for (endpoints, request) in world.table.operator_requests() {
        restored.ask(request.state, endpoints);
    }
    assert_eq!(restored.eligible(), world.eligible(), "asked again in the same order");
}

/// Asking for service is forgotten where it overrules no drain that was asked before: it must not pile up.
#[test]
fn service_that_overrules_nothing_is_forgotten() {
    let mut world = two();
    for _ in 0..3 {
        world.ask(AdminState::Drain, address("10.0.0.2:80"));
        world.ask(AdminState::InService, address("10.0.0.2:80"));
        assert!(world.table.operator_requests().is_empty());
    }
    world.ask(AdminState::InService, address("10.0.0.2:80"));
    world.ask(AdminState::Drain, pod("p1"));
    assert_eq!(world.table.operator_requests().len(), 1);
    world.ask(AdminState::InService, address("10.0.0.1:80"));
    assert_eq!(world.table.operator_requests().len(), 2, "it overrules the pod's drain");
    world.ask(AdminState::Drain, pod("p1"));
    assert_eq!(world.table.operator_requests().len(), 1, "the pod's drain is the later one now");
    assert_eq!(world.eligible(), ["10.0.0.2:80"]);
}

/// A drain holds for the last resort too.
#[test]
fn a_drained_endpoint_is_no_last_resort() {
    let settings = crate::ServiceSettings {
        when_none_ready: crate::WhenNoneReady::ServingTerminating,
        ..Default::default()
    };
    let mut world = World::with(settings, vec![slice("a", vec![endpoint("p1", "10.0.0.1", LEAVING)])]);
    assert!(world.admit().is_ok());
    world.ask(AdminState::Drain, pod("p1"));
    assert!(world.admit().is_err());
}

/// A pod's name may come to be known, or change, after the request.
#[test]
fn a_request_by_pod_follows_the_name() {
    let named = |name: &str| {
        let endpoint = endpoint("p1", "10.0.0.1", READY);
        slice("a", vec![crate::SliceEndpoint { pod_name: Some(name.into()), pod_uid: None, ..endpoint }])
    };
    let mut world = World::listed(vec![named("default/one")]);
    world.ask(AdminState::Drain, pod("two"));
    assert!(world.admit().is_ok());
    world.apply(named("default/two"));
    assert!(world.admit().is_err());
}

/// What `operator_requests` gives, asked again of a new table, has the same effect.
#[test]
fn requests_can_be_restored() {
    let mut world = two();
    world.ask(AdminState::Drain, pod("p2"));
    world.ask(AdminState::Drain, address("10.0.0.1:80"));
    world.ask(AdminState::InService, pod("p1"));
    let mut restored = two();
    for (endpoints, request) in world.table.operator_requests() {
        let (by, reason) = (request.by, request.reason);
        restored.tell(Event::AdminStateRequested {
            endpoints,
            state: request.state,
            by,
            reason,
            deadline: None,
        });
    }
    assert_eq!(restored.eligible(), world.eligible());
    assert_eq!(restored.eligible(), ["10.0.0.1:80"]);
}

/// A request for a service that nobody knows changes nothing and is kept.
#[test]
fn a_request_for_an_unknown_service_is_kept() {
    let mut table = Table::new(1);
    let selector = pod("p1");
    table.handle_event(
        Event::AdminStateRequested {
            endpoints: selector.clone(),
            state: AdminState::Drain,
            by: "ann".into(),
            reason: String::new(),
            deadline: None,
        },
        crate::Timestamp::default(),
    );
    assert!(table.poll_output(crate::Timestamp::default()).is_none());
    assert_eq!(table.operator_requests()[0].0, selector);
}

/// A request is for every port of the Service.
#[test]
fn a_request_is_for_every_port() {
    use crate::sample::{config, web, with_ports};
    let grpc = crate::ServicePort { port: Some("grpc".into()), ..web() };
    let mut world = World::of(vec![config(web()), config(grpc.clone())]);
    let both = slice("a", vec![endpoint("p1", "10.0.0.1", READY)]);
    world.tell(Event::SlicesListed(vec![with_ports(both, &[("http", 80), ("grpc", 81)])]));
    world.ask(AdminState::Drain, pod("p1"));
    for port in [web(), grpc] {
        assert_eq!(world.eligible_of(&port), Vec::<String>::new(), "{port}");
    }
}
