//! The endpoints behind every proxy: many addresses, one thread.
//!
//! There are two kinds. An *echo* endpoint returns what it reads. A *bulk* endpoint sends and takes the
//! [`pattern`](crate::pattern) as its client asks; how they talk is in [`bulk`]. What an endpoint finds wrong is kept
//! here and belongs to the measurement that runs. Where descriptors are short, they are a [`Process`] of their own.

pub(crate) mod bulk;
mod process;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::oneshot;

use crate::{cores, wire};

pub(crate) use process::{Process, serve as be_endpoints};

/// Endpoints of each kind. A proxy has about 28,000 local ports towards each.
const FEW: u8 = 16;

/// The most echo endpoints: addresses of one listening socket.
pub(crate) const MANY: usize = 60_000;

/// Connections that may wait for an accept.
const BACKLOG: u32 = 4096;

/// The most faults that are kept in words.
const KEPT: usize = 5;

/// What an endpoint does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind {
    Echo,
    Bulk,
}

/// The running endpoints. A thread of their own ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Endpoints {
    addresses: Addresses,
    seen: Arc<Seen>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// What the endpoints have seen.
#[derive(Debug, Default)]
struct Seen {
    open: AtomicUsize,
    faults: Mutex<Vec<String>>,
}

impl Endpoints {
    /// Starts them on the calling runtime: where clients and endpoints have one core between them, two threads would
    /// only hand it to and fro.
    pub(crate) fn here() -> anyhow::Result<Self> {
        let seen = Arc::default();
        let addresses = listen_all(&seen)?;
        Ok(Self { addresses, seen, stop: None, thread: None })
    }

    /// Starts them on a thread of their own.
    pub(crate) fn on_core(core: usize) -> anyhow::Result<Self> {
        let seen = Arc::default();
        let (stop, stopped) = oneshot::channel();
        let (bound, addresses) = mpsc::channel();
        let theirs = Arc::clone(&seen);
        let thread = std::thread::Builder::new().name("endpoints".into()).spawn(move || {
            if let Err(error) = serve(core, &theirs, &bound, stopped) {
                let _ = bound.send(Err(error));
            }
        })?;
        let addresses =
            addresses.recv().context("the endpoints' thread ended")?.context("endpoints do not start")?;
        Ok(Self { addresses, seen, stop: Some(stop), thread: Some(thread) })
    }

    /// A few addresses of one kind, each with a listening socket of its own.
    pub(crate) fn few(&self, kind: Kind) -> &[SocketAddr] {
        match kind {
            Kind::Echo => &self.addresses.echo,
            Kind::Bulk => &self.addresses.bulk,
        }
    }

    /// `count` addresses of echo endpoints, at most [`MANY`], that share one listening socket.
    pub(crate) fn many(&self, count: usize) -> Vec<SocketAddr> {
        let first = u32::from(Ipv4Addr::new(127, 16, 0, 1));
        let address = |number| SocketAddr::from((Ipv4Addr::from(first + number), self.addresses.many));
        (0..count.min(MANY)).filter_map(|number| u32::try_from(number).ok()).map(address).collect()
    }

    /// Waits, at most `limit`, until exactly `count` connections are open; tells how many there are.
    pub(crate) async fn settle(&self, count: usize, limit: Duration) -> usize {
        let until = Instant::now() + limit;
        loop {
            let open = self.seen.open.load(Ordering::Relaxed);
            if open == count || Instant::now() >= until {
                return open;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// What they found wrong since this was last asked.
    pub(crate) fn take_faults(&self) -> Vec<String> {
        std::mem::take(&mut self.seen.faults.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Endpoints {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Seen {
    fn fault(&self, fault: String) {
        let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        if faults.len() < KEPT {
            faults.push(fault);
        }
    }
}

#[derive(Debug)]
struct Addresses {
    echo: Vec<SocketAddr>,
    bulk: Vec<SocketAddr>,
    /// The port that every loopback address has an echo endpoint on.
    many: u16,
}

fn serve(
    core: usize,
    seen: &Arc<Seen>,
    bound: &mpsc::Sender<anyhow::Result<Addresses>>,
    stopped: oneshot::Receiver<()>,
) -> anyhow::Result<()> {
    cores::pin(&[core])?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default())?;
    runtime.block_on(async {
        let _ = bound.send(Ok(listen_all(seen)?));
        let _ = stopped.await;
        Ok(())
    })
}

fn listen_all(seen: &Arc<Seen>) -> anyhow::Result<Addresses> {
    let few = |kind| -> io::Result<Vec<SocketAddr>> {
        (1..=FEW).map(|number| listen(kind, Ipv4Addr::new(127, 0, 1, number), seen)).collect()
    };
    let all = || -> io::Result<Addresses> {
        let many = listen(Kind::Echo, Ipv4Addr::UNSPECIFIED, seen)?.port();
        Ok(Addresses { echo: few(Kind::Echo)?, bulk: few(Kind::Bulk)?, many })
    };
    all().context("an endpoint cannot listen")
}

fn listen(kind: Kind, address: Ipv4Addr, seen: &Arc<Seen>) -> io::Result<SocketAddr> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.set_nodelay(true)?;
    if address.is_unspecified() {
        // Every loopback address, and no other that this machine has.
        socket.bind_device(Some(b"lo"))?;
    }
    socket.bind(SocketAddr::from((address, 0)))?;
    let listener = socket.listen(BACKLOG)?;
    let address = listener.local_addr()?;
    tokio::task::spawn_local(accept(kind, listener, Arc::clone(seen)));
    Ok(address)
}

async fn accept(kind: Kind, listener: TcpListener, seen: Arc<Seen>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let open = Open::new(Arc::clone(&seen));
                tokio::task::spawn_local(async move {
                    // How a connection ended is judged by the client; what was in it, here as well.
                    let _ = match kind {
                        Kind::Echo => echo(stream).await,
                        Kind::Bulk => bulk::serve(stream, |fault| open.0.fault(fault)).await,
                    };
                    drop(open);
                });
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
}

async fn echo(mut stream: TcpStream) -> io::Result<()> {
    let (mut reader, mut writer) = stream.split();
    let mut rest = Vec::new();
    loop {
        let is_end = wire::read(&mut reader, |bytes| {
            // Most replies leave at once, out of the buffer that they came in.
            let sent = if bytes.is_empty() { 0 } else { writer.try_write(bytes).unwrap_or(0) };
            rest.extend_from_slice(&bytes[sent..]);
            bytes.is_empty()
        });
        if is_end.await? {
            return Ok(());
        }
        if !rest.is_empty() {
            writer.write_all(&rest).await?;
            rest.clear();
        }
    }
}

/// One open connection.
struct Open(Arc<Seen>);

impl Open {
    fn new(seen: Arc<Seen>) -> Self {
        seen.open.fetch_add(1, Ordering::Relaxed);
        Self(seen)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}
