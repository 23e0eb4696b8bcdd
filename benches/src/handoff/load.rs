//! The load: flows that talk all the time, and connections that come all the time.
//!
//! Every message holds its flow and its place in it, and every byte that comes back is compared, so that a lost, doubled
//! or changed byte is found. A flow that breaks is opened again, so that every handoff meets as many.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, timeout};

use super::{Plan, Spread};
use crate::cores;

/// A connect, an answer or a close that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(5);
/// Clients come from so many loopback addresses, so that resting ports do not run out.
const ADDRESSES: u32 = 64;
/// Connections that may be open at a time besides the flows.
const SHORT: usize = 1024;
/// A message: its flow, and its place.
const MESSAGE: usize = 16;
/// Faults whose words are kept.
const WORDS: usize = 8;

/// What there was.
#[derive(Debug)]
pub(super) struct Seen {
    /// Flows that are open and have had an answer.
    pub(super) open: AtomicU64,
    /// Messages of flows that were answered.
    pub(super) answered: AtomicU64,
    /// Connections that went well.
    pub(super) connections: AtomicU64,
    /// Connects that failed.
    pub(super) refused: AtomicU64,
    /// Connections that ended or were silent before their answer.
    pub(super) unanswered: AtomicU64,
    /// Flows that ended otherwise than by their client.
    pub(super) broken: AtomicU64,
    /// Bytes that are not those that were sent.
    pub(super) wrong: AtomicU64,
    /// Connections that were due and not made, because too many were open.
    pub(super) skipped: AtomicU64,
    /// From a message to its answer, in microseconds.
    trips: Mutex<Histogram<u64>>,
    words: Mutex<Vec<String>>,
    stop: AtomicBool,
}

/// Clients, on threads.
#[derive(Debug)]
pub(super) struct Load {
    pub(super) seen: Arc<Seen>,
    threads: Vec<JoinHandle<()>>,
}

enum Fault {
    Connect(io::Error),
    Broken(String),
    Wrong,
}

impl Seen {
    fn new() -> anyhow::Result<Arc<Self>> {
        Ok(Arc::new(Self {
            open: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            unanswered: AtomicU64::new(0),
            broken: AtomicU64::new(0),
            wrong: AtomicU64::new(0),
            skipped: AtomicU64::new(0),
            trips: Mutex::new(Histogram::new(3)?),
            words: Mutex::default(),
            stop: AtomicBool::new(false),
        }))
    }

    fn is_over(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn note(&self, counter: &AtomicU64, words: String) {
        counter.fetch_add(1, Ordering::Relaxed);
        let mut all = self.words.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() < WORDS {
            all.push(words);
        }
    }

    /// The first faults, in words.
    pub(super) fn words(&self) -> Vec<String> {
        self.words.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How long messages took to be answered.
    pub(super) fn trips(&self) -> Spread {
        let trips = self.trips.lock().unwrap_or_else(PoisonError::into_inner);
        let at = |quantile| trips.value_at_quantile(quantile);
        Spread { p50: at(0.5), p99: at(0.99), max: trips.max() }
    }
}

fn address([a, b, c, d]: [u8; 4], number: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(a, b, c, d)) + number)
}

/// A thread with a runtime, on a core.
fn on_a_thread(
    name: &str,
    core: usize,
    work: impl Future<Output = ()> + Send + 'static,
) -> anyhow::Result<JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(thread::Builder::new().name(name.to_owned()).spawn(move || {
        // On another core it is all the same, but for the figures.
        let _ = cores::pin(&[core]);
        runtime.block_on(work);
    })?)
}

impl Load {
    /// Starts the clients.
    pub(super) fn start(proxy: SocketAddr, plan: Plan, core: usize) -> anyhow::Result<Self> {
        let seen = Seen::new()?;
        let flows = {
            let seen = seen.clone();
            async move {
                let mut tasks = JoinSet::new();
                for number in 0..plan.flows {
                    tasks.spawn(keep_open(proxy, number as u64, plan, seen.clone()));
                }
                while tasks.join_next().await.is_some() {}
            }
        };
        let threads = vec![
            on_a_thread("flows", core, flows)?,
            on_a_thread("connections", core, connections(proxy, plan.rate, seen.clone()))?,
        ];
        Ok(Self { seen, threads })
    }

    /// Ends the flows by themselves, and waits for that.
    pub(super) fn finish(self) -> Arc<Seen> {
        self.seen.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            let _ = thread.join();
        }
        self.seen
    }
}

