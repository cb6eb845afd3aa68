//! Weights of workers, for the rules that have a weighted form.

use super::{Cohort, Rule};
use crate::error::{Error, Result};
use std::sync::Arc;

/// One positive weight for each worker, e.g. its number of samples.
///
/// A rule that counts workers equally tolerates f of them whatever they say. Weights are claims: whoever sets them must not be a
/// Byzantine worker, or must be bounded. The medians protect only as long as no f rows carry half: see [`Weights::largest_share`]; the
/// trimmed mean drops values by their number, so that what a dropped row claims is of no effect.
#[derive(Debug, Clone, PartialEq)]
pub struct Weights(Arc<[f64]>);

/// Counts sum to less than this, so that twice a partial sum fits 32 bits.
const MOST: f64 = (1u64 << 31) as f64 - 1.0;

impl Weights {
    /// From one weight for each row of the matrix. Only their proportions count: they are kept divided by a power of two, so that no sum of
    /// them overflows, and none is more than 2¹⁰⁰⁰ times the middle one, nor less than 2⁻¹⁰⁰⁰.
    ///
    /// # Errors
    /// [`Error::Parameter`] when one is not a positive, finite number.
    pub fn new(weights: Arc<[f64]>) -> Result<Self> {
        match weights.iter().position(|w| !(w.is_finite() && *w > 0.0)) {
            Some(i) => Err(Error::parameter("weights", &format!("weight {i}"), weights[i], "positive and finite")),
            None => Ok(Self(about_middle(&weights, 1000).collect())),
        }
    }

    /// Those of the members.
    pub(crate) fn of(&self, cohort: &Cohort<'_>) -> Vec<f64> {
        cohort.of_members(&self.0)
    }

    /// Those of the members as whole numbers: exactly, if they are multiples of one number by whole numbers of a sum below 2³¹, else in
    /// proportion.
    pub(crate) fn counts(&self, cohort: &Cohort<'_>) -> Vec<u32> {
        let weights = self.of(cohort);
        multiples(&weights).unwrap_or_else(|| {
            let total: f64 = weights.iter().sum();
            // A little room for those that are raised to 1.
            let unit = (MOST - weights.len() as f64) / total;
            weights.iter().map(|w| (w * unit).round().max(1.0) as u32).collect()
        })
    }

    /// Those of the members in f32, divided by a power of two such that the middle one is about 1, and neither more than 2⁶⁰ nor less than
    /// 2⁻⁶⁰: what one row claims takes nothing from the others.
    pub(crate) fn about_median(&self, cohort: &Cohort<'_>) -> Vec<f32> {
        about_middle(&self.of(cohort), 60).map(|w| w as f32).collect()
    }

    /// One for each row of the matrix.
    pub(crate) fn fit<R: Rule + ?Sized>(&self, rule: &R, cohort: &Cohort<'_>) -> Result<()> {
        if self.0.len() == cohort.total {
            return Ok(());
        }
        let limit = format_args!("{}, one for each row", cohort.total);
        Err(Error::parameter(rule.name(), "number of weights", self.0.len(), limit))
    }

    /// The share of the f largest weights in their sum. From one half on, f Byzantine workers decide a weighted median alone.
    pub fn largest_share(&self, f: usize) -> f64 {
        let mut weights = self.0.to_vec();
        weights.sort_unstable_by(|a, b| b.total_cmp(a));
        weights[..f.min(weights.len())].iter().sum::<f64>() / weights.iter().sum::<f64>()
    }
}

/// Weights by a power of two such that the middle one is about 1, none above 2^most or below 2^-most.
fn about_middle(weights: &[f64], most: i32) -> impl Iterator<Item = f64> {
    let mut ascending = weights.to_vec();
    ascending.sort_unstable_by(f64::total_cmp);
    let middle = ascending.get(weights.len() / 2).map_or(0.0, |middle| middle.log2().floor());
    // In two steps, for the power may be beyond the range.
    let half = (-middle / 2.0).trunc();
    let (a, b) = (half.exp2(), (-middle - half).exp2());
    weights.iter().map(move |w| (w * a * b).clamp(2f64.powi(-most), 2f64.powi(most)))
}

