//! `handoff`: the process of a proxy is replaced again and again under load.
//!
//! For each proxy: flows that talk all the time, new connections at a fixed rate, and after a while without any change
//! its process is replaced as its own manual says, so many times, at a fixed pace:
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
//! processes, in MiB: before, the most that was seen, also while both processes are there, and at the end with the flows
//! still open.

mod load;
mod plan;
mod subject;
mod table;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};

use self::load::{Load, Seen};
pub(crate) use self::plan::Plan;
use self::subject::{Look, Replaced, Subject};
use crate::cores::Cores;
use crate::endpoints::Process;
use crate::peers::{Peer, Proxy};

/// How long the flows may take to be open.
const OPENING: Duration = Duration::from_secs(60);
/// With the load and without a handoff.
const STEADY: Duration = Duration::from_secs(2);

/// What came of one proxy. Times in microseconds, memory in KiB.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Outcome {
    proxy: Proxy,
    plan: Plan,
    handoffs: usize,
    /// Open at the end.
    flows: u64,
    connections: u64,
    connections_per_second: f64,
    answered: u64,
    refused: u64,
    unanswered: u64,
    broken: u64,
    wrong: u64,
    /// Connections that were due and not made, because too many were open.
    skipped: u64,
    took: Option<Spread>,
    /// What only a proxy that moves flows can say.
    moved: Option<Moved>,
    trip: Spread,
    gone: Option<Spread>,
    /// Old processes that were still there after [`subject::OLD`].
    stayed: usize,
    processes: Course,
    memory: Course,
    /// The first flows that were refused or broken, in words.
    words: Vec<String>,
    /// What kept it from being measured.
    faults: Vec<String>,
}

/// What `tidegate upgrade` says, over all handoffs.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Moved {
    moved: u64,
    left: u64,
    /// From hello to the end.
    inside_max: u64,
    /// Of the 99th percentiles of all handoffs.
    pause_p99: Spread,
}

/// By nearest rank, in microseconds.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Spread {
    p50: u64,
    p99: u64,
    max: u64,
}

/// Before the first handoff, at its most, and at the end.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Course {
    before: u64,
    most: u64,
    end: u64,
}

/// Measures one proxy on threads of its own; whoever drops the future ends it.
///
/// # Errors
///
/// When it does not start. What it does to flows, and what fails later, is in the outcome.
pub(crate) async fn measure(peer: &Peer, cores: &Cores, plan: Plan) -> anyhow::Result<Outcome> {
    let stop = Arc::new(AtomicBool::new(false));
    let _guard = SetOnDrop(Arc::clone(&stop));
    let (peer, cores) = (peer.clone(), cores.clone());
    let proxy = peer.proxy;
    let measured = tokio::task::spawn_blocking(move || measure_now(&peer, plan, &cores, &stop)).await?;
    measured.with_context(|| format!("handoff with {proxy}"))
}

/// Tells the threads that nobody waits for them any more.
struct SetOnDrop(Arc<AtomicBool>);

impl Drop for SetOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn measure_now(peer: &Peer, plan: Plan, cores: &Cores, stop: &AtomicBool) -> anyhow::Result<Outcome> {
    let endpoints = Process::start(cores.endpoints)?;
    let listener = std::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
    let mut subject = Subject::start(peer.proxy, &peer.binary, listener, endpoints.addresses(), cores)?;
    let load = Load::start(listener, plan, cores.load)?;
    let mut replaced = Vec::new();
    let before = open(&load.seen, plan, stop).map(|()| subject.look());
    let (began, connections) = (Instant::now(), load.seen.connections.load(Ordering::Relaxed));
    let done = before.as_ref().map_or(Ok(()), |_| replace_all(&mut subject, plan, &mut replaced, stop));
    let seconds = began.elapsed().as_secs_f64();
    let connections = load.seen.connections.load(Ordering::Relaxed) - connections;
    let flows = load.seen.open.load(Ordering::Relaxed);
    let (most, end) = (subject.most(), subject.look());
    let seen = load.finish();
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let faults = before.as_ref().err().into_iter().chain(done.as_ref().err());
    let faults = faults.map(|error| format!("{error:#}; its output:\n{}", subject.output())).collect();
    let before = before.unwrap_or_default();
    let course = |read: fn(Look) -> u64| Course { before: read(before), most: read(most), end: read(end) };
    Ok(Outcome {
        proxy: peer.proxy,
        plan,
        handoffs: replaced.len(),
        flows,
        connections: count(&seen.connections),
        connections_per_second: connections as f64 / seconds.max(0.001),
        answered: count(&seen.answered),
        refused: count(&seen.refused),
        unanswered: count(&seen.unanswered),
        broken: count(&seen.broken),
        wrong: count(&seen.wrong),
        skipped: count(&seen.skipped),
        took: Spread::of_known(replaced.iter().map(|it| it.took)),
        moved: Moved::of(&replaced),
        trip: seen.trips(),
        gone: Spread::of_known(replaced.iter().map(|it| it.gone)),
        stayed: replaced.iter().filter(|it| it.gone.is_none()).count(),
        processes: course(|look| look.processes),
        memory: course(|look| look.memory),
        words: seen.words(),
        faults,
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
fn replace_all(
    subject: &mut Subject,
    plan: Plan,
    replaced: &mut Vec<Replaced>,
    stop: &AtomicBool,
) -> anyhow::Result<()> {
    for number in 1..=plan.handoffs_of(subject.proxy()) {
        let next = Instant::now() + plan.pace;
        replaced.push(subject.replace().with_context(|| format!("handoff {number}"))?);
        while let left = next.saturating_duration_since(Instant::now())
            && !left.is_zero()
        {
            if stop.load(Ordering::Relaxed) {
                bail!("interrupted");
            }
            thread::sleep(left.min(Duration::from_millis(50)));
        }
    }
    Ok(())
}

impl Moved {
    fn of(replaced: &[Replaced]) -> Option<Self> {
        let said: Vec<_> = replaced.iter().filter_map(|it| it.said).collect();
        let inside_max = said.iter().map(|it| it.took_us).max()?;
        Some(Self {
            moved: said.iter().map(|it| it.flows_moved).sum(),
            left: said.iter().map(|it| it.flows_left).sum(),
            inside_max,
            pause_p99: Spread::of(said.iter().map(|it| Duration::from_micros(it.pause_p99_us))),
        })
    }
}

impl Spread {
    /// None where none is known.
    fn of_known(times: impl Iterator<Item = Option<Duration>>) -> Option<Self> {
        let known: Vec<_> = times.flatten().collect();
        (!known.is_empty()).then(|| Self::of(known.into_iter()))
    }

    /// Zeros of no times.
    fn of(times: impl Iterator<Item = Duration>) -> Self {
        let mut micros: Vec<u64> =
            times.map(|time| u64::try_from(time.as_micros()).unwrap_or(u64::MAX)).collect();
        micros.sort_unstable();
        let rank = |percent: usize| {
            let at = (micros.len() * percent).div_ceil(100).saturating_sub(1);
            micros.get(at).copied().unwrap_or(0)
        };
        Self { p50: rank(50), p99: rank(99), max: rank(100) }
    }
}

#[cfg(test)]
mod tests;
