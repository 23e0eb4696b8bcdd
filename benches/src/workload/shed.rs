//! Shedding: many idle flows on one endpoint that drains with a deadline, beside another service that is busy.
//!
//! Tidegate alone has such a thing, so there is one row. Asked is whether the flows go evenly over the window, whether the
//! last one is gone before the deadline, and what the other service feels of it: its round trips at a fixed rate are
//! measured twice in one run of one proxy, with the idle flows untouched and while they are shed.
//!
//! The window is looked at second by second, from the first shed on; the second in which the last one falls is not whole
//! and does not count. The deadline counts from when the slice was renamed into place, which is a moment before the drain
//! begins: a flow that goes after that is late in either reckoning.

use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{cell::RefCell, fs};

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::rate::Rate;
use super::{Figure, Workload};
use crate::child::Started;
use crate::endpoints::{Endpoints, Process};
use crate::load::{Clients, Fault, Message, SMALL, trip};
use crate::measure::{Options, Per, Subject};
use crate::peers::{Peer, Start, free_addresses};
use crate::report::{Reading, Table};

/// Kept connections of the other service, and its requests in a second.
const CONNECTIONS: usize = 64;
const RATE: u64 = 5000;

/// Connections opened before the proxy gets a moment: fewer than any queue holds.
const BURST: usize = 64;

/// How many times it is measured: one tail of latencies says little.
pub(crate) const ROUNDS: usize = 3;

/// How long before the window the drain begins.
const AHEAD: Duration = Duration::from_secs(2);

/// How many flows, and over which time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    flows: usize,
    window: Duration,
    /// How long the other service is measured while nothing is shed.
    quiet: Duration,
}

impl Plan {
    /// A little over a minute.
    pub(crate) const FULL: Self =
        Self { flows: 8000, window: Duration::from_secs(30), quiet: Duration::from_secs(20) };

    /// Some seconds; it shows that all of it works, and little else.
    pub(crate) const QUICK: Self =
        Self { flows: 500, window: Duration::from_secs(6), quiet: Duration::from_secs(2) };

    fn deadline(self) -> Duration {
        AHEAD + self.window
    }
}

/// Measures the one proxy that sheds, once.
///
/// # Errors
///
/// When it does not start, or its slices cannot be written. What it does to flows is in the readings.
pub(crate) async fn measure(
    peer: &Peer,
    start: &Start,
    endpoints: &Endpoints,
    mut plan: Plan,
) -> anyhow::Result<Vec<Reading>> {
    plan.flows = plan.flows.min(start.flows);
    let directory = tempfile::tempdir().context("cannot make a directory for the proxy")?;
    let listeners = free_addresses(None, 2)?;
    // As many descriptors as flows, which the clients need as well.
    let behind = Process::start(start.cores.endpoints)?;
    let echo = behind.addresses();
    ensure!(echo.len() >= 3, "three endpoints are needed");
    let slices = directory.path().join("slices");
    fs::create_dir(&slices)?;
    write_slices(&slices, echo, false)?;
    let path = directory.path().join("tidegate.yaml");
    fs::write(&path, configuration(&listeners, &slices, &echo[2], start.workers, plan).to_string())?;
    let mut command = peer.command().context("there is no proxy to start")?;
    command.arg("run").arg("--config").arg(&path);
    let mut child = Started::start(peer.proxy, command, &listeners, directory.path(), &start.cores).await?;
    let subject = |address| Subject {
        pid: Some(child.pid()),
        cores: start.cores.proxy.len(),
        addresses: vec![address],
        endpoints,
        options: Options { run: plan.quiet, rate: RATE, flows: start.flows },
    };
    let readings = Run { plan, idle: subject(listeners[0]), busy: subject(listeners[1]) }
        .measure(|| write_slices(&slices, echo, true))
        .await?;
    let mut faults = endpoints.take_faults();
    if let Some(status) = child.ended() {
        faults.push(format!("ended under load: {status}; its output:\n{}", child.output()));
    }
    let with_faults = readings.into_iter().map(|mut reading| {
        reading.faults.extend_from_slice(&faults);
        reading
    });
    Ok(with_faults.collect())
}

