use alloc::{vec, vec::Vec};
use std::string::String;

use crate::{
    Event, Refusal, ServiceSettings, WhenNoneReady,
    sample::{FAILING, LEAVING, NOT_READY, READY, World, endpoint, slice},
};

/// B5: before the first list nobody is refused for good.
#[test]
fn before_the_first_list_a_flow_hears_not_synced() {
    let mut world = World::new();
    assert_eq!(world.admit().unwrap_err(), Refusal::NotSynced);
    world.tell(Event::SlicesListed(Vec::new()));
    assert_eq!(world.admit().unwrap_err(), Refusal::NoneReady);
}

/// A5: one ready among many terminating ones gets everything.
#[test]
fn only_the_ready_one_among_terminating_ones_is_eligible() {
    let mut world = World::with(
        ServiceSettings { when_none_ready: WhenNoneReady::ServingTerminating, ..Default::default() },
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
    let settings =
        ServiceSettings { when_none_ready: WhenNoneReady::ServingTerminating, ..Default::default() };
    let mut world = World::with(settings, endpoints());
    assert_eq!(world.eligible(), ["10.0.0.1:80"]);
    assert!(world.view().last_resort);
    assert_eq!(world.admit().unwrap().endpoint().address(), "10.0.0.1:80".parse().unwrap());
}
