//! Tests that need more than one crate: a seeded simulation of the core, and the replay of recorded watches.

#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod sim;

pub mod support;
