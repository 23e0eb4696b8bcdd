use super::*;

/// An endpoint that drains, as `/v1/endpoints` has it.
fn draining(drain: &serde_json::Value) -> api::Endpoints {
    let json = serde_json::json!({"generation": 3, "endpoints": [
        {"service": "default/web:http", "endpoint": "10.0.0.2:80", "id": 3,
         "conditions": {"ready": false, "serving": true, "terminating": true}, "eligible": false,
         "admin_state": {"state": "drain", "by": "ada", "reason": "disk"}, "drain": drain, "flows": 12, "weight": 1,
         "pod": "default/web-1", "node": null, "zone": null, "slice": null, "since": "2027-01-15T08:00:00.000Z"},
    ]});
    serde_json::from_value(json).expect("endpoints")
}

/// All that is known of a drain stands below its endpoint, in lines that fit; less where drains could not be asked for.
#[test]
fn a_draining_endpoint_has_lines_of_its_own() {
    let drain = serde_json::json!({"since": "2027-01-15T08:00:00.000Z", "why": "operator ada", "flows_at_start": 20,
        "flows_left": 12, "deadline": "2027-01-15T08:01:00.000Z", "drained": null});
    let mut answer = draining(&drain);
    let drains = api::Drains {
        at: String::new(),
        drains: vec![progress::tests::drain()],
        over: Vec::new(),
        silent_workers: Vec::new(),
    };
    let below = |answer: &api::Endpoints, drains| {
        let text = endpoints(answer, drains);
        text.lines().skip(2).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(
        below(&answer, Some(&drains)),
        [
            "  12 of 20 flows left, 3 shed, drains for 30s, deadline in 30s, 83% idle, 1.2",
            "  MB/s, oldest 5m, ends in 12s to 30s, 2 to be cut; operator ada: disk",
        ]
    );
    assert_eq!(
        below(&answer, None).join(" "),
        "  12 of 20 flows left until 2027-01-15T08:01:00.000Z, drains since   2027-01-15T08:00:00.000Z; operator ada: disk"
    );
    if let Some(drain) = &mut answer.endpoints[0].drain {
        drain.drained = Some("2027-01-15T08:00:40.000Z".to_owned());
    }
    assert_eq!(below(&answer, Some(&drains)), ["  drained at 2027-01-15T08:00:40.000Z; operator ada: disk"]);
    answer.endpoints[0].drain = None;
    assert!(below(&answer, Some(&drains)).is_empty());
}

/// A record's row adds up, fits, and says why the drain began and how soon that was published.
#[test]
fn an_audit_adds_up() {
    let record = serde_json::json!({"service": "default/web:http", "endpoint": "10.0.0.2:80", "id": 3, "pod": "default/web-1",
        "why": "slice default/web-abc says terminating", "began": "2027-01-15T08:00:00.000Z",
        "ended": "2027-01-15T08:00:12.300Z", "took_ms": 12_300, "undone": false, "deadline": null,
        "flows_at_start": 8_000, "flows_left": 8, "flows_after_start": 36, "ended_by_client": 1, "ended_by_endpoint": 2,
        "shed": 3_000, "cut": 5_000, "broken": 5, "ordered": 6, "elsewhere": 14, "published_after_us": 312});
    let mut records = vec![record.clone(), record];
    records[1]["published_after_us"] = serde_json::Value::Null;
    let shown = audit(
        &serde_json::from_value(serde_json::json!({"records": records, "dropped": 0, "known_ms": 1}))
            .expect("an audit"),
    );
    let lines: Vec<_> = shown.lines().collect();
    let cells = |line: usize| lines[line].split_whitespace().collect::<Vec<_>>();
    assert!(lines.iter().all(|line| line.chars().count() < 80), "{shown}");
    let above = [
        "default/web:http 10.0.0.2:80 (default/web-1) drained, began",
        "  2027-01-15T08:00:00.000Z: slice default/web-abc says terminating",
    ];
    assert_eq!([lines[1], lines[2]], above);
    assert_eq!(cells(3)[..2], ["12s", "0.3ms"]);
    assert_eq!(cells(6)[..2], ["12s", "-"], "an operator's drain comes from no event");
    assert_eq!(cells(0).len(), cells(3).len());
    let counts: Vec<u64> = cells(3)[2..].iter().map(|cell| cell.parse().expect("a count")).collect();
    assert_eq!(counts[..2].iter().sum::<u64>(), counts[2..].iter().sum::<u64>(), "{counts:?}");
}

/// A drain says which deadline is in force, and that an earlier one than was asked for stays.
#[test]
fn a_drain_shows_the_deadline_that_holds() {
    let change = |earlier: bool| {
        let json = serde_json::json!({"kept": false, "endpoints": [{"service": "default/web", "endpoint": "10.0.0.1:80",
            "id": 1, "pod": null, "state": "drain", "unchanged": earlier, "eligible": false, "flows": 3,
            "deadline": "2027-01-15T08:01:30.000Z", "earlier_deadline": earlier}]});
        let shown = drain(&serde_json::from_value(json).expect("an answer"));
        let lines = shown.lines().skip(2).map(str::trim).map(str::to_owned).collect::<Vec<_>>();
        lines.join(" ")
    };
    assert_eq!(change(false), "deadline 2027-01-15T08:01:30.000Z");
    let stays = "the deadline stays 2027-01-15T08:01:30.000Z: it was earlier";
    assert!(change(true).starts_with(stays), "{}", change(true));
}

/// Each fact with where it came from; a fixed endpoint came from no slice, and what a slice leaves out is no fact.
#[test]
fn sources_are_shown_for_each_endpoint() {
    let json = serde_json::json!({"generation": 3, "endpoints": [
        {"service": "default/web:http", "endpoint": "10.0.0.1:80", "id": 1,
         "conditions": {"ready": true, "serving": true, "terminating": false}, "eligible": true,
         "admin_state": {"state": "in_service"}, "drain": null, "flows": 0, "weight": 1, "pod": "default/web-0",
         "node": "node-a", "zone": "zone-1", "slice": "default/web-abc", "slice_generation": 4,
         "since": "2026-01-01T00:00:00.000Z"},
        {"service": "default/web:http", "endpoint": "10.0.0.2:80", "id": 2, "conditions": null, "eligible": false,
         "admin_state": {"state": "in_service"}, "drain": null, "flows": 1, "weight": 1, "pod": null, "node": null,
         "zone": null, "slice": null, "since": "2026-01-01T00:00:01.000Z"},
    ]});
    let shown = sources(&serde_json::from_value(json).expect("endpoints"));
    let lines: Vec<Vec<&str>> = shown.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(
        lines[1][1..],
        [
            "10.0.0.1:80",
            "default/web-0",
            "node-a",
            "zone-1",
            "default/web-abc",
            "4",
            "ready,serving",
            "2026-01-01T00:00:00.000Z"
        ]
    );
    assert_eq!(lines[2][1..], ["10.0.0.2:80", "-", "-", "-", "-", "-", "gone", "2026-01-01T00:00:01.000Z"]);
}

#[test]
fn time_spans_have_the_unit_that_fits() {
    assert_eq!([0.25, 59.6, 300.0, 9_000.0, 400_000.0].map(seconds), ["0.2s", "60s", "5m", "2h", "5d"]);
}
