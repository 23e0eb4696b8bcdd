//! Runs this program under callgrind and reads how many instructions each part of it took.
//!
//! Decided here: how a part's count is found in callgrind's output. Its format is described in the manual of valgrind;
//! only two kinds of lines matter: `part:` begins one, `totals:` ends it.

use std::{env, fs, path::Path, process::Command};

use anyhow::{Context, bail};

use crate::operations;

/// Where the program is when it begins another part: callgrind is told to dump its counters here.
#[inline(never)]
pub(crate) fn begin_part(number: usize) {
    std::hint::black_box(number);
}

/// The version of valgrind.
///
/// # Errors
///
/// When it is not there, or does not run.
pub(crate) fn version() -> anyhow::Result<String> {
    let output = Command::new("valgrind").arg("--version").output().context("valgrind does not start")?;
    if !output.status.success() {
        bail!("valgrind --version: {}", output.status);
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The instructions of each part of a run, from one call of [`begin_part`] to the next.
pub(crate) fn parts(what: &str, count: u64) -> anyhow::Result<Vec<u64>> {
    let dump = ["--combine-dumps=yes", "--dump-before=*begin_part*"];
    let folder = run(what, count, &dump)?;
    totals(&read(&folder.path().join("out"))?)
}

/// The instructions of the thread that the program's first thread starts, over all of its life.
pub(crate) fn second_thread(what: &str, count: u64) -> anyhow::Result<u64> {
    let folder = run(what, count, &["--separate-threads=yes"])?;
    let totals = totals(&read(&folder.path().join("out-02"))?)?;
    Ok(totals.iter().sum())
}

fn run(what: &str, count: u64, options: &[&str]) -> anyhow::Result<tempfile::TempDir> {
    let folder = tempfile::tempdir()?;
    let mut out = std::ffi::OsString::from("--callgrind-out-file=");
    out.push(folder.path().join("out"));
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--quiet"])
        .arg(out)
        .args(options)
        .arg(env::current_exe()?)
        .args([operations::COMMAND, what, &count.to_string()])
        .output()
        .context("valgrind does not start")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        bail!("{what} under callgrind: {}\n{said}", output.status);
    }
    Ok(folder)
}

fn read(path: &Path) -> anyhow::Result<String> {
    fs::read_to_string(path).with_context(|| format!("callgrind did not write {}", path.display()))
}

/// The total of each part.
fn totals(text: &str) -> anyhow::Result<Vec<u64>> {
    let totals = text.lines().filter_map(|line| line.strip_prefix("totals:"));
    let totals: Vec<u64> = totals
        .map(|total| total.trim().parse().with_context(|| format!("callgrind's totals are `{total}`")))
        .collect::<anyhow::Result<_>>()?;
    let parts = text.lines().filter(|line| line.starts_with("part:")).count();
    if totals.is_empty() || totals.len() != parts {
        bail!("callgrind wrote {parts} parts and {} totals", totals.len());
    }
    Ok(totals)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_has_one_total() {
        let text = "version: 1\npart: 1\nfn=(1) a\n1 5\ntotals: 340606\n\npart: 2\ntotals: 6011\n";
        assert_eq!(totals(text).unwrap(), [340_606, 6011]);
    }

    #[test]
    fn what_is_no_output_of_callgrind_is_an_error() {
        for text in ["", "part: 1\n", "part: 1\ntotals: many\n", "part: 1\npart: 2\ntotals: 4\n"] {
            assert!(totals(text).is_err(), "{text:?}");
        }
    }
}
