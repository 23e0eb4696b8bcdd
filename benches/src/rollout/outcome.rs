//! From what clients and endpoints saw to figures. Pure arithmetic: nothing here waits or touches a socket.

mod table;

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::client::{Class, End, Flow};
use super::endpoint::Record;
use super::plan::Plan;
use super::processes::Look;
use crate::peers::Proxy;

/// What went wrong is kept in words so many times; the counts have all of it.
const WORDS: usize = 8;

/// What one proxy did. [The module](super) says how each figure is defined.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Outcome {
    pub(crate) proxy: Proxy,
    pub(crate) plan: Plan,
    pub(crate) short: Ends,
    pub(crate) fitting: Ends,
    pub(crate) outliving: Ends,
    pub(crate) misplaced: Misplaced,
    /// From the change to the last connection that the old endpoint accepted, in milliseconds.
    pub(crate) old_stops_ms: Spread,
    /// From the change to the first connection that the new endpoint accepted, in milliseconds.
    pub(crate) new_starts_ms: Spread,
    /// New endpoints that never got a connection.
    pub(crate) unused: usize,
    pub(crate) processes: Course,
    pub(crate) memory_kib: Course,
    pub(crate) cpu_seconds: f64,
    pub(crate) wall_seconds: f64,
    /// The first flows that were refused or broken, in words.
    pub(crate) words: Vec<String>,
    /// What makes the row invalid: a wrong byte, an operator that was not heard, a measurement that hung.
    pub(crate) faults: Vec<String>,
}

/// How the flows of one class ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Ends {
    /// Flows that were answered at least once.
    pub(crate) opened: u64,
    /// Ended by their clients.
    pub(crate) own: u64,
    /// No answer at all: refused, reset or silent.
    pub(crate) refused: u64,
    /// Broken before their own end, though they could have come to it.
    pub(crate) broken: u64,
    /// Ended by the end of their endpoint, which they would have outlived.
    pub(crate) cut: u64,
}

/// Connections that went to an endpoint that was not ready.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Misplaced {
    /// Begun after the change that made the endpoint terminating.
    pub(crate) late: u64,
    /// How long after it, in milliseconds.
    pub(crate) after_ms: Spread,
    /// Accepted before the endpoint was made ready.
    pub(crate) early: u64,
}

/// A few values by nearest rank; zeros where there are none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Spread {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) max: f64,
}

/// A figure before the first replacement, at its most, and after the last flow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Course {
    pub(crate) before: u64,
    pub(crate) most: u64,
    pub(crate) left: u64,
}

impl Outcome {
    /// Flows broken before their own end that could have come to it.
    pub(crate) fn broken(&self) -> u64 {
        self.short.broken + self.fitting.broken + self.outliving.broken
    }

    /// Connections that got no answer.
    pub(crate) fn refused(&self) -> u64 {
        self.short.refused + self.fitting.refused + self.outliving.refused
    }
}

/// What there is to count.
#[derive(Debug)]
pub(super) struct Seen<'a> {
    pub(super) flows: &'a [Flow],
    pub(super) records: &'a [Record],
    pub(super) epoch: Instant,
    pub(super) first: Look,
    pub(super) before: Look,
    pub(super) most: Look,
    pub(super) left: Look,
    pub(super) wall: Duration,
}

/// Counts.
pub(super) fn count(proxy: Proxy, plan: Plan, seen: &Seen<'_>, mut faults: Vec<String>) -> Outcome {
    let (old_stops_ms, new_starts_ms, unused) = effects(seen.records);
    let wrong: u64 = seen.records.iter().map(|record| record.wrong).sum();
    if wrong > 0 {
        faults.push(format!("{wrong} requests reached an endpoint as others than were sent"));
    }
    let wrong = seen.flows.iter().filter_map(|flow| match &flow.end {
        End::Wrong(what) => Some(what.clone()),
        _ => None,
    });
    faults.extend(wrong.take(WORDS));
    Outcome {
        proxy,
        plan,
        short: ends(seen, Class::Short),
        fitting: ends(seen, Class::Fitting),
        outliving: ends(seen, Class::Outliving),
        misplaced: misplaced(seen.records),
        old_stops_ms,
        new_starts_ms,
        unused,
        processes: course(seen, |look| look.count as u64),
        memory_kib: course(seen, |look| look.memory),
        cpu_seconds: seen.left.cpu.saturating_sub(seen.first.cpu).as_secs_f64(),
        wall_seconds: seen.wall.as_secs_f64(),
        words: words(seen),
        faults,
    }
}

