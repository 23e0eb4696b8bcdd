//! Numbers that outlive the process: what was counted goes on to a successor, so that no total ever goes back.
//!
//! Carried are all counters, the histograms' included, and those gauges that are a sum over both processes while the
//! older one waits for the flows that it kept.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use prometheus_client::metrics::MetricType;

use super::{
    names::{self, Metric},
    out::Number,
};

/// Counted numbers, by metric and labels' values.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Totals(BTreeMap<(String, Vec<String>), Total>);

/// A number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Total {
    /// A count.
    Whole(u64),
    /// Seconds.
    Real(f64),
}

/// What this process's predecessors counted, as it was told last. Cheap to clone; all clones are one.
#[derive(Clone, Debug, Default)]
pub struct Carried(Arc<Mutex<Arc<Totals>>>);

impl Totals {
    /// Everything in it: metric, labels' values, number.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[String], Total)> {
        self.0.iter().map(|((metric, labels), total)| (metric.as_str(), labels.as_slice(), *total))
    }

    /// Puts a number in.
    pub fn put(&mut self, metric: String, labels: Vec<String>, total: Total) {
        self.0.insert((metric, labels), total);
    }

    /// These numbers and others, added up.
    pub fn plus(&self, others: &Self) -> Self {
        let mut sum = self.clone();
        for (what, other) in &others.0 {
            let total = sum.0.entry(what.clone()).or_insert(Total::Whole(0));
            *total = add((*total).into(), *other).into();
        }
        sum
    }

    /// Without what is no count but a state: the process that had it has ended.
    pub fn of_the_past(mut self) -> Self {
        self.0.retain(|(metric, _), _| metric != names::FLOWS_OPEN.name);
        self
    }

    /// What is carried of a metric, by its labels' values.
    pub(super) fn of(&self, metric: &str) -> BTreeMap<Vec<&str>, Total> {
        let from = (metric.to_owned(), Vec::new());
        let own = self.0.range(from..).take_while(|((name, _), _)| name == metric);
        own.map(|((_, labels), total)| (labels.iter().map(String::as_str).collect(), *total)).collect()
    }
}

impl Carried {
    /// Takes the predecessors' numbers in, in place of what was known of them.
    pub fn set(&self, totals: Totals) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(totals);
    }

    /// What is known of them.
    pub fn get(&self) -> Arc<Totals> {
        Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Whether a metric's numbers of several processes are added up.
pub(super) fn is_carried(metric: &Metric) -> bool {
    matches!(metric.kind, MetricType::Counter) || metric.name == names::FLOWS_OPEN.name
}

/// Both together.
pub(super) fn add(number: Number, carried: Total) -> Number {
    match (number, carried) {
        (Number::Whole(number), Total::Whole(carried)) => Number::Whole(number + carried),
        (number, carried) => Number::Real(real(number) + real(carried.into())),
    }
}

fn real(number: Number) -> f64 {
    match number {
        Number::Whole(number) => number as f64,
        Number::Real(number) => number,
    }
}

impl From<Total> for Number {
    fn from(total: Total) -> Self {
        match total {
            Total::Whole(number) => Self::Whole(number),
            Total::Real(number) => Self::Real(number),
        }
    }
}

impl From<Number> for Total {
    fn from(number: Number) -> Self {
        match number {
            Number::Whole(number) => Self::Whole(number),
            Number::Real(number) => Self::Real(number),
        }
    }
}
