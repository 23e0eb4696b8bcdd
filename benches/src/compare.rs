//! The order of things: workloads, rounds, proxies; then what is measured once: rolling updates and handoffs.

use std::time::Duration;

use anyhow::Context;
use rustix::process::{Resource, getrlimit, setrlimit};

use crate::cli::Compare;
use crate::cores::{self, Cores};
use crate::endpoints::{Endpoints, MANY};
use crate::handoff;
use crate::measure::{Options, Subject};
use crate::peers::{self, Peer, Running, Start};
use crate::progress::Progress;
use crate::report::{self, Machine, Reading, Report, Table};
use crate::rollout;
use crate::workload::{Behind, Part, Workload, shed};

/// What every measurement needs.
struct Bench<'a> {
    args: &'a Compare,
    endpoints: &'a Endpoints,
    start: Start,
}

/// Measures everything that was asked for.
///
/// # Errors
///
/// When a proxy does not start, or what the bench needs itself is not there. A proxy that breaks a flow is no error
/// but an invalid row.
pub(crate) async fn run(args: &Compare) -> anyhow::Result<Report> {
    let (peers, skipped) = peers::find(args)?;
    for peer in &peers {
        eprintln!("{}: {}", peer.proxy, peer.version);
    }
    skipped.iter().for_each(|skipped| eprintln!("{skipped}"));
    let cores = Cores::choose(args.workers())?;
    if cores.are_shared() {
        eprintln!("there is one core only: the load takes the proxy's time, so these figures say little");
    }
    cores::pin(&[cores.load])?;
    let descriptors = raise_descriptors()?;
    let endpoints =
        if cores.endpoints == cores.load { Endpoints::here() } else { Endpoints::on_core(cores.endpoints) }?;
    let start = Start {
        workers: args.workers(),
        descriptors,
        flows: flows_within(descriptors),
        cores: cores.clone(),
    };
    let run = report::Run {
        date: report::date(),
        command: report::command(),
        commit: report::commit(),
        rounds: args.rounds(),
        seconds: args.seconds(),
        workers: args.workers(),
        cores,
    };
    let bench = Bench { args, endpoints: &endpoints, start };
    let plan = bench.plan(&peers);
    let of = |workload: Workload| -> Vec<&Peer> {
        let asked = args.workloads().contains(&workload);
        peers.iter().filter(|peer| asked && workload.takes(peer.proxy)).collect()
    };
    let (sheds, rollouts) = (of(Workload::Shed), of(Workload::Rollout));
    let handoffs = of(Workload::Handoff);
    let handoff_plans: &[handoff::Plan] =
        if args.quick { &handoff::Plan::QUICK } else { &handoff::Plan::FULL };
    let count: usize = plan.iter().map(|(_, _, peers)| peers.len()).sum();
    let shed_rounds = if args.quick { 1 } else { shed::ROUNDS };
    let once = sheds.len() * shed_rounds + rollouts.len() + handoffs.len() * handoff_plans.len();
    let mut progress = Progress::new(u64::from(args.rounds()) * count as u64 + once as u64);
    let mut tables = Vec::new();
    for (workload, part, peers) in &plan {
        tables.extend(bench.part(*workload, part, peers, &mut progress).await?);
    }
    for peer in sheds {
        let plan = if args.quick { shed::Plan::QUICK } else { shed::Plan::FULL };
        let mut measured = shed::tables(plan);
        for round in 1..=shed_rounds {
            progress.next(&format!("shedding, round {round}: {}", peer.proxy));
            let readings = shed::measure(peer, &bench.start, &endpoints, plan).await?;
            measured.iter_mut().zip(readings).for_each(|(table, reading)| table.add(peer.proxy, reading));
        }
        tables.extend(measured);
    }
    let mut outcomes = Vec::new();
    for peer in rollouts {
        progress.next(&format!("rolling updates: {}", peer.proxy));
        outcomes.extend(bench.rollout(peer).await?);
    }
    let mut replaced = Vec::new();
    for plan in handoff_plans {
        for peer in &handoffs {
            progress.next(&format!("handoffs: {}", peer.proxy));
            replaced.push(handoff::measure(peer, &bench.start.cores, *plan).await?);
        }
    }
    let machine = Machine::here();
    Ok(Report { machine, run, peers, skipped, tables, rollouts: outcomes, handoffs: replaced })
}

