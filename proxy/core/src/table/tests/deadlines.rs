use alloc::{format, vec, vec::Vec};
use core::time::Duration;
use std::string::{String, ToString};

use crate::{
    AdminState, DrainDeadline, DrainPlan, DrainSettings, EndpointSelector, Event, Output, ServiceName,
    ServiceSettings, SliceEndpoint, Timestamp,
    sample::{LEAVING, READY, World, endpoint, slice},
};

pub(super) fn says(conditions: crate::Conditions) -> crate::Slice {
    slice("a", vec![endpoint("p1", "10.0.0.1", conditions), endpoint("p2", "10.0.0.2", READY)])
}

pub(super) fn world(deadline: DrainDeadline) -> World {
    let drain = DrainSettings { deadline, ..DrainSettings::default() };
    World::with(ServiceSettings { drain, ..ServiceSettings::default() }, vec![says(READY)])
}

/// What the workers were told, since the last call.
pub(super) fn plans(world: &mut World) -> Vec<Option<DrainPlan>> {
    let plan = |output: Output| match output {
        Output::DrainPlanned { endpoint, plan, .. } => {
            assert_eq!(endpoint.address().ip().to_string(), "10.0.0.1");
            Some(plan)
        }
        _ => None,
    };
    core::mem::take(&mut world.outputs).into_iter().filter_map(plan).collect()
}

pub(super) fn deadlines(world: &mut World) -> Vec<Option<Timestamp>> {
    plans(world).into_iter().map(|plan| plan.map(|plan| plan.deadline)).collect()
}

pub(super) fn killed(at: Timestamp) -> Event {
    Event::PodDeadline { namespace: "default".into(), uid: "p1".into(), killed: at }
}

pub(super) fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

