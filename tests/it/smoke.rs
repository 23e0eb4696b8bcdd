//! The first thing to work: a client reaches an endpoint, and everything says so.

use tidegate_tests::support::Endpoint;

use crate::setup;

/// Bytes go both ways, and status, endpoints, flows and metrics agree on it.
#[test]
fn client_reaches_an_endpoint() {
    let endpoint = Endpoint::greeting();
    let proxy = setup().ready([&endpoint]).start();
    let (mut client, greeted) = proxy.connect_greeted();
    assert_eq!(greeted, endpoint.address());
    client.exchange(b"hello");

    let flow = proxy.flow_of(&client);
    assert_eq!(flow.endpoint.as_deref(), Some(endpoint.address().to_string().as_str()));
    assert_eq!((flow.state.as_str(), flow.bytes_up, flow.attempts), ("open", 5, 1));
    assert_eq!(proxy.status().flows, 1);
    assert_eq!(proxy.endpoint(&endpoint).map(|row| row.flows), Some(1));

    client.finish();
    client.expect_end();
    proxy.wait_for_no_flows();
    let metrics = proxy.metrics();
    let normal = [("service", "default/web:http"), ("by", "normal"), ("phase", "finished")];
    assert_eq!(metrics.sum("tidegate_flows_terminated_total", &normal), 1, "{metrics:?}");
    assert_eq!(metrics.sum("tidegate_bytes_total", &[("direction", "up")]), 5);
}