impl Bench<'_> {
    /// All measurements of one round, in their order, with the rows that each has.
    fn plan<'p>(&self, peers: &'p [Peer]) -> Vec<(Workload, Part, Vec<&'p Peer>)> {
        let mut plan = Vec::new();
        for workload in self.args.workloads() {
            let peers: Vec<&Peer> = peers.iter().filter(|peer| workload.takes(peer.proxy)).collect();
            let parts = workload.parts(self.args.quick).into_iter();
            plan.extend(parts.map(|part| (workload, part, peers.clone())));
        }
        plan
    }

    async fn rollout(&self, peer: &Peer) -> anyhow::Result<Option<rollout::Outcome>> {
        let plan = if self.args.quick { rollout::Plan::QUICK } else { rollout::Plan::FULL };
        let Some(command) = peer.command() else { return Ok(None) };
        rollout::measure(peer.proxy, command, &self.start.cores, plan).await.map(Some)
    }

    async fn part(
        &self,
        workload: Workload,
        part: &Part,
        peers: &[&Peer],
        progress: &mut Progress,
    ) -> anyhow::Result<Vec<Table>> {
        let mut tables: Vec<Table> = part.figures.iter().map(|figure| figure.table(workload)).collect();
        for round in 0..self.args.rounds() {
            // Another one goes first in every round.
            for at in 0..peers.len() {
                let peer = peers[(at + round as usize) % peers.len()];
                progress.next(&format!("{}, round {}: {}", part.figures[0].title, round + 1, peer.proxy));
                let readings = self.measure(part, peer).await?;
                for (table, reading) in tables.iter_mut().zip(readings) {
                    table.add(peer.proxy, reading);
                }
            }
        }
        Ok(tables)
    }

    /// One proxy, started for this and ended after it.
    async fn measure(&self, part: &Part, peer: &Peer) -> anyhow::Result<Vec<Reading>> {
        let endpoints = match part.layout.endpoints {
            Behind::Few(kind) => self.endpoints.few(kind).to_vec(),
            Behind::Many(count) => self.endpoints.many(count.min(MANY)),
        };
        let mut subject = Subject {
            pid: None,
            cores: self.start.cores.proxy.len(),
            addresses: endpoints,
            endpoints: self.endpoints,
            options: Options {
                run: Duration::from_secs(self.args.seconds()),
                rate: self.args.rate,
                flows: self.start.flows,
            },
        };
        let mut running = None;
        if peer.is_process() {
            let listeners = peers::free_addresses(self.args.listen, part.layout.listeners)?;
            let proxy = Running::start(peer, listeners, &subject.addresses, &self.start).await?;
            subject.pid = Some(proxy.pid());
            subject.addresses = proxy.addresses().to_vec();
            running = Some(proxy);
        }
        let measured = part.load.measure(&subject).await;
        let wrong = self.endpoints.take_faults();
        let Some(mut proxy) = running else { return with_faults(measured?, &wrong) };
        match measured {
            Ok(readings) if proxy.ended().is_none() => with_faults(readings, &wrong),
            // The rest of the run is worth having, and this row says what happened.
            measured => {
                let faults = vec![failure(measured.err(), &mut proxy).await];
                Ok(vec![Reading { faults, ..Reading::default() }; part.figures.len()])
            }
        }
    }
}

/// Readings with what the endpoints found wrong.
fn with_faults(mut readings: Vec<Reading>, wrong: &[String]) -> anyhow::Result<Vec<Reading>> {
    readings.iter_mut().for_each(|reading| reading.faults.extend_from_slice(wrong));
    Ok(readings)
}

/// What to say of a proxy under which nothing could be measured.
async fn failure(error: Option<anyhow::Error>, proxy: &mut Running) -> String {
    let output = proxy.output();
    match (proxy.end().await, error) {
        (Some(status), _) => format!("ended under load: {status}; its output:\n{output}"),
        (None, Some(error)) => format!("not measured: {error:#}; its output:\n{output}"),
        (None, None) => format!("not measured; its output:\n{output}"),
    }
}

/// The most flows that a limit on open files allows: two descriptors each, in the proxy as well as for clients and
/// endpoints here, and some for what else there is.
fn flows_within(descriptors: u64) -> usize {
    usize::try_from(descriptors * 2 / 5).unwrap_or(usize::MAX).min(100_000)
}

/// Takes as many open files as the hard limit allows; the proxies inherit them.
fn raise_descriptors() -> anyhow::Result<u64> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).context("cannot raise the limit on open files")?;
    Ok(limit.current.unwrap_or(1_000_000).min(1_000_000))
}
