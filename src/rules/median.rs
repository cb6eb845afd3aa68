use super::{Cohort, Given, NonFinite, Rule, Weights, literal, per_coordinate, spec_of};
use crate::error::{Error, Result};
use crate::parameters::Parameters;
use crate::plan::{Mix, Plan, Stat};
use crate::resilience::{NNM, RESAM, Resilience, coordinate_factor, honest_ratio};
use std::ops::Range;
use std::sync::Arc;

/// Coordinate-wise median (CWMed); for an even n the midpoint of the two middle values.
///
/// - Requirement: f < n/2.
/// - Resilience: λ = n/(2(n−f)) · Δ with Δ = min{2√(n−f), √d}.
/// - Hostile input: each column is ordered by bits, so up to f non-finite values end in its tails.
/// - Cost: one read of the data. For odd n the result's bits are those of an input value.
/// - Source: Yin et al., ICML 2018; as a resilient averaging rule, Farhadkhani et al., ICML 2022.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Median {
    /// What it is of an even number of values; by definition the midpoint of the two middle ones.
    pub middle: Middle,
}

/// What the median of an even number of values is. The definition has the midpoint; the others reproduce libraries that take one of the
/// two middle values.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Middle {
    /// The midpoint of the two middle values.
    #[default]
    Midpoint,
    /// The lower one of them.
    Lower,
    /// The upper one of them.
    Upper,
}

impl Middle {
    /// The `middle` parameter of a specification.
    pub(crate) fn from_parameters(p: &mut Parameters) -> Result<Self> {
        Ok(p.option("middle", "median of an even number: `midpoint` (default), `lower` or `upper`")?.unwrap_or_default())
    }

    /// The ranks of n values that it is the mean of.
    pub(crate) fn ranks(self, n: usize) -> std::ops::Range<usize> {
        let (lower, upper) = (n.saturating_sub(1) / 2, n / 2);
        match self {
            Middle::Midpoint => lower..upper + 1,
            Middle::Lower => lower..lower + 1,
            Middle::Upper => upper..upper + 1,
        }
    }

    /// As in a specification; `None` for the default.
    pub(crate) fn spec(self) -> Option<String> {
        match self {
            Middle::Midpoint => None,
            Middle::Lower => Some("middle=lower".into()),
            Middle::Upper => Some("middle=upper".into()),
        }
    }
}

impl std::str::FromStr for Middle {
    type Err = String;
    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text {
            "midpoint" => Ok(Middle::Midpoint),
            "lower" => Ok(Middle::Lower),
            "upper" => Ok(Middle::Upper),
            _ => Err("not 'midpoint', 'lower' or 'upper'".into()),
        }
    }
}

impl Median {
    pub(crate) fn from_parameters(p: &mut Parameters) -> Result<Self> {
        Ok(Self { middle: Middle::from_parameters(p)? })
    }
}

/// [`Median`] with weights of workers: the value below and above which at most half of the weight lies, or the midpoint of two such
/// values. Protects as long as no f rows carry half of the weight. Weights are exact where they are whole
/// multiples of one number with multiples that sum to less than 2³¹, as numbers of samples are; others are taken to 2⁻³¹ of their sum.
#[derive(Debug, Clone, PartialEq)]
pub struct WeightedMedian {
    /// One for each row.
    pub weights: Weights,
}

impl Rule for Median {
    fn name(&self) -> &'static str {
        "median"
    }
    fn spec(&self) -> String {
        spec_of(self.name(), [self.middle.spec()])
    }
    fn definition(&self) -> &'static str {
        "per coordinate: the median (even n: midpoint of the two middle values)"
    }
    fn given(&self, given: Given) -> Result<Arc<dyn Rule>> {
        let Given::Weights(weights) = given else { return Err(super::refused(self, &given)) };
        if self.middle != Middle::Midpoint {
            return Err(Error::Given { rule: self.spec(), what: "weights of workers; the default middle does".into() });
        }
        Ok(Arc::new(WeightedMedian { weights: Weights::new(weights)? }))
    }
    fn lambda(&self, n: usize, f: usize, d: usize) -> Resilience {
        Resilience::proved(n as f64 / (2 * (n - f)) as f64 * coordinate_factor(n, f, d), RESAM)
    }
    fn kappa(&self, n: usize, f: usize, _d: usize) -> Resilience {
        Resilience::published(4.0 * honest_ratio(n, f).powi(2), NNM)
    }
    fn non_finite(&self) -> NonFinite {
        NonFinite::Order
    }
    fn plan(&self, cohort: &Cohort<'_>) -> Plan {
        let Range { start: from, end: to } = self.middle.ranks(cohort.n());
        per_coordinate(Stat::Ranks { from, to })
    }
    fn reference(&self, rows: &[Vec<f64>], _cohort: &Cohort<'_>) -> Vec<f64> {
        match self.middle {
            Middle::Midpoint => literal::per_coordinate(rows, literal::median),
            Middle::Lower => literal::per_coordinate(rows, |ordered| ordered[(ordered.len() - 1) / 2]),
            Middle::Upper => literal::per_coordinate(rows, |ordered| ordered[ordered.len() / 2]),
        }
    }
}

impl Rule for WeightedMedian {
    fn name(&self) -> &'static str {
        Median::default().name()
    }
    fn definition(&self) -> &'static str {
        "per coordinate: the weighted median"
    }
    fn admit(&self, cohort: &Cohort<'_>) -> Result<()> {
        self.check(cohort.n(), cohort.f)?;
        self.weights.fit(self, cohort)
    }
    fn lambda(&self, _n: usize, _f: usize, _d: usize) -> Resilience {
        Resilience::Unknown
    }
    fn non_finite(&self) -> NonFinite {
        NonFinite::Order
    }
    fn plan(&self, cohort: &Cohort<'_>) -> Plan {
        Plan { mix: Mix::Counted(self.weights.counts(cohort)), stat: Stat::CountedMedian }
    }
    fn reference(&self, rows: &[Vec<f64>], cohort: &Cohort<'_>) -> Vec<f64> {
        let weights = self.weights.of(cohort);
        let half = weights.iter().sum::<f64>() / 2.0;
        literal::per_coordinate_with(rows, &weights, |ordered| {
            // The sum of the weights up to each value; the median is where it passes half.
            let mut below = 0.0;
            for (at, (v, w)) in ordered.iter().enumerate() {
                below += w;
                if below > half {
                    return *v;
                }
                if below == half {
                    return 0.5 * (v + ordered[at + 1].0);
                }
            }
            f64::NAN
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::everyone;

    #[test]
    fn worked_examples() {
        let rows = [vec![3.0], vec![1.0], vec![100.0]];
        assert_eq!(everyone(&rows, 1, |c| Median::default().reference(&rows, c)), [3.0]);
        let rows = [vec![3.0], vec![1.0], vec![4.0], vec![100.0]];
        assert_eq!(everyone(&rows, 1, |c| Median::default().reference(&rows, c)), [3.5]);
        let weighted = |w: [f64; 4]| {
            let rule = WeightedMedian { weights: Weights::new(Arc::from(w)).unwrap() };
            everyone(&rows, 1, |c| rule.reference(&rows, c))[0]
        };
        assert_eq!(weighted([1.0, 1.0, 1.0, 1.0]), 3.5);
        assert_eq!(weighted([1.0, 1.0, 3.0, 1.0]), 4.0);
        assert_eq!(weighted([1.0, 5.0, 2.0, 2.0]), 2.0);
    }
}
