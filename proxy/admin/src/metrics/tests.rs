use std::{collections::BTreeSet, fs, path::Path};

use super::*;
use crate::rig::Rig;

async fn scrape() -> String {
    let rig = Rig::start(false).await;
    let histogram = &rig.state.control.counters().arrival_to_publish;
    histogram.record(Duration::from_micros(40));
    histogram.record(Duration::from_secs(60));
    tokio::time::advance(Duration::from_secs(90)).await;
    rig.get("/metrics").await.text
}

#[tokio::test(start_paused = true)]
async fn a_scrape_as_text() {
    insta::assert_snapshot!(scrape().await);
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
