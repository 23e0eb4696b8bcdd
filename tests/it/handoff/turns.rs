//! Who answers, who moves and who does not, and what a deadline is worth that fires in the successor.

use std::{
    fs,
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use serde_json::json;
use tidegate_tests::support::{Connection, Endpoint, Slice, api, until};

use super::{Successor, setup};

/// The successor has other workers, so that its answers can be told from the predecessor's: everybody who asks is answered by
/// one of the two, and by the old one never again once the new one has answered.
#[test]
fn one_of_the_two_answers_at_a_time() {
    let endpoint = Endpoint::greeting();
    let mut proxy = setup().config(|config| config.set("workers", json!(2))).ready([&endpoint]).start();
    let stop = Arc::<AtomicBool>::default();
    let ask = |_| {
        let (stop, socket) = (Arc::clone(&stop), proxy.directory().join("admin.sock"));
        thread::spawn(move || {
            let admin = tidegate_tests::support::Admin::new(&socket);
            let mut seen = Vec::new();
            while !stop.load(Ordering::SeqCst) {
                let answer = admin.get("/v1/status").expect("somebody answers");
                seen.push((Instant::now(), answer.json::<api::Status>().workers.len()));
            }
            seen
        })
    };
    let askers: Vec<_> = (0..3).map(ask).collect();
    proxy.write_config(|config| config.set("workers", json!(3)));
    let mut successor = Successor::start(&proxy, &[]);
    successor.wait_until_it_has_taken_over();
    until("the new one answers", || proxy.status().workers.len() == 3);
    until("the old one has ended", || !proxy.is_running());
    stop.store(true, Ordering::SeqCst);
    let mut seen: Vec<_> = askers.into_iter().flat_map(|asker| asker.join().unwrap()).collect();
    seen.sort();
    // Each asker notes when it has read an answer, which may be a moment after another one was given.
    let first_of_new = seen.iter().find(|(_, workers)| *workers == 3).expect("the new one answered").0;
    let last_of_old = seen.iter().rfind(|(_, workers)| *workers == 2).expect("the old one answered").0;
    let overlap = last_of_old.saturating_duration_since(first_of_new);
    assert!(overlap < Duration::from_millis(100), "both answered for {overlap:?}");
}

/// A successor that knows no form of a flow, or says nothing of it, is given listeners alone, and told why.
#[test]
fn successor_that_reads_no_flows_is_told_so() {
    let endpoint = Endpoint::greeting();
    let proxy = setup().ready([&endpoint]).start();
    let (mut flow, _) = proxy.connect_greeted();
    for (at, forms) in [r#","flowForms":[7]"#, ""].into_iter().enumerate() {
        let hello = format!(r#"{{"say":"hello","protocols":[1],"flowLimit":1000{forms}}}"#);
        let mut stream = UnixStream::connect(proxy.directory().join("handoff.sock")).unwrap();
        let length = u32::try_from(hello.len()).unwrap().to_be_bytes();
        stream.write_all(&[&b"TGHO"[..], &length[..], &[0; 8], hello.as_bytes()].concat()).unwrap();
        let mut header = [0; 16];
        stream.read_exact(&mut header).unwrap();
        let mut words = vec![0; u32::from_be_bytes(header[4..8].try_into().unwrap()) as usize];
        stream.read_exact(&mut words).unwrap();
        let welcome: serde_json::Value = serde_json::from_slice(&words).unwrap();
        let why = welcome["listenersOnly"].as_str().unwrap_or_else(|| panic!("{welcome}"));
        assert!(why.contains("reads flows of the forms"), "{why}");
        drop(stream);
        until("it is given up", || {
            proxy.metrics().sum("tidegate_handoffs_total", &[("result", "failed")]) == at as u64 + 1
        });
        flow.exchange(b"still here");
        proxy.expect_all_on(&endpoint);
    }
}

/// `--no-handoff` beside a running process: it does not start, says why, and disturbs nobody.
#[test]
fn without_handoff_nobody_starts_beside_a_running_process() {
    let endpoint = Endpoint::greeting();
    let proxy = setup().ready([&endpoint]).start();
    let (mut flow, _) = proxy.connect_greeted();
    let config = proxy.config_file();
    // Everything else is its own, so that it is the socket that is in the way.
    let text = fs::read_to_string(&config).unwrap();
    let mut document: serde_json::Value = serde_json::from_str(&text).unwrap();
    document.as_object_mut().unwrap().remove("admin");
    let other = config.with_file_name("other.yaml");
    fs::write(&other, document.to_string()).unwrap();
    let output = proxy.command(&["run", "--no-handoff", "--config", other.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("another process listens on") && said.contains("--no-handoff"), "{said}");
    flow.exchange(b"still here");
    let mut successor = Successor::start(&proxy, &[]);
    successor.wait_until_it_has_taken_over();
    flow.exchange(b"moved");
}

/// The successor's source never comes to a complete list: it ends after handoff.timeout, and nothing has changed.
#[test]
fn successor_whose_source_is_never_complete_gives_up() {
    let endpoint = Endpoint::greeting();
    let handoff = json!({"socket": "../handoff.sock", "timeout": "1s"});
    let proxy = setup().config(|config| config.set("handoff", handoff)).ready([&endpoint]).start();
    let (mut flow, _) = proxy.connect_greeted();
    let text = fs::read_to_string(proxy.config_file()).unwrap().replace("endpoints", "endpoints-missing");
    let config = proxy.config_file().with_file_name("missing.yaml");
    fs::write(&config, text).unwrap();
    let begun = Instant::now();
    let mut successor = Successor::start_with(&config, proxy.directory(), &[]);
    assert_eq!(successor.wait_for_end().code(), Some(1));
    assert!(begun.elapsed() >= Duration::from_secs(1));
    assert!(successor.log().contains("no complete list within 1s (handoff.timeout)"), "{}", successor.log());
    proxy.wait_for_log("this process goes on");
    flow.exchange(b"still here");
    proxy.expect_all_on(&endpoint);
    assert_eq!(proxy.get("/readyz").status, 200);
}

/// Flows that came while the successor got ready are too many for it: it gets the listeners alone, and nothing is half moved.
#[test]
fn flows_that_came_meanwhile_are_counted_again() {
    let endpoint = Endpoint::greeting();
    let proxy = setup().ready([&endpoint]).start();
    let mut flows: Vec<Connection> = (0..5).map(|_| proxy.connect_greeted().0).collect();
    let launcher = ["sh", "-c", "ulimit -n 320; exec \"$@\"", "sh"];
    let fault = [("TIDEGATE_HANDOFF_FAULT", "stop:ready")];
    let successor = Successor::start_under(&launcher, &proxy.config_file(), proxy.directory(), &fault);
    successor.wait_until_it_is_stopped();
    flows.extend((0..85).map(|_| proxy.connect_greeted().0));
    successor.let_it_take_over();
    assert!(proxy.log().contains("there are 90 flows by now"), "{}", proxy.log());
    for flow in &mut flows {
        flow.exchange(b"still with the old one");
    }
    assert_eq!(proxy.metrics().total("tidegate_flows_taken_over_total"), 0);
    assert_eq!(proxy.metrics().total("tidegate_flows_open"), 90);
    drop(flows);
    until("the old one has ended", || !proxy.is_running());
    proxy.expect_all_on(&endpoint);
}

/// A drain's deadline goes on in the successor and is kept there: what is left is cut at it, not before and not much later.
#[test]
fn drain_deadline_fires_in_the_successor() {
    const DEADLINE: Duration = Duration::from_secs(6);
    let endpoints = Endpoint::greeting_group(2);
    let drain = json!({"deadline": "6s", "window": "1s"});
    let proxy = setup().web(json!({"drain": drain})).ready([&endpoints[0]]).start();
    let (flow, _) = proxy.connect_greeted();
    let slice = Slice::named("web-1").with_port(endpoints[0].address().port());
    let (first, second) = (endpoints[0].in_slice().terminating(), endpoints[1].in_slice().ready());
    let began = Instant::now();
    proxy.write_slice(&slice.with(first).with(second));
    proxy.wait_for_eligible_to_be([&endpoints[1]]);
    let mut successor = Successor::start(&proxy, &[]);
    successor.wait_until_it_has_taken_over();
    assert!(proxy.wait_for_end().status.success());
    assert!(began.elapsed() < DEADLINE, "the handoff took too long for this test");
    // A busy flow is not shed ahead of it.
    let mut cut = Duration::ZERO;
    while cut.is_zero() {
        let sent = flow.stream().write_all(b"busy");
        let mut answer = [0; 4];
        if sent.is_err() || flow.stream().read_exact(&mut answer).is_err() {
            cut = began.elapsed();
        }
    }
    let late = Duration::from_secs(3);
    assert!(
        cut + Duration::from_millis(200) >= DEADLINE && cut < DEADLINE + late,
        "it was cut after {cut:?}"
    );
    until("it is counted as cut", || proxy.terminated("cut", "data") == 1);
    let audit: api::Audit = proxy.get("/v1/audit").json();
    let record = audit.records.first().expect("a record");
    assert!(record.ended.is_some() && record.flows_left == 0 && record.elsewhere == 0, "{record:?}");
}
