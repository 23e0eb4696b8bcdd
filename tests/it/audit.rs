//! The audit: what every drain came to, and the line for a pipeline.

use std::{fs, path::Path};

use serde_json::json;
use tidegate_tests::support::{Endpoint, Proxy, Slice, api, until};

use crate::{draining, setup};

fn audit(proxy: &Proxy) -> api::Audit {
    proxy.get("/v1/audit").json()
}

fn expect(proxy: &Proxy, more: &[&str], status: i32, words: &str) {
    let output = proxy.command(&[&["audit", "--expect", "zero-broken"], more].concat());
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(status), "{text}");
    assert!(text.contains(words), "{text}");
}

/// Every flow is in the record by how it ended, and a drain that broke nothing passes.
#[test]
fn a_clean_drain_is_proved_clean() {
    let (endpoints, proxy, mut flows) = draining(&json!({}), 5);
    expect(&proxy, &[], 0, "still drains");
    expect(&proxy, &[], 0, "/web-1 says terminating");
    for flow in &mut flows {
        flow.exchange(b"still here");
    }
    drop(flows);
    until("the drain is over", || audit(&proxy).records.iter().all(|record| record.ended.is_some()));
    let audit = audit(&proxy);
    assert_eq!(audit.records.len(), 1, "{audit:?}");
    let record = &audit.records[0];
    assert_eq!(record.endpoint, endpoints[0].address().to_string());
    let counts = (record.flows_at_start, record.ended_by_client, record.flows_left, record.flows_after_start);
    assert_eq!(counts, (5, 5, 0, 0), "{record:?}");
    assert!(record.broke_nothing() && !record.undone, "{record:?}");
    assert!(record.published_after_us.is_some(), "{record:?}");
    expect(&proxy, &[], 0, "drained");
    expect(&proxy, &["--service", "default/other"], 0, "nothing was proved");
    expect(&proxy, &["--since", "1h"], 1, "knows nothing of the time before");
}

/// An endpoint that resets its flows has broken them, and the pipeline hears of it.
#[test]
fn an_endpoint_that_resets_its_flows_fails_the_audit() {
    let endpoints = Endpoint::group(1);
    let proxy = setup().ready(&endpoints).start();
    let (client, served) = proxy.connect_to(&endpoints[0]);
    let (other, also_served) = proxy.connect_to(&endpoints[0]);
    let slice = Slice::named("web-1")
        .with_port(endpoints[0].address().port())
        .with(endpoints[0].in_slice().terminating());
    proxy.write_slice(&slice);
    proxy.wait_for_eligible(0);
    served.reset();
    client.wait_for_reset();
    drop(also_served);
    drop(other);
    until("the drain is over", || audit(&proxy).records.iter().all(|record| record.ended.is_some()));
    let record = &audit(&proxy).records[0];
    assert_eq!((record.broken, record.ended_by_client + record.ended_by_endpoint), (1, 1), "{record:?}");
    expect(&proxy, &[], 1, "1 broken");
}

/// A drain that is taken back has a record that says so, and one that is on fails the stricter expectation.
#[test]
fn an_undone_drain_is_recorded_as_undone() {
    let (endpoints, proxy, flows) = draining(&json!({}), 2);
    let output = proxy.command(&["audit", "--expect", "zero-broken-and-done"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    proxy.write_slice(&Slice::ready("web-1", &endpoints));
    proxy.wait_for_eligible(2);
    let record = &audit(&proxy).records[0];
    assert!(record.undone && record.broke_nothing(), "{record:?}");
    assert_eq!(record.flows_left, 2);
    drop(flows);
}

/// The records in the audit's file.
fn written(path: &Path) -> Vec<api::AuditRecord> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Each drain's record is a line of the audit's file: also of one that was moved away, also the last one.
#[test]
fn records_are_written_to_a_file() {
    let endpoints = Endpoint::greeting_group(2);
    let mut proxy = setup()
        .config(|config| config.set("audit", json!({"file": "../audit.jsonl", "keep": 1})))
        .ready(&endpoints)
        .start();
    let (path, old) = (proxy.directory().join("audit.jsonl"), proxy.directory().join("audit.1"));
    let address = endpoints[0].address().to_string();
    let drain_once = || {
        for command in ["drain", "undrain"] {
            assert!(proxy.command(&[command, "default/web", &address]).status.success());
        }
    };
    drain_once();
    until("its record is written", || written(&path).len() == 1);
    let record = &written(&path)[0];
    assert_eq!(
        (record.endpoint.as_str(), record.why.contains("operator")),
        (address.as_str(), true),
        "{record:?}"
    );
    fs::rename(&path, &old).unwrap();
    drain_once();
    until("the next one is in a new file", || written(&path).len() == 1);
    let known = audit(&proxy);
    assert_eq!((known.records.len(), known.dropped), (1, 1), "one is kept in memory: {known:?}");
    // What was dropped is missing from the time that it is of, and from no later one.
    until("nothing is missing from the last 50 ms", || {
        proxy.get("/v1/audit?since_ms=50").json::<api::Audit>().dropped == 0
    });
    assert_eq!(audit(&proxy).dropped, 1);

    // Nobody can write there: that costs records, and no flow.
    proxy.write_config(|config| config.set("audit", json!({"file": "../missing/audit.jsonl"})));
    until("it was reloaded", || proxy.log().contains("audit.file"));
    let (mut flow, _) = proxy.connect_greeted();
    assert!(proxy.command(&["drain", "default/web", &address]).status.success());
    assert!(proxy.command(&["undrain", "default/web", &address]).status.success());
    until("the loss is counted", || proxy.metrics().total("tidegate_audit_records_lost_total") == 1);
    flow.exchange(b"still here");
    proxy.wait_for_log("the audit's file cannot be opened");
    drop(flow);

    proxy.write_config(|config| config.set("audit", json!({"file": "../audit.jsonl"})));
    until("it was reloaded", || proxy.log().matches("audit.file").count() == 2);
    let (flow, endpoint) = proxy.connect_greeted();
    assert!(proxy.command(&["drain", "default/web", &endpoint.to_string()]).status.success());
    assert!(proxy.command(&["undrain", "default/web", &endpoint.to_string()]).status.success());
    drop(flow);
    proxy.terminate();
    proxy.wait_for_end();
    assert_eq!(written(&path).len(), 2, "the last record is written before the end");
}
