//! Endpoints that move between slices, change their numbers, or come back.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use tidegate_tests::support::{Connection, Endpoint, Slice, SliceEndpoint, until};

use crate::setup;

/// A8: an endpoint is in two slices while it moves from one to the other. It is one endpoint all the time, its flow
/// stays, and there is no moment at which a new flow is refused.
#[test]
fn endpoint_that_moves_between_slices_is_never_missing() {
    let endpoint = Endpoint::greeting();
    let (here, there) = (Slice::ready("web-1", [&endpoint]), Slice::ready("web-2", [&endpoint]));
    let proxy = setup().slice(&here).start();
    let (mut old, _) = proxy.connect_greeted();
    let id = proxy.endpoint(&endpoint).unwrap().id;
    let ending = Arc::new(AtomicBool::new(false));
    let clients = {
        let (ending, address) = (Arc::clone(&ending), proxy.address("web"));
        thread::spawn(move || {
            while !ending.load(Ordering::SeqCst) {
                Connection::open(address).greeting();
            }
        })
    };
    for (from, to, name) in [("web-1", &there, "default/web-2"), ("web-2", &here, "default/web-1")].repeat(10)
    {
        proxy.write_slice(to);
        until("both slices are known", || proxy.status().source.unwrap().slices == 2);
        assert_eq!(proxy.endpoints().len(), 1);
        proxy.slices().remove(from);
        until("one slice is left", || {
            let rows = proxy.endpoints();
            proxy.status().source.unwrap().slices == 1 && rows[0].slice.as_deref() == Some(name)
        });
        let rows = proxy.endpoints();
        assert_eq!((rows.len(), rows[0].id), (1, id));
    }
    ending.store(true, Ordering::SeqCst);
    clients.join().expect("no flow was refused");
    old.exchange(b"still here");
}

/// A8: the updates come in the other order, so that for a moment no slice has it: its flow stays, and it comes back as
/// the same endpoint with its flow counted.
#[test]
fn endpoint_that_is_in_no_slice_for_a_moment_comes_back_as_itself() {
    let endpoints = Endpoint::greeting_group(2);
    let (moving, other) = (&endpoints[0], &endpoints[1]);
    let proxy = setup().ready([moving]).start();
    let (mut old, _) = proxy.connect_greeted();
    let id = proxy.endpoint(moving).unwrap().id;
    proxy.write_slice(&Slice::ready("web-1", [other]));
    proxy.wait_for_eligible_to_be([other]);
    old.exchange(b"in no slice");
    proxy.write_slice(&Slice::ready("web-2", [moving]));
    proxy.wait_for_eligible_to_be([moving, other]);
    let row = proxy.endpoint(moving).unwrap();
    assert_eq!((row.id, row.flows), (id, 1));
    old.exchange(b"back");
}

/// A9: a slice's name is reused for wholly different endpoints and another port: nothing stale is left.
#[test]
fn reused_slice_leaves_nothing_behind() {
    let (before, after) = (Endpoint::greeting_group(2), Endpoint::greeting_group(2));
    let proxy = setup().ready(&before).start();
    let (mut old, old_endpoint) = proxy.connect_greeted();
    proxy.write_slice(&Slice::ready("web-1", &after));
    proxy.wait_for_eligible_to_be(&after);
    let spread = proxy.spread(16);
    assert!(spread.keys().all(|endpoint| after.iter().any(|of| of.address() == *endpoint)), "{spread:?}");
    old.exchange(b"still here");
    // Of the old ones only the one that has a flow is left.
    until("the other old one is gone", || proxy.endpoints().len() == 3);
    let row = proxy.endpoints().into_iter().find(|row| row.conditions.is_none()).unwrap();
    assert_eq!((row.endpoint, row.flows), (old_endpoint.to_string(), 1));
}

