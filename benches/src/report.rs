//! The result of one run, as programs read it (`report.json`) and as [`text`] and `html` show it.
//!
//! A [`Report`] holds readings and facts and nothing that follows from them: medians, spread, ratios and marks are
//! functions of [`Row`] and [`Table`], so that every rendering says the same. The terminal's table is the module
//! `text` below this one; `report.html` is rendered from the same [`Report`] by the module `html`. Whatever is added
//! here later is added with `#[serde(default)]`, so that an old report can still be rendered.

mod machine;
mod text;

use std::fs;
use std::path::Path;

use anyhow::Context;
use serde::{Deserialize, Serialize};

pub(crate) use machine::{Machine, command, commit, date};

use crate::cores::Cores;
use crate::handoff;
use crate::html;
use crate::outcomes::Outcome;
use crate::peers::{Peer, Proxy};
use crate::rollout;

/// Below this share of its core, a proxy's rate is the load's and not its own.
pub(crate) const BUSY: f64 = 0.9;

/// Everything that one run found.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) machine: Machine,
    pub(crate) run: Run,
    /// The proxies that were measured.
    pub(crate) peers: Vec<Peer>,
    /// A line for each proxy that was not found.
    pub(crate) skipped: Vec<String>,
    pub(crate) tables: Vec<Table>,
    /// What became of flows while endpoints were replaced, once for each proxy.
    #[serde(default)]
    pub(crate) rollouts: Vec<rollout::Outcome>,
    /// What became of flows while the proxy's process was replaced, once for each proxy and plan.
    #[serde(default)]
    pub(crate) handoffs: Vec<handoff::Outcome>,
}

/// How it was measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Run {
    /// When it began: RFC 3339, UTC.
    pub(crate) date: String,
    /// The command line, with quotes where a shell needs them.
    pub(crate) command: String,
    /// What `git describe` says of the sources, where that is known.
    pub(crate) commit: Option<String>,
    pub(crate) rounds: u32,
    /// Of load in one measurement.
    pub(crate) seconds: u64,
    /// Workers of each proxy.
    pub(crate) workers: usize,
    pub(crate) cores: Cores,
}

/// All rows of one figure. Less is better in every figure but the rate.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Table {
    /// The workload's name, as `--only` takes it. One workload has one table or many.
    pub(crate) workload: String,
    pub(crate) title: String,
    /// Of [`Reading::cost`] and [`Reading::machine`], such as `CPU-us/trip`.
    pub(crate) unit: String,
    /// Of [`Reading::rate`], such as `trips/s`; none where there is no rate.
    pub(crate) rate_unit: Option<String>,
    pub(crate) rows: Vec<Row>,
}

/// One proxy's readings, one of each round.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) proxy: Proxy,
    pub(crate) readings: Vec<Reading>,
}

/// What one measurement found.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Reading {
    /// What the proxy itself spent. None for the row without a proxy.
    pub(crate) cost: Option<f64>,
    /// What the whole machine spent, load and endpoints included, in the same unit.
    pub(crate) machine: Option<f64>,
    pub(crate) rate: Option<f64>,
    /// How much of its cores the proxy used, 0 to 1.
    pub(crate) busy: Option<f64>,
    /// How long one thing took.
    pub(crate) latency: Option<Latency>,
    /// What went wrong; a single one makes the row invalid.
    pub(crate) faults: Vec<String>,
}

/// Percentiles in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Latency {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    #[serde(rename = "p99.9")]
    pub(crate) p999: f64,
}

/// The median of all rounds, with the least and the most.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    pub(crate) least: f64,
    pub(crate) median: f64,
    pub(crate) most: f64,
}

/// How Tidegate stands to another row: the spread of the ratios of costs within a round.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Ratio {
    pub(crate) to: Proxy,
    pub(crate) ratio: Spread,
}

impl Report {
    /// Whether every row is.
    pub(crate) fn is_valid(&self) -> bool {
        self.tables.iter().all(|table| table.rows.iter().all(Row::is_valid))
            && self.rollouts.iter().all(Outcome::is_valid)
            && self.handoffs.iter().all(Outcome::is_valid)
    }

