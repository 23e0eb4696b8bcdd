//! Round trips on connections that are kept.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::{Clients, Fault, end, message, trip};

/// One trip after the other on each of `connections`, for as long as `run` says.
pub(crate) async fn trips(clients: &Arc<Clients>, connections: usize, run: Duration) {
    let mut set = JoinSet::new();
    let until = end(run);
    for number in 0..connections {
        set.spawn(connection(clients.clone(), number as u64, until));
    }
    clients.join(set, run).await;
}

async fn connection(clients: Arc<Clients>, number: u64, until: Instant) -> Result<(), Fault> {
    let mut stream = clients.connect().await?;
    for at in 0_u64.. {
        // The clock is read once in a while only: it costs as much as the comparison.
        if at % 16 == 0 && Instant::now() >= until {
            break;
        }
        trip(&mut stream, &message(number, at)).await?;
        clients.count(1);
    }
    Ok(())
}
