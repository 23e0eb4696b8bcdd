//! Topology hints narrow the choice for new flows, and touch nothing else.

use serde_json::json;
use tidegate_tests::support::{Endpoint, Slice, SliceEndpoint};

use crate::setup;

/// A19, A26: new flows go to the endpoints that are hinted for this zone; where one endpoint has no hint the hints are
/// ignored; and when they count again, flows on the excluded endpoints stay.
#[test]
fn hints_are_for_new_flows_and_only_where_they_are_complete() {
    let endpoints = Endpoint::greeting_group(3);
    let slice = |zones: [Option<&str>; 3]| {
        endpoints.iter().zip(zones).fold(Slice::named("web-1"), |slice, (endpoint, zone)| {
            let line: SliceEndpoint = endpoint.in_slice().ready();
            let line = match zone {
                Some(zone) => line.for_zone(zone),
                None => line,
            };
            slice.with_port(endpoint.address().port()).with(line)
        })
    };
    let (complete, partial) =
        ([Some("zone-a"), Some("zone-b"), Some("zone-b")], [Some("zone-a"), None, Some("zone-b")]);
    let proxy = setup()
        .config(|config| config.set("node", json!({"name": "node-1", "zone": "zone-a"})))
        .slice(&slice(complete))
        .start();
    proxy.expect_all_on(&endpoints[0]);

    proxy.write_slice(&slice(partial));
    proxy.wait_for_eligible(3);
    let mut flows: Vec<_> = (0..12).map(|_| proxy.connect_greeted()).collect();
    assert!(flows.iter().any(|(_, endpoint)| *endpoint != endpoints[0].address()));
    proxy.write_slice(&slice(complete));
    proxy.wait_for_eligible_to_be([&endpoints[0]]);
    proxy.expect_all_on(&endpoints[0]);
    flows.iter_mut().for_each(|(flow, _)| flow.exchange(b"still here"));
}
