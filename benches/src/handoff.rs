//! `handoff`: the process of a proxy is replaced again and again under load.
//!
//! For each proxy: flows that talk all the time, new connections at a fixed rate, and after a while without any change
//! its process is replaced as its own manual says, so many times:
//!
//! | proxy | how |
//! |---|---|
//! | Tidegate | `tidegate upgrade` |
//! | HAProxy | master and worker; SIGUSR2 to the master, `expose-fd listeners` |
//! | nginx | SIGHUP to the master |
//! | Envoy | hot restart: a process with the next `--restart-epoch`; the old one drains for 1 s and ends after 2 s |
//!
//! **Refused** are connects that failed, **unanswered** connections that had no answer within 5 s, **broken** flows that
//! ended otherwise than by their client, **wrong** bytes that are not those that were sent: lost, doubled or changed. A
//! *pause* is how long a flow was frozen, as Tidegate says; a *trip* is what a flow's message and its answer took at the
//! client, all handoffs and all pauses between them included. *Gone* is the time from the command to the end of the old
//! process, looked at for 2 s; whoever keeps flows in old processes has none. Memory is the proportional set size of all
//! processes, in MiB: before, the most, and at the end with the flows still open.

mod load;
mod subject;

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Args;
use serde::Serialize;

use self::load::{Load, Plan, Seen};
use self::subject::{Replaced, Subject};
use crate::cores::Cores;
use crate::peers::{self, Proxy};

/// How long the flows may take to be open.
const OPENING: Duration = Duration::from_secs(60);
/// With the load and without a handoff.
const STEADY: Duration = Duration::from_secs(2);

/// What to measure.
#[derive(Debug, Args)]
pub(crate) struct Handoff {
    /// Only these rows [default: all that are found]
    #[arg(long, value_enum, value_delimiter = ',', value_name = "PROXY")]
    proxies: Vec<Proxy>,
    /// Handoffs of Tidegate
    #[arg(long, default_value_t = 100)]
    handoffs: usize,
    /// Handoffs of each other proxy: some keep a process for each
    #[arg(long, default_value_t = 10)]
    peers_handoffs: usize,
    /// Flows that are open and talk
    #[arg(long, default_value_t = 2_000)]
    flows: usize,
    /// From a flow's message to its next, in milliseconds
    #[arg(long, default_value_t = 500)]
    period_ms: u64,
    /// New connections in a second
    #[arg(long, default_value_t = 2_000)]
    rate: u32,
    /// The haproxy binary [default: the one in PATH or /usr/sbin, skipped where there is none]
    #[arg(long, value_name = "PATH")]
    haproxy: Option<PathBuf>,
    /// The nginx binary [default: as above]
    #[arg(long, value_name = "PATH")]
    nginx: Option<PathBuf>,
    /// The envoy binary [default: as above]
    #[arg(long, value_name = "PATH")]
    envoy: Option<PathBuf>,
    /// Write the figures as JSON into this file as well
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// What came of one proxy. Times in microseconds, memory in KiB.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    proxy: Proxy,
    handoffs: usize,
    flows: u64,
    connections: u64,
    connections_per_second: f64,
    answered: u64,
    refused: u64,
    unanswered: u64,
    broken: u64,
    wrong: u64,
    skipped: u64,
    moved: u64,
    left: u64,
    took_p50: u64,
    took_max: u64,
    inside_max: u64,
    pause_p99_median: u64,
    pause_p99_max: u64,
    trip_p50: u64,
    trip_p99: u64,
    trip_max: u64,
    gone_p50: Option<u64>,
    gone_max: Option<u64>,
    stayed: usize,
    processes_before: usize,
    processes_most: usize,
    processes_end: usize,
    memory_before: u64,
    memory_most: u64,
    memory_end: u64,
    words: Vec<String>,
}

