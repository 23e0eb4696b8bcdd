//! P10: local ports run out.

use std::net::SocketAddr;

use serde_json::json;
use tidegate_tests::support::{Connection, Endpoint, Namespace, Slice};

use crate::setup;

/// P10: all local ports to one endpoint are in use: that is a local failure and not the endpoint's, another endpoint
/// takes the flow, and where none is left the client is refused for want of a resource.
#[test]
fn flow_goes_to_another_endpoint_when_local_ports_run_out() {
    let Some(namespace) = Namespace::make() else { return };
    namespace.enter(|| {
        let endpoints = Endpoint::greeting_group(2);
        let settings = json!({"policy": "roundRobin"});
        let setup = setup().config(|config| config.set("workers", json!(1))).web(settings);
        let proxy = setup.ready([&endpoints[0]]).start();
        let address = proxy.address("web");
        // Each client has an address and a port of its own: ports that are bound are of no use to the proxy.
        let connect =
            |host: u8| Connection::open_from(SocketAddr::from(([127, 0, 1, host], 30_000)), address);
        namespace.set("net/ipv4/ip_local_port_range", "20000 20001");
        let mut flows: Vec<_> = (1..=2).map(|host| connect(host).unwrap()).collect();
        flows.iter_mut().for_each(|flow| assert_eq!(flow.greeting(), endpoints[0].address()));

        proxy.write_slice(&Slice::ready("web-1", &endpoints));
        proxy.wait_for_eligible(2);
        for host in 3..=4 {
            let mut flow = connect(host).unwrap();
            assert_eq!(flow.greeting(), endpoints[1].address());
            flows.push(flow);
        }
        let local = || proxy.metrics().sum("tidegate_connect_failures_total", &[("cause", "local")]);
        assert!(local() > 0, "the endpoint without ports was never picked");
        assert_eq!(proxy.metrics().total("tidegate_connect_failures_total"), local());
        assert_eq!(proxy.status().services[0].eligible, 2);

        Connection::expect_refused(connect(5));
        assert_eq!(proxy.terminated("resource", "connect"), 1);
        flows.iter_mut().for_each(|flow| flow.exchange(b"still here"));
    });
}

/// D4: nobody listens at an endpoint whose port is of this host's own range. A connect may then be given that very port
/// and meet itself; that is a refusal too, and the port stays free for whoever it belongs to.
#[test]
fn connect_that_meets_itself_is_a_refusal() {
    let Some(namespace) = Namespace::make() else { return };
    namespace.enter(|| {
        namespace.set("net/ipv4/ip_local_port_range", "20000 20007");
        // A namespace of its own has all ports to itself. The kernel gives connects those of the range's own parity first.
        let endpoint = Endpoint::on(SocketAddr::from(([127, 0, 0, 1], 20_002))).unwrap();
        let dead = endpoint.address();
        let settings = json!({"connectAttempts": 1});
        let setup = setup().config(|config| config.set("workers", json!(1))).web(settings);
        let proxy = setup.ready([&endpoint]).start();
        // Closed and not only silent: a port that is bound is given to nobody.
        drop(endpoint);
        let address = proxy.address("web");
        for host in 1..=200 {
            let client = Connection::open_from(SocketAddr::from(([127, 0, 1, host], 30_000)), address);
            Connection::expect_refused(client);
        }
        assert_eq!(proxy.terminated("endpoint", "connect"), 200);
        std::net::TcpListener::bind(dead).expect("the endpoint's port is free");
    });
}
