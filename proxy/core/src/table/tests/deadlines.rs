use alloc::{vec, vec::Vec};
use core::time::Duration;
use std::string::ToString;

use crate::{
    AdminState, DrainDeadline, DrainPlan, DrainSettings, EndpointSelector, Event, Output, ServiceName,
    ServiceSettings, Timestamp,
    sample::{LEAVING, READY, World, endpoint, slice, slice_name},
};

fn says(conditions: crate::Conditions) -> crate::Slice {
    slice("a", vec![endpoint("p1", "10.0.0.1", conditions), endpoint("p2", "10.0.0.2", READY)])
}

fn world(deadline: DrainDeadline) -> World {
    let drain = DrainSettings { deadline, ..DrainSettings::default() };
    World::with(ServiceSettings { drain, ..ServiceSettings::default() }, vec![says(READY)])
}

/// What the workers were told, since the last call.
fn plans(world: &mut World) -> Vec<Option<DrainPlan>> {
    let plan = |output: Output| match output {
        Output::DrainPlanned { endpoint, plan, .. } => {
            assert_eq!(endpoint.address().ip().to_string(), "10.0.0.1");
            Some(plan)
        }
        _ => None,
    };
    core::mem::take(&mut world.outputs).into_iter().filter_map(plan).collect()
}

fn deadlines(world: &mut World) -> Vec<Option<Timestamp>> {
    plans(world).into_iter().map(|plan| plan.map(|plan| plan.deadline)).collect()
}

fn killed(at: Timestamp) -> Event {
    Event::PodDeadline { namespace: "default".into(), uid: "p1".into(), killed: at }
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn ask(world: &mut World, state: AdminState, deadline: Option<Duration>) {
    let service = ServiceName::new("default", "web");
    let endpoints = EndpointSelector::Address { service, address: "10.0.0.1:80".parse().unwrap() };
    let (by, reason) = ("ann".into(), "".into());
    world.tell(Event::AdminStateRequested { endpoints, state, by, reason, deadline });
}

#[test]
fn by_default_a_drain_has_no_deadline() {
    let mut world = world(DrainDeadline::None);
    world.apply(says(LEAVING));
    world.tell(killed(world.now.after(seconds(30))));
    assert!(plans(&mut world).is_empty());
    assert_eq!(world.endpoint("10.0.0.1:80").drain.unwrap().deadline, None);
}

#[test]
fn a_duration_counts_from_the_drains_beginning() {
    let mut world = world(DrainDeadline::After(seconds(60)));
    world.apply(says(LEAVING));
    let began = world.now;
    assert_eq!(deadlines(&mut world), [Some(began.after(seconds(60)))]);
    assert_eq!(world.endpoint("10.0.0.1:80").drain.unwrap().deadline, Some(began.after(seconds(60))));
    world.wait_millis(1_000);
    world.apply(slice("b", Vec::new()));
    assert!(plans(&mut world).is_empty(), "said once");
}

/// A pod that is not known to be terminating has no deadline; once it has, the margin is taken off.
#[test]
fn a_pods_deadline_is_when_it_is_killed_less_the_margin() {
    let mut world = world(DrainDeadline::Pod);
    world.apply(says(LEAVING));
    assert!(plans(&mut world).is_empty());
    let kill = world.now.after(seconds(30));
    world.tell(killed(kill));
    assert_eq!(deadlines(&mut world), [Some(kill.before(seconds(2)))]);
}

/// The pod's deadline may arrive ahead of its slice.
#[test]
fn a_deadline_that_is_known_early_waits_for_the_drain() {
    let mut world = world(DrainDeadline::Pod);
    let kill = world.now.after(seconds(30));
    world.tell(killed(kill));
    assert!(plans(&mut world).is_empty());
    world.apply(says(LEAVING));
    assert_eq!(deadlines(&mut world), [Some(kill.before(seconds(2)))]);
}

/// A18: a second delete with less grace shortens the deadline; nothing ever makes it longer.
#[test]
fn a_deadline_only_moves_earlier() {
    let mut world = world(DrainDeadline::Pod);
    world.apply(says(LEAVING));
    let now = world.now;
    world.tell(killed(now.after(seconds(30))));
    world.tell(killed(now.after(seconds(300))));
    world.tell(killed(now.after(seconds(10))));
    world.tell(killed(now.after(seconds(20))));
    assert_eq!(deadlines(&mut world), [Some(now.after(seconds(28))), Some(now.after(seconds(8)))]);
    ask(&mut world, AdminState::Drain, Some(seconds(600)));
    assert!(deadlines(&mut world).is_empty());
    ask(&mut world, AdminState::Drain, Some(seconds(5)));
    assert_eq!(deadlines(&mut world), [Some(now.after(seconds(5)))]);
}

#[test]
fn a_kill_in_the_past_is_a_deadline_in_the_past() {
    let mut world = world(DrainDeadline::Pod);
    world.apply(says(LEAVING));
    world.tell(killed(Timestamp::default()));
    assert_eq!(deadlines(&mut world), [Some(Timestamp::default())]);
}

/// Of another pod at the same address, which is another endpoint.
#[test]
fn another_uid_has_another_deadline() {
    let mut world = world(DrainDeadline::Pod);
    world.apply(says(LEAVING));
    let uid = "p9".into();
    world.tell(Event::PodDeadline { namespace: "default".into(), uid, killed: world.now });
    assert!(plans(&mut world).is_empty());
}

#[test]
fn an_operators_deadline_needs_no_setting() {
    let mut world = world(DrainDeadline::None);
    ask(&mut world, AdminState::Drain, Some(seconds(90)));
    let began = world.now;
    assert_eq!(deadlines(&mut world), [Some(began.after(seconds(90)))]);
    ask(&mut world, AdminState::InService, None);
    assert_eq!(plans(&mut world), [None]);
}

#[test]
fn an_endpoint_that_is_ready_again_has_no_plan_and_later_a_new_one() {
    let mut world = world(DrainDeadline::After(seconds(60)));
    world.apply(says(LEAVING));
    world.wait_millis(10_000);
    world.apply(says(READY));
    assert_eq!(plans(&mut world).last(), Some(&None));
    world.wait_millis(10_000);
    world.apply(says(LEAVING));
    assert_eq!(deadlines(&mut world), [Some(world.now.after(seconds(60)))]);
}

/// The endpoint leaves its slice while flows are left: the plan stays, and a reload's change of it still comes through.
#[test]
fn the_plan_outlives_the_slice() {
    let mut world = world(DrainDeadline::After(seconds(60)));
    let flows: Vec<_> = (0..8).map(|_| world.admit().unwrap()).collect();
    assert!(flows.iter().any(|flow| flow.endpoint().address().ip().to_string() == "10.0.0.1"));
    world.apply(says(LEAVING));
    plans(&mut world);
    world.tell(Event::SliceDeleted(slice_name("a")));
    let told = plans(&mut world);
    assert!(!told.contains(&None), "{told:?}");
}
