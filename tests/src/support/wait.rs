//! Waiting for what can be seen.

use std::{
    io::Write as _,
    thread,
    time::{Duration, Instant},
};

/// How long anything may take before a test gives up: far more than it takes, because machines are slow and shared.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// How long between two looks.
const BETWEEN: Duration = Duration::from_millis(5);

/// Looks until there is something, and returns it. `what` says in words what was waited for.
#[track_caller]
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(began.elapsed() < DEADLINE, "waited {DEADLINE:?} in vain: {what}");
        thread::sleep(BETWEEN);
    }
}

/// Looks until something holds.
#[track_caller]
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    eventually(what, || holds().then_some(()));
}

/// Says that the running test cannot be made here, past the harness's capture of what passing tests print.
pub fn skipped(why: &str) {
    let test = thread::current().name().unwrap_or("a test").to_owned();
    let _ = writeln!(std::io::stderr(), "SKIPPED {test}: {why}");
}
