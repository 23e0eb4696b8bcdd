use alloc::{vec, vec::Vec};

use crate::{
    Event, ServiceSettings, WhenNoneReady,
    sample::{FAILING, LEAVING, NOT_READY, READY, World, endpoint, slice},
};

fn says(conditions: crate::Conditions) -> crate::Slice {
    slice("a", vec![endpoint("p1", "10.0.0.1", conditions)])
}

/// D1: terminating begins a drain with its count; the last flow's end is its end.
#[test]
fn a_drain_counts_down_to_drained() {
    let mut world = World::listed(vec![says(READY)]);
    let (first, second) = (world.admit().unwrap(), world.admit().unwrap());
    let id = first.endpoint().id();
    world.said();
    world.wait_millis(100);
    world.apply(says(LEAVING));
    assert_eq!(
        world.said(),
        [
            "changed 10.0.0.1:80",
            "drain 10.0.0.1:80 2 flows: slice default/a says terminating",
            "eligible default/web:http 0",
        ]
    );
    let drain = world.endpoint("10.0.0.1:80").drain.unwrap();
    assert_eq!((drain.since, drain.flows_at_start, drain.drained), (world.now, 2, None));
    world.wait_millis(50);
    assert!(!first.release());
    world.tell(Event::EndpointEmptied(id));
    assert!(world.said().is_empty(), "one flow is left");
    world.wait_millis(50);
    assert!(second.release(), "the last one of a closed endpoint");
    world.tell(Event::EndpointEmptied(id));
    assert_eq!(world.said(), ["drained 10.0.0.1:80 after 100 ms"]);
    assert_eq!(world.endpoint("10.0.0.1:80").drain.unwrap().drained, Some(world.now));
    world.tell(Event::EndpointEmptied(id));
    assert!(world.said().is_empty(), "once");
}

/// D1: an endpoint without flows is drained at once.
#[test]
fn a_drain_without_flows_is_over_at_once() {
    let mut world = World::listed(vec![says(READY)]);
    world.said();
    world.apply(says(FAILING));
    assert!(world.said().contains(&"drained 10.0.0.1:80 after 0 ms".into()));
}

/// A lost report costs at most one tick.
#[test]
fn a_tick_finds_what_no_report_told() {
    let mut world = World::listed(vec![says(READY)]);
    let flow = world.admit().unwrap();
    world.apply(says(LEAVING));
    world.said();
    flow.release();
    world.wait_millis(1_000);
    world.table.handle_tick(world.now);
    world.poll();
    assert_eq!(world.said(), ["drained 10.0.0.1:80 after 1000 ms"]);
    // The same for an endpoint that is gone.
    world.apply(says(READY));
    let flow = world.admit().unwrap();
    world.apply(slice("a", Vec::new()));
    flow.release();
    world.table.handle_tick(world.now);
    assert!(world.find("10.0.0.1:80").is_none());
}

/// D8: ready again undoes the drain.
#[test]
fn ready_again_undoes_the_drain() {
    let mut world = World::listed(vec![says(READY)]);
    let _flow = world.admit().unwrap();
    world.apply(says(LEAVING));
    world.said();
    world.apply(says(READY));
    assert_eq!(
        world.said(),
        ["changed 10.0.0.1:80", "undone 10.0.0.1:80 1 flows", "eligible default/web:http 1"]
    );
    assert!(world.endpoint("10.0.0.1:80").drain.is_none());
    assert!(world.admit().is_ok());
}

/// Not being ready is no drain; terminating after that is.
#[test]
fn not_ready_alone_is_no_drain() {
    let mut world = World::listed(vec![says(READY)]);
    world.apply(says(NOT_READY));
    assert!(world.endpoint("10.0.0.1:80").drain.is_none());
    world.apply(says(FAILING));
    assert!(world.endpoint("10.0.0.1:80").drain.is_some());
}

