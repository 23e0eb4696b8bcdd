use alloc::{string::ToString, sync::Arc, vec, vec::Vec};
use std::string::String;

use crate::{
    Event,
    sample::{FAILING, LEAVING, READY, World, config, endpoint, of_service, slice, web, with_ports},
};

/// A10: an address taken over by another pod is another endpoint; the old pod's flows are not credited to it.
#[test]
fn an_address_reused_by_another_pod_is_another_endpoint() {
    let mut world = World::listed(vec![slice("a", vec![endpoint("old", "10.0.0.1", READY)])]);
    let flow = world.admit().unwrap();
    let old = Arc::clone(flow.endpoint());
    world.apply(slice("a", vec![endpoint("old", "10.0.0.1", LEAVING)]));
    world.apply(slice("b", vec![endpoint("new", "10.0.0.1", READY)]));
    assert_eq!(world.eligible(), ["10.0.0.1:80"]);
    let view = world.view();
    assert_eq!(view.endpoints.len(), 2);
    assert_eq!(view.endpoints[0].endpoint.identity().pod_uid.as_deref(), Some("new"));
    assert_eq!(view.endpoints[0].endpoint.admission().flows(), 0);
    assert!(view.endpoints[0].eligible);
    assert!(Arc::ptr_eq(&view.endpoints[1].endpoint, &old));
    assert_eq!(view.endpoints[1].conditions, None);
    assert!(world.said().contains(&String::from("gone 10.0.0.1:80 terminating=true")));
    assert!(!Arc::ptr_eq(world.admit().unwrap().endpoint(), &old));
}

/// A10: a running pod wins an address over a terminating one whichever slice came first.
#[test]
fn the_running_pod_wins_in_either_order() {
    let old = || slice("a", vec![endpoint("old", "10.0.0.1", LEAVING)]);
    let new = || slice("b", vec![endpoint("new", "10.0.0.1", READY)]);
    for slices in [vec![old(), new()], vec![new(), old()]] {
        let mut world = World::listed(Vec::new());
        slices.into_iter().for_each(|slice| world.apply(slice));
        assert_eq!(world.endpoint("10.0.0.1:80").endpoint.identity().pod_uid.as_deref(), Some("new"));
        assert!(world.admit().is_ok());
    }
}

/// S4, two uids: not terminating, then ready, then the later arrival; a rewrite that changes nothing about an
/// endpoint is no arrival.
#[test]
fn two_pods_at_one_address_are_ranked() {
    let winner = |world: &World| world.endpoint("10.0.0.1:80").endpoint.identity().pod_uid.clone().unwrap();
    let mut world = World::listed(Vec::new());
    world.apply(slice("a", vec![endpoint("p1", "10.0.0.1", READY)]));
    world.apply(slice("b", vec![endpoint("p2", "10.0.0.1", READY)]));
    assert_eq!(&*winner(&world), "p2", "the later arrival");
    world.apply(slice("a", vec![endpoint("p1", "10.0.0.1", READY), endpoint("p9", "10.0.0.9", READY)]));
    assert_eq!(&*winner(&world), "p2", "p1 has not arrived again");
    world.apply(slice("b", vec![endpoint("p2", "10.0.0.1", crate::sample::NOT_READY)]));
    assert_eq!(&*winner(&world), "p1", "ready before not ready");
    world.apply(slice("a", vec![endpoint("p1", "10.0.0.1", FAILING), endpoint("p9", "10.0.0.9", READY)]));
    assert_eq!(&*winner(&world), "p2", "not terminating before terminating");
    let both = crate::Conditions { ready: true, serving: true, terminating: true };
    world.apply(slice("a", vec![endpoint("p1", "10.0.0.1", both), endpoint("p9", "10.0.0.9", READY)]));
    assert_eq!(&*winner(&world), "p2", "not terminating comes ahead of ready");
}

/// S4, one uid: terminating, not ready and not serving win, whichever slice came later.
#[test]
fn one_pod_in_two_slices_is_what_the_worse_one_says() {
    for (first, second) in [(READY, LEAVING), (LEAVING, READY), (FAILING, READY), (LEAVING, FAILING)] {
        let mut world = World::listed(Vec::new());
        world.apply(slice("a", vec![endpoint("p1", "10.0.0.1", first)]));
        world.apply(slice("b", vec![endpoint("p1", "10.0.0.1", second)]));
        let conditions = world.endpoint("10.0.0.1:80").conditions.unwrap();
        assert!(conditions.terminating && !conditions.ready);
        assert_eq!(conditions.serving, first.serving && second.serving);
        assert_eq!(world.view().endpoints.len(), 1);
        assert!(world.admit().is_err());
    }
}

/// S7: without targetRef the address and port are the identity.
#[test]
fn without_a_pod_the_address_is_the_identity() {
    let anonymous = |conditions| {
        let mut endpoint = endpoint("x", "10.0.0.1", conditions);
        (endpoint.pod_uid, endpoint.pod_name) = (None, None);
        endpoint
    };
    let mut world = World::listed(vec![slice("a", vec![anonymous(READY)])]);
    let flow = world.admit().unwrap();
    world.apply(slice("a", Vec::new()));
    world.apply(slice("b", vec![anonymous(READY)]));
    assert!(Arc::ptr_eq(&world.endpoint("10.0.0.1:80").endpoint, flow.endpoint()));
}

