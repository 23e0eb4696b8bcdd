//! Two pods on one node: the new one takes over from the old one, which parks; each answers its own probes.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use rustix::process::Signal;
use serde_json::json;
use tidegate_tests::support::{Endpoint, Process, Proxy, Setup, run, until};

use super::Successor;

const OLD: (&str, &str) = ("POD_UID", "3f0a5c1e-old");
const NEW: (&str, &str) = ("POD_UID", "9b7d2240-new");

fn setup(afterwards: &str) -> Setup {
    let handoff =
        json!({"socket": "../node/handoff.sock", "probeSocket": "../probe-old", "afterwards": afterwards});
    crate::setup().config(|config| config.set("handoff", handoff)).environment(OLD.0, OLD.1)
}

/// The configuration of the new pod: the same, but for its own probes.
fn of_new_pod(proxy: &Proxy) -> PathBuf {
    let text = fs::read_to_string(proxy.config_file()).unwrap().replace("probe-old", "probe-new");
    let path = proxy.config_file().with_file_name("tidegate-new.yaml");
    fs::write(&path, text).unwrap();
    path
}

fn probe(proxy: &Proxy, what: &str, pod: &str) -> Output {
    ask(&socket(proxy, pod), what)
}

fn socket(proxy: &Proxy, pod: &str) -> PathBuf {
    proxy.directory().join(format!("probe-{pod}"))
}

/// Asks the process that answers on this socket.
pub(super) fn ask(socket: &Path, what: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    run(command.args(["probe", what, "--socket"]).arg(socket).env_remove("TIDEGATE_CONFIG"))
}

#[track_caller]
pub(super) fn expect_yes(socket: &Path) {
    for what in ["live", "ready"] {
        let answer = ask(socket, what);
        assert!(answer.status.success() && answer.stdout == b"yes\n", "{socket:?} {what}: {answer:?}");
    }
}

/// The TCP sockets of a process.
fn tcp_sockets(process: Process) -> usize {
    let table = |family: &str| fs::read_to_string(format!("/proc/net/{family}")).unwrap_or_default();
    let tables = table("tcp") + &table("tcp6");
    let known: BTreeSet<String> = tables
        .lines()
        .filter_map(|line| Some(format!("socket:[{}]", line.split_whitespace().nth(9)?)))
        .collect();
    process.open_files().iter().filter(|file| known.contains(*file)).count()
}

/// The new pod is ready when it owns the flows, and not before. The old one closes all it has and stays, ready and alive;
/// its container, started again and again, is told that its pod is over, and disturbs nobody.
#[test]
fn old_pod_parks_and_stays_parked() {
    let endpoint = Endpoint::greeting();
    let old = setup("park").ready([&endpoint]).start();
    expect_yes(&socket(&old, "old"));
    let (mut flow, _) = old.connect_greeted();
    let mut new = Successor::start_with(&of_new_pod(&old), old.directory(), &[NEW]);
    new.wait_until_it_has_taken_over();
    old.wait_for_log("parked");
    until("the new pod is ready", || probe(&old, "ready", "new").status.success());
    expect_yes(&socket(&old, "new"));
    expect_yes(&socket(&old, "old"));
    flow.exchange(b"moved");
    assert_eq!(tcp_sockets(old.process()), 0);
    assert!(tcp_sockets(Process::new(new.child.id())) > 0);
    old.process().signal(Signal::KILL);
    old.wait_for_end();
    for _ in 0..4 {
        let mut again = Successor::start_with(&old.config_file(), old.directory(), &[OLD]);
        until("it is parked", || again.log().contains("parked"));
        assert!(again.log().contains(NEW.1), "{}", again.log());
        expect_yes(&socket(&old, "old"));
        expect_yes(&socket(&old, "new"));
        flow.exchange(b"still here");
        old.expect_all_on(&endpoint);
        assert_eq!(tcp_sockets(Process::new(again.child.id())), 0);
        Process::new(again.child.id()).signal(Signal::TERM);
        assert!(again.wait_for_end().success());
    }
    assert_eq!(old.metrics().sum("tidegate_handoffs_total", &[("result", "failed")]), 0);
    // A third pod takes over from the second; the first one stays what it is.
    let third = ("POD_UID", "c41f-third");
    let mut last = Successor::start_with(&of_new_pod(&old), old.directory(), &[third]);
    last.wait_until_it_has_taken_over();
    let mut again = Successor::start_with(&old.config_file(), old.directory(), &[OLD]);
    until("it is parked", || again.log().contains("parked"));
    flow.exchange(b"still here");
    assert!(again.child.try_wait().unwrap().is_none());
}

