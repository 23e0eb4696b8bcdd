//! The demo's clients: long-lived flows that talk all the time, and short ones.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tidegate_core::Rng;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::endpoints::{Closed, MESSAGE};

/// A reply that takes longer is a broken flow.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often a long-lived flow says something.
const PERIOD: Duration = Duration::from_millis(100);

/// What the clients saw.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) opened: AtomicU64,
    pub(super) closed_by_own_end: AtomicU64,
    pub(super) broken: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) on_closed_endpoint: AtomicU64,
    pub(super) messages: AtomicU64,
}

impl Tally {
    pub(super) fn get(counter: &AtomicU64) -> u64 {
        counter.load(Ordering::Relaxed)
    }

    fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// What all clients share.
#[derive(Clone, Debug)]
pub(super) struct Load {
    pub(super) proxy: SocketAddr,
    pub(super) tally: Arc<Tally>,
    pub(super) closed: Closed,
    /// Cancelled when clients are to open no more flows; those that are open come to their own end.
    pub(super) ending: CancellationToken,
}

impl Load {
    /// Keeps one long-lived flow open after the other until the load ends. Each lives for `life`, give or take half.
    pub(super) async fn keep_one_open(self, life: Duration, seed: u64) {
        let mut rng = Rng::new(seed);
        while !self.ending.is_cancelled() {
            let half = life.as_millis() as usize / 2;
            let life = Duration::from_millis((half + rng.below(2 * half + 1)) as u64);
            self.open(Some(life)).await;
        }
    }

    /// Opens short flows at a fixed rate until the load ends.
    pub(super) async fn open_short_ones(self, per_second: u32) {
        if per_second == 0 {
            return;
        }
        let mut due = tokio::time::interval(Duration::from_secs(1) / per_second);
        let mut open = tokio::task::JoinSet::new();
        while !self.ending.is_cancelled() {
            due.tick().await;
            let load = self.clone();
            open.spawn(async move { load.open(None).await });
            while open.try_join_next().is_some() {}
        }
        while open.join_next().await.is_some() {}
    }

    /// One flow, for a life or for one message.
    async fn open(&self, life: Option<Duration>) {
        let began = Instant::now();
        let Ok(Ok(stream)) = timeout(PATIENCE, TcpStream::connect(self.proxy)).await else {
            Tally::add(&self.tally.refused);
            // A proxy that refuses is not asked again in the same instant.
            sleep(PERIOD).await;
            return;
        };
        Tally::add(&self.tally.opened);
        match self.converse(stream, began, life).await {
            Ok(()) => Tally::add(&self.tally.closed_by_own_end),
            Err(_) => Tally::add(&self.tally.broken),
        }
    }

    /// Talks until the flow's life is over, and ends it as a client does: FIN, then wait for the endpoint's.
    async fn converse(
        &self,
        mut stream: TcpStream,
        began: Instant,
        life: Option<Duration>,
    ) -> std::io::Result<()> {
        stream.set_nodelay(true)?;
        let mut endpoint = None;
        loop {
            let answered = exchange(&mut stream).await?;
            Tally::add(&self.tally.messages);
            match endpoint {
                None if self.closed.forbids(answered, began) => Tally::add(&self.tally.on_closed_endpoint),
                Some(pinned) if pinned != answered => {
                    return Err(std::io::Error::other("the flow changed its endpoint"));
                }
                _ => {}
            }
            endpoint = Some(answered);
            if life.is_none_or(|life| began.elapsed() >= life) {
                break;
            }
            sleep(PERIOD).await;
        }
        stream.shutdown().await?;
        let mut rest = [0; 1];
        match timeout(PATIENCE, stream.read(&mut rest)).await {
            Ok(Ok(0)) => Ok(()),
            Ok(Ok(_)) => Err(std::io::Error::other("a byte that nobody asked for")),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(std::io::ErrorKind::TimedOut.into()),
        }
    }
}

/// Sends a message and checks the reply; the number of the endpoint that answered.
async fn exchange(stream: &mut TcpStream) -> std::io::Result<u8> {
    let message: [u8; MESSAGE] = std::array::from_fn(|at| at as u8);
    let mut reply = [0; MESSAGE];
    stream.write_all(&message).await?;
    timeout(PATIENCE, stream.read_exact(&mut reply)).await.map_err(std::io::Error::other)??;
    if reply[1..] == message[1..] {
        Ok(reply[0])
    } else {
        Err(std::io::Error::other("the reply is not what was sent"))
    }
}
