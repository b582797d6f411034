//! Exact fractions: what rules compute with, so that `amount / account.mean >= 10` is decided without rounding.

use std::cmp::Ordering;

/// A fraction of integers, with a positive denominator. What does not fit is no fraction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fraction {
    numerator: i128,
    denominator: i128,
}

impl Fraction {
    pub fn whole(number: i64) -> Self {
        Self {
            numerator: i128::from(number),
            denominator: 1,
        }
    }

    pub fn power_of_ten(exponent: u32) -> Self {
        Self {
            numerator: 10_i128.saturating_pow(exponent),
            denominator: 1,
        }
    }

    /// `None` when the denominator is zero.
    pub fn of(numerator: i64, denominator: i64) -> Option<Self> {
        Self::reduced(i128::from(numerator), i128::from(denominator))
    }

    fn reduced(numerator: i128, denominator: i128) -> Option<Self> {
        let divisor = greatest_common_divisor(numerator.checked_abs()?, denominator.checked_abs()?);
        let sign = denominator.signum();
        if sign == 0 {
            return None;
        }
        Some(Self {
            numerator: numerator.checked_div(divisor)?.checked_mul(sign)?,
            denominator: denominator.checked_div(divisor)?.checked_mul(sign)?,
        })
    }

    pub fn plus(self, other: Self) -> Option<Self> {
        let left = self.numerator.checked_mul(other.denominator)?;
        let right = other.numerator.checked_mul(self.denominator)?;
        Self::reduced(
            left.checked_add(right)?,
            self.denominator.checked_mul(other.denominator)?,
        )
    }

    pub fn minus(self, other: Self) -> Option<Self> {
        let negative = Self {
            numerator: other.numerator.checked_neg()?,
            ..other
        };
        self.plus(negative)
    }

    pub fn times(self, other: Self) -> Option<Self> {
        Self::reduced(
            self.numerator.checked_mul(other.numerator)?,
            self.denominator.checked_mul(other.denominator)?,
        )
    }

    pub fn over(self, other: Self) -> Option<Self> {
        Self::reduced(
            self.numerator.checked_mul(other.denominator)?,
            self.denominator.checked_mul(other.numerator)?,
        )
    }

    pub fn compare(self, other: Self) -> Option<Ordering> {
        let left = self.numerator.checked_mul(other.denominator)?;
        let right = other.numerator.checked_mul(self.denominator)?;
        Some(left.cmp(&right))
    }

    /// Rounded towards zero. `12.3`.
    pub fn with_decimals(self, decimals: u32) -> String {
        let scale = 10_i128.saturating_pow(decimals);
        let whole = self.numerator / self.denominator;
        let rest = (self.numerator % self.denominator).saturating_abs();
        let rest = rest.saturating_mul(scale) / self.denominator;
        let sign = if self.numerator < 0 && whole == 0 && rest != 0 {
            "-"
        } else {
            ""
        };
        match usize::try_from(decimals) {
            Ok(width @ 1..) => format!("{sign}{whole}.{rest:0width$}"),
            _ => format!("{whole}"),
        }
    }
}

/// At least 1.
fn greatest_common_divisor(mut left: i128, mut right: i128) -> i128 {
    while right != 0 {
        (left, right) = (right, left % right);
    }
    left.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fraction(numerator: i64, denominator: i64) -> Fraction {
        Fraction::of(numerator, denominator).unwrap()
    }

    #[test]
    fn arithmetic_is_exact() {
        assert_eq!(fraction(1, 3).plus(fraction(1, 6)), Some(fraction(1, 2)));
        assert_eq!(fraction(1, 3).minus(fraction(1, 3)), Some(fraction(0, 5)));
        assert_eq!(fraction(2, 3).times(fraction(3, 4)), Some(fraction(1, 2)));
        assert_eq!(fraction(2, 3).over(fraction(-4, 3)), Some(fraction(-1, 2)));
        assert_eq!(
            fraction(1, 3).compare(fraction(333, 1000)),
            Some(Ordering::Greater)
        );
        assert_eq!(fraction(1, 2).over(Fraction::whole(0)), None);
        assert_eq!(Fraction::of(1, 0), None);
    }

    #[test]
    fn what_does_not_fit_is_no_fraction() {
        let large = Fraction::whole(i64::MAX)
            .times(Fraction::whole(i64::MAX))
            .unwrap();
        assert_eq!(large.times(large), None);
        assert_eq!(large.over(Fraction::of(1, i64::MAX).unwrap()), None);
        assert_eq!(
            fraction(i64::MIN, 1).minus(fraction(1, i64::MAX)).map(|_| ()),
            Some(())
        );
    }

    #[test]
    fn a_fraction_is_shown_with_its_decimals() {
        assert_eq!(fraction(941, 100).with_decimals(1), "9.4");
        assert_eq!(fraction(-1, 2).with_decimals(1), "-0.5");
        assert_eq!(fraction(7, 1).with_decimals(0), "7");
        assert_eq!(fraction(20_001, 1000).with_decimals(2), "20.00");
    }
}
