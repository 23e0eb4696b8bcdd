//! One pod after the other, while clients come and go: nobody is refused, no flow is broken, whoever ends first.

use std::{fs, os::unix::fs::PermissionsExt as _};

use rustix::process::Signal;
use serde_json::Value;
use tidegate_tests::support::{Endpoint, Process, until};

use super::{
    super::{
        load::Load,
        offspring::{Offspring, running},
        upgrade::upgrade,
    },
    Node, Pod,
};

/// Two pods and then three, while clients come and a flow goes on: each new pod takes over, and the containers of those
/// before it are killed and started again. They are told that their pods are over, and disturb nobody.
#[test]
fn pods_follow_each_other_and_old_ones_start_again() {
    let endpoint = Endpoint::greeting();
    let node = Node::start(&endpoint);
    let mut flow = node.flow();
    let load = Load::start(&node.first, 2);
    let mode =
        |name: &str| fs::metadata(node.first.directory().join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("node/handoff"), mode("node/handoff/handoff.sock")), (0o700, 0o600));

    let mut second = node.add("b");
    second.container.wait_until_it_has_taken_over();
    node.wait_until_ready("b");
    node.wait_until_parked(|| node.first.log(), "b");
    node.expect_healthy(["a", "b"]);
    node.first.process().signal(Signal::KILL);
    node.first.wait_for_end();
    let mut first = Pod { name: "a", config: node.first.config_file(), container: node.restart_first() };
    for _ in 0..5 {
        node.wait_until_parked(|| first.log(), "b");
        node.expect_healthy(["a", "b"]);
        flow.exchange(b"the same flow");
        load.wait_for_more(5);
        first.restart(&node);
    }

    let mut third = node.add("c");
    third.container.wait_until_it_has_taken_over();
    node.wait_until_ready("c");
    for old in [&mut first, &mut second] {
        node.wait_until_parked(|| old.log(), "c");
        for _ in 0..3 {
            old.restart(&node);
            node.wait_until_parked(|| old.log(), "c");
            flow.exchange(b"still the same");
            load.wait_for_more(5);
        }
    }
    node.expect_healthy(["a", "b", "c"]);
    for mut old in [first, second] {
        old.signal(Signal::TERM);
        assert!(old.container.wait_for_end().success(), "the kubelet need not kill it");
    }
    load.wait_for_more(5);
    load.stop();
    flow.exchange(b"to the end");
    assert_eq!(node.first.metrics().sum("tidegate_handoffs_total", &[("result", "failed")]), 0);
    assert!(!node.first.log().contains("taking over again"), "nobody gave anything back");
}

/// `kubectl rollout undo` between the takeover and the end of the old pod: the old pod is the wanted one again, and the
/// new one is told to end. The old one takes over again, and nobody is refused or broken.
#[test]
fn rollback_halfway_gives_everything_back() {
    let endpoint = Endpoint::greeting();
    let node = Node::start(&endpoint);
    let mut flow = node.flow();
    let load = Load::start(&node.first, 2);
    let mut new = node.add("b");
    new.container.wait_until_it_has_taken_over();
    node.wait_until_parked(|| node.first.log(), "b");
    load.wait_for_more(5);

    new.signal(Signal::TERM);
    assert!(new.container.wait_for_end().success(), "it does not wait for flows that it has no more");
    node.first.wait_for_log("taken over");
    node.wait_until_ready("a");
    load.wait_for_more(5);
    flow.exchange(b"the same flow");
    assert_eq!(node.first.flows().iter().filter(|one| one.client == flow.local().to_string()).count(), 1);

    // And forward again.
    let mut newer = node.add("c");
    newer.container.wait_until_it_has_taken_over();
    node.wait_until_parked(|| node.first.log(), "c");
    load.wait_for_more(5);
    load.stop();
    flow.exchange(b"the same flow");
    node.first.terminate();
    assert!(node.first.wait_for_end().status.success());
    flow.exchange(b"to the end");
}

