//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::workload::Workload;

/// Measures Tidegate beside other proxies.
#[derive(Debug, Parser)]
#[command(name = "tidegate-benches", version)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Sends the same load through every proxy found and compares what each spent.
    Compare(Compare),
}

/// What to compare, and for how long.
#[derive(Debug, Args)]
pub(crate) struct Compare {
    /// Only these workloads.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "WORKLOAD")]
    pub(crate) only: Vec<Workload>,

    /// Rounds; in each, every proxy is measured once.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) rounds: u32,

    /// Seconds of load in one measurement.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=60))]
    pub(crate) seconds: u64,

    /// The tidegate binary; without it there is no such row.
    #[arg(long, value_name = "PATH")]
    pub(crate) tidegate: Option<PathBuf>,

    /// The haproxy binary [default: /usr/sbin/haproxy, skipped where it is missing]
    #[arg(long, value_name = "PATH")]
    pub(crate) haproxy: Option<PathBuf>,

    /// The nginx binary [default: /usr/sbin/nginx, skipped where it is missing]
    #[arg(long, value_name = "PATH")]
    pub(crate) nginx: Option<PathBuf>,

    /// Also writes the report into this directory: report.json
    #[arg(long, value_name = "DIR")]
    pub(crate) output: Option<PathBuf>,

    /// How the result is printed.
    #[arg(short = 'o', long = "format", value_enum, default_value_t = Format::Table)]
    pub(crate) format: Format,
}

impl Compare {
    /// The workloads to run, in their own order.
    pub(crate) fn workloads(&self) -> Vec<Workload> {
        let chosen = |workload: &Workload| self.only.is_empty() || self.only.contains(workload);
        Workload::value_variants().iter().copied().filter(chosen).collect()
    }
}

/// How the result is printed.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Format {
    /// A table for people.
    Table,
    /// Every reading, for programs.
    Json,
}
