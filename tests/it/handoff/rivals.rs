//! Several want to take over at the same time: one does, the others are told so, and the proxy is unharmed.

use std::{os::unix::process::CommandExt as _, path::Path, process::Command, thread};

use rustix::process::Signal;
use tidegate_tests::support::{Endpoint, run, until};

use super::{
    Successor,
    offspring::{Offspring, running},
    setup,
    upgrade::upgrade,
};

/// Two upgrades and two successors that wait while a handoff stands still: when it goes on, it ends, and all of them are
/// refused.
#[test]
fn whoever_comes_during_a_handoff_is_refused() {
    let endpoint = Endpoint::greeting();
    let proxy = setup().ready([&endpoint]).start();
    let _offspring = Offspring::of(&proxy);
    let (mut flow, _) = proxy.connect_greeted();
    let mut winner = Successor::failing(&proxy, "stop:started");
    winner.process().wait_until_stopped();
    let mut rivals = [Successor::start(&proxy, &[]), Successor::start(&proxy, &[])];
    thread::scope(|scope| {
        let upgrades = [(); 2].map(|()| scope.spawn(|| upgrade(&proxy, &[])));
        until("all of them wait", || waiting_at(proxy.directory()) == 4);
        winner.process().signal(Signal::CONT);
        winner.wait_until_it_has_taken_over();
        for upgrade in upgrades {
            let output = upgrade.join().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(said.contains("a handoff is under way; try again"), "{said}");
            assert_eq!(output.status.code(), Some(1));
        }
    });
    for rival in &mut rivals {
        assert_eq!(rival.wait_for_end().code(), Some(1));
        assert!(rival.log().contains("a handoff is under way; try again"), "{}", rival.log());
    }
    assert!(proxy.wait_for_end().status.success());
    flow.exchange(b"still here");
    proxy.expect_all_on(&endpoint);
    assert_eq!(proxy.metrics().total("tidegate_flows_taken_over_total"), 1);
    assert_eq!(running(&proxy.config_file()), [winner.child.id()]);
}

/// Connections to the handoff's socket that nobody has accepted yet, by the kernel's table (proc_net_unix(5)).
fn waiting_at(directory: &Path) -> usize {
    const CONNECTING: &str = "02";
    let table = std::fs::read_to_string("/proc/net/unix").unwrap();
    let directory = directory.file_name().unwrap().to_str().unwrap();
    let waits = |line: &&str| {
        let words: Vec<_> = line.split_whitespace().collect();
        words.get(5) == Some(&CONNECTING)
            && words.last().is_some_and(|path| path.contains(directory) && path.ends_with("/handoff.sock"))
    };
    table.lines().filter(waits).count()
}

/// An upgrade whose successor is slow to say hello: another process that says hello meanwhile is not taken for it.
#[test]
fn upgrade_hands_over_to_what_it_started() {
    let endpoint = Endpoint::greeting();
    let proxy = setup().environment("TIDEGATE_HANDOFF_FAULT", "stop:hello").ready([&endpoint]).start();
    let _offspring = Offspring::of(&proxy);
    thread::scope(|scope| {
        let asked = scope.spawn(|| upgrade(&proxy, &["-o", "json"]));
        let own = || running(&proxy.config_file()).into_iter().find(|it| *it != proxy.process().number());
        let child = tidegate_tests::support::eventually("the successor was started", own);
        let child = tidegate_tests::support::Process::new(child);
        child.wait_until_stopped();
        let mut rival = Successor::start(&proxy, &[("TIDEGATE_HANDOFF_FAULT", "")]);
        assert_eq!(rival.wait_for_end().code(), Some(1));
        assert!(rival.log().contains("a handoff is under way"), "{}", rival.log());
        child.signal(Signal::CONT);
        let output = asked.join().unwrap();
        let outcome: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(outcome["process"], child.number(), "{output:?}");
    });
    assert!(proxy.wait_for_end().status.success());
    proxy.expect_all_on(&endpoint);
}

/// What an upgrade started ends also where the test that asked for it cannot end it any more.
#[test]
fn offspring_ends_with_the_test() {
    let endpoint = Endpoint::greeting();
    let proxy = setup().ready([&endpoint]).start();
    let offspring = Offspring::of(&proxy);
    assert!(upgrade(&proxy, &[]).status.success());
    assert!(proxy.wait_for_end().status.success());
    until("the successor is alone", || running(&proxy.config_file()).len() == 1);
    offspring.leave_to_the_guard();
    until("the successor has ended", || running(&proxy.config_file()).is_empty());
}

/// Another user's process is refused on both sides by what the kernel says of it, also where the socket's mode would let it
/// in; and both say so.
#[test]
fn process_of_another_user_is_refused() {
    use std::os::unix::fs::PermissionsExt as _;
    const OTHER: u32 = 12_345;
    if !rustix::process::geteuid().is_root() {
        return tidegate_tests::support::skipped("only root can start a process of another user");
    }
    let endpoint = Endpoint::greeting();
    let proxy = setup().ready([&endpoint]).start();
    let (mut flow, _) = proxy.connect_greeted();
    let socket = proxy.directory().join("handoff.sock");
    let open = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    let mode = std::fs::metadata(&socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let ask = || {
        // Where the binary is built need not be open to others.
        let binary = proxy.directory().join("tidegate");
        std::fs::copy(env!("CARGO_BIN_EXE_tidegate"), &binary).unwrap();
        open(&binary, 0o755);
        let mut command = Command::new(&binary);
        run(command.args(["upgrade", "--socket"]).arg(&socket).uid(OTHER).gid(OTHER))
    };
    open(proxy.directory(), 0o755);
    let output = ask();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("Permission denied"), "{output:?}");
    open(&socket, 0o666);
    let output = ask();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        said.contains(&format!("process of user {OTHER}")) && said.contains("run both as the same user"),
        "{said}"
    );
    proxy.wait_for_log(&format!("process of user {OTHER}"));
    assert!(proxy.is_running());
    flow.exchange(b"still here");
    // The other way round: whoever listens there is somebody else.
    let output = {
        let mut listener = Command::new(proxy.directory().join("tidegate"));
        let place = proxy.directory().join("other");
        std::fs::create_dir(&place).unwrap();
        std::os::unix::fs::chown(&place, Some(OTHER), Some(OTHER)).unwrap();
        let config = place.join("tidegate.yaml");
        let text = serde_json::json!({
            "apiVersion": "tidegate.io/v1alpha1",
            "kind": "ProxyConfiguration",
            "listeners": [{"name": "web", "address": "127.0.0.1:0", "service": "default/web"}],
            "services": [{"name": "default/web", "endpoints": [endpoint.address().to_string()]}],
            "handoff": {"socket": "handoff.sock"},
        });
        std::fs::write(&config, text.to_string()).unwrap();
        let mut others =
            listener.args(["run", "--config"]).arg(&config).uid(OTHER).gid(OTHER).spawn().unwrap();
        let socket = place.join("handoff.sock");
        until("the other user's proxy listens", || socket.exists());
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
        let output = run(command.args(["upgrade", "--socket"]).arg(&socket));
        let _ = others.kill();
        let _ = others.wait();
        output
    };
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains(&format!("process of user {OTHER}")) && said.contains("same user"), "{said}");
}
