//! The order of things: workloads, rounds, proxies.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::process::{Resource, getrlimit, setrlimit};

use crate::cli::Compare;
use crate::cores::{self, Cores};
use crate::endpoints::Endpoints;
use crate::load::{self, Clients};
use crate::peers::{self, Peer, Running};
use crate::report::{self, Machine, Reading, Report, Table};
use crate::usage;
use crate::workload::{Part, Workload};

/// Load before the one that counts: pages, pools and caches are warm then.
const WARM_UP: Duration = Duration::from_millis(200);

/// How long all flows may take to be open, or closed, at the endpoints after they are at the clients.
const SETTLE: Duration = Duration::from_secs(5);

/// How long memory may take to come to rest.
const REST: Duration = Duration::from_millis(300);

const KEPT_CONNECTIONS: usize = 64;
const CONCURRENT_CONNECTIONS: usize = 32;
const IDLE_FLOWS: usize = 4000;

/// What every measurement needs.
struct Bench<'a> {
    endpoints: &'a Endpoints,
    descriptors: u64,
    cores: &'a Cores,
    run: Duration,
}

/// Measures everything that was asked for.
///
/// # Errors
///
/// When a proxy does not start, or what the bench needs itself is not there. A proxy that breaks a flow is no error
/// but an invalid row.
pub(crate) async fn run(args: &Compare) -> anyhow::Result<Report> {
    let peers = peers::find(args)?;
    let cores = Cores::choose(1)?;
    if cores.are_shared() {
        eprintln!("there is one core only: the load takes the proxy's time, so these figures say little");
    }
    cores::pin(&[cores.load])?;
    let endpoints =
        if cores.endpoints == cores.load { Endpoints::here() } else { Endpoints::on_core(cores.endpoints) }?;
    let bench = Bench {
        endpoints: &endpoints,
        descriptors: raise_descriptors()?,
        cores: &cores,
        run: Duration::from_secs(args.seconds),
    };

    let run = report::Run {
        date: report::date(),
        command: report::command(),
        commit: report::commit(),
        rounds: args.rounds,
        seconds: args.seconds,
        workers: 1,
        cores: cores.clone(),
    };
    let mut tables = Vec::new();
    for workload in args.workloads() {
        let chosen: Vec<&Peer> = peers.iter().filter(|peer| peer.proxy.takes(workload)).collect();
        for part in workload.parts() {
            tables.extend(bench.part(workload, *part, &chosen, args.rounds).await?);
        }
    }
    Ok(Report { machine: Machine::here(), run, peers, skipped: Vec::new(), tables })
}

