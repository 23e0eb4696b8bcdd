//! The worlds do what their names say, or their figures would be of something else.

use tidegate_core::{Policy, ServicePort};

use crate::{
    picks::{Entrance, PickBy, Picks},
    relay::Relay,
    updates::{Size, Updates},
};

#[test]
fn every_flow_that_was_picked_for_has_left_again() {
    for by in PickBy::ALL {
        let mut picks = Picks::new(by, 10);
        (0..1000).for_each(|_| picks.decide());
        assert!(picks.load());
        let snapshot = picks.published();
        let endpoints: Vec<_> = snapshot.service(picks.service()).unwrap().endpoints().collect();
        assert_eq!(endpoints.len(), 10, "{}", by.name());
        assert!(endpoints.iter().all(|endpoint| endpoint.admission().flows() == 0), "{}", by.name());
    }
    assert!(!Entrance::default().pass(), "an open endpoint that is empty is nothing to report");
}

#[test]
fn affinity_knows_every_client_and_other_policies_none() {
    let known = |by| {
        let picks = Picks::new(by, 10);
        let snapshot = picks.published();
        let service = snapshot.service(picks.service()).unwrap();
        service.affinity().map(|affinity| affinity.entries().count())
    };
    assert_eq!(known(PickBy::Affinity), Some(4096));
    assert_eq!(known(PickBy::Even(Policy::Maglev)), None);
}

#[test]
fn an_update_publishes_one_endpoint_less_or_more() {
    let mut updates = Updates::new(Size { services: 5, slices: 3, endpoints: 4 });
    let port: ServicePort = updates.changing();
    let first = updates.generation();
    for (turn, eligible) in [11, 12, 11, 12].into_iter().enumerate() {
        let event = updates.next_event();
        assert!(updates.apply(event) >= 2, "a snapshot and a notice");
        assert_eq!(updates.generation(), first + 1 + turn as u64);
        assert_eq!(updates.eligible(&port), Some(eligible));
    }
    let other = ServicePort { service: tidegate_core::ServiceName::new("default", "web-0000"), ..port };
    assert_eq!(updates.eligible(&other), Some(12));
}

#[test]
fn flows_open_carry_bytes_and_end() {
    let relay = Relay::start().unwrap();
    for _ in 0..3 {
        let mut ends = relay.open().unwrap();
        (0..5).for_each(|_| ends.trip().unwrap());
        relay.close(ends).unwrap();
    }
}
