//! `tidegate watch`: bars on a terminal, lines elsewhere, the stream with `-o json`.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

use tidegate_tests::support::{Connection, Endpoint, Proxy, Slice, Terminal, api, eventually};

use crate::setup;

/// A watcher, ended when it is dropped.
pub(crate) struct Watcher {
    child: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
}

impl Watcher {
    pub(crate) fn start(proxy: &Proxy, arguments: &[&str]) -> Self {
        let mut child = watch(proxy, arguments).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// The next line with these words in it.
    pub(crate) fn line(&mut self, words: &str) -> String {
        eventually(words, || {
            let line = self.lines.next().expect("it goes on").unwrap();
            line.contains(words).then_some(line)
        })
    }
}

fn watch(proxy: &Proxy, arguments: &[&str]) -> Command {
    let socket = proxy.directory().join("admin.sock");
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command.arg("watch").args(arguments).env("TIDEGATE_ADMIN", format!("unix:{}", socket.display()));
    command
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_watcher_sees_a_drain_begin_go_on_and_end() {
    let endpoints = Endpoint::greeting_group(2);
    let port = endpoints[0].address().port();
    let leaving = || endpoints[0].in_slice().pod("web-a", "a");
    let slice = Slice::named("web-1").with_port(port).with(leaving().ready());
    let proxy = setup().slice(&slice).start();
    let mut flows: Vec<_> = (0..3).map(|_| proxy.connect_greeted().0).collect();
    let mut watcher = Watcher::start(&proxy, &["default/web"]);
    watcher.line("no drain is on");
    let slice = Slice::named("web-1")
        .with_port(port)
        .with(leaving().terminating())
        .with(endpoints[1].in_slice().ready());
    proxy.write_slice(&slice);
    let line = watcher.line("3 of 3 flows left");
    for words in [&*endpoints[0].address().to_string(), "web-a", "drains for", "/web-1 says terminating"] {
        assert!(line.contains(words), "{words}: {line}");
    }
    flows.pop();
    let began = Instant::now();
    let line = watcher.line("2 of 3 flows left");
    assert!(!line.contains("says terminating"), "why it drains is told once: {line}");
    assert!(began.elapsed() < Duration::from_secs(6), "a change is told at once: {:?}", began.elapsed());
    drop(flows);
    let line = watcher.line("drained after");
    assert!(line.contains("3 flows, 3 ended by clients"), "{line}");
    // That is told once. What comes next is told after another sample, at least.
    let _flow = proxy.connect_greeted();
    assert!(proxy.command(&["drain", "default/web", &endpoints[1].address().to_string()]).status.success());
    let next = watcher.lines.by_ref().map(Result::unwrap).find(|line| !line.contains("no drain is on"));
    assert!(next.as_ref().is_some_and(|line| line.contains("1 of 1 flows left")), "{next:?}");
}

#[test]
fn a_program_gets_the_stream() {
    let endpoint = Endpoint::greeting();
    let proxy = setup().ready([&endpoint]).start();
    let _flow = proxy.connect_greeted();
    proxy.command(&["drain", "default/web", &endpoint.address().to_string()]);
    let mut watcher = Watcher::start(&proxy, &["-o", "json"]);
    for _ in 0..2 {
        let line = watcher.line("{");
        let drains: api::Drains = serde_json::from_str(&line).unwrap();
        assert_eq!(drains.drains[0].flows_left, 1);
        assert_eq!(drains.drains[0].causes[0].kind, "operator");
    }
    let mut watcher = Watcher::start(&proxy, &["default/other", "-o", "json"]);
    let drains: api::Drains = serde_json::from_str(&watcher.line("{")).unwrap();
    assert!(drains.drains.is_empty(), "of another service: {drains:?}");
}

/// A proxy whose endpoint drains, its flows, and a watcher in a terminal.
fn watched(columns: u16, variables: &[(&str, &str)]) -> (Endpoint, Proxy, Vec<Connection>, Terminal) {
    let endpoint = Endpoint::greeting();
    let proxy = setup().ready([&endpoint]).start();
    let flows = (0..3).map(|_| proxy.connect_greeted().0).collect();
    proxy.command(&["drain", "default/web", &endpoint.address().to_string(), "--deadline", "10m"]);
    let mut command = watch(&proxy, &[]);
    command.env_remove("NO_COLOR").env("TERM", "xterm").envs(variables.iter().copied());
    (endpoint, proxy, flows, Terminal::run(&mut command, columns))
}

/// How often words stand there, wherever lines were broken.
fn count(lines: &[String], words: &str) -> usize {
    let close = |text: &str| text.replace(' ', "");
    close(&lines.concat()).matches(&close(words)).count()
}

/// On a terminal of any width there is one bar for a drain, drawn anew in its place, and nothing of it is left behind.
#[test]
fn a_bar_fits_its_terminal() {
    for columns in [120, 80, 40] {
        let (endpoint, proxy, mut flows, mut terminal) = watched(columns, &[]);
        terminal.until("three flows", |lines| count(lines, "3 of 3 flows left") == 1);
        flows.pop();
        let lines = terminal.until("two flows", |lines| {
            count(lines, "2 of 3 flows left") == 1 && count(lines, "1 drain, 2 flows left") == 1
        });
        assert!(terminal.has_colours());
        for words in [&*endpoint.address().to_string(), "1 drain, 2 flows left", "deadline in 10m", "█"] {
            assert!(count(&lines, words) >= 1, "{words} at {columns}: {lines:#?}");
        }
        for words in ["of 3 flows left", "default/web", "1 drain,"] {
            assert_eq!(count(&lines, words), 1, "{words} at {columns}: {lines:#?}");
        }
        drop(flows);
        let lines = terminal.until("its end is told", |lines| count(lines, "no drain is on") == 1);
        assert_eq!(count(&lines, "drained after"), 1, "{lines:#?}");
        assert_eq!((count(&lines, "flows left"), count(&lines, "█")), (0, 0), "the bar has gone: {lines:#?}");
        terminal.interrupt();
        assert!(terminal.is_as_it_was(), "{:#?}", terminal.lines());
        drop(proxy);
    }
}

/// The view as it was drawn last, and its time.
fn last_view(lines: &[String]) -> (&[String], Option<&str>) {
    let begin = lines.iter().rposition(|line| line.contains("default/")).unwrap_or(0);
    let summary = lines.last().filter(|line| line.contains("1 drain,"));
    (&lines[begin..], summary.and_then(|line| line.split("  ").next()))
}

/// A terminal that changes its width gets lines that fit. A view that is on its way at that moment may be broken and left
/// behind; no other is.
#[test]
fn a_bar_follows_the_width_of_its_terminal() {
    let (_endpoint, _proxy, mut flows, terminal) = watched(100, &[]);
    let is_whole = |lines: &[String], left: usize| {
        count(lines, &format!("{left} of 3 flows left")) == 1
            && count(lines, "1 drain,") == 1
            && count(lines, "to be cut") + count(lines, "% idle") >= 1
    };
    let next = |before: &[String], left: usize| {
        terminal.until("it is drawn again", |lines| {
            let (view, time) = last_view(lines);
            time.is_some() && time != last_view(before).1 && is_whole(view, left)
        })
    };
    let mut lines = next(&[], 3);
    for columns in [150, 60, 40, 120] {
        terminal.resize(columns);
        if flows.len() > 1 {
            flows.pop();
        }
        let on_its_way = next(&lines, flows.len());
        lines = next(&on_its_way, flows.len());
        let is_short = |line: &String| line.chars().count() < usize::from(columns);
        assert!(last_view(&lines).0.iter().all(is_short), "{columns}: {lines:#?}");
        let later = next(&lines, flows.len());
        assert_eq!(later.len(), lines.len(), "{columns}: {lines:#?} and {later:#?}");
        lines = later;
    }
}

/// Whoever wants no colours gets none, and a terminal that cannot draw lines anew gets lines.
#[test]
fn a_terminal_gets_what_it_can_show() {
    let (_endpoint, _proxy, _flows, terminal) = watched(80, &[("NO_COLOR", "1")]);
    terminal.until("it is drawn", |lines| count(lines, "3 of 3 flows left") == 1 && count(lines, "█") == 0);
    assert!(!terminal.has_colours());
    let (_endpoint, _proxy, mut flows, terminal) = watched(80, &[("TERM", "dumb")]);
    terminal.until("a line", |lines| count(lines, "3 of 3 flows left") == 1);
    flows.pop();
    let lines = terminal.until("another line", |lines| count(lines, "2 of 3 flows left") == 1);
    assert_eq!(count(&lines, "flows left,"), 2, "each stays: {lines:#?}");
}
