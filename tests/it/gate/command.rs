//! `tidegate gate wait`, as a pod's preStop runs it.

use std::{
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    process::{Child, Command, Output, Stdio},
    time::Instant,
};

use tidegate_admin::gate::GateAnswer;
use tidegate_tests::support::{Endpoint, run, unused_address};

use super::{UID, leaving, setup, with_flows};

fn command(address: SocketAddr, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command.args(["gate", "wait", "--address", &address.to_string()]).args(arguments);
    command.env_remove("POD_UID").env_remove("TIDEGATE_GATE");
    command
}

fn wait(address: SocketAddr, arguments: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = run(&mut command(address, arguments));
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

/// Progress is lines, and 0 says that no flow is left.
#[test]
fn a_pre_stop_sees_its_pod_drain() {
    let (endpoint, proxy, gate, flows) = with_flows(2);
    let mut child: Child = command(gate.0, &["--pod-uid", UID]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut until = |words: &str| {
        let found = lines.by_ref().find(|line| line.contains(words));
        found.unwrap_or_else(|| panic!("nothing said {words:?}"))
    };
    until("waiting for the pod to be terminating");
    proxy.write_slice(&leaving(&endpoint));
    until("2 flows left");
    drop(flows);
    until("drained: no flow is left");
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn the_exit_status_says_how_it_went() {
    let (endpoint, proxy, gate, flows) = with_flows(1);
    let (status, _, text) = wait(gate.0, &["--pod-uid", "somebody"]);
    assert!(status == Some(3) && text.contains("metadata.uid"), "{text}");
    let (status, text, _) = wait(gate.0, &["--pod-uid", UID]);
    assert!(status == Some(0) && text.contains("not terminating"), "{text}");
    proxy.write_slice(&leaving(&endpoint));
    proxy.wait_for_eligible(0);
    let (status, text, _) = wait(gate.0, &["--pod-uid", UID, "--timeout", "300ms"]);
    assert!(status == Some(1) && text.contains("the time is over: this (flows left, 1 flows)"), "{text}");
    let (status, text, _) = wait(gate.0, &["--pod-uid", UID, "--timeout", "300ms", "-o", "json"]);
    let answer: GateAnswer = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    assert_eq!((status, &*answer.outcome, answer.flows), (Some(1), "time_over", 1));
    let (status, _, _) = wait(gate.0, &["--pod-uid", UID, "--timeout", "soon"]);
    assert_eq!(status, Some(2));
    drop(flows);
}

/// D6: a proxy that is away keeps no pod: it is waited for a moment, and no longer.
#[test]
fn a_proxy_that_is_away_is_given_up_soon() {
    let begun = Instant::now();
    let (status, _, text) = wait(unused_address(), &["--pod-uid", UID, "--when-away", "500ms"]);
    assert!(status == Some(4) && text.contains("no proxy answers"), "{text}");
    assert!((500..10_000).contains(&begun.elapsed().as_millis()), "{:?}", begun.elapsed());
}

/// D6: a proxy that is just about to start is waited for.
#[test]
fn a_proxy_that_starts_meanwhile_is_asked() {
    let endpoint = Endpoint::greeting();
    let (setup, gate) = setup();
    let setup = setup.slice(&leaving(&endpoint));
    let child =
        command(gate.0, &["--pod-uid", UID, "--when-away", "20s"]).stdout(Stdio::piped()).spawn().unwrap();
    let _proxy = setup.start();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

/// An init container without a shell puts the program beside an application.
#[test]
fn the_program_installs_itself() {
    let directory = super::super::setup();
    let path = directory.directory().join("copy");
    let mut install = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    let output = run(install.args(["gate", "install"]).arg(&path));
    assert!(output.status.success(), "{output:?}");
    let output = run(Command::new(&path).arg("--version"));
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("tidegate "), "{output:?}");
    let mut nowhere = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    let output = run(nowhere.args(["gate", "install", "/nowhere/at/all"]));
    assert_eq!(output.status.code(), Some(1), "{output:?}");
}
