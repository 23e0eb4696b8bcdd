//! Connect, one request and reply, close.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::{Clients, Fault, end, message, trip};

/// The most connections of one measurement. Both legs leave a port that rests for a minute at the side which closed
/// first, and the kernel keeps only so many (`net.ipv4.tcp_max_tw_buckets`).
const MOST: u64 = 30_000;

/// Opens and closes connections, `concurrent` at a time, for as long as `run` says.
pub(crate) async fn connections(clients: &Arc<Clients>, concurrent: usize, run: Duration) {
    let mut set = JoinSet::new();
    let until = end(run);
    let number = Arc::new(AtomicU64::new(0));
    for _ in 0..concurrent {
        set.spawn(repeat(clients.clone(), number.clone(), until));
    }
    clients.join(set, run).await;
}

async fn repeat(clients: Arc<Clients>, number: Arc<AtomicU64>, until: Instant) -> Result<(), Fault> {
    loop {
        let number = number.fetch_add(1, Ordering::Relaxed);
        if number >= MOST || clients.gives_up() || Instant::now() >= until {
            return Ok(());
        }
        match connection(&clients, number).await {
            Ok(()) => clients.count(1),
            Err(fault) => clients.fault(fault),
        }
    }
}

async fn connection(clients: &Clients, number: u64) -> Result<(), Fault> {
    let mut stream = clients.connect().await?;
    trip(&mut stream, &message(number, 0)).await
}
