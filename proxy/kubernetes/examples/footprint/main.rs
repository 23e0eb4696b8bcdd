//! What 50,000 endpoints in 5,000 slices cost: resident memory when steady and during a relist, how far publishes are
//! behind a burst of 10,000 changes a second, and what such a burst does to new flows.
//!
//! `cargo run --release -p tidegate-kubernetes --example footprint` starts itself a second time as the API server, follows
//! it, and keeps a table as the controller does. With `-- flows target/release/tidegate` it starts that program instead, and
//! clients of it. It prints what it measured; nothing is judged.

mod flows;
mod server;

use std::{
    env, fs,
    time::{Duration, Instant},
};

use tidegate_core::{
    Event, Output, ServiceConfig, ServiceName, ServicePort, ServiceSettings, Table, Timestamp,
};
use tidegate_kubernetes::{Access, Options, follow};
use tokio::sync::mpsc;

use self::server::{BURST, ENDPOINTS, RATE, SERVICES, SLICES, Server};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long what is free may take to be given back.
const SETTLING: Duration = Duration::from_secs(4);

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => measure(&mut Server::start()),
        ["serve"] => server::serve(),
        ["flows", program] => flows::measure(program),
        other => panic!("no such thing to measure: {other:?}"),
    }
}

/// The table with what feeds it, as the controller has it.
struct Measured {
    table: Table,
    events: mpsc::Receiver<(Event, Instant)>,
    begun: Instant,
    delays: Vec<Duration>,
    listed: usize,
    applied: usize,
}

impl Measured {
    /// Goes on as a controller that nobody tells anything: an allocator gives back what is free when it is asked for something.
    fn settle(&mut self) {
        let until = Instant::now() + SETTLING;
        while Instant::now() < until {
            let now = Timestamp::default().after(self.begun.elapsed());
            while let Ok((event, _)) = self.events.try_recv() {
                self.table.handle_event(event, now);
            }
            self.table.handle_tick(now);
            while self.table.poll_output(now).is_some() {}
            drop(vec![0_u8; 1024 * 1024]);
            std::thread::park_timeout(Duration::from_millis(50));
        }
    }

    /// Takes what is there, a thousand at a time, and publishes it together.
    fn turn(&mut self) {
        let Some((event, arrived)) = self.events.blocking_recv() else { return };
        let mut arrivals = vec![arrived];
        let mut taken = vec![event];
        while taken.len() < 1_024
            && let Ok((event, arrived)) = self.events.try_recv()
        {
            taken.push(event);
            arrivals.push(arrived);
        }
        let now = || Timestamp::default().after(self.begun.elapsed());
        for event in taken {
            self.listed += usize::from(matches!(event, Event::SlicesListed(_)));
            self.applied += usize::from(matches!(event, Event::SliceApplied(_)));
            self.table.handle_event(event, now());
        }
        while let Some(output) = self.table.poll_output(now()) {
            if let Output::Publish(_) = output {
                self.delays.extend(arrivals.drain(..).map(|arrived| arrived.elapsed()));
            }
        }
    }
}

fn measure(server: &mut Server) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("kubeconfig");
    fs::write(&path, server.kubeconfig()).expect("a kubeconfig");
    let (sender, events) = mpsc::channel(1_024);
    let table = Table::new(1);
    let config = |service| ServiceConfig {
        port: ServicePort {
            service: ServiceName::new("default", format!("service-{service}")),
            port: Some("http".into()),
        },
        settings: ServiceSettings::default(),
        fixed: None,
    };
    let begun = Instant::now();
    let mut measured = Measured { table, events, begun, delays: Vec::new(), listed: 0, applied: 0 };
    let before = memory("VmRSS");
    let options = Options { access: Access { kubeconfig: Some(path), context: None }, ..Options::default() };
    let follower = follow(options, sender).expect("a source");
    while measured.listed < 1 {
        measured.turn();
    }
    println!("first list: {:?}", begun.elapsed());
    measured.settle();
    let known = report("with all slices known and no Service served", before);
    let now = Timestamp::default().after(begun.elapsed());
    let configs = (0..SERVICES).map(config).collect();
    measured.table.handle_event(Event::ServicesConfigured(configs), now);
    while measured.table.poll_output(now).is_some() {}
    measured.settle();
    let steady = report("with all of them served", before);
    let lists = || {
        let report = follower.status().report();
        let slices = report.watches.iter().find(|watch| watch.resource == "endpointslices");
        slices.map_or(0, |watch| watch.lists_total)
    };
    for (number, (order, what)) in
        [("expire", "of what is known"), ("renew", "after every slice has changed")].into_iter().enumerate()
    {
        // The highest mark begins anew.
        fs::write("/proc/self/clear_refs", "5").expect("the mark can be reset");
        server.order(order);
        while lists() < number as u64 + 2 {
            std::thread::park_timeout(Duration::from_millis(1));
        }
        measured.settle();
        println!("highest during a relist {what}: {} MiB", mib(memory("VmHWM")));
        report("after it", before);
    }
    measured.delays.clear();
    let (cpu, start) = (cpu_time(), Instant::now());
    server.order("burst");
    let total = RATE * usize::try_from(BURST.as_secs()).expect("some seconds");
    while measured.applied < total {
        measured.turn();
    }
    let took = start.elapsed();
    let mut delays = std::mem::take(&mut measured.delays);
    delays.sort();
    let at = |part: f64| delays.get(((delays.len() - 1) as f64 * part) as usize).copied().unwrap_or_default();
    println!(
        "{total} changes in {took:?}: arrival to publish p50 {:?}, p99 {:?}, most {:?}; processor {:?}",
        at(0.5),
        at(0.99),
        at(1.0),
        cpu_time().saturating_sub(cpu)
    );
    println!("highest during the burst: {} MiB", mib(memory("VmHWM")));
    measured.settle();
    report("after the burst", before);
    let each = |kib: usize| (kib - before) * 1024 / (SLICES * ENDPOINTS);
    println!("for each endpoint: {} bytes known, {} bytes served", each(known), each(steady));
}

/// Prints and gives the resident memory.
fn report(when: &str, before: usize) -> usize {
    let now = memory("VmRSS");
    println!("resident {when}: {} MiB ({} MiB before anything)", mib(now), mib(before));
    now
}

fn mib(kib: usize) -> String {
    format!("{:.1}", kib as f64 / 1024.0)
}

/// A line of /proc/self/status in KiB.
fn memory(field: &str) -> usize {
    let status = fs::read_to_string("/proc/self/status").expect("a status");
    let line = status.lines().find(|line| line.starts_with(field)).expect("the field");
    line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("a number")
}

/// Processor time of this process.
fn cpu_time() -> Duration {
    let stat = fs::read_to_string("/proc/self/stat").expect("a stat");
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks: u64 = fields[11..13].iter().filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
}