/// A11, S5: one port name with different numbers in different slices: both are endpoints.
#[test]
fn one_port_name_may_have_several_numbers() {
    let world = World::listed(vec![
        with_ports(slice("a", vec![endpoint("p1", "10.0.0.1", READY)]), &[("http", 8080)]),
        with_ports(slice("b", vec![endpoint("p1", "10.0.0.1", READY)]), &[("http", 9090), ("other", 1)]),
    ]);
    assert_eq!(world.eligible(), ["10.0.0.1:8080", "10.0.0.1:9090"]);
}

/// A15: the Service is deleted and made again under one name: the same pods are the same endpoints with their flows.
#[test]
fn a_service_made_again_has_its_old_endpoints() {
    let mut world = World::listed(vec![slice("a", vec![endpoint("p1", "10.0.0.1", READY)])]);
    let flow = world.admit().unwrap();
    world.said();
    world.tell(Event::SliceDeleted(crate::sample::slice_name("a")));
    let view = world.endpoint("10.0.0.1:80");
    assert_eq!((view.conditions, view.eligible), (None, false));
    assert_eq!(
        world.said(),
        ["gone 10.0.0.1:80 terminating=false", "removed 10.0.0.1:80 1 flows", "eligible default/web:http 0",]
    );
    world.apply(slice("b", vec![endpoint("p1", "10.0.0.1", READY)]));
    assert!(world.said().contains(&String::from("back 10.0.0.1:80")));
    let view = world.endpoint("10.0.0.1:80");
    assert!(Arc::ptr_eq(&view.endpoint, flow.endpoint()) && view.eligible);
    let second = world.admit().unwrap();
    assert_eq!(second.endpoint().admission().flows(), 2);
}

/// A15: a removed endpoint stays until its flows end, and then goes.
#[test]
fn a_removed_endpoint_stays_until_its_flows_end() {
    let mut world = World::listed(vec![slice("a", vec![endpoint("p1", "10.0.0.1", READY)])]);
    let (first, second) = (world.admit().unwrap(), world.admit().unwrap());
    let id = first.endpoint().id();
    world.apply(slice("a", Vec::new()));
    assert!(!first.release());
    world.tell(Event::EndpointEmptied(id));
    assert!(world.find("10.0.0.1:80").is_some(), "a wrong report takes nothing away");
    assert!(second.release());
    world.tell(Event::EndpointEmptied(id));
    assert!(world.find("10.0.0.1:80").is_none());
    world.table.handle_tick(world.now);
    assert!(world.table.endpoint(id).is_none());
}

/// A15: a service that is given up keeps its flows, counted; wanted again it has the same endpoints and slot.
#[test]
fn a_service_given_up_keeps_its_flows() {
    let mut world = World::listed(vec![slice(
        "a",
        vec![endpoint("p1", "10.0.0.1", READY), endpoint("p2", "10.0.0.2", READY)],
    )]);
    let slot = world.table.service_id(&web());
    let flow = world.admit().unwrap();
    let address = flow.endpoint().address().to_string();
    let snapshot = Arc::clone(&world.snapshot);
    world.said();
    world.tell(Event::ServicesConfigured(Vec::new()));
    assert_eq!(world.table.service_id(&web()), None);
    assert!(world.snapshot.service(slot.unwrap()).is_none());
    assert!(world.said().is_empty(), "a reload says nothing of endpoints");
    let view = world.view();
    assert!(!view.configured);
    assert_eq!(view.endpoints.len(), 1, "those without flows have nothing to be kept for");
    assert_eq!(view.endpoints[0].endpoint.address().to_string(), address);
    let old = snapshot.service(slot.unwrap()).unwrap();
    let key = crate::FlowKey { client: "192.0.2.1".parse().unwrap() };
    let refused = old.admit(&key, &[], &mut Default::default(), &mut world.rng, world.now);
    assert!(refused.is_err(), "an old snapshot cannot get around the admission");
    world.tell(Event::ServicesConfigured(vec![config(web())]));
    assert_eq!(world.table.service_id(&web()), slot);
    assert!(Arc::ptr_eq(&world.endpoint(&address).endpoint, flow.endpoint()));
    assert_eq!(world.eligible(), ["10.0.0.1:80", "10.0.0.2:80"]);
    world.tell(Event::ServicesConfigured(Vec::new()));
    let id = flow.endpoint().id();
    flow.release();
    world.tell(Event::EndpointEmptied(id));
    assert!(world.table.services().is_empty());
}

