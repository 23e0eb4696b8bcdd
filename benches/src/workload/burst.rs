//! An accept burst: a thousand clients connect at the same moment, make one round trip and close. Then the next
//! thousand. Latency is that of a whole connection, from the moment at which its burst began.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::connections::connection;
use super::{Figure, Layout, Load, Part};
use crate::endpoints::Kind;
use crate::load::{Clients, end};
use crate::measure::{Per, Subject};
use crate::report::Reading;

/// Clients of a burst: fewer than any accept queue here holds.
const CLIENTS: usize = 1000;

/// The most bursts of one measurement, for the sake of ports.
const MOST: u64 = 30;

/// The load.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Burst {
    pub(super) clients: usize,
}

pub(super) fn parts() -> Vec<Part> {
    let title = format!("accept burst: {CLIENTS} connect at once, request and reply, close");
    vec![Part {
        layout: Layout::plain(Kind::Echo),
        figures: vec![Figure::new(title, "CPU-us/conn", Some("conn/s"))],
        load: Load::Burst(Burst { clients: CLIENTS }),
    }]
}

impl Burst {
    pub(super) async fn measure(self, subject: &Subject<'_>) -> anyhow::Result<Vec<Reading>> {
        let load = async |clients: &Arc<Clients>, run| self.run(clients, run).await;
        Ok(vec![subject.spent(Per::Item, load).await?])
    }

    /// One burst after the other, for as long as `run` says.
    pub(super) async fn run(self, clients: &Arc<Clients>, run: Duration) {
        let until = end(run);
        for burst in 0..MOST {
            let mut set = JoinSet::new();
            let began = Instant::now();
            for client in 0..self.clients {
                let clients = Arc::clone(clients);
                let number = burst * self.clients as u64 + client as u64;
                set.spawn_local(async move {
                    connection(&clients, number).await?;
                    clients.count_one(began.elapsed());
                    Ok(())
                });
            }
            clients.join(set, run).await;
            if clients.gives_up() || Instant::now() >= until {
                break;
            }
        }
    }
}
