//! The start: what is wrong with a configuration or an address ends it with a reason; sockets of a service manager's are
//! used; and the service manager is told.

use std::{os::unix::net::UnixDatagram, process::Command};

use serde_json::json;
use tidegate_tests::support::{Connection, DEADLINE, Endpoint, run};

use crate::setup;

/// A wrong configuration ends the process with status 1 before any socket is bound, and the message has file, line,
/// field and what is allowed. All that is wrong is told at once.
#[test]
fn wrong_configuration_ends_the_start_before_anything_is_bound() {
    let taken = Endpoint::listen();
    let output = setup()
        .config(|config| {
            // Would be another error if it were tried.
            config.listener("web", &taken.address().to_string(), "default/web");
            config.service("default/web", json!({"policy": "fastest", "connectTimeout": "soon"}));
        })
        .run_to_end();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("tidegate.yaml:"), "{text}");
    for word in ["policy", "leastFlows", "roundRobin", "connectTimeout"] {
        assert!(text.contains(word), "{word}: {text}");
    }
    assert!(!text.contains("in use") && !text.contains("listening"), "{text}");
}

/// A field that is not known is refused, with the one that was probably meant.
#[test]
fn unknown_field_ends_the_start() {
    let output = setup().config(|config| config.set("listners", json!([]))).run_to_end();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("listners") && text.contains("did you mean `listeners`"), "{text}");
}

/// An address in use ends the process with status 1, naming the listener and the address.
#[test]
fn address_in_use_ends_the_start() {
    let taken = Endpoint::listen();
    let address = taken.address().to_string();
    let output = setup().config(|config| config.listener("web", &address, "default/web")).run_to_end();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("\"web\"") && text.contains(&address) && text.contains("in use"), "{text}");
}

/// A second proxy on the same address is an error, and not a silent share of the first one's connections.
#[test]
fn second_proxy_on_the_same_address_does_not_start() {
    let endpoint = Endpoint::greeting();
    let proxy = setup().ready([&endpoint]).start();
    let address = proxy.address("web").to_string();
    let output = setup().config(|config| config.listener("web", &address, "default/web")).run_to_end();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("\"web\"") && text.contains(&address), "{text}");
    proxy.expect_all_on(&endpoint);
}

/// An address that no interface has is named as such.
#[test]
fn foreign_address_ends_the_start() {
    let output =
        setup().config(|config| config.listener("web", "192.0.2.1:7777", "default/web")).run_to_end();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("\"web\"") && text.contains("192.0.2.1:7777"), "{text}");
}

/// A configuration that is not there is an error with its path.
#[test]
fn missing_configuration_ends_the_start() {
    let setup = setup();
    let missing = setup.directory().join("missing.yaml");
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    let output = run(command.args(["run", "--config"]).arg(&missing));
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("missing.yaml"), "{text}");
}

/// A socket that the service manager passes on is used by all workers, and nothing is bound beside it: who connected
/// before the proxy was there is served too.
#[test]
fn inherited_socket_is_used() {
    let endpoint = Endpoint::greeting();
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let mut early = Connection::open(address);
    early.send(b"early");
    let proxy = setup()
        .config(|config| config.listener("web", &address.to_string(), "default/web"))
        .inheriting(socket)
        .ready([&endpoint])
        .start();
    early.greeting();
    early.expect(b"early");
    assert_eq!(proxy.address("web"), address);
    assert_eq!(proxy.spread(16).len(), 1);
    proxy.wait_for_log("using the inherited socket");
}

/// The service manager is told when the proxy is ready, and when it stops.
#[test]
fn service_manager_is_told() {
    let setup = setup();
    let path = setup.directory().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    let proxy = setup.environment("NOTIFY_SOCKET", &path).start();
    let told = |word: &str| {
        let mut buffer = [0; 1024];
        loop {
            let length =
                socket.recv(&mut buffer).unwrap_or_else(|error| panic!("{word} was not told: {error}"));
            let text = std::str::from_utf8(&buffer[..length]).unwrap();
            if text.lines().any(|line| line == word) {
                return text.to_owned();
            }
        }
    };
    told("READY=1");
    proxy.terminate();
    told("STOPPING=1");
    assert!(proxy.wait_for_end().status.success());
}
