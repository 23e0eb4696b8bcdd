//! Probes while one process of a pod replaces another: somebody answers all the time, and it is whoever serves.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tidegate_tests::support::{Endpoint, Proxy, until};

use super::{
    offspring::{Offspring, running},
    pods::{ask, expect_yes},
    upgrade::upgrade,
};

/// Asks whether the process behind this socket is ready, again and again; the answer is always yes.
fn asking(socket: &Path) -> impl FnOnce() + use<> {
    let (stop, answers) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
    let thread = {
        let (stop, answers, socket) = (Arc::clone(&stop), Arc::clone(&answers), socket.to_owned());
        thread::spawn(move || {
            while !stop.load(Ordering::SeqCst) {
                let answer = ask(&socket, "ready");
                assert!(answer.status.success(), "{answer:?}");
                answers.fetch_add(1, Ordering::SeqCst);
            }
        })
    };
    until("a probe was answered", || answers.load(Ordering::SeqCst) > 0);
    move || {
        stop.store(true, Ordering::SeqCst);
        thread.join().expect("every probe was answered with yes");
    }
}

fn start(endpoint: &Endpoint, environment: &[(&str, &str)]) -> (Proxy, Offspring) {
    let handoff = json!({"socket": "../handoff.sock", "probeSocket": "../probe"});
    let setup = crate::setup().config(|config| config.set("handoff", handoff)).ready([endpoint]);
    let setup = environment.iter().fold(setup, |setup, (name, value)| setup.environment(name, value));
    let proxy = setup.environment("POD_UID", "5d1c-one").start();
    let offspring = Offspring::of(&proxy);
    (proxy, offspring)
}

/// `tidegate upgrade` where both processes have one probe socket: probes are answered with yes throughout, by the new
/// process once the old one is gone, and the last one leaves no file.
#[test]
fn upgrade_keeps_the_probes_answered() {
    let endpoint = Endpoint::greeting();
    let (proxy, _offspring) = start(&endpoint, &[]);
    let finish = asking(&proxy.directory().join("probe"));
    let mut last = 0;
    for _ in 0..3 {
        let output = upgrade(&proxy, &["-o", "json"]);
        assert!(output.status.success(), "{output:?}");
        let outcome: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        last = outcome["process"].as_i64().unwrap();
        until("the old process is gone", || {
            !proxy.is_running() && running(&proxy.config_file()) == [last as u32]
        });
        expect_yes(&proxy.directory().join("probe"));
    }
    finish();
    kill_process(Pid::from_raw(last as i32).unwrap(), Signal::TERM).unwrap();
    until("it has ended", || running(&proxy.config_file()).is_empty());
    assert!(!proxy.directory().join("probe").exists());
    assert_eq!(files(&proxy, '.'), Vec::<String>::new(), "nothing is left beside it");
}

/// Upgrades that fail before anything has moved, and when everything but the end has: the old process answers as before.
#[test]
fn failed_upgrade_leaves_the_probes_with_the_old_process() {
    for point in ["ready", "accepting", "doors"] {
        let endpoint = Endpoint::greeting();
        let (proxy, _offspring) = start(&endpoint, &[("TIDEGATE_HANDOFF_FAULT", &format!("kill:{point}"))]);
        let finish = asking(&proxy.directory().join("probe"));
        let output = upgrade(&proxy, &[]);
        assert_eq!(output.status.code(), Some(1), "{point}: {output:?}");
        until("what it started is gone", || running(&proxy.config_file()).len() == 1);
        expect_yes(&proxy.directory().join("probe"));
        finish();
        proxy.terminate();
        assert!(proxy.wait_for_end().status.success());
        assert!(!proxy.directory().join("probe").exists());
    }
}

/// A file that a killed process left is replaced.
#[test]
fn what_a_killed_process_left_is_replaced() {
    let endpoint = Endpoint::greeting();
    let (proxy, _offspring) = start(&endpoint, &[]);
    proxy.process().signal(Signal::KILL);
    proxy.wait_for_end();
    assert!(proxy.directory().join("probe").exists());
    let again = super::Successor::start(&proxy, &[]);
    until("it answers", || ask(&proxy.directory().join("probe"), "ready").status.success());
    drop(again);
}

/// Names in the proxy's directory that begin with this.
fn files(proxy: &Proxy, first: char) -> Vec<String> {
    let entries = std::fs::read_dir(proxy.directory()).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
    names.filter(|name| name.starts_with(first)).collect()
}
