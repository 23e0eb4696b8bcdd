//! `--all`: every instance is asked, and each answer, or that there is none, is listed.

use std::thread;

use rustix::process::Signal;
use serde_json::json;
use tidegate_admin::{All, AllPlans};
use tidegate_tests::support::{Endpoint, Proxy, api, until};

use super::instances::{instances, tell};
use super::leaving;
use crate::watch::Watcher;

/// The exit status, and what was printed.
fn run(proxy: &Proxy, arguments: &[&str]) -> (Option<i32>, String) {
    let output = proxy.command(arguments);
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.code(), text)
}

/// `--all` drains and audits every instance, and lists the answers.
#[test]
fn all_instances_are_asked() {
    let (endpoint, mut all, flows) = instances(3, &json!({}));
    let address = endpoint.address().to_string();
    let (status, text) = run(&all[0].0, &["drain", "default/web", &address, "--all"]);
    assert_eq!(status, Some(0), "{text}");
    for (_, gate) in &all[1..] {
        assert!(text.contains(&format!("{}:\n", gate.0)), "{text}");
    }
    for (proxy, _) in &all {
        let row = proxy.endpoint(&endpoint).unwrap();
        assert_eq!((row.eligible, row.drain.is_some()), (false, true), "{row:?}");
    }
    drop(flows);
    for (proxy, _) in &all {
        proxy.wait_for_no_flows();
    }
    let (status, text) = run(&all[0].0, &["audit", "--all", "--expect", "zero-broken-and-done"]);
    assert_eq!(status, Some(0), "{text}");
    assert_eq!(text.matches("drained").count(), 3, "{text}");
    let (status, text) = run(&all[0].0, &["undrain", "default/web", &address, "--all"]);
    assert_eq!(status, Some(0), "{text}");
    all.iter().for_each(|(proxy, _)| proxy.wait_for_eligible(1));
    all.truncate(2);
    let (status, text) = run(&all[0].0, &["audit", "--all", "--expect", "zero-broken"]);
    assert_eq!(status, Some(1), "an instance that cannot be asked proves nothing: {text}");
    let (status, text) = run(&all[0].0, &["drain", "default/nothing", "web-0", "--all"]);
    assert_eq!(status, Some(1), "{text}");
}

/// Where there are no others to ask nothing is done, on this instance neither.
#[test]
fn who_knows_no_others_does_nothing() {
    let endpoint = Endpoint::greeting();
    let lone = crate::setup().ready([&endpoint]).start();
    let address = endpoint.address().to_string();
    for arguments in [
        ["audit", "--all"].as_slice(),
        &["endpoints", "--all"],
        &["watch", "--all"],
        &["plan", "drain", "default/web", &address, "--all"],
        &["drain", "default/web", &address, "--all"],
        &["undrain", "default/web", &address, "--all"],
    ] {
        let (status, text) = run(&lone, arguments);
        assert!(status == Some(1) && text.contains("peers"), "{arguments:?}: {text}");
        let row = lone.endpoint(&endpoint).unwrap();
        assert_eq!((row.eligible, &*row.admin_state.state), (true, "in_service"), "{arguments:?}: {row:?}");
    }
}

/// A plan of all instances, and of all of them together; one that is cut off is named and in no total.
#[test]
fn all_instances_plan() {
    let (endpoint, all, mut flows) = instances(3, &json!({}));
    flows.push(all[1].0.connect_greeted().0);
    let address = endpoint.address().to_string();
    let plan = |more: &[&str], status: i32| {
        let output = all[0].0.command(&[&["plan", "drain", "default/web", &address, "--all"], more].concat());
        assert_eq!(output.status.code(), Some(status), "{output:?}");
        output.stdout
    };
    let json = ["--deadline", "21s", "-o", "json"];
    let plans: AllPlans = serde_json::from_slice(&plan(&json, 0)).unwrap();
    let moved = plans.all.instances.iter().map(|it| it.answer.as_ref().unwrap().services[0].flows_to_move);
    assert_eq!((plans.all.instances[0].instance.as_str(), moved.sum::<u64>()), ("this", 4), "{plans:?}");
    let [total] = &*plans.totals else { panic!("{plans:?}") };
    assert_eq!((total.instances, total.flows_to_move, total.nobody_left), (3, 4, 3), "{total:?}");
    assert_eq!((total.reconnects_per_second, total.will_be_cut.is_some()), (Some(0.4), true), "{total:?}");

    // It is there, and takes connections, and says nothing.
    all[2].0.process().signal(Signal::STOP);
    let plans: AllPlans = serde_json::from_slice(&plan(&json, 1)).unwrap();
    let text = String::from_utf8(plan(&[], 1)).unwrap();
    all[2].0.process().signal(Signal::CONT);
    let silent = plans.all.instances.iter().find(|it| it.answer.is_none()).expect("one is cut off");
    assert_eq!(silent.instance, all[2].1.0.to_string());
    assert!(silent.error.as_ref().unwrap().contains("did not answer within"), "{silent:?}");
    assert_eq!((plans.totals[0].instances, plans.totals[0].flows_to_move), (2, 3), "{plans:?}");
    let silent = format!("{}: it did not answer", all[2].1.0);
    for words in
        [&silent, "2 instances together: 3 flows would have to move; on 2 no endpoint", "nothing was changed"]
    {
        assert!(text.contains(words), "{words}: {text}");
    }
    for (proxy, _) in &all {
        assert!(proxy.endpoint(&endpoint).unwrap().eligible, "nothing was changed");
    }
    for wrong in ["plan", "plan?colour=red", "audit?since_ms=soon", "drains?follow=true", "endpoints?x=y"] {
        assert_eq!(all[0].0.get(&format!("/v1/all/{wrong}")).status, 400, "{wrong}: it is wrong for all");
    }
    // Each instance numbers its endpoints itself.
    let (status, text) = run(&all[0].0, &["plan", "drain", "default/web", "1", "--all"]);
    assert!(status == Some(1) && text.contains("which each instance gives for itself"), "{text}");
}

