//! `tidegate upgrade`: the running proxy starts its successor, and goes on where that one fails.

use std::{
    fs,
    os::unix::{fs::PermissionsExt as _, net::UnixDatagram},
    process::Output,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tidegate_tests::support::{Endpoint, Proxy, Setup, until};

use super::{
    offspring::{Offspring, running},
    setup,
};

pub(super) fn upgrade(proxy: &Proxy, more: &[&str]) -> Output {
    let config = proxy.config_file();
    let arguments = [&["upgrade", "--config", config.to_str().unwrap()], more].concat();
    proxy.command(&arguments)
}

#[track_caller]
fn succeeded(output: &Output) -> Value {
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// It fails with these words, and the proxy goes on as if nobody had asked.
#[track_caller]
fn expect_failure(proxy: &Proxy, endpoint: &Endpoint, output: &Output, words: &[&str]) {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    for words in words {
        assert!(said.contains(words), "{words:?} is not in {said:?}");
    }
    assert!(proxy.is_running());
    assert_eq!(proxy.get("/readyz").status, 200);
    proxy.expect_all_on(endpoint);
    until("what it started is gone", || running(&proxy.config_file()).len() == 1);
}

fn script(setup: &Setup, text: &str) -> String {
    let path = setup.directory().join("binary");
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path.to_str().unwrap().to_owned()
}

/// The command returns when the successor has taken over; the old process ends, and the new one is upgraded the same way.
#[test]
fn upgrade_replaces_the_process_and_keeps_the_flow() {
    let endpoint = Endpoint::greeting();
    let proxy = setup().ready([&endpoint]).start();
    let _offspring = Offspring::of(&proxy);
    let (mut flow, _) = proxy.connect_greeted();
    let mut before = 0;
    for _ in 0..3 {
        let outcome = succeeded(&upgrade(&proxy, &["-o", "json"]));
        assert_eq!((&outcome["flows_moved"], &outcome["flows_left"]), (&json!(1), &json!(0)));
        assert!(outcome["pause_p99_us"].as_u64() > Some(0), "{outcome}");
        let process = u32::try_from(outcome["process"].as_u64().unwrap()).unwrap();
        assert_ne!(process, before);
        // The first one is a child of this test, and gone when it is waited for.
        until("the old process is gone", || {
            !proxy.is_running() && running(&proxy.config_file()) == [process]
        });
        flow.exchange(b"still here");
        proxy.expect_all_on(&endpoint);
        before = process;
    }
    assert!(proxy.wait_for_end().status.success());
    // The log of all of them is one.
    until("the last one's log is there", || proxy.log().matches("taken over").count() >= 3);
    let text = upgrade(&proxy, &[]);
    assert!(String::from_utf8_lossy(&text.stdout).contains("has taken over in"), "{text:?}");
}

/// R3: a successor that cannot read its configuration: who asked is told in its own words.
#[test]
fn upgrade_with_a_bad_configuration_says_why() {
    let endpoint = Endpoint::greeting();
    let mut proxy = setup().ready([&endpoint]).start();
    let (mut flow, _) = proxy.connect_greeted();
    let socket = proxy.directory().join("handoff.sock");
    proxy.write_config(|config| config.set("workers", json!("many")));
    let output = proxy.command(&["upgrade", "--socket", socket.to_str().unwrap()]);
    expect_failure(
        &proxy,
        &endpoint,
        &output,
        &[
            "workers",
            "is not",
            "ended before it took over (exit status: 1); it said",
            "The running proxy goes on",
        ],
    );
    flow.exchange(b"still here");
}

/// A binary that is not there, one that ends at once, and one that says nothing: each is named, and ended where it runs.
#[test]
fn upgrade_to_what_is_no_proxy_fails() {
    let endpoint = Endpoint::greeting();
    let timeout = |config: &mut tidegate_tests::support::Config| {
        config.set("handoff", json!({"socket": "../handoff.sock", "timeout": "1s"}));
    };
    let setup = setup().config(timeout).ready([&endpoint]);
    let silent = script(&setup, "#!/bin/sh\nkill -STOP $$\n");
    let proxy = setup.start();
    let output = upgrade(&proxy, &["--binary", "/nonexistent/tidegate"]);
    expect_failure(&proxy, &endpoint, &output, &["cannot start /nonexistent/tidegate", "No such file"]);
    let output = upgrade(&proxy, &["--binary", "/bin/false"]);
    expect_failure(&proxy, &endpoint, &output, &["ended before it took over", "exit status: 1"]);
    let output = upgrade(&proxy, &["--binary", &silent]);
    expect_failure(&proxy, &endpoint, &output, &["said nothing within 1s (handoff.timeout)"]);
}

/// The successor dies with the listeners: they are taken back, and who asked is told.
#[test]
fn upgrade_rolls_back_when_the_successor_dies() {
    let endpoint = Endpoint::greeting();
    let proxy = setup().environment("TIDEGATE_HANDOFF_FAULT", "kill:accepting").ready([&endpoint]).start();
    let (mut flow, _) = proxy.connect_greeted();
    let output = upgrade(&proxy, &[]);
    expect_failure(&proxy, &endpoint, &output, &["goes on"]);
    flow.exchange(b"taken back");
}

/// Nobody to ask, and nobody who could be asked: each says what to do.
#[test]
fn upgrade_without_a_proxy_says_what_to_do() {
    let endpoint = Endpoint::greeting();
    let mut proxy = crate::setup().ready([&endpoint]).start();
    let output = upgrade(&proxy, &[]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("has no handoff.socket") && said.contains("add it"), "{said}");
    proxy.write_config(|config| config.set("handoff", json!({"socket": "../handoff.sock"})));
    let output = upgrade(&proxy, &[]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("no proxy listens on") && said.contains("tidegate run"), "{said}");
    assert_eq!(output.status.code(), Some(1));
}

/// In a container the proxy is process 1: what it starts would end with it, so it starts nothing.
#[test]
fn upgrade_of_process_1_is_refused() {
    let endpoint = Endpoint::greeting();
    let Some(launcher) = super::own_processes() else { return };
    let proxy = setup().under(launcher).ready([&endpoint]).start();
    let output = upgrade(&proxy, &[]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains("process 1 of its container") && said.contains("another container"), "{said}");
    proxy.expect_all_on(&endpoint);
}

/// The service manager is told of the new main process before the old one ends, and only when it has taken over; the old
/// one then says nothing more.
#[test]
fn service_manager_follows_the_successor() {
    let endpoint = Endpoint::greeting();
    let setup = setup().ready([&endpoint]);
    let manager = UnixDatagram::bind(setup.directory().join("notify.sock")).unwrap();
    manager.set_read_timeout(Some(tidegate_tests::support::DEADLINE)).unwrap();
    let path = setup.directory().join("notify.sock");
    let proxy = setup.environment("NOTIFY_SOCKET", path).start();
    let _offspring = Offspring::of(&proxy);
    let hear = || {
        let mut buffer = [0; 4096];
        let length = manager.recv(&mut buffer).expect("the service manager is told something");
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    };
    until("it is ready", || hear() == "READY=1\nSTATUS=ready\n");
    let process = succeeded(&upgrade(&proxy, &["-o", "json"]))["process"].clone();
    assert_eq!(hear(), format!("MAINPID={process}\nREADY=1\nSTATUS=ready\n"));
    assert!(proxy.wait_for_end().status.success());
    manager.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
    assert!(manager.recv(&mut [0; 64]).is_err(), "the old process has nothing to say");
    let process = Pid::from_raw(process.as_i64().unwrap() as i32).unwrap();
    kill_process(process, Signal::TERM).unwrap();
    manager.set_read_timeout(Some(tidegate_tests::support::DEADLINE)).unwrap();
    assert_eq!(hear(), "STOPPING=1\n");
}

/// A successor that fails is never the service manager's main process.
#[test]
fn service_manager_does_not_follow_a_failure() {
    let endpoint = Endpoint::greeting();
    let setup = setup().ready([&endpoint]);
    let path = setup.directory().join("notify.sock");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_nonblocking(true).unwrap();
    let proxy =
        setup.environment("NOTIFY_SOCKET", path).environment("TIDEGATE_HANDOFF_FAULT", "kill:doors").start();
    let output = upgrade(&proxy, &[]);
    expect_failure(&proxy, &endpoint, &output, &[]);
    let mut buffer = [0; 4096];
    while let Ok(length) = manager.recv(&mut buffer) {
        let said = String::from_utf8_lossy(&buffer[..length]).into_owned();
        assert!(!said.contains("MAINPID"), "{said}");
    }
}
