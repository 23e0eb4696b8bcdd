//! What a gate asks of the table, and what the table does for it.

use alloc::{
    string::{String, ToString},
    sync::Arc,
    vec,
    vec::Vec,
};

use super::deadlines;
use crate::{
    AdminState, Conditions, DrainDeadline, DrainSettings, EndpointSelector, Event, GateFacts, ServiceName,
    ServiceSettings, WhenNoneReady,
    sample::{
        LEAVING, READY, World, config, endpoint, of_service, port_of, slice, slice_name, web, with_ports,
    },
};

/// Terminating, and ready all the same: publishNotReadyAddresses.
const KEPT_READY: Conditions = Conditions { ready: true, serving: true, terminating: true };

fn says(conditions: Conditions) -> crate::Slice {
    slice("a", vec![endpoint("p1", "10.0.0.1", conditions), endpoint("p2", "10.0.0.2", READY)])
}

fn ask(world: &mut World, uid: &str) {
    world.table.ask_gate(&Arc::from(uid));
    world.table.find_gated();
    world.poll();
}

fn facts(world: &World, uid: &str) -> GateFacts {
    world.table.gate(uid).unwrap_or_default().facts(true)
}

fn known(terminating: bool, programmed: bool, flows: u64) -> GateFacts {
    GateFacts { synced: true, known: true, terminating, programmed, flows }
}

/// Only `p1` may take flows while this lasts.
fn flow_on_p1(world: &mut World) -> crate::Permit {
    let p2 = world.endpoint("10.0.0.2:80").endpoint;
    world.admit_from("192.0.2.1", &[p2]).expect("p1 takes flows")
}

/// D6: what a gate sees from ready to drained; a connect in progress has a permit already (D7).
#[test]
fn a_gate_sees_its_pod_drain() {
    let mut world = World::listed(vec![says(READY)]);
    let flow = flow_on_p1(&mut world);
    ask(&mut world, "p1");
    assert_eq!(facts(&world, "p1"), known(false, false, 1));
    world.apply(says(LEAVING));
    assert_eq!(facts(&world, "p1"), known(true, true, 1));
    drop(flow);
    assert_eq!(facts(&world, "p1"), known(true, true, 0));
    assert_eq!(facts(&world, "p3"), GateFacts { synced: true, programmed: true, ..GateFacts::default() });
}

/// A gate alone drains nothing: only a terminating pod's does, where its slices keep it ready (C4).
#[test]
fn a_gate_drains_a_pod_that_is_kept_ready() {
    let mut world = World::listed(vec![says(READY)]);
    ask(&mut world, "p1");
    assert_eq!(world.eligible(), ["10.0.0.1:80", "10.0.0.2:80"]);
    let flow = flow_on_p1(&mut world);
    world.said();
    world.apply(says(KEPT_READY));
    assert_eq!(world.eligible(), ["10.0.0.2:80"]);
    assert_eq!(world.said(), ["changed 10.0.0.1:80", "drain 10.0.0.1:80 1 flows: gate"]);
    assert_eq!(facts(&world, "p1"), known(true, true, 1));
    drop(flow);
    world.apply(says(READY));
    assert_eq!(world.eligible(), ["10.0.0.1:80", "10.0.0.2:80"], "it does not terminate any more (D8)");
    assert_eq!(facts(&world, "p1"), known(false, false, 0));
}

/// What a gate asked for stays for as long as its pod terminates, and not longer.
#[test]
fn a_gates_drain_outlives_the_gate_and_not_the_pod() {
    let mut world = World::listed(vec![says(KEPT_READY)]);
    assert_eq!(world.eligible().len(), 2, "ready and terminating is no drain");
    ask(&mut world, "p1");
    assert_eq!(world.eligible(), ["10.0.0.2:80"]);
    world.table.leave_gates(["p1"]);
    world.poll();
    let other = endpoint("p3", "10.0.0.3", READY);
    world.apply(slice("b", vec![other]));
    assert_eq!(world.eligible(), ["10.0.0.2:80", "10.0.0.3:80"]);
    world.tell(Event::SliceDeleted(slice_name("a")));
    world.apply(says(KEPT_READY));
    assert_eq!(world.eligible().len(), 3, "it went, and nobody waits for it any more");
}

