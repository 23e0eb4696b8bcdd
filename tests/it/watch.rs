//! `tidegate watch`: lines where there is no terminal, the stream with `-o json`.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, ChildStdout, Command, Stdio},
};

use tidegate_tests::support::{Endpoint, Proxy, Slice, api, eventually};

use crate::setup;

/// A watcher, ended when it is dropped.
pub(crate) struct Watcher {
    child: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
}

impl Watcher {
    pub(crate) fn start(proxy: &Proxy, arguments: &[&str]) -> Self {
        let socket = proxy.directory().join("admin.sock");
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
        command.arg("watch").args(arguments).env("TIDEGATE_ADMIN", format!("unix:{}", socket.display()));
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
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
    assert!(line.contains(&endpoints[0].address().to_string()) && line.contains("web-a"), "{line}");
    flows.pop();
    watcher.line("2 of 3 flows left");
    drop(flows);
    let line = watcher.line("drained after");
    assert!(line.contains("3 flows, 3 ended by clients"), "{line}");
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
}
