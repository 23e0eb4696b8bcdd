//! Connect, one request and reply, close by the client.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::{Figure, Layout, Load, Part};
use crate::endpoints::Kind;
use crate::load::{Clients, Fault, Message, SMALL, end, trip};
use crate::measure::{Per, Subject};
use crate::report::Reading;

/// Connections that are open at the same time.
const CONCURRENT: usize = 32;

/// The most connections of one measurement. Both legs leave a port that rests for a minute at the side which closed
/// first, and the kernel keeps only so many (`net.ipv4.tcp_max_tw_buckets`).
const MOST: u64 = 30_000;

/// The load; other workloads take it with more endpoints or listeners.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Connections {
    pub(super) concurrent: usize,
}

pub(super) fn parts() -> Vec<Part> {
    let title = format!("connect, 64-byte request and reply, close; {CONCURRENT} at a time");
    vec![part(Layout::plain(Kind::Echo), title)]
}

/// The load with another layout.
pub(super) fn part(layout: Layout, title: String) -> Part {
    Part {
        layout,
        figures: vec![Figure::new(title, "CPU-us/conn", Some("conn/s"))],
        load: Load::Connections(Connections { concurrent: CONCURRENT }),
    }
}

impl Connections {
    pub(super) async fn measure(self, subject: &Subject<'_>) -> anyhow::Result<Vec<Reading>> {
        let load = async |clients: &Arc<Clients>, run| self.run(clients, run).await;
        Ok(vec![subject.spent(Per::Item, load).await?])
    }

    /// Opens and closes connections for as long as `run` says.
    pub(super) async fn run(self, clients: &Arc<Clients>, run: Duration) {
        let mut set = JoinSet::new();
        let until = end(run);
        let number = Arc::new(AtomicU64::new(0));
        for _ in 0..self.concurrent {
            set.spawn_local(repeat(Arc::clone(clients), Arc::clone(&number), until));
        }
        clients.join(set, run).await;
    }
}

async fn repeat(clients: Arc<Clients>, number: Arc<AtomicU64>, until: Instant) -> Result<(), Fault> {
    let mut now = Instant::now();
    loop {
        let number = number.fetch_add(1, Ordering::Relaxed);
        if number >= MOST || clients.gives_up() || now >= until {
            return Ok(());
        }
        let ended = connection(&clients, number).await;
        let before = std::mem::replace(&mut now, Instant::now());
        match ended {
            Ok(()) => clients.count_one(now - before),
            Err(fault) => clients.fault(fault),
        }
    }
}

/// One connection from its connect to its close.
pub(super) async fn connection(clients: &Clients, number: u64) -> Result<(), Fault> {
    let mut stream = clients.connect(None).await?;
    trip(&mut stream, &Message::new(number, SMALL)).await
}
