//! The arithmetic of a table, and that a report survives being written.

use super::*;

fn reading(cost: f64) -> Reading {
    Reading { cost: Some(cost), rate: Some(10.0), busy: Some(0.95), ..Reading::default() }
}

fn table(rows: &[(Proxy, &[f64])]) -> Table {
    let mut table = Table::new("bulk", "bulk down, 1 flow", "CPU-s/GB", Some("GB/s"));
    for (proxy, costs) in rows {
        for cost in *costs {
            table.add(*proxy, reading(*cost));
        }
    }
    table
}

#[test]
fn medians_and_spread() {
    let spread = |values: &[f64]| Spread::of(values.iter().copied());
    assert_eq!(spread(&[3.0, 1.0, 2.0]), Some(Spread { least: 1.0, median: 2.0, most: 3.0 }));
    assert_eq!(spread(&[4.0, 1.0, 2.0, 3.0]).map(|spread| spread.median), Some(2.5));
    assert_eq!(spread(&[]), None);
}

#[test]
fn the_ratio_is_to_the_best_haproxy_row_and_to_each_other_peer() {
    let text = table(&[
        (Proxy::Nginx, &[1.0, 1.0, 1.0]),
        (Proxy::Tidegate, &[0.3, 0.2, 0.25]),
        (Proxy::Haproxy, &[0.9, 0.9, 0.9]),
        (Proxy::HaproxySplice1m, &[0.3, 0.2, 0.5]),
        (Proxy::Envoy, &[0.5, 0.5, 0.5]),
    ])
    .to_string();
    assert!(text.contains("tidegate / haproxy-splice-1m: 1.00 (0.50 to 1.00)"), "{text}");
    assert!(text.contains("tidegate / nginx: 0.25 (0.20 to 0.30)"), "{text}");
    assert!(text.contains("tidegate / envoy: 0.50 (0.40 to 0.60)"), "{text}");
    assert!(!text.contains("load-bound"), "{text}");
}

#[test]
fn a_row_without_a_proxy_has_no_ratio() {
    let mut table = table(&[(Proxy::Tidegate, &[0.3])]);
    table.add(Proxy::Direct, Reading { machine: Some(0.1), rate: Some(11.0), ..Reading::default() });
    assert_eq!(table.ratios(), []);
    assert!(table.to_string().contains("direct"));
}

#[test]
fn a_fault_makes_the_row_invalid_and_is_told() {
    let mut table = table(&[(Proxy::Tidegate, &[0.3]), (Proxy::Nginx, &[1.0])]);
    table.add(Proxy::Nginx, Reading { faults: vec!["reply: a wrong byte".to_owned()], ..reading(0.1) });
    let text = table.to_string();
    assert!(text.contains("INVALID\n    reply: a wrong byte"), "{text}");
    assert!(!text.contains("tidegate /"), "{text}");
}

#[test]
fn a_rate_with_an_idle_core_is_marked() {
    let mut table = table(&[]);
    table.add(Proxy::Nginx, Reading { busy: Some(0.5), ..reading(15.0) });
    let text = table.to_string();
    assert!(text.contains("50%  load-bound"), "{text}");
    let mut table = Table::new("idle", "idle flows", "KiB/flow", None);
    table.add(Proxy::Nginx, Reading { rate: None, busy: Some(0.5), ..reading(15.0) });
    assert!(!table.to_string().contains("load-bound"));
}

#[test]
fn a_report_survives_being_written() {
    let latency = Latency { p50: 1.0, p99: 2.0, p999: 3.5 };
    let mut table = table(&[(Proxy::HaproxySplice1m, &[0.3])]);
    table.add(Proxy::Direct, Reading { latency: Some(latency), ..Reading::default() });
    let report = Report {
        machine: Machine::here(),
        run: Run {
            date: date(),
            command: command(),
            commit: commit(),
            rounds: 1,
            seconds: 1,
            workers: 1,
            cores: Cores { proxy: vec![1], load: 0, endpoints: 0 },
        },
        peers: vec![Peer { proxy: Proxy::Nginx, binary: "/n".into(), version: "nginx 1".to_owned() }],
        skipped: vec!["envoy: skipped".to_owned()],
        tables: vec![table],
        rollouts: Vec::new(),
        handoffs: Vec::new(),
    };
    let directory = tempfile::tempdir().unwrap();
    report.write(&directory.path().join("deep/er")).unwrap();
    let json = fs::read_to_string(directory.path().join("deep/er/report.json")).unwrap();
    let read: Report = serde_json::from_str(&json).unwrap();
    assert_eq!(read.to_string(), report.to_string());
    assert!(json.contains(r#""p99.9": 3.5"#) && json.contains("haproxy-splice-1m"), "{json}");
}
