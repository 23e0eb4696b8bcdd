//! The command line: what can be typed, and the help that teaches it.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};

/// A Layer-4 load balancer that never breaks a connection which could have ended by itself.
///
/// It follows EndpointSlice conditions: new flows go only to ready endpoints, and flows that exist stay pinned to
/// their endpoint while it terminates, until they close.
///
/// First steps: `tidegate demo` shows a rolling update under load. `tidegate check --config FILE` checks a
/// configuration, `tidegate run --config FILE` runs it, `tidegate endpoints` shows what it does.
#[derive(Debug, Parser)]
#[command(name = "tidegate", version, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the proxy.
    ///
    /// SIGHUP, or a change of the file, reloads the configuration without touching a live flow; an invalid one
    /// changes nothing. SIGTERM or Ctrl-C ends the process when its flows have ended, or after shutdown.grace; the
    /// second one ends it at once.
    Run(Run),
    /// Check a configuration and say what is wrong with it.
    ///
    /// Exit status: 0 valid, 1 invalid.
    Check(Check),
    /// Show the state of a running proxy.
    Status(Asking),
    /// Show the endpoints: conditions, admin state, drains, flows.
    Endpoints(Endpoints),
    /// Show live flows.
    Flows(Flows),
    /// Send an endpoint no new flows; those it has go on to their end, or to a deadline.
    ///
    /// Independent of what the slices say: the drain stays until `tidegate undrain`, also when the slice changes.
    /// Example: tidegate drain default/web 10.0.0.7:8080 --reason "disk is failing" --deadline 10m
    Drain(Drain),
    /// Take back a drain.
    Undrain(DrainArgs),
    /// Show what a drain would do, from live flows. Changes nothing.
    Plan(Plan),
    /// Watch the drains that are on: what is left of each, how busy it is, when it will have ended.
    ///
    /// A bar for each on a terminal, lines elsewhere; with -o json the stream of /v1/drains (with --all what /v1/all/drains
    /// answers), a line of JSON a second. Until Ctrl-C.
    Watch(Watch),
    /// Show what every drain came to, and whether one broke anything.
    ///
    /// Every flow that an endpoint had when its drain began is counted by how it ended. For a pipeline, after
    /// `kubectl rollout status`: tidegate audit --since 10m --expect zero-broken
    ///
    /// Of each drain: the endpoint, what became of it, when it began and why; below that how long it TOOK (or has taken),
    /// and the time from the event that began it to the PUBLISH after which no new flow came (none where an operator
    /// began it). Then flows: FLOWS when it began, AFTER those that came later (0, but with whenNoneReady:
    /// servingTerminating). Together they are as many as ended by the CLIENT, by the ENDPOINT, SHED ahead of the deadline
    /// without losing a byte, CUT at it, BROKEN (reset by the endpoint, or lost for want of something), OTHER and LEFT.
    ///
    /// OTHER is what was ordered (an operator's close, shutdown.grace, onRemoval: close, idleTimeout) or goes on elsewhere
    /// (a connect that failed here, another process). Flows that were ordered to end do not count as broken, though
    /// clients saw a reset: --expect zero-broken takes them for what was asked for.
    Audit(Audit),
    /// End one flow with a reset to both ends.
    Close(Close),
    /// The gate: what a pod's preStop waits for.
    Gate(Gate),
    /// Replace the running proxy by a new process that takes over its listeners and live flows.
    ///
    /// The running proxy starts it, with its own arguments, environment, user, limits and cgroup, and waits until it has
    /// taken over. If that fails, the running proxy goes on. Needs handoff.socket in its configuration.
    ///
    /// Exit status: 0 it has taken over, 1 it has not.
    Upgrade(Upgrade),
    /// Ask a process whether it lives, or is ready: itself, and not whoever answers on the admin address.
    ///
    /// For probes of a pod, over handoff.probeSocket. A process that waits to take over lives and is not ready; one that
    /// has handed over and is parked is both.
    ///
    /// Exit status: 0 yes, 1 no, with the reason.
    Probe(Probe),
    /// Show what Tidegate is for: a rolling update under load, on this machine, in about 20 seconds.
    ///
    /// Starts a proxy, echo endpoints and clients on loopback, replaces every endpoint the way a Deployment does, and
    /// says whether a flow was broken. Exit status: 0 the promise held, 1 it did not.
    Demo(Demo),
}

