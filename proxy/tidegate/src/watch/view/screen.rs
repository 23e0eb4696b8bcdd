//! The view on a terminal: for each drain its name, a bar with its counts, and what else is known, in lines that fit.
//!
//! No line is longer than the terminal is wide: a longer one would be two, and would be left behind when the view is drawn
//! anew. Colours and the cursor are indicatif's business: there are none with NO_COLOR, and no view with TERM=dumb.

use std::{
    collections::BTreeMap,
    io::{IsTerminal as _, stderr, stdout},
    os::fd::AsFd as _,
};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{Key, Seen, clock, name};
use crate::tables::{
    progress::{counts, more},
    wrap,
};

/// The width of a terminal that does not tell.
const USUAL: usize = 80;
/// Nothing is drawn narrower than this.
const NARROWEST: usize = 20;
/// Before what belongs to a name.
const INDENT: &str = "  ";

pub(super) struct Screen {
    all: MultiProgress,
    summary: ProgressBar,
    bars: BTreeMap<Key, ProgressBar>,
    aside: bool,
}

impl Screen {
    /// The terminal; `None` where there is none on which lines can be drawn anew.
    pub(super) fn open(aside: bool) -> Option<Self> {
        let is_terminal = if aside { stderr().is_terminal() } else { stdout().is_terminal() };
        if !is_terminal {
            return None;
        }
        let target = if aside { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::stdout() };
        let all = MultiProgress::with_draw_target(target);
        if all.is_hidden() {
            return None;
        }
        let summary = all.add(ProgressBar::new(0));
        summary.set_style(style("{msg}"));
        Some(Self { all, summary, bars: BTreeMap::new(), aside })
    }

    /// Says that something happened, above the view.
    pub(super) fn say(&self, line: &str) {
        // A terminal that went away takes the view with it.
        let _ = self.all.println(wrap(line, self.width(), "").join("\n"));
    }

    pub(super) fn clear(&self) {
        let _ = self.all.clear();
    }

    /// One column is left free: a line that fills the last one is two on some terminals.
    fn width(&self) -> usize {
        let size = match self.aside {
            true => rustix::termios::tcgetwinsize(stderr().as_fd()),
            false => rustix::termios::tcgetwinsize(stdout().as_fd()),
        };
        let columns = size.map_or(0, |size| usize::from(size.ws_col));
        (if columns == 0 { USUAL } else { columns }).max(NARROWEST) - 1
    }

    pub(super) fn draw(&mut self, seen: &[Seen<'_>], at: &str, silent: &BTreeMap<String, String>) {
        self.bars.retain(|key, bar| {
            let stays = seen.iter().any(|it| it.key() == *key);
            if !stays {
                bar.finish_and_clear();
                self.all.remove(bar);
            }
            stays
        });
        let width = self.width();
        for it in seen {
            let drain = it.drain;
            let bar = self
                .bars
                .entry(it.key())
                .or_insert_with(|| self.all.insert_before(&self.summary, ProgressBar::new(1)));
            let color =
                if drain.cut + drain.broken > 0 || drain.will_be_cut > Some(0) { "yellow" } else { "green" };
            let Row { name, bar: columns, counts, more } = row(it, width);
            bar.set_style(style(&format!("{{prefix}}\n{INDENT}{{bar:{columns}.{color}}} {{msg}}")));
            bar.set_prefix(name);
            bar.set_message([counts].into_iter().chain(more).collect::<Vec<_>>().join("\n"));
            // Flows that came as a last resort may be more than those that there were.
            bar.set_length(drain.flows_at_start.max(drain.flows_left).max(1));
            bar.set_position(drain.flows_at_start.saturating_sub(drain.flows_left));
        }
        self.summary.set_message(wrap(&summary(seen, at, silent), width, INDENT).join("\n"));
        // What was set one by one is drawn only so often in a second, and the last of it would be left out.
        self.summary.force_draw();
    }
}

/// A drain's lines: a name, a bar so wide with its counts, and more.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    name: String,
    bar: usize,
    counts: String,
    more: Vec<String>,
}

/// A drain in lines that are no wider than this.
fn row(it: &Seen<'_>, width: usize) -> Row {
    let words = counts(it.drain);
    // Beside the counts, in what they leave; below the bar where that is too little.
    let rest = width.saturating_sub(INDENT.len() + 1 + words.chars().count());
    let (bar, counts, below) = match rest {
        8.. => (rest.min(40), words, None),
        _ => ((width - INDENT.len()).min(40), String::new(), Some(words)),
    };
    let more = more(it.drain);
    let lines = below.iter().map(String::as_str).chain([more.trim_start_matches(", ")]);
    let lines = lines.filter(|line| !line.is_empty()).flat_map(|line| {
        let lines = wrap(line, width - INDENT.len(), "");
        lines.into_iter().map(|line| format!("{INDENT}{line}"))
    });
    let name = wrap(&format!("{}  {}", name(it), it.drain.why), width, INDENT).join("\n");
    Row { name, bar, counts, more: lines.collect() }
}

fn summary(seen: &[Seen<'_>], at: &str, silent: &BTreeMap<String, String>) -> String {
    let left: u64 = seen.iter().map(|it| it.drain.flows_left).sum();
    let mut summary = match seen.len() {
        0 => format!("{}  no drain is on", clock(at)),
        1 => format!("{}  1 drain, {left} flows left", clock(at)),
        count => format!("{}  {count} drains, {left} flows left", clock(at)),
    };
    if !silent.is_empty() {
        let names: Vec<_> = silent.keys().map(String::as_str).collect();
        summary += &format!("; cannot be asked: {}", names.join(", "));
    }
    summary
}

/// The templates are made in this file.
fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

#[cfg(test)]
mod tests;
