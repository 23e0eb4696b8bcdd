//! Bulk down: endpoints send, clients read and compare with the [`pattern`].

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;

use super::{Clients, Fault, end};
use crate::pattern;

/// Bytes asked for at a time. Two requests are always ahead, so the endpoint never waits for one.
const REQUEST: u64 = 16 << 20;

/// Requests ahead of the bytes.
const AHEAD: u64 = 2;

/// Reads on `flows` connections for as long as `run` says, then what was still asked for.
pub(crate) async fn bulk(clients: &Arc<Clients>, flows: usize, run: Duration) {
    let mut set = JoinSet::new();
    let until = end(run);
    for _ in 0..flows {
        set.spawn(flow(clients.clone(), until));
    }
    clients.join(set, run).await;
}

async fn flow(clients: Arc<Clients>, until: Instant) -> Result<(), Fault> {
    let mut stream = clients.connect().await?;
    let mut buffer = vec![0; pattern::CHUNK];
    let (mut asked, mut received) = (0, 0);
    loop {
        while asked < received + AHEAD * REQUEST && (asked == 0 || Instant::now() < until) {
            stream.write_u64_le(REQUEST).await.map_err(|error| Fault::new("request", error))?;
            asked += REQUEST;
        }
        if received == asked {
            return Ok(());
        }
        let n = stream.read(&mut buffer).await.map_err(|error| Fault::new("bulk", error))?;
        if n == 0 {
            return Err(Fault::new("bulk", io::ErrorKind::UnexpectedEof.into()));
        }
        if buffer[..n] != *pattern::at(received, n) {
            return Err(Fault::wrong_byte("bulk"));
        }
        received += n as u64;
        clients.count(n as u64);
    }
}
