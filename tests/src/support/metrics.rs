//! A scrape of `/metrics`.

use std::{collections::BTreeMap, fmt};

/// The samples of one scrape.
#[derive(Clone)]
pub struct Metrics {
    samples: Vec<(String, BTreeMap<String, String>, f64)>,
}

impl Metrics {
    /// Reads OpenMetrics text.
    pub fn parse(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        Self { samples: lines.map(sample).collect() }
    }

    /// The sum of a metric's samples that have all these labels; 0 where there is none.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        let has = |found: &BTreeMap<String, String>| {
            labels.iter().all(|(label, value)| found.get(*label).is_some_and(|found| found == value))
        };
        self.samples
            .iter()
            .filter(|(of, found, _)| of == name && has(found))
            .map(|(.., value)| *value)
            .sum::<f64>() as u64
    }

    /// The sum of all samples of a metric.
    pub fn total(&self, name: &str) -> u64 {
        self.sum(name, &[])
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.samples.iter().filter(|(.., value)| *value != 0.0)).finish()
    }
}

/// `name{label="value",...} number`; no label's value holds a comma or a quote here.
fn sample(line: &str) -> (String, BTreeMap<String, String>, f64) {
    let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no sample: {line}"));
    let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
    let pairs = labels.trim_end_matches('}').split(',').filter(|pair| !pair.is_empty());
    let labels = pairs.map(|pair| {
        let (label, value) = pair.split_once('=').unwrap_or_else(|| panic!("no label: {line}"));
        (label.to_owned(), value.trim_matches('"').to_owned())
    });
    (name.to_owned(), labels.collect(), value.parse().unwrap_or_else(|_| panic!("no number: {line}")))
}
