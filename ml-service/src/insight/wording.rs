//! How insights write amounts, shares and days. All of it is integer arithmetic: an amount is never a float, not even here.

use chrono::NaiveDate;
use shared::Currency;

/// `12.99 USD`, `-0.50 USD`, `300 JPY`.
pub fn money(minor: i64, currency: Currency) -> String {
    let unit = 10_u64.saturating_pow(currency.exponent());
    let sign = if minor < 0 { "-" } else { "" };
    let (whole, rest) = (minor.unsigned_abs() / unit, minor.unsigned_abs() % unit);
    if unit == 1 {
        return format!("{sign}{whole} {currency}");
    }
    let digits = usize::try_from(currency.exponent()).unwrap_or(2);
    format!("{sign}{whole}.{rest:0digits$} {currency}")
}

/// `part` in ten-thousandths of `whole`, 0 of nothing.
pub fn basis_points(part: i64, whole: i64) -> i64 {
    if whole == 0 {
        return 0;
    }
    let share = i128::from(part) * 10_000 / i128::from(whole);
    i64::try_from(share).unwrap_or(if share < 0 { i64::MIN } else { i64::MAX })
}

/// `12.5 %`.
pub fn percent(basis_points: i64) -> String {
    let sign = if basis_points < 0 { "-" } else { "" };
    let tenths = basis_points.unsigned_abs() / 10;
    format!("{sign}{}.{} %", tenths / 10, tenths % 10)
}

/// `3.4 times`.
pub fn times(amount: i64, usual: i64) -> String {
    let tenths = basis_points(amount, usual) / 1000;
    format!("{}.{} times", tenths / 10, tenths % 10)
}

/// `3 November 2026`.
pub fn day(on: NaiveDate) -> String {
    on.format("%-d %B %Y").to_string()
}

/// `November 2026`.
pub fn month(on: NaiveDate) -> String {
    on.format("%B %Y").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_written_in_their_currency() {
        for (minor, code, written) in [
            (1299, "USD", "12.99 USD"),
            (-50, "USD", "-0.50 USD"),
            (300, "JPY", "300 JPY"),
            (5, "BHD", "0.005 BHD"),
            (i64::MIN, "USD", "-92233720368547758.08 USD"),
        ] {
            assert_eq!(money(minor, code.parse().unwrap()), written);
        }
    }

    #[test]
    fn shares_are_exact_and_never_overflow() {
        assert_eq!(percent(basis_points(1, 8)), "12.5 %");
        assert_eq!(percent(basis_points(-1, 8)), "-12.5 %");
        assert_eq!(basis_points(1, 0), 0);
        assert_eq!(basis_points(i64::MAX, 1), i64::MAX);
        assert_eq!(times(9_400, 1_000), "9.4 times");
    }
}
