//! Who waits for something while another process takes over goes on waiting: for a drain, at a gate, for the next line.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    os::unix::net::UnixStream,
    process::{Child, Command, Stdio},
    time::Duration,
};

use serde_json::json;
use tidegate_tests::support::{Connection, Endpoint, Proxy, Slice, api, eventually, until};

use super::{Successor, offspring::Offspring, setup, upgrade::upgrade};

/// A command that waits, ended with the test.
struct Waiting(Child);

impl Waiting {
    fn start(proxy: &Proxy, arguments: &[&str]) -> Self {
        let socket = proxy.directory().join("admin.sock");
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
        command.args(arguments).env("TIDEGATE_ADMIN", format!("unix:{}", socket.display()));
        Self(command.stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap())
    }

    #[track_caller]
    fn expect_it_waits(&mut self) {
        assert!(self.0.try_wait().unwrap().is_none(), "it still waits");
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Two endpoints, of which the drained one is known by another number to each process: the list has changed since the
/// first one began.
fn two_endpoints() -> (Vec<Endpoint>, Proxy, Vec<Connection>) {
    let endpoints = Endpoint::greeting_group(3);
    let proxy = setup().ready(&endpoints[1..]).start();
    proxy.write_slice(&Slice::ready("web-1", &endpoints[2..]));
    proxy.wait_for_eligible_to_be(&endpoints[2..]);
    proxy.write_slice(&Slice::ready("web-1", [&endpoints[2], &endpoints[0]]));
    proxy.wait_for_eligible_to_be([&endpoints[2], &endpoints[0]]);
    let mut flows = Vec::new();
    while flows.len() < 3 {
        let (flow, used) = proxy.connect_greeted();
        if used == endpoints[0].address() {
            flows.push(flow);
        }
    }
    (endpoints, proxy, flows)
}

/// `drain --wait` goes on until the flows have ended that moved, though the successor knows the endpoint by another number.
#[test]
fn drain_that_is_waited_for_ends_with_its_last_flow() {
    let (endpoints, proxy, mut flows) = two_endpoints();
    let address = endpoints[0].address().to_string();
    let number = |proxy: &Proxy| proxy.endpoint(&endpoints[0]).unwrap().id;
    let before = number(&proxy);
    let mut waiting = Waiting::start(&proxy, &["drain", "default/web", &address, "--wait", "-o", "json"]);
    until("it is drained", || !proxy.endpoint(&endpoints[0]).unwrap().eligible);
    let mut successors = Vec::new();
    for _ in 0..2 {
        let mut successor = Successor::start(&proxy, &[]);
        successor.wait_until_it_has_taken_over();
        successors.push(successor);
        flows.pop();
        until("a flow has ended", || proxy.endpoint(&endpoints[0]).unwrap().flows == flows.len() as u64);
        waiting.expect_it_waits();
    }
    assert_ne!(number(&proxy), before, "the successor has other numbers, or this test shows nothing");
    drop(flows);
    let status = eventually("it is drained", || waiting.0.try_wait().unwrap());
    assert_eq!(status.code(), Some(0));
    let audit: api::Audit = serde_json::from_reader(waiting.0.stdout.take().unwrap()).unwrap();
    let [record] = audit.records.as_slice() else { panic!("{audit:?}") };
    assert_eq!(
        (record.endpoint.as_str(), record.flows_at_start, record.ended_by_client),
        (address.as_str(), 3, 3)
    );
}

/// `watch` shows the drain's end although another process has taken over meanwhile.
#[test]
fn watcher_sees_the_end_of_a_drain_that_moved() {
    let (endpoints, proxy, flows) = two_endpoints();
    let mut watcher = Waiting::start(&proxy, &["watch"]);
    let mut lines = BufReader::new(watcher.0.stdout.take().unwrap()).lines();
    let mut line = |words: &str| {
        eventually(words, || lines.next().expect("it goes on").ok().filter(|line| line.contains(words)))
    };
    let request = json!({"service": "default/web", "endpoint": endpoints[0].address().to_string()});
    assert_eq!(proxy.post("/v1/drain", &request).status, 200);
    line("3 of 3 flows left");
    let mut successor = Successor::start(&proxy, &[]);
    successor.wait_until_it_has_taken_over();
    drop(flows);
    let last = line("drained after");
    assert!(last.contains("3 flows, 3 ended by clients"), "{last}");
    watcher.expect_it_waits();
}

/// What an operator asks for while flows move is asked of the old process, and holds in the new one: a drain, and that one
/// is taken back.
#[test]
fn operators_words_during_a_handoff_hold() {
    use rustix::process::Signal;
    let endpoints = Endpoint::greeting_group(3);
    let proxy = setup().ready(&endpoints).start();
    let _flows: Vec<_> = (0..6).map(|_| proxy.connect_greeted()).collect();
    let about = |at: usize| json!({"service": "default/web", "endpoint": endpoints[at].address().to_string(), "by": "ada"});
    assert_eq!(proxy.post("/v1/drain", &about(0)).status, 200);
    let mut successor = Successor::failing(&proxy, "stop:offered");
    successor.process().wait_until_stopped();
    assert_eq!(proxy.post("/v1/drain", &about(1)).status, 200);
    assert_eq!(proxy.post("/v1/undrain", &about(0)).status, 200);
    successor.process().signal(Signal::CONT);
    successor.wait_until_it_has_taken_over();
    proxy.wait_for_eligible_to_be([&endpoints[0], &endpoints[2]]);
    let state = proxy.endpoint(&endpoints[1]).unwrap().admin_state;
    assert_eq!((state.state.as_str(), state.by.as_deref()), ("drain", Some("ada")));
}

/// A client of the admin API that says nothing does not hold the handoff up: nobody else is answered meanwhile.
#[test]
fn silent_client_of_the_admin_side_is_not_waited_for() {
    let endpoint = Endpoint::greeting();
    let proxy = setup().ready([&endpoint]).start();
    let _offspring = Offspring::of(&proxy);
    let _silent = UnixStream::connect(proxy.directory().join("admin.sock")).unwrap();
    let mut halting = UnixStream::connect(proxy.directory().join("admin.sock")).unwrap();
    halting.write_all(b"GET /v1/st").unwrap();
    // One that is answered shows that those were accepted before it.
    proxy.status();
    let output = upgrade(&proxy, &["-o", "json"]);
    let outcome: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let took = Duration::from_micros(outcome["took_us"].as_u64().unwrap());
    // They have five seconds otherwise.
    assert!(took < Duration::from_secs(4), "{took:?}");
}
