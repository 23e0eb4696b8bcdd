//! Small worlds in which one operation can be done again and again, each time alike: what the micro benchmarks time,
//! and what the instruction counts count.
//!
//! Decided here: what one operation is, and around which table. Not decided here: how it is measured (`main` counts
//! instructions, `benches/benches` has the clock).

pub mod picks;
pub mod relay;
pub mod updates;

#[cfg(test)]
mod tests;
