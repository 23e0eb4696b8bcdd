//! A pod that dies or cannot start: only what it owned is lost, and the other pod serves.

use std::{fs, net::TcpListener};

use rustix::process::Signal;
use serde_json::json;
use tidegate_tests::support::{Connection, Endpoint};

use super::Node;

/// The new pod dies: what it owned is lost, and nothing more. The old pod serves at once, until the new one is there again.
#[test]
fn old_pod_serves_where_the_new_one_dies() {
    let endpoint = Endpoint::greeting();
    let node = Node::start(&endpoint);
    let mut new = node.add("b");
    new.container.wait_until_it_has_taken_over();
    node.wait_until_parked(|| node.first.log(), "b");
    new.signal(Signal::KILL);
    new.container.wait_for_end();
    node.wait_until_ready("a");
    node.first.wait_until_ready();
    node.first.expect_all_on(&endpoint);
    let mut flow = node.flow();
    new.container = node.container("b", &new.config);
    new.container.wait_until_it_has_taken_over();
    node.wait_until_parked(|| node.first.log(), "b");
    node.wait_until_ready("b");
    flow.exchange(b"moved");
}

/// The new pod never gets ready, again and again: the old one serves, and the kubelet sees which of the two is which.
#[test]
fn new_pod_that_cannot_start_changes_nothing() {
    let endpoint = Endpoint::greeting();
    let node = Node::start(&endpoint);
    let mut flow = node.flow();
    // Somebody who keeps the address to himself.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let listener = taken.local_addr().unwrap();
    type Change = Box<dyn FnOnce(String) -> String>;
    let changes: [(&'static str, Change, &str); 3] = [
        ("b", Box::new(|text| text.replace("\"afterwards\"", "\"afterward\"")), "afterward"),
        ("c", Box::new(|text| text.replace("\"source\"", "\"sauce\"")), "sauce"),
        (
            "d",
            Box::new(move |text| {
                let more =
                    json!({"name": "more", "address": listener, "service": "default/web", "port": "http"});
                let more = format!("\"listeners\": [{more},");
                text.replace("\"listeners\": [", &more)
            }),
            "more",
        ),
    ];
    for (name, change, word) in changes {
        let mut new = node.add_with(name, change);
        for _ in 0..2 {
            assert_eq!(new.container.wait_for_end().code(), Some(1));
            assert!(new.log().contains(word), "{}", new.log());
            assert!(node.probe(name, "readiness").is_err());
            new.container = node.container(name, &new.config);
        }
        new.container.wait_for_end();
        node.expect_healthy(["a"]);
        flow.exchange(name.as_bytes());
        node.first.expect_all_on(&endpoint);
    }
    drop(taken);
    let mut new = node.add("e");
    new.container.wait_until_it_has_taken_over();
    flow.exchange(b"moved");
}

/// A container that died leaves its sockets' files, as a reboot does where the directory is on a disk. It starts again all
/// the same, and hands over.
#[test]
fn files_of_dead_processes_are_replaced() {
    let endpoint = Endpoint::greeting();
    let node = Node::start(&endpoint);
    node.first.process().signal(Signal::KILL);
    node.first.wait_for_end();
    let directory = node.first.directory();
    for file in ["node/handoff/handoff.sock", "pod-a/probe.sock"] {
        assert!(directory.join(file).exists(), "{file} is left");
    }
    assert!(node.probe("a", "liveness").is_err());
    let _again = node.restart_first();
    node.wait_until_ready("a");
    let mut flow = Connection::open(node.first.status().listeners[0].address.parse().unwrap());
    flow.greeting();
    let mut new = node.add("b");
    new.container.wait_until_it_has_taken_over();
    node.wait_until_ready("b");
    flow.exchange(b"moved");
}

/// Pods that do not share a directory do not meet: the new one finds the addresses in use and fails, and says so. That is
/// a first update to manifests with a handoff, by a surge.
#[test]
fn pods_that_do_not_meet_leave_the_old_one_alone() {
    let endpoint = Endpoint::greeting();
    let node = Node::start(&endpoint);
    let mut flow = node.flow();
    fs::create_dir(node.first.directory().join("elsewhere")).unwrap();
    let mut new = node.add_with("b", |text| text.replace("../node/", "../elsewhere/"));
    assert_eq!(new.container.wait_for_end().code(), Some(1));
    assert!(new.log().contains("is in use"), "{}", new.log());
    node.expect_healthy(["a"]);
    flow.exchange(b"undisturbed");
    node.first.expect_all_on(&endpoint);
}
