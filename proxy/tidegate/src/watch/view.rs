//! What a watcher sees: a bar for each drain on a terminal (`screen`), lines elsewhere.

mod screen;

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write as _,
    time::{Duration, Instant},
};

use tidegate_admin::{All, InstanceAnswer, api};

use self::screen::Screen;
use crate::{
    cli::Output,
    instances,
    tables::{
        self,
        progress::{counts, more},
    },
};

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
    written: BTreeMap<Key, Written>,
    /// Drains that are over and were told, each with its beginning.
    told: BTreeSet<(Key, String)>,
    /// Instances that cannot be asked, and why.
    silent: BTreeMap<String, String>,
    had_some: Option<bool>,
}

/// A drain: on which instance, and its endpoint's number there.
type Key = (String, u64);

/// What was written of a drain: why it is on, what was left, and when that was.
struct Written {
    why: String,
    counts: String,
    at: Instant,
}

/// A drain that is on, where it is, and when it was seen so.
struct Seen<'a> {
    instance: &'a str,
    at: &'a str,
    drain: &'a api::DrainProgress,
}

impl View {
    pub(super) fn new(output: Output, tells_of_none: bool) -> Self {
        let aside = output == Output::Json;
        let screen = Screen::open(aside);
        Self {
            screen,
            aside,
            tells_of_none,
            written: BTreeMap::new(),
            told: BTreeSet::new(),
            silent: BTreeMap::new(),
            had_some: None,
        }
    }

    /// Shows a sample of each instance.
    pub(super) fn draw(&mut self, all: &All<api::Drains>) {
        self.tell_of_ends(all);
        self.tell_of_silence(all);
        let seen: Vec<Seen<'_>> = all.instances.iter().flat_map(seen).collect();
        let at =
            all.instances.iter().find_map(|it| Some(it.answer.as_ref()?.at.as_str())).unwrap_or_default();
        match &mut self.screen {
            Some(screen) => screen.draw(&seen, at, &self.silent),
            None => self.write(&seen),
        }
        if self.tells_of_none && self.screen.is_none() && seen.is_empty() && self.had_some != Some(false) {
            self.say(&format!("{}  no drain is on", clock(at)));
        }
        self.had_some = Some(!seen.is_empty());
    }

    fn tell_of_ends(&mut self, all: &All<api::Drains>) {
        let mut told = BTreeSet::new();
        for it in &all.instances {
            for record in it.answer.iter().flat_map(|drains| &drains.over) {
                let key = ((it.instance.clone(), record.id), record.began.clone());
                if !self.told.contains(&key) {
                    self.say(&over(&it.instance, record));
                }
                told.insert(key);
            }
        }
        // A record is told for some seconds; after that it does not come again.
        self.told = told;
    }

    fn tell_of_silence(&mut self, all: &All<api::Drains>) {
        let silent = all.instances.iter().filter(|it| it.answer.is_none());
        let silent: BTreeMap<_, _> =
            silent.map(|it| (it.instance.clone(), instances::error_of(it).to_owned())).collect();
        for (instance, why) in &silent {
            if !self.silent.contains_key(instance) {
                self.say(&format!("{instance} cannot be asked: {why}"));
            }
        }
        for instance in self.silent.keys().filter(|instance| !silent.contains_key(*instance)) {
            self.say(&format!("{instance} answers again"));
        }
        self.silent = silent;
    }

    fn write(&mut self, seen: &[Seen<'_>]) {
        let mut lines = Vec::new();
        for it in seen {
            let (why, counts) = (it.drain.why.clone(), counts(it.drain));
            let before = self.written.get(&it.key());
            let is_news = before.is_none_or(|before| before.why != why);
            if before.is_none_or(|before| is_news || before.counts != counts || before.at.elapsed() >= LINE) {
                let because = if is_news { format!("; {why}") } else { String::new() };
                lines.push(format!("{}  {}: {counts}{}{because}", clock(it.at), name(it), more(it.drain)));
                self.written.insert(it.key(), Written { why, counts, at: Instant::now() });
            }
        }
        self.written.retain(|key, _| seen.iter().any(|it| it.key() == *key));
        lines.iter().for_each(|line| self.say(line));
    }

    /// Says that something happened.
    fn say(&self, line: &str) {
        match &self.screen {
            Some(screen) => screen.say(line),
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
            screen.clear();
        }
    }
}

impl Seen<'_> {
    fn key(&self) -> Key {
        (self.instance.to_owned(), self.drain.id)
    }
}

/// The drains that are on there.
fn seen(it: &InstanceAnswer<api::Drains>) -> impl Iterator<Item = Seen<'_>> {
    it.answer.iter().flat_map(move |drains| {
        drains.drains.iter().map(move |drain| Seen { instance: &it.instance, at: &drains.at, drain })
    })
}

fn name(it: &Seen<'_>) -> String {
    let (of, drain) = (instances::prefix(it.instance), it.drain);
    match &drain.pod {
        Some(pod) => format!("{of}{} {} ({pod})", drain.service, drain.endpoint),
        None => format!("{of}{} {}", drain.service, drain.endpoint),
    }
}

fn over(instance: &str, record: &api::AuditRecord) -> String {
    let end = if record.undone { "undone" } else { "drained" };
    let mut words = format!(
        "{}  {}{} {} {end} after {}: {} flows",
        clock(record.ended.as_deref().unwrap_or_default()),
        instances::prefix(instance),
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

#[cfg(test)]
mod tests;
