//! What a watcher sees: a bar for each drain on a terminal, lines elsewhere.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{IsTerminal as _, Write as _},
    time::{Duration, Instant},
};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use tidegate_admin::api;

use crate::{cli::Output, tables};

/// How often a line is written of a drain in which nothing changes.
const LINE: Duration = Duration::from_secs(10);

/// A watcher's view.
pub(super) struct View {
    screen: Option<Screen>,
    /// With JSON on standard output, everything else goes to standard error.
    aside: bool,
    /// It is said that no drain is on, which may be so for long.
    tells_of_none: bool,
    /// What was written last of each drain, and when.
    written: BTreeMap<u64, (String, Instant)>,
    /// Drains that are over and were told: by number and beginning.
    told: BTreeSet<(u64, String)>,
    had_some: Option<bool>,
}

struct Screen {
    all: MultiProgress,
    summary: ProgressBar,
    bars: BTreeMap<u64, ProgressBar>,
}

impl View {
    pub(super) fn new(output: Output, tells_of_none: bool) -> Self {
        let aside = output == Output::Json;
        let is_terminal =
            if aside { std::io::stderr().is_terminal() } else { std::io::stdout().is_terminal() };
        let screen = is_terminal.then(|| {
            let target = if aside { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::stdout() };
            let all = MultiProgress::with_draw_target(target);
            let summary = all.add(ProgressBar::new(0));
            summary.set_style(style("{msg}"));
            Screen { all, summary, bars: BTreeMap::new() }
        });
        Self { screen, aside, tells_of_none, written: BTreeMap::new(), told: BTreeSet::new(), had_some: None }
    }

    /// Shows a sample.
    pub(super) fn draw(&mut self, drains: &api::Drains) {
        for record in &drains.over {
            if self.told.insert((record.id, record.began.clone())) {
                self.say(&over(record));
            }
        }
        self.told.retain(|(id, began)| {
            // A record is told for some seconds; after that it does not come again.
            drains.over.iter().any(|record| record.id == *id && record.began == *began)
        });
        match &mut self.screen {
            Some(screen) => screen.draw(drains),
            None => self.write(drains),
        }
        let has_some = !drains.drains.is_empty();
        if self.tells_of_none && self.screen.is_none() && !has_some && self.had_some != Some(false) {
            self.say(&format!("{}  no drain is on", clock(&drains.at)));
        }
        self.had_some = Some(has_some);
    }

    fn write(&mut self, drains: &api::Drains) {
        let mut lines = Vec::new();
        for drain in &drains.drains {
            let state = counts(drain);
            let is_due = self
                .written
                .get(&drain.id)
                .is_none_or(|(written, at)| *written != state || at.elapsed() >= LINE);
            if is_due {
                lines.push(format!("{}  {}: {}{}", clock(&drains.at), name(drain), state, more(drain)));
                self.written.insert(drain.id, (state, Instant::now()));
            }
        }
        self.written.retain(|id, _| drains.drains.iter().any(|drain| drain.id == *id));
        lines.iter().for_each(|line| self.say(line));
    }

    /// Says that something happened.
    fn say(&self, line: &str) {
        match &self.screen {
            // A terminal that went away takes the view with it.
            Some(screen) => drop(screen.all.println(line)),
            None if self.aside => eprintln!("{line}"),
            None => {
                let mut out = std::io::stdout().lock();
                if writeln!(out, "{line}").and_then(|()| out.flush()).is_err() {
                    // Nobody reads it any more.
                    std::process::exit(0);
                }
            }
        }
    }

    /// Takes the bars off the screen.
    pub(super) fn finish(&self) {
        if let Some(screen) = &self.screen {
            let _ = screen.all.clear();
        }
    }
}

