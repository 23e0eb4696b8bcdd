//! Slices as the API server stores them: empty, odd, large.

use serde_json::json;
use tidegate_tests::support::{Connection, Endpoint, Slice, SliceEndpoint, until};

use crate::setup;

/// A12: a slice without ports and endpoints means "none", and is no error.
#[test]
fn placeholder_slice_means_no_endpoints() {
    let endpoint = Endpoint::greeting();
    let proxy = setup().ready([&endpoint]).start();
    let mut placeholder = Slice::named("web-1").json();
    placeholder["ports"] = json!(null);
    placeholder["endpoints"] = json!(null);
    proxy.slices().write_text("web-1.json", &placeholder.to_string());
    proxy.wait_for_eligible(0);
    proxy.expect_refusal();
    assert_eq!(proxy.status().source.unwrap().invalid_files, []);
    proxy.write_slice(&Slice::ready("web-1", [&endpoint]));
    proxy.wait_for_eligible(1);
    proxy.expect_all_on(&endpoint);
}

/// A13: ports without a number, addresses that are none, host names, the wrong family and a slice without its Service
/// are left out and counted; what is good beside them works.
#[test]
fn what_cannot_be_used_is_left_out_and_counted() {
    let endpoint = Endpoint::greeting();
    let port = endpoint.address().port();
    let good = Slice::named("good")
        .with_raw_port(json!({"name": "metrics", "protocol": "TCP", "port": null}))
        .with_raw_port(json!({"name": "http", "protocol": "TCP", "port": 0}))
        .with_raw_port(json!({"name": "http", "protocol": "UDP", "port": port}))
        .with_port(port)
        .with(endpoint.in_slice().ready())
        .with(SliceEndpoint::at_text("no address").ready())
        .with(SliceEndpoint::at_text("2001:db8::1").ready());
    let names = Slice::named("names")
        .of_type("FQDN")
        .with_port(port)
        .with(SliceEndpoint::at_text("pod.example.com").ready());
    let unlabelled = Slice::ready("unlabelled", [&endpoint]).unlabelled();
    let proxy = setup().slice(&good).slice(&names).slice(&unlabelled).start();
    proxy.expect_all_on(&endpoint);
    assert_eq!(proxy.endpoints().len(), 1, "{:?}", proxy.endpoints());
    assert_eq!(proxy.status().source.unwrap().invalid_files, []);
    until("the rest is counted", || proxy.metrics().total("tidegate_slice_entries_ignored_total") >= 7);
    proxy.wait_for_log("slice, or part of it, is not used");
}

/// A13: a port without a name is the one that a listener without a port name means.
#[test]
fn unnamed_port_serves_a_listener_that_names_none() {
    let endpoint = Endpoint::greeting();
    let slice = Slice::named("web-1")
        .with_raw_port(json!({"name": null, "protocol": null, "port": endpoint.address().port()}))
        .with(endpoint.in_slice().ready());
    let listener = json!({"name": "web", "address": "127.0.0.1:0", "service": "default/web"});
    let proxy = setup().config(|config| config.set("listeners", json!([listener]))).slice(&slice).start();
    proxy.expect_all_on(&endpoint);
}

/// A14: more than a thousand endpoints in twelve slices; one slice is written again in another order: no endpoint
/// changes, and nothing is published.
#[test]
fn shuffled_slice_changes_nothing() {
    let slice = |number: u8, shuffled: bool| {
        let mut hosts: Vec<u8> = (1..=100).collect();
        if shuffled {
            hosts.reverse();
            hosts.swap(3, 60);
        }
        hosts.iter().fold(Slice::named(&format!("web-{number}")).with_port(8080), |slice, host| {
            let line = SliceEndpoint::at([10, 9, number, *host].into());
            slice.with(line.pod(&format!("web-{number}-{host}"), &format!("{number}-{host}")).ready())
        })
    };
    let proxy = (0..12).fold(setup(), |setup, number| setup.slice(&slice(number, false))).start();
    proxy.wait_for_eligible(1200);
    let facts = || {
        let rows = proxy.endpoints().into_iter();
        rows.map(|row| (row.endpoint, row.id, row.since, row.slice)).collect::<Vec<_>>()
    };
    let (before, generation) = (facts(), proxy.status().generation);
    let events = proxy.status().source.unwrap().events;
    proxy.write_slice(&slice(7, true));
    until("the slice was read", || proxy.status().source.unwrap().events > events);
    // Whatever the proxy was told after it is in force later than it.
    proxy.write_slice(&Slice::named("last").of_service("other"));
    until("the last slice is known", || proxy.status().source.unwrap().slices == 13);
    assert_eq!(proxy.status().generation, generation);
    assert_eq!(facts(), before);
}

/// Slices of two services in one directory do not mix.
#[test]
fn services_do_not_share_endpoints() {
    let (web, api) = (Endpoint::greeting(), Endpoint::greeting());
    let proxy = setup()
        .config(|config| config.listener("api", "127.0.0.1:0", "default/api"))
        .ready([&web])
        .slice(&Slice::ready("api-1", [&api]).of_service("api"))
        .start();
    proxy.expect_all_on(&web);
    for _ in 0..8 {
        assert_eq!(Connection::open(proxy.address("api")).greeting(), api.address());
    }
}
