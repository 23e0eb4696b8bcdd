//! Handoffs under load: nobody is refused, and readiness is never false.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
};

use serde_json::json;
use tidegate_tests::support::{Connection, Endpoint, Proxy, until};

use super::{Successor, setup};

/// Clients that connect one after the other until they are told to stop.
pub(super) struct Load {
    stop: Arc<AtomicBool>,
    served: Arc<AtomicU64>,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    pub(super) fn start(proxy: &Proxy, clients: usize) -> Self {
        let (stop, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let address = proxy.address("web");
        let client = |_| {
            let (stop, served) = (Arc::clone(&stop), Arc::clone(&served));
            thread::spawn(move || {
                while !stop.load(Ordering::SeqCst) {
                    let mut client = Connection::open(address);
                    client.greeting();
                    client.exchange(b"short");
                    client.finish();
                    client.expect_end();
                    served.fetch_add(1, Ordering::SeqCst);
                }
            })
        };
        let clients = (0..clients).map(client).collect();
        Self { stop, served, clients }
    }

    /// Waits until so many more were served.
    pub(super) fn wait_for_more(&self, count: u64) {
        let wanted = self.served.load(Ordering::SeqCst) + count;
        until("more clients were served", || self.served.load(Ordering::SeqCst) >= wanted);
    }

    pub(super) fn stop(self) {
        self.stop.store(true, Ordering::SeqCst);
        for client in self.clients {
            client.join().expect("no client was refused or broken");
        }
    }
}

/// R1, R4: clients come all the time, and one process after the other takes over. No connect is refused, no flow is
/// broken, readiness is never false, and at the end the counters of the last process balance.
#[test]
fn twenty_handoffs_in_a_row_refuse_nobody() {
    let endpoint = Endpoint::greeting();
    let proxy = setup().ready([&endpoint]).start();
    let (mut flow, _) = proxy.connect_greeted();
    let load = Load::start(&proxy, 4);
    let stop = Arc::new(AtomicBool::new(false));
    let probes = {
        let (stop, socket) = (Arc::clone(&stop), proxy.directory().join("admin.sock"));
        thread::spawn(move || {
            let admin = tidegate_tests::support::Admin::new(&socket);
            while !stop.load(Ordering::SeqCst) {
                let answer = admin.get("/readyz").unwrap();
                assert_eq!(answer.status, 200, "{}", answer.body);
            }
        })
    };
    load.wait_for_more(10);
    let mut last: Option<Successor> = None;
    for _ in 0..20 {
        let mut successor = Successor::start(&proxy, &[]);
        successor.wait_until_it_has_taken_over();
        load.wait_for_more(10);
        flow.exchange(b"still here");
        if let Some(mut predecessor) = last.replace(successor) {
            assert!(predecessor.wait_for_end().success());
        } else {
            assert!(proxy.wait_for_end().status.success());
        }
    }
    stop.store(true, Ordering::SeqCst);
    probes.join().expect("readiness was never false");
    load.stop();
    until("one flow is left", || proxy.metrics().total("tidegate_flows_open") == 1);
    assert_eq!(proxy.endpoint(&endpoint).unwrap().flows, 1);
    flow.exchange(b"the same flow");
}

/// Many flows, in bulk: all move, and none is frozen for long. `TIDEGATE_HANDOFF_FLOWS` sets how many; the figures are in
/// the predecessor's log, which is printed.
#[test]
fn many_flows_move() {
    let count =
        std::env::var("TIDEGATE_HANDOFF_FLOWS").ok().and_then(|text| text.parse().ok()).unwrap_or(400);
    tidegate_tests::support::Process::raise_own_descriptor_limit();
    let endpoint = Endpoint::listen();
    let proxy = setup().ready([&endpoint]).start();
    let mut flows: Vec<_> = (0..count).map(|_| proxy.connect_to(&endpoint)).collect();
    let mut successor = Successor::start(&proxy, &[]);
    successor.wait_until_it_has_taken_over();
    proxy.wait_for_log("handed over");
    println!("{}", proxy.log().lines().find(|line| line.contains("handed over")).unwrap_or_default());
    assert_eq!(proxy.metrics().total("tidegate_flows_taken_over_total"), count as u64);
    assert_eq!(proxy.endpoint(&endpoint).unwrap().flows, count as u64);
    for (client, served) in &mut flows {
        client.send(b"still here");
        served.expect(b"still here");
    }
}

/// R2: worker counts differ, both ways: no socket's queue is lost.
#[test]
fn worker_counts_may_differ() {
    let endpoint = Endpoint::greeting();
    let mut proxy = setup().config(|config| config.set("workers", json!(4))).ready([&endpoint]).start();
    let load = Load::start(&proxy, 4);
    let (mut flow, _) = proxy.connect_greeted();
    let mut all = Vec::new();
    for workers in [1, 3] {
        proxy.write_config(|config| config.set("workers", json!(workers)));
        let mut successor = Successor::start(&proxy, &[]);
        successor.wait_until_it_has_taken_over();
        load.wait_for_more(40);
        assert_eq!(proxy.status().workers.len(), workers);
        flow.exchange(b"still here");
        all.push(successor);
    }
    load.stop();
    assert!(proxy.wait_for_end().status.success());
    assert!(all[0].wait_for_end().success());
}

/// The successor's configuration lacks a listener: it is closed, its flows go on, and the others are taken over.
#[test]
fn removed_listener_is_closed_and_its_flows_move() {
    let endpoint = Endpoint::greeting();
    let mut proxy = setup()
        .config(|config| config.listener("second", "127.0.0.1:0", "default/web"))
        .ready([&endpoint])
        .start();
    let (web, second) = (proxy.address("web"), proxy.address("second"));
    let mut flow = Connection::open(second);
    flow.greeting();
    proxy.write_config(|config| config.remove_listener("second"));
    until("it is applied or handed over", || proxy.status().listeners.len() == 1);
    proxy.write_config(|config| config.listener("third", "127.0.0.1:0", "default/web"));
    let mut successor = Successor::start(&proxy, &[]);
    successor.wait_until_it_has_taken_over();
    assert!(Connection::try_open(second).is_err());
    flow.exchange(b"still here");
    Connection::open(web).greeting();
    until("the third is known", || proxy.status().listeners.len() == 2);
    let third = proxy.status().listeners.into_iter().find(|it| it.name == "third").unwrap();
    Connection::open(third.address.parse().unwrap()).greeting();
}

/// R8: whether the kernel moves connections from a closed socket's queue to another one of its group makes no difference.
#[test]
fn migration_of_requests_makes_no_difference() {
    let Some(namespace) = tidegate_tests::support::Namespace::make() else { return };
    for migrates in ["0", "1"] {
        namespace.set("net/ipv4/tcp_migrate_req", migrates);
        namespace.enter(|| {
            let endpoint = Endpoint::greeting();
            let proxy = setup().config(|config| config.set("workers", json!(3))).ready([&endpoint]).start();
            let load = Load::start(&proxy, 4);
            let mut successors = Vec::new();
            for _ in 0..4 {
                load.wait_for_more(20);
                let mut successor = Successor::start(&proxy, &[]);
                successor.wait_until_it_has_taken_over();
                successors.push(successor);
            }
            load.wait_for_more(20);
            load.stop();
        });
    }
}

/// The successor's configuration lacks a listener: who waits in its queue is served, then it is closed; its flows go on.
#[test]
fn listener_that_the_successor_lacks_is_served_and_closed() {
    let endpoint = Endpoint::greeting();
    let proxy = setup()
        .config(|config| config.listener("second", "127.0.0.1:0", "default/web"))
        .ready([&endpoint])
        .start();
    let second = proxy.address("second");
    let mut flow = Connection::open(second);
    flow.greeting();
    let mut document: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(proxy.config_file()).unwrap()).unwrap();
    let listeners = document["listeners"].as_array_mut().unwrap();
    listeners.retain(|listener| listener["name"] != "second");
    let fewer = proxy.config_file().with_file_name("fewer.yaml");
    std::fs::write(&fewer, document.to_string()).unwrap();
    // Its workers stand still, so that clients are in the queue when the handoff begins.
    let queued: Vec<_> = {
        proxy.process().signal(rustix::process::Signal::STOP);
        let queued = (0..20).map(|_| Connection::open(second)).collect();
        proxy.process().signal(rustix::process::Signal::CONT);
        queued
    };
    let mut successor = Successor::start_with(&fewer, proxy.directory(), &[]);
    successor.wait_until_it_has_taken_over();
    for mut client in queued {
        client.greeting();
        client.exchange(b"served");
    }
    flow.exchange(b"still here");
    until("the listener is closed", || Connection::try_open(second).is_err());
    proxy.expect_all_on(&endpoint);
}