/// Where the manifest gives pods no uid, a process that has handed over is known as one that waits.
#[test]
fn process_without_a_pod_parks_and_takes_over_again() {
    let endpoint = Endpoint::greeting();
    let node = Node::start_as(&endpoint, "", "600s");
    let mut flow = node.flow();
    let mut new = node.add("b");
    new.container.wait_until_it_has_taken_over();
    node.wait_until_parked(|| node.first.log(), "b");
    node.expect_healthy(["a", "b"]);
    assert!(new.container.child.try_wait().unwrap().is_none());
    new.signal(Signal::TERM);
    assert!(new.container.wait_for_end().success());
    node.wait_until_ready("a");
    flow.exchange(b"back");
}

/// A process that started its successor itself, with the same probes, and parks: when that one ends it takes over again, and
/// is probed again.
#[test]
fn process_that_was_upgraded_takes_over_again() {
    let endpoint = Endpoint::greeting();
    let node = Node::start(&endpoint);
    let mut flow = node.flow();
    let _offspring = Offspring::of(&node.first);
    let upgrade = upgrade(&node.first, &["-o", "json"]);
    assert!(upgrade.status.success(), "{upgrade:?}");
    let outcome: Value = serde_json::from_slice(&upgrade.stdout).unwrap();
    node.wait_until_parked(|| node.first.log(), "a");
    flow.exchange(b"moved");
    Process::new(outcome["process"].as_u64().unwrap() as u32).signal(Signal::TERM);
    node.first.wait_for_log("taking over again");
    until("the successor is gone", || running(&node.first.config_file()).len() == 1);
    assert!(node.first.is_running());
    node.wait_until_ready("a");
    node.expect_healthy(["a"]);
    flow.exchange(b"back");
}

/// The new pod's container is ended by the kubelet and started again, as a probe that fails has it. The old pod takes over
/// meanwhile, and the new one waits; when the old pod goes, it takes over again.
#[test]
fn new_pod_that_is_restarted_costs_no_flow() {
    let endpoint = Endpoint::greeting();
    let node = Node::start(&endpoint);
    let mut flow = node.flow();
    let mut new = node.add("b");
    new.container.wait_until_it_has_taken_over();
    node.wait_until_parked(|| node.first.log(), "b");
    new.signal(Signal::TERM);
    assert!(new.container.wait_for_end().success());
    node.wait_until_ready("a");
    new.container = node.container("b", &new.config);
    node.wait_until_parked(|| new.log(), "a");
    node.expect_healthy(["a", "b"]);
    flow.exchange(b"back");
    node.first.terminate();
    assert!(node.first.wait_for_end().status.success());
    new.container.wait_until_it_has_taken_over();
    node.wait_until_ready("b");
    flow.exchange(b"and forth");
}

/// Two parked pods behind one that ends: one of them takes over, and the other waits behind it.
#[test]
fn one_of_two_parked_pods_takes_over() {
    let endpoint = Endpoint::greeting();
    let node = Node::start(&endpoint);
    let mut flow = node.flow();
    let mut second = node.add("b");
    second.container.wait_until_it_has_taken_over();
    let mut third = node.add("c");
    third.container.wait_until_it_has_taken_over();
    node.wait_until_parked(|| node.first.log(), "c");
    node.wait_until_parked(|| second.log(), "c");
    third.signal(Signal::TERM);
    assert!(third.container.wait_for_end().success());
    let behind = |log: &str, owner: &str| {
        log.lines()
            .last()
            .is_some_and(|line| line.contains("parked") && line.contains(&format!("by=\"{owner}\"")))
    };
    until("one has taken over and the other waits", || {
        behind(&node.first.log(), "b") || behind(&second.log(), "a")
    });
    flow.exchange(b"the same flow");
    node.expect_healthy(["a", "b"]);
    node.first.expect_all_on(&endpoint);
}

/// The whole node goes down: whoever is told to end first, nobody takes over again who was told to end too.
#[test]
fn pods_that_are_all_told_to_end_do_so() {
    let endpoint = Endpoint::greeting();
    let node = Node::start_as(&endpoint, "a", "0s");
    let mut new = node.add("b");
    new.container.wait_until_it_has_taken_over();
    node.wait_until_parked(|| node.first.log(), "b");
    node.first.terminate();
    new.signal(Signal::TERM);
    assert!(node.first.wait_for_end().status.success());
    // Its second signal ends the delay.
    new.signal(Signal::TERM);
    assert!(new.container.wait_for_end().success());
    assert!(!node.first.log().contains("taking over again"));
}
