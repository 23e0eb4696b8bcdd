//! Users: only the same one, or root, is spoken with. These tests start processes as another user, which only root can.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, chown},
    path::Path,
    process::Command,
};

use tidegate_tests::support::{Endpoint, skipped, until};

use super::{Successor, setup};

const OTHER: u32 = 12_345;
const LAUNCHER: [&str; 4] = ["setpriv", "--reuid=12345", "--regid=12345", "--clear-groups"];

/// Whether processes of another user can be started here, and can read this directory.
fn has_another_user(directory: &Path) -> bool {
    let open = |path: &Path| fs::set_permissions(path, fs::Permissions::from_mode(0o755));
    if !rustix::process::geteuid().is_root() || open(directory).is_err() {
        skipped("only root can start a process of another user");
        return false;
    }
    let mut binary = Command::new(LAUNCHER[0]);
    let works = binary.args(&LAUNCHER[1..]).args([env!("CARGO_BIN_EXE_tidegate"), "--version"]).output();
    let works = works.is_ok_and(|output| output.status.success());
    if !works {
        skipped("no process of another user can be started from here");
    }
    works
}

/// A process of another user connects, because the file's mode was changed by hand: it is refused by its credentials, and
/// the running process goes on.
#[test]
fn successor_of_another_user_is_refused() {
    let endpoint = Endpoint::greeting();
    let proxy = setup().ready([&endpoint]).start();
    if !has_another_user(proxy.directory()) {
        return;
    }
    let (mut flow, _) = proxy.connect_greeted();
    let socket = proxy.directory().join("handoff.sock");
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o666)).unwrap();
    let mut successor = Successor::start_under(&LAUNCHER, &proxy.config_file(), proxy.directory(), &[]);
    assert_eq!(successor.wait_for_end().code(), Some(1));
    assert!(successor.log().contains("run both as the same user"), "{}", successor.log());
    proxy.wait_for_log("this process goes on");
    assert!(proxy.log().contains("12345"), "{}", proxy.log());
    until("it is counted", || proxy.metrics().sum("tidegate_handoffs_total", &[("result", "failed")]) == 1);
    flow.exchange(b"still here");
    proxy.expect_all_on(&endpoint);
}

/// The socket belongs to another user and cannot be opened: the start fails and says so, and whoever listens there goes on.
#[test]
fn socket_of_another_user_is_named() {
    let endpoint = Endpoint::greeting();
    let proxy = setup().ready([&endpoint]).start();
    if !has_another_user(proxy.directory()) {
        return;
    }
    let mut successor = Successor::start_under(&LAUNCHER, &proxy.config_file(), proxy.directory(), &[]);
    assert_eq!(successor.wait_for_end().code(), Some(1));
    let log = successor.log();
    for words in ["handoff.socket", "handoff.sock", "run as the same user", "Permission denied"] {
        assert!(log.contains(words), "{words:?} is not in {log}");
    }
    proxy.expect_all_on(&endpoint);
    assert_eq!(proxy.metrics().sum("tidegate_handoffs_total", &[("result", "failed")]), 0);
}

/// Who listens there is of another user, which is not root: it may be anybody, and is told nothing.
#[test]
fn predecessor_of_another_user_is_not_spoken_with() {
    let endpoint = Endpoint::greeting();
    let setup = setup().ready([&endpoint]);
    if !has_another_user(setup.directory()) {
        return;
    }
    let socket = setup.directory().join("handoff.sock");
    let mut listener = Command::new(LAUNCHER[0]);
    let script = "import socket,sys; s=socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen(); open(sys.argv[1]+'.listens', 'w'); s.accept(); s.accept()";
    chown(setup.directory(), Some(OTHER), None).unwrap();
    let listener =
        listener.args(&LAUNCHER[1..]).args(["/usr/bin/python3", "-c", script]).arg(&socket).spawn();
    let Ok(mut listener) = listener else {
        skipped("there is no python3 to listen as another user");
        return;
    };
    let listens = setup.directory().join("handoff.sock.listens");
    until("it listens or has ended", || listens.exists() || listener.try_wait().unwrap().is_some());
    chown(setup.directory(), Some(0), None).unwrap();
    if !listens.exists() {
        skipped("nobody can listen as another user: that takes /usr/bin/python3");
        return;
    }
    let proxy = setup.spawn();
    let ended = proxy.wait_for_end();
    let _ = listener.kill();
    let _ = listener.wait();
    assert_eq!(ended.status.code(), Some(1));
    assert!(ended.log.contains("handoff.socket") && ended.log.contains("12345"), "{}", ended.log);
}