async fn keep_open(proxy: SocketAddr, number: u64, plan: Plan, seen: Arc<Seen>) {
    // They do not all speak at once.
    tokio::time::sleep(plan.period.mul_f64(number as f64 / plan.flows.max(1) as f64)).await;
    while !seen.is_over() {
        let mut is_open = false;
        let ended = talk(proxy, number, plan.period, &seen, &mut is_open).await;
        if is_open {
            seen.open.fetch_sub(1, Ordering::Relaxed);
        }
        match ended {
            Ok(()) => return,
            Err(Fault::Connect(error)) => seen.note(&seen.refused, format!("flow: connect: {error}")),
            Err(Fault::Broken(words)) => seen.note(&seen.broken, format!("flow: {words}")),
            Err(Fault::Wrong) => seen.note(&seen.wrong, "flow: a wrong byte".to_owned()),
        }
        tokio::time::sleep(plan.period).await;
    }
}

async fn talk(
    proxy: SocketAddr,
    number: u64,
    period: Duration,
    seen: &Seen,
    is_open: &mut bool,
) -> Result<(), Fault> {
    let mut stream = connect(proxy, number).await.map_err(Fault::Connect)?;
    for sequence in 0_u64.. {
        let began = Instant::now();
        exchange(&mut stream, number, sequence).await?;
        let micros = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        let _ = seen.trips.lock().unwrap_or_else(PoisonError::into_inner).record(micros);
        seen.answered.fetch_add(1, Ordering::Relaxed);
        if !std::mem::replace(is_open, true) {
            seen.open.fetch_add(1, Ordering::Relaxed);
        }
        if seen.is_over() {
            break;
        }
        tokio::time::sleep(period.saturating_sub(began.elapsed())).await;
    }
    close(stream).await
}

/// One message there and back.
async fn exchange(stream: &mut TcpStream, flow: u64, sequence: u64) -> Result<(), Fault> {
    let mut message = [0; MESSAGE];
    message[..8].copy_from_slice(&flow.to_be_bytes());
    message[8..].copy_from_slice(&sequence.to_be_bytes());
    let mut answer = [0; MESSAGE];
    within("write", stream.write_all(&message)).await?;
    within("read", stream.read_exact(&mut answer)).await?;
    if answer == message { Ok(()) } else { Err(Fault::Wrong) }
}

/// Says that nothing more comes, and waits until the other side says so. A doubled byte would come before that.
async fn close(mut stream: TcpStream) -> Result<(), Fault> {
    within("close", stream.shutdown()).await?;
    match within("close", stream.read(&mut [0; 1])).await? {
        0 => Ok(()),
        _ => Err(Fault::Wrong),
    }
}

async fn within<T>(what: &str, operation: impl Future<Output = io::Result<T>>) -> Result<T, Fault> {
    match timeout(PATIENCE, operation).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(Fault::Broken(format!("{what}: {error}"))),
        Err(_) => Err(Fault::Broken(format!("{what}: nothing for {PATIENCE:?}"))),
    }
}

async fn connect(proxy: SocketAddr, number: u64) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.set_nodelay(true)?;
    let source = address([127, 0, 11, 0], (number % u64::from(ADDRESSES)) as u32 + 1);
    socket.bind((source, 0).into())?;
    timeout(PATIENCE, socket.connect(proxy)).await.map_err(|_| io::ErrorKind::TimedOut)?
}

async fn connections(proxy: SocketAddr, rate: u32, seen: Arc<Seen>) {
    let mut due = tokio::time::interval(Duration::from_secs(1) / rate.max(1));
    // What was missed is made up for.
    due.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut open = JoinSet::new();
    for number in 0_u64.. {
        due.tick().await;
        if seen.is_over() {
            break;
        }
        while open.try_join_next().is_some() {}
        if open.len() >= SHORT {
            seen.skipped.fetch_add(1, Ordering::Relaxed);
            continue;
        }
        let seen = seen.clone();
        open.spawn(async move {
            let done = async {
                let mut stream = connect(proxy, number).await.map_err(Fault::Connect)?;
                exchange(&mut stream, number, u64::MAX).await?;
                close(stream).await
            };
            match done.await {
                Ok(()) => {
                    seen.connections.fetch_add(1, Ordering::Relaxed);
                }
                Err(Fault::Connect(error)) => seen.note(&seen.refused, format!("connect: {error}")),
                Err(Fault::Broken(words)) => seen.note(&seen.unanswered, format!("connection: {words}")),
                Err(Fault::Wrong) => seen.note(&seen.wrong, "connection: a wrong byte".to_owned()),
            }
        });
    }
    while open.join_next().await.is_some() {}
}