/// A table for each reading of [`measure`].
pub(crate) fn tables(plan: Plan) -> Vec<Table> {
    let what = format!("{} flows of one endpoint shed within {} s", plan.flows, plan.window.as_secs());
    let trips = "64-byte round trips of another service at a fixed rate";
    [
        Figure::new(format!("{what}: the second that is farthest from even"), "% off", Some("sheds/s")),
        Figure::new(format!("{what}: how long before the deadline the last one went"), "ms", None),
        Figure::new(format!("{trips}, nobody is shed"), "CPU-us/trip", Some("trips/s")),
        Figure::new(format!("{trips}, while they are shed"), "CPU-us/trip", Some("trips/s")),
    ]
    .map(|figure| figure.table(Workload::Shed))
    .into()
}

fn configuration(
    listeners: &[std::net::SocketAddr],
    slices: &Path,
    other: &std::net::SocketAddr,
    workers: usize,
    plan: Plan,
) -> Value {
    let millis = |time: Duration| format!("{}ms", time.as_millis());
    json!({
        "apiVersion": "tidegate.io/v1alpha1",
        "kind": "ProxyConfiguration",
        "workers": workers,
        "source": {"endpointSliceDirectory": slices},
        "listeners": [
            {"name": "idle", "address": listeners[0], "service": "bench/idle", "port": "bench"},
            {"name": "busy", "address": listeners[1], "service": "bench/busy"},
        ],
        "services": [
            {"name": "bench/idle", "drain": {"deadline": millis(plan.deadline()), "window": millis(plan.window)}},
            {"name": "bench/busy", "endpoints": [other]},
        ],
    })
}

/// The first endpoint ready and the second one not; or the first one terminating and the second one ready.
fn write_slices(
    directory: &Path,
    endpoints: &[std::net::SocketAddr],
    drains: bool,
) -> anyhow::Result<Instant> {
    // Their ports differ, so each has a slice of its own. Whoever takes over comes first.
    for number in [1, 0] {
        let address = endpoints[number];
        let [ready, serving, terminating] = match (number, drains) {
            (0, true) => [false, true, true],
            (0, false) | (1, true) => [true, true, false],
            _ => [false, false, false],
        };
        let slice = json!({
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": format!("idle-{number}"),
                "namespace": "bench",
                "labels": {"kubernetes.io/service-name": "idle"},
            },
            "addressType": "IPv4",
            "ports": [{"name": "bench", "protocol": "TCP", "port": address.port()}],
            "endpoints": [{
                "addresses": [address.ip()],
                "conditions": {"ready": ready, "serving": serving, "terminating": terminating},
                "targetRef": {"kind": "Pod", "name": format!("idle-{number}"), "uid": format!("{number}")},
            }],
        });
        let beside = directory.join(format!("idle-{number}.new"));
        fs::write(&beside, slice.to_string())?;
        fs::rename(&beside, directory.join(format!("idle-{number}.json")))?;
    }
    Ok(Instant::now())
}

/// One measurement: the service whose flows are shed, and the one that is busy.
struct Run<'a> {
    plan: Plan,
    idle: Subject<'a>,
    busy: Subject<'a>,
}

