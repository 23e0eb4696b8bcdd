//! Round trips on connections that are kept: each sends its next message when the last one is back.
//!
//! A closed loop: with the proxy's core full, its latency is the number of connections over its rate, and says no
//! more than that. [`rate`](super::rate) is the one to ask about latency.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::{Figure, Layout, Load, Part};
use crate::endpoints::Kind;
use crate::load::{Clients, Fault, Message, SMALL, end, trip};
use crate::measure::{Per, Subject};
use crate::report::Reading;

const CONNECTIONS: usize = 64;

/// Sizes of messages.
const SIZES: [usize; 5] = [1, SMALL, 1024, 16 * 1024, 64 * 1024];

/// One part of the workload.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Trips {
    pub(super) connections: usize,
    pub(super) size: usize,
}

pub(super) fn parts(quick: bool) -> Vec<Part> {
    let sizes = if quick { &SIZES[1..2] } else { &SIZES[..] };
    let part = |size: &usize| {
        let name = if *size < 1024 { format!("{size}-byte") } else { format!("{}-KiB", size / 1024) };
        let title = format!("{name} round trips, {CONNECTIONS} kept connections");
        Part {
            layout: Layout::plain(Kind::Echo),
            figures: vec![Figure::new(title, "CPU-us/trip", Some("trips/s"))],
            load: Load::Trips(Trips { connections: CONNECTIONS, size: *size }),
        }
    };
    sizes.iter().map(part).collect()
}

impl Trips {
    pub(super) async fn measure(self, subject: &Subject<'_>) -> anyhow::Result<Vec<Reading>> {
        let load = async |clients: &Arc<Clients>, run| self.run(clients, run).await;
        Ok(vec![subject.spent(Per::Item, load).await?])
    }

    /// One trip after the other on each connection, for as long as `run` says.
    pub(super) async fn run(self, clients: &Arc<Clients>, run: Duration) {
        let mut set = JoinSet::new();
        let until = end(run);
        for number in 0..self.connections {
            set.spawn_local(connection(Arc::clone(clients), number as u64, self.size, until));
        }
        clients.join(set, run).await;
    }
}

async fn connection(clients: Arc<Clients>, number: u64, size: usize, until: Instant) -> Result<(), Fault> {
    let mut stream = clients.connect(None).await?;
    let mut message = Message::new(number, size);
    // The clock is read once for each trip: the end of one is the beginning of the next.
    let mut now = Instant::now();
    for at in 0.. {
        message.number(number, at);
        trip(&mut stream, &message).await?;
        let before = std::mem::replace(&mut now, Instant::now());
        clients.count_one(now - before);
        if now >= until {
            break;
        }
    }
    Ok(())
}
