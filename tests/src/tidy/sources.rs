//! What no source file does.

use std::path::Path;

use super::{expect_none, files, read, root, words};

/// The longest file of Rust.
const LINES: usize = 450;

/// Longer files, each with the reason why it is one thing.
const LONG: [(&str, &str); 0] = [];

/// Tests that let real or simulated time pass, each with the reason.
const SLEEPS: [(&str, &str); 5] = [
    ("tests/src/support/wait.rs", "the one place that waits between two looks, up to a deadline"),
    ("tests/src/apiserver/fault.rs", "latency and slow answers are faults that a test asks for"),
    ("tests/it/slow_reader.rs", "a reader that pauses, longer than a user timeout would allow"),
    ("tests/it/limits.rs", "what waiting costs can only be seen over a while"),
    ("proxy/admin/src/serve/tests.rs", "on tokio's paused clock: a slow client, and no time passes"),
];

/// Where the wall clock is read, each with what for. It may be set at any time, and then nobody's flow may pay for it.
const WALL_CLOCK: [(&str, &str); 7] = [
    ("proxy/control/src/clock.rs", "once, at the start, to show moments to people"),
    ("proxy/control/src/drains.rs", "how old kept deadlines have become while no process ran"),
    ("proxy/kubernetes/src/api.rs", "what this machine's clock says beside the API server's"),
    ("proxy/kubernetes/src/pods.rs", "when a pod is killed, in the API server's words"),
    ("proxy/kubernetes/src/source/slices.rs", "how long an event took to arrive, to be measured"),
    ("proxy/kubernetes/src/leader.rs", "what a Lease says, for others to read"),
    ("proxy/kubernetes/src/writer.rs", "what an Event says, for people to read"),
];

/// Nouns that say nothing, or that mean something else here (see the words in CONTRIBUTING.md).
const NOUNS: [&str; 8] = ["cluster", "session", "pool", "manager", "helper", "util", "handler", "info"];

/// Where one of them is a thing in the world: the tests against a real cluster of Kubernetes are the group `cluster`.
const ALLOWED: [(&str, &str); 4] = [
    ("tests/it/cluster.rs", "cluster"),
    ("tests/it/cluster/api.rs", "cluster"),
    ("tests/it/cluster/services.rs", "cluster"),
    ("tests/it/main.rs", "cluster"),
];

/// The sources of tests: the crate of tests, and every module named `tests`.
fn is_test(path: &Path) -> bool {
    path.starts_with("tests")
        || path.file_name().is_some_and(|name| name == "tests.rs")
        || path.components().any(|part| part.as_os_str() == "tests")
}

/// Lines of Rust, without this folder's own, which name what they look for.
fn lines() -> impl Iterator<Item = (String, usize, String)> {
    files(".rs").into_iter().filter(|path| !path.starts_with("tests/src/tidy")).flat_map(|path| {
        let text = read(&path);
        let name = path.display().to_string();
        let lines: Vec<_> =
            text.lines().enumerate().map(|(at, line)| (name.clone(), at + 1, line.to_owned())).collect();
        lines
    })
}

#[test]
fn no_file_is_long_without_a_reason() {
    let mut faults = Vec::new();
    for path in files(".rs") {
        let count = read(&path).lines().count();
        let name = path.display().to_string();
        let is_listed = LONG.iter().any(|(listed, _)| *listed == name);
        if count > LINES && !is_listed {
            faults.push(format!("{name} has {count} lines"));
        }
        if count <= LINES && is_listed {
            faults.push(format!("{name} is on the list of long files and has only {count} lines"));
        }
    }
    expect_none(
        &faults,
        "A long file usually holds two things: make each a module that its file's first lines can describe. Where it \
         really is one thing, add it to LONG in tests/src/tidy/sources.rs with the reason.",
    );
}

#[test]
fn nothing_is_left_for_later() {
    // A macro call, attributes and the words that people search for; split, so that this file has none of them.
    let marks = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("db", "g!("), concat!("#[ig", "nore")];
    let mut faults = Vec::new();
    for (name, at, line) in lines() {
        faults.extend(
            marks.iter().filter(|mark| line.contains(**mark)).map(|mark| format!("{name}:{at} has `{mark}`")),
        );
    }
    expect_none(
        &faults,
        "Do it, or open an issue and say in the code what is true without it. A test that cannot run is no test.",
    );
}

fn is_allowed(file: &str, noun: &str) -> bool {
    ALLOWED.contains(&(file, noun))
}

