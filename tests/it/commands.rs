//! The command line against a running proxy: tables for people, JSON for programs.

use std::process::{Command, Output};

use serde_json::Value;
use tidegate_tests::support::{self, Endpoint, Proxy, Slice, api, until};

use crate::setup;

/// `status` as a table and as JSON.
#[test]
fn status_is_shown() {
    let endpoint = Endpoint::greeting();
    let proxy = setup().ready([&endpoint]).start();
    let text = run(&proxy, &["status"]);
    let listener = format!("web       {}", proxy.address("web"));
    for words in ["LISTENER  ADDRESS", &listener, "default/web:http", "accepting", "ELIGIBLE", "1/1"] {
        assert!(text.contains(words), "{words}:\n{text}");
    }
    let status: api::Status = serde_json::from_str(&run(&proxy, &["status", "-o", "json"])).unwrap();
    assert!(status.ready && status.phase == "ready" && status.workers.len() == 2);
    assert_eq!(status.listeners, proxy.status().listeners);
}

/// `endpoints` and `flows`, with their filters.
#[test]
fn endpoints_and_flows_are_shown() {
    let endpoints = Endpoint::greeting_group(2);
    let slice = endpoints.iter().fold(Slice::named("web-1"), |slice, of| {
        slice.with_port(of.address().port()).with(of.in_slice().pod("web-a", "a").ready())
    });
    let proxy = setup().slice(&slice).start();
    let (client, used) = proxy.connect_greeted();
    let text = run(&proxy, &["endpoints", "default/web"]);
    for words in ["SERVICE", "NEW FLOWS", "default/web-a", "ready,serving", "in_service", &used.to_string()] {
        assert!(text.contains(words), "{words}:\n{text}");
    }
    let json: api::Endpoints = serde_json::from_str(&run(&proxy, &["endpoints", "-o", "json"])).unwrap();
    assert_eq!(json.endpoints, proxy.endpoints());

    let text = run(&proxy, &["flows"]);
    for words in ["FLOW", "CLIENT", "open", &client.local().to_string(), &used.to_string()] {
        assert!(text.contains(words), "{words}:\n{text}");
    }
    let unused = endpoints.iter().find(|of| of.address() != used).unwrap().address().to_string();
    for (endpoint, count) in [(used.to_string(), 1), (unused, 0)] {
        let text = run(&proxy, &["flows", "--endpoint", &endpoint, "-o", "json"]);
        let json: api::Flows = serde_json::from_str(&text).unwrap();
        assert_eq!((json.total, json.flows.len()), (count, count));
    }
}

/// `drain`, `undrain` and `close`.
#[test]
fn endpoint_is_drained_and_a_flow_closed() {
    let endpoints = Endpoint::greeting_group(2);
    let proxy = setup().ready(&endpoints).start();
    let address = endpoints[0].address().to_string();
    let text = run(&proxy, &["drain", "default/web", &address, "--reason", "a test"]);
    assert!(text.contains(&address) && text.contains("drain") && text.contains("no"), "{text}");
    proxy.expect_all_on(&endpoints[1]);
    let text = run(&proxy, &["drain", "default/web", &address, "-o", "json"]);
    let answer: api::DrainAnswer = serde_json::from_str(&text).unwrap();
    assert!(answer.endpoints[0].unchanged && !answer.kept);
    let text = run(&proxy, &["endpoints"]);
    assert!(text.contains("operator"), "{text}");
    run(&proxy, &["undrain", "default/web", &address]);
    proxy.wait_for_eligible(2);

    let (mut client, _) = proxy.connect_greeted();
    let flow = proxy.flow_of(&client).id;
    let text = run(&proxy, &["close", &flow]);
    assert!(text.contains(&flow), "{text}");
    client.expect_reset();
    until("it is counted", || proxy.terminated("operator", "data") == 1);
}

/// What is not there is an error with status 1, and says what there is.
#[test]
fn unknown_names_are_errors_that_say_what_there_is() {
    let endpoint = Endpoint::greeting();
    let proxy = setup().ready([&endpoint]).start();
    for (arguments, word) in [
        (["drain", "default/nothing", "10.0.0.1:80"].as_slice(), "default/web"),
        (&["drain", "default/web", "10.0.0.1:80"], &endpoint.address().to_string()),
        (&["close", "99999999"], "99999999"),
    ] {
        let output = proxy.command(arguments);
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains(word), "{word}: {text}");
    }
}

/// A proxy that does not run is an error that names its address.
#[test]
fn absent_proxy_is_an_error() {
    let output = tidegate(&["status", "--admin", "unix:/nonexistent/admin.sock"]);
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("/nonexistent/admin.sock"), "{text}");
}

/// `check` says yes or no by its status, and `--explain` fills in every default.
#[test]
fn configuration_is_checked() {
    let setup = setup();
    let (good, bad) = (setup.directory().join("good.yaml"), setup.directory().join("bad.yaml"));
    let text = "apiVersion: tidegate.io/v1alpha1\nkind: ProxyConfiguration\nlisteners:\n- name: web\n  \
                address: 127.0.0.1:0\n  service: default/web\nsource: {endpointSliceDirectory: ./endpoints}\n";
    std::fs::write(&good, text).unwrap();
    std::fs::write(&bad, text.replace("kind: ProxyConfiguration", "kind: Proxy")).unwrap();
    assert_eq!(tidegate(&["check", "--config", good.to_str().unwrap()]).status.code(), Some(0));
    let explained = tidegate(&["check", "--explain", "--config", good.to_str().unwrap()]);
    let text = String::from_utf8_lossy(&explained.stdout);
    assert!(text.contains("connectTimeout: 2s") && text.contains("policy: leastFlows"), "{text}");
    let output = tidegate(&["check", "--config", bad.to_str().unwrap()]);
    let text = String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("bad.yaml:2") && text.contains("ProxyConfiguration"), "{text}");
}

/// Every JSON answer is one document without anything around it.
#[test]
fn json_is_one_document() {
    let proxy = setup().start();
    for command in ["status", "endpoints", "flows"] {
        let output = proxy.command(&[command, "-o", "json"]);
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
        serde_json::from_slice::<Value>(&output.stdout).unwrap();
    }
}

/// What a command that succeeds prints.
#[track_caller]
fn run(proxy: &Proxy, arguments: &[&str]) -> String {
    let output = proxy.command(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn tidegate(arguments: &[&str]) -> Output {
    support::run(Command::new(env!("CARGO_BIN_EXE_tidegate")).args(arguments))
}
