//! A gate while another process takes over: it never opens because flows are elsewhere.

use std::process::{Child, Command, Stdio};

use serde_json::json;
use tidegate_tests::support::{Endpoint, Gate, Proxy, eventually, until};

use super::{UID, leaving, ready};

/// A process that takes over from a proxy, and ends with the test.
struct Successor(Child);

impl Successor {
    /// Starts it with as many descriptors as it may have.
    fn start(proxy: &Proxy, descriptors: u32) -> Self {
        let script = format!("ulimit -n {descriptors}; exec \"$@\"");
        let mut command = Command::new("sh");
        command.args(["-c", &script, "sh", env!("CARGO_BIN_EXE_tidegate"), "run", "--config"]);
        command.arg(proxy.config_file()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
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
fn proxy(flows: usize) -> (Endpoint, Proxy, Gate, Vec<tidegate_tests::support::Connection>) {
    let endpoint = Endpoint::greeting();
    let (setup, gate) = super::setup();
    let setup = setup.config(|config| config.set("handoff", json!({"socket": "../handoff.sock"})));
    let proxy = setup.slice(&ready(&endpoint)).start();
    let flows = (0..flows).map(|_| proxy.connect_greeted().0).collect();
    proxy.write_slice(&leaving(&endpoint));
    proxy.wait_for_eligible(0);
    (endpoint, proxy, gate, flows)
}

/// R4: whoever waits is told to ask again, and the successor, which has the flows, answers.
#[test]
fn a_pod_that_waits_asks_the_successor() {
    let (_endpoint, proxy, gate, mut flows) = proxy(3);
    let mut wait = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    wait.args(["gate", "wait", "--address", &gate.0.to_string(), "--pod-uid", UID, "--when-away", "20s"]);
    let mut waiting = wait.stdout(Stdio::null()).spawn().unwrap();
    gate.follow(UID).until(|it| it.phase == "drained" && it.flows == 3);
    let _successor = Successor::start(&proxy, 4_096);
    assert!(proxy.wait_for_end().log.contains("another process has taken over"));
    flows.truncate(1);
    gate.follow(UID).until(|it| it.phase == "drained" && it.flows == 1);
    flows[0].exchange(b"still here");
    assert!(waiting.try_wait().unwrap().is_none(), "it waits for the flow that moved");
    drop(flows);
    let status = eventually("the pod may go", || waiting.try_wait().unwrap());
    assert_eq!(status.code(), Some(0));
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