impl Bench<'_> {
    async fn part(
        &self,
        workload: Workload,
        part: Part,
        peers: &[&Peer],
        rounds: u32,
    ) -> anyhow::Result<Vec<Table>> {
        let mut tables: Vec<Table> = part
            .figures()
            .iter()
            .map(|figure| Table::new(workload.name(), figure.title(), figure.unit(), figure.rate_unit()))
            .collect();
        for round in 0..rounds {
            // Another one goes first in every round.
            for at in 0..peers.len() {
                let peer = peers[(at + round as usize) % peers.len()];
                eprintln!("round {} of {rounds}: {}: {}", round + 1, part.figures()[0].title(), peer.proxy);
                let readings = self.measure(workload, part, peer).await?;
                for (table, reading) in tables.iter_mut().zip(readings) {
                    table.add(peer.proxy, reading);
                }
            }
        }
        Ok(tables)
    }

    /// One proxy, started for this and ended after it.
    async fn measure(&self, workload: Workload, part: Part, peer: &Peer) -> anyhow::Result<Vec<Reading>> {
        let endpoints = self.endpoints.addresses(workload.endpoints());
        let mut proxy = Running::start(peer, endpoints, self.descriptors, self.cores).await?;
        let measured = match part {
            Part::Idle => self.idle(&proxy).await,
            _ => self.spent(&proxy, part).await.map(|reading| vec![reading]),
        };
        let measured = match measured {
            Ok(readings) if proxy.ended().is_none() => return Ok(readings),
            Ok(_) => String::new(),
            Err(error) => format!(": {error:#}"),
        };
        // The rest of the run is worth having, and this row says what happened.
        let output = proxy.output();
        let fault = match proxy.end().await {
            Some(status) => format!("ended under load: {status}; its output:\n{output}"),
            None => format!("not measured{measured}; its output:\n{output}"),
        };
        Ok(vec![Reading { faults: vec![fault], ..Reading::default() }; part.figures().len()])
    }

    /// The processor time that a load takes from a proxy.
    async fn spent(&self, proxy: &Running, part: Part) -> anyhow::Result<Reading> {
        let warm = Clients::of(&[proxy.address()]);
        generate(&warm, part, WARM_UP).await;
        self.all_closed(&warm).await;

        let figure = part.figures()[0];
        let clients = Clients::of(&[proxy.address()]);
        let (cpu, start) = (usage::cpu(proxy.pid())?, Instant::now());
        generate(&clients, part, self.run).await;
        let wall = start.elapsed();
        self.all_closed(&clients).await;
        let spent = (usage::cpu(proxy.pid())? - cpu).as_secs_f64();
        let busy = spent / start.elapsed().as_secs_f64();

        let done = clients.done();
        let mut faults = warm.faults();
        faults.extend(clients.faults());
        if done == 0 {
            faults.push("nothing was done".to_owned());
            return Ok(Reading { faults, ..Reading::default() });
        }
        let (cost, rate) = (figure.cost(spent, done), figure.rate(wall.as_secs_f64(), done));
        Ok(Reading { cost: Some(cost), rate: Some(rate), busy: Some(busy), faults, ..Reading::default() })
    }

    /// The memory that idle flows take: before they carried anything, and after a trip on each.
    async fn idle(&self, proxy: &Running) -> anyhow::Result<Vec<Reading>> {
        let warm = Clients::of(&[proxy.address()]);
        load::trips(&warm, 2, WARM_UP / 4).await;
        self.all_closed(&warm).await;
        tokio::time::sleep(REST).await;

        let count = IDLE_FLOWS.min(usize::try_from(peers::flows_within(self.descriptors))?);
        let clients = Clients::of(&[proxy.address()]);
        let before = usage::resident(proxy.pid())?;
        let mut flows = load::hold(&clients, count).await;
        let open = self.endpoints.settle(count, SETTLE).await;
        if open != count {
            clients.fault(format!("{open} of {count} flows are open at the endpoints"));
        }
        tokio::time::sleep(REST).await;
        let silent = usage::resident(proxy.pid())?;
        flows.trip_each(&clients).await;
        tokio::time::sleep(REST).await;
        let spoken = usage::resident(proxy.pid())?;
        drop(flows);
        self.all_closed(&clients).await;

        let reading = |after: u64| Reading {
            cost: Some(after.saturating_sub(before) as f64 / 1024.0 / count as f64),
            faults: warm.faults().into_iter().chain(clients.faults()).collect(),
            ..Reading::default()
        };
        Ok(vec![reading(silent), reading(spoken)])
    }

    /// A flow that stays open at its endpoint after its client closed it is a fault.
    async fn all_closed(&self, clients: &Clients) {
        let open = self.endpoints.settle(0, SETTLE).await;
        if open > 0 {
            clients.fault(format!(
                "{open} flows are open at the endpoints {SETTLE:?} after their clients closed"
            ));
        }
    }
}

async fn generate(clients: &Arc<Clients>, part: Part, run: Duration) {
    match part {
        Part::Bulk { flows } => load::bulk(clients, flows, run).await,
        Part::Trips => load::trips(clients, KEPT_CONNECTIONS, run).await,
        Part::Connections => load::connections(clients, CONCURRENT_CONNECTIONS, run).await,
        Part::Idle => {}
    }
}

/// Takes as many open files as the hard limit allows; the proxies inherit them.
fn raise_descriptors() -> anyhow::Result<u64> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).context("cannot raise the limit on open files")?;
    Ok(limit.current.unwrap_or(1_000_000).min(1_000_000))
}
