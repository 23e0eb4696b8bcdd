use std::{collections::BTreeSet, fs, path::Path};

use tidegate_core::{Conditions, Event, Permit, Tier};

use super::*;
use crate::rig::{Rig, slice};

async fn scrape() -> String {
    let rig = Rig::start(false).await;
    let histogram = &rig.state.control.counters().arrival_to_publish;
    histogram.record(Duration::from_micros(40));
    histogram.record(Duration::from_secs(60));
    let services = rig.state.control.services().await.unwrap().services;
    let _flow = Permit::enter(&services[0].endpoints[0].endpoint, Tier::Ready).unwrap();
    rig.state.gate.serve();
    let drain = r#"{"service":"default/web","endpoint":"web-0","deadline_ms":120000}"#;
    assert_eq!(rig.post("/v1/drain", drain).await.status.as_u16(), 200);
    tokio::time::advance(Duration::from_secs(90)).await;
    // Workers have looked at this moment, and not at some tick's.
    rig.state.control.progress().await.unwrap();
    rig.get("/metrics").await.text
}

#[tokio::test(start_paused = true)]
async fn a_scrape_as_text() {
    insta::assert_snapshot!(scrape().await);
}

/// Each endpoint is counted under one state, and the flows that drains wait for are those on draining endpoints.
#[tokio::test(start_paused = true)]
async fn endpoints_by_state() {
    let rig = Rig::start(false).await;
    let all = [
        ("10.0.0.1", "web-0"),
        ("10.0.0.2", "web-1"),
        ("10.0.0.3", "web-2"),
        ("10.0.0.4", "web-3"),
        ("10.0.0.5", "web-4"),
    ];
    rig.event(Event::SliceApplied(slice(&all))).await;
    let services = rig.state.control.services().await.unwrap().services;
    let enter = |index: usize| Permit::enter(&services[0].endpoints[index].endpoint, Tier::Ready).unwrap();
    let _flows = [enter(0), enter(1), enter(1), enter(4)];
    let mut next = slice(&all[..4]);
    next.endpoints[1].conditions = Conditions::from_api(Some(false), Some(true), Some(true));
    next.endpoints[2].conditions = Conditions::from_api(Some(false), Some(true), Some(true));
    next.endpoints[3].conditions = Conditions::from_api(Some(false), Some(true), Some(false));
    rig.event(Event::SliceApplied(next)).await;
    let text = rig.get("/metrics").await.text;
    let number = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{name}"));
        line.trim().parse::<u64>().unwrap()
    };
    for state in ["ready", "not_ready", "draining", "drained", "gone"] {
        let name = format!(r#"tidegate_endpoints{{service="default/web:http",state="{state}"}}"#);
        assert_eq!(number(&name), 1, "{state}");
    }
    let of_service = |name: &str| number(&format!(r#"{name}{{service="default/web:http"}}"#));
    assert_eq!(of_service("tidegate_endpoints_eligible"), 1);
    assert_eq!(of_service("tidegate_draining_endpoints"), 1);
    assert_eq!(of_service("tidegate_draining_flows"), 2);
}

/// Every metric that is rendered is in the list, and every one in the list is rendered.
#[tokio::test(start_paused = true)]
async fn the_list_of_names_is_complete() {
    let text = scrape().await;
    let words = |line: &str| {
        let mut words = line.strip_prefix("# TYPE ")?.split(' ');
        Some((words.next()?.to_owned(), words.next()?.to_owned()))
    };
    let rendered: BTreeSet<_> = text.lines().filter_map(words).collect();
    let listed =
        names::ALL.iter().map(|metric| (metric.family().to_owned(), metric.kind.as_str().to_owned()));
    assert_eq!(rendered, listed.collect());
}

/// Labels are those that the list has, in its order.
#[tokio::test(start_paused = true)]
async fn labels_are_as_listed() {
    for line in scrape().await.lines().filter(|line| !line.starts_with('#')) {
        let name = line.split(['{', ' ']).next().unwrap();
        let base = |suffix| name.strip_suffix(suffix).unwrap_or(name);
        let metric = names::ALL
            .iter()
            .find(|metric| [name, base("_bucket"), base("_sum"), base("_count")].contains(&metric.name))
            .unwrap_or_else(|| panic!("{line}"));
        let labels: Vec<&str> = match line.split_once('{') {
            Some((_, rest)) => rest.split_once('}').unwrap().0.split(',').collect(),
            None => Vec::new(),
        };
        let keys = labels.iter().map(|label| label.split_once('=').unwrap().0).filter(|key| *key != "le");
        assert_eq!(keys.collect::<Vec<_>>(), metric.labels, "{line}");
    }
}

#[test]
fn names_are_of_one_form() {
    for metric in names::ALL {
        assert!(metric.name.starts_with("tidegate_"), "{}", metric.name);
        let is_total = metric.name.ends_with("_total");
        assert_eq!(is_total, metric.kind.as_str() == "counter", "{}", metric.name);
    }
}

/// METRICS.md says what the code says. `UPDATE_METRICS=1` writes it.
#[test]
fn every_metric_is_documented() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("METRICS.md");
    if std::env::var_os("UPDATE_METRICS").is_some() {
        fs::write(&path, names::table()).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(
        written,
        names::table(),
        "run the test with UPDATE_METRICS=1 and commit proxy/admin/METRICS.md"
    );
}
