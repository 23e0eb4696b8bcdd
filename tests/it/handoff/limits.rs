//! What is bounded: processes, descriptors, and how long an old process waits for its flows.

use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread::{self, ScopedJoinHandle},
};

use serde_json::json;
use tidegate_tests::support::{Connection, Endpoint, until};

use super::{
    Successor,
    offspring::{Offspring, running},
    setup,
    upgrade::upgrade,
};

/// R6: a storm of upgrades: each has its turn, and there are never more than the one that serves, the one that has just
/// handed over, and the one that takes over.
#[test]
fn storm_of_upgrades_leaves_one_process() {
    let endpoint = Endpoint::greeting();
    let proxy = setup().ready([&endpoint]).start();
    let _offspring = Offspring::of(&proxy);
    let (mut flow, _) = proxy.connect_greeted();
    let (most, over) = (AtomicUsize::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            while !over.load(Ordering::SeqCst) {
                most.fetch_max(running(&proxy.config_file()).len(), Ordering::SeqCst);
            }
        });
        // One at a time: the others are told so, and ask again.
        let ask = || {
            loop {
                let output = upgrade(&proxy, &[]);
                let said = String::from_utf8_lossy(&output.stderr).into_owned();
                if output.status.success() || !said.contains("a handoff is under way") {
                    return (output.status.success(), said);
                }
            }
        };
        let upgrades: Vec<_> = (0..12).map(|_| scope.spawn(ask)).collect();
        let outcomes: Vec<_> = upgrades.into_iter().map(ScopedJoinHandle::join).collect();
        over.store(true, Ordering::SeqCst);
        watcher.join().unwrap();
        for outcome in outcomes {
            let (is_done, said) = outcome.unwrap();
            assert!(is_done, "{said}");
        }
    });
    assert!(proxy.wait_for_end().status.success());
    until("one is left", || running(&proxy.config_file()).len() == 1);
    assert!(most.load(Ordering::SeqCst) <= 3, "{most:?} processes at a time");
    flow.exchange(b"still here");
    assert_eq!(proxy.metrics().total("tidegate_flows_taken_over_total"), 12);
}

/// A successor with too few descriptors takes the listeners alone, which both say before anything moves. The flows stay
/// with the old process, are counted in the new one, and end by themselves or when handoff.linger is over; until then
/// nobody else takes over.
#[test]
fn too_few_descriptors_move_listeners_alone() {
    let endpoint = Endpoint::greeting();
    let handoff = json!({"socket": "../handoff.sock", "linger": "7s"});
    let proxy = setup().config(|config| config.set("handoff", handoff)).ready([&endpoint]).start();
    let mut flows: Vec<Connection> = (0..90).map(|_| proxy.connect_greeted().0).collect();
    let launcher = ["sh", "-c", "ulimit -n 320; exec \"$@\"", "sh"];
    let mut successor = Successor::start_under(&launcher, &proxy.config_file(), proxy.directory(), &[]);
    successor.wait_until_it_has_taken_over();
    for log in [proxy.log(), successor.log()] {
        assert!(log.contains("there are 90 flows") && log.contains("RLIMIT_NOFILE"), "{log}");
    }
    for flow in &mut flows {
        flow.exchange(b"still with the old one");
    }
    let (mut new, _) = proxy.connect_greeted();
    assert_eq!(proxy.metrics().total("tidegate_flows_open"), 91);
    flows.truncate(50);
    until("the old one's progress shows", || proxy.metrics().total("tidegate_flows_open") == 51);
    let mut third = Successor::start(&proxy, &[]);
    assert_eq!(third.wait_for_end().code(), Some(1));
    assert!(
        third.log().contains("still has flows") && third.log().contains("handoff.linger"),
        "{}",
        third.log()
    );
    assert!(proxy.is_running());
    let ended = proxy.wait_for_end();
    assert!(ended.log.contains("the grace is over; cutting flows"), "{}", ended.log);
    until("the cut flows are counted", || {
        proxy.metrics().total("tidegate_flows_open") == 1
            && proxy.metrics().sum("tidegate_flows_terminated_total", &[("by", "shutdown")]) == 50
    });
    new.exchange(b"never moved");
    let mut last = Successor::start(&proxy, &[]);
    last.wait_until_it_has_taken_over();
    new.exchange(b"moved");
}
