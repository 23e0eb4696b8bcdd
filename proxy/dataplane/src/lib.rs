//! The part of Tidegate that moves bytes: workers, accept, connect, relay, live flows.

pub mod counters;

pub use counters::{ConnectFailure, Counter, Direction, ServiceCounters, Way, WorkerCounters};
