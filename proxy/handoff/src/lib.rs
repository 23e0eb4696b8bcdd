//! What a proxy and its successor say to each other while one takes over from the other.
//!
//! [`message`] has the words, [`frame`] how they look as bytes, [`flow`] how a frozen flow is taken apart into facts,
//! bytes and descriptors, [`channel`] how all that crosses a Unix socket. Decided here: what a valid message is, and
//! how long one may be. Not decided here: when which message is due; that is the binary's business.
//!
//! A message is a small JSON object, so that a build can read what a later one adds to it, and behind it the bytes
//! that flows hold. Descriptors go with its first byte.

pub mod channel;
pub mod flow;
pub mod frame;
pub mod message;
mod peer;

pub use channel::{Channel, ChannelError, Received};
pub use message::Message;
