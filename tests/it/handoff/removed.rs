//! A listener that the successor's configuration lacks: its clients are served to the end of the handoff, then it is closed.

use std::{fs, path::PathBuf};

use rustix::process::Signal;
use serde_json::{Value, json};
use tidegate_tests::support::{Connection, Endpoint, Proxy, until};

use super::{Successor, setup};

impl Successor {
    /// Waits until a fault has stopped it.
    #[track_caller]
    pub(crate) fn wait_until_it_is_stopped(&self) {
        self.process().wait_until_stopped();
    }

    /// Lets it go on as often as it is stopped, until it has taken over.
    #[track_caller]
    pub(crate) fn let_it_take_over(&self) {
        until("the successor has taken over", || {
            self.process().signal(Signal::CONT);
            self.log().contains("taken over")
        });
    }

    /// Kills it, also where it is stopped.
    pub(crate) fn kill(&mut self) {
        self.process().signal(Signal::KILL);
        self.wait_for_end();
    }
}

/// A proxy with a second listener, and a configuration without that one.
fn with_second(endpoint: &Endpoint) -> (Proxy, PathBuf) {
    let proxy = setup()
        .config(|config| {
            config.listener("second", "127.0.0.1:0", "default/web");
            config.set("workers", json!(2));
        })
        .ready([endpoint])
        .start();
    let text = fs::read_to_string(proxy.config_file()).unwrap();
    let mut document: Value = serde_json::from_str(&text).unwrap();
    document["listeners"].as_array_mut().unwrap().retain(|listener| listener["name"] != "second");
    let fewer = proxy.config_file().with_file_name("fewer.yaml");
    fs::write(&fewer, document.to_string()).unwrap();
    (proxy, fewer)
}

/// Who comes while the flows move is served by the old process and moves with them; once all have moved, nobody is let in to
/// wait in vain.
#[test]
fn clients_of_a_removed_listener_are_served_while_flows_move() {
    let endpoint = Endpoint::greeting();
    let (proxy, fewer) = with_second(&endpoint);
    let second = proxy.address("second");
    let (mut first, _) = proxy.connect_greeted();
    let fault = [("TIDEGATE_HANDOFF_FAULT", "stop:offered")];
    let successor = Successor::start_with(&fewer, proxy.directory(), &fault);
    successor.wait_until_it_is_stopped();
    let mut late: Vec<Connection> = (0..20).map(|_| Connection::open(second)).collect();
    for client in &mut late {
        client.greeting();
    }
    successor.let_it_take_over();
    until("the old process has ended", || !proxy.is_running());
    let refused = Connection::try_open(second).map(drop).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    for client in late.iter_mut().chain([&mut first]) {
        client.exchange(b"moved");
    }
    assert_eq!(proxy.metrics().total("tidegate_flows_taken_over_total"), 21);
    proxy.expect_all_on(&endpoint);
}

/// When everything else has moved the listener is closed, and not left open with nobody who accepts.
#[test]
fn removed_listener_is_closed_before_the_end() {
    let endpoint = Endpoint::greeting();
    let (proxy, fewer) = with_second(&endpoint);
    let fault = [("TIDEGATE_HANDOFF_FAULT", "stop:doors")];
    let successor = Successor::start_with(&fewer, proxy.directory(), &fault);
    successor.wait_until_it_is_stopped();
    let refused = Connection::try_open(proxy.address("second")).map(drop).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    successor.let_it_take_over();
    proxy.expect_all_on(&endpoint);
}

/// R3: the handoff fails, while flows move or at its very end: the predecessor accepts on all its listeners as before.
#[test]
fn removed_listener_is_back_after_a_failure() {
    for point in ["offered", "doors"] {
        let endpoint = Endpoint::greeting();
        let (proxy, fewer) = with_second(&endpoint);
        let second = proxy.address("second");
        let (_first, _) = proxy.connect_greeted();
        let fault = format!("stop:{point}");
        let mut successor =
            Successor::start_with(&fewer, proxy.directory(), &[("TIDEGATE_HANDOFF_FAULT", &fault)]);
        successor.wait_until_it_is_stopped();
        successor.kill();
        proxy.wait_for_log("this process goes on");
        for _ in 0..20 {
            Connection::open(second).greeting();
        }
        proxy.expect_all_on(&endpoint);
        assert_eq!(proxy.get("/readyz").status, 200, "{point}");
        let mut last = Successor::start(&proxy, &[]);
        last.wait_until_it_has_taken_over();
        Connection::open(second).greeting();
    }
}
