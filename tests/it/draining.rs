//! What several groups share: a start with an endpoint that drains, with flows on it; and when flows get their FIN.

use std::{thread, time::Instant};

use serde_json::json;
use tidegate_tests::support::{Connection, Endpoint, Proxy, Slice};

use crate::setup;

/// A proxy whose first endpoint drains, with so many flows on it.
pub(crate) fn draining(drain: &serde_json::Value, count: usize) -> (Vec<Endpoint>, Proxy, Vec<Connection>) {
    let endpoints = Endpoint::greeting_group(2);
    let proxy = setup().web(json!({ "drain": drain })).ready([&endpoints[0]]).start();
    let flows = (0..count).map(|_| proxy.connect_greeted().0).collect();
    let slice = Slice::named("web-1")
        .with_port(endpoints[0].address().port())
        .with(endpoints[0].in_slice().terminating())
        .with(endpoints[1].in_slice().ready());
    proxy.write_slice(&slice);
    proxy.wait_for_eligible_to_be([&endpoints[1]]);
    (endpoints, proxy, flows)
}

/// When each of these flows got its FIN, in the order of time.
pub(crate) fn fins(flows: impl IntoIterator<Item = Connection>) -> Vec<Instant> {
    let wait = |mut flow: Connection| {
        thread::spawn(move || {
            flow.expect_end();
            Instant::now()
        })
    };
    let waiting: Vec<_> = flows.into_iter().map(wait).collect();
    let mut fins: Vec<_> = waiting.into_iter().map(|flow| flow.join().expect("a FIN")).collect();
    fins.sort();
    fins
}
