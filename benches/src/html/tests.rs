//! The page is read back by a parser: whole, complete, harmless, and alone.

use roxmltree::{Document, Node, ParsingOptions};

use super::*;
use crate::cores::Cores;
use crate::outcomes::Outcome as _;
use crate::peers::{Peer, Proxy};
use crate::report::{Latency, Machine, Reading, Run};
use crate::rollout::{Course, Ends, Misplaced, Outcome, Plan, Spread};

const HOSTILE: &str = "1.0 <script>alert('x')</script> \"&amp; \u{1b}[31m";

fn reading(cost: f64, rate: f64, busy: f64) -> Reading {
    let latency = Latency { p50: cost * 10.0, p99: cost * 31.0, p999: cost * 250.0 };
    Reading {
        cost: Some(cost),
        machine: Some(cost * 2.5),
        rate: Some(rate),
        busy: Some(busy),
        latency: Some(latency),
        faults: Vec::new(),
    }
}

/// A report with everything in it that a page may have to show.
pub(super) fn sample() -> Report {
    let mut trips =
        Table::new("trips", "64-byte round trips, 64 kept connections", "CPU-us/trip", Some("trips/s"));
    let mut bulk = Table::new("bulk", "bulk down, 1 flow", "CPU-s/GB", Some("GB/s"));
    let mut idle = Table::new("idle", "idle flows that never carried a byte <b>", "KiB/flow", None);
    for round in [0.0, 0.2, 0.5] {
        trips.add(Proxy::Tidegate, reading(7.6 + round, 125_655.0, 0.98));
        trips.add(Proxy::Haproxy, reading(8.2 + round, 118_730.0, 0.98));
        trips.add(Proxy::Nginx, reading(7.8 + round / 4.0, 124_558.0, 0.98));
        trips.add(Proxy::Direct, Reading { cost: None, busy: None, ..reading(3.0, 240_000.0, 0.0) });
        bulk.add(Proxy::Tidegate, reading(0.29 + round / 10.0, 1.56, 0.46));
        bulk.add(Proxy::HaproxySplice1m, reading(0.30 + round / 10.0, 1.53, 0.97));
        let fault = format!("reply: byte {round} is wrong\nits output: {HOSTILE}");
        bulk.add(Proxy::Nginx, Reading { faults: vec![fault], ..reading(9.0, 9.0, 1.0) });
        idle.add(Proxy::Tidegate, Reading { cost: Some(1.23), ..Reading::default() });
        idle.add(Proxy::Nginx, Reading { cost: Some(9.24), ..Reading::default() });
    }
    let peer = |proxy, version: &str| Peer { proxy, binary: "proxy".into(), version: version.into() };
    Report {
        machine: Machine {
            kernel: "Linux 6.1.0".into(),
            cpu: "A processor & more".into(),
            processors: 2,
            memory: 24 << 30,
        },
        run: Run {
            date: "2026-01-02T03:04:05Z".into(),
            command: "tidegate-benches compare --only 'trips,bulk'".into(),
            commit: Some("0123abc".into()),
            rounds: 3,
            seconds: 2,
            workers: 1,
            cores: Cores { proxy: vec![1], load: 0, endpoints: 0 },
        },
        peers: vec![peer(Proxy::Tidegate, "tidegate 0.1.0"), peer(Proxy::Nginx, HOSTILE)],
        skipped: vec!["haproxy: /usr/sbin/haproxy is not there".into()],
        tables: vec![trips, bulk, idle],
        rollouts: vec![outcome(Proxy::Tidegate, 0), outcome(Proxy::Nginx, 97)],
        handoffs: Vec::new(),
    }
}

