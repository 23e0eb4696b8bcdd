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

/// An affinity ends when there is nobody to go to: once endpoints are back, the client is picked for anew.
#[test]
fn affinity_is_forgotten_when_nobody_is_ready() {
    let settings = ServiceSettings { affinity_timeout: Some(Duration::from_secs(60)), ..Default::default() };
    let both = |conditions| {
        slice("a", vec![endpoint("p1", "10.0.0.1", conditions), endpoint("p2", "10.0.0.2", conditions)])
    };
    let mut world = World::with(settings, vec![both(READY)]);
    let hashed = Arc::clone(world.admit().unwrap().endpoint());
    let stuck = Arc::clone(world.admit_from("192.0.2.1", &[Arc::clone(&hashed)]).unwrap().endpoint());
    assert!(Arc::ptr_eq(world.admit().unwrap().endpoint(), &stuck));
    world.apply(both(NOT_READY));
    assert!(world.admit().is_err());
    world.apply(both(READY));
    assert!(Arc::ptr_eq(world.admit().unwrap().endpoint(), &hashed));
}

/// A worker whose snapshot is behind, and most of whose endpoints have closed, spreads flows over those that have not.
#[test]
fn an_old_snapshot_spreads_flows_over_what_is_left() {
    let says = |conditions: fn(u8) -> crate::Conditions| {
        let endpoints =
            (0..39).map(|i| endpoint(&std::format!("p{i}"), &std::format!("10.0.0.{i}"), conditions(i)));
        slice("a", endpoints.collect())
    };
    let mut world = World::listed(vec![says(|_| READY)]);
    let old = Arc::clone(world.snapshot.service(world.table.service_id(&web()).unwrap()).unwrap());
    world.apply(says(|i| if i % 13 == 0 { READY } else { LEAVING }));
    let key = FlowKey { client: "192.0.2.1".parse().unwrap() };
    let mut state = PickState::default();
    let flows: Vec<_> =
        (0..300).map(|_| old.admit(&key, &[], &mut state, &mut world.rng, world.now).unwrap()).collect();
    for address in ["10.0.0.0:80", "10.0.0.13:80", "10.0.0.26:80"] {
        let share = world.endpoint(address).endpoint.admission().flows();
        assert!(share > 60, "{address} has {share} of {}", flows.len());
    }
}

/// A worker that still takes an endpoint for the last resort gets in when it has become ready meanwhile.
#[test]
fn an_old_snapshot_of_the_last_resort_may_use_what_is_ready() {
    let settings =
        ServiceSettings { when_none_ready: crate::WhenNoneReady::ServingTerminating, ..Default::default() };
    let says = |conditions| slice("a", vec![endpoint("p1", "10.0.0.1", conditions)]);
    let mut world = World::with(settings, vec![says(LEAVING)]);
    let old = Arc::clone(world.snapshot.service(world.table.service_id(&web()).unwrap()).unwrap());
    world.apply(says(READY));
    let key = FlowKey { client: "192.0.2.1".parse().unwrap() };
    assert!(old.admit(&key, &[], &mut PickState::default(), &mut world.rng, world.now).is_ok());
}

/// Admissions close before others open: whoever watches never sees an endpoint that came in ahead of one that went.
#[test]
fn closing_comes_before_opening() {
    let says = |first, second| {
        let of = |net: u8, conditions| {
            (0..100_u8).map(move |i| {
                endpoint(&std::format!("p{net}-{i}"), &std::format!("10.0.{net}.{i}"), conditions)
            })
        };
        slice("a", of(0, first).chain(of(1, second)).collect())
    };
    for _ in 0..20 {
        let mut world = World::listed(vec![says(NOT_READY, READY)]);
        let [first, last] = ["10.0.0.0:80", "10.0.1.99:80"].map(|address| world.endpoint(address).endpoint);
        let (started, stop) = (AtomicBool::new(false), AtomicBool::new(false));
        thread::scope(|scope| {
            let stop = Stop(&stop);
            // Of all that opens the first is waited for, and of all that closes the last must have closed by then.
            let watch = scope.spawn(|| {
                started.store(true, Ordering::Release);
                while first.admission().mode() != crate::AdmissionMode::Open
                    && !stop.0.load(Ordering::Acquire)
                {
                    core::hint::spin_loop();
                }
                last.admission().mode()
            });
            while !started.load(Ordering::Acquire) {
                thread::yield_now();
            }
            world.apply(says(READY, NOT_READY));
            stop.0.store(true, Ordering::Release);
            assert_eq!(watch.join().unwrap(), crate::AdmissionMode::Closed);
        });
    }
}

/// The controller is called for the last flow of an endpoint that takes no new ones, and for no other.
#[test]
fn only_the_last_flow_of_a_closed_endpoint_is_reported() {
    let says = |conditions| slice("a", vec![endpoint("p1", "10.0.0.1", conditions)]);
    let mut world = World::listed(vec![says(READY)]);
    assert!(!world.admit().unwrap().release(), "an open endpoint may be empty");
    let flows = [world.admit().unwrap(), world.admit().unwrap()];
    world.apply(says(NOT_READY));
    assert_eq!(flows.map(Permit::release), [false, true]);
}

/// An endpoint that has become a last resort refuses workers that still take it for ready.
#[test]
fn an_old_snapshot_of_the_ready_may_not_use_the_last_resort() {
    let settings =
        ServiceSettings { when_none_ready: crate::WhenNoneReady::ServingTerminating, ..Default::default() };
    let says = |conditions| slice("a", vec![endpoint("p1", "10.0.0.1", conditions)]);
    let mut world = World::with(settings, vec![says(READY)]);
    let old = Arc::clone(world.snapshot.service(world.table.service_id(&web()).unwrap()).unwrap());
    world.apply(says(LEAVING));
    let key = FlowKey { client: "192.0.2.1".parse().unwrap() };
    let refused = old.admit(&key, &[], &mut PickState::default(), &mut world.rng, world.now);
    assert_eq!(refused.unwrap_err(), Refusal::Moving);
    assert!(world.admit().is_ok(), "whoever knows what it is gets in");
}
