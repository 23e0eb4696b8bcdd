//! Randomness as an argument: a small generator that the caller seeds.

/// A seedable generator (SplitMix64). It spreads picks evenly and replays a simulation; it keeps no secret.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// A generator whose whole sequence follows from `seed`.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number below `bound`, evenly; zero where `bound` is zero.
    pub fn below(&mut self, bound: usize) -> usize {
        // Multiply-shift instead of a division; the bias is below 2^-32 for every bound that fits memory.
        ((u128::from(self.next_u64()) * bound as u128) >> 64) as usize
    }
}

/// SplitMix64's finalizer: a cheap bijection that makes close inputs far apart.
pub(crate) const fn mix(mut value: u64) -> u64 {
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}
