//! A worker with real sockets, whose client and endpoint the caller plays from one thread.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::Context;
use arc_swap::ArcSwap;
use tidegate_core::{
    Event, FixedEndpoint, ListenerId, ListenerSpec, ServiceConfig, ServiceName, ServicePort, ServiceSettings,
    Table, Timestamp,
};
use tidegate_dataplane::{Command, Report, WorkerCounters, WorkerOptions, spawn_worker};
use tokio::sync::mpsc;

use crate::updates::publish;

/// A request's size, and a reply's.
const MESSAGE: usize = 64;

/// Longer than anything here takes; reached only where a flow breaks.
const PATIENCE: Duration = Duration::from_secs(60);

/// A worker with one listener and one endpoint. It ends when this is dropped.
#[derive(Debug)]
pub struct Relay {
    commands: mpsc::Sender<Command>,
    /// Kept, so that the worker has somebody to report to.
    _reports: mpsc::Receiver<Report>,
    counters: Arc<WorkerCounters>,
    endpoint: TcpListener,
    address: SocketAddr,
    thread: Option<JoinHandle<()>>,
}

/// A flow's two ends.
#[derive(Debug)]
pub struct Ends {
    client: TcpStream,
    endpoint: TcpStream,
}

impl Relay {
    /// Starts the worker.
    ///
    /// # Errors
    ///
    /// When sockets or the thread cannot be made.
    pub fn start() -> anyhow::Result<Self> {
        let endpoint = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = ServicePort { service: ServiceName::new("default", "web"), port: None };
        let fixed = vec![FixedEndpoint { address: endpoint.local_addr()?, weight: 1 }];
        let config =
            ServiceConfig { port: port.clone(), settings: ServiceSettings::default(), fixed: Some(fixed) };
        let mut table = Table::new(7);
        table.handle_event(Event::ServicesConfigured(vec![config]), Timestamp::default());
        let (snapshot, _) = publish(&mut table, Timestamp::default());
        let snapshot = snapshot.context("a new service is not published")?;
        let service = table.service_id(&port).context("the service has no slot")?;

        let (commands, received) = mpsc::channel(8);
        let (reports, _reports) = mpsc::channel(1024);
        let counters = Arc::new(WorkerCounters::default());
        let thread = spawn_worker(WorkerOptions {
            index: 0,
            origin: Instant::now(),
            snapshot: Arc::new(ArcSwap::new(snapshot)),
            commands: received,
            reports,
            counters: vec![Arc::clone(&counters)],
            max_flows: 1000,
            max_pipes: 0,
            flow_log: Arc::default(),
            seed: 11,
        })?;
        let sockets = tidegate_sys::listen_group((Ipv4Addr::LOCALHOST, 0).into(), 1)?;
        let socket = sockets.into_iter().next().context("no listening socket")?;
        let address = socket.local_addr()?;
        let listener = ListenerSpec { id: ListenerId(1), name: "web".into(), address, service, port };
        commands
            .blocking_send(Command::Listen { listener, socket })
            .map_err(|_| io::Error::other("the worker has ended"))?;
        Ok(Self { commands, _reports, counters, endpoint, address, thread: Some(thread) })
    }

    /// Opens a flow.
    ///
    /// # Errors
    ///
    /// When a socket's call fails.
    pub fn open(&self) -> io::Result<Ends> {
        let client = TcpStream::connect(self.address)?;
        let (endpoint, _) = self.endpoint.accept()?;
        for end in [&client, &endpoint] {
            end.set_nodelay(true)?;
            end.set_read_timeout(Some(PATIENCE))?;
        }
        Ok(Ends { client, endpoint })
    }

    /// Closes a flow, the client first, and waits until the worker has nothing left of it.
    ///
    /// # Errors
    ///
    /// When a socket's call fails, or the flow does not end.
    pub fn close(&self, ends: Ends) -> io::Result<()> {
        let Ends { client, mut endpoint } = ends;
        drop(client);
        if endpoint.read(&mut [0])? != 0 {
            return Err(io::Error::other("bytes that nobody sent"));
        }
        drop(endpoint);
        let deadline = Instant::now() + PATIENCE;
        while self.counters.flows.get() > 0 {
            if Instant::now() > deadline {
                return Err(io::Error::other("the flow did not end"));
            }
            std::thread::yield_now();
        }
        Ok(())
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let _ = self.commands.blocking_send(Command::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Ends {
    /// One round trip: a request, and a reply of the same bytes.
    ///
    /// # Errors
    ///
    /// When a socket's call fails, or a byte is wrong.
    pub fn trip(&mut self) -> io::Result<()> {
        let sent = [0x5a; MESSAGE];
        for (from, to) in [(&self.client, &self.endpoint), (&self.endpoint, &self.client)] {
            let (mut from, mut to) = (from, to);
            let mut received = [0; MESSAGE];
            from.write_all(&sent)?;
            to.read_exact(&mut received)?;
            if received != sent {
                return Err(io::Error::other("a byte was changed"));
            }
        }
        Ok(())
    }
}
