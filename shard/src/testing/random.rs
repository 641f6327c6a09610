//! The one source of chance: a small seeded generator. Equal seeds give equal numbers, for ever and on every machine.

/// xoshiro256** (Blackman and Vigna, 2018), seeded by splitmix64 so that neighbouring seeds have nothing in common.
#[derive(Debug, Clone)]
pub struct Random {
    state: [u64; 4],
}

impl Random {
    /// The generator of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut mixed = seed;
        let state = std::array::from_fn(|_| {
            mixed = mixed.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut word = mixed;
            word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
            word ^ word >> 31
        });
        Self { state }
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        let [a, b, c, d] = self.state;
        let result = b.wrapping_mul(5).rotate_left(7).wrapping_mul(9);
        let (c, d) = (c ^ a, d ^ b);
        self.state = [a ^ d, b ^ c, c ^ b << 17, d.rotate_left(45)];
        result
    }

    /// A number below `end`; 0 when `end` is 0. The bias of the multiplication is far below anything a run could show.
    pub fn below(&mut self, end: u64) -> u64 {
        ((u128::from(self.bits()) * u128::from(end)) >> 64) as u64
    }

    /// A number from `low` to `high`, both included; `low` when `high` is below it.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low).saturating_add(1))
    }

    /// True in so many of a thousand cases.
    pub fn chance(&mut self, per_mille: u64) -> bool {
        self.below(1_000) < per_mille
    }

    /// One of several; the first when there is none to choose.
    ///
    /// # Panics
    /// When `choices` is empty.
    pub fn pick<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len() as u64) as usize]
    }

    /// A number of any magnitude from `low` to `high`: as many small ones as large ones. Waits and sizes are chosen so,
    /// since what goes wrong at 1 and what goes wrong at 1,000 are different things.
    pub fn magnitude(&mut self, low: u64, high: u64) -> u64 {
        let (low, high) = (low.max(1), high.max(1));
        let bits_low = u64::from(low.ilog2());
        let bits_high = u64::from(high.ilog2());
        let floor = 1_u64 << self.between(bits_low, bits_high);
        self.between(floor, floor.saturating_mul(2).saturating_sub(1)).clamp(low, high)
    }

    /// A generator of its own: what it is asked for does not change what this one gives later.
    pub fn fork(&mut self) -> Self {
        Self::new(self.bits())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_seeds_give_equal_numbers_and_neighbours_do_not() {
        let numbers = |seed| {
            let mut random = Random::new(seed);
            (0..100).map(|_| random.bits()).collect::<Vec<_>>()
        };
        assert_eq!(numbers(7), numbers(7));
        assert!(numbers(7).iter().zip(numbers(8)).all(|(a, b)| *a != b));
    }

    #[test]
    fn numbers_stay_in_their_range_and_reach_both_ends() {
        let mut random = Random::new(1);
        let mut seen = [0_u32; 4];
        for _ in 0..1_000 {
            seen[random.between(0, 3) as usize] += 1;
            assert!((5..=9_000).contains(&random.magnitude(5, 9_000)));
        }
        assert!(seen.iter().all(|count| *count > 150), "{seen:?}");
        assert_eq!((random.below(0), random.between(7, 3), random.between(7, 7)), (0, 7, 7));
        assert!(!random.chance(0) && random.chance(1_000));
    }
}
