//! What the demo shows while it runs: a bar per endpoint on a terminal, plain lines elsewhere.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    io::IsTerminal as _,
    time::{Duration, Instant},
};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use tidegate_core::table::ServiceView;

use super::{
    clients::Tally,
    endpoints::{Conditions, Endpoint},
    rollout::find,
};
use crate::cli::Output;

/// How often a line is written where there is no terminal.
const LINE: Duration = Duration::from_secs(1);

/// The demo's view.
pub(super) struct View {
    screen: Option<Screen>,
    /// With JSON on standard output, everything else goes to standard error.
    aside: bool,
    last_line: RefCell<Option<Instant>>,
}

struct Screen {
    all: MultiProgress,
    summary: ProgressBar,
    bars: RefCell<BTreeMap<u8, ProgressBar>>,
}

impl View {
    pub(super) fn new(output: Output) -> Self {
        let aside = output == Output::Json;
        let terminal = if aside { std::io::stderr().is_terminal() } else { std::io::stdout().is_terminal() };
        let screen = terminal.then(|| {
            let target = if aside { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::stdout() };
            let all = MultiProgress::with_draw_target(target);
            let summary = all.add(ProgressBar::new(0));
            summary.set_style(style("{msg}"));
            Screen { all, summary, bars: RefCell::default() }
        });
        Self { screen, aside, last_line: RefCell::new(None) }
    }

    /// Says that something happened.
    pub(super) fn say(&self, line: &str) {
        match &self.screen {
            // A terminal that went away takes the view with it; the demo goes on to its verdict.
            Some(screen) => drop(screen.all.println(line)),
            None => self.print(line),
        }
    }

    /// Shows the flows per endpoint.
    pub(super) fn draw(
        &self,
        elapsed: Duration,
        service: &ServiceView,
        endpoints: &[Endpoint],
        tally: &Tally,
    ) {
        let summary = format!(
            "{:>4.1} s  opened {}  closed by their own ends {}  broken {}  refused {}",
            elapsed.as_secs_f64(),
            Tally::get(&tally.opened),
            Tally::get(&tally.closed_by_own_end),
            Tally::get(&tally.broken),
            Tally::get(&tally.refused),
        );
        match &self.screen {
            Some(screen) => screen.draw(&summary, service, endpoints),
            None => {
                let mut last = self.last_line.borrow_mut();
                if last.is_none_or(|last| last.elapsed() >= LINE) {
                    *last = Some(Instant::now());
                    let flows: Vec<_> =
                        endpoints.iter().map(|endpoint| describe(service, endpoint)).collect();
                    self.print(&format!("{summary}  |  {}", flows.join("  ")));
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

    fn print(&self, line: &str) {
        if self.aside {
            eprintln!("{line}");
        } else {
            println!("{line}");
        }
    }
}

impl Screen {
    fn draw(&self, summary: &str, service: &ServiceView, endpoints: &[Endpoint]) {
        let mut bars = self.bars.borrow_mut();
        bars.retain(|number, bar| {
            let stays = endpoints.iter().any(|endpoint| endpoint.number == *number);
            if !stays {
                bar.finish_and_clear();
                self.all.remove(bar);
            }
            stays
        });
        let total: u64 = endpoints.iter().map(|endpoint| flows(service, endpoint)).sum();
        for endpoint in endpoints {
            let bar = bars
                .entry(endpoint.number)
                .or_insert_with(|| self.all.insert_before(&self.summary, ProgressBar::new(1)));
            let color = match endpoint.conditions {
                Conditions::NotReady => "white",
                Conditions::Ready => "green",
                Conditions::Terminating => "yellow",
            };
            bar.set_style(style(&format!("{{prefix:<13}} {{bar:40.{color}}} {{pos:>4}} flows  {{msg}}")));
            bar.set_prefix(endpoint.pod.clone());
            bar.set_message(endpoint.conditions.words());
            bar.set_length(total.max(1));
            bar.set_position(flows(service, endpoint));
        }
        self.summary.set_message(summary.to_owned());
    }
}

fn flows(service: &ServiceView, endpoint: &Endpoint) -> u64 {
    find(service, endpoint.address).map_or(0, |view| view.endpoint.admission().flows())
}

fn describe(service: &ServiceView, endpoint: &Endpoint) -> String {
    format!("{}: {} ({})", endpoint.pod, flows(service, endpoint), endpoint.conditions.words())
}

/// The templates are constants of this file, and a test draws each.
fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
