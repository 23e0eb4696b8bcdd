//! Flows that are open and carry nothing.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;

use super::{Clients, message, trip};

/// Connections opened before the proxy gets a moment: fewer than any queue holds.
const BURST: usize = 64;

/// How long one trip may take.
const TRIP: Duration = Duration::from_secs(5);

/// Open connections; they close when this is dropped.
#[derive(Debug)]
pub(crate) struct Idle {
    streams: Vec<TcpStream>,
}

/// Opens `count` connections and holds them.
pub(crate) async fn hold(clients: &Arc<Clients>, count: usize) -> Idle {
    let mut streams = Vec::with_capacity(count);
    while streams.len() < count && !clients.gives_up() {
        match clients.connect().await {
            Ok(stream) => streams.push(stream),
            Err(fault) => clients.fault(fault),
        }
        if streams.len() % BURST == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    Idle { streams }
}

impl Idle {
    /// One trip on each, one after the other: proves that every flow is whole.
    pub(crate) async fn trip_each(&mut self, clients: &Arc<Clients>) {
        for (number, stream) in self.streams.iter_mut().enumerate() {
            match tokio::time::timeout(TRIP, trip(stream, &message(number as u64, 0))).await {
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
