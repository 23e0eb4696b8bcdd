//! Tests that need more than one crate: a seeded simulation of the core, the replay of recorded watches, and
//! the rules of this repository.

#[cfg(test)]
mod deploy;
#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod sim;
#[cfg(test)]
mod tidy;

pub mod apiserver;
pub mod manifests;
pub mod rights;
pub mod support;
