//! Every workload against sound endpoints, and through a relay that is bad on purpose.

mod relay;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use self::relay::{Fashion, relay};
use super::bulk::{Bulk, Ways};
use super::burst::Burst;
use super::connections::Connections;
use super::idle::Held;
use super::rate::Rate;
use super::slow::Slow;
use super::trips::Trips;
use super::*;
use crate::endpoints::{Endpoints, Kind};
use crate::load::{Clients, SMALL};

const RUN: Duration = Duration::from_millis(20);

/// A short load of each workload, with the endpoints it needs.
fn loads() -> Vec<(&'static str, Kind, Load)> {
    let bulk = |ways| Load::Bulk(Bulk { ways, flows: 1 });
    let trips = |size| Load::Trips(Trips { connections: 2, size });
    vec![
        ("bulk down", Kind::Bulk, bulk(Ways::Down)),
        ("bulk up", Kind::Bulk, bulk(Ways::Up)),
        ("bulk both", Kind::Bulk, bulk(Ways::Both)),
        ("trips of 1", Kind::Echo, trips(1)),
        ("trips of 64", Kind::Echo, trips(SMALL)),
        ("trips of 64 KiB", Kind::Echo, trips(64 * 1024)),
        ("rate", Kind::Echo, Load::Rate(Rate { connections: 2 })),
        ("connections", Kind::Echo, Load::Connections(Connections { concurrent: 2 })),
        ("burst", Kind::Echo, Load::Burst(Burst { clients: 10 })),
        ("idle", Kind::Echo, Load::Idle(idle::Idle)),
        ("slow", Kind::Bulk, Load::Slow(Slow { flows: 4 })),
    ]
}

/// Puts a load on an address, without meters.
async fn run(load: &Load, address: SocketAddr) -> Arc<Clients> {
    let clients = Clients::of(&[address]);
    match load {
        Load::Bulk(load) => load.run(&clients, RUN).await,
        Load::Trips(load) => load.run(&clients, RUN).await,
        Load::Rate(load) => load.run(&clients, 2000, RUN).await,
        Load::Connections(load) => load.run(&clients, RUN).await,
        Load::Idle(_) => Held::open(&clients, 10).await.trip_each(&clients).await,
        Load::Burst(load) => load.run(&clients, RUN).await,
        Load::Slow(load) => load.open(&clients).await.run(&clients, 5 * RUN).await,
    }
    clients
}

/// The faults that each load and its endpoints find behind such a relay.
async fn faults(fashion: Fashion) -> Vec<(&'static str, Vec<String>)> {
    let mut found = Vec::new();
    for (name, kind, load) in loads() {
        let endpoints = Endpoints::here().unwrap();
        let clients = run(&load, relay(fashion, endpoints.few(kind)[0]).await).await;
        let mut faults = clients.faults();
        faults.extend(endpoints.take_faults());
        found.push((name, faults));
    }
    found
}

#[tokio::test(flavor = "local")]
async fn sound_endpoints_give_no_fault() {
    let endpoints = Endpoints::here().unwrap();
    for (name, kind, load) in loads() {
        let clients = run(&load, endpoints.few(kind)[0]).await;
        assert_eq!(clients.faults(), Vec::<String>::new(), "{name}");
        assert_eq!(endpoints.take_faults(), Vec::<String>::new(), "{name}");
        assert!(clients.done() > 0, "{name}");
        assert_eq!(endpoints.settle(0, Duration::from_secs(10)).await, 0, "{name}");
    }
}

#[tokio::test(flavor = "local")]
async fn a_sound_relay_gives_no_fault() {
    for (name, faults) in faults(Fashion::Sound).await {
        assert_eq!(faults, Vec::<String>::new(), "{name}");
    }
}

#[tokio::test(flavor = "local")]
async fn a_wrong_byte_is_a_fault() {
    for fashion in [Fashion::WrongByteDown, Fashion::WrongByteUp] {
        for (name, faults) in faults(fashion).await {
            // Where nothing but requests goes up, a wrong one asks for something else, which is then right.
            let carries = fashion == Fashion::WrongByteDown || !["bulk down", "slow"].contains(&name);
            let is_told = faults.iter().any(|fault| fault.contains("a wrong byte"));
            assert!(is_told || !carries, "{name} through {fashion:?}: {faults:?}");
        }
    }
}

#[tokio::test(flavor = "local")]
async fn lost_and_doubled_bytes_are_faults() {
    for fashion in [Fashion::LoseDown, Fashion::DoubleDown] {
        let found = faults(fashion).await;
        for (name, faults) in found.iter().filter(|(name, _)| name.contains("bulk") || *name == "slow") {
            // Up, only the receipt goes down: it is short, and waited for, or too long.
            let is_told = faults.iter().any(|fault| fault.contains("a wrong byte") || *name == "bulk up");
            assert!(is_told, "{name} through {fashion:?}: {faults:?}");
        }
    }
}

#[tokio::test(flavor = "local")]
async fn a_broken_flow_is_a_fault() {
    for fashion in [Fashion::Close, Fashion::Reset] {
        for (name, faults) in faults(fashion).await {
            assert!(!faults.is_empty(), "{name} through {fashion:?}");
        }
    }
}

#[tokio::test(flavor = "local")]
async fn a_refused_connect_is_a_fault() {
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for (name, _, load) in loads() {
        let clients = run(&load, address).await;
        let faults = clients.faults();
        assert!(faults.first().is_some_and(|fault| fault.starts_with("connect: ")), "{name}: {faults:?}");
        assert_eq!(clients.done(), 0, "{name}");
    }
}

#[tokio::test(flavor = "local")]
async fn latency_at_a_fixed_rate_counts_from_when_a_request_was_due() {
    // The relay holds everything up for a while, once. A load that waited for each reply before it sent the next
    // would see one slow trip; this one has sent, or should have sent, many.
    let endpoints = Endpoints::here().unwrap();
    let stall = Duration::from_millis(200);
    let address = relay(Fashion::Stall(stall), endpoints.few(Kind::Echo)[0]).await;
    let clients = Clients::of(&[address]);
    Rate { connections: 1 }.run(&clients, 1000, 2 * stall).await;
    assert_eq!(clients.faults(), Vec::<String>::new());
    assert_eq!(clients.done(), 400);
    let latency = clients.latency().unwrap();
    // Half of all requests were due during the stall, and waited a hundred milliseconds on average.
    assert!(latency.p99 > 150_000.0, "{latency:?}");
    assert!(latency.p999 < 2_000_000.0, "{latency:?}");
}