#[derive(Debug, Args)]
pub(crate) struct Run {
    /// The configuration (YAML or JSON); see config/README.md and `tidegate check --explain`.
    #[arg(long, short, value_name = "FILE")]
    pub(crate) config: PathBuf,
    /// The kubeconfig for source.kubernetes, whatever the configuration says.
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// The kubeconfig's context for source.kubernetes, whatever the configuration says.
    #[arg(long, value_name = "NAME")]
    pub(crate) context: Option<String>,
    /// Do not take over from a process that runs: start beside it, or fail.
    #[arg(long)]
    pub(crate) no_handoff: bool,
    #[command(flatten)]
    pub(crate) log: LogArgs,
}

#[derive(Debug, Args)]
pub(crate) struct LogArgs {
    /// How log lines look.
    #[arg(long, value_enum, default_value_t, env = "TIDEGATE_LOG_FORMAT")]
    pub(crate) log_format: LogFormat,
    /// Which log lines are written: a level (error, warn, info, debug), or directives such as
    /// `info,tidegate_dataplane=debug`. Default: info; for the demo error.
    #[arg(long, env = "TIDEGATE_LOG", value_name = "FILTER")]
    pub(crate) log: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

#[derive(Debug, Args)]
pub(crate) struct Check {
    /// The configuration to check.
    #[arg(long, short, value_name = "FILE")]
    pub(crate) config: PathBuf,
    /// Print the effective configuration, every default filled in.
    #[arg(long)]
    pub(crate) explain: bool,
}

/// How a running proxy is reached, and how its answers are printed.
#[derive(Debug, Args)]
pub(crate) struct Asking {
    /// The running proxy's admin API: an address, or unix:/PATH. Without it, admin.address of --config is taken, and
    /// without that 127.0.0.1:9901.
    #[arg(long, short, value_name = "ADDRESS", env = "TIDEGATE_ADMIN")]
    pub(crate) admin: Option<String>,
    /// A configuration to take admin.address and admin.tokenFile from.
    #[arg(long, short, value_name = "FILE", env = "TIDEGATE_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// A file with the admin API's bearer token.
    #[arg(long, value_name = "FILE", env = "TIDEGATE_TOKEN_FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// How the answer is printed.
    #[arg(long, short, value_enum, default_value_t)]
    pub(crate) output: Output,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// Tables for people.
    #[default]
    Table,
    /// JSON for programs.
    Json,
}

#[derive(Debug, Args)]
pub(crate) struct Endpoints {
    /// Only those of this service (namespace/name).
    pub(crate) service: Option<String>,
    /// Show where each fact came from: slice and generation, pod, node, zone, since when.
    #[arg(long)]
    pub(crate) sources: bool,
    /// Of every instance that the configuration's `peers` names; else of this one.
    #[arg(long)]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) asking: Asking,
}

#[derive(Debug, Args)]
pub(crate) struct Flows {
    /// Only those of this service (namespace/name).
    #[arg(long)]
    pub(crate) service: Option<String>,
    /// Only those of this endpoint: its address, its pod's name or its number.
    #[arg(long)]
    pub(crate) endpoint: Option<String>,
    /// At most so many, the oldest first.
    #[arg(long, default_value_t = 100)]
    pub(crate) limit: usize,
    #[command(flatten)]
    pub(crate) asking: Asking,
}

#[derive(Debug, Args)]
pub(crate) struct Drain {
    #[command(flatten)]
    pub(crate) endpoint: DrainArgs,
    /// How long its flows may go on, such as 90s or 10m: idle ones are shed in the window before that, and what is left
    /// is cut. Left out, the service's own `drain.deadline` holds.
    ///
    /// A deadline only moves earlier while the drain is on: where an earlier one holds, that stays, and `undrain` takes it
    /// back. With 0s they have one second more, in which quiet flows are shed with a FIN; the others are reset. While no
    /// endpoint of the service is ready, nobody is shed or cut.
    #[arg(long, value_parser = duration)]
    pub(crate) deadline: Option<Duration>,
    /// Wait until no flow is left, and show what became of them.
    ///
    /// With --all on all instances; one that cannot be asked any more is waited for 15 seconds longer than the others, and
    /// named.
    ///
    /// Exit status: 0 none is left, 1 an error, the drain was taken back or an instance cannot be asked, 3 some are left
    /// after --timeout.
    #[arg(long)]
    pub(crate) wait: bool,
    /// How long to wait, such as 90s or 10m; for ever otherwise.
    #[arg(long, value_parser = duration, requires = "wait")]
    pub(crate) timeout: Option<Duration>,
}

#[derive(Debug, Args)]
pub(crate) struct Plan {
    #[command(subcommand)]
    pub(crate) command: PlanCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PlanCommand {
    /// How many flows would have to move, how fast, where to, and which would be cut by which deadline.
    ///
    /// Examples: tidegate plan drain default/web web-0 web-1 --deadline 90s; tidegate plan drain --node worker-3
    Drain(PlanDrain),
}

#[derive(Debug, Args)]
pub(crate) struct PlanDrain {
    /// The service, namespace/name; with --node all services where it is left out.
    #[arg(required_unless_present = "node")]
    pub(crate) service: Option<String>,
    /// Its endpoints that would be drained: addresses with port, names of pods or numbers.
    #[arg(required_unless_present = "node")]
    pub(crate) endpoints: Vec<String>,
    /// All endpoints on this node.
    #[arg(long, conflicts_with = "endpoints")]
    pub(crate) node: Option<String>,
    /// The deadline that the drain would have, such as 90s; left out, the service's own `drain.deadline`.
    #[arg(long, value_parser = duration)]
    pub(crate) deadline: Option<Duration>,
    /// For every instance that the configuration's `peers` names, and all of them together; else for this one.
    #[arg(long)]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) asking: Asking,
}

#[derive(Debug, Args)]
pub(crate) struct Watch {
    /// Only drains of this service (namespace/name).
    pub(crate) service: Option<String>,
    /// Of every instance that the configuration's `peers` names; else of this one.
    #[arg(long)]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) asking: Asking,
}

/// A time with a unit, as in the configuration file.
fn duration(text: &str) -> Result<Duration, String> {
    tidegate_config::parse_duration(text)
        .ok_or_else(|| "expected a time with a unit, such as 90s or 10m".to_owned())
}

#[derive(Debug, Args)]
pub(crate) struct DrainArgs {
    /// The service, namespace/name.
    pub(crate) service: String,
    /// The endpoint: its address with port (10.0.0.7:8080) or its pod's name.
    pub(crate) endpoint: String,
    /// Why, for the log and for other operators.
    #[arg(long, default_value = "")]
    pub(crate) reason: String,
    /// On every instance that the configuration's `peers` names, and list what each answers; else on this one.
    #[arg(long)]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) asking: Asking,
}

#[derive(Debug, Args)]
pub(crate) struct Audit {
    /// Only drains that ended, or were on, in the last so long, such as 90s or 10m; all that are known otherwise.
    #[arg(long, value_parser = duration)]
    pub(crate) since: Option<Duration>,
    /// Only those of this service, namespace/name.
    #[arg(long)]
    pub(crate) service: Option<String>,
    /// Of every instance that the configuration's `peers` names; else of this one.
    #[arg(long)]
    pub(crate) all: bool,
    /// Exit with 1 unless the drains were so.
    #[arg(long, value_enum)]
    pub(crate) expect: Option<Expectation>,
    #[command(flatten)]
    pub(crate) asking: Asking,
}

/// What the drains shall have been.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Expectation {
    /// No flow was broken or cut, none came to an endpoint after its drain began, and no record is missing.
    ZeroBroken,
    /// The same, and no drain is still on.
    ZeroBrokenAndDone,
}

#[derive(Debug, Args)]
pub(crate) struct Upgrade {
    /// The binary to start. Left out, what is found where the running one was started from.
    #[arg(long, value_name = "FILE")]
    pub(crate) binary: Option<PathBuf>,
    /// The running proxy's handoff.socket. Left out, that of --config is taken.
    #[arg(long, value_name = "PATH", required_unless_present = "config")]
    pub(crate) socket: Option<PathBuf>,
    /// A configuration to take handoff.socket from.
    #[arg(long, short, value_name = "FILE", env = "TIDEGATE_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// How the outcome is printed.
    #[arg(long, short, value_enum, default_value_t)]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct Probe {
    /// What is asked.
    #[arg(value_enum)]
    pub(crate) what: Probed,
    /// The process's handoff.probeSocket. Left out, that of --config is taken.
    #[arg(long, value_name = "PATH", required_unless_present = "config")]
    pub(crate) socket: Option<PathBuf>,
    /// A configuration to take handoff.probeSocket from.
    #[arg(long, short, value_name = "FILE", env = "TIDEGATE_CONFIG")]
    pub(crate) config: Option<PathBuf>,
}

/// What a probe asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Probed {
    /// Whether the process works at all.
    Live,
    /// Whether clients may be sent here.
    Ready,
}