#[test]
fn modules_are_named_for_what_they_are() {
    let mut faults = Vec::new();
    for path in files(".rs") {
        let names = path.with_extension("");
        let parts = names.components().filter_map(|part| part.as_os_str().to_str());
        for part in parts {
            let is_noun =
                |word: &str| NOUNS.contains(&word) && !is_allowed(&path.display().to_string(), word);
            if part.split('_').any(|word| is_noun(word.trim_end_matches('s'))) {
                faults.push(format!("{} has `{part}` in its name", path.display()));
            }
        }
    }
    for (name, at, line) in lines() {
        let module = line.trim_start().trim_start_matches("pub ").trim_start_matches("pub(crate) ");
        if let Some(module) = module.strip_prefix("mod ") {
            let module = words(module, |c| c.is_ascii_alphanumeric() || c == '_').next().unwrap_or_default();
            if NOUNS.contains(&module.trim_end_matches('s')) && !is_allowed(&name, module) {
                faults.push(format!("{name}:{at} has the module `{module}`"));
            }
        }
    }
    expect_none(
        &faults,
        "These nouns say nothing about what a module decides, or mean something else in this project. Take one of \
         the words in CONTRIBUTING.md.",
    );
}

#[test]
fn no_test_waits_for_time_to_pass() {
    let mut faults = Vec::new();
    let mut used = Vec::new();
    for (name, at, line) in lines().filter(|(name, _, _)| is_test(Path::new(name))) {
        let sleeps = ["sleep(", "sleep_until("].iter().any(|call| line.contains(call));
        if sleeps && !line.trim_start().starts_with("//") {
            if SLEEPS.iter().any(|(listed, _)| *listed == name) {
                used.push(name);
            } else {
                faults.push(format!("{name}:{at}: {}", line.trim()));
            }
        }
    }
    let is_there = |listed: &str| root().join(listed).is_file();
    let idle =
        SLEEPS.iter().filter(|(listed, _)| is_there(listed) && !used.iter().any(|name| name == listed));
    faults.extend(idle.map(|(listed, _)| format!("{listed} is on the list and does not sleep")));
    expect_none(
        &faults,
        "A sleep is too short on a busy machine and too long on every other. Wait for something that can be seen, with \
         a deadline (tests/src/support: `until`, `eventually`), or use tokio's paused clock. Where time itself is the \
         subject, add the file to SLEEPS in tests/src/tidy/sources.rs with the reason.",
    );
}

/// D10: lifetimes, idle timers, deadlines and drains go by the monotonic clock, which nobody can set: the core is told the
/// time, and whoever tells it reads no other clock.
#[test]
fn few_read_the_wall_clock() {
    let reads = ["SystemTime::now", "Timestamp::now()", "Zoned::now", "ClockId::Realtime"];
    let is_read = |line: &str| reads.iter().any(|call| line.contains(call));
    let of_the_proxy = |path: &Path| path.starts_with("proxy") && !is_test(path);
    let mut faults = Vec::new();
    let mut used = Vec::new();
    for (name, at, line) in lines().filter(|(name, _, line)| of_the_proxy(Path::new(name)) && is_read(line)) {
        match WALL_CLOCK.iter().any(|(listed, _)| *listed == name) {
            true => used.push(name),
            false => faults.push(format!("{name}:{at}: {}", line.trim())),
        }
    }
    let idle = WALL_CLOCK.iter().filter(|(listed, _)| !used.iter().any(|name| name == listed));
    faults.extend(idle.map(|(listed, _)| format!("{listed} is on the list and does not read it")));
    expect_none(
        &faults,
        "The wall clock can be set back or forth while flows live. Take a moment of the monotonic clock (`Instant`, or \
         the `Timestamp` that the caller has). Where people or another machine are told the time, add the file to \
         WALL_CLOCK in tests/src/tidy/sources.rs with what for.",
    );
}

#[test]
fn no_test_has_a_fixed_port() {
    let mut faults = Vec::new();
    for (name, at, line) in lines().filter(|(name, _, _)| is_test(Path::new(name))) {
        // Outside the crate of tests, addresses are often values that nobody binds.
        let touches_a_socket =
            ["bind(", "connect(", "tcp(", "metrics("].iter().any(|call| line.contains(call));
        if !Path::new(&name).starts_with("tests") && !touches_a_socket {
            continue;
        }
        for host in ["127.0.0.1:", "[::1]:", "0.0.0.0:", "[::]:", "localhost:"] {
            let mut ports = line.split(host).skip(1).map(|rest| rest.chars().next());
            if ports.any(|first| first.is_some_and(|first| ('1'..='9').contains(&first))) {
                faults.push(format!("{name}:{at}: {}", line.trim()));
            }
        }
    }
    expect_none(
        &faults,
        "A fixed port is taken on somebody's machine, or by another test. Bind port 0 and ask which it became.",
    );
}