/// Whoever waits for a drain of all instances waits for the last flow of any of them.
#[test]
fn a_drain_of_all_instances_can_be_waited_for() {
    let (endpoint, all, mut flows) = instances(3, &json!({}));
    let address = endpoint.address().to_string();
    let drain = ["drain", "default/web", &address, "--all", "--wait"];
    let (status, text) = run(&all[0].0, &[&drain, ["--timeout", "300ms"].as_slice()].concat());
    assert!(status == Some(3) && text.contains("some flows are left"), "{text}");
    let last = flows.pop();
    drop(flows);
    all[..2].iter().for_each(|(proxy, _)| proxy.wait_for_no_flows());
    thread::scope(|scope| {
        let waiting = scope.spawn(|| all[0].0.command(&[&drain, ["-o", "json"].as_slice()].concat()));
        until("it is told who is waited for", || {
            !waiting.is_finished() && all[2].0.get("/v1/drains").json::<api::Drains>().drains.len() == 1
        });
        drop(last);
        let output = waiting.join().unwrap();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let audits: All<api::Audit> = serde_json::from_slice(&output.stdout).unwrap();
        let ended =
            |audit: &api::Audit| audit.records.iter().map(|record| record.ended_by_client).sum::<u64>();
        let ended: Vec<_> = audits.instances.iter().map(|it| ended(it.answer.as_ref().unwrap())).collect();
        assert_eq!(ended, [1, 1, 1], "{audits:?}");
    });
}

/// A drain that one instance takes back is no success, and nor is one that an instance was never told of.
#[test]
fn a_drain_that_one_instance_does_not_have_fails_who_waits() {
    let (endpoint, mut all, flows) = instances(3, &json!({}));
    let address = endpoint.address().to_string();
    let drain = ["drain", "default/web", &address, "--all", "--wait"];
    thread::scope(|scope| {
        let waiting = scope.spawn(|| run(&all[0].0, &drain));
        until("the drain is on", || all[2].0.get("/v1/drains").json::<api::Drains>().drains.len() == 1);
        let (status, text) = run(&all[2].0, &["undrain", "default/web", &address]);
        assert_eq!(status, Some(0), "{text}");
        drop(flows);
        let (status, text) = waiting.join().unwrap();
        assert!(status == Some(1) && text.contains("taken back"), "{text}");
    });
    let gone = all.pop().unwrap().1.0;
    let (status, text) = run(&all[0].0, &drain);
    assert!(status == Some(1) && text.contains(&format!("not drained on {gone}")), "{text}");
}

/// The drains of all instances in one view, and what keeps an instance from being asked.
#[test]
fn drains_of_all_instances_are_watched() {
    let (endpoint, mut all, mut flows) = instances(2, &json!({}));
    let other = all[1].1.0;
    let mut watcher = Watcher::start(&all[0].0, &["default/web", "--all"]);
    watcher.line("no drain is on");
    tell(&all, &leaving(&endpoint));
    watcher.line(&format!("{other}: default/web"));
    let (status, text) = run(&all[0].0, &["endpoints", "--all"]);
    assert_eq!((status, text.matches("1 of 1 flows left, ").count()), (Some(0), 2), "{text}");
    assert!(text.starts_with("this:\n") && text.contains(&format!("{other}:\n")), "{text}");
    flows.pop();
    let line = watcher.line("drained after");
    assert!(line.contains(&format!("{other}: default/web")), "{line}");
    all.pop();
    watcher.line(&format!("{other} cannot be asked"));
    let mut watcher = Watcher::start(&all[0].0, &["--all", "-o", "json"]);
    let drains: All<api::Drains> = serde_json::from_str(&watcher.line("{")).unwrap();
    let left: Vec<_> =
        drains.instances.iter().map(|it| it.answer.as_ref().map(|it| it.drains.len())).collect();
    assert_eq!(left, [Some(1), None], "{drains:?}");
}
