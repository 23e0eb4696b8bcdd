use alloc::{format, sync::Arc, vec, vec::Vec};
use core::time::Duration;

use crate::{
    AdmissionMode, Event, Output, Refusal, ServiceConfig, ServiceSettings,
    sample::{LEAVING, NOT_READY, READY, World, config, endpoint, of_service, port_of, slice, web},
};

/// S9: an update equal to what is known publishes nothing, says nothing, and leaves the generation.
#[test]
fn an_equal_update_is_no_change() {
    let slices = || vec![slice("a", vec![endpoint("p1", "10.0.0.1", READY)])];
    let mut world = World::listed(slices());
    let (generation, since) = (world.table.generation(), world.endpoint("10.0.0.1:80").since);
    world.said();
    world.wait_millis(10);
    for slice in slices() {
        world.apply(slice);
    }
    world.tell(Event::SlicesListed(slices()));
    world.tell(Event::ServicesConfigured(vec![config(web())]));
    world.tell(Event::NodeIs { name: None, zone: None });
    world.tell(Event::SliceDeleted(crate::sample::slice_name("nobody")));
    assert_eq!(world.table.generation(), generation);
    assert_eq!(world.endpoint("10.0.0.1:80").since, since);
    assert!(world.said().is_empty());
}

/// How fast flows of a service are told to go is one word for all its snapshots: a change gives nobody another turn.
#[test]
fn a_new_snapshot_keeps_the_pace() {
    let says = |conditions| {
        slice("a", vec![endpoint("p1", "10.0.0.1", READY), endpoint("p2", "10.0.0.2", conditions)])
    };
    let mut world = World::listed(vec![says(READY)]);
    let take = |world: &World| {
        let (_, service) = world.snapshot.services().next().expect("it is published");
        let paces = service.paces();
        (paces.drain.take(1, world.now), paces.lifetime.take(1, world.now))
    };
    assert_eq!(take(&world), (true, true));
    let generation = world.table.generation();
    world.apply(says(LEAVING));
    assert_eq!(world.table.generation(), generation + 1);
    assert_eq!(take(&world), (false, false));
}

/// A change that alters nothing for new flows needs no snapshot.
#[test]
fn a_change_among_the_ineligible_is_not_published() {
    let says = |conditions| {
        slice("a", vec![endpoint("p1", "10.0.0.1", READY), endpoint("p2", "10.0.0.2", conditions)])
    };
    let mut world = World::listed(vec![says(NOT_READY)]);
    let generation = world.table.generation();
    world.apply(says(LEAVING));
    assert_eq!(world.table.generation(), generation);
    assert!(world.endpoint("10.0.0.2:80").drain.is_some());
}

/// B7: events handled before one look are published together.
#[test]
fn a_burst_is_one_publish() {
    let mut world = World::listed(Vec::new());
    let publishes = world.publishes;
    let burst = (0..100_u32).map(|i| {
        Event::SliceApplied(slice(
            &format!("s{i}"),
            vec![endpoint(&format!("p{i}"), &format!("10.0.0.{i}"), READY)],
        ))
    });
    world.tell_all(burst);
    assert_eq!(world.publishes, publishes + 1);
    assert_eq!(world.eligible().len(), 100);
}

/// B7: a snapshot is handed out by the call that makes it, ahead of what was left to say before.
#[test]
fn a_snapshot_comes_ahead_of_older_notices() {
    let mut world = World::listed(vec![slice("a", vec![endpoint("p1", "10.0.0.1", READY)])]);
    // Two looks that each take one output and leave the notices.
    world.table.handle_event(
        Event::SliceApplied(slice("a", vec![endpoint("p1", "10.0.0.1", NOT_READY)])),
        world.now,
    );
    let first = world.table.poll_output(world.now);
    assert!(matches!(first, Some(Output::Publish(_))), "the snapshot is first: {first:?}");
    world
        .table
        .handle_event(Event::SliceApplied(slice("a", vec![endpoint("p1", "10.0.0.1", READY)])), world.now);
    let second = world.table.poll_output(world.now);
    assert!(matches!(second, Some(Output::Publish(_))), "ahead of older notices: {second:?}");
}

/// Only the service that changed is built anew; the others' parts are the very same.
#[test]
fn other_services_are_not_rebuilt() {
    let api = port_of("api");
    let mut world = World::of(vec![config(web()), config(api.clone())]);
    world.tell(Event::SlicesListed(vec![
        slice("a", vec![endpoint("p1", "10.0.0.1", READY)]),
        of_service(slice("x", vec![endpoint("p2", "10.0.0.2", READY)]), "api"),
    ]));
    let before = Arc::clone(&world.snapshot);
    world.apply(slice("a", vec![endpoint("p1", "10.0.0.1", NOT_READY)]));
    let (web, api) = (world.table.service_id(&web()).unwrap(), world.table.service_id(&api).unwrap());
    assert!(Arc::ptr_eq(before.service(api).unwrap(), world.snapshot.service(api).unwrap()));
    assert!(!Arc::ptr_eq(before.service(web).unwrap(), world.snapshot.service(web).unwrap()));
}

/// Admissions have changed by the time the snapshot is handed out.
#[test]
fn admissions_change_before_the_snapshot_is_out() {
    let says = |first, second| {
        slice("a", vec![endpoint("p1", "10.0.0.1", first), endpoint("p2", "10.0.0.2", second)])
    };
    let mut world = World::listed(vec![says(READY, NOT_READY)]);
    let [first, second] = ["10.0.0.1:80", "10.0.0.2:80"].map(|address| world.endpoint(address).endpoint);
    world.table.handle_event(Event::SliceApplied(says(LEAVING, READY)), world.now);
    assert_eq!(first.admission().mode(), AdmissionMode::Open, "nothing is decided before the look");
    let Some(Output::Publish(_)) = world.table.poll_output(world.now) else {
        panic!("the snapshot is first")
    };
    assert_eq!(first.admission().mode(), AdmissionMode::Closed);
    assert_eq!(second.admission().mode(), AdmissionMode::Open);
}

