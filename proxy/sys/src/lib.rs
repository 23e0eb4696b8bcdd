//! The part of Tidegate that asks the kernel: listening sockets, connects, pipes and splices, limits.
//!
//! Synchronous and without a runtime: every call either answers at once or says "would block". All of it goes
//! through rustix and socket2, whose calls are safe.

pub mod frozen;

pub use frozen::{FrozenFlow, FrozenHalf, FrozenPipe};
