//! The endpoints behind every proxy: many addresses, one thread.
//!
//! There are two kinds. An *echo* endpoint returns what it reads. A *supply* endpoint reads requests of eight bytes,
//! each a count, and sends that many bytes of the [`pattern`]; a client that asks ahead never lets it pause.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::oneshot;

use crate::{cores, pattern};

/// Endpoints of each kind. A proxy has about 28,000 local ports towards each.
const PER_KIND: u8 = 16;

/// What an endpoint does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind {
    Echo,
    Supply,
}

/// The running endpoints. A thread of their own ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Endpoints {
    echo: Vec<SocketAddr>,
    supply: Vec<SocketAddr>,
    open: Arc<AtomicUsize>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Endpoints {
    /// Starts them on the calling runtime: where clients and endpoints have one core between them, two threads would
    /// only hand it to and fro.
    pub(crate) fn here() -> anyhow::Result<Self> {
        let open = Arc::new(AtomicUsize::new(0));
        let (echo, supply) = listen_all(&open)?;
        Ok(Self { echo, supply, open, stop: None, thread: None })
    }

    /// Starts them on a thread of their own.
    pub(crate) fn on_core(core: usize) -> anyhow::Result<Self> {
        let open = Arc::new(AtomicUsize::new(0));
        let (stop, stopped) = oneshot::channel();
        let (bound, addresses) = mpsc::channel();
        let counted = open.clone();
        let thread = std::thread::Builder::new().name("endpoints".into()).spawn(move || {
            if let Err(error) = serve(core, &counted, &bound, stopped) {
                let _ = bound.send(Err(error));
            }
        })?;
        let (echo, supply) =
            addresses.recv().context("the endpoints' thread ended")?.context("endpoints do not start")?;
        Ok(Self { echo, supply, open, stop: Some(stop), thread: Some(thread) })
    }

    /// The addresses of one kind.
    pub(crate) fn addresses(&self, kind: Kind) -> &[SocketAddr] {
        match kind {
            Kind::Echo => &self.echo,
            Kind::Supply => &self.supply,
        }
    }

    /// Waits, at most `limit`, until exactly `count` connections are open; tells how many there are.
    pub(crate) async fn settle(&self, count: usize, limit: Duration) -> usize {
        let until = Instant::now() + limit;
        loop {
            let open = self.open.load(Ordering::Relaxed);
            if open == count || Instant::now() >= until {
                return open;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
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

/// The addresses of the echo and of the supply endpoints.
type Addresses = (Vec<SocketAddr>, Vec<SocketAddr>);

fn serve(
    core: usize,
    open: &Arc<AtomicUsize>,
    bound: &mpsc::Sender<anyhow::Result<Addresses>>,
    stopped: oneshot::Receiver<()>,
) -> anyhow::Result<()> {
    cores::pin(&[core])?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let _ = bound.send(Ok(listen_all(open)?));
        let _ = stopped.await;
        Ok(())
    })
}

fn listen_all(open: &Arc<AtomicUsize>) -> anyhow::Result<Addresses> {
    let all = |kind| (1..=PER_KIND).map(|number| listen(kind, number, open.clone())).collect();
    let echo: io::Result<_> = all(Kind::Echo);
    let supply: io::Result<_> = all(Kind::Supply);
    Ok((echo.context("an endpoint cannot listen")?, supply.context("an endpoint cannot listen")?))
}

fn listen(kind: Kind, number: u8, open: Arc<AtomicUsize>) -> io::Result<SocketAddr> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.set_nodelay(true)?;
    socket.bind(SocketAddr::from((Ipv4Addr::new(127, 0, 1, number), 0)))?;
    let listener = socket.listen(4096)?;
    let address = listener.local_addr()?;
    tokio::spawn(accept(kind, listener, open));
    Ok(address)
}

async fn accept(kind: Kind, listener: TcpListener, open: Arc<AtomicUsize>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let counted = Counted::new(open.clone());
                tokio::spawn(async move {
                    // How a connection ended is judged by the client.
                    let _ = match kind {
                        Kind::Echo => echo(stream).await,
                        Kind::Supply => supply(stream).await,
                    };
                    drop(counted);
                });
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
}

async fn echo(mut stream: TcpStream) -> io::Result<()> {
    // Larger than any message, so that a short read tells tokio that the socket is empty.
    let mut buffer = [0; 2048];
    loop {
        match stream.read(&mut buffer).await? {
            0 => return Ok(()),
            n => stream.write_all(&buffer[..n]).await?,
        }
    }
}

async fn supply(mut stream: TcpStream) -> io::Result<()> {
    let mut position = 0;
    loop {
        let mut left = stream.read_u64_le().await?;
        while left > 0 {
            let len = usize::try_from(left).unwrap_or(pattern::CHUNK).min(pattern::CHUNK);
            let sent = stream.write(pattern::at(position, len)).await? as u64;
            position += sent;
            left -= sent;
        }
    }
}

/// One open connection.
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(open: Arc<AtomicUsize>) -> Self {
        open.fetch_add(1, Ordering::Relaxed);
        Self(open)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
