use alloc::{sync::Arc, vec, vec::Vec};
use core::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Duration,
};
use std::thread;

use crate::{
    FlowKey, Permit, PickState, Refusal, Rng, ServiceSettings,
    sample::{LEAVING, NOT_READY, READY, World, endpoint, slice, web},
};

/// D4: an endpoint that was tried is not picked again; when all were, that is said.
#[test]
fn a_tried_endpoint_is_never_picked_again() {
    let endpoints =
        (1..=5_u8).map(|i| endpoint(&std::format!("p{i}"), &std::format!("10.0.0.{i}"), READY)).collect();
    let mut world = World::listed(vec![slice("a", endpoints)]);
    let mut tried = Vec::new();
    for _ in 0..5 {
        let permit = world.admit_from("192.0.2.1", &tried).unwrap();
        assert!(!tried.iter().any(|other| Arc::ptr_eq(other, permit.endpoint())));
        tried.push(Arc::clone(permit.endpoint()));
    }
    assert_eq!(world.admit_from("192.0.2.1", &tried).unwrap_err(), Refusal::AllTried);
}

/// A21: an affinity to a draining endpoint is dropped: the next flow goes elsewhere and sticks there.
#[test]
fn affinity_leaves_a_draining_endpoint() {
    let settings = ServiceSettings { affinity_timeout: Some(Duration::from_secs(60)), ..Default::default() };
    let says = |conditions: [crate::Conditions; 3]| {
        let endpoints = conditions.into_iter().zip(1..).map(|(conditions, i): (_, u8)| {
            endpoint(&std::format!("p{i}"), &std::format!("10.0.0.{i}"), conditions)
        });
        slice("a", endpoints.collect())
    };
    let mut world = World::with(settings, vec![says([READY; 3])]);
    let address = |world: &mut World| world.admit().unwrap().endpoint().address();
    let first = address(&mut world);
    assert!((0..10).all(|_| address(&mut world) == first));
    let place = world.view().endpoints.iter().position(|view| view.endpoint.address() == first).unwrap();
    let mut conditions = [READY; 3];
    conditions[place] = LEAVING;
    world.apply(says(conditions));
    let second = address(&mut world);
    assert_ne!(first, second);
    world.apply(says([READY; 3]));
    assert!(
        (0..10).all(|_| address(&mut world) == second),
        "stuck to the new one, though the old one is back"
    );
}

/// A21: a client that was sent elsewhere because its endpoint could not be reached sticks there.
#[test]
fn affinity_follows_a_retry() {
    let settings = ServiceSettings { affinity_timeout: Some(Duration::from_secs(60)), ..Default::default() };
    let endpoints = vec![endpoint("p1", "10.0.0.1", READY), endpoint("p2", "10.0.0.2", READY)];
    let mut world = World::with(settings, vec![slice("a", endpoints)]);
    let first = Arc::clone(world.admit().unwrap().endpoint());
    let retried = Arc::clone(world.admit_from("192.0.2.1", &[Arc::clone(&first)]).unwrap().endpoint());
    assert!(!Arc::ptr_eq(&first, &retried));
    assert!(Arc::ptr_eq(world.admit().unwrap().endpoint(), &retried));
}

/// Affinity ends when no flow has begun for its timeout, and not before.
#[test]
fn affinity_times_out_after_the_last_flow_began() {
    let settings = ServiceSettings { affinity_timeout: Some(Duration::from_secs(2)), ..Default::default() };
    let both = || vec![endpoint("p1", "10.0.0.1", READY), endpoint("p2", "10.0.0.2", READY)];
    let mut world = World::with(settings, vec![slice("a", both())]);
    let hashed = world.admit().unwrap().endpoint().address();
    // Stick the client to the endpoint that its hash does not name.
    let tried = [Arc::clone(world.admit().unwrap().endpoint())];
    let stuck = world.admit_from("192.0.2.1", &tried).unwrap().endpoint().address();
    assert_ne!(hashed, stuck);
    for _ in 0..3 {
        world.wait_millis(1_999);
        assert_eq!(world.admit().unwrap().endpoint().address(), stuck, "each flow begins the time anew");
    }
    world.wait_millis(2_000);
    assert_eq!(world.admit().unwrap().endpoint().address(), hashed);
}

/// D5: an old snapshot never gets a flow onto an endpoint that has closed.
#[test]
fn an_old_snapshot_cannot_reach_a_closed_endpoint() {
    let mut world = World::listed(vec![slice(
        "a",
        vec![endpoint("p1", "10.0.0.1", READY), endpoint("p2", "10.0.0.2", READY)],
    )]);
    let old = Arc::clone(world.snapshot.service(world.table.service_id(&web()).unwrap()).unwrap());
    let key = FlowKey { client: "192.0.2.1".parse().unwrap() };
    world.apply(slice("a", vec![endpoint("p1", "10.0.0.1", LEAVING), endpoint("p2", "10.0.0.2", READY)]));
    let mut state = PickState::default();
    for _ in 0..50 {
        let permit = old.admit(&key, &[], &mut state, &mut world.rng, world.now).unwrap();
        assert_eq!(permit.endpoint().address(), "10.0.0.2:80".parse().unwrap());
    }
    world.apply(slice("a", vec![endpoint("p1", "10.0.0.1", LEAVING), endpoint("p2", "10.0.0.2", NOT_READY)]));
    let refused = old.admit(&key, &[], &mut state, &mut world.rng, world.now);
    assert_eq!(refused.unwrap_err(), Refusal::Moving, "a newer snapshot is on its way");
}

/// Stops the workers also when a check fails, so that the failure is seen and not waited for.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// D5: with workers admitting while an endpoint closes, the count at the close is exact: it never grows after.
#[test]
fn the_count_at_a_close_is_exact() {
    let mut world = World::listed(vec![slice("a", vec![endpoint("p1", "10.0.0.1", READY)])]);
    let service = Arc::clone(world.snapshot.service(world.table.service_id(&web()).unwrap()).unwrap());
    let endpoint_view = world.endpoint("10.0.0.1:80");
    let (stop, admitted, released) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    thread::scope(|scope| {
        let _stop = Stop(&stop);
        for seed in 0..3 {
            let (service, stop, admitted, released) = (&service, &stop, &admitted, &released);
            scope.spawn(move || {
                let key = FlowKey { client: "192.0.2.1".parse().unwrap() };
                let (mut state, mut rng) = (PickState::default(), Rng::new(seed));
                let mut flows: Vec<Permit> = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    if let Ok(permit) =
                        service.admit(&key, &[], &mut state, &mut rng, crate::Timestamp::default())
                    {
                        admitted.fetch_add(1, Ordering::Relaxed);
                        flows.push(permit);
                    }
                    if flows.len() > 8 {
                        flows.remove(rng.below(8)).release();
                        released.fetch_add(1, Ordering::Relaxed);
                    }
                }
                // The flows outlive the workers' loop.
                core::mem::forget(flows);
            });
        }
        for round in 0..80 {
            let says = if round % 2 == 0 { LEAVING } else { READY };
            world.apply(slice("a", vec![endpoint("p1", "10.0.0.1", says)]));
            if round % 2 == 0 {
                let mut least = endpoint_view.endpoint.admission().flows();
                for _ in 0..20 {
                    let flows = endpoint_view.endpoint.admission().flows();
                    assert!(flows <= least, "closed, yet it grew from {least} to {flows}");
                    least = flows;
                    thread::yield_now();
                }
            }
        }
    });
    let left = admitted.into_inner() - released.into_inner();
    assert_eq!(endpoint_view.endpoint.admission().flows(), left);
}
