//! Several instances: a gate opens when none of them has a flow left.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpListener,
    thread,
    time::Instant,
};

use rustix::process::Signal;
use serde_json::{Value, json};
use tidegate_tests::support::{
    Connection, Endpoint, Gate, Proxy, Setup, Slice, SliceEndpoint, eventually, until, unused_address,
    write_certificate,
};

use super::{UID, kept_ready, leaving, ready, refusal};

const TOKEN: &str = "the instances' own token";

/// Setups of so many instances that know each other by their addresses; `more` is put into each one's `peers`.
fn setups(count: usize, more: &Value) -> Vec<(Setup, Gate)> {
    let addresses: Vec<_> = (0..count).map(|_| unused_address()).collect();
    let texts: Vec<_> = addresses.iter().map(ToString::to_string).collect();
    let setup = |address: &std::net::SocketAddr| {
        let setup = crate::setup();
        fs::write(setup.directory().join("token"), TOKEN).unwrap();
        let mut peers = json!({"addresses": texts, "tokenFile": "../token"});
        for (field, value) in more.as_object().into_iter().flatten() {
            peers[field] = value.clone();
        }
        let setup = setup.config(|config| {
            config.set("gate", json!({"address": address.to_string()}));
            config.set("peers", peers);
        });
        (setup, Gate(*address))
    };
    addresses.iter().map(setup).collect()
}

/// So many instances with one flow each on the pod that waits.
pub(super) fn instances(count: usize, more: &Value) -> (Endpoint, Vec<(Proxy, Gate)>, Vec<Connection>) {
    let endpoint = Endpoint::greeting();
    let start = |(setup, gate): (Setup, Gate)| (setup.slice(&ready(&endpoint)).start(), gate);
    let all: Vec<_> = setups(count, more).into_iter().map(start).collect();
    let flows = all.iter().map(|(proxy, _)| proxy.connect_greeted().0).collect();
    (endpoint, all, flows)
}

pub(super) fn tell(all: &[(Proxy, Gate)], slice: &Slice) {
    all.iter().for_each(|(proxy, _)| proxy.write_slice(slice));
}

/// The gate answers soon after the last flow's end, on whichever of five instances it was.
#[test]
fn the_last_flow_of_five_instances_opens_the_gate() {
    let (endpoint, all, mut flows) = instances(5, &json!({}));
    let mut worst = std::time::Duration::ZERO;
    for last in 0..5 {
        tell(&all, &leaving(&endpoint));
        let mut gated = all[0].1.follow(UID);
        gated.until(|it| it.phase == "drained" && it.flows == 5);
        let kept = flows.swap_remove(last);
        flows.clear();
        gated.until(|it| it.flows == 1);
        drop(kept);
        let ended = Instant::now();
        let answer = gated.answer();
        worst = worst.max(ended.elapsed());
        assert_eq!((&*answer.outcome, answer.flows, answer.instances.len()), ("drained", 0, 5), "{answer:?}");
        tell(&all, &ready(&endpoint));
        for (proxy, _) in &all {
            proxy.wait_for_eligible(1);
            flows.push(proxy.connect_greeted().0);
        }
    }
    // Far below the second after which everybody looks anyway. Measured on a quiet machine: see the line.
    println!("from the last flow's end to the gate's answer, the worst of 5: {worst:?}");
    assert!(worst.as_millis() < 500, "{worst:?}");
}

/// D6, D11: an instance whose slices are behind still sends flows: the gate waits for its word.
#[test]
fn an_instance_that_is_behind_is_waited_for() {
    let (endpoint, all, flows) = instances(3, &json!({}));
    drop(flows);
    tell(&all[..2], &leaving(&endpoint));
    let mut gated = all[0].1.follow(UID);
    gated.until(|it| it.phase == "programmed" && it.instances == [all[2].1.0.to_string()]);
    let late = all[2].0.connect_greeted().0;
    all[2].0.write_slice(&leaving(&endpoint));
    gated.until(|it| it.phase == "drained" && it.flows == 1);
    drop(late);
    assert_eq!(gated.answer().outcome, "drained");
}

/// D6: an instance that is cut off is waited for up to a limit, and named.
#[test]
fn an_instance_that_is_cut_off_is_named() {
    let (endpoint, all, flows) = instances(3, &json!({}));
    drop(flows);
    tell(&all, &leaving(&endpoint));
    // It is there, and takes connections, and says nothing.
    all[2].0.process().signal(Signal::STOP);
    let answer = all[0].1.wait(UID, 20_000);
    all[2].0.process().signal(Signal::CONT);
    assert_eq!(answer.outcome, "drained", "{answer:?}");
    assert!((3_000..10_000).contains(&answer.waited_ms), "{answer:?}");
    let states: Vec<_> = answer.instances.iter().map(|it| &*it.state).collect();
    assert_eq!(states, ["done", "done", "unreachable"], "{answer:?}");
    assert!(answer.instances[2].error.is_some(), "{answer:?}");
    let metrics = all[0].0.metrics();
    assert_eq!(metrics.total("tidegate_gate_unreachable_instances_total"), 1);
    assert_eq!((metrics.total("tidegate_gate_waits_total"), metrics.total("tidegate_gate_waiting")), (1, 0));
    // It is back, and counts again.
    until("all three say that they are done", || {
        all[0].1.wait(UID, 20_000).instances.iter().all(|it| it.state == "done")
    });
}