/// Measures, prints, and says whether Tidegate's row is without a fault.
pub(crate) fn run(args: &Handoff) -> anyhow::Result<ExitCode> {
    let stop = watch_for_the_end()?;
    let cores = Cores::choose(1)?;
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let _ = rustix::process::setrlimit(
        rustix::process::Resource::Nofile,
        rustix::process::Rlimit { current: limit.maximum, maximum: limit.maximum },
    );
    let mut rows = Vec::new();
    for proxy in [Proxy::Tidegate, Proxy::Haproxy, Proxy::Nginx, Proxy::Envoy] {
        if !args.proxies.is_empty() && !args.proxies.contains(&proxy) {
            continue;
        }
        let Some(binary) = binary(proxy, args)? else {
            println!("{proxy}: skipped, there is none (--{proxy} PATH names one)");
            continue;
        };
        let row = measure(proxy, &binary, args, &cores, stop).with_context(|| proxy.to_string())?;
        print!("{}", text(&row));
        rows.push(row);
    }
    if let Some(path) = &args.output {
        std::fs::write(path, serde_json::to_string_pretty(&rows)?)?;
    }
    let is_faulty = |row: &Row| {
        row.proxy == Proxy::Tidegate && row.refused + row.unanswered + row.broken + row.wrong + row.left > 0
    };
    Ok(if rows.iter().any(is_faulty) { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Ctrl-C and SIGTERM end what was started, and then this.
fn watch_for_the_end() -> anyhow::Result<&'static AtomicBool> {
    static STOP: AtomicBool = AtomicBool::new(false);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        runtime.block_on(async {
            let term = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate());
            if let Ok(mut term) = term {
                tokio::select! {
                    _ = tokio::signal::ctrl_c() => {}
                    _ = term.recv() => {}
                }
                STOP.store(true, Ordering::Relaxed);
            }
        });
    })?;
    Ok(&STOP)
}

fn binary(proxy: Proxy, args: &Handoff) -> anyhow::Result<Option<PathBuf>> {
    let given = match proxy {
        Proxy::Tidegate => return Ok(Some(std::env::current_exe()?)),
        Proxy::Nginx => &args.nginx,
        Proxy::Envoy => &args.envoy,
        _ => &args.haproxy,
    };
    if let Some(path) = given {
        if !path.is_file() {
            bail!("there is no {}", path.display());
        }
        return Ok(Some(path.clone()));
    }
    Ok(peers::in_path(&proxy.to_string()))
}

fn measure(
    proxy: Proxy,
    binary: &std::path::Path,
    args: &Handoff,
    cores: &Cores,
    stop: &AtomicBool,
) -> anyhow::Result<Row> {
    let plan = Plan { flows: args.flows, period: Duration::from_millis(args.period_ms), rate: args.rate };
    let endpoints = load::endpoints(cores.endpoints)?;
    let listener = std::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
    let mut subject = Subject::start(proxy, binary, listener, &endpoints, cores)?;
    let load = Load::start(listener, plan, cores.load)?;
    let opened = open(&load.seen, plan, stop).and_then(|()| course(&mut subject, &load.seen, args, stop));
    let flows = load.seen.open.load(Ordering::Relaxed);
    let (processes_end, memory_end) = subject.look();
    let seen = load.finish();
    let Course { replaced, before, most, seconds, connections } =
        opened.with_context(|| format!("its output:\n{}", subject.output()))?;
    let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    let took = sorted(replaced.iter().map(|it| it.took));
    let inside = sorted(replaced.iter().filter_map(|it| Some(it.said?.took())));
    let pauses = sorted(replaced.iter().filter_map(|it| Some(it.said?.pause_p99())));
    let gone = sorted(replaced.iter().filter_map(|it| it.gone));
    let said = |read: fn(&subject::Said) -> u64| replaced.iter().filter_map(|it| Some(read(&it.said?))).sum();
    Ok(Row {
        proxy,
        handoffs: replaced.len(),
        flows,
        connections: count(&seen.connections),
        connections_per_second: connections as f64 / seconds.as_secs_f64().max(0.001),
        answered: count(&seen.answered),
        refused: count(&seen.refused),
        unanswered: count(&seen.unanswered),
        broken: count(&seen.broken),
        wrong: count(&seen.wrong),
        skipped: count(&seen.skipped),
        moved: said(|it| it.flows_moved),
        left: said(|it| it.flows_left),
        took_p50: middle(&took),
        took_max: micros(took.last()),
        inside_max: micros(inside.last()),
        pause_p99_median: middle(&pauses),
        pause_p99_max: micros(pauses.last()),
        trip_p50: micros(Some(&seen.trip(50.0))),
        trip_p99: micros(Some(&seen.trip(99.0))),
        trip_max: micros(Some(&seen.trip(100.0))),
        gone_p50: (!gone.is_empty()).then(|| middle(&gone)),
        gone_max: gone.last().map(|it| micros(Some(it))),
        stayed: replaced.iter().filter(|it| it.gone.is_none()).count(),
        processes_before: before.0,
        processes_most: most.0,
        processes_end,
        memory_before: before.1,
        memory_most: most.1,
        memory_end,
        words: seen.words(),
    })
}