/// While the new pod waits for its source it lives and is not ready, and the old one serves.
#[test]
fn new_pod_is_not_ready_before_it_has_taken_over() {
    let endpoint = Endpoint::greeting();
    let old = setup("park").ready([&endpoint]).start();
    let config = of_new_pod(&old);
    let text = fs::read_to_string(&config).unwrap().replace("endpoints", "endpoints-new");
    fs::write(&config, text).unwrap();
    let mut new = Successor::start_with(&config, old.directory(), &[NEW]);
    until("the new pod is alive", || probe(&old, "live", "new").status.success());
    let answer = probe(&old, "ready", "new");
    assert_eq!(answer.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&answer.stdout).contains("waits to take over"), "{answer:?}");
    expect_yes(&socket(&old, "old"));
    old.expect_all_on(&endpoint);
    fs::rename(old.directory().join("endpoints"), old.directory().join("endpoints-new")).unwrap();
    new.wait_until_it_has_taken_over();
    until("the new pod is ready", || probe(&old, "ready", "new").status.success());
}

/// A parked process ends when it is told to, also where that was before it parked.
#[test]
fn parked_process_ends_with_success() {
    let endpoint = Endpoint::greeting();
    let old = setup("park").ready([&endpoint]).start();
    let mut new = Successor::start_with(&of_new_pod(&old), old.directory(), &[NEW]);
    new.wait_until_it_has_taken_over();
    old.wait_for_log("parked");
    old.terminate();
    assert!(old.wait_for_end().status.success());
    assert!(!old.directory().join("probe-old").exists());
    old.expect_all_on(&endpoint);
}

/// Without parking, a process whose pod was superseded says so and fails.
#[test]
fn superseded_pod_that_may_not_park_says_why() {
    let endpoint = Endpoint::greeting();
    let old = setup("exit").ready([&endpoint]).start();
    let mut new = Successor::start_with(&of_new_pod(&old), old.directory(), &[NEW]);
    new.wait_until_it_has_taken_over();
    assert!(old.wait_for_end().status.success());
    let mut again = Successor::start_with(&old.config_file(), old.directory(), &[OLD]);
    assert_eq!(again.wait_for_end().code(), Some(1));
    assert!(
        again.log().contains(OLD.1) && again.log().contains("handoff.afterwards: park"),
        "{}",
        again.log()
    );
    old.expect_all_on(&endpoint);
}

/// Nobody answers: the probe fails and says where it looked.
#[test]
fn probe_without_a_process_fails() {
    let endpoint = Endpoint::greeting();
    let proxy = setup("park").ready([&endpoint]).start();
    let answer = probe(&proxy, "live", "of-nobody");
    assert_eq!(answer.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&answer.stderr).contains("probe-of-nobody"), "{answer:?}");
}

/// Two containers do not see each other's processes; they hand over all the same.
#[test]
fn containers_hand_over() {
    let Some(launcher) = super::own_processes() else { return };
    let endpoint = Endpoint::greeting();
    let old = setup("exit").under(launcher).ready([&endpoint]).start();
    let (mut flow, _) = old.connect_greeted();
    let mut new = Successor::start_under(launcher, &of_new_pod(&old), old.directory(), &[NEW]);
    new.wait_until_it_has_taken_over();
    assert!(old.wait_for_end().status.success());
    flow.exchange(b"moved");
    old.expect_all_on(&endpoint);
}
