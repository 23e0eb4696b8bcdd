//! Placeholder: written next.

/// Placeholder.
#[derive(Debug)]
pub struct AffinityTable;
