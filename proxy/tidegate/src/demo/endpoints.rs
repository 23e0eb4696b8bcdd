//! The demo's endpoints: echo servers on loopback addresses of their own, one port for all, as pods have it.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use anyhow::Context as _;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::AbortHandle,
};

/// Every message has this many bytes; a reply begins with the endpoint's number.
pub(super) const MESSAGE: usize = 64;

/// One endpoint as its slice describes it.
#[derive(Clone, Debug)]
pub(super) struct Endpoint {
    pub(super) number: u8,
    pub(super) pod: String,
    pub(super) address: SocketAddr,
    pub(super) conditions: Conditions,
}

/// What the slice says of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Conditions {
    NotReady,
    Ready,
    Terminating,
}

impl Conditions {
    /// ready, serving, terminating, as Kubernetes 1.36 writes them in each step of a rolling update.
    pub(super) const fn triple(self) -> (bool, bool, bool) {
        match self {
            Self::NotReady => (false, false, false),
            Self::Ready => (true, true, false),
            Self::Terminating => (false, true, true),
        }
    }

    pub(super) const fn words(self) -> &'static str {
        match self {
            Self::NotReady => "starting",
            Self::Ready => "ready",
            Self::Terminating => "serving, terminating",
        }
    }
}

/// Starts `count` echo endpoints on 127.0.0.x, all with one port number.
pub(super) fn listen(count: u8) -> anyhow::Result<Vec<(SocketAddr, TcpListener)>> {
    // The port is free on the first address; on another one it may be taken, and then another port is tried.
    let mut last = None;
    for _ in 0..16 {
        match listen_on_one_port(count) {
            Ok(listeners) => return Ok(listeners),
            Err(error) => last = Some(error),
        }
    }
    let error = last.unwrap_or_else(|| std::io::Error::other("no attempt was made"));
    Err(error).context("cannot find one port that is free on 127.0.0.11 and the addresses after it")
}

fn listen_on_one_port(count: u8) -> std::io::Result<Vec<(SocketAddr, TcpListener)>> {
    let mut port = 0;
    (0..count)
        .map(|number| {
            let listener = TcpListener::bind((Ipv4Addr::new(127, 0, 0, 11 + number), port))?;
            listener.set_nonblocking(true)?;
            let address = listener.local_addr()?;
            port = address.port();
            Ok((address, listener))
        })
        .collect()
}

/// Answers every message with itself, its first byte replaced by the endpoint's number. It ends when it is aborted,
/// which closes the listening socket.
pub(super) fn serve(number: u8, listener: TcpListener) -> anyhow::Result<AbortHandle> {
    let listener =
        tokio::net::TcpListener::from_std(listener).context("cannot watch an endpoint's socket")?;
    let task = tokio::spawn(async move {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => drop(tokio::spawn(echo(number, stream))),
                // Out of descriptors, say: the client will see it, and the verdict with it.
                Err(_) => tokio::task::yield_now().await,
            }
        }
    });
    Ok(task.abort_handle())
}

async fn echo(number: u8, mut stream: TcpStream) {
    let _ = stream.set_nodelay(true);
    let mut message = [0; MESSAGE];
    while stream.read_exact(&mut message).await.is_ok() {
        message[0] = number;
        if stream.write_all(&message).await.is_err() {
            return;
        }
    }
}

/// Since when each endpoint is known to take no new flows. What was connected before may still arrive there.
#[derive(Clone, Debug, Default)]
pub(super) struct Closed(Arc<Mutex<BTreeMap<u8, Instant>>>);

impl Closed {
    pub(super) fn set(&self, number: u8, since: Instant) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(number, since);
    }

    /// Whether a flow that began at `began` should not have reached this endpoint.
    pub(super) fn forbids(&self, number: u8, began: Instant) -> bool {
        let closed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        closed.get(&number).is_some_and(|since| began > *since)
    }
}
