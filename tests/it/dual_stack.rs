//! P15: both address families.

use std::net::{Ipv6Addr, SocketAddr, TcpListener};

use tidegate_tests::support::{Connection, Endpoint, Slice, greet_and_echo, skipped};

use crate::setup;

/// A machine without IPv6 cannot show any of this.
fn has_ipv6() -> bool {
    let has = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok();
    if !has {
        skipped("this machine has no IPv6 loopback");
    }
    has
}

/// P15: a listener on `[::]` serves both families, and shows an IPv4 client by its IPv4 address.
#[test]
fn dual_stack_listener_shows_clients_canonically() {
    if !has_ipv6() {
        return;
    }
    let endpoint = Endpoint::greeting();
    let proxy =
        setup().config(|config| config.listener("web", "[::]:0", "default/web")).ready([&endpoint]).start();
    let port = proxy.address("web").port();
    for host in ["127.0.0.1", "[::1]"] {
        let mut client = Connection::open(format!("{host}:{port}").parse().unwrap());
        assert_eq!(client.greeting(), endpoint.address());
        client.exchange(b"hello");
        let flow = proxy.flow_of(&client);
        assert_eq!(flow.client, client.local().to_string());
        assert!(flow.client.starts_with(host), "{}", flow.client);
    }
}

/// P15: where a Service has endpoints of both families, a client gets one of its own; where it has one family only, that.
#[test]
fn client_gets_an_endpoint_of_its_own_family() {
    if !has_ipv6() {
        return;
    }
    let v4 = Endpoint::greeting();
    let v6 = Endpoint::on((Ipv6Addr::LOCALHOST, 0).into()).unwrap().serve(greet_and_echo);
    let proxy = setup()
        .config(|config| config.listener("web", "[::]:0", "default/web"))
        .slice(&Slice::ready("web-4", [&v4]))
        .slice(&Slice::ready("web-6", [&v6]).of_type("IPv6"))
        .start();
    let port = proxy.address("web").port();
    let [from_v4, from_v6] =
        ["127.0.0.1", "[::1]"].map(|host| format!("{host}:{port}").parse::<SocketAddr>().unwrap());
    for _ in 0..6 {
        assert_eq!(Connection::open(from_v4).greeting(), v4.address());
        assert_eq!(Connection::open(from_v6).greeting(), v6.address());
    }
    proxy.slices().remove("web-4");
    proxy.wait_for_eligible(1);
    assert_eq!(Connection::open(from_v4).greeting(), v6.address());
}