/// A drain goes on after the endpoint has left its slices, and ends with its last flow.
#[test]
fn a_drain_outlives_the_slice() {
    let mut world = World::listed(vec![says(READY)]);
    let flow = world.admit().unwrap();
    world.apply(says(LEAVING));
    world.apply(slice("a", Vec::new()));
    let view = world.endpoint("10.0.0.1:80");
    assert_eq!((view.conditions, view.drain.unwrap().flows_at_start), (None, 1));
    world.said();
    let id = flow.endpoint().id();
    flow.release();
    world.tell(Event::EndpointEmptied(id));
    assert_eq!(world.said(), ["drained 10.0.0.1:80 after 0 ms"]);
    assert!(world.find("10.0.0.1:80").is_none());
}

/// A drained last resort that is needed again is not drained while it has flows.
#[test]
fn a_drained_last_resort_may_be_needed_again() {
    let settings =
        ServiceSettings { when_none_ready: WhenNoneReady::ServingTerminating, ..Default::default() };
    let mut world = World::with(settings, vec![says(LEAVING)]);
    assert!(world.endpoint("10.0.0.1:80").drain.unwrap().drained.is_some());
    let flow = world.admit().unwrap();
    assert!(world.endpoint("10.0.0.1:80").drain.unwrap().drained.is_none());
    world.table.handle_tick(world.now);
    world.said();
    let id = flow.endpoint().id();
    assert!(flow.release());
    world.tell(Event::EndpointEmptied(id));
    assert_eq!(world.said().len(), 1, "drained once more");
}

/// D9: all endpoints drain at once: new flows are refused, all flows go on.
#[test]
fn all_endpoints_may_drain_at_once() {
    let all = |conditions| {
        slice("a", vec![endpoint("p1", "10.0.0.1", conditions), endpoint("p2", "10.0.0.2", conditions)])
    };
    let mut world = World::listed(vec![all(READY)]);
    let flows: Vec<_> = (0..10).map(|_| world.admit().unwrap()).collect();
    world.apply(all(LEAVING));
    assert!(world.admit().is_err());
    let counted: u64 = world.view().endpoints.iter().map(|view| view.endpoint.admission().flows()).sum();
    assert_eq!(counted, flows.len() as u64);
}

/// A drain that is on when its endpoint goes is the same drain: it does not begin again.
#[test]
fn going_does_not_begin_a_drain_again() {
    let mut world = World::listed(vec![says(READY)]);
    let _flow = world.admit().unwrap();
    world.apply(says(LEAVING));
    let since = world.endpoint("10.0.0.1:80").drain.unwrap().since;
    world.said();
    world.wait_millis(10);
    world.apply(slice("a", Vec::new()));
    assert_eq!(world.said(), ["gone 10.0.0.1:80 terminating=true", "removed 10.0.0.1:80 1 flows"]);
    assert_eq!(world.endpoint("10.0.0.1:80").drain.unwrap().since, since);
}

/// An endpoint that went while it drained and comes back ready takes new flows: what it was is not what it is.
#[test]
fn back_and_ready_is_ready() {
    let mut world = World::listed(vec![says(READY)]);
    let flow = world.admit().unwrap();
    world.apply(says(LEAVING));
    world.apply(slice("a", Vec::new()));
    world.apply(says(READY));
    let view = world.endpoint("10.0.0.1:80");
    assert!(alloc::sync::Arc::ptr_eq(&view.endpoint, flow.endpoint()));
    assert!(view.drain.is_none() && view.eligible);
}

/// A lost report of a service that was given up costs one tick as well: then nothing is left of it.
#[test]
fn a_tick_ends_a_service_that_was_given_up() {
    let mut world = World::listed(vec![says(READY)]);
    let flow = world.admit().unwrap();
    world.tell(Event::ServicesConfigured(Vec::new()));
    world.table.handle_tick(world.now);
    assert_eq!(world.table.services().len(), 1);
    flow.release();
    world.table.handle_tick(world.now);
    assert!(world.table.services().is_empty());
}
