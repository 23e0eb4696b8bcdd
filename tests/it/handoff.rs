//! Live handoff: a successor takes over listeners and live flows, and clients and endpoints do not notice.

mod deaths;
mod facts;
mod failures;
mod flows;
mod limits;
mod load;
mod node;
mod offspring;
mod pods;
mod probes;
mod records;
mod removed;
mod rivals;
mod stalls;
mod turns;
mod upgrade;
mod users;
mod waiters;

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
};

use serde_json::json;
use tidegate_tests::support::{Endpoint, Process, Proxy, Setup, eventually, until};

/// Points of the successor at which nothing is its own.
static BEFORE: [&str; 5] = ["greeted", "ready", "listeners", "accepting", "offered"];
/// Points of the predecessor, in their order.
static OF_PREDECESSOR: [&str; 16] = [
    "hello-heard",
    "welcomed",
    "ready-heard",
    "gave-listeners",
    "accepting-heard",
    "gave-up",
    "offer-said",
    "held-heard",
    "commit-said",
    "dropped",
    "started-heard",
    "paused",
    "doors-said",
    "doors-held",
    "doors-committed",
    "finished-heard",
];

/// The points of the predecessor before this one, and those from it on.
fn split_at(point: &str) -> (&'static [&'static str], &'static [&'static str]) {
    let at = OF_PREDECESSOR.iter().position(|it| *it == point).expect("it is a point of the predecessor");
    OF_PREDECESSOR.split_at(at)
}

/// A setup whose proxies hand over.
fn setup() -> Setup {
    crate::setup().config(|config| config.set("handoff", json!({"socket": "../handoff.sock"})))
}

/// Starts a program in a namespace of processes of its own, as a container has it; none where that cannot be made.
pub(crate) fn own_processes() -> Option<&'static [&'static str]> {
    const LAUNCHER: &[&str] = &["unshare", "--user", "--map-current-user", "--pid", "--fork", "--kill-child"];
    let works = Command::new(LAUNCHER[0]).args(&LAUNCHER[1..]).arg("true").status();
    if works.is_ok_and(|status| status.success()) {
        return Some(LAUNCHER);
    }
    tidegate_tests::support::skipped("a namespace of processes cannot be made here");
    None
}

/// The predecessor goes on as if nobody had come, and has counted so many failures.
#[track_caller]
fn expect_as_before(proxy: &Proxy, endpoint: &Endpoint, failures: u64) {
    proxy.wait_for_log("this process goes on");
    until("it is counted", || {
        proxy.metrics().sum("tidegate_handoffs_total", &[("result", "failed")]) >= failures
    });
    proxy.expect_all_on(endpoint);
    assert_eq!(proxy.get("/readyz").status, 200);
    assert!(proxy.is_running());
}

/// A second process on the same configuration.
pub(crate) struct Successor {
    child: Child,
    log: PathBuf,
}

impl Successor {
    /// Starts it; `environment` is set for it alone.
    pub(crate) fn start(proxy: &Proxy, environment: &[(&str, &str)]) -> Self {
        Self::start_with(&proxy.config_file(), proxy.directory(), environment)
    }

    fn start_with(config: &Path, directory: &Path, environment: &[(&str, &str)]) -> Self {
        Self::start_under(&[], config, directory, environment)
    }

    /// Starts it by another program.
    fn start_under(launcher: &[&str], config: &Path, directory: &Path, environment: &[(&str, &str)]) -> Self {
        let log = (1..).map(|number| directory.join(format!("log-{number}"))).find(|log| !log.exists());
        let log = log.expect("there are more numbers than logs");
        let words = launcher.iter().copied().chain([env!("CARGO_BIN_EXE_tidegate"), "run", "--config"]);
        let mut command = Command::new("env");
        command.args(words).arg(config).envs(environment.iter().copied());
        command.env_remove("TIDEGATE_LOG").env_remove("TIDEGATE_LOG_FORMAT");
        let output = File::create(&log).unwrap();
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(output).spawn().unwrap();
        Self { child, log }
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until it has taken over.
    #[track_caller]
    pub(crate) fn wait_until_it_has_taken_over(&mut self) {
        eventually("the successor has taken over", || {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("the successor ended: {status}");
            }
            self.log().contains("taken over").then_some(())
        });
    }

    /// Starts it, to fail at this point.
    fn failing(proxy: &Proxy, fault: &str) -> Self {
        Self::start(proxy, &[("TIDEGATE_HANDOFF_FAULT", fault)])
    }

    fn process(&self) -> Process {
        Process::new(self.child.id())
    }

    #[track_caller]
    pub(crate) fn wait_for_end(&mut self) -> ExitStatus {
        eventually("the successor has ended", || self.child.try_wait().unwrap())
    }
}

impl Drop for Successor {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the successor's log\n{}---", self.log());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
