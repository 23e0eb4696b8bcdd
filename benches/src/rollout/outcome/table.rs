//! The figures of a rollout, for the table of outcomes.

use super::{Course, Ends, Outcome, Spread};
use crate::outcomes::{self, Figure};
use crate::peers::Proxy;

impl outcomes::Outcome for Outcome {
    const FIGURES: &'static [(&'static str, Figure<Self>)] = &[
        ("flows opened: short", |outcome| outcome.short.opened.to_string()),
        ("  long, their life fits in the grace", |outcome| outcome.fitting.opened.to_string()),
        ("  long, their life does not", |outcome| outcome.outliving.opened.to_string()),
        ("broken before their own end", |outcome| outcome.broken().to_string()),
        ("  short", |outcome| outcome.short.broken.to_string()),
        ("  long, their life fits", |outcome| outcome.fitting.broken.to_string()),
        ("  long, while their endpoint was there", |outcome| outcome.outliving.broken.to_string()),
        ("refused, or ended before a reply", |outcome| outcome.refused().to_string()),
        ("sent to an endpoint that terminates", |outcome| outcome.misplaced.late.to_string()),
        ("  how long after, ms: p50 / p99 / max", |outcome| {
            let Spread { p50, p99, max } = outcome.misplaced.after_ms;
            if outcome.misplaced.late == 0 { "-".into() } else { format!("{p50:.1} / {p99:.1} / {max:.1}") }
        }),
        ("sent to an endpoint before it was ready", |outcome| outcome.misplaced.early.to_string()),
        ("old one's last new connection, ms: p50 / p99", |outcome| pair(outcome.old_stops_ms)),
        ("new one's first connection, ms: p50 / p99", |outcome| pair(outcome.new_starts_ms)),
        ("ended with their endpoint, which they outlived", |outcome| outcome.outliving.cut.to_string()),
        ("processes: before / most / left", |outcome| {
            let Course { before, most, left } = outcome.processes;
            format!("{before} / {most} / {left}")
        }),
        ("memory, MiB: before / most / left", |outcome| {
            let mib = |kib: u64| kib as f64 / 1024.0;
            let Course { before, most, left } = outcome.memory_kib;
            format!("{:.1} / {:.1} / {:.1}", mib(before), mib(most), mib(left))
        }),
        ("processor seconds", |outcome| format!("{:.2}", outcome.cpu_seconds)),
        ("new endpoints that never got a connection", |outcome| outcome.unused.to_string()),
    ];

    fn proxy(&self) -> Proxy {
        self.proxy
    }

    /// What was done to the endpoints.
    fn title(&self) -> String {
        let plan = self.plan;
        format!(
            "rolling updates: {} endpoints replaced {} times, one every {} ms; an old one has {} ms",
            plan.endpoints,
            plan.rollouts,
            plan.pace.as_millis(),
            plan.grace.as_millis()
        )
    }

    fn words(&self) -> &[String] {
        &self.words
    }

    fn faults(&self) -> &[String] {
        &self.faults
    }
}

fn pair(spread: Spread) -> String {
    format!("{:.1} / {:.1}", spread.p50, spread.p99)
}

impl Ends {
    /// Whether every flow was answered and came to its own end, or to its endpoint's.
    #[cfg(test)]
    pub(crate) fn are_whole(self) -> bool {
        self.opened > 0 && self.refused == 0 && self.broken == 0 && self.own + self.cut == self.opened
    }
}
