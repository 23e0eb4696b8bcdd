//! Endpoints that live and end as pods do.
//!
//! An endpoint accepts from its start to its end, also while it terminates, so that whoever still sends something there
//! is seen and not refused. At its end the listening socket is closed and what is still open is reset.
//!
//! What an endpoint saw is its [`Record`]; what that means is decided in [`super::outcome`].

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;

use super::message::{MESSAGE, Message};

/// Ports that are tried: one may be free on the first address and taken on another.
const ATTEMPTS: usize = 16;

/// Where an endpoint is in its life.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Phase {
    /// Not there yet.
    Unborn,
    /// It accepts, and is not ready.
    Starting,
    Ready,
    /// Serving and terminating.
    Terminating,
    Gone,
}

/// What an operator knows of an endpoint.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pod {
    pub(super) number: u32,
    pub(super) address: SocketAddr,
    pub(super) phase: Phase,
}

/// What happened to an endpoint, and when.
#[derive(Clone, Debug, Default)]
pub(super) struct Record {
    /// When the operator began to make it ready; for those of the beginning, nothing.
    pub(super) readying: Option<Instant>,
    /// When the operator's action that made it ready was complete.
    pub(super) ready: Option<Instant>,
    /// When the operator's action that made it terminating was complete.
    pub(super) terminating: Option<Instant>,
    /// When its end began.
    pub(super) ended: Option<Instant>,
    /// When each connection was accepted.
    pub(super) accepted: Vec<Instant>,
    /// When the client began to connect, for each connection that brought a request.
    pub(super) begun: Vec<Instant>,
    /// Requests that were none, or out of sequence.
    pub(super) wrong: u64,
}

/// One endpoint.
#[derive(Debug)]
pub(super) struct Endpoint {
    pub(super) pod: Pod,
    epoch: Instant,
    record: Arc<Mutex<Record>>,
    /// Bound, until it listens.
    socket: Option<TcpSocket>,
    /// Its tasks listen for its end; each of them has a receiver.
    end: watch::Sender<bool>,
}

/// Reserves addresses for `count` endpoints, all with one port number, as pods have it.
pub(super) fn reserve(count: usize, epoch: Instant) -> anyhow::Result<Vec<Endpoint>> {
    let mut last = None;
    for _ in 0..ATTEMPTS {
        match bind_all(count) {
            Ok(sockets) => {
                let endpoints = (0..).zip(sockets);
                return Ok(endpoints.map(|(n, socket)| Endpoint::new(n, socket, epoch)).collect());
            }
            Err(error) => last = Some(error),
        }
    }
    let error = last.unwrap_or_else(|| io::Error::other("no attempt was made"));
    Err(error).context("cannot find one port that is free on 127.0.3.1 and the addresses after it")
}

fn bind_all(count: usize) -> io::Result<Vec<(SocketAddr, TcpSocket)>> {
    let mut port = 0;
    (1..)
        .take(count)
        .map(|number| {
            let socket = TcpSocket::new_v4()?;
            socket.set_reuseaddr(true)?;
            socket.set_nodelay(true)?;
            let first = u32::from(Ipv4Addr::new(127, 0, 3, 0));
            socket.bind(SocketAddr::from((Ipv4Addr::from(first + number), port)))?;
            let address = socket.local_addr()?;
            port = address.port();
            Ok((address, socket))
        })
        .collect()
}

impl Endpoint {
    fn new(number: u32, (address, socket): (SocketAddr, TcpSocket), epoch: Instant) -> Self {
        Self {
            pod: Pod { number, address, phase: Phase::Unborn },
            epoch,
            record: Arc::default(),
            socket: Some(socket),
            end: watch::Sender::new(false),
        }
    }

    /// Begins to accept.
    pub(super) fn start(&mut self, phase: Phase) -> anyhow::Result<()> {
        let socket = self.socket.take().context("an endpoint starts once")?;
        let listener = socket.listen(4096).context("an endpoint cannot listen")?;
        let answering = Answering { number: self.pod.number, epoch: self.epoch, record: self.record.clone() };
        tokio::spawn(accept(listener, answering, self.end.subscribe()));
        self.pod.phase = phase;
        Ok(())
    }

    /// Connections that are open.
    pub(super) fn open(&self) -> usize {
        self.end.receiver_count().saturating_sub(1)
    }

    /// How long it has been terminating.
    pub(super) fn terminating_for(&self) -> Option<Duration> {
        self.record().terminating.map(|since| since.elapsed())
    }

    /// Ends it as a pod ends: it listens no more, and what is open is reset. Returns when that is so.
    pub(super) async fn end(&mut self) {
        self.record().ended = Some(Instant::now());
        self.pod.phase = Phase::Gone;
        self.end.send_replace(true);
        self.end.closed().await;
    }

    /// What it saw.
    pub(super) fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What every connection of an endpoint needs.
#[derive(Clone)]
struct Answering {
    number: u32,
    epoch: Instant,
    record: Arc<Mutex<Record>>,
}

impl Answering {
    fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers requests until there are no more.
    async fn answer(&self, stream: &mut TcpStream) {
        let mut bytes = [0; MESSAGE];
        let mut expected = 0;
        // How a flow ends is judged by its client.
        while stream.read_exact(&mut bytes).await.is_ok() {
            let Some(message) = Message::parse(&bytes).filter(|message| message.sequence == expected) else {
                self.record().wrong += 1;
                return;
            };
            if expected == 0 {
                self.record().begun.push(self.epoch + Duration::from_nanos(message.begun));
            }
            expected += 1;
            if stream.write_all(&message.reply(self.number)).await.is_err() {
                return;
            }
        }
    }
}

async fn accept(listener: TcpListener, answering: Answering, mut end: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            biased;
            _ = end.changed() => return,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    answering.record().accepted.push(Instant::now());
                    tokio::spawn(serve(stream, answering.clone(), end.clone()));
                }
                // Out of descriptors, say: the client sees it, and the outcome with it.
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            },
        }
    }
}

async fn serve(mut stream: TcpStream, answering: Answering, mut end: watch::Receiver<bool>) {
    tokio::select! {
        biased;
        _ = end.changed() => {
            // Closed with this, a socket resets.
            let _ = stream.set_zero_linger();
        }
        () = answering.answer(&mut stream) => {}
    }
}
