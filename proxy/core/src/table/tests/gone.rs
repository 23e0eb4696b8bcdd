//! Drains and deadlines of endpoints that have gone from their slices while flows are left on them.

use alloc::{format, vec, vec::Vec};
use core::time::Duration;
use std::string::{String, ToString};

use super::deadlines::{ask, deadlines, killed, plans, says, seconds, world};
use crate::{
    AdminState, DrainCause, DrainDeadline, DrainPlan, DrainSettings, EndpointIdentity, EndpointSelector,
    Ends, Event, OnRemoval, Permit, ServiceConfig, ServiceName, ServiceSettings, Slice, SliceEndpoint,
    Timestamp,
    sample::{LEAVING, READY, World, config, endpoint, slice, slice_name, web},
    table::{DrainSoFar, EndpointView},
};

const FIRST: &str = "10.0.0.1:80";

/// What the slice says when the first endpoint has left it.
fn without_the_first() -> Slice {
    slice("a", vec![endpoint("p2", "10.0.0.2", READY)])
}

/// Flows, some of which are on the first endpoint.
fn flows(world: &mut World) -> Vec<Permit> {
    let flows: Vec<_> = (0..8).map(|_| world.admit().unwrap()).collect();
    assert!(flows.iter().any(|flow| flow.endpoint().address().to_string() == FIRST));
    flows
}

/// A world whose first endpoint has gone with flows on it; it was terminating.
fn gone(deadline: DrainDeadline) -> (World, Vec<Permit>) {
    let mut world = world(deadline);
    let flows = flows(&mut world);
    world.apply(says(LEAVING));
    world.apply(without_the_first());
    (world, flows)
}

/// The same without having been terminating: by default its flows are kept, and nothing counts them down.
fn vanished(settings: ServiceSettings) -> (World, Vec<Permit>) {
    let mut world = World::with(settings, vec![says(READY)]);
    let flows = flows(&mut world);
    world.apply(without_the_first());
    world.said();
    (world, flows)
}

fn first(world: &World) -> EndpointView {
    let view = world.endpoint(FIRST);
    assert_eq!(view.conditions, None, "it is gone");
    view
}

fn reload(world: &mut World, drain: DrainSettings) {
    let settings = ServiceSettings { drain, ..ServiceSettings::default() };
    world.tell(Event::ServicesConfigured(vec![ServiceConfig { settings, ..config(web()) }]));
}

/// The endpoint leaves its slice while flows are left: the plan stays, and is not said again.
#[test]
fn the_plan_outlives_the_slice() {
    let mut world = world(DrainDeadline::After(seconds(60)));
    let _flows = flows(&mut world);
    world.apply(says(LEAVING));
    let began = world.now;
    assert_eq!(deadlines(&mut world), [Some(began.after(seconds(60)))]);
    world.wait_millis(1_000);
    world.tell(Event::SliceDeleted(slice_name("a")));
    assert!(plans(&mut world).is_empty());
    assert_eq!(first(&world).drain.unwrap().deadline, Some(began.after(seconds(60))));
}

/// Workers that were told nothing of its drain are, when the slice that says terminating and the one that lacks it come
/// together.
#[test]
fn who_terminates_and_goes_at_once_has_a_plan() {
    let mut world = world(DrainDeadline::After(seconds(60)));
    let _flows = flows(&mut world);
    world.tell_all([Event::SliceApplied(says(LEAVING)), Event::SliceApplied(without_the_first())]);
    assert_eq!(deadlines(&mut world), [Some(world.now.after(seconds(60)))]);
}

/// A reload's change comes through: an earlier deadline, another window, another cap.
#[test]
fn a_reload_changes_the_plan_of_one_that_has_gone() {
    let (mut world, _flows) = gone(DrainDeadline::After(seconds(60)));
    let began = first(&world).drain.unwrap().since;
    plans(&mut world);
    let plan = DrainPlan {
        began,
        deadline: began.after(seconds(40)),
        window: Some(seconds(7)),
        quiet: seconds(1),
        max_per_second: 3,
    };
    let DrainPlan { window, quiet, max_per_second, .. } = plan;
    let drain = DrainSettings {
        window,
        quiet,
        max_per_second,
        deadline: DrainDeadline::After(seconds(40)),
        ..DrainSettings::default()
    };
    reload(&mut world, drain);
    assert_eq!(plans(&mut world), [Some(plan)]);
    reload(&mut world, DrainSettings { deadline: DrainDeadline::After(seconds(90)), ..drain });
    assert!(plans(&mut world).is_empty(), "it only ever moves earlier");
}

/// A18: the pod of an endpoint that has left its slices may become known, or be told to hurry, only then.
#[test]
fn a_pods_deadline_reaches_one_that_has_gone() {
    let (mut world, _flows) = gone(DrainDeadline::Pod);
    assert!(plans(&mut world).is_empty());
    let now = world.now;
    for seconds in [30, 300, 10] {
        world.tell(killed(now.after(Duration::from_secs(seconds))));
    }
    assert_eq!(deadlines(&mut world), [Some(now.after(seconds(28))), Some(now.after(seconds(8)))]);
}

