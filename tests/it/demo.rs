//! The demo, which is what a newcomer runs first.

use std::process::Command;

use serde_json::Value;
use tidegate_tests::support::run;

/// A rolling update under load: the promise holds, and the exit status says so.
#[test]
fn demo_keeps_its_promise() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    let output = run(command.args(["demo", "--seconds", "5", "--flows", "60", "--rate", "50", "-o", "json"]));
    let progress = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{progress}");
    let verdict: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(verdict["holds"], true, "{verdict:#}\n{progress}");
    assert_eq!(verdict["flows_broken"], 0, "{verdict:#}");
    assert_eq!(verdict["new_flows_on_a_non_ready_endpoint"], 0, "{verdict:#}");
    assert!(verdict["flows_opened"].as_u64() > Some(60), "{verdict:#}");
}
