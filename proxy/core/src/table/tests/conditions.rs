use alloc::{vec, vec::Vec};
use std::string::String;

use crate::{
    Conditions, Event, OnRemoval, Output, Refusal, ServiceSettings, WhenNoneReady,
    sample::{FAILING, LEAVING, NOT_READY, READY, World, endpoint, slice},
};

fn last_resort() -> ServiceSettings {
    ServiceSettings { when_none_ready: WhenNoneReady::ServingTerminating, ..Default::default() }
}

/// A1, A2: absent conditions are ready, serving and not terminating; an absent `serving` follows `ready`.
#[test]
fn absent_conditions_have_the_documented_meaning() {
    assert_eq!(Conditions::from_api(None, None, None), READY);
    assert_eq!(Conditions::from_api(Some(false), None, None), NOT_READY);
    assert_eq!(Conditions::from_api(Some(false), None, Some(true)), FAILING);
    let world = World::listed(vec![slice(
        "a",
        vec![
            endpoint("p1", "10.0.0.1", Conditions::from_api(None, None, None)),
            endpoint("p2", "10.0.0.2", Conditions::from_api(Some(false), None, None)),
        ],
    )]);
    assert_eq!(world.eligible(), ["10.0.0.1:80"]);
}

/// A2: under the last resort too, an endpoint that is not ready and does not say `serving` takes nothing.
#[test]
fn not_ready_without_a_word_on_serving_is_no_last_resort() {
    let conditions = Conditions::from_api(Some(false), None, Some(true));
    let world = World::with(last_resort(), vec![slice("a", vec![endpoint("p1", "10.0.0.1", conditions)])]);
    assert_eq!(world.eligible(), Vec::<String>::new());
}

/// A3: ready and terminating (publishNotReadyAddresses) takes new flows and is no drain.
#[test]
fn ready_and_terminating_takes_new_flows() {
    let conditions = Conditions { ready: true, serving: true, terminating: true };
    let mut world = World::listed(vec![slice("a", vec![endpoint("p1", "10.0.0.1", conditions)])]);
    assert!(world.admit().is_ok());
    assert!(world.endpoint("10.0.0.1:80").drain.is_none());
}

/// A4: while an endpoint terminates its `serving` may flip; the last resort follows, flows that exist do not.
#[test]
fn serving_may_flip_while_terminating() {
    let mut world = World::with(last_resort(), vec![slice("a", vec![endpoint("p1", "10.0.0.1", READY)])]);
    let flow = world.admit().unwrap();
    for (conditions, takes) in [(LEAVING, true), (FAILING, false), (LEAVING, true)] {
        world.apply(slice("a", vec![endpoint("p1", "10.0.0.1", conditions)]));
        assert_eq!(world.admit().is_ok(), takes, "{conditions:?}");
        assert_eq!(world.endpoint("10.0.0.1:80").endpoint.admission().flows(), 1);
    }
    assert!(flow.release());
}

/// A5: one ready among many terminating ones gets everything.
#[test]
fn only_the_ready_one_among_terminating_ones_is_eligible() {
    let mut world = World::with(
        last_resort(),
        vec![slice(
            "a",
            vec![
                endpoint("p1", "10.0.0.1", LEAVING),
                endpoint("p2", "10.0.0.2", READY),
                endpoint("p3", "10.0.0.3", LEAVING),
                endpoint("p4", "10.0.0.4", FAILING),
            ],
        )],
    );
    assert_eq!(world.eligible(), ["10.0.0.2:80"]);
    for _ in 0..20 {
        assert_eq!(world.admit().unwrap().endpoint().address(), "10.0.0.2:80".parse().unwrap());
    }
}

