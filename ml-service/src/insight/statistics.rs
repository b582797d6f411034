//! Order statistics and sums of integers, and the seeded random numbers of forecasts and generated households.

/// Of amounts: what does not fit stays at the end of the scale instead of wrapping around.
pub fn total(amounts: impl IntoIterator<Item = i64>) -> i64 {
    amounts.into_iter().fold(0, i64::saturating_add)
}

/// The value below which so many hundredths of `sorted` are; 0 of nothing.
pub fn quantile(sorted: &[i64], percent: usize) -> i64 {
    let last = sorted.len().saturating_sub(1);
    sorted.get(last * percent / 100).copied().unwrap_or(0)
}

pub fn median(amounts: impl IntoIterator<Item = i64>) -> i64 {
    let mut sorted: Vec<i64> = amounts.into_iter().collect();
    sorted.sort_unstable();
    quantile(&sorted, 50)
}

/// SplitMix64 (Steele, Lea, Flood 2014): the same numbers for the same seed, everywhere and always.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// 0 to `end` − 1, and 0 of none.
    pub fn below(&mut self, end: usize) -> usize {
        let end = u64::try_from(end).unwrap_or(u64::MAX).max(1);
        usize::try_from(self.bits() % end).unwrap_or(0)
    }

    /// `first` to `last`, both of them.
    pub fn between(&mut self, first: i64, last: i64) -> i64 {
        let count = usize::try_from(last.saturating_sub(first).saturating_add(1)).unwrap_or(1);
        first.saturating_add(i64::try_from(self.below(count)).unwrap_or(0))
    }

    /// True so many times in a hundred.
    pub fn percent(&mut self, chance: usize) -> bool {
        self.below(100) < chance
    }

    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        from.get(self.below(from.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_were_there() {
        assert_eq!(median([5, 1, 9]), 5);
        assert_eq!(median([]), 0);
        let sorted: Vec<i64> = (1..=11).collect();
        assert_eq!((quantile(&sorted, 10), quantile(&sorted, 90)), (2, 10));
    }

    #[test]
    fn a_sum_stays_at_the_end_of_the_scale() {
        assert_eq!(total([i64::MAX, 5]), i64::MAX);
    }

    #[test]
    fn the_same_seed_gives_the_same_numbers() {
        // The first of the reference implementation for seed 0.
        assert_eq!(Random::new(0).bits(), 0xE220_A839_7B1D_CDAF);
        let mut random = Random::new(7);
        assert!((0..1000).all(|_| (3..=5).contains(&random.between(3, 5))));
    }
}
