//! The part of Tidegate that asks the kernel: listening sockets, connects, pipes and splices, limits.
//!
//! Synchronous and without a runtime: every call either answers at once or says "would block". All of it goes
//! through rustix and socket2, whose calls are safe.

pub mod clock;
pub mod connect;
pub mod frozen;
pub mod limits;
pub mod listen;
pub mod pipe;
pub mod priority;
pub mod rights;
pub mod socket;

pub use clock::coarse_time;
pub use connect::{is_to_itself, start_connect};
pub use frozen::{FrozenFlow, FrozenHalf, FrozenPipe};
pub use limits::{DescriptorLimit, local_ports, raise_descriptor_limit};
pub use listen::{ListenError, listen_group};
pub use pipe::{Pipe, PipeError};
pub use priority::yield_to_others;
