//! The bytes that a bulk flow carries: every position has its own expected value, so that a lost, doubled or wrong
//! byte is found by comparing memory with memory.

use std::sync::LazyLock;

/// After how many bytes the pattern repeats: a prime, so that a lost buffer of a round size shows.
const PERIOD: usize = 65_521;

/// The longest slice that [`at`] gives.
pub(crate) const CHUNK: usize = 256 * 1024;

static PATTERN: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    let period: Vec<u8> = (0..PERIOD).map(|_| next()).collect();
    period.iter().copied().cycle().take(PERIOD + CHUNK).collect()
});

/// The `len` bytes, at most [`CHUNK`], that belong at `position` of a flow.
pub(crate) fn at(position: u64, len: usize) -> &'static [u8] {
    let start = usize::try_from(position % PERIOD as u64).unwrap_or_default();
    &PATTERN[start..start + len]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_the_position_not_the_slice() {
        let far = 7 * PERIOD as u64 - 5;
        assert_eq!(at(far, 10)[5..], at(0, 5)[..]);
        assert_ne!(at(0, 4096), at(4096, 4096));
        assert_eq!(at(PERIOD as u64 - 1, CHUNK).len(), CHUNK);
    }
}
