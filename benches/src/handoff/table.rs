//! The figures of a handoff, for the table of outcomes.

use super::{Course, Outcome, Spread};
use crate::outcomes::{self, Figure};
use crate::peers::Proxy;

impl outcomes::Outcome for Outcome {
    const FIGURES: &'static [(&'static str, Figure<Self>)] = &[
        ("handoffs", |it| it.handoffs.to_string()),
        ("flows open at the end", |it| it.flows.to_string()),
        ("  messages of flows that were answered", |it| it.answered.to_string()),
        ("new connections", |it| it.connections.to_string()),
        ("  in a second", |it| format!("{:.0}", it.connections_per_second)),
        ("  due and not made, too many were open", |it| it.skipped.to_string()),
        ("refused", |it| it.refused.to_string()),
        ("unanswered", |it| it.unanswered.to_string()),
        ("broken", |it| it.broken.to_string()),
        ("wrong bytes", |it| it.wrong.to_string()),
        ("flows moved / left behind", |it| {
            it.moved.map_or_else(dash, |said| format!("{} / {}", said.moved, said.left))
        }),
        ("until the new one serves, ms: p50 / p99 / max", |it| it.took.map_or_else(dash, triple)),
        ("  from hello to the end, ms: max", |it| it.moved.map_or_else(dash, |said| ms(said.inside_max))),
        ("old process gone after, ms: p50 / p99 / max", |it| {
            it.gone.map_or_else(|| "never".to_owned(), triple)
        }),
        ("  old processes that stayed", |it| it.stayed.to_string()),
        ("a handoff's p99 pause, ms: p50 / p99 / max", |it| {
            it.moved.map_or_else(dash, |said| triple(said.pause_p99))
        }),
        ("trip of a flow, ms: p50 / p99 / max", |it| triple(it.trip)),
        ("processes: before / most / end", |it| {
            let Course { before, most, end } = it.processes;
            format!("{before} / {most} / {end}")
        }),
        ("memory, MiB: before / most / end", |it| {
            let mib = |kib: u64| kib as f64 / 1_024.0;
            let Course { before, most, end } = it.memory;
            format!("{:.1} / {:.1} / {:.1}", mib(before), mib(most), mib(end))
        }),
    ];

    fn proxy(&self) -> Proxy {
        self.proxy
    }

    /// What was done.
    fn title(&self) -> String {
        let plan = self.plan;
        format!(
            "handoff: the proxy's process replaced {} times ({} for other proxies), one every {} ms, under {} flows that \
             talk every {} ms and {} new connections a second",
            plan.handoffs,
            plan.peers_handoffs,
            plan.pace.as_millis(),
            plan.flows,
            plan.period.as_millis(),
            plan.rate
        )
    }

    fn words(&self) -> &[String] {
        &self.words
    }

    fn faults(&self) -> &[String] {
        &self.faults
    }
}

fn ms(micros: u64) -> String {
    let ms = micros as f64 / 1_000.0;
    if ms < 1_000.0 { format!("{ms:.1}") } else { format!("{ms:.0}") }
}

fn triple(spread: Spread) -> String {
    format!("{} / {} / {}", ms(spread.p50), ms(spread.p99), ms(spread.max))
}

fn dash() -> String {
    "-".to_owned()
}
