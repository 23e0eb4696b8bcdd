//! The committed counts, and what a comparison with them says.
//!
//! Decided here: how far a count may be off, and when the comparison binds. Another compiler makes other instructions
//! of the same program, another C library has another `memcpy`: counts bind only for what they were made with.

use std::{collections::BTreeMap, fmt, fs, path::PathBuf, process::Command};

use anyhow::Context;
use serde::{Deserialize, Serialize};

use crate::operations;

/// Percent that a count of the core may be off. Two runs of one build give the same count to the instruction; this is
/// room for what moves when code around the core changes.
const CORE: u64 = 5;

/// Percent that a count of a worker may be off: how often it looks again before it sleeps depends on when its peers
/// were there.
const RELAY: u64 = 10;

const HEADER: &str = "\
# Instructions in user space for one operation of each kind: see README.md.
# Written by: cargo run --profile instructions -p tidegate-instructions -- update

";

/// Counts, and what they were made with.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Expected {
    made_with: MadeWith,
    core: Group,
    relay: Group,
}

/// What decides about counts besides this project's code.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct MadeWith {
    compiler: String,
    target: String,
    libc: String,
    valgrind: String,
}

/// Counts that may be off by the same share.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Group {
    tolerance_percent: u64,
    counts: BTreeMap<String, u64>,
}

/// Where the committed counts are.
pub(crate) fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("expected.toml")
}

/// Counts everything.
pub(crate) fn count(valgrind: String) -> anyhow::Result<Expected> {
    let made_with = MadeWith {
        compiler: env!("COMPILER").to_owned(),
        target: env!("TARGET").to_owned(),
        libc: libc_version(),
        valgrind,
    };
    let group = |tolerance_percent, counts: Vec<(String, u64)>| Group {
        tolerance_percent,
        counts: counts.into_iter().collect(),
    };
    Ok(Expected {
        made_with,
        core: group(CORE, operations::count_core()?),
        relay: group(RELAY, operations::count_relay()?),
    })
}

/// The C library's name and version; `unknown` where nothing tells it.
fn libc_version() -> String {
    let output = Command::new("getconf").arg("GNU_LIBC_VERSION").output();
    let text =
        output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default();
    if text.is_empty() { "unknown".to_owned() } else { text }
}

impl Expected {
    /// The committed counts.
    pub(crate) fn read() -> anyhow::Result<Self> {
        let path = path();
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        toml::from_str(&text).with_context(|| format!("{} is not a file of counts", path.display()))
    }

    /// Makes these the committed counts.
    pub(crate) fn write(&self) -> anyhow::Result<()> {
        let path = path();
        let text = format!("{HEADER}{}", toml::to_string(self)?);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    }

    /// What `counted` is beside these.
    pub(crate) fn compare(&self, counted: &Self) -> Comparison {
        let mut rows = self.core.compare(&counted.core);
        rows.extend(self.relay.compare(&counted.relay));
        let made_with = (self.made_with != counted.made_with)
            .then(|| (self.made_with.to_string(), counted.made_with.to_string()));
        Comparison { rows, made_with }
    }
}

impl Group {
    fn compare(&self, counted: &Self) -> Vec<Row> {
        let names =
            self.counts.keys().chain(counted.counts.keys().filter(|name| !self.counts.contains_key(*name)));
        names
            .map(|name| Row {
                name: name.clone(),
                expected: self.counts.get(name).copied(),
                counted: counted.counts.get(name).copied(),
                tolerance_percent: self.tolerance_percent,
            })
            .collect()
    }
}

impl fmt::Display for MadeWith {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}, {}, {}", self.compiler, self.target, self.libc, self.valgrind)
    }
}

/// Every count beside the expected one.
#[derive(Debug)]
pub(crate) struct Comparison {
    rows: Vec<Row>,
    /// Expected and counted with, where they differ: then the comparison does not bind.
    made_with: Option<(String, String)>,
}

#[derive(Debug)]
struct Row {
    name: String,
    expected: Option<u64>,
    counted: Option<u64>,
    tolerance_percent: u64,
}

impl Comparison {
    /// Whether nothing is off, or nothing binds.
    pub(crate) fn is_good(&self) -> bool {
        self.made_with.is_some() || self.rows.iter().all(Row::is_good)
    }
}

impl Row {
    /// Less is off as well: what was gained could be lost again without anybody seeing it.
    fn is_good(&self) -> bool {
        match (self.expected, self.counted) {
            (Some(expected), Some(counted)) => {
                expected.abs_diff(counted) * 100 <= expected * self.tolerance_percent
            }
            _ => false,
        }
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = |count: Option<u64>| count.map_or_else(|| "-".to_owned(), |count| count.to_string());
        writeln!(f, "{:<32}{:>12}{:>12}{:>10}", "instructions per operation", "expected", "counted", "")?;
        for row in &self.rows {
            write!(f, "{:<32}{:>12}{:>12}", row.name, number(row.expected), number(row.counted))?;
            if let (Some(expected), Some(counted)) = (row.expected, row.counted) {
                write!(f, "{:>+9.1}%", (counted as f64 / expected as f64 - 1.0) * 100.0)?;
            }
            writeln!(f, "{}", if row.is_good() { "" } else { "  OFF" })?;
        }
        if let Some((expected, counted)) = &self.made_with {
            return writeln!(
                f,
                "The comparison does not bind: the file was made with {expected}; counted with {counted}."
            );
        }
        if !self.is_good() {
            writeln!(
                f,
                "Some operations take more or fewer instructions than benches/instructions/expected.toml allows. Where \
                 the change is meant, write the file anew and say in the commit why:\n  \
                 cargo run --profile instructions -p tidegate-instructions -- update"
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
