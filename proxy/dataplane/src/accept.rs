//! Accepting connections: one task per listening socket.

use std::{
    cell::{Cell, RefCell},
    io,
    net::{IpAddr, SocketAddr, TcpListener},
    os::fd::{AsFd, OwnedFd},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use rustix::{
    io::Errno,
    net::{SocketFlags, acceptfrom_with},
};
use tidegate_core::{ListenerSpec, PickState, ServiceSettings};
use tidegate_sys::socket;
use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::Notify,
};

use crate::{counters::ServiceCounters, flow, leg::watch, worker::Worker};

/// Connections taken in a row before other tasks get their turn.
const BURST: usize = 32;

/// How long accept pauses when the process is out of descriptors or memory. The connections wait in the queue.
const PAUSE: Duration = Duration::from_millis(50);

/// Where a listener sends its flows: replaced whole when a reload names another service.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) spec: ListenerSpec,
    pub(crate) counters: Arc<ServiceCounters>,
    pub(crate) pick_state: RefCell<PickState>,
}

/// A listening socket of this worker.
#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) target: RefCell<Rc<Target>>,
    /// The request to stop, by the number of its answer.
    closing: Cell<Option<u64>>,
    stop: Notify,
}

impl Listener {
    pub(crate) fn new(target: Target) -> Rc<Self> {
        Rc::new(Self { target: RefCell::new(Rc::new(target)), closing: Cell::new(None), stop: Notify::new() })
    }

    /// Asks the listener's task to take what is queued and close.
    pub(crate) fn close(&self, request: u64) {
        self.closing.set(Some(request));
        self.stop.notify_one();
    }
}

/// Accepts until told to stop; then takes what is in the queue, closes the socket and returns the request's number.
pub(crate) async fn run(worker: Rc<Worker>, listener: Rc<Listener>, socket: TcpListener) -> Option<u64> {
    let socket = match watch(socket, Interest::READABLE) {
        Ok(socket) => socket,
        Err(error) => {
            tracing::error!(%error, "cannot watch a listening socket; it accepts nothing");
            return None;
        }
    };
    // What was last set on the listening socket, for accepted ones to inherit.
    let mut inherited: Option<Arc<ServiceSettings>> = None;
    loop {
        tokio::select! {
            biased;
            () = listener.stop.notified() => {}
            ready = socket.readable() => match ready {
                Ok(mut guard) => guard.retain_ready(),
                Err(_) => return None,
            },
        }
        if worker.is_stopping() {
            return None;
        }
        let request = listener.closing.get();
        pass_settings_on(&worker, &listener, &socket, &mut inherited);
        match accept_burst(&worker, &listener, &socket) {
            // A listener that closes while there is no room for its queue has nothing left to wait for.
            Burst::Emptied | Burst::Full if request.is_some() => return request,
            Burst::Emptied => worker.note_accepting(),
            Burst::More => tokio::task::yield_now().await,
            Burst::Full => {
                worker.note_accept_pause(&"there are as many flows as the descriptor limit allows");
                // A flow of this worker ends, or one of another, which nobody tells.
                let _ = tokio::time::timeout(PAUSE, worker.flow_ended.notified()).await;
            }
            Burst::Exhausted(error) => {
                worker.note_accept_pause(&error);
                // Something has to end before the next accept can succeed, and nothing says what or when.
                tokio::time::sleep(PAUSE).await;
            }
        }
        if request.is_some() {
            listener.stop.notify_one();
        }
    }
}

/// How a row of accepts came to an end.
enum Burst {
    /// The queue is empty.
    Emptied,
    /// There may be more.
    More,
    /// The process has all the flows that it may have.
    Full,
    /// The process is out of something.
    Exhausted(Errno),
}

fn accept_burst(worker: &Rc<Worker>, listener: &Listener, socket: &AsyncFd<TcpListener>) -> Burst {
    let target = Rc::clone(&listener.target.borrow());
    for _ in 0..BURST {
        if worker.is_full() {
            return Burst::Full;
        }
        let accepted = socket.try_io(Interest::READABLE, |socket| Ok(accept(socket)?));
        match accepted {
            Ok((client, address)) => flow::begin(worker, &target, client, address),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Burst::Emptied,
            Err(error) => match Errno::from_io_error(&error) {
                Some(errno @ (Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM)) => {
                    return Burst::Exhausted(errno);
                }
                // accept(2): errors of a connection that is gone already; the next one is another matter.
                _ => worker.counters.accept_errors.add(1),
            },
        }
    }
    Burst::More
}

fn accept(socket: &TcpListener) -> rustix::io::Result<(OwnedFd, SocketAddr)> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let (client, address) = acceptfrom_with(socket, flags)?;
    let address = address.and_then(|address| SocketAddr::try_from(address).ok()).ok_or(Errno::CONNABORTED)?;
    Ok((client, canonical(address)))
}

/// An IPv4 client of a dual-stack listener is an IPv4 client.
fn canonical(address: SocketAddr) -> SocketAddr {
    match (address, address.ip().to_canonical()) {
        (SocketAddr::V6(_), IpAddr::V4(ip)) => (ip, address.port()).into(),
        _ => address,
    }
}

/// Sets on the listening socket what accepted ones are to inherit, which costs nothing for each of them.
fn pass_settings_on(
    worker: &Worker,
    listener: &Listener,
    socket: &AsyncFd<TcpListener>,
    inherited: &mut Option<Arc<ServiceSettings>>,
) {
    let snapshot = worker.snapshot.load();
    let Some(service) = snapshot.service(listener.target.borrow().spec.service) else {
        return;
    };
    let settings = service.settings();
    if inherited.as_ref().is_some_and(|last| Arc::ptr_eq(last, settings)) {
        return;
    }
    let outcome = socket::set_user_timeout(socket.get_ref().as_fd(), settings.user_timeout);
    if let Err(error) = outcome {
        tracing::warn!(%error, service = %service.port(), "cannot set userTimeout on a listening socket");
    }
    *inherited = Some(Arc::clone(settings));
}
