use super::*;

#[test]
fn columns_are_as_wide_as_their_widest_cell_and_lines_end_without_spaces() {
    let rows = [vec!["a".to_owned(), "b".to_owned()], vec!["longer".to_owned(), String::new()]];
    assert_eq!(table(&["X", "Y"], rows.into_iter()), "X       Y\na       b\nlonger\n");
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