/// What a rollout came to, with so many flows on an endpoint that terminated.
fn outcome(proxy: Proxy, late: u64) -> Outcome {
    let ends = Ends { opened: 430, own: 430, ..Ends::default() };
    let spread = Spread { p50: 1.5, p99: 3.25, max: 4.0 };
    let course = Course { before: 2048, most: 22 * 1024, left: 2048 };
    let words = if late > 0 { vec![format!("1.2 s: short flow broken: {HOSTILE}")] } else { Vec::new() };
    Outcome {
        proxy,
        plan: Plan::QUICK,
        short: Ends { broken: late, ..ends },
        fitting: ends,
        outliving: ends,
        misplaced: Misplaced { late, after_ms: spread, early: 0 },
        old_stops_ms: spread,
        new_starts_ms: spread,
        unused: 0,
        processes: course,
        memory_kib: course,
        cpu_seconds: 3.5,
        wall_seconds: 20.0,
        words,
        faults: Vec::new(),
    }
}

fn parse(page: &str) -> Document<'_> {
    let options = ParsingOptions { allow_dtd: true, ..ParsingOptions::default() };
    Document::parse_with_options(page, options).unwrap_or_else(|error| panic!("{error}\n{page}"))
}

fn elements<'a>(document: &'a Document<'a>, name: &str) -> Vec<Node<'a, 'a>> {
    document.descendants().filter(|node| node.is_element() && node.tag_name().name() == name).collect()
}

fn all_text(node: Node<'_, '_>) -> String {
    node.descendants().filter_map(|node| node.is_text().then(|| node.text()).flatten()).collect()
}

#[test]
fn every_row_and_every_fault_is_in_a_table_and_in_a_plot() {
    let (report, page) = (sample(), render(&sample()));
    let document = parse(&page);
    for (index, table) in report.tables.iter().enumerate() {
        let id = format!("figure-{index}");
        let section = document.descendants().find(|node| node.attribute("id") == Some(&id)).unwrap();
        let shown = all_text(section);
        assert!(shown.contains(&table.title) && shown.contains(&table.unit), "{shown}");
        let rows: Vec<String> = section
            .descendants()
            .filter(|node| node.attribute("scope") == Some("row"))
            .map(|node| all_text(node.parent().unwrap()))
            .collect();
        assert_eq!(rows.len(), table.rows.len());
        for (row, shown) in table.rows.iter().zip(&rows) {
            assert!(shown.starts_with(&row.proxy.to_string()), "{shown}");
            assert_eq!(shown.contains("load-bound"), row.is_valid() && row.is_load_bound(), "{shown}");
            assert_eq!(shown.contains("invalid"), !row.is_valid(), "{shown}");
        }
        for fault in table.rows.iter().flat_map(Row::faults) {
            assert!(shown.contains(&fault.replace('\u{1b}', "\u{fffd}")), "{fault} is not in {shown}");
        }
        let bars = elements(&document, "rect").len();
        assert!(bars > 0);
    }
    let cost =
        document.descendants().find(|node| node.attribute("id") == Some("figure-0-cost-text")).unwrap();
    assert!(all_text(cost).contains("tidegate: 7.80; haproxy: 8.40; nginx: 7.85"), "{}", all_text(cost));
}

#[test]
fn a_bar_is_as_long_as_its_median_says() {
    let page = render(&sample());
    let document = parse(&page);
    let bars: Vec<f64> = elements(&document, "rect")
        .into_iter()
        .filter(|node| node.attribute("class").is_some_and(|class| class.starts_with("bar")))
        .take(3)
        .map(|node| node.attribute("width").unwrap().parse().unwrap())
        .collect();
    let expected = [7.8, 8.4, 7.85].map(|cost| cost / 10.0 * 410.0);
    assert!(
        bars.iter().zip(expected).all(|(bar, expected)| (bar - expected).abs() < 0.1),
        "{bars:?} {expected:?}"
    );
}

