//! Audit records that are more than one message takes.

use tidegate_tests::support::{Endpoint, Proxy, Slice, api, until};

use super::{Successor, facts::expect_same_moment, setup};

/// Who asked and since when, of every drain that is over.
fn records(proxy: &Proxy) -> Vec<(String, String)> {
    let audit: api::Audit = proxy.get("/v1/audit").json();
    let over = audit.records.into_iter().filter(|record| record.ended.is_some());
    over.map(|record| (record.why, record.began)).collect()
}

/// Records of many megabytes go on in the successor, all of them and in their order, and the flows with them; and on in the
/// next one.
#[test]
fn more_records_than_a_message_takes_move_on() {
    const DRAINS: usize = 320;
    let endpoints = Endpoint::greeting_group(2);
    let proxy = setup().environment("TIDEGATE_LOG", "error").ready([&endpoints[0]]).start();
    let (mut flow, _) = proxy.connect_greeted();
    proxy.write_slice(&Slice::ready("web-1", &endpoints));
    proxy.wait_for_eligible(2);
    // As long as the admin API lets it be.
    let long = "x".repeat(60_000);
    for number in 0..DRAINS {
        for path in ["/v1/drain", "/v1/undrain"] {
            let request = api::DrainRequest {
                service: "default/web".to_owned(),
                endpoint: endpoints[1].address().to_string(),
                reason: None,
                by: Some(format!("{number} {long}")),
                deadline_ms: None,
            };
            assert_eq!(proxy.post(path, &request).status, 200);
        }
    }
    let before = records(&proxy);
    assert_eq!(before.len(), DRAINS);
    let mut successors = Vec::new();
    for _ in 0..2 {
        let mut successor = Successor::start(&proxy, &[]);
        successor.wait_until_it_has_taken_over();
        flow.exchange(b"moved");
        let after = records(&proxy);
        assert_eq!(after.len(), before.len());
        for ((why, began), (why_before, began_before)) in after.iter().zip(&before) {
            assert!(why == why_before, "{why:.40} is not {why_before:.40}");
            expect_same_moment(began, began_before);
        }
        successors.push(successor);
    }
    until("the flow is counted once", || proxy.metrics().total("tidegate_flows_open") == 1);
}