pub(super) fn ask(world: &mut World, state: AdminState, deadline: Option<Duration>) {
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

/// What is said of a drain's beginning names the pod and, where it is known by then, the deadline.
#[test]
fn a_drains_beginning_is_told_with_its_deadline() {
    let told = |world: &mut World| {
        let began = core::mem::take(&mut world.outputs).into_iter().filter_map(|output| match output {
            Output::Notice(crate::Notice::DrainBegan { pod, deadline, .. }) => Some((pod, deadline)),
            _ => None,
        });
        began.map(|(pod, deadline)| (pod.unwrap().to_string(), deadline)).collect::<Vec<_>>()
    };
    let mut by_time = world(DrainDeadline::After(seconds(60)));
    by_time.apply(says(LEAVING));
    let deadline = by_time.now.after(seconds(60));
    assert_eq!(told(&mut by_time), [("default/p1".to_string(), Some(deadline))]);
    let mut by_pod = world(DrainDeadline::Pod);
    by_pod.apply(says(LEAVING));
    assert_eq!(told(&mut by_pod), [("default/p1".to_string(), None)]);
    // An endpoint that is gone before anybody knew that it would go.
    let drain = DrainSettings { deadline: DrainDeadline::After(seconds(60)), ..DrainSettings::default() };
    let on_removal = crate::OnRemoval::Deadline;
    let settings = ServiceSettings { drain, on_removal, ..ServiceSettings::default() };
    let mut gone = World::with(settings, vec![says(READY)]);
    let _flows: Vec<_> = (0..8).map(|_| gone.admit().unwrap()).collect();
    gone.apply(slice("a", vec![endpoint("p2", "10.0.0.2", READY)]));
    let deadline = gone.now.after(seconds(60));
    assert_eq!(told(&mut gone), [("default/p1".to_string(), Some(deadline))]);
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
    world.tell(killed(kill.after(seconds(300))));
    assert!(plans(&mut world).is_empty());
    world.apply(says(LEAVING));
    assert_eq!(deadlines(&mut world), [Some(kill.before(seconds(2)))]);
}

/// What was known of a pod that is gone is forgotten: a drain that begins later does not take it for its own.
#[test]
fn a_pod_that_is_gone_has_no_say_in_a_later_drain() {
    let mut world = world(DrainDeadline::Pod);
    world.tell(killed(world.now.after(seconds(30))));
    world.tell(Event::PodGone { uid: "p1".into() });
    world.apply(says(LEAVING));
    assert!(plans(&mut world).is_empty());
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
    ask(&mut world, AdminState::Drain, Some(seconds(600)));
    assert!(deadlines(&mut world).is_empty(), "an operator cannot take that back");
}

/// Whoever is quiet is given the time for a FIN, and told so once.
#[test]
fn a_deadline_that_is_over_when_it_becomes_known_leaves_a_second() {
    let mut world = world(DrainDeadline::Pod);
    world.apply(says(LEAVING));
    world.tell(killed(Timestamp::default()));
    let soon = world.now.after(seconds(1));
    assert_eq!(deadlines(&mut world), [Some(soon)]);
    world.wait_millis(5_000);
    world.tell(killed(Timestamp::default()));
    world.apply(slice("b", Vec::new()));
    assert!(plans(&mut world).is_empty());
    assert_eq!(world.endpoint("10.0.0.1:80").drain.unwrap().deadline, Some(soon));
}

#[test]
fn an_absurd_kill_is_a_deadline_far_away() {
    let mut world = world(DrainDeadline::Pod);
    world.apply(says(LEAVING));
    let kill = Timestamp::from_nanos(u64::MAX);
    world.tell(killed(kill));
    let plan = plans(&mut world).remove(0).unwrap();
    assert_eq!(plan.deadline, kill.before(seconds(2)));
    assert!(plan.begins(1_000) > world.now.after(seconds(1_000_000)));
}

/// The sets of pods that a source was asked to follow, since the last call.
pub(super) fn wanted(world: &mut World) -> Vec<Vec<String>> {
    let pods = |output: Output| match output {
        Output::PodsWanted(pods) => {
            Some(pods.iter().map(|pod| format!("{} {}", pod.name, pod.uid)).collect())
        }
        _ => None,
    };
    core::mem::take(&mut world.outputs).into_iter().filter_map(pods).collect()
}

/// A pod is read while its endpoint terminates with flows on it, until the last of them has ended.
#[test]
fn a_pod_is_wanted_while_its_drain_has_flows() {
    let mut world = world(DrainDeadline::Pod);
    let flows: Vec<_> = (0..8).map(|_| world.admit().unwrap()).collect();
    assert!(wanted(&mut world).is_empty());
    world.apply(says(LEAVING));
    assert_eq!(wanted(&mut world), [["default/p1 p1"]]);
    // Gone from its slices, its pod may still be there.
    world.apply(slice("a", vec![endpoint("p2", "10.0.0.2", READY)]));
    assert!(wanted(&mut world).is_empty(), "as before");
    drop(flows);
    world.table.handle_tick(world.now);
    world.poll();
    assert_eq!(wanted(&mut world), [Vec::<String>::new()]);
}

#[test]
fn a_pod_is_wanted_by_none_that_does_not_ask() {
    for deadline in [DrainDeadline::None, DrainDeadline::After(seconds(9))] {
        let mut world = world(deadline);
        let _flows: Vec<_> = (0..8).map(|_| world.admit().unwrap()).collect();
        world.apply(says(LEAVING));
        assert!(wanted(&mut world).is_empty());
    }
}

/// An operator's drain says nothing of the pod, nor does an endpoint without flows matter, or one that is ready again.
#[test]
fn pods_that_are_not_terminating_or_have_no_flows_are_not_wanted() {
    let mut world = world(DrainDeadline::Pod);
    world.apply(says(LEAVING));
    assert!(wanted(&mut world).is_empty(), "no flows");
    world.apply(says(READY));
    let _flows: Vec<_> = (0..8).map(|_| world.admit().unwrap()).collect();
    ask(&mut world, AdminState::Drain, None);
    assert!(wanted(&mut world).is_empty(), "not terminating");
    ask(&mut world, AdminState::InService, None);
    world.apply(says(LEAVING));
    world.apply(says(READY));
    let sets = wanted(&mut world);
    assert_eq!(sets, [vec!["default/p1 p1".to_string()], vec![]], "ready again");
}

/// A25: a pod of a node that goes away has no deadline while nobody has deleted it, and is not read; it is from the
/// moment it is deleted on, whether its slice calls it ready or not, or has it no more.
#[test]
fn a_pod_of_a_leaving_node_is_wanted_once_it_is_deleted() {
    let ready_and_terminating = crate::Conditions { terminating: true, ..READY };
    for deleted in [Some(LEAVING), Some(ready_and_terminating), None] {
        let on =
            |conditions| SliceEndpoint { node: Some("n1".into()), ..endpoint("p1", "10.0.0.1", conditions) };
        let with = |first: Option<crate::Conditions>| {
            let second = endpoint("p2", "10.0.0.2", READY);
            slice("a", first.map(on).into_iter().chain([second]).collect())
        };
        let drain = DrainSettings { deadline: DrainDeadline::Pod, ..DrainSettings::default() };
        let settings = ServiceSettings { drain, ..ServiceSettings::default() };
        let mut world = World::with(settings, vec![with(Some(READY))]);
        let _flows: Vec<_> = (0..8).map(|_| world.admit().unwrap()).collect();
        world.tell(Event::NodesLeaving(["n1".into()].into()));
        assert_eq!(world.eligible(), ["10.0.0.2:80"]);
        assert!(world.endpoint("10.0.0.1:80").drain.is_some());
        assert!(wanted(&mut world).is_empty(), "nobody has deleted it");
        world.apply(with(deleted));
        assert_eq!(wanted(&mut world), [["default/p1 p1"]], "{deleted:?}");
        let kill = world.now.after(seconds(30));
        world.tell(killed(kill));
        assert_eq!(deadlines(&mut world), [Some(kill.before(seconds(2)))], "{deleted:?}");
    }
}

/// A25: a node that goes away drains its endpoints, and their deadline counts from then.
#[test]
fn a_node_that_leaves_begins_a_drain_with_its_deadline() {
    let on = |uid: &str, address: &str, node: &str| SliceEndpoint {
        node: Some(node.into()),
        ..endpoint(uid, address, READY)
    };
    let drain = DrainSettings { deadline: DrainDeadline::After(seconds(60)), ..DrainSettings::default() };
    let both = slice("a", vec![on("p1", "10.0.0.1", "n1"), on("p2", "10.0.0.2", "n2")]);
    let mut world = World::with(ServiceSettings { drain, ..ServiceSettings::default() }, vec![both.clone()]);
    let _flows: Vec<_> = (0..8).map(|_| world.admit().unwrap()).collect();
    world.tell(Event::NodesLeaving(["n1".into()].into()));
    assert_eq!(deadlines(&mut world), [Some(world.now.after(seconds(60)))]);
    assert_eq!(world.endpoint("10.0.0.1:80").drain.unwrap().causes.to_string(), "node n1 is leaving");
    // The node stays after all.
    world.tell(Event::NodesLeaving([].into()));
    assert_eq!(plans(&mut world), [None]);
    // It goes with its only endpoint left: nobody is drained, for want of another one.
    world.tell(Event::NodesLeaving(["n1".into(), "n2".into()].into()));
    assert!(plans(&mut world).is_empty());
    assert_eq!(world.eligible().len(), 2);
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

/// A drain that is to be over at once is so gently.
#[test]
fn a_deadline_of_no_time_at_all_leaves_a_second() {
    let mut world = world(DrainDeadline::None);
    ask(&mut world, AdminState::Drain, Some(seconds(0)));
    assert_eq!(deadlines(&mut world), [Some(world.now.after(seconds(1)))]);
}

/// A service that was given up asks for no pods once its last flow has ended.
#[test]
fn a_service_that_is_no_more_wants_no_pods() {
    let mut world = world(DrainDeadline::Pod);
    let flows: Vec<_> = (0..8).map(|_| world.admit().unwrap()).collect();
    world.apply(says(LEAVING));
    assert_eq!(wanted(&mut world), [["default/p1 p1"]]);
    world.tell(Event::ServicesConfigured(Vec::new()));
    assert!(wanted(&mut world).is_empty(), "its flows go on");
    let ids: Vec<_> = flows.iter().map(|flow| flow.endpoint().id()).collect();
    drop(flows);
    ids.into_iter().for_each(|id| world.tell(Event::EndpointEmptied(id)));
    world.table.handle_tick(world.now);
    world.poll();
    assert_eq!(wanted(&mut world), [Vec::<String>::new()]);
}

/// Workers forget the plan of an endpoint that is closed and has no flows. As a last resort it may get some, and they are
/// told again.
#[test]
fn a_plan_is_told_again_with_a_last_resort() {
    let drain = DrainSettings { deadline: DrainDeadline::After(seconds(60)), ..DrainSettings::default() };
    let when_none_ready = crate::WhenNoneReady::ServingTerminating;
    let settings = ServiceSettings { drain, when_none_ready, ..ServiceSettings::default() };
    let mut world = World::with(settings, vec![says(READY)]);
    world.apply(says(crate::Conditions { serving: false, ..LEAVING }));
    let deadline = world.now.after(seconds(60));
    assert_eq!(deadlines(&mut world), [Some(deadline)]);
    world.apply(says(LEAVING));
    assert_eq!(deadlines(&mut world), [Some(deadline)]);
    world.apply(slice("b", Vec::new()));
    assert!(plans(&mut world).is_empty(), "said once");
}