impl Run<'_> {
    async fn measure(&self, drain: impl FnOnce() -> anyhow::Result<Instant>) -> anyhow::Result<Vec<Reading>> {
        let clients = self.idle.clients();
        let (ends, flows) = self.open(&clients).await;
        let rate = Rate { connections: CONNECTIONS };
        let quiet = self.busy.clients();
        let load = async |clients: &Arc<Clients>, time| {
            rate.run(clients, RATE, time).await;
            Instant::now()
        };
        let spent_quiet =
            self.busy.metered(Per::Item, &quiet, async || load(&quiet, self.plan.quiet).await).await?;
        let began = drain()?;
        let deadline = began + self.plan.deadline();
        let shedding = self.busy.clients();
        // The load is on for the window alone, so that every trip of it is one while flows are shed.
        tokio::time::sleep(AHEAD).await;
        let spent =
            self.busy.metered(Per::Item, &shedding, async || load(&shedding, self.plan.window).await).await?;
        clients.join(flows, self.plan.deadline()).await;
        let ends = ends.borrow().clone();
        let outcome = Outcome::of(&ends, deadline);
        if ends.len() < self.plan.flows {
            clients.fault(format!("{} of {} flows were shed", ends.len(), self.plan.flows));
        }
        let faults = clients.faults();
        let reading = |cost, rate| Reading { cost, rate, faults: faults.clone(), ..Reading::default() };
        Ok(vec![
            reading(outcome.map(|it| it.farthest), outcome.map(|it| it.rate)),
            reading(outcome.map(|it| it.ahead), None),
            // The load waits by looking at the clock, so what the whole machine spent says nothing.
            Reading { machine: None, ..spent_quiet },
            Reading { machine: None, ..spent },
        ])
    }

    /// Opens the flows, each with one round trip; each writes down when it was told to go.
    async fn open(&self, clients: &Arc<Clients>) -> (Rc<RefCell<Vec<Instant>>>, JoinSet<Result<(), Fault>>) {
        let ends: Rc<RefCell<Vec<Instant>>> = Rc::default();
        let mut flows = JoinSet::new();
        for number in 0..self.plan.flows {
            let opened = async {
                let mut stream = clients.connect(None).await?;
                trip(&mut stream, &Message::new(number as u64, SMALL)).await?;
                Ok::<_, Fault>(stream)
            };
            match opened.await {
                Ok(stream) => drop(flows.spawn_local(until_told(stream, Rc::clone(&ends)))),
                Err(fault) => clients.fault(fault),
            }
            if clients.gives_up() {
                break;
            }
            if number % BURST == 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        (ends, flows)
    }
}

/// Waits for the FIN, and answers it.
async fn until_told(mut stream: TcpStream, ends: Rc<RefCell<Vec<Instant>>>) -> Result<(), Fault> {
    match stream.read(&mut [0; 1]).await {
        Ok(0) => {
            ends.borrow_mut().push(Instant::now());
            Ok(())
        }
        Ok(_) => Err(Fault::wrong_byte("rest")),
        Err(error) => Err(Fault::new("rest", error)),
    }
}

/// What the ends of the flows say.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Outcome {
    /// In a second, over the whole seconds.
    rate: f64,
    /// By how many percent of that the second that is farthest from it is off.
    farthest: f64,
    /// How long before the deadline the last one went, in milliseconds; negative for after it.
    ahead: f64,
}

impl Outcome {
    fn of(ends: &[Instant], deadline: Instant) -> Option<Self> {
        let (first, last) = (*ends.iter().min()?, *ends.iter().max()?);
        let whole = usize::try_from((last - first).as_secs()).ok().filter(|whole| *whole > 0)?;
        let mut seconds = vec![0_u32; whole];
        for end in ends {
            let second = usize::try_from((*end - first).as_secs()).unwrap_or(usize::MAX);
            if let Some(count) = seconds.get_mut(second) {
                *count += 1;
            }
        }
        let rate = f64::from(seconds.iter().sum::<u32>()) / whole as f64;
        let off = |count: &u32| (f64::from(*count) - rate).abs() / rate * 100.0;
        let late = last.saturating_duration_since(deadline).as_secs_f64();
        let ahead = deadline.saturating_duration_since(last).as_secs_f64();
        Some(Self {
            rate,
            farthest: seconds.iter().map(off).fold(0.0, f64::max),
            ahead: (ahead - late) * 1000.0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_counted_from_the_first_end_on_and_the_last_one_is_left_out() {
        let began = Instant::now();
        let at = move |millis: u64| began + Duration::from_millis(millis);
        // Ten in the first second, eight in the next, twelve in the third, and one to end with.
        let spread = [(0, 10), (1000, 8), (2000, 12), (3000, 1)];
        let ends: Vec<_> = spread
            .iter()
            .flat_map(|(second, count)| (0..*count).map(move |number| at(second + number * 10)))
            .collect();
        let outcome = Outcome::of(&ends, at(3_500)).expect("there are ends");
        assert!((outcome.rate - 10.0).abs() < 1e-9);
        assert!((outcome.farthest - 20.0).abs() < 1e-9);
        assert!((outcome.ahead - 500.0).abs() < 1e-6);
        assert!(Outcome::of(&ends, at(2_900)).expect("there are ends").ahead < -99.0, "late");
        assert_eq!(Outcome::of(&[], at(0)), None);
    }
}