/// A successor keeps shut what its predecessor's gates did, for those that nobody waits for any more, too, and asks for it
/// as the predecessor would.
#[test]
fn a_successor_goes_on_with_what_gates_asked_for() {
    let mut before = World::listed(vec![says(KEPT_READY)]);
    ["p1", "p2", "p3"].into_iter().for_each(|uid| ask(&mut before, uid));
    before.table.leave_gates(["p1", "p2"]);
    let told = |world: &World| world.table.gated().cloned().collect::<Vec<_>>();
    assert_eq!(told(&before), ["p1".into(), "p3".into()], "p2 does not terminate");
    let mut after = World::listed(vec![says(KEPT_READY)]);
    after.table.go_on_with_gates(told(&before));
    after.poll();
    assert_eq!(after.eligible(), ["10.0.0.2:80"]);
    assert_eq!(after.endpoint("10.0.0.1:80").drain.unwrap().causes.to_string(), "gate");
    assert_eq!(told(&after), ["p1".into()], "nobody waits for p3 here");
    ask(&mut after, "p3");
    assert_eq!(told(&after), ["p1".into(), "p3".into()]);
    after.apply(says(READY));
    assert_eq!(after.eligible().len(), 2, "as in any process it ends with the termination");
}

/// Undoing a gate's drain leaves an operator's, and the other way round.
#[test]
fn a_gates_drain_is_apart_from_an_operators() {
    let web = ServiceName::new("default", "web");
    let p1 = EndpointSelector::Pod { service: web, pod: "p1".into() };
    let mut world = World::listed(vec![says(KEPT_READY)]);
    ask(&mut world, "p1");
    world.ask(AdminState::Drain, p1.clone());
    assert_eq!(world.endpoint("10.0.0.1:80").drain.unwrap().causes.to_string(), "operator ann, gate");
    world.ask(AdminState::InService, p1.clone());
    assert_eq!(world.endpoint("10.0.0.1:80").drain.unwrap().causes.to_string(), "gate");
    world.ask(AdminState::Drain, p1);
    world.apply(says(READY));
    assert_eq!(world.endpoint("10.0.0.1:80").drain.unwrap().causes.to_string(), "operator ann");
    assert_eq!(facts(&world, "p1"), known(false, true, 0));
}

/// A last resort is not programmed while it may be needed; where another endpoint is open, nobody can enter it.
#[test]
fn a_last_resort_waits_for_another_endpoint() {
    let settings =
        ServiceSettings { when_none_ready: WhenNoneReady::ServingTerminating, ..ServiceSettings::default() };
    let alone = |conditions| slice("a", vec![endpoint("p1", "10.0.0.1", conditions)]);
    let mut world = World::with(settings, vec![alone(LEAVING)]);
    ask(&mut world, "p1");
    assert_eq!(world.eligible(), ["10.0.0.1:80"]);
    assert_eq!(facts(&world, "p1"), known(true, false, 0));
    let stale = Arc::clone(&world.snapshot);
    world.apply(says(LEAVING));
    assert_eq!(facts(&world, "p1"), known(true, true, 0));
    let now = std::mem::replace(&mut world.snapshot, stale);
    assert!(world.admit().is_err(), "a worker with the last snapshot cannot enter it either");
    world.snapshot = now;
    world.apply(alone(LEAVING));
    assert_eq!(facts(&world, "p1"), known(true, false, 0), "it is needed again");
}

/// S6: a pod is one, whatever it is an endpoint of; its flows count after it has gone, too.
#[test]
fn a_gate_spans_services_and_what_is_gone() {
    let mut world = World::of(vec![config(web()), config(port_of("api"))]);
    world.tell(Event::SlicesListed(vec![says(READY), of_service(renamed(says(READY), "b"), "api")]));
    let flow = flow_on_p1(&mut world);
    ask(&mut world, "p1");
    assert_eq!(world.table.gate("p1").unwrap().endpoints.len(), 2);
    world.apply(says(LEAVING));
    assert_eq!(facts(&world, "p1"), known(true, false, 1), "the other service still sends flows");
    world.apply(of_service(renamed(says(LEAVING), "b"), "api"));
    assert_eq!(facts(&world, "p1"), known(true, true, 1));
    world.tell(Event::SlicesListed(Vec::new()));
    assert_eq!(facts(&world, "p1"), known(true, true, 1), "gone from all slices, with a flow (A17)");
    drop(flow);
    world.table.handle_tick(world.now);
    assert!(!facts(&world, "p1").known);
}

