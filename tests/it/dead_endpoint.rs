//! D3: an endpoint's host is gone without a FIN. No packet comes back, and the flow has to be found dead.

use serde_json::{Value, json};
use tidegate_tests::support::{Connection, Endpoint, Proxy, Slice, Wire, greet_and_echo};

use crate::setup;

/// A flow to an endpoint behind a wire.
struct Remote {
    proxy: Proxy,
    client: Connection,
    _endpoint: Endpoint,
    wire: Wire,
}

impl Remote {
    fn start(settings: Value) -> Option<Self> {
        let wire = Wire::make()?;
        let endpoint =
            wire.far.enter(|| Endpoint::on((wire.far_address, 0).into()).unwrap().serve(greet_and_echo));
        let (proxy, client) = wire.near.enter(|| {
            let proxy = setup().web(settings).ready([&endpoint]).start();
            let mut client = proxy.connect_greeted().0;
            client.exchange(b"hello");
            (proxy, client)
        });
        Some(Self { proxy, client, _endpoint: endpoint, wire })
    }

    fn expect_found_dead(mut self) {
        self.client.expect_reset();
        self.proxy.wait_for_no_flows();
        assert_eq!(self.proxy.terminated("endpoint", "data"), 1);
    }
}

/// D3: an idle flow is found dead by keepalive.
#[test]
fn keepalive_finds_a_dead_endpoint_of_an_idle_flow() {
    let keepalive = json!({"keepalive": {"idle": "1s", "interval": "1s", "probes": 2}});
    let Some(remote) = Remote::start(keepalive) else { return };
    remote.wire.cut();
    remote.expect_found_dead();
}

/// D3: a flow with unacknowledged data is found dead within deadPeerTimeout after its endpoint vanished from the slices.
#[test]
fn vanished_endpoint_with_unacknowledged_data_is_found_dead() {
    let Some(mut remote) = Remote::start(json!({"deadPeerTimeout": "2s"})) else { return };
    remote.wire.cut();
    remote.client.send(b"nobody acknowledges this");
    remote.proxy.write_slice(&Slice::named("web-1"));
    remote.proxy.wait_for_eligible(0);
    remote.expect_found_dead();
}

/// D3: with userTimeout set it is found dead whatever the slices say.
#[test]
fn user_timeout_finds_a_dead_endpoint() {
    let Some(mut remote) = Remote::start(json!({"userTimeout": "2s"})) else { return };
    remote.wire.cut();
    remote.client.send(b"nobody acknowledges this");
    remote.expect_found_dead();
}

/// D3: data was unacknowledged before the endpoint vanished and its host is only slow: it answers in time, and the flow
/// lives.
#[test]
fn vanished_endpoint_that_still_answers_keeps_its_flow() {
    let Some(mut remote) = Remote::start(json!({"deadPeerTimeout": "2s"})) else { return };
    remote.proxy.write_slice(&Slice::named("web-1"));
    remote.proxy.wait_for_eligible(0);
    for _ in 0..20 {
        remote.client.exchange(b"still here");
    }
    assert_eq!(remote.proxy.metrics().total("tidegate_flows_terminated_total"), 0);
}