fn course(seen: &Seen<'_>, of: impl Fn(&Look) -> u64) -> Course {
    let (before, left) = (of(&seen.before), of(&seen.left));
    Course { before, most: of(&seen.most).max(before).max(left), left }
}

/// Whether the endpoint's end has ended a flow, which is nobody's fault if the flow would have outlived it.
fn is_cut(flow: &Flow, records: &[Record]) -> bool {
    let record = flow.endpoint.and_then(|number| records.get(number as usize));
    let ended = record.and_then(|record| record.ended);
    flow.class == Class::Outliving && ended.is_some_and(|ended| ended <= flow.ended)
}

fn ends(seen: &Seen<'_>, class: Class) -> Ends {
    let mut ends = Ends::default();
    for flow in seen.flows.iter().filter(|flow| flow.class == class) {
        ends.opened += u64::from(flow.endpoint.is_some());
        match &flow.end {
            End::Own => ends.own += 1,
            End::Refused(_) => ends.refused += 1,
            End::Broken(_) if is_cut(flow, seen.records) => ends.cut += 1,
            End::Broken(_) | End::Wrong(_) => ends.broken += 1,
        }
    }
    ends
}

fn words(seen: &Seen<'_>) -> Vec<String> {
    let told = seen.flows.iter().filter_map(|flow| {
        let (how, why) = match &flow.end {
            End::Refused(why) => ("refused", why),
            End::Broken(why) if !is_cut(flow, seen.records) => ("broken", why),
            _ => return None,
        };
        let at = flow.ended.saturating_duration_since(seen.epoch).as_secs_f64();
        let class = match flow.class {
            Class::Short => "short",
            Class::Fitting => "fitting",
            Class::Outliving => "outliving",
        };
        let endpoint = flow.endpoint.map(|number| format!(" at {}", life(number, flow, seen)));
        Some(format!("{at:.3} s: {class} flow{} {how}: {why}", endpoint.unwrap_or_default()))
    });
    told.take(WORDS).collect()
}

/// Where in its life an endpoint was when a flow ended.
fn life(number: u32, flow: &Flow, seen: &Seen<'_>) -> String {
    let record = seen.records.get(number as usize);
    let since = |moment: fn(&Record) -> Option<Instant>| {
        let moment = record.and_then(moment).filter(|moment| *moment <= flow.ended)?;
        Some(flow.ended.duration_since(moment).as_secs_f64() * 1e3)
    };
    match (since(|record| record.ended), since(|record| record.terminating)) {
        (Some(ago), _) => format!("endpoint {number}, {ago:.1} ms after its end"),
        (None, Some(ago)) => format!("endpoint {number}, terminating for {ago:.1} ms"),
        (None, None) => format!("endpoint {number}, which was ready"),
    }
}

fn misplaced(records: &[Record]) -> Misplaced {
    let mut after = Vec::new();
    let mut early = 0;
    for record in records {
        if let Some(change) = record.terminating {
            let late = record.begun.iter().filter_map(|begun| begun.checked_duration_since(change));
            after.extend(late.filter(|after| !after.is_zero()).map(milliseconds));
        }
        if let Some(readying) = record.readying {
            early += record.accepted.iter().filter(|accepted| **accepted < readying).count() as u64;
        }
    }
    Misplaced { late: after.len() as u64, after_ms: Spread::of(after), early }
}

/// When old endpoints stopped and new ones started to get connections, and how many new ones never did.
fn effects(records: &[Record]) -> (Spread, Spread, usize) {
    let (mut stops, mut starts, mut unused) = (Vec::new(), Vec::new(), 0);
    for record in records {
        if let Some(change) = record.terminating {
            let last = record.accepted.iter().max();
            stops.push(last.map_or(0.0, |last| milliseconds(last.saturating_duration_since(change))));
        }
        if let (Some(readying), Some(change)) = (record.readying, record.ready) {
            match record.accepted.iter().filter(|accepted| **accepted >= readying).min() {
                Some(first) => starts.push(milliseconds(first.saturating_duration_since(change))),
                None => unused += 1,
            }
        }
    }
    (Spread::of(stops), Spread::of(starts), unused)
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

impl Spread {
    fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let rank = |share: f64| {
            let rank = (share * values.len() as f64).ceil() as usize;
            values.get(rank.saturating_sub(1)).copied().unwrap_or_default()
        };
        Self { p50: rank(0.5), p99: rank(0.99), max: rank(1.0) }
    }
}

#[cfg(test)]
mod tests;
