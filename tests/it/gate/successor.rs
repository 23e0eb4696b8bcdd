//! A gate while another process takes over: it never opens because flows are elsewhere.

use std::process::{Child, Command, Stdio};

use serde_json::json;
use tidegate_tests::support::{Connection, Endpoint, Gate, Process, Proxy, Setup, eventually, until};

use super::{UID, kept_ready, leaving, ready};

/// A process that takes over from a proxy, and ends with the test.
struct Successor(Child);

impl Successor {
    /// Starts it with as many descriptors as it may have.
    fn start(proxy: &Proxy, descriptors: u32) -> Self {
        Self::start_under(&[], proxy, descriptors, "")
    }

    /// Starts it by another program, to fail at this point.
    fn start_under(launcher: &[&str], proxy: &Proxy, descriptors: u32, fault: &str) -> Self {
        let script = format!("ulimit -n {descriptors}; exec \"$@\"");
        let mut command = Command::new("sh");
        command.args(["-c", &script, "sh"]).args(launcher);
        command.args([env!("CARGO_BIN_EXE_tidegate"), "run", "--config"]).arg(proxy.config_file());
        command.env("TIDEGATE_HANDOFF_FAULT", fault);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Self(command.spawn().unwrap())
    }
}

impl Drop for Successor {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A proxy that hands over, with a gate, and flows on the pod that waits.
fn proxy(flows: usize) -> (Endpoint, Proxy, Gate, Vec<Connection>) {
    proxy_with(flows, |setup| setup)
}

fn proxy_with(flows: usize, more: impl FnOnce(Setup) -> Setup) -> (Endpoint, Proxy, Gate, Vec<Connection>) {
    let endpoint = Endpoint::greeting();
    let (setup, gate) = super::setup();
    let handoff = json!({"socket": "../handoff.sock", "timeout": "5s", "linger": "60s"});
    let setup = more(setup.config(|config| config.set("handoff", handoff)));
    let proxy = setup.slice(&ready(&endpoint)).start();
    let flows = (0..flows).map(|_| proxy.connect_greeted().0).collect();
    proxy.write_slice(&leaving(&endpoint));
    proxy.wait_for_eligible(0);
    (endpoint, proxy, gate, flows)
}

/// A pod that waits, as its preStop does; it gives a proxy that does not answer up after this time.
fn wait_for(gate: Gate, when_away: &str) -> Child {
    let mut wait = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    wait.args(["gate", "wait", "--address", &gate.0.to_string(), "--pod-uid", UID, "--when-away", when_away]);
    let waiting = wait.stdout(Stdio::null()).spawn().unwrap();
    gate.follow(UID).until(|it| it.phase == "drained");
    waiting
}

/// R4: whoever waits is told to ask again, and the successor, which has the flows, answers, and its successor, too. At no
/// moment is nobody there: one that gives up at once does not.
#[test]
fn a_pod_that_waits_asks_the_successor() {
    let (_endpoint, proxy, gate, mut flows) = proxy(3);
    let mut waiting = wait_for(gate, "0s");
    let mut successors = Vec::new();
    for left in [2, 1] {
        successors.push(Successor::start(&proxy, 4_096));
        until("it has taken over", || {
            proxy.metrics().total("tidegate_flows_taken_over_total") == 3 + (2 - left as u64) * 2
        });
        flows.truncate(left);
        gate.follow(UID).until(|it| it.phase == "drained" && it.flows == left as u64);
        flows[0].exchange(b"still here");
        assert!(waiting.try_wait().unwrap().is_none(), "it waits for the flow that moved");
    }
    drop(flows);
    let status = eventually("the pod may go", || waiting.try_wait().unwrap());
    assert_eq!(status.code(), Some(0));
    assert!(proxy.wait_for_end().log.contains("another process has taken over"));
}

/// C4: a pod that is ready although it terminates stays shut in the successor, also where its hook has ended and nobody
/// asks there, and in the successor's successor.
#[test]
fn what_a_gate_drained_stays_shut_in_the_successor() {
    let (endpoint, proxy, gate, mut flows) = proxy(2);
    proxy.write_slice(&ready(&endpoint));
    proxy.wait_for_eligible(1);
    proxy.write_slice(&kept_ready(&endpoint));
    assert_eq!(gate.wait(UID, 300).outcome, "time_over");
    proxy.wait_for_eligible(0);
    let mut successors = Vec::new();
    for taken in [2, 4] {
        successors.push(Successor::start(&proxy, 4_096));
        until("it has taken over", || proxy.metrics().total("tidegate_flows_taken_over_total") == taken);
        let row = proxy.endpoint(&endpoint).unwrap();
        assert_eq!((row.eligible, row.drain.map(|drain| drain.why)), (false, Some("gate".to_owned())));
        proxy.expect_refusal();
        flows[0].exchange(b"still here");
    }
    assert_eq!(gate.wait(UID, 300).flows, 2);
}

/// The old process is killed with everything given: whoever waits there asks the successor, though nobody told it to.
#[test]
fn a_pod_that_waits_survives_the_predecessor() {
    let fault = |setup: Setup| setup.environment("TIDEGATE_HANDOFF_FAULT", "kill:started-heard");
    let (_endpoint, proxy, gate, mut flows) = proxy_with(2, fault);
    let mut waiting = wait_for(gate, "20s");
    let _successor = Successor::start(&proxy, 4_096);
    assert!(!proxy.wait_for_end().status.success());
    until("the successor answers", || proxy.admin().get("/readyz").is_ok_and(|it| it.status == 200));
    gate.follow(UID).until(|it| it.phase == "drained" && it.flows == 2);
    flows[0].exchange(b"still here");
    assert!(waiting.try_wait().unwrap().is_none(), "it waits for the flows that moved");
    drop(flows);
    let status = eventually("the pod may go", || waiting.try_wait().unwrap());
    assert_eq!(status.code(), Some(0));
}

/// The successor was given flows and stalls: it has them, and the process that goes on does not count them. So the gate is
/// shut until the successor has ended.
#[test]
fn flows_of_half_a_successor_keep_the_gate_shut() {
    let (_endpoint, proxy, gate, mut flows) = proxy(1);
    let mut waiting = wait_for(gate, "0s");
    let successor = Successor::start_under(&[], &proxy, 4_096, "stop:started");
    proxy.wait_for_log("this process goes on");
    let answer = gate.wait(UID, 300);
    assert_eq!((&*answer.outcome, &*answer.instances[0].state), ("time_over", "not_synced"), "{answer:?}");
    assert!(waiting.try_wait().unwrap().is_none());
    Process::new(successor.0.id()).signal(rustix::process::Signal::CONT);
    flows[0].exchange(b"in the successor");
    assert_eq!(gate.wait(UID, 300).outcome, "time_over");
    drop(flows);
    let status = eventually("the pod may go", || waiting.try_wait().unwrap());
    assert_eq!(status.code(), Some(0));
    assert!(proxy.is_running());
}

/// Two containers do not see each other's processes: the gate waits for flows that stay behind all the same, and opens when
/// the old one has none, though it has not ended, because it parks.
#[test]
fn flows_left_in_another_container_keep_the_gate_shut() {
    let Some(launcher) = crate::handoff::own_processes() else { return };
    let park = |setup: Setup| {
        setup.under(launcher).config(|config| {
            let handoff = json!({"socket": "../handoff.sock", "afterwards": "park", "linger": "60s"});
            config.set("handoff", handoff);
        })
    };
    let (_endpoint, proxy, gate, flows) = proxy_with(40, park);
    let _successor = Successor::start_under(launcher, &proxy, 160, "");
    proxy.wait_for_log("another process has taken over");
    let answer = eventually("the successor answers", || {
        let answer = gate.get(&format!("/v1/gate?uid={UID}&timeout_ms=300"), "");
        (answer.status == 200).then(|| answer.json::<tidegate_admin::gate::GateAnswer>())
    });
    assert_eq!((&*answer.outcome, &*answer.instances[0].state), ("time_over", "not_synced"), "{answer:?}");
    drop(flows);
    until("the gate opens", || {
        let answer = gate.get(&format!("/v1/gate?uid={UID}&timeout_ms=2000"), "");
        answer.status == 404 || (answer.status == 200 && answer.body.contains("\"outcome\":\"drained\""))
    });
    proxy.wait_for_log("parked");
    assert!(proxy.is_running());
}

/// R4: flows that stay with the old process are counted by nobody who answers, so nothing is said until it has ended.
#[test]
fn flows_that_stay_behind_keep_the_gate_shut() {
    let (_endpoint, proxy, gate, flows) = proxy(40);
    // Too few descriptors for so many flows: they stay where they are.
    let _successor = Successor::start(&proxy, 160);
    proxy.wait_for_log("another process has taken over");
    let answer = eventually("the successor answers", || {
        let answer = gate.get(&format!("/v1/gate?uid={UID}&timeout_ms=300"), "");
        (answer.status == 200).then(|| answer.json::<tidegate_admin::gate::GateAnswer>())
    });
    assert_eq!((&*answer.outcome, &*answer.instances[0].state), ("time_over", "not_synced"), "{answer:?}");
    assert!(proxy.is_running());
    drop(flows);
    until("the old process has ended, and the gate opens", || {
        let answer = gate.get(&format!("/v1/gate?uid={UID}&timeout_ms=2000"), "");
        answer.status == 404 || (answer.status == 200 && answer.body.contains("\"outcome\":\"drained\""))
    });
    assert!(proxy.wait_for_end().status.success());
}
