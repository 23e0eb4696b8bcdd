//! Weighted draws in O(1): Walker's alias method, in whole numbers so that it is exact.

use alloc::{boxed::Box, vec, vec::Vec};

use crate::rng::Rng;

/// A table from which an index is drawn with a probability of exactly its weight by the sum of weights.
#[derive(Debug)]
pub(super) struct AliasTable {
    columns: Box<[Column]>,
    /// The height of every column: the sum of weights.
    height: u64,
}

/// A column shared by at most two indexes: its own below `own`, the other above.
#[derive(Clone, Copy, Debug)]
struct Column {
    own: u64,
    other: u32,
}

impl AliasTable {
    /// A table for these weights.
    ///
    /// Every weight is scaled by the number of columns; then each column is filled to the same height from one index
    /// that has too little and one that has too much (Vose's order, so O(n)).
    pub(super) fn new(weights: &[u16]) -> Self {
        let count = weights.len() as u64;
        let height: u64 = weights.iter().map(|weight| u64::from(*weight)).sum();
        let mut left: Vec<u64> = weights.iter().map(|weight| u64::from(*weight) * count).collect();
        let mut columns = vec![Column { own: height, other: 0 }; weights.len()];
        let (mut small, mut large): (Vec<usize>, Vec<usize>) =
            (0..weights.len()).partition(|index| left.get(*index).is_some_and(|mass| *mass < height));
        while let (Some(poor), Some(rich)) = (small.pop(), large.pop()) {
            let mass = left.get(poor).copied().unwrap_or(height);
            if let Some(column) = columns.get_mut(poor) {
                *column = Column { own: mass, other: rich as u32 };
            }
            if let Some(rest) = left.get_mut(rich) {
                *rest = rest.saturating_sub(height.saturating_sub(mass));
                if *rest < height { small.push(rich) } else { large.push(rich) }
            }
        }
        // What is left in either list is exactly full: whole numbers leave no rounding behind.
        Self { columns: columns.into_boxed_slice(), height }
    }

    /// An index by weight; 0 where there is none.
    pub(super) fn draw(&self, rng: &mut Rng) -> usize {
        let index = rng.below(self.columns.len());
        match self.columns.get(index) {
            Some(column) if rng.below(self.height as usize) as u64 >= column.own => column.other as usize,
            _ => index,
        }
    }

    /// How much of the table is an index's, in units of which all columns together have `sum of weights * count`.
    #[cfg(test)]
    pub(super) fn mass(&self, index: usize) -> u64 {
        self.columns
            .iter()
            .enumerate()
            .map(|(at, column)| {
                let own = if at == index { column.own } else { 0 };
                let other = if column.other as usize == index { self.height - column.own } else { 0 };
                own + other
            })
            .sum()
    }
}