fn renamed(mut slice: crate::Slice, name: &str) -> crate::Slice {
    slice.name = slice_name(name);
    slice
}

/// A pod is found by its address where exactly one has it.
#[test]
fn pods_are_found_by_address() {
    let at = |world: &World, address: &str| world.table.pods_at(address.parse().unwrap()).len();
    let mut world = World::of(vec![config(web()), config(port_of("api"))]);
    let shared = vec![endpoint("p1", "10.0.0.1", READY)];
    let other = with_ports(of_service(slice("b", shared), "api"), &[("http", 8080)]);
    world.tell(Event::SlicesListed(vec![says(READY), other]));
    assert_eq!((at(&world, "10.0.0.1"), at(&world, "10.0.0.9")), (1, 0), "one pod in two services");
    let host = of_service(slice("b", vec![endpoint("p9", "10.0.0.1", READY)]), "api");
    world.apply(host);
    assert_eq!(at(&world, "10.0.0.1"), 2, "pods on a node's network share its address");
}

/// Instances are found by the slices of their own Service, whether or not one is configured; each pod once.
#[test]
fn instances_are_found_by_their_slices() {
    let mut world = World::listed(Vec::new());
    let own = ServiceName::new("default", "tidegate");
    assert!(world.table.instances_of(&own).is_empty());
    let v4 = vec![endpoint("t1", "10.0.0.1", READY), endpoint("t2", "10.0.0.2", LEAVING)];
    let v6 = vec![endpoint("t1", "2001:db8::1", READY)];
    world.apply(of_service(slice("v4", v4), "tidegate"));
    world.apply(with_ports(of_service(slice("v6", v6), "tidegate"), &[("gate", 9903)]));
    let found: Vec<_> = world.table.instances_of(&own).into_iter().map(|it| (it.address, it.port)).collect();
    assert_eq!(found, [("10.0.0.1".parse().unwrap(), None), ("10.0.0.2".parse().unwrap(), None)]);
}

/// Nothing is said of a pod before it was looked for; one look finds all that were asked for.
#[test]
fn one_look_finds_every_pod_that_was_asked_for() {
    let mut world = World::listed(vec![says(KEPT_READY)]);
    for uid in ["p1", "p2", "p3"] {
        world.table.ask_gate(&Arc::from(uid));
        assert_eq!(world.table.gate(uid), None);
    }
    world.table.find_gated();
    world.poll();
    let endpoints = |uid| world.table.gate(uid).unwrap().endpoints.len();
    assert_eq!((endpoints("p1"), endpoints("p2"), endpoints("p3")), (1, 1, 0));
    assert_eq!(world.eligible(), ["10.0.0.2:80"]);
}

/// Whoever waits is answered by the pod's deadline: it is asked for also where the flows are on another instance, for as
/// long as somebody waits, and only for services that take their deadlines from pods.
#[test]
fn a_pod_that_waits_is_wanted_without_flows_of_its_own() {
    for deadline in [DrainDeadline::Pod, DrainDeadline::None] {
        let is_asked = deadline == DrainDeadline::Pod;
        let mut world = deadlines::world(deadline);
        ask(&mut world, "p1");
        assert!(deadlines::wanted(&mut world).is_empty(), "it does not terminate");
        world.apply(says(LEAVING));
        let wanted = deadlines::wanted(&mut world);
        if !is_asked {
            assert!(wanted.is_empty());
            continue;
        }
        assert_eq!(wanted, [["default/p1 p1"]]);
        let kill = world.now.after(deadlines::seconds(600));
        world.tell(deadlines::killed(kill));
        let margin = DrainSettings::default().margin;
        assert_eq!(world.table.gate("p1").unwrap().deadline, Some(kill.before(margin)));
        world.table.leave_gates(["p1"]);
        world.poll();
        assert_eq!(deadlines::wanted(&mut world), [Vec::<String>::new()]);
        ask(&mut world, "p1");
        assert_eq!(deadlines::wanted(&mut world), [["default/p1 p1"]], "it waits again");
    }
}