/// An instance that has no place for another question is there, and may have flows: the gate waits for it.
#[test]
fn an_instance_that_is_too_busy_is_waited_for() {
    let endpoint = Endpoint::greeting();
    let mut both = setups(2, &json!({})).into_iter();
    let (first, gate) = both.next().unwrap();
    let (_, Gate(busy)) = both.next().unwrap();
    let listener = TcpListener::bind(busy).unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(
                b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
            );
        }
    });
    let proxy = first.slice(&ready(&endpoint)).start();
    proxy.write_slice(&leaving(&endpoint));
    // Longer than one that cannot be reached is waited for.
    let answer = gate.wait(UID, 5_000);
    assert_eq!((&*answer.outcome, &*answer.instances[1].state), ("time_over", "not_synced"), "{answer:?}");
}

/// An instance that ends in the middle of a wait is named, and keeps nobody from going.
#[test]
fn an_instance_that_ends_meanwhile_is_named() {
    let (endpoint, mut all, flows) = instances(2, &json!({}));
    tell(&all, &leaving(&endpoint));
    let mut gated = all[0].1.follow(UID);
    gated.until(|it| it.flows == 2);
    all.truncate(1);
    let mut flows = flows.into_iter();
    drop(flows.next());
    let answer = gated.answer();
    assert_eq!((&*answer.outcome, &*answer.instances[1].state), ("drained", "unreachable"), "{answer:?}");
}

/// D11: an instance that has no complete list yet says "not yet", and the gate waits for it.
#[test]
fn an_instance_that_has_not_synced_says_not_yet() {
    let endpoint = Endpoint::greeting();
    let mut both = setups(2, &json!({})).into_iter();
    let (first, gate) = both.next().unwrap();
    let (second, other) = both.next().unwrap();
    let first = first.slice(&leaving(&endpoint)).start();
    let missing = second.directory().join("later");
    let second =
        second.config(|config| config.set("source", json!({"endpointSliceDirectory": missing}))).spawn();
    let answer = eventually("the other one answers", || {
        let answer = gate.wait(UID, 700);
        (answer.instances[1].state != "unreachable").then_some(answer)
    });
    assert_eq!((&*answer.outcome, answer.drained), ("time_over", false), "{answer:?}");
    assert_eq!((&*answer.instances[0].state, &*answer.instances[1].state), ("done", "not_synced"));
    assert_eq!(answer.instances[1].instance, other.0.to_string());
    // Its own gate does not know either, and says so.
    assert_eq!(other.wait(UID, 100).outcome, "time_over");
    let mut gated = gate.follow(UID);
    gated.until(|it| it.phase == "programmed");
    // The whole directory at once, so that its first list is complete.
    let beside = second.directory().join("beside");
    tidegate_tests::support::SliceDirectory::new(beside.clone()).write(&leaving(&endpoint));
    fs::rename(&beside, &missing).unwrap();
    assert_eq!(gated.answer().outcome, "drained");
    drop(first);
}

/// Setups of so many instances that are found by the slices of their own Service.
fn setups_of_a_service(count: usize) -> Vec<(Setup, Gate)> {
    let mut setups = setups(count, &json!({}));
    // One port for all: it is that of gate.address.
    let port = setups[0].1.0.port();
    for (setup, gate) in &mut setups {
        gate.0.set_port(port);
        let address = gate.0.to_string();
        let taken = std::mem::replace(setup, crate::setup());
        *setup = taken.config(|config| {
            config.set("gate", json!({"address": address}));
            config.set("peers", json!({"service": "default/tidegate", "tokenFile": "../token"}));
        });
    }
    setups
}

/// Their slices, which list those that are not ready, too.
fn listing<'a>(gates: impl IntoIterator<Item = &'a Gate>) -> Slice {
    let mut own = Slice::named("tidegate-1").of_service("tidegate");
    for (number, gate) in gates.into_iter().enumerate() {
        let uid = format!("uid-tidegate-{number}");
        own = own.with(SliceEndpoint::at(gate.0.ip()).pod(&format!("tidegate-{number}"), &uid).not_ready());
    }
    own
}