/// An operator may bring the flows of one that has gone to their end, whether it drains already or its flows were kept.
#[test]
fn an_operators_deadline_reaches_one_that_has_gone() {
    let (mut world, _flows) = gone(DrainDeadline::None);
    let since = first(&world).drain.unwrap().since;
    world.wait_millis(1_000);
    ask(&mut world, AdminState::Drain, Some(seconds(30)));
    let by_operator = world.now.after(seconds(30));
    assert_eq!(deadlines(&mut world), [Some(by_operator)]);
    let drain = first(&world).drain.unwrap();
    assert_eq!(
        (drain.since, &*drain.causes.to_string()),
        (since, "slice default/a says terminating, operator ann")
    );

    let (mut world, flows) = vanished(ServiceSettings::default());
    let on_first = first(&world).endpoint.admission().flows();
    ask(&mut world, AdminState::Drain, Some(seconds(30)));
    let by_operator = world.now.after(seconds(30));
    let drain = first(&world).drain.unwrap();
    assert_eq!(
        (drain.since, drain.flows_at_start, &*drain.causes.to_string()),
        (world.now, on_first, "operator ann")
    );
    assert_eq!(drain.deadline, Some(by_operator));
    assert_eq!(
        world.said(),
        [format!("plan {FIRST}"), format!("drain {FIRST} {on_first} flows: operator ann")]
    );
    drop(flows);
    world.table.handle_tick(world.now);
    world.poll();
    assert_eq!(world.said(), [format!("drained {FIRST} after 0 ms")]);
    assert!(world.find(FIRST).is_none());
}

/// The request and the end of the endpoint come together: the deadline is not forgotten over it.
#[test]
fn an_operators_deadline_holds_for_one_that_goes_at_that_moment() {
    for slice in [without_the_first(), says(LEAVING)] {
        let mut world = world(DrainDeadline::None);
        let _flows = flows(&mut world);
        let endpoints =
            EndpointSelector::Pod { service: ServiceName::new("default", "web"), pod: "p1".into() };
        let (state, by, reason) = (AdminState::Drain, "ann".into(), "".into());
        let deadline = Some(seconds(30));
        let request = Event::AdminStateRequested { endpoints, state, by, reason, deadline };
        world.tell_all([request, Event::SliceApplied(slice), Event::SliceApplied(without_the_first())]);
        assert_eq!(deadlines(&mut world), [Some(world.now.after(seconds(30)))]);
    }
}

/// An operator's undrain takes back what operators asked for, of one that has gone too: nobody is shed any more.
#[test]
fn an_operators_undrain_reaches_one_that_has_gone() {
    let (mut world, _flows) = vanished(ServiceSettings::default());
    ask(&mut world, AdminState::Drain, Some(seconds(30)));
    world.said();
    ask(&mut world, AdminState::InService, None);
    let left = first(&world).endpoint.admission().flows();
    assert_eq!(world.said(), [format!("no plan {FIRST}"), format!("undone {FIRST} {left} flows")]);
    assert!(first(&world).drain.is_none());
    // Drained while it was there, it is the same.
    let mut world = super::deadlines::world(DrainDeadline::None);
    let _flows = flows(&mut world);
    ask(&mut world, AdminState::Drain, Some(seconds(30)));
    assert_eq!(plans(&mut world).len(), 1);
    world.apply(without_the_first());
    assert!(plans(&mut world).is_empty());
    ask(&mut world, AdminState::InService, None);
    assert_eq!(plans(&mut world), [None]);
}

/// What drains an endpoint apart from operators goes on when they take their part back, and its deadline stays.
#[test]
fn an_undrain_leaves_other_reasons_of_one_that_has_gone() {
    let on_removal = || ServiceSettings { on_removal: OnRemoval::Deadline, ..ServiceSettings::default() };
    let on = |uid: &str, address: &str, node: &str| SliceEndpoint {
        node: Some(node.into()),
        ..endpoint(uid, address, READY)
    };
    let on_nodes = || {
        let mut world =
            World::listed(vec![slice("a", vec![on("p1", "10.0.0.1", "n1"), on("p2", "10.0.0.2", "n2")])]);
        let flows = flows(&mut world);
        world.tell(Event::NodesLeaving(["n1".into()].into()));
        world.apply(without_the_first());
        (world, flows)
    };
    let worlds = [
        (gone(DrainDeadline::None), "slice default/a says terminating"),
        (vanished(on_removal()), "gone from all slices without having been terminating"),
        (on_nodes(), "node n1 is leaving"),
    ];
    for ((mut world, _flows), why) in worlds {
        assert_eq!(first(&world).drain.unwrap().causes.to_string(), why);
        ask(&mut world, AdminState::Drain, Some(seconds(30)));
        assert_eq!(first(&world).drain.unwrap().causes.to_string(), format!("{why}, operator ann"));
        let deadline = world.now.after(seconds(30));
        world.said();
        ask(&mut world, AdminState::InService, None);
        assert!(world.said().is_empty());
        let drain = first(&world).drain.unwrap();
        assert_eq!((&*drain.causes.to_string(), drain.deadline), (why, Some(deadline)));
    }
}

