//! Flows that are open and carry nothing: the memory that each takes, in the proxy and in the kernel.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;

use super::{Figure, Layout, Load, Part};
use crate::endpoints::Kind;
use crate::load::{Clients, Message, SMALL, trip};
use crate::measure::{SETTLE, Subject};
use crate::report::Reading;
use crate::usage::machine;

/// The most flows that are held.
const FLOWS: usize = 8000;

/// Connections opened before the proxy gets a moment: fewer than any queue holds.
const BURST: usize = 64;

/// How long one trip may take.
const TRIP: Duration = Duration::from_secs(5);

/// How long memory may take to come to rest.
const REST: Duration = Duration::from_millis(500);

/// The load.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Idle;

pub(super) fn parts() -> Vec<Part> {
    let titles = [
        "idle flows that never carried a byte: resident memory of the proxy",
        "idle flows that never carried a byte: kernel memory, both ends' included",
        "idle flows after one 64-byte round trip each: resident memory of the proxy",
        "idle flows after one 64-byte round trip each: kernel memory, both ends' included",
    ];
    vec![Part {
        layout: Layout::plain(Kind::Echo),
        figures: titles.map(|title| Figure::new(title, "KiB/flow", None)).to_vec(),
        load: Load::Idle(Idle),
    }]
}

/// Memory at one moment, in bytes.
struct Memory {
    resident: Option<u64>,
    kernel: u64,
}

impl Memory {
    async fn now(subject: &Subject<'_>) -> anyhow::Result<Self> {
        tokio::time::sleep(REST).await;
        Ok(Self { resident: subject.resident()?, kernel: machine::kernel_memory()? })
    }
}

impl Idle {
    pub(super) async fn measure(self, subject: &Subject<'_>) -> anyhow::Result<Vec<Reading>> {
        let warm = subject.clients();
        Held::open(&warm, BURST).await.trip_each(&warm).await;
        subject.all_closed(&warm).await;

        let count = FLOWS.min(subject.flows());
        let clients = subject.clients();
        let before = Memory::now(subject).await?;
        let mut held = Held::open(&clients, count).await;
        let open = subject.settle(count).await;
        if open != count {
            clients.fault(format!("{open} of {count} flows are open at the endpoints after {SETTLE:?}"));
        }
        let silent = Memory::now(subject).await?;
        held.trip_each(&clients).await;
        let spoken = Memory::now(subject).await?;
        drop(held);
        subject.all_closed(&clients).await;

        let faults: Vec<String> = warm.faults().into_iter().chain(clients.faults()).collect();
        let each = |before: u64, after: u64| after.saturating_sub(before) as f64 / 1024.0 / count as f64;
        let reading = |cost| Reading { cost, faults: faults.clone(), ..Reading::default() };
        let readings = [silent, spoken].map(|after| {
            let resident = before.resident.zip(after.resident).map(|(before, after)| each(before, after));
            [reading(resident), reading(Some(each(before.kernel, after.kernel)))]
        });
        Ok(readings.concat())
    }
}

/// Open connections; they close when this is dropped.
#[derive(Debug)]
pub(super) struct Held {
    streams: Vec<TcpStream>,
}

impl Held {
    /// Opens `count` connections and holds them.
    pub(super) async fn open(clients: &Arc<Clients>, count: usize) -> Self {
        let mut streams = Vec::with_capacity(count);
        while streams.len() < count && !clients.gives_up() {
            match clients.connect(None).await {
                Ok(stream) => streams.push(stream),
                Err(fault) => clients.fault(fault),
            }
            if streams.len() % BURST == 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        Self { streams }
    }

    /// One trip on each, one after the other: proves that every flow is whole.
    pub(super) async fn trip_each(&mut self, clients: &Arc<Clients>) {
        for (number, stream) in self.streams.iter_mut().enumerate() {
            match tokio::time::timeout(TRIP, trip(stream, &Message::new(number as u64, SMALL))).await {
                Ok(Ok(())) => clients.count(1),
                Ok(Err(fault)) => clients.fault(fault),
                Err(_) => clients.fault("reply: none in time"),
            }
            if clients.gives_up() {
                break;
            }
        }
    }
}
