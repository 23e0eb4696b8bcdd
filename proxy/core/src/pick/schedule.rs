//! Weighted round robin: the whole round, laid out when the snapshot is built.

use alloc::{boxed::Box, vec::Vec};

/// An order of turns in which every endpoint has as many as its weight says, spread evenly over the round.
#[derive(Debug)]
pub(super) struct Schedule {
    turns: Box<[u32]>,
}

/// A round longer than this (or than eight turns per endpoint) is shortened by rounding the weights.
const LONGEST: u64 = 4096;

impl Schedule {
    /// A round for these weights.
    ///
    /// An endpoint of weight w has its turns in the middles of w equal parts of the round: no endpoint has two turns
    /// close together while another could stand between, and laying it out costs O(turns * log turns).
    pub(super) fn new(weights: &[u16]) -> Self {
        let shares = shares(weights);
        let mut turns: Vec<(u64, u32)> = Vec::new();
        for (index, share) in shares.iter().copied().enumerate() {
            // Below 2^45: a share is below 2^17.
            turns.extend((0..share).map(|turn| (((2 * turn + 1) << 27) / share, index as u32)));
        }
        turns.sort_unstable();
        Self { turns: turns.into_iter().map(|(_, index)| index).collect() }
    }

    /// Whose turn it is; 0 where there is nobody.
    pub(super) fn at(&self, turn: u64) -> usize {
        let length = (self.turns.len() as u64).max(1);
        self.turns.get((turn % length) as usize).map_or(0, |index| *index as usize)
    }
}

/// Turns per round, at least one each, whose ratio is that of the weights or close to it.
fn shares(weights: &[u16]) -> Vec<u64> {
    let common = weights.iter().fold(0, |common, weight| gcd(common, u64::from(*weight))).max(1);
    let exact: Vec<u64> = weights.iter().map(|weight| u64::from(*weight) / common).collect();
    let sum: u64 = exact.iter().sum();
    let longest = LONGEST.max(8 * weights.len() as u64);
    if sum <= longest {
        return exact;
    }
    exact.into_iter().map(|share| ((share * longest + sum / 2) / sum).max(1)).collect()
}

fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
impl Schedule {
    pub(super) fn turns(&self) -> &[u32] {
        &self.turns
    }
}
