//! Chance from a seed: the same seed gives the same sequence of decisions (the threads' timing still differs).

use std::time::Duration;

/// A generator of numbers (SplitMix64).
#[derive(Debug, Clone)]
pub(crate) struct Dice(u64);

impl Dice {
    /// From a seed.
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Any number.
    pub(crate) const fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`; 0 when `end` is 0.
    pub(crate) const fn below(&mut self, end: u64) -> u64 {
        let drawn = self.draw();
        if end == 0 { 0 } else { drawn % end }
    }

    /// True in `hits` of `of` cases.
    pub(crate) const fn chance(&mut self, hits: u64, of: u64) -> bool {
        self.below(of) < hits
    }

    /// Any time up to `max`, to the microsecond.
    pub(crate) fn time_up_to(&mut self, max: Duration) -> Duration {
        Duration::from_micros(self.below(max.as_micros() as u64 + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_decisions_and_bounds_hold() {
        let (mut one, mut other) = (Dice::new(5), Dice::new(5));
        for _ in 0..1_000 {
            assert_eq!(one.draw(), other.draw());
            assert!(one.below(3) < 3 && other.below(3) < 3);
        }
        assert_eq!(one.below(0), 0);
        assert!((0..1_000).filter(|_| one.chance(1, 4)).count() > 150);
    }
}