/// One that is gone without flows is not there to be drained; and a service that was given up is as any other.
#[test]
fn a_request_begins_no_drain_where_no_flow_is() {
    let (mut world, flows) = vanished(ServiceSettings::default());
    drop(flows);
    ask(&mut world, AdminState::Drain, Some(seconds(30)));
    assert!(world.said().is_empty());
    let (mut world, _flows) = vanished(ServiceSettings::default());
    world.tell(Event::ServicesConfigured(Vec::new()));
    ask(&mut world, AdminState::Drain, Some(seconds(30)));
    assert_eq!(first(&world).drain.unwrap().deadline, Some(world.now.after(seconds(30))));
}

/// Back with its pod ready, one that was drained while it was gone is drained no more, unless an operator still asks.
#[test]
fn one_that_comes_back_is_judged_anew() {
    let (mut world, _flows) = gone(DrainDeadline::After(seconds(60)));
    plans(&mut world);
    world.apply(says(READY));
    assert_eq!(plans(&mut world), [None]);
    let (mut world, _flows) = vanished(ServiceSettings::default());
    ask(&mut world, AdminState::Drain, Some(seconds(30)));
    let deadline = Some(world.now.after(seconds(30)));
    plans(&mut world);
    world.wait_millis(10);
    world.apply(says(READY));
    assert!(plans(&mut world).is_empty());
    assert_eq!(world.endpoint(FIRST).drain.unwrap().deadline, deadline);
}

/// A successor's table: it has never seen the endpoint, whose flows it is given, and whose drain it goes on with.
fn successor(world: &mut World, why: &str, deadline: Option<Timestamp>) -> Vec<Permit> {
    let address = FIRST.parse().unwrap();
    let identity = EndpointIdentity { pod_uid: Some("p1".into()), address };
    let flows: Vec<_> = (0..2).map(|_| world.table.pin(&web(), identity.clone(), world.now)).collect();
    let cause = |words: &str| match words.strip_prefix("operator ") {
        Some(name) => DrainCause::Operator(name.into()),
        None => DrainCause::Slice(Some(slice_name("a"))),
    };
    let so_far = DrainSoFar {
        began: world.now.before(seconds(5)),
        causes: why.split(", ").map(cause).collect(),
        deadline,
        flows_at_start: 2,
        ends: Ends::default(),
    };
    assert!(!world.table.go_on_with_drain(&web(), &identity, &so_far));
    world.poll();
    flows
}

/// R4: what a predecessor was about to shed or cut by a deadline, its successor sheds and cuts by that deadline.
#[test]
fn a_drain_from_another_process_has_its_plan_here() {
    let mut world = world(DrainDeadline::None);
    world.apply(without_the_first());
    let deadline = world.now.after(seconds(20));
    let _flows = successor(&mut world, "slice default/a says terminating", Some(deadline));
    let told: Vec<_> =
        plans(&mut world).into_iter().flatten().map(|plan| (plan.began, plan.deadline)).collect();
    assert_eq!(told, [(world.now.before(seconds(5)), deadline)]);
    assert_eq!(first(&world).drain.unwrap().deadline, Some(deadline));
    // The pod and operators may still move it.
    ask(&mut world, AdminState::Drain, Some(seconds(10)));
    assert_eq!(deadlines(&mut world), [Some(world.now.after(seconds(10)))]);
}

/// Where the endpoint is ready here, nothing goes on: whoever asked is told so.
#[test]
fn a_drain_from_another_process_is_undone_where_nothing_drains() {
    let mut world = world(DrainDeadline::None);
    world.apply(says(READY));
    let identity = EndpointIdentity { pod_uid: Some("p1".into()), address: FIRST.parse().unwrap() };
    let _flow = world.table.pin(&web(), identity.clone(), world.now);
    let so_far = DrainSoFar {
        began: world.now,
        causes: crate::DrainCauses::default(),
        deadline: None,
        flows_at_start: 1,
        ends: Ends::default(),
    };
    assert!(world.table.go_on_with_drain(&web(), &identity, &so_far));
    world.poll();
    assert!(world.endpoint(FIRST).drain.is_none());
}

/// An operator's part of a drain that began in another process can be taken back here.
#[test]
fn an_undrain_reaches_a_drain_from_another_process() {
    for (why, left) in [
        ("operator ann", None),
        ("slice default/a says terminating, operator ann", Some("slice default/a says terminating")),
        ("slice default/a says terminating", Some("slice default/a says terminating")),
    ] {
        let mut world = world(DrainDeadline::None);
        ask(&mut world, AdminState::Drain, Some(seconds(20)));
        world.apply(without_the_first());
        let deadline = world.now.after(seconds(20));
        let _flows = successor(&mut world, why, Some(deadline));
        assert_eq!(first(&world).drain.unwrap().deadline, Some(deadline));
        ask(&mut world, AdminState::InService, None);
        assert_eq!(first(&world).drain.map(|drain| drain.causes.to_string()), left.map(String::from));
    }
}