/// Instances are found by the slices of their own Service; one that is not ready counts, too.
#[test]
fn instances_are_found_by_their_service() {
    let setups = setups_of_a_service(3);
    let own = listing(setups.iter().map(|(_, gate)| gate));
    let endpoint = Endpoint::greeting();
    let start = |(setup, gate): (Setup, Gate)| (setup.slice(&ready(&endpoint)).slice(&own).start(), gate);
    let all: Vec<_> = setups.into_iter().map(start).collect();
    let flow = all[1].0.connect_greeted().0;
    tell(&all, &leaving(&endpoint));
    let mut gated = all[0].1.follow(UID);
    gated.until(|it| it.phase == "drained" && it.instances == [all[1].1.0.to_string()]);
    drop(flow);
    let answer = gated.answer();
    assert_eq!((&*answer.outcome, answer.instances.len()), ("drained", 3), "{answer:?}");
}

/// D11: an instance that starts while a gate waits is asked, too: to a pod that its slices keep ready it sends flows.
#[test]
fn an_instance_that_starts_meanwhile_is_asked() {
    let mut setups = setups_of_a_service(2);
    let (late, other) = setups.pop().unwrap();
    let (first, gate) = setups.pop().unwrap();
    let endpoint = Endpoint::greeting();
    let first = first.slice(&ready(&endpoint)).slice(&listing([&gate])).start();
    let flow = first.connect_greeted().0;
    first.write_slice(&kept_ready(&endpoint));
    let mut gated = gate.follow(UID);
    gated.until(|it| it.phase == "drained" && it.flows == 1);
    let late = late.slice(&kept_ready(&endpoint)).start();
    let late_flow = late.connect_greeted().0;
    first.write_slice(&listing([&gate, &other]));
    gated.until(|it| it.flows == 2 && it.instances.contains(&other.0.to_string()));
    late.wait_for_eligible(0);
    drop(flow);
    gated.until(|it| it.phase == "drained" && it.flows == 1);
    drop(late_flow);
    let answer = gated.answer();
    assert_eq!((&*answer.outcome, answer.instances.len()), ("drained", 2), "{answer:?}");
}

/// A wrong token is refused, and an instance that has one cannot be asked.
#[test]
fn a_wrong_token_is_refused() {
    let (endpoint, all, flows) = instances(2, &json!({}));
    drop(flows);
    for head in ["", "authorization: Bearer not-the-one-of-these\r\n", "authorization: Basic eDp5\r\n"] {
        let answer = all[0].1.get("/v1/peer/audit", head);
        assert_eq!(answer.status, 401, "{}", answer.body);
        assert!(answer.head.to_lowercase().contains("www-authenticate: bearer"), "{}", answer.head);
        refusal(all[0].1, "/v1/peer/gate?uid=a", head, 401);
    }
    let right = format!("authorization: Bearer {TOKEN}\r\n");
    assert_eq!(all[0].1.get("/v1/peer/audit", &right).status, 200);
    fs::write(all[1].0.directory().join("token"), "another token altogether").unwrap();
    tell(&all, &leaving(&endpoint));
    let answer = all[0].1.wait(UID, 20_000);
    assert_eq!(answer.instances[1].state, "unreachable", "{answer:?}");
    assert!(answer.instances[1].error.as_ref().unwrap().contains("401"), "{answer:?}");
}

/// With a certificate instances speak TLS, and their questions come no other way; pods need none.
#[test]
fn instances_speak_tls() {
    let shared = crate::setup();
    let directory = shared.directory();
    write_certificate(directory, "tidegate");
    let file = |name: &str| directory.join(name);
    let tls = json!({"certificateFile": file("tls.crt"), "keyFile": file("tls.key"), "authorityFile": file("ca.crt")});
    let (endpoint, all, flows) = instances(2, &json!({"tls": tls}));
    let right = format!("authorization: Bearer {TOKEN}\r\n");
    refusal(all[0].1, "/v1/peer/audit", &right, 403);
    tell(&all, &leaving(&endpoint));
    let mut gated = all[0].1.follow(UID);
    gated.until(|it| it.phase == "drained" && it.flows == 2);
    // A new certificate of another authority, on all of them at once, counts without a restart.
    write_certificate(directory, "tidegate");
    drop(flows);
    assert_eq!(gated.answer().outcome, "drained");
    let answer = all[1].1.wait(UID, 20_000);
    assert_eq!((&*answer.outcome, &*answer.instances[1].state), ("drained", "done"), "{answer:?}");
    assert!(!all[0].0.log().contains("plain text"));
}

/// Without one the log says that the token can be read on the way.
#[test]
fn plain_text_is_warned_about_once() {
    let (_endpoint, all, _flows) = instances(1, &json!({}));
    assert_eq!(all[0].0.log().matches("plain text").count(), 1);
}
