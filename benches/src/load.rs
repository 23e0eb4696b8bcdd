//! What the clients of all workloads have in common: they connect, make round trips, count, and keep what went wrong.
//!
//! They run on one core and must keep a proxy's core busy, so they do as little as they can: one thread,
//! edge-triggered epoll (tokio's current-thread runtime), one buffer for all. What each workload does with its
//! clients is in `workload`.

mod message;

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

pub(crate) use message::Message;

use crate::report::Latency;
use crate::wire;

/// The size of a small message, both ways.
pub(crate) const SMALL: usize = 64;

/// Clients come from that many loopback addresses, each with its own ports.
const ADDRESSES: u32 = 64;

/// How long a load may go on after its time: bytes on their way, slow closes.
const OVERTIME: Duration = Duration::from_secs(if cfg!(test) { 2 } else { 20 });

/// Faults that are kept in words; more are only counted.
const KEPT: usize = 5;

/// Faults after which a load gives up.
const TOO_MANY: u64 = 100;

/// The longest latency that is told from a longer one, in nanoseconds.
const LONGEST: u64 = 60_000_000_000;

/// The clients of one proxy, what they have done and what went wrong.
#[derive(Debug)]
pub(crate) struct Clients {
    proxy: Vec<SocketAddr>,
    opened: AtomicU32,
    done: AtomicU64,
    faults: AtomicU64,
    words: Mutex<Vec<String>>,
    latencies: Mutex<Histogram<u64>>,
}

impl Clients {
    /// Clients that go to `addresses` in turn.
    pub(crate) fn of(addresses: &[SocketAddr]) -> Arc<Self> {
        // Three digits; the bounds are constants that the histogram accepts.
        let latencies = Histogram::new_with_bounds(1, LONGEST, 3).expect("bounds of a histogram");
        Arc::new(Self {
            proxy: addresses.to_vec(),
            opened: AtomicU32::new(0),
            done: AtomicU64::new(0),
            faults: AtomicU64::new(0),
            words: Mutex::default(),
            latencies: Mutex::new(latencies),
        })
    }

    /// Bytes, trips or connections that were right.
    pub(crate) fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    pub(crate) fn count(&self, done: u64) {
        self.done.fetch_add(done, Ordering::Relaxed);
    }

    /// One more thing is done, and took so long.
    pub(crate) fn count_one(&self, took: Duration) {
        self.count(1);
        let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(LONGEST);
        self.latencies.lock().unwrap_or_else(PoisonError::into_inner).saturating_record(nanoseconds);
    }

    /// How long things took, where that was told.
    pub(crate) fn latency(&self) -> Option<Latency> {
        let latencies = self.latencies.lock().unwrap_or_else(PoisonError::into_inner);
        let at = |quantile| latencies.value_at_quantile(quantile) as f64 / 1000.0;
        (!latencies.is_empty()).then(|| Latency { p50: at(0.5), p99: at(0.99), p999: at(0.999) })
    }

    /// What went wrong, in words.
    pub(crate) fn faults(&self) -> Vec<String> {
        let mut words = self.words.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let more = self.faults.load(Ordering::Relaxed).saturating_sub(words.len() as u64);
        if more > 0 {
            words.push(format!("and {more} more"));
        }
        words
    }

    pub(crate) fn fault(&self, what: impl fmt::Display) {
        self.faults.fetch_add(1, Ordering::Relaxed);
        let mut words = self.words.lock().unwrap_or_else(PoisonError::into_inner);
        if words.len() < KEPT {
            words.push(what.to_string());
        }
    }

    /// Whether so much went wrong that there is no use in more.
    pub(crate) fn gives_up(&self) -> bool {
        self.faults.load(Ordering::Relaxed) >= TOO_MANY
    }

    /// Opens a connection; `receive` is the size of its receive buffer, where the kernel shall not choose.
    pub(crate) async fn connect(&self, receive: Option<u32>) -> Result<TcpStream, Fault> {
        let number = self.opened.fetch_add(1, Ordering::Relaxed);
        let from = Ipv4Addr::from(u32::from(Ipv4Addr::new(127, 0, 0, 2)) + number % ADDRESSES);
        let connect = async {
            let socket = TcpSocket::new_v4()?;
            socket.set_nodelay(true)?;
            if let Some(size) = receive {
                socket.set_recv_buffer_size(size)?;
            }
            socket.bind(SocketAddr::from((from, 0)))?;
            socket.connect(self.proxy[number as usize % self.proxy.len()]).await
        };
        connect.await.map_err(|error| Fault::new("connect", error))
    }

    /// Waits for all clients; those that go on for too long after their time are a fault, and ended.
    pub(crate) async fn join(&self, mut clients: JoinSet<Result<(), Fault>>, run: Duration) {
        let all = async {
            while let Some(ended) = clients.join_next().await {
                match ended {
                    Ok(Ok(())) => {}
                    Ok(Err(fault)) => self.fault(fault),
                    Err(error) => self.fault(error),
                }
            }
        };
        if tokio::time::timeout(run + OVERTIME, all).await.is_err() {
            self.fault(format!("{} clients hang {OVERTIME:?} after the end", clients.len()));
        }
    }
}

/// What went wrong on one connection, and in which step.
#[derive(Debug)]
pub(crate) struct Fault {
    step: &'static str,
    error: io::Error,
}

impl Fault {
    pub(crate) fn new(step: &'static str, error: io::Error) -> Self {
        Self { step, error }
    }

    /// The proxy closed where it should not have.
    pub(crate) fn end(step: &'static str) -> Self {
        Self::new(step, io::Error::new(io::ErrorKind::UnexpectedEof, "closed too early"))
    }

    pub(crate) fn wrong_byte(step: &'static str) -> Self {
        Self::new(step, io::Error::new(io::ErrorKind::InvalidData, "a wrong byte"))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.step, self.error)
    }
}

/// Sends a message and reads it back.
pub(crate) async fn trip(stream: &mut TcpStream, message: &Message) -> Result<(), Fault> {
    stream.write_all(message.bytes()).await.map_err(|error| Fault::new("request", error))?;
    let mut rest = message.bytes();
    while !rest.is_empty() {
        let read = wire::read(stream, |bytes| match rest.strip_prefix(bytes) {
            Some(_) if bytes.is_empty() => Err(Fault::end("reply")),
            Some(left) => Ok(left),
            None => Err(Fault::wrong_byte("reply")),
        });
        rest = read.await.map_err(|error| Fault::new("reply", error))??;
    }
    Ok(())
}

/// When a load ends.
pub(crate) fn end(run: Duration) -> Instant {
    Instant::now() + run
}