/// A16: a changed targetPort gives new flows the new number; old flows stay where they are.
#[test]
fn a_changed_target_port_moves_new_flows_only() {
    let at = |number| with_ports(slice("a", vec![endpoint("p1", "10.0.0.1", READY)]), &[("http", number)]);
    let mut world = World::listed(vec![at(80)]);
    let flow = world.admit().unwrap();
    world.apply(at(81));
    assert_eq!(world.eligible(), ["10.0.0.1:81"]);
    assert_eq!(flow.endpoint().address(), "10.0.0.1:80".parse().unwrap());
    assert_eq!(flow.endpoint().admission().flows(), 1);
    assert!(world.find("10.0.0.1:80").is_some());
}

/// S3: a slice's name used again for another Service, with other endpoints, leaves nothing behind (A9).
#[test]
fn a_slice_name_used_again_for_another_service_leaves_nothing() {
    let mut world = World::of(vec![config(web()), config(crate::sample::port_of("api"))]);
    world.tell(Event::SlicesListed(vec![slice("a", vec![endpoint("p1", "10.0.0.1", READY)])]));
    world.apply(of_service(slice("a", vec![endpoint("p2", "10.0.0.2", READY)]), "api"));
    assert_eq!(world.eligible(), Vec::<String>::new());
    assert_eq!(world.eligible_of(&crate::sample::port_of("api")), ["10.0.0.2:80"]);
}

/// A service that is given up is given up by a publish, whatever is looked at before it: its part of the snapshot goes
/// and its endpoints close.
#[test]
fn a_service_given_up_closes_though_counts_are_looked_at_first() {
    for by_tick in [true, false] {
        let mut world = World::listed(vec![slice(
            "a",
            vec![endpoint("p1", "10.0.0.1", READY), endpoint("p2", "10.0.0.2", READY)],
        )]);
        let slot = world.table.service_id(&web()).unwrap();
        let endpoints: Vec<_> =
            world.view().endpoints.iter().map(|view| Arc::clone(&view.endpoint)).collect();
        world.table.handle_event(Event::ServicesConfigured(Vec::new()), world.now);
        if by_tick {
            world.table.handle_tick(world.now);
        } else {
            for endpoint in &endpoints {
                world.table.handle_event(Event::EndpointEmptied(endpoint.id()), world.now);
            }
        }
        world.poll();
        assert!(world.snapshot.service(slot).is_none());
        assert!(endpoints.iter().all(|endpoint| endpoint.admission().mode() == crate::AdmissionMode::Closed));
        assert!(world.table.services().is_empty());
    }
}

/// S7: an endpoint that was let go stays unknown when its pod has come back as another one and has gone with flows.
#[test]
fn an_endpoint_that_was_let_go_stays_unknown() {
    let says = |endpoints| slice("a", endpoints);
    let p1 = || vec![endpoint("p1", "10.0.0.1", READY)];
    let mut world = World::listed(vec![says(p1())]);
    let first = world.endpoint("10.0.0.1:80").endpoint;
    world.apply(says(Vec::new()));
    world.apply(says(p1()));
    let flow = world.admit().unwrap();
    assert_ne!(flow.endpoint().id(), first.id());
    for endpoints in [p1(), Vec::new()] {
        world.apply(says(endpoints));
        assert!(world.table.endpoint(first.id()).is_none());
        assert!(world.table.endpoint(flow.endpoint().id()).is_some());
    }
}

/// A10: the report that an old pod's last flow has ended lets the old pod go, and not the one that has its address now.
#[test]
fn a_report_is_about_the_pod_that_had_the_address() {
    let mut world = World::listed(vec![slice("a", vec![endpoint("old", "10.0.0.1", READY)])]);
    let flow = world.admit().unwrap();
    world.apply(slice("a", vec![endpoint("new", "10.0.0.1", READY)]));
    assert_eq!(world.view().endpoints.len(), 2);
    let id = flow.endpoint().id();
    flow.release();
    world.tell(Event::EndpointEmptied(id));
    let left: Vec<_> =
        world.view().endpoints.iter().map(|view| view.endpoint.identity().pod_uid.clone().unwrap()).collect();
    assert_eq!(left, ["new".into()]);
}

/// A service that was given up has no new endpoints.
#[test]
fn nobody_arrives_at_a_service_that_was_given_up() {
    let mut world = World::listed(vec![slice("a", vec![endpoint("p1", "10.0.0.1", READY)])]);
    let _flow = world.admit().unwrap();
    world.tell(Event::ServicesConfigured(Vec::new()));
    world.said();
    world.apply(slice("b", vec![endpoint("p2", "10.0.0.2", READY)]));
    assert_eq!(world.view().endpoints.len(), 1);
    assert!(world.said().is_empty());
}

/// S4, one uid: what is not a condition is what the later slice says.
#[test]
fn one_pod_in_two_slices_is_where_the_later_one_says() {
    for names in [["a", "b"], ["b", "a"]] {
        let mut world = World::listed(Vec::new());
        for (name, zone) in names.into_iter().zip(["old", "new"]) {
            let p1 = crate::SliceEndpoint { zone: Some(zone.into()), ..endpoint("p1", "10.0.0.1", READY) };
            world.apply(slice(name, vec![p1]));
        }
        assert_eq!(world.endpoint("10.0.0.1:80").zone.as_deref(), Some("new"));
    }
}
