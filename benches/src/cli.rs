//! The command line.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::peers::Proxy;
use crate::workload::Workload;

/// Rounds and seconds of a whole run, and of a quick one.
const WHOLE: (u32, u64) = (5, 3);
const QUICK: (u32, u64) = (3, 1);

/// Measures Tidegate beside other proxies.
#[derive(Debug, Parser)]
#[command(name = "tidegate-benches", version, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Send the same load through every proxy that is found, and compare what each spent.
    ///
    /// Exit status: 0; 1 when a row is invalid; 2 when something could not be measured.
    Compare(Box<Compare>),
    /// Be the endpoints of a measurement until standard input ends.
    #[command(hide = true)]
    Endpoints {
        /// The core to run on
        #[arg(long)]
        core: usize,
    },
    /// Be the tidegate command: the proxy that is measured is built with the bench and cannot be another build.
    #[command(hide = true, disable_help_flag = true)]
    Proxy {
        /// What tidegate takes.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
}

/// What to compare, and for how long.
#[derive(Debug, Args)]
pub(crate) struct Compare {
    /// Only what says most (bulk down, 64-byte trips, connections, idle flows, a short rollout), and fewer and shorter rounds
    #[arg(long)]
    pub(crate) quick: bool,

    /// Only these workloads
    #[arg(long, value_enum, value_delimiter = ',', value_name = "WORKLOAD")]
    pub(crate) only: Vec<Workload>,

    /// Only these rows [default: all that are found]
    #[arg(long, value_enum, value_delimiter = ',', value_name = "PROXY")]
    pub(crate) proxies: Vec<Proxy>,

    /// Rounds; in each, every proxy is measured once [default: 5, quick: 3]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: Option<u32>,

    /// Seconds of load in one measurement [default: 3, quick: 1]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: Option<u64>,

    /// Workers of each proxy; each gets a core where there are enough
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    workers: u16,

    /// Requests in a second, in the workload with a fixed rate
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    pub(crate) rate: u64,

    /// The address that every proxy listens on [default: a free port of 127.0.0.1 for each]
    #[arg(long, value_name = "IP:PORT")]
    pub(crate) listen: Option<SocketAddr>,

    /// Another tidegate binary than the one that was built with this program
    #[arg(long, value_name = "PATH")]
    pub(crate) tidegate: Option<PathBuf>,

    /// The haproxy binary [default: the one in PATH or /usr/sbin, skipped where there is none]
    #[arg(long, value_name = "PATH")]
    pub(crate) haproxy: Option<PathBuf>,

    /// The nginx binary [default: as above]
    #[arg(long, value_name = "PATH")]
    pub(crate) nginx: Option<PathBuf>,

    /// The envoy binary [default: as above]
    #[arg(long, value_name = "PATH")]
    pub(crate) envoy: Option<PathBuf>,

    /// Write the report into this directory as well: report.json and report.html
    #[arg(long, value_name = "DIR")]
    pub(crate) output: Option<PathBuf>,

    /// How the result is printed
    #[arg(short = 'o', long = "format", value_enum, default_value_t = Format::Table)]
    pub(crate) format: Format,
}

impl Compare {
    /// The workloads to run, in their own order.
    pub(crate) fn workloads(&self) -> Vec<Workload> {
        let chosen = |workload: &Workload| match self.only.is_empty() {
            true => !self.quick || workload.is_quick(),
            false => self.only.contains(workload),
        };
        Workload::value_variants().iter().copied().filter(chosen).collect()
    }

    /// Rounds; in each, every proxy is measured once.
    pub(crate) fn rounds(&self) -> u32 {
        self.rounds.unwrap_or(if self.quick { QUICK.0 } else { WHOLE.0 })
    }

    /// Seconds of load in one measurement.
    pub(crate) fn seconds(&self) -> u64 {
        self.seconds.unwrap_or(if self.quick { QUICK.1 } else { WHOLE.1 })
    }

    /// Workers of each proxy.
    pub(crate) fn workers(&self) -> usize {
        self.workers.into()
    }
}

/// How the result is printed.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Format {
    /// A table for people
    Table,
    /// Every reading, for programs
    Json,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compare(arguments: &str) -> Result<Compare, clap::Error> {
        let arguments = ["tidegate-benches", "compare"].into_iter().chain(arguments.split_whitespace());
        Cli::try_parse_from(arguments).map(|cli| match cli.command {
            Command::Compare(compare) => *compare,
            Command::Proxy { .. } | Command::Endpoints { .. } => unreachable!("compare was given"),
        })
    }

    #[test]
    fn quick_is_less_of_everything_and_flags_overrule_it() {
        let (whole, quick) = (compare("").unwrap(), compare("--quick").unwrap());
        assert!(quick.rounds() < whole.rounds() && quick.seconds() < whole.seconds());
        assert!(quick.workloads().len() < whole.workloads().len());
        assert_eq!(whole.workloads().len(), Workload::value_variants().len());
        let chosen = compare("--quick --rounds 7 --only slow,bulk").unwrap();
        assert_eq!((chosen.rounds(), chosen.workloads()), (7, vec![Workload::Bulk, Workload::Slow]));
    }

    #[test]
    fn what_is_unknown_is_told_with_what_is_known() {
        for (arguments, known) in [("--only sleep", "trips"), ("--proxies apache", "haproxy-splice-1m")] {
            let error = compare(arguments).unwrap_err();
            assert_eq!(error.exit_code(), 2);
            assert!(error.to_string().contains(known), "{error}");
        }
    }

    #[test]
    fn the_proxy_gets_its_arguments_as_they_are() {
        let cli =
            Cli::try_parse_from(["tidegate-benches", "proxy", "run", "--config", "x", "--help"]).unwrap();
        let Command::Proxy { arguments } = cli.command else { panic!("proxy was given") };
        assert_eq!(arguments, ["run", "--config", "x", "--help"]);
        let cli = Cli::try_parse_from(["tidegate-benches", "proxy", "--version"]).unwrap();
        let Command::Proxy { arguments } = cli.command else { panic!("proxy was given") };
        assert_eq!(arguments, ["--version"]);
    }
}
