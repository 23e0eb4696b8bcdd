//! Points at which a test makes this process fail: killed, or stopped as a debugger would stop it. Only a build for
//! tests has them.

/// What the environment names: `kill:POINT` or `stop:POINT`.
#[cfg(debug_assertions)]
const VARIABLE: &str = "TIDEGATE_HANDOFF_FAULT";

/// Fails here, where the environment says so.
#[cfg(debug_assertions)]
pub(crate) fn at(point: &str) {
    use rustix::process::{Signal, getpid, kill_process};
    let Ok(wanted) = std::env::var(VARIABLE) else { return };
    let signal = match wanted.split_once(':') {
        Some(("kill", named)) if named == point => Signal::KILL,
        Some(("stop", named)) if named == point => Signal::STOP,
        _ => return,
    };
    let _ = kill_process(getpid(), signal);
}

/// Nothing.
#[cfg(not(debug_assertions))]
pub(crate) fn at(_: &str) {}
