//! From readings to a table: medians, spread, ratios.

use std::fmt;

use serde::Serialize;

use crate::cores::Cores;
use crate::peers::{Peer, Proxy};
use crate::workload::{Figure, Reading};

/// Below this share of its core, a proxy's rate is the load's and not its own.
const BUSY: f64 = 0.9;

/// Everything that one run found.
#[derive(Debug, Serialize)]
pub(crate) struct Comparison {
    kernel: String,
    cores: Cores,
    rounds: u32,
    seconds: u64,
    peers: Vec<Peer>,
    pub(crate) tables: Vec<Table>,
}

impl Comparison {
    pub(crate) fn new(cores: Cores, rounds: u32, seconds: u64, peers: Vec<Peer>) -> Self {
        let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
        Self { kernel, cores, rounds, seconds, peers, tables: Vec::new() }
    }

    /// Whether every row is.
    pub(crate) fn is_valid(&self) -> bool {
        self.tables.iter().all(|table| table.rows.iter().all(Row::is_valid))
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Cores { proxy, load, endpoints } = self.cores;
        writeln!(
            f,
            "Linux {}; core {proxy}: the proxy, core {load}: clients, core {endpoints}: endpoints; one worker each",
            self.kernel
        )?;
        writeln!(f, "{} rounds, {} s of load each; medians (least to most)", self.rounds, self.seconds)?;
        for peer in &self.peers {
            writeln!(f, "{}: {}", peer.proxy, peer.version)?;
        }
        self.tables.iter().try_for_each(|table| write!(f, "\n{table}"))
    }
}

/// All rows of one figure.
#[derive(Debug, Serialize)]
pub(crate) struct Table {
    figure: Figure,
    rows: Vec<Row>,
}

/// One proxy's readings, one of each round.
#[derive(Debug, Serialize)]
struct Row {
    proxy: Proxy,
    readings: Vec<Reading>,
}

impl Row {
    fn is_valid(&self) -> bool {
        self.readings.iter().all(|reading| reading.faults.is_empty())
    }

    fn cost(&self) -> f64 {
        median(self.readings.iter().map(|reading| reading.cost))
    }
}

impl Table {
    pub(crate) fn new(figure: Figure) -> Self {
        Self { figure, rows: Vec::new() }
    }

    /// Adds what one round found.
    pub(crate) fn add(&mut self, proxy: Proxy, reading: Reading) {
        match self.rows.iter_mut().find(|row| row.proxy == proxy) {
            Some(row) => row.readings.push(reading),
            None => self.rows.push(Row { proxy, readings: vec![reading] }),
        }
    }

    /// The valid row of one proxy, or the one with the least cost of several.
    fn best(&self, which: impl Fn(Proxy) -> bool) -> Option<&Row> {
        let rows = self.rows.iter().filter(|row| which(row.proxy) && row.is_valid());
        rows.min_by(|a, b| a.cost().total_cmp(&b.cost()))
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.figure.title())?;
        let rate_unit = self.figure.rate_unit();
        write!(f, "  {:<18}{:>12}{:>22}", "", self.figure.unit(), "")?;
        writeln!(f, "{}", rate_unit.map(|unit| format!("{unit:>12}{:>8}", "busy")).unwrap_or_default())?;
        for proxy in Proxy::ALL {
            let Some(row) = self.rows.iter().find(|row| row.proxy == proxy) else { continue };
            if !row.is_valid() {
                writeln!(f, "  {proxy:<18}     INVALID")?;
                for fault in row.readings.iter().flat_map(|reading| &reading.faults) {
                    writeln!(f, "    {fault}")?;
                }
                continue;
            }
            let costs = || row.readings.iter().map(|reading| reading.cost);
            let (least, most) = spread(costs());
            let range = format!("({} to {})", Short(least), Short(most));
            write!(f, "  {proxy:<18}{:>12}{range:>22}", Short(row.cost()).to_string())?;
            if rate_unit.is_some() {
                let rate = median(row.readings.iter().map(|reading| reading.rate));
                let busy = median(row.readings.iter().map(|reading| reading.busy));
                let bound = if busy < BUSY { "  load-bound" } else { "" };
                write!(f, "{:>12}{:>7.0}%{bound}", Short(rate).to_string(), busy * 100.0)?;
            }
            writeln!(f)?;
        }
        let Some(tidegate) = self.best(|proxy| proxy == Proxy::Tidegate) else { return Ok(()) };
        let haproxy = self.best(Proxy::is_haproxy);
        let nginx = self.best(|proxy| proxy == Proxy::Nginx);
        for peer in [haproxy, nginx].into_iter().flatten() {
            let ratios = || tidegate.readings.iter().zip(&peer.readings).map(|(a, b)| a.cost / b.cost);
            let (least, most) = spread(ratios());
            let ratio = median(ratios());
            writeln!(f, "  tidegate / {}: {ratio:.2} ({least:.2} to {most:.2})", peer.proxy)?;
        }
        Ok(())
    }
}

/// A number with three or four digits that count.
struct Short(f64);

impl fmt::Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            x if x >= 1000.0 => write!(f, "{x:.0}"),
            x if x >= 10.0 => write!(f, "{x:.1}"),
            x if x >= 1.0 => write!(f, "{x:.2}"),
            x => write!(f, "{x:.3}"),
        }
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        len if len % 2 == 1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}

fn spread(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(least, most), value| (least.min(value), most.max(value)))
}

#[cfg(test)]
mod tests;
