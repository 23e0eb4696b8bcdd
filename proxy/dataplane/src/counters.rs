//! What a worker counts. Each number is written by one worker alone and read by anybody, so a plain load and store
//! does where a shared counter would need an atomic addition.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use tidegate_core::{Party, Phase, ServicePort, Termination};

/// A number with one writer and any readers.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds; to be called by the writer only.
    pub fn add(&self, amount: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(amount), Ordering::Relaxed);
    }

    /// Subtracts; to be called by the writer only.
    pub fn sub(&self, amount: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_sub(amount), Ordering::Relaxed);
    }

    /// Reads.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A direction of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the client to the endpoint.
    Up,
    /// From the endpoint to the client.
    Down,
}

/// How bytes were moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Through the worker's buffer.
    Copy,
    /// Through a pipe, inside the kernel.
    Splice,
}

/// Why a connect failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectFailure {
    /// The endpoint's host refused it.
    Refused,
    /// No answer within connectTimeout.
    Timeout,
    /// No route, or an ICMP error.
    Unreachable,
    /// A local cause, which is not held against the endpoint (ports, descriptors, memory).
    Local,
    /// Anything else.
    Other,
}

impl Direction {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Up, Self::Down];

    /// The word in metrics.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

impl Way {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Copy, Self::Splice];

    /// The word in metrics.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Copy => "copy",
            Self::Splice => "splice",
        }
    }
}

impl ConnectFailure {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Refused, Self::Timeout, Self::Unreachable, Self::Local, Self::Other];

    /// The word in metrics.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Timeout => "timeout",
            Self::Unreachable => "unreachable",
            Self::Local => "local",
            Self::Other => "other",
        }
    }
}

/// What one worker counts for one service.
#[derive(Debug, Default)]
pub struct ServiceCounters {
    /// Flows accepted.
    pub opened: Counter,
    /// Flows that were frozen elsewhere, in another process or before a handoff that failed, and go on here.
    pub moved_in: Counter,
    /// Flows that were frozen here.
    pub moved_out: Counter,
    /// Connects tried beyond a flow's first.
    pub retries: Counter,
    /// Nanoseconds from accept to a connected endpoint, failed attempts included, over all flows; divide by
    /// [`ServiceCounters::connected`].
    pub connect_nanos: Counter,
    /// Flows that were connected to an endpoint.
    pub connected: Counter,
    terminated: [[Counter; Phase::ALL.len()]; Party::ALL.len()],
    bytes: [[Counter; Way::ALL.len()]; Direction::ALL.len()],
    connect_failures: [Counter; ConnectFailure::ALL.len()],
}

impl ServiceCounters {
    /// Flows that ended so.
    pub fn terminated(&self, termination: Termination) -> &Counter {
        &self.terminated[termination.by.index()][termination.phase.index()]
    }

    /// Bytes that were written to their destination.
    pub fn bytes(&self, direction: Direction, way: Way) -> &Counter {
        &self.bytes[direction as usize][way as usize]
    }

    /// Connects that failed so.
    pub fn connect_failures(&self, cause: ConnectFailure) -> &Counter {
        &self.connect_failures[cause as usize]
    }

    /// Flows that have not ended: what came less what was terminated or has moved.
    pub fn open(&self) -> u64 {
        let ended: u64 = self.terminated.iter().flatten().map(Counter::get).sum();
        (self.opened.get() + self.moved_in.get()).saturating_sub(ended + self.moved_out.get())
    }
}

/// What one worker counts.
#[derive(Debug, Default)]
pub struct WorkerCounters {
    /// Flows that have not ended.
    pub flows: Counter,
    /// Times that accept paused for want of descriptors or memory.
    pub accept_pauses: Counter,
    /// Connections that ended between the handshake and accept, and other accept errors that concern one connection.
    pub accept_errors: Counter,
    /// Pipes made.
    pub pipes_made: Counter,
    /// Pipes that the kernel refused, or that were too small to be useful; those halves copied.
    pub pipes_refused: Counter,
    /// Pipes that hold a half's bytes at this moment.
    pub pipes_busy: Counter,
    /// Empty pipes kept for the next bulk half.
    pub pipes_pooled: Counter,
    /// Flow log lines that were dropped because the reader was behind.
    pub reports_dropped: Counter,
    services: Mutex<BTreeMap<ServicePort, Arc<ServiceCounters>>>,
}

impl WorkerCounters {
    /// The counters of a service; made where there were none. Takes a lock: to be called when a listener is set up
    /// and by readers, never for a flow.
    pub fn service(&self, port: &ServicePort) -> Arc<ServiceCounters> {
        let mut services = self.services.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(services.entry(port.clone()).or_default())
    }

    /// Every service that this worker has counters of.
    pub fn services(&self) -> Vec<(ServicePort, Arc<ServiceCounters>)> {
        let services = self.services.lock().unwrap_or_else(PoisonError::into_inner);
        services.iter().map(|(port, counters)| (port.clone(), Arc::clone(counters))).collect()
    }
}