/// A10: one address, two pods: the running one takes new flows, and the old pod's flow is not credited to it.
#[test]
fn reused_address_is_another_endpoint() {
    let endpoint = Endpoint::greeting();
    let line = |uid: &str| endpoint.in_slice().pod(&format!("web-{uid}"), uid);
    let slice = |name: &str| Slice::named(name).with_port(endpoint.address().port());
    let proxy = setup().slice(&slice("web-1").with(line("old").ready())).start();
    let (mut old, _) = proxy.connect_greeted();
    proxy.write_slice(&slice("web-1").with(line("old").terminating()));
    proxy.wait_for_eligible(0);
    proxy.write_slice(&slice("web-2").with(line("new").ready()));
    proxy.wait_for_eligible(1);
    let (mut new, _) = proxy.connect_greeted();

    let flows_of = |pod: &str| {
        let rows = proxy.endpoints();
        let row = rows.iter().find(|row| row.pod.as_deref() == Some(pod));
        row.map(|row| (row.eligible, row.flows))
    };
    assert_eq!(flows_of("default/web-old"), Some((false, 1)));
    assert_eq!(flows_of("default/web-new"), Some((true, 1)));
    old.exchange(b"still here");
    new.exchange(b"here too");
    drop(old);
    until("the old pod is gone", || flows_of("default/web-old").is_none_or(|(_, flows)| flows == 0));
    assert_eq!(flows_of("default/web-new"), Some((true, 1)));
}

/// A11: one address with two port numbers under one port name, as during a rollout: both take flows.
#[test]
fn two_numbers_of_one_port_name_are_two_endpoints() {
    let first = Endpoint::greeting();
    let address = (first.address().ip(), 0).into();
    let second = Endpoint::on(address).unwrap().serve(tidegate_tests::support::greet_and_echo);
    let proxy =
        setup().slice(&Slice::ready("web-1", [&first])).slice(&Slice::ready("web-2", [&second])).start();
    let spread = proxy.spread(16);
    assert_eq!(spread.len(), 2, "{spread:?}");
}

/// A16: the Service's target port changes: new flows go to the new number, old ones stay where they are.
#[test]
fn changed_target_port_is_for_new_flows_alone() {
    let before = Endpoint::greeting();
    let address = (before.address().ip(), 0).into();
    let after = Endpoint::on(address).unwrap().serve(tidegate_tests::support::greet_and_echo);
    let line = |of: &Endpoint| of.in_slice().pod("web-a", "a").ready();
    let slice = |of: &Endpoint| Slice::named("web-1").with_port(of.address().port()).with(line(of));
    let proxy = setup().slice(&slice(&before)).start();
    let (mut old, _) = proxy.connect_greeted();
    proxy.write_slice(&slice(&after));
    proxy.wait_for_eligible_to_be([&after]);
    proxy.expect_all_on(&after);
    old.exchange(b"still here");
}

/// A15: a Service is deleted and made again: old flows stay, a removed endpoint stays in the table for as long as it has
/// flows, and the same pods are the same endpoints again.
#[test]
fn service_made_again_has_the_same_endpoints() {
    let endpoints = Endpoint::greeting_group(2);
    let slice = endpoints.iter().enumerate().fold(Slice::named("web-1"), |slice, (number, endpoint)| {
        let line: SliceEndpoint =
            endpoint.in_slice().pod(&format!("web-{number}"), &number.to_string()).ready();
        slice.with_port(endpoint.address().port()).with(line)
    });
    let proxy = setup().slice(&slice).start();
    let (mut old, used) = proxy.connect_greeted();
    let used = endpoints.iter().find(|endpoint| endpoint.address() == used).unwrap();
    let id = proxy.endpoint(used).unwrap().id;

    proxy.slices().remove("web-1");
    proxy.wait_for_eligible(0);
    until("only the one with a flow is left", || proxy.endpoints().len() == 1);
    let row = proxy.endpoint(used).unwrap();
    assert_eq!((row.id, row.flows, row.conditions), (id, 1, None));
    proxy.expect_refusal();
    old.exchange(b"still here");

    proxy.write_slice(&slice);
    proxy.wait_for_eligible_to_be(&endpoints);
    let row = proxy.endpoint(used).unwrap();
    assert_eq!((row.id, row.flows), (id, 1));
    old.exchange(b"still here");
}