/// A6, A7: with none ready new flows are refused, unless the service lets serving and terminating ones take them;
/// one that is not serving takes none in any case.
#[test]
fn with_none_ready_only_the_last_resort_may_serve() {
    let endpoints = || {
        vec![slice(
            "a",
            vec![
                endpoint("p1", "10.0.0.1", LEAVING),
                endpoint("p2", "10.0.0.2", FAILING),
                endpoint("p3", "10.0.0.3", NOT_READY),
            ],
        )]
    };
    let mut world = World::listed(endpoints());
    assert_eq!(world.eligible(), Vec::<String>::new());
    assert_eq!(world.admit().unwrap_err(), Refusal::NoneReady);
    let mut world = World::with(last_resort(), endpoints());
    assert_eq!(world.eligible(), ["10.0.0.1:80"]);
    assert!(world.view().last_resort);
    assert_eq!(world.admit().unwrap().endpoint().address(), "10.0.0.1:80".parse().unwrap());
}

/// A7: flows go on when nobody is ready, and the operator hears that there is nobody.
#[test]
fn flows_outlive_the_last_ready_endpoint() {
    let mut world = World::listed(vec![slice("a", vec![endpoint("p1", "10.0.0.1", READY)])]);
    let flow = world.admit().unwrap();
    world.said();
    world.apply(slice("a", vec![endpoint("p1", "10.0.0.1", NOT_READY)]));
    assert_eq!(world.admit().unwrap_err(), Refusal::NoneReady);
    assert_eq!(world.said(), ["changed 10.0.0.1:80", "eligible default/web:http 0"]);
    assert_eq!(flow.endpoint().admission().flows(), 1);
}

/// A17: an endpoint that vanishes without a terminating phase is reported as such, with the service's policy.
#[test]
fn vanishing_without_terminating_is_told_apart() {
    let settings = ServiceSettings { on_removal: OnRemoval::Close, ..Default::default() };
    let mut world = World::with(
        settings,
        vec![slice("a", vec![endpoint("p1", "10.0.0.1", READY), endpoint("p2", "10.0.0.2", READY)])],
    );
    let flows =
        [world.admit().unwrap(), world.admit().unwrap(), world.admit().unwrap(), world.admit().unwrap()];
    assert!(flows.iter().any(|flow| flow.endpoint().address() == "10.0.0.1:80".parse().unwrap()));
    assert!(flows.iter().any(|flow| flow.endpoint().address() == "10.0.0.2:80".parse().unwrap()));
    world.apply(slice("a", vec![endpoint("p1", "10.0.0.1", READY), endpoint("p2", "10.0.0.2", LEAVING)]));
    world.apply(slice("a", Vec::new()));
    let mut gone: Vec<_> = world
        .outputs
        .iter()
        .filter_map(|output| match output {
            Output::EndpointGone { endpoint, was_terminating, on_removal, .. } => {
                Some((endpoint.address().ip(), *was_terminating, *on_removal))
            }
            _ => None,
        })
        .collect();
    gone.sort_by_key(|(address, _, _)| *address);
    assert_eq!(
        gone,
        [
            ("10.0.0.1".parse().unwrap(), false, OnRemoval::Close),
            ("10.0.0.2".parse().unwrap(), true, OnRemoval::Close),
        ]
    );
    assert!(world.endpoint("10.0.0.1:80").drain.is_none());
    assert!(world.endpoint("10.0.0.2:80").drain.is_some());
}

/// A17: terminating and gone between two looks at the outputs is terminating all the same.
#[test]
fn a_terminating_phase_that_was_coalesced_away_still_counts() {
    let mut world = World::listed(vec![slice("a", vec![endpoint("p1", "10.0.0.1", READY)])]);
    let _flow = world.admit().unwrap();
    world.said();
    world.tell_all([
        Event::SliceApplied(slice("a", vec![endpoint("p1", "10.0.0.1", LEAVING)])),
        Event::SliceApplied(slice("a", Vec::new())),
    ]);
    let said = world.said();
    assert!(said.contains(&String::from("gone 10.0.0.1:80 terminating=true")));
    assert!(
        said.contains(&String::from("drain 10.0.0.1:80 1 flows: slice default/a says terminating")),
        "{said:?}"
    );
}

