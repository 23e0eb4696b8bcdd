//! Listeners: which sockets a new configuration needs, which ones go on, which ones are closed.
//!
//! [`plan`] is pure; the controller carries it out. A listener is known by its address: as long as the address stays,
//! its sockets stay, and with them what waits in their accept queues.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    sync::Arc,
};

use tidegate_core::{ListenerId, ServicePort};

/// Binds an address and gives one listening socket per worker. Its error names the address.
pub type BindFn = Arc<dyn Fn(SocketAddr, usize) -> io::Result<Vec<TcpListener>> + Send + Sync>;

/// A listener as the configuration has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DesiredListener {
    /// Its name.
    pub name: Arc<str>,
    /// The address to accept on; port 0 lets the kernel choose.
    pub address: SocketAddr,
    /// Where its flows go.
    pub port: ServicePort,
}

/// A listener whose sockets are bound already.
#[derive(Debug)]
pub struct BoundListener {
    /// What the configuration says.
    pub desired: DesiredListener,
    /// One socket per worker.
    pub sockets: Vec<TcpListener>,
}

impl BoundListener {
    /// Binds a listener.
    pub fn bind(desired: DesiredListener, workers: usize, bind: &BindFn) -> io::Result<Self> {
        let sockets = bind(desired.address, workers)?;
        // A predecessor with more workers passes more sockets on.
        if sockets.len() >= workers {
            Ok(Self { desired, sockets })
        } else {
            let given = sockets.len();
            Err(io::Error::other(format!("{given} sockets were given for {workers} workers")))
        }
    }

    /// The address in fact, which differs from the desired one where the kernel chose the port.
    pub fn address(&self) -> SocketAddr {
        let first = self.sockets.first().and_then(|socket| socket.local_addr().ok());
        first.unwrap_or(self.desired.address)
    }
}

/// What turns the listeners there are into the ones that are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListenerPlan {
    /// To be bound.
    pub bind: Vec<DesiredListener>,
    /// Same sockets, another service or another name.
    pub retarget: Vec<(ListenerId, DesiredListener)>,
    /// As they are.
    pub keep: Vec<ListenerId>,
    /// Not wanted any more.
    pub close: Vec<ListenerId>,
}

/// Plans the way from the current listeners to the desired ones.
///
/// Where several share an address (only port 0 allows that), equal names belong together, so that a listener whose
/// port the kernel chose keeps it.
pub fn plan(current: &[(ListenerId, DesiredListener)], desired: &[DesiredListener]) -> ListenerPlan {
    let mut left: Vec<&(ListenerId, DesiredListener)> = current.iter().collect();
    let mut take = |wanted: &DesiredListener, same_name: bool| {
        let fits = |had: &&(ListenerId, DesiredListener)| {
            had.1.address == wanted.address && (!same_name || had.1.name == wanted.name)
        };
        left.iter().position(fits).map(|index| left.remove(index))
    };
    let by_name: Vec<_> = desired.iter().map(|wanted| take(wanted, true)).collect();
    let mut plan = ListenerPlan::default();
    for (wanted, found) in desired.iter().zip(by_name) {
        match found.or_else(|| take(wanted, false)) {
            Some((id, had)) if had == wanted => plan.keep.push(*id),
            Some((id, _)) => plan.retarget.push((*id, wanted.clone())),
            None => plan.bind.push(wanted.clone()),
        }
    }
    plan.close = left.iter().map(|(id, _)| *id).collect();
    plan
}

#[cfg(test)]
mod tests;