/// A reload of settings reaches the snapshot and touches no flow; affinity lives on while it stays configured.
#[test]
fn a_reload_changes_settings_only() {
    let with = |settings| Event::ServicesConfigured(vec![ServiceConfig { settings, ..config(web()) }]);
    let mut world = World::listed(vec![slice("a", vec![endpoint("p1", "10.0.0.1", READY)])]);
    let flow = world.admit().unwrap();
    let affinity = |world: &World| {
        let id = world.table.service_id(&web()).unwrap();
        world.snapshot.service(id).unwrap().affinity().cloned()
    };
    let minute = Duration::from_secs(60);
    world.tell(with(ServiceSettings { affinity_timeout: Some(minute), ..Default::default() }));
    let table = affinity(&world).expect("it has affinity");
    world.tell(with(ServiceSettings { affinity_timeout: Some(2 * minute), ..Default::default() }));
    assert!(Arc::ptr_eq(&table, &affinity(&world).unwrap()));
    world.apply(slice("b", vec![endpoint("p2", "10.0.0.2", READY)]));
    assert!(Arc::ptr_eq(&table, &affinity(&world).unwrap()));
    world.tell(with(ServiceSettings::default()));
    assert!(affinity(&world).is_none());
    assert!(Arc::ptr_eq(&world.endpoint("10.0.0.1:80").endpoint, flow.endpoint()));
    assert_eq!(flow.endpoint().admission().flows(), 1);
}

/// Two services may share a Service; each has endpoints of its own, and a slot of its own.
#[test]
fn services_of_one_name_are_apart() {
    let both = |number| {
        crate::sample::with_ports(
            slice("a", vec![endpoint("p1", "10.0.0.1", READY)]),
            &[("http", 80), ("grpc", number)],
        )
    };
    let grpc = crate::ServicePort { port: Some("grpc".into()), ..web() };
    let mut world = World::of(vec![config(web()), config(grpc.clone())]);
    world.tell(Event::SlicesListed(vec![both(81)]));
    assert_eq!(
        (world.eligible(), world.eligible_of(&grpc)),
        (vec!["10.0.0.1:80".into()], vec!["10.0.0.1:81".into()])
    );
    let before = Arc::clone(&world.snapshot);
    world.apply(both(82));
    let slot = world.table.service_id(&web()).unwrap();
    assert!(Arc::ptr_eq(before.service(slot).unwrap(), world.snapshot.service(slot).unwrap()));
    assert_eq!(world.eligible_of(&grpc), ["10.0.0.1:82"]);
}

/// A slot is never used for another service: a worker may still have a listener that points to it.
#[test]
fn slots_are_not_used_again() {
    let mut world = World::listed(Vec::new());
    let slot = world.table.service_id(&web());
    world.tell(Event::ServicesConfigured(vec![config(port_of("api"))]));
    assert_ne!(world.table.service_id(&port_of("api")), slot);
    assert!(world.snapshot.service(slot.unwrap()).is_none());
    assert_eq!(world.table.services().len(), 1);
    world.tell(Event::ServicesConfigured(vec![config(web())]));
    assert_eq!(world.table.service_id(&web()), slot);
}

/// B5: before the first list nobody is refused for good.
#[test]
fn before_the_first_list_a_flow_hears_not_synced() {
    let mut world = World::of(vec![config(web())]);
    assert_eq!(world.admit().unwrap_err(), Refusal::NotSynced);
    assert!(world.said().is_empty(), "nothing is known, so nothing is said");
    world.tell(Event::SlicesListed(Vec::new()));
    assert_eq!(world.admit().unwrap_err(), Refusal::NoneReady);
    assert_eq!(world.said(), ["eligible default/web:http 0"]);
}

/// What one family's endpoints are picked with is not built anew because the other's have changed, or a setting that
/// has nothing to do with picks; it is when the policy or affinity changes.
#[test]
fn pick_sets_are_kept_where_nothing_changed_for_them() {
    let with = |settings| Event::ServicesConfigured(vec![ServiceConfig { settings, ..config(web()) }]);
    let affinity = ServiceSettings { affinity_timeout: Some(Duration::from_secs(60)), ..Default::default() };
    let v6 = |conditions| slice("b", vec![endpoint("p1", "2001:db8::1", conditions)]);
    let mut world =
        World::with(affinity.clone(), vec![slice("a", vec![endpoint("p1", "10.0.0.1", READY)]), v6(READY)]);
    let set = |world: &World| {
        let id = world.table.service_id(&web()).unwrap();
        Arc::clone(&world.snapshot.service(id).unwrap().v4)
    };
    let (before, generation) = (set(&world), world.table.generation());
    world.apply(v6(NOT_READY));
    world.tell(with(ServiceSettings { connect_attempts: 9, ..affinity.clone() }));
    assert_eq!(world.table.generation(), generation + 2);
    assert!(Arc::ptr_eq(&before, &set(&world)));
    world.tell(with(ServiceSettings { policy: crate::Policy::RoundRobin, ..affinity }));
    let other = set(&world);
    assert!(!Arc::ptr_eq(&before, &other));
    world.tell(with(ServiceSettings { policy: crate::Policy::RoundRobin, ..Default::default() }));
    assert!(!Arc::ptr_eq(&other, &set(&world)));
}
