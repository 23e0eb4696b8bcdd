//! R7: the end of the process.

use std::{io::ErrorKind, net::SocketAddr};

use rustix::process::Signal;
use serde_json::json;
use tidegate_tests::support::{Connection, Endpoint, Setup, until};

use crate::setup;

fn with_shutdown(delay: &str, grace: &str) -> Setup {
    let shutdown = json!({"delay": delay, "grace": grace});
    setup().config(|config| config.set("shutdown", shutdown))
}

/// R7: after SIGTERM readiness is false first, while new clients are still served for shutdown.delay; then the listeners
/// close, and flows come to their own ends, for as long as they like; then the exit status is 0.
#[test]
fn flows_end_by_themselves_after_sigterm() {
    let endpoint = Endpoint::greeting();
    let proxy = with_shutdown("3s", "none").ready([&endpoint]).start();
    let address = proxy.address("web");
    let (mut early, _) = proxy.connect_greeted();
    assert_eq!(proxy.get("/readyz").status, 200);
    proxy.terminate();
    until("readiness is false", || proxy.get("/readyz").status == 503);
    assert_eq!(proxy.get("/livez").status, 200);
    assert_eq!(proxy.status().phase, "draining");
    let (mut late, _) = proxy.connect_greeted();

    until_nobody_listens(address);
    early.exchange(b"still here");
    late.exchange(b"here too");
    assert!(proxy.is_running());
    early.finish();
    early.expect_end();
    late.exchange(b"the last one");
    assert_eq!(proxy.status().phase, "waiting");
    late.finish();
    late.expect_end();
    let ended = proxy.wait_for_end();
    assert!(ended.status.success(), "{:?}", ended.status);
    assert!(ended.log.contains("flows_cut=0"), "{}", ended.log);
}

/// R7: shutdown.grace bounds the wait: what is left then is cut, and the exit status is still 0.
#[test]
fn grace_cuts_what_is_left() {
    let endpoint = Endpoint::listen();
    let proxy = with_shutdown("0s", "1s").ready([&endpoint]).start();
    let (mut client, mut served) = proxy.connect_to(&endpoint);
    client.send(b"hello");
    served.expect(b"hello");
    proxy.terminate();
    client.expect_reset();
    served.expect_reset();
    let ended = proxy.wait_for_end();
    assert!(ended.status.success(), "{:?}", ended.status);
    assert!(ended.log.contains("flows_cut=1"), "{}", ended.log);
}

/// R7: a second SIGTERM ends the process at once, whatever is left.
#[test]
fn second_signal_ends_at_once() {
    let endpoint = Endpoint::greeting();
    let proxy = with_shutdown("0s", "none").ready([&endpoint]).start();
    let (mut flow, _) = proxy.connect_greeted();
    proxy.terminate();
    until_nobody_listens(proxy.address("web"));
    flow.exchange(b"still here");
    proxy.terminate();
    flow.expect_reset();
    let ended = proxy.wait_for_end();
    assert!(ended.status.success(), "{:?}", ended.status);
    assert!(ended.log.contains("forced=true"), "{}", ended.log);
}

/// R7: the second signal also ends the delay.
#[test]
fn second_signal_does_not_wait_for_the_delay() {
    let proxy = with_shutdown("1h", "none").start();
    proxy.process().signal(Signal::INT);
    until("it is draining", || proxy.status().phase == "draining");
    proxy.process().signal(Signal::INT);
    assert!(proxy.wait_for_end().status.success());
}

/// R7: without a flow there is nothing to wait for.
#[test]
fn idle_process_ends_soon() {
    let proxy = with_shutdown("0s", "none").start();
    proxy.terminate();
    assert!(proxy.wait_for_end().status.success());
}

/// R7: the admin socket's file does not outlive the process, and its successor can have it.
#[test]
fn successor_gets_the_admin_socket() {
    let endpoint = Endpoint::greeting();
    let mut proxy = setup().ready([&endpoint]).start();
    proxy.restart();
    proxy.expect_all_on(&endpoint);
}

fn until_nobody_listens(address: SocketAddr) {
    until("the listener is closed", || {
        Connection::try_open(address).is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
    });
}
