//! The program as a user has it: bad input, a peer that does not start, Ctrl-C.

use std::collections::BTreeSet;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tidegate_tests::support::{eventually, until};

fn compare(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate-benches"));
    command.arg("compare").args(arguments).stdin(Stdio::null());
    command
}

/// What it says when it fails, which has to be with status 2.
fn refusal(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{text}");
    text
}

/// A program that stands in for a proxy.
fn script(directory: &tempfile::TempDir, text: &str) -> PathBuf {
    let path = directory.path().join("peer");
    fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[test]
fn unknown_names_are_told_with_those_that_are_known() {
    let text = refusal(&compare(&["--only", "sleep"]).output().unwrap());
    assert!(text.contains("sleep") && text.contains("bulk"), "{text}");
    let text = refusal(&compare(&["--proxies", "apache"]).output().unwrap());
    assert!(text.contains("apache") && text.contains("nginx"), "{text}");
}

#[test]
fn a_port_in_use_is_told_with_a_remedy() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output =
        compare(&["--only", "trips", "--proxies", "tidegate", "--listen", &address]).output().unwrap();
    let text = refusal(&output);
    assert!(text.contains(&address) && text.contains("in use") && text.contains("--listen"), "{text}");
}

#[test]
fn a_peer_that_does_not_start_is_told_with_its_own_output() {
    let directory = tempfile::tempdir().unwrap();
    let peer = script(&directory, "[ \"$1\" = -v ] && echo nginx 0 && exit 0\necho out of paper >&2\nexit 7");
    let arguments = ["--only", "trips", "--proxies", "nginx", "--nginx", peer.to_str().unwrap()];
    let text = refusal(&compare(&arguments).output().unwrap());
    assert!(text.contains("nginx does not start") && text.contains("out of paper"), "{text}");
}

#[test]
fn a_path_to_nothing_is_told() {
    let arguments = ["--only", "trips", "--proxies", "haproxy", "--haproxy", "/nowhere/haproxy"];
    let text = refusal(&compare(&arguments).output().unwrap());
    assert!(text.contains("/nowhere/haproxy"), "{text}");
}

#[test]
fn the_proxy_of_this_program_is_measured_and_its_report_written() {
    let directory = tempfile::tempdir().unwrap();
    let output = directory.path().join("report");
    let arguments = ["--only", "trips", "--proxies", "tidegate,direct", "--rounds", "1", "--seconds", "1"];
    let ran = compare(&arguments).arg("--quick").arg("--output").arg(&output).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success(), "{out}{err}");
    assert!(out.contains("tidegate 0.") && out.contains("64-byte round trips"), "{out}");
    // No terminal: a line for each measurement.
    assert!(err.contains("2/2: "), "{err}");
    let json = fs::read_to_string(output.join("report.json")).unwrap();
    assert!(json.contains("\"p99.9\"") && json.contains("\"direct\""), "{json}");
}

/// The processes below one, by `/proc`.
fn below(root: u32) -> BTreeSet<u32> {
    let parent = |pid: u32| -> Option<u32> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
    };
    let pids =
        fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let parents: Vec<(u32, Option<u32>)> = pids.map(|pid| (pid, parent(pid))).collect();
    let mut found = BTreeSet::from([root]);
    loop {
        let before = found.len();
        let children =
            parents.iter().filter(|(_, parent)| parent.is_some_and(|parent| found.contains(&parent)));
        let children: Vec<u32> = children.map(|(pid, _)| *pid).collect();
        found.extend(children);
        if found.len() == before {
            found.remove(&root);
            return found;
        }
    }
}

fn is_alive(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}

/// A process that is ended with the test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn ctrl_c_ends_all_that_it_has_started_and_nothing_else() {
    // Somebody else's process, which looks like one of the peer's.
    let stranger = Command::new("sleep").arg("1000").stdin(Stdio::null()).spawn().unwrap();
    let stranger = Ended(stranger);
    // This peer has a child, as nginx has its workers, and a child that ignores what it is told.
    let directory = tempfile::tempdir().unwrap();
    let tidegate = env!("CARGO_BIN_EXE_tidegate-benches");
    let text = format!(
        "[ \"$1\" = --version ] && exec {tidegate} proxy --version\ntrap '' INT TERM HUP\nsleep 1000 &\n{tidegate} proxy \"$@\""
    );
    let peer = script(&directory, &text);
    for signal in [Signal::INT, Signal::TERM] {
        let mut command = compare(&["--only", "trips", "--proxies", "tidegate", "--seconds", "60"]);
        let child = command.arg("--tidegate").arg(&peer).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let mut bench = Ended(child.unwrap());
        let pid = bench.0.id();
        // The shell, its sleep, and the proxy.
        let started = eventually("the proxy and what it starts", || {
            let started = below(pid);
            (started.len() >= 3).then_some(started)
        });
        let raw = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
        kill_process(raw, signal).unwrap();
        assert_eq!(bench.0.wait().unwrap().code(), Some(2));
        until("nothing is left", || !started.iter().any(|pid| is_alive(*pid)));
        assert!(is_alive(stranger.0.id()));
    }
}
