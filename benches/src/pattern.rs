//! The bytes that a bulk flow carries: each word of eight has its own value, which follows from its position.
//!
//! A word is its number times a constant, so a reader needs no second copy to compare with: what is expected is kept
//! in registers, and a check reads nothing but the bytes themselves. Every byte is checked. A lost, doubled or moved
//! byte shows in the next word, because no word equals another of the period, shifted or not.

use std::sync::LazyLock;

/// After how many words the pattern repeats: a prime, so that a lost buffer of a round size shows.
const WORDS: u64 = 8191;

/// After how many bytes the pattern repeats.
const PERIOD: usize = 8 * WORDS as usize;

/// What a word is more than the one before it. Odd, so that all differ; without a pattern in its bits.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// Words that are compared side by side.
const LANES: usize = 8;

/// The longest slice that [`at`] gives.
pub(crate) const CHUNK: usize = 256 * 1024;

static PATTERN: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let period: Vec<u8> = (0..WORDS).flat_map(|number| word(number).to_le_bytes()).collect();
    period.iter().copied().cycle().take(PERIOD + CHUNK).collect()
});

/// The word of this number, which is less than [`WORDS`].
fn word(number: u64) -> u64 {
    (number + 1).wrapping_mul(STEP)
}

/// The `len` bytes, at most [`CHUNK`], that belong at `position` of a flow.
pub(crate) fn at(position: u64, len: usize) -> &'static [u8] {
    let start = usize::try_from(position % PERIOD as u64).unwrap_or_default();
    &PATTERN[start..start + len]
}

/// Whether these are the bytes that belong at `position` of a flow.
pub(crate) fn is_at(mut position: u64, mut bytes: &[u8]) -> bool {
    let head = bytes.len().min((8 - position % 8) as usize % 8);
    if bytes[..head] != *at(position, head) {
        return false;
    }
    (bytes, position) = (&bytes[head..], position + head as u64);
    while bytes.len() >= 8 {
        let first = position / 8 % WORDS;
        let run = (bytes.len() / 8).min((WORDS - first) as usize) * 8;
        if !are_words(&bytes[..run], first) {
            return false;
        }
        (bytes, position) = (&bytes[run..], position + run as u64);
    }
    *bytes == *at(position, bytes.len())
}

/// Whether these are the words from `first` on. Nothing here branches on a word, so that the compiler takes several
/// at a time.
fn are_words(bytes: &[u8], first: u64) -> bool {
    let mut expected: [u64; LANES] = std::array::from_fn(|lane| word(first + lane as u64));
    let mut wrong = [0; LANES];
    let (blocks, rest) = bytes.as_chunks::<{ 8 * LANES }>();
    for block in blocks {
        let (words, _) = block.as_chunks::<8>();
        for lane in 0..LANES {
            wrong[lane] |= u64::from_le_bytes(words[lane]) ^ expected[lane];
            expected[lane] = expected[lane].wrapping_add(STEP.wrapping_mul(LANES as u64));
        }
    }
    let (words, _) = rest.as_chunks::<8>();
    for (word, expected) in words.iter().zip(expected) {
        wrong[0] |= u64::from_le_bytes(*word) ^ expected;
    }
    wrong.iter().all(|wrong| *wrong == 0)
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

    #[test]
    fn what_belongs_somewhere_is_right_there_however_it_is_cut() {
        for start in [0, 1, 7, 8, 63, PERIOD as u64 - 9, 3 * PERIOD as u64 + 4093] {
            for len in [0, 1, 7, 8, 9, 64, 65, 1000, PERIOD + 17, CHUNK] {
                assert!(is_at(start, at(start, len)), "{len} at {start}");
            }
        }
    }

    #[test]
    fn every_single_wrong_byte_is_found() {
        let mut bytes = at(5, 4096).to_vec();
        for at in 0..bytes.len() {
            bytes[at] ^= 1 << (at % 8);
            assert!(!is_at(5, &bytes), "byte {at}");
            bytes[at] ^= 1 << (at % 8);
        }
        assert!(is_at(5, &bytes));
    }

    #[test]
    fn lost_doubled_and_moved_bytes_are_found() {
        let bytes = at(0, CHUNK);
        for lost in [1, 8, 64, 1448, 4096, 16384, 65536, 128 * 1024] {
            assert!(!is_at(0, &bytes[lost..lost + 64]), "{lost} lost");
            assert!(!is_at(lost as u64, &bytes[..64]), "{lost} doubled");
        }
        let mut swapped = bytes[..8192].to_vec();
        swapped.rotate_left(4096);
        assert!(!is_at(0, &swapped));
    }
}
