//! A report as a table in a terminal.

use std::fmt;

use super::{Report, Row, Spread, Table};
use crate::cores::Cores;
use crate::outcomes;

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (machine, run) = (&self.machine, &self.run);
        let gib = machine.memory as f64 / f64::from(1 << 30);
        writeln!(f, "{}; {} x {}; {gib:.0} GiB", machine.kernel, machine.processors, machine.cpu)?;
        let Cores { proxy, load, endpoints } = &run.cores;
        writeln!(
            f,
            "proxy: {} worker(s) on core {}; clients on core {load}; endpoints on core {endpoints}",
            run.workers,
            list(proxy)
        )?;
        writeln!(f, "{} rounds, {} s of load each; medians (least to most)", run.rounds, run.seconds)?;
        let commit = run.commit.as_ref().map(|commit| format!(", sources {commit}")).unwrap_or_default();
        writeln!(f, "{}{commit}: {}", run.date, run.command)?;
        for peer in &self.peers {
            writeln!(f, "{}: {}", peer.proxy, peer.version)?;
        }
        for skipped in &self.skipped {
            writeln!(f, "{skipped}")?;
        }
        self.tables.iter().try_for_each(|table| write!(f, "\n{table}"))?;
        outcomes::tables(&self.rollouts).try_for_each(|table| write!(f, "\n{table}"))?;
        outcomes::tables(&self.handoffs).try_for_each(|table| write!(f, "\n{table}"))
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} [{}]", self.title, self.workload)?;
        let has_machine = self.rows.iter().any(|row| row.machine().is_some());
        let has_latency = self.rows.iter().any(|row| row.p50().is_some());
        write!(f, "  {:<18}{:>12}{:>22}", "", self.unit, "")?;
        if has_machine {
            write!(f, "{:>10}", "machine")?;
        }
        if let Some(unit) = &self.rate_unit {
            write!(f, "{unit:>12}{:>7}", "busy")?;
        }
        if has_latency {
            write!(f, "{:>10}{:>10}{:>10}", "p50 us", "p99 us", "p99.9 us")?;
        }
        writeln!(f)?;
        for row in &self.rows {
            if !row.is_valid() {
                writeln!(f, "  {:<18}     INVALID", row.proxy)?;
                for fault in row.faults() {
                    writeln!(f, "    {fault}")?;
                }
                continue;
            }
            let mut line = format!("  {:<18}", row.proxy);
            let cost = row.cost();
            line += &format!("{:>12}{:>22}", short(cost), cost.map(range).unwrap_or_default());
            if has_machine {
                line += &format!("{:>10}", short(row.machine()));
            }
            if self.rate_unit.is_some() {
                let busy = row.busy().map(|busy| format!("{:.0}%", busy.median * 100.0));
                line += &format!("{:>12}{:>7}", short(row.rate()), busy.unwrap_or_default());
            }
            if has_latency {
                line += &latencies(row);
            }
            if row.is_load_bound() {
                line += "  load-bound";
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        for ratio in self.ratios() {
            let Spread { least, median, most } = ratio.ratio;
            writeln!(f, "  tidegate / {}: {median:.2} ({least:.2} to {most:.2})", ratio.to)?;
        }
        Ok(())
    }
}

fn latencies(row: &Row) -> String {
    [row.p50(), row.p99(), row.p999()].map(|value| format!("{:>10}", short(value))).concat()
}

fn range(spread: Spread) -> String {
    format!("({} to {})", Short(spread.least), Short(spread.most))
}

fn short(spread: Option<Spread>) -> String {
    spread.map(|spread| Short(spread.median).to_string()).unwrap_or_default()
}

fn list(cores: &[usize]) -> String {
    let numbers: Vec<String> = cores.iter().map(usize::to_string).collect();
    numbers.join(", ")
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
