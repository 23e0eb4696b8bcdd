//! Measures Tidegate beside the proxies people use today.
//!
//! `compare` starts each proxy it finds, one after another, on a core of its own, sends the same load through each to
//! the same endpoints, and reports what the proxy itself spent: processor time from `/proc`, resident memory. Rounds
//! are interleaved, so that a machine which drifts drifts for all.
//!
//! Nothing here knows how a proxy works: [`peers`] starts and stops them, [`load`] is the client side, [`endpoints`]
//! the other side, [`compare::run`] the order of things, [`report`] the arithmetic.

mod cli;
mod compare;
mod cores;
mod endpoints;
mod load;
mod pattern;
mod peers;
mod report;
mod usage;
mod workload;

use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;

use crate::cli::{Cli, Command, Format};
use crate::report::Report;

/// Anything that kept a figure from being taken, including a peer that does not start.
const NOT_MEASURED: u8 = 2;

/// A row was taken and is invalid.
const INVALID_ROW: u8 = 1;

fn main() -> ExitCode {
    let Command::Compare(args) = Cli::parse().command;
    match compare(&args) {
        Ok(report) if report.is_valid() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::from(INVALID_ROW),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(NOT_MEASURED)
        }
    }
}

/// Runs the comparison until it is done or a signal ends it; in both cases no child is left when this returns.
fn compare(args: &cli::Compare) -> anyhow::Result<Report> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let report = runtime.block_on(async {
        let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
        tokio::select! {
            report = compare::run(args) => report,
            _ = tokio::signal::ctrl_c() => anyhow::bail!("interrupted"),
            _ = terminate.recv() => anyhow::bail!("terminated"),
        }
    })?;
    match args.format {
        Format::Table => print!("{report}"),
        Format::Json => {
            println!("{}", serde_json::to_string_pretty(&report).context("cannot write JSON")?);
        }
    }
    if let Some(directory) = &args.output {
        report.write(directory)?;
    }
    Ok(report)
}
