//! Bulk: bytes as fast as they go, from the endpoints, to them, and both ways at once. Each byte is checked where it
//! arrives.

use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::{Figure, Layout, Load, Part};
use crate::endpoints::Kind;
use crate::endpoints::bulk::{RECEIPT, head};
use crate::load::{Clients, Fault, end};
use crate::measure::{Per, Subject};
use crate::report::Reading;
use crate::{pattern, wire};

/// Bytes of a frame, each way.
const FRAME: u64 = 4 << 20;

/// Bytes that may be asked for and not there: the endpoint never waits for a request.
const AHEAD: u64 = 2 * FRAME;

/// One part of the workload.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bulk {
    pub(super) ways: Ways,
    pub(super) flows: usize,
}

/// Where the bytes go.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Ways {
    Down,
    Up,
    Both,
}

pub(super) fn parts(quick: bool) -> Vec<Part> {
    let all = [(Ways::Down, "bulk down"), (Ways::Up, "bulk up"), (Ways::Both, "bulk both ways")];
    let ways = if quick { &all[..1] } else { &all[..] };
    let part = |ways, name: &str, flows: usize| {
        let plural = if flows == 1 { "" } else { "s" };
        Part {
            layout: Layout::plain(Kind::Bulk),
            figures: vec![Figure::new(format!("{name}, {flows} flow{plural}"), "CPU-s/GB", Some("GB/s"))],
            load: Load::Bulk(Bulk { ways, flows }),
        }
    };
    ways.iter().flat_map(|(ways, name)| [1, 64].map(|flows| part(*ways, name, flows))).collect()
}

impl Bulk {
    pub(super) async fn measure(self, subject: &Subject<'_>) -> anyhow::Result<Vec<Reading>> {
        let load = async |clients: &Arc<Clients>, run| self.run(clients, run).await;
        Ok(vec![subject.spent(Per::Gigabyte, load).await?])
    }

    /// Moves bytes for as long as `run` says, then what was still asked for.
    pub(super) async fn run(self, clients: &Arc<Clients>, run: Duration) {
        let mut set = JoinSet::new();
        let until = end(run);
        for _ in 0..self.flows {
            set.spawn_local(flow(Arc::clone(clients), self.ways, until));
        }
        clients.join(set, run).await;
    }
}

/// How far one flow is.
#[derive(Default)]
struct Progress {
    asked: Cell<u64>,
    sent: Cell<u64>,
    received: Cell<u64>,
    is_last: Cell<bool>,
    room: Notify,
}

async fn flow(clients: Arc<Clients>, ways: Ways, until: Instant) -> Result<(), Fault> {
    let mut stream = clients.connect(None).await?;
    let (reader, writer) = stream.split();
    let progress = Progress::default();
    tokio::try_join!(send(writer, &progress, ways, until), receive(reader, &progress, &clients))?;
    clients.count(progress.sent.get());
    Ok(())
}

async fn send(
    mut writer: WriteHalf<'_>,
    progress: &Progress,
    ways: Ways,
    until: Instant,
) -> Result<(), Fault> {
    let follow = if ways == Ways::Down { 0 } else { FRAME };
    let wanted = if ways == Ways::Up { 0 } else { FRAME };
    let fault = |error| Fault::new("bulk up", error);
    let mut is_first = true;
    while is_first || Instant::now() < until {
        is_first = false;
        while progress.asked.get() + wanted > progress.received.get() + AHEAD {
            progress.room.notified().await;
        }
        progress.asked.set(progress.asked.get() + wanted);
        writer.write_all(&head(follow, wanted)).await.map_err(fault)?;
        let end = progress.sent.get() + follow;
        while progress.sent.get() < end {
            let len = usize::try_from(end - progress.sent.get()).unwrap_or(pattern::CHUNK);
            let bytes = pattern::at(progress.sent.get(), len.min(pattern::CHUNK));
            let sent = writer.write(bytes).await.map_err(fault)? as u64;
            progress.sent.set(progress.sent.get() + sent);
        }
    }
    progress.is_last.set(true);
    writer.write_all(&head(0, 0)).await.map_err(fault)
}

async fn receive(mut reader: ReadHalf<'_>, progress: &Progress, clients: &Clients) -> Result<(), Fault> {
    let mut receipt = Vec::new();
    while receipt.len() < RECEIPT {
        let read = wire::read(&mut reader, |bytes| {
            if bytes.is_empty() {
                return Err(Fault::end("bulk down"));
            }
            let received = progress.received.get();
            let due = usize::try_from(progress.asked.get() - received).unwrap_or(usize::MAX);
            // What comes after the last byte that was asked for is the receipt.
            let (bytes, rest) = bytes.split_at(bytes.len().min(due));
            if !pattern::is_at(received, bytes) {
                return Err(Fault::wrong_byte("bulk down"));
            }
            if !rest.is_empty() && !progress.is_last.get() {
                return Err(Fault::wrong_byte("bulk down"));
            }
            receipt.extend_from_slice(rest);
            progress.received.set(received + bytes.len() as u64);
            clients.count(bytes.len() as u64);
            Ok(())
        });
        read.await.map_err(|error| Fault::new("bulk down", error))??;
        progress.room.notify_one();
    }
    match receipt == progress.sent.get().to_le_bytes() {
        true => Ok(()),
        false => Err(Fault::wrong_byte("bulk receipt")),
    }
}
