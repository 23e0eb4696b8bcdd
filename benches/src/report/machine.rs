//! What the machine is and which sources were measured: facts without which a figure says nothing.

use std::fs;
use std::process::Command;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

/// The machine that a run was on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Machine {
    /// Name and release, such as `Linux 6.1.0`.
    pub(crate) kernel: String,
    /// The processor's model, as `/proc/cpuinfo` names it.
    pub(crate) cpu: String,
    /// Processors that are online.
    pub(crate) processors: usize,
    /// In bytes.
    pub(crate) memory: u64,
}

impl Machine {
    /// This machine.
    pub(crate) fn here() -> Self {
        let name = rustix::system::uname();
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let kib = field(&meminfo, "MemTotal").and_then(|value| value.split(' ').next()?.parse::<u64>().ok());
        Self {
            kernel: format!("{} {}", name.sysname().to_string_lossy(), name.release().to_string_lossy()),
            cpu: field(&cpuinfo, "model name").unwrap_or("unknown").to_owned(),
            processors: cpuinfo.lines().filter(|line| line.starts_with("processor")).count().max(1),
            memory: kib.unwrap_or(0) * 1024,
        }
    }
}

/// The first value of a key in the kernel's `key : value` files.
fn field<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let pair = |line: &'a str| line.split_once(':').filter(|(name, _)| name.trim() == key);
    text.lines().find_map(pair).map(|(_, value)| value.trim())
}

/// The time now: RFC 3339, UTC.
pub(crate) fn date() -> String {
    humantime::format_rfc3339_seconds(SystemTime::now()).to_string()
}

/// How this process was started, so that it can be typed again.
pub(crate) fn command() -> String {
    let quoted = |argument: String| {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./=,:@%+".contains(c);
        match !argument.is_empty() && argument.chars().all(is_plain) {
            true => argument,
            false => format!("'{}'", argument.replace('\'', r"'\''")),
        }
    };
    let arguments: Vec<String> =
        std::env::args_os().map(|argument| quoted(argument.to_string_lossy().into_owned())).collect();
    arguments.join(" ")
}

/// What git says of the sources that this was built from, where they are still there.
pub(crate) fn commit() -> Option<String> {
    let output = Command::new("git")
        .args(["-C", env!("CARGO_MANIFEST_DIR"), "describe", "--always", "--dirty", "--abbrev=12"])
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    (output.status.success() && !text.trim().is_empty()).then(|| text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_kernels_files() {
        assert_eq!(field("a\t: 1\nmodel name\t: X: y\n", "model name"), Some("X: y"));
        let machine = Machine::here();
        assert!(machine.memory > 0 && machine.kernel.starts_with("Linux "), "{machine:?}");
    }
}