/// Positive numbers by their greatest common divisor, if that leaves a sum below 2³¹.
fn multiples(numbers: &[f64]) -> Option<Vec<u32>> {
    // m · 2^e with whole m, zeros at its end taken off.
    let whole = |x: &f64| {
        let (bits, subnormal) = (x.to_bits(), *x < f64::MIN_POSITIVE);
        let m = (bits & ((1 << 52) - 1)) | if subnormal { 0 } else { 1 << 52 };
        let e = ((bits >> 52) as i32).max(1);
        (u128::from(m >> m.trailing_zeros()), e + m.trailing_zeros() as i32)
    };
    let parts: Vec<(u128, i32)> = numbers.iter().map(whole).collect();
    let least = parts.iter().map(|(_, e)| *e).min()?;
    let whole = |(m, e): (u128, i32)| (e - least <= 74).then(|| m << (e - least));
    let whole: Vec<u128> = parts.into_iter().map(whole).collect::<Option<_>>()?;
    let divisor = whole.iter().copied().reduce(greatest_common_divisor)?;
    let counts = whole.iter().map(|w| u32::try_from(w / divisor).ok()).collect::<Option<Vec<u32>>>()?;
    let total: u64 = counts.iter().map(|count| u64::from(*count)).sum();
    (total < 1 << 31).then_some(counts)
}

fn greatest_common_divisor(mut a: u128, mut b: u128) -> u128 {
    while b > 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_claim_takes_anything_from_other_weights() {
        let members = [0, 1, 2, 3];
        let cohort = Cohort { total: 4, members: &members, f: 1, d: 1 };
        let about = |w: [f64; 4]| Weights::new(Arc::from(w)).unwrap().about_median(&cohort);
        for claim in [1e300, 1e308, f64::MAX] {
            assert_eq!(about([1.0, 3.0, 4.0, claim]), [0.25, 0.75, 1.0, 60f32.exp2()]);
        }
        assert_eq!(about([5e-324, 3.0, 4.0, 6.0]), [(-60f32).exp2(), 0.75, 1.0, 1.5]);
        assert_eq!(about([1e-300, 3.0, 4.0, 6.0]), [(-60f32).exp2(), 0.75, 1.0, 1.5]);
        assert_eq!(about([f64::MAX; 4]), [2.0; 4]);
    }

    #[test]
    fn counts_are_exact_for_whole_numbers_and_in_proportion_else() {
        let members = [0, 2, 3];
        let cohort = Cohort { total: 4, members: &members, f: 1, d: 1 };
        let counts = |w: [f64; 4]| Weights::new(Arc::from(w)).unwrap().counts(&cohort);
        assert_eq!(counts([3.0, 9.0, 4.0, 5.0]), [3, 4, 5]);
        assert_eq!(counts([0.5, 1.0, 0.25, 0.25]), [2, 1, 1]);
        assert_eq!(counts([0.1, 1.0, 0.2, 0.2]), [1, 2, 2]);
        assert_eq!(counts([1e9, 1.0, 2e9, 2e9]), [1, 2, 2]);
        // Whatever their size.
        assert_eq!(counts([1e308, 1e308, 1e308, 1e308]), [1, 1, 1]);
        assert_eq!(counts([1e-310, 1.0, 1e-310, 1e-310]), [1, 1, 1]);
        assert_eq!(Weights::new(Arc::from([5e-324; 4])).unwrap().counts(&cohort), [1, 1, 1]);
        let sum: f64 = Weights::new(Arc::from([1.7e308, 1e307, 1e307, 1.7e308])).unwrap().of(&cohort).iter().sum();
        assert!((2.0..4.0).contains(&sum), "{sum}");
        let shares = counts([0.3, 1.0, 0.1, 0.1]);
        assert!(shares[0].abs_diff(3 * shares[1]) <= 3 && shares.iter().sum::<u32>() < 1 << 31);
        let huge = counts([1e300, 1.0, 1e-300, 1e300]);
        assert_eq!(Weights::new(Arc::from([1.0, 3.0, 4.0])).unwrap().largest_share(1), 0.5);
        assert!(huge[1] == 1 && huge.iter().map(|c| u64::from(*c)).sum::<u64>() < 1 << 31);
        for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(Weights::new(Arc::from([1.0, bad])).is_err());
        }
    }
}