#[test]
fn an_invalid_row_has_no_bar_and_is_named_first() {
    let page = render(&sample());
    let document = parse(&page);
    let described =
        document.descendants().find(|node| node.attribute("id") == Some("figure-1-cost-text")).unwrap();
    assert!(all_text(described).contains("nginx: invalid"), "{}", all_text(described));
    let warning = document.descendants().find(|node| node.attribute("class") == Some("warning")).unwrap();
    assert!(all_text(warning).contains("bulk down, 1 flow: nginx"));
    let mut report = sample();
    report.tables.remove(1);
    assert!(!render(&report).contains("class=\"warning\""));
}

#[test]
fn the_best_peer_is_the_one_that_spends_least() {
    let page = render(&sample());
    let document = parse(&page);
    let summary = document.descendants().find(|node| node.attribute("id") == Some("summary-text")).unwrap();
    let shown = all_text(summary);
    assert!(shown.contains("64 kept connections: 0.99 of nginx"), "{shown}");
    assert!(shown.contains("byte <b>: 0.13 of nginx"), "{shown}");
}

#[test]
fn a_rollout_has_its_figures_and_its_faults() {
    let page = render(&sample());
    let document = parse(&page);
    let section = document.descendants().find(|node| node.attribute("id") == Some("rollout")).unwrap();
    let shown: Vec<String> = section
        .descendants()
        .filter(|node| node.attribute("scope") == Some("row"))
        .map(|node| all_text(node.parent().unwrap()))
        .collect();
    assert_eq!(shown.len(), Outcome::FIGURES.len());
    assert!(shown.contains(&"broken before their own end097".to_owned()), "{shown:?}");
    assert!(shown.contains(&"memory, MiB: before / most / left2.0 / 22.0 / 2.02.0 / 22.0 / 2.0".to_owned()));
    assert!(all_text(section).contains("short flow broken"), "{}", all_text(section));
    let report = Report { rollouts: Vec::new(), ..sample() };
    assert!(!render(&report).contains("id=\"rollout\""));
}

#[test]
fn what_is_hostile_is_text() {
    let page = render(&sample());
    let document = parse(&page);
    assert!(elements(&document, "script").is_empty() && elements(&document, "b").is_empty());
    assert!(page.contains("1.0 &lt;script&gt;alert"));
}

#[test]
fn the_page_needs_nothing_from_elsewhere() {
    let page = render(&sample());
    let document = parse(&page);
    for node in document.descendants().filter(Node::is_element) {
        let name = node.tag_name().name();
        assert!(!["link", "script", "img", "iframe", "object", "use", "image"].contains(&name), "{name}");
        for attribute in node.attributes() {
            assert!(
                !["src", "href", "data", "action"].contains(&attribute.name()),
                "{name} {}",
                attribute.name()
            );
            assert!(!attribute.name().starts_with("on"), "{name} {}", attribute.name());
        }
    }
    assert!(!STYLE.contains("url(") && !STYLE.contains("@import"));
    let ids: Vec<&str> = document.descendants().filter_map(|node| node.attribute("id")).collect();
    let once: std::collections::BTreeSet<&str> = ids.iter().copied().collect();
    assert_eq!(ids.len(), once.len(), "an id is used twice");
}

#[test]
fn a_plot_says_what_it_shows() {
    let page = render(&sample());
    let document = parse(&page);
    let plots = elements(&document, "svg");
    // A summary; cost, rate and latency of two figures; cost of the third.
    assert_eq!(plots.len(), 8);
    for plot in plots {
        let names: Vec<&str> =
            plot.children().filter(Node::is_element).map(|node| node.tag_name().name()).take(2).collect();
        assert_eq!(names, ["title", "desc"]);
        for id in plot.attribute("aria-labelledby").unwrap().split(' ') {
            assert!(plot.children().any(|node| node.attribute("id") == Some(id)), "{id}");
        }
    }
}

#[test]
fn a_report_of_nothing_is_a_page() {
    let report = Report { tables: Vec::new(), peers: Vec::new(), skipped: Vec::new(), ..sample() };
    parse(&render(&report));
}