impl Screen {
    fn draw(&mut self, drains: &api::Drains) {
        self.bars.retain(|id, bar| {
            let stays = drains.drains.iter().any(|drain| drain.id == *id);
            if !stays {
                bar.finish_and_clear();
                self.all.remove(bar);
            }
            stays
        });
        for drain in &drains.drains {
            let bar = self
                .bars
                .entry(drain.id)
                .or_insert_with(|| self.all.insert_before(&self.summary, ProgressBar::new(1)));
            let color =
                if drain.cut + drain.broken > 0 || drain.will_be_cut > Some(0) { "yellow" } else { "green" };
            bar.set_style(style(&format!("{{prefix}}\n  {{bar:40.{color}}} {{msg}}")));
            bar.set_prefix(format!("{}  {}", name(drain), drain.why));
            bar.set_message(format!("{}{}", counts(drain), more(drain)));
            // Flows that came as a last resort may be more than those that there were.
            bar.set_length(drain.flows_at_start.max(drain.flows_left).max(1));
            bar.set_position(drain.flows_at_start.saturating_sub(drain.flows_left));
        }
        let left: u64 = drains.drains.iter().map(|drain| drain.flows_left).sum();
        self.summary.set_message(match drains.drains.len() {
            0 => format!("{}  no drain is on", clock(&drains.at)),
            1 => format!("{}  1 drain, {left} flows left", clock(&drains.at)),
            count => format!("{}  {count} drains, {left} flows left", clock(&drains.at)),
        });
    }
}

fn name(drain: &api::DrainProgress) -> String {
    match &drain.pod {
        Some(pod) => format!("{} {} ({pod})", drain.service, drain.endpoint),
        None => format!("{} {}", drain.service, drain.endpoint),
    }
}

/// What changes only when something happens.
fn counts(drain: &api::DrainProgress) -> String {
    let mut words = format!("{} of {} flows left", drain.flows_left, drain.flows_at_start);
    for (count, word) in [(drain.shed, "shed"), (drain.cut, "cut"), (drain.broken, "broken")] {
        if count > 0 {
            words += &format!(", {count} {word}");
        }
    }
    words
}

/// What changes with time.
fn more(drain: &api::DrainProgress) -> String {
    let mut words = String::new();
    if let Some(rate) = drain.bytes_per_second {
        words += &format!(", {}", per_second(rate));
    }
    if let Some(age) = drain.oldest_flow_seconds {
        words += &format!(", oldest {}", tables::seconds(age));
    }
    if let Some(left) = drain.deadline_seconds {
        words += &match left >= 0.0 {
            true => format!(", deadline in {}", tables::seconds(left)),
            false => format!(", deadline over for {}", tables::seconds(-left)),
        };
    }
    let outlook = tables::outlook(drain);
    if !outlook.is_empty() {
        words += &format!(", {outlook}");
    }
    words
}

fn over(record: &api::AuditRecord) -> String {
    let end = if record.undone { "undone" } else { "drained" };
    let mut words = format!(
        "{}  {} {} {end} after {}: {} flows",
        clock(record.ended.as_deref().unwrap_or_default()),
        record.service,
        record.endpoint,
        tables::seconds(record.took_ms as f64 / 1_000.0),
        record.flows_at_start
    );
    for (count, by) in [
        (record.ended_by_client, "ended by clients"),
        (record.ended_by_endpoint, "by the endpoint"),
        (record.shed, "shed"),
        (record.cut, "cut"),
        (record.broken, "broken"),
        (record.ordered + record.elsewhere, "otherwise"),
        (record.flows_left, "left"),
    ] {
        if count > 0 {
            words += &format!(", {count} {by}");
        }
    }
    words
}

/// The time of day of an RFC 3339 text.
fn clock(at: &str) -> &str {
    at.get(11..19).unwrap_or(at)
}

fn per_second(bytes: u64) -> String {
    match bytes as f64 {
        b if b < 1e3 => format!("{bytes} B/s"),
        b if b < 1e6 => format!("{:.1} kB/s", b / 1e3),
        b if b < 1e9 => format!("{:.1} MB/s", b / 1e6),
        b => format!("{:.1} GB/s", b / 1e9),
    }
}

/// The templates are constants of this file.
fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

#[cfg(test)]
mod tests;