/// A17: the same of an endpoint without flows: there is no drain to speak of.
#[test]
fn a_coalesced_end_without_flows_is_no_drain() {
    let mut world = World::listed(vec![slice("a", vec![endpoint("p1", "10.0.0.1", READY)])]);
    world.said();
    world.tell_all([
        Event::SliceApplied(slice("a", vec![endpoint("p1", "10.0.0.1", LEAVING)])),
        Event::SliceApplied(slice("a", Vec::new())),
    ]);
    assert_eq!(world.said(), ["removed 10.0.0.1:80 0 flows", "eligible default/web:http 0"]);
}

/// A17: an endpoint that lost its address while a slice says it is terminating was terminating, though nobody saw it
/// so; one whose address another pod had while that one was terminating was not.
#[test]
fn terminating_is_said_of_the_pod_that_was() {
    let of = |uid, conditions| vec![endpoint(uid, "10.0.0.1", conditions)];
    let mut world = World::listed(vec![slice("a", of("old", READY))]);
    let _flow = world.admit().unwrap();
    world.tell_all([
        Event::SliceApplied(slice("a", of("old", LEAVING))),
        Event::SliceApplied(slice("b", of("new", READY))),
    ]);
    assert!(world.said().contains(&String::from("gone 10.0.0.1:80 terminating=true")));
    let _flow = world.admit().unwrap();
    world.tell_all(["a", "b"].map(|name| Event::SliceDeleted(crate::sample::slice_name(name))));
    assert!(world.said().contains(&String::from("gone 10.0.0.1:80 terminating=false")));
}

/// A20: ready, not ready, ready again: the same endpoint, and its flows never noticed.
#[test]
fn a_flap_keeps_endpoint_and_flows() {
    let mut world = World::listed(vec![slice("a", vec![endpoint("p1", "10.0.0.1", READY)])]);
    let flow = world.admit().unwrap();
    world.said();
    for conditions in [NOT_READY, READY, NOT_READY, READY] {
        world.apply(slice("a", vec![endpoint("p1", "10.0.0.1", conditions)]));
        let view = world.endpoint("10.0.0.1:80");
        assert!(alloc::sync::Arc::ptr_eq(&view.endpoint, flow.endpoint()));
        assert_eq!(view.endpoint.admission().flows(), 1);
        assert!(view.drain.is_none(), "not being ready is no drain");
    }
    let said = world.said();
    assert!(said.iter().all(|line| line.starts_with("changed") || line.starts_with("eligible")), "{said:?}");
}

/// Where there is nobody, there is no last resort either; and the view says of each endpoint whether it is eligible.
#[test]
fn the_view_says_who_is_eligible() {
    let says = |conditions| {
        slice("a", vec![endpoint("p1", "10.0.0.1", NOT_READY), endpoint("p2", "10.0.0.2", conditions)])
    };
    let mut world = World::with(last_resort(), vec![says(READY)]);
    let eligible =
        |world: &World| world.view().endpoints.iter().map(|view| view.eligible).collect::<Vec<_>>();
    assert_eq!(eligible(&world), [false, true]);
    world.apply(says(FAILING));
    assert_eq!(eligible(&world), [false, false]);
    assert!(!world.view().last_resort);
}

/// `since` is when the conditions last changed, or when the endpoint went.
#[test]
fn since_follows_the_conditions() {
    let mut world = World::listed(vec![slice("a", vec![endpoint("p1", "10.0.0.1", READY)])]);
    let _flow = world.admit().unwrap();
    for endpoints in [vec![endpoint("p1", "10.0.0.1", NOT_READY)], Vec::new()] {
        world.wait_millis(10);
        world.apply(slice("a", endpoints));
        assert_eq!(world.endpoint("10.0.0.1:80").since, world.now);
    }
}
