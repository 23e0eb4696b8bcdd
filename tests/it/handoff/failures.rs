//! Bad input on the handoff's socket, and bad places for it: the one that runs goes on, and whoever came is told why.

use std::{
    fs,
    io::Write,
    os::unix::net::{UnixListener, UnixStream},
};

use tidegate_tests::support::Endpoint;

use super::{Successor, expect_as_before, setup};

/// Who speaks garbage, or says nothing sensible, changes nothing.
#[test]
fn garbage_changes_nothing() {
    let endpoint = Endpoint::greeting();
    let proxy = setup().ready([&endpoint]).start();
    let socket = proxy.directory().join("handoff.sock");
    for (at, words) in
        [&b"GET / HTTP/1.1\r\n\r\n"[..], b"TGHO\xff\xff\xff\xff\0\0\0\0\0\0\0\0"].iter().enumerate()
    {
        let mut stream = UnixStream::connect(&socket).unwrap();
        stream.write_all(words).unwrap();
        expect_as_before(&proxy, &endpoint, at as u64 + 1);
    }
    let unknown = br#"{"say":"hello","protocols":[99],"flowLimit":5}"#;
    let mut stream = UnixStream::connect(&socket).unwrap();
    stream.write_all(b"TGHO\0\0\0\x2e\0\0\0\0\0\0\0\0").unwrap();
    stream.write_all(unknown).unwrap();
    proxy.wait_for_log("speaks the protocols [1]");
    let mut successor = Successor::start(&proxy, &[]);
    successor.wait_until_it_has_taken_over();
}

/// A socket's file without a listener is replaced; a file that is no socket, or a process that speaks something else,
/// ends the start with a reason.
#[test]
fn what_is_in_the_way_is_named() {
    let endpoint = Endpoint::greeting();
    let setup = setup().ready([&endpoint]);
    let socket = setup.directory().join("handoff.sock");
    drop(UnixListener::bind(&socket).unwrap());
    let proxy = setup.start();
    proxy.expect_all_on(&endpoint);
    proxy.terminate();
    assert!(proxy.wait_for_end().status.success());
    assert!(!socket.exists());
    fs::write(&socket, "").unwrap();
    let mut successor = Successor::start(&proxy, &[]);
    assert_eq!(successor.wait_for_end().code(), Some(1));
    let log = successor.log();
    assert!(log.contains("handoff.socket") && log.contains("handoff.sock"), "{log}");
}

/// The successor does not start with the configuration it has: the predecessor never hears of it.
#[test]
fn successor_that_cannot_bind_leaves_the_predecessor() {
    let (endpoint, taken) = (Endpoint::greeting(), Endpoint::listen());
    let mut proxy = setup().ready([&endpoint]).start();
    let (mut flow, _) = proxy.connect_greeted();
    let address = taken.address().to_string();
    proxy.write_config(|config| config.listener("second", &address, "default/web"));
    let mut successor = Successor::start(&proxy, &[]);
    assert_eq!(successor.wait_for_end().code(), Some(1));
    assert!(successor.log().contains("in use"), "{}", successor.log());
    expect_as_before(&proxy, &endpoint, 1);
    flow.exchange(b"still here");
}

/// A place that cannot be used for the socket ends the start, and the message names it and what to do.
#[test]
fn bad_places_for_the_socket_are_refused() {
    let endpoint = Endpoint::listen();
    let address = endpoint.address().to_string();
    let start = |socket: &str, prepare: &dyn Fn(&std::path::Path)| {
        let setup = crate::setup().config(|config| {
            config.set("handoff", serde_json::json!({"socket": socket}));
            config.service("default/web", serde_json::json!({"endpoints": [address]}));
            config.unset("source");
        });
        prepare(setup.directory());
        let output = setup.run_to_end();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let expect = |said: &str, words: &[&str]| {
        for word in words.iter().chain(&["handoff.socket"]) {
            assert!(said.contains(word), "{word:?} is not in {said}");
        }
    };
    let mode = |bits: u32| {
        move |directory: &std::path::Path| {
            let own = directory.join("own");
            fs::create_dir(&own).unwrap();
            fs::set_permissions(&own, std::os::unix::fs::PermissionsExt::from_mode(bits)).unwrap();
        }
    };
    expect(
        &start("../missing/deep/handoff.sock", &|_| ()),
        &["cannot make its directory", "missing/deep", "make it"],
    );
    expect(&start("../own/handoff.sock", &mode(0o777)), &["others can write to its directory", "chmod go-w"]);
    expect(&start("tidegate.yaml/handoff.sock", &|_| ()), &["tidegate.yaml"]);
    expect(&start("../a-file", &|it| fs::write(it.join("a-file"), "").unwrap()), &["no socket", "remove it"]);
    if rustix::process::geteuid().is_root() {
        let of_another = |directory: &std::path::Path| {
            mode(0o700)(directory);
            std::os::unix::fs::chown(directory.join("own"), Some(12_345), None).unwrap();
        };
        expect(
            &start("../own/handoff.sock", &of_another),
            &["belongs to user 12345", "directory of its own"],
        );
    }
}

/// Who answers on the socket is no proxy: the successor says so and ends, and has bound nothing.
#[test]
fn successor_of_something_else_says_so() {
    let endpoint = Endpoint::greeting();
    let setup = setup().ready([&endpoint]);
    let socket = setup.directory().join("handoff.sock");
    let other = UnixListener::bind(&socket).unwrap();
    let answers = std::thread::spawn(move || {
        let (web, long) = ("HTTP/1.1 400 Bad Request\r\n\r\n", b"TGHO\xff\xff\xff\xff\0\0\0\0\0\0\0\0");
        // Who hangs up is asked again, for a while: it may be about to die.
        for answer in [web.as_bytes(), long].into_iter().chain(std::iter::repeat(&b""[..])) {
            let (mut stream, _) = other.accept().unwrap();
            if std::io::Read::read(&mut stream, &mut [0; 4096]).is_ok_and(|length| length == 0) {
                return;
            }
            stream.write_all(answer).unwrap();
        }
    });
    let proxy = setup.spawn();
    let mut starts = vec![proxy.wait_for_end()];
    for _ in 0..2 {
        let mut successor = Successor::start(&proxy, &[]);
        assert_eq!(successor.wait_for_end().code(), Some(1));
        assert!(successor.log().contains("no handoff with the process on"), "{}", successor.log());
    }
    let first = starts.remove(0);
    assert_eq!(first.status.code(), Some(1));
    assert!(first.log.contains("does not speak the handoff's protocol"), "{}", first.log);
    drop(UnixStream::connect(&socket).unwrap());
    answers.join().unwrap();
}