    /// Writes `report.json` and `report.html` into `directory`, which is made where it is missing.
    pub(crate) fn write(&self, directory: &Path) -> anyhow::Result<()> {
        fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
        let path = directory.join("report.json");
        let json = serde_json::to_string_pretty(self).context("cannot write JSON")?;
        fs::write(&path, json + "\n").with_context(|| format!("cannot write {}", path.display()))?;
        let path = directory.join("report.html");
        fs::write(&path, html::render(self)).with_context(|| format!("cannot write {}", path.display()))
    }
}

impl Table {
    pub(crate) fn new(workload: &str, title: &str, unit: &str, rate_unit: Option<&str>) -> Self {
        Self {
            workload: workload.to_owned(),
            title: title.to_owned(),
            unit: unit.to_owned(),
            rate_unit: rate_unit.map(str::to_owned),
            rows: Vec::new(),
        }
    }

    /// Adds what one round found.
    pub(crate) fn add(&mut self, proxy: Proxy, reading: Reading) {
        match self.rows.iter_mut().find(|row| row.proxy == proxy) {
            Some(row) => row.readings.push(reading),
            None => self.rows.push(Row { proxy, readings: vec![reading] }),
        }
        self.rows.sort_by_key(|row| row.proxy);
    }

    /// Tidegate beside the best HAProxy row and beside each other peer, as far as they are valid.
    pub(crate) fn ratios(&self) -> Vec<Ratio> {
        let best = |which: fn(Proxy) -> bool| {
            let rows = self.rows.iter().filter(|row| which(row.proxy) && row.is_valid());
            let costs = rows.filter_map(|row| Some((row, row.cost()?.median)));
            costs.min_by(|a, b| a.1.total_cmp(&b.1)).map(|(row, _)| row)
        };
        let Some(tidegate) = best(|proxy| proxy == Proxy::Tidegate) else { return Vec::new() };
        let peers = [
            best(Proxy::is_haproxy),
            best(|proxy| proxy == Proxy::Nginx),
            best(|proxy| proxy == Proxy::NginxHalfClose),
            best(|proxy| proxy == Proxy::Envoy),
        ];
        let ratio = |peer: &Row| {
            let rounds = tidegate.readings.iter().zip(&peer.readings);
            let ratio = Spread::of(rounds.filter_map(|(a, b)| Some(a.cost? / b.cost?)))?;
            Some(Ratio { to: peer.proxy, ratio })
        };
        peers.into_iter().flatten().filter_map(ratio).collect()
    }
}

impl Row {
    /// Whether nothing went wrong in any round.
    pub(crate) fn is_valid(&self) -> bool {
        self.readings.iter().all(|reading| reading.faults.is_empty())
    }

    /// Everything that went wrong.
    pub(crate) fn faults(&self) -> impl Iterator<Item = &str> {
        self.readings.iter().flat_map(|reading| &reading.faults).map(String::as_str)
    }

    pub(crate) fn cost(&self) -> Option<Spread> {
        self.spread(|reading| reading.cost)
    }

    pub(crate) fn machine(&self) -> Option<Spread> {
        self.spread(|reading| reading.machine)
    }

    pub(crate) fn rate(&self) -> Option<Spread> {
        self.spread(|reading| reading.rate)
    }

    pub(crate) fn busy(&self) -> Option<Spread> {
        self.spread(|reading| reading.busy)
    }

    pub(crate) fn p50(&self) -> Option<Spread> {
        self.spread(|reading| Some(reading.latency?.p50))
    }

    pub(crate) fn p99(&self) -> Option<Spread> {
        self.spread(|reading| Some(reading.latency?.p99))
    }

    pub(crate) fn p999(&self) -> Option<Spread> {
        self.spread(|reading| Some(reading.latency?.p999))
    }

    /// Whether its rate is the load's: the proxy could have done more.
    pub(crate) fn is_load_bound(&self) -> bool {
        self.rate().is_some() && self.busy().is_some_and(|busy| busy.median < BUSY)
    }

    fn spread(&self, value: impl Fn(&Reading) -> Option<f64>) -> Option<Spread> {
        Spread::of(self.readings.iter().filter_map(value))
    }
}

impl Spread {
    /// None of no values.
    pub(crate) fn of(values: impl Iterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        let (least, most) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median = match values.len() % 2 {
            1 => values[middle],
            _ => f64::midpoint(values[middle - 1], values[middle]),
        };
        Some(Self { least, median, most })
    }
}

#[cfg(test)]
mod tests;
