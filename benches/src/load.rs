//! The client side: opens connections, moves bytes, checks every one of them.
//!
//! It runs on one core and must keep a proxy's core busy, so it does as little as it can: one thread, edge-triggered
//! epoll (tokio's current-thread runtime), buffers larger than the messages, so that a short read ends a wait.

mod bulk;
mod connections;
mod idle;
mod trips;

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

pub(crate) use bulk::bulk;
pub(crate) use connections::connections;
pub(crate) use idle::hold;
pub(crate) use trips::trips;

/// The size of a small message, both ways.
pub(crate) const MESSAGE: usize = 64;

/// Clients come from that many loopback addresses, each with its own ports.
const ADDRESSES: u32 = 64;

/// How long a load may go on after its time: bytes on their way, slow closes.
const OVERTIME: Duration = Duration::from_secs(20);

/// Faults that are kept in words; more are only counted.
const KEPT: usize = 5;

/// Faults after which a load gives up.
const TOO_MANY: u64 = 100;

/// The clients of one proxy, what they have done and what went wrong.
#[derive(Debug)]
pub(crate) struct Clients {
    proxy: Vec<SocketAddr>,
    opened: AtomicU32,
    done: AtomicU64,
    faults: AtomicU64,
    words: Mutex<Vec<String>>,
}

impl Clients {
    /// Clients that go to `addresses` in turn.
    pub(crate) fn of(addresses: &[SocketAddr]) -> Arc<Self> {
        Arc::new(Self {
            proxy: addresses.to_vec(),
            opened: AtomicU32::new(0),
            done: AtomicU64::new(0),
            faults: AtomicU64::new(0),
            words: Mutex::default(),
        })
    }

    /// Bytes, trips or connections that were right.
    pub(crate) fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
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

    fn count(&self, done: u64) {
        self.done.fetch_add(done, Ordering::Relaxed);
    }

    fn gives_up(&self) -> bool {
        self.faults.load(Ordering::Relaxed) >= TOO_MANY
    }

    async fn connect(&self) -> Result<TcpStream, Fault> {
        let number = self.opened.fetch_add(1, Ordering::Relaxed);
        let from = Ipv4Addr::from(u32::from(Ipv4Addr::new(127, 0, 0, 2)) + number % ADDRESSES);
        let connect = async {
            let socket = TcpSocket::new_v4()?;
            socket.set_nodelay(true)?;
            socket.bind(SocketAddr::from((from, 0)))?;
            socket.connect(self.proxy[number as usize % self.proxy.len()]).await
        };
        connect.await.map_err(|error| Fault::new("connect", error))
    }

    /// Waits for all clients; those that go on for too long after their time are a fault, and ended.
    async fn join(self: &Arc<Self>, mut clients: JoinSet<Result<(), Fault>>, run: Duration) {
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
struct Fault {
    step: &'static str,
    error: io::Error,
}

impl Fault {
    fn new(step: &'static str, error: io::Error) -> Self {
        Self { step, error }
    }

    fn wrong_byte(step: &'static str) -> Self {
        Self { step, error: io::Error::new(io::ErrorKind::InvalidData, "a wrong byte") }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.step, self.error)
    }
}

/// A message that no other connection and no other trip of this one has.
fn message(connection: u64, trip: u64) -> [u8; MESSAGE] {
    let mut message = [0x5a; MESSAGE];
    message[..8].copy_from_slice(&connection.to_le_bytes());
    message[MESSAGE - 8..].copy_from_slice(&trip.to_le_bytes());
    message
}

/// Sends a message and reads it back.
async fn trip(stream: &mut TcpStream, message: &[u8; MESSAGE]) -> Result<(), Fault> {
    stream.write_all(message).await.map_err(|error| Fault::new("request", error))?;
    let mut reply = [0; 2 * MESSAGE];
    let mut len = 0;
    while len < MESSAGE {
        match stream.read(&mut reply[len..]).await.map_err(|error| Fault::new("reply", error))? {
            0 => return Err(Fault::new("reply", io::ErrorKind::UnexpectedEof.into())),
            n => len += n,
        }
    }
    if reply[..len] != message[..] {
        return Err(Fault::wrong_byte("reply"));
    }
    Ok(())
}

/// When a load ends.
fn end(run: Duration) -> Instant {
    Instant::now() + run
}

#[cfg(test)]
mod tests;