/// Waits until all flows are open, and some time more.
fn open(seen: &Seen, plan: Plan, stop: &AtomicBool) -> anyhow::Result<()> {
    let until = Instant::now() + OPENING;
    while seen.open.load(Ordering::Relaxed) < plan.flows as u64 {
        if Instant::now() >= until || stop.load(Ordering::Relaxed) {
            let open = seen.open.load(Ordering::Relaxed);
            bail!("{open} of {} flows are open after {OPENING:?}: {:?}", plan.flows, seen.words());
        }
        thread::sleep(Duration::from_millis(20));
    }
    thread::sleep(STEADY);
    Ok(())
}

/// The handoffs, one after the other.
struct Course {
    replaced: Vec<Replaced>,
    before: (usize, u64),
    most: (usize, u64),
    seconds: Duration,
    connections: u64,
}

fn course(subject: &mut Subject, seen: &Seen, args: &Handoff, stop: &AtomicBool) -> anyhow::Result<Course> {
    let before = subject.look();
    let mut course = Course {
        replaced: Vec::new(),
        before,
        most: before,
        seconds: Duration::ZERO,
        connections: seen.connections.load(Ordering::Relaxed),
    };
    let began = Instant::now();
    let handoffs = if subject.is_tidegate() { args.handoffs } else { args.peers_handoffs };
    for number in 0..handoffs {
        if stop.load(Ordering::Relaxed) {
            bail!("interrupted");
        }
        let replaced = subject.replace().with_context(|| format!("handoff {}", number + 1))?;
        course.replaced.push(replaced);
        let (count, memory) = subject.look();
        course.most = (course.most.0.max(count), course.most.1.max(memory));
    }
    course.seconds = began.elapsed();
    course.connections = seen.connections.load(Ordering::Relaxed) - course.connections;
    Ok(course)
}

fn sorted(times: impl Iterator<Item = Duration>) -> Vec<Duration> {
    let mut times: Vec<_> = times.collect();
    times.sort_unstable();
    times
}

fn middle(sorted: &[Duration]) -> u64 {
    micros(sorted.get(sorted.len() / 2))
}

fn micros(time: Option<&Duration>) -> u64 {
    time.map_or(0, |time| u64::try_from(time.as_micros()).unwrap_or(u64::MAX))
}

fn text(row: &Row) -> String {
    let ms = |micros: u64| format!("{:.1} ms", micros as f64 / 1_000.0);
    let mib = |kib: u64| format!("{:.1}", kib as f64 / 1_024.0);
    let mut text = format!(
        "{}: {} handoffs, {} flows open at the end, {:.0} new connections a second\n",
        row.proxy, row.handoffs, row.flows, row.connections_per_second
    );
    let _ = writeln!(
        text,
        "  refused {}, unanswered {}, broken {}, wrong {} (of {} connections and {} messages; {} not made)",
        row.refused, row.unanswered, row.broken, row.wrong, row.connections, row.answered, row.skipped
    );
    let _ = writeln!(text, "  took {} (median), {} (most)", ms(row.took_p50), ms(row.took_max));
    if row.proxy == Proxy::Tidegate {
        let _ = writeln!(
            text,
            "  flows moved {}, left {}; from hello to the end {} (most); pause p99 {} (median), {} (most)",
            row.moved,
            row.left,
            ms(row.inside_max),
            ms(row.pause_p99_median),
            ms(row.pause_p99_max)
        );
    }
    let (p50, p99, most) = (ms(row.trip_p50), ms(row.trip_p99), ms(row.trip_max));
    let _ = writeln!(text, "  trips {p50} (p50), {p99} (p99), {most} (most)");
    match (row.gone_p50, row.gone_max) {
        (Some(p50), Some(most)) => {
            let _ = writeln!(text, "  old process gone after {} (median), {} (most)", ms(p50), ms(most));
        }
        _ => text.push_str("  old process gone after: never\n"),
    }
    if row.stayed > 0 {
        let _ = writeln!(text, "  old processes that stayed: {}", row.stayed);
    }
    let _ = writeln!(
        text,
        "  processes {} before, {} most, {} at the end; memory {}, {}, {} MiB",
        row.processes_before,
        row.processes_most,
        row.processes_end,
        mib(row.memory_before),
        mib(row.memory_most),
        mib(row.memory_end)
    );
    for words in &row.words {
        let _ = writeln!(text, "  {words}");
    }
    text
}
