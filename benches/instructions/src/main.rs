//! Counts the instructions that the main operations take, and compares them with `expected.toml`.
//!
//! A clock on a shared machine sees a change of a third; the count of instructions sees one of a few per cent,
//! because it is nearly the same in every run. callgrind (of valgrind) counts what runs in user space; what the
//! kernel does is not in it, and neither is what a cache miss costs.
//!
//! This program runs itself under callgrind. [`operations`] is what is done there, [`callgrind`] how the counts come
//! out, [`expected`] the comparison.

mod callgrind;
mod expected;
mod operations;

use std::{env, process::ExitCode};

use anyhow::{Context, bail};

use crate::expected::Expected;

const USAGE: &str = "usage: tidegate-instructions [check | update]
  check   compare with benches/instructions/expected.toml (also without an argument)
  update  write that file anew; read the difference before you commit it";

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        [] | ["check"] => check(),
        ["update"] => update(),
        [operations::COMMAND, what, count] => operations::run(what, count).map(|()| true),
        _ => Err(anyhow::anyhow!(USAGE)),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Counts and compares; false where a count is off.
fn check() -> anyhow::Result<bool> {
    let Some(valgrind) = valgrind()? else { return Ok(true) };
    let expected = Expected::read()?;
    let counted = expected::count(valgrind)?;
    let comparison = expected.compare(&counted);
    print!("{comparison}");
    Ok(comparison.is_good())
}

fn update() -> anyhow::Result<bool> {
    let valgrind = callgrind::version().context("valgrind is needed to count: apt install valgrind")?;
    expected::count(valgrind)?.write()?;
    println!("wrote {}", expected::path().display());
    Ok(true)
}

/// valgrind's version. Where it is missing, counting is skipped, and that is said; CI may install what it needs, so
/// that there it is an error.
fn valgrind() -> anyhow::Result<Option<String>> {
    match callgrind::version() {
        Ok(version) => Ok(Some(version)),
        Err(error)
            if env::var_os("CI").is_some_and(|ci| ci == "true") && rustix::process::geteuid().is_root() =>
        {
            Err(error.context("valgrind is needed to count, and CI can install it: apt-get install valgrind"))
        }
        Err(error) => {
            println!("SKIPPED: instructions are not counted: {error:#}. apt install valgrind");
            Ok(None)
        }
    }
}

/// A number that the command line gives.
fn number(text: &str) -> anyhow::Result<u64> {
    match text.parse() {
        Ok(number) if number > 0 => Ok(number),
        _ => bail!("`{text}` is not a number above zero"),
    }
}