#[derive(Debug, Args)]
pub(crate) struct Close {
    /// The flow's number, as `tidegate flows` shows it.
    pub(crate) flow: String,
    #[command(flatten)]
    pub(crate) asking: Asking,
}

#[derive(Debug, Args)]
pub(crate) struct Gate {
    #[command(subcommand)]
    pub(crate) command: GateCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum GateCommand {
    /// Wait until no flow is pinned to a pod any more, on any instance: for the pod's preStop.
    ///
    /// First until the pod is terminating (where it is not within 3 seconds, because its container is merely restarted,
    /// this ends), then until no instance sends it new flows, then until the last flow has ended, or the pod's
    /// deadline or the timeout comes. Each step is a line.
    ///
    /// Exit status: 0 no flow is left, or the pod is not terminating; 1 flows are left, or not every instance could be
    /// asked; 2 the command line; 3 the proxy does not know the pod, or refuses; 4 no proxy answers. None of them
    /// keeps a pod from ending.
    Wait(GateWait),
    /// Copy this program to a path: for an init container that puts it beside an application.
    Install {
        /// Where to, such as /tidegate/tidegate on a volume that both containers mount.
        path: PathBuf,
    },
}

#[derive(Debug, Args)]
pub(crate) struct GateWait {
    /// Where the node's proxy has its gate (gate.address).
    #[arg(long, value_name = "HOST:PORT", env = "TIDEGATE_GATE")]
    pub(crate) address: String,
    /// The pod's metadata.uid, as the downward API gives it. Left out, the pod is found by the address that asks, where
    /// exactly one has it.
    #[arg(long, value_name = "UID", env = "POD_UID")]
    pub(crate) pod_uid: Option<String>,
    /// How long this takes at most. Less than terminationGracePeriodSeconds. Left out, until the pod's deadline where the
    /// proxy knows that (drain.deadline), and else 25s.
    #[arg(long, value_parser = duration)]
    pub(crate) timeout: Option<Duration>,
    /// How long a proxy that does not answer is waited for; it may be just about to start.
    #[arg(long, value_parser = duration, default_value = "3s")]
    pub(crate) when_away: Duration,
    /// How the answer is printed. With json, progress goes to standard error.
    #[arg(long, short, value_enum, default_value_t)]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// Long-lived flows that are kept open at any time.
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..=5000))]
    pub(crate) flows: u32,
    /// Short flows per second: connect, one request, one reply, close.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(0..=2000))]
    pub(crate) rate: u32,
    /// How long it takes, about, in seconds.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(4..=3600))]
    pub(crate) seconds: u32,
    #[command(flatten)]
    pub(crate) log: LogArgs,
    /// How the verdict is printed. With json, progress goes to standard error.
    #[arg(long, short, value_enum, default_value_t)]
    pub(crate) output: Output,
}
