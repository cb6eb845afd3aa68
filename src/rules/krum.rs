use super::{Cohort, Rule, literal, require, spec_of, weighted};
use crate::error::{Error, Result};
use crate::geometry::Geometry;
use crate::parameters::Parameters;
use crate::plan::{DeviceSolve, Plan, Solution, Solve};
use crate::resilience::{NNM, RESAM, Resilience, honest_ratio};

/// How many nearest other rows a Krum score sums over.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Neighbors {
    /// n − f − 1: Krum* of the RESAM paper.
    #[default]
    Star,
    /// n − f − 2: the original Krum, which needs n ≥ 2f + 3.
    Classic,
    /// A fixed number.
    Count(usize),
}

impl Neighbors {
    /// The number for (n, f).
    pub fn count(self, n: usize, f: usize) -> usize {
        match self {
            Neighbors::Star => n - f - 1,
            Neighbors::Classic => n - f - 2,
            Neighbors::Count(c) => c,
        }
    }

    /// Refuses a number that (n, f) cannot serve; shared by all rules with Krum scores.
    pub(crate) fn check<R: Rule + ?Sized>(self, rule: &R, n: usize, f: usize) -> Result<()> {
        require(rule, n, f, f < n.div_ceil(2))?;
        match self {
            Neighbors::Classic if f.checked_mul(2).and_then(|two| two.checked_add(3)).is_none_or(|least| n < least) => {
                Err(Error::Requirement { rule: rule.name().into(), n, f, needs: "n >= 2f + 3 with classic neighbors".into() })
            }
            Neighbors::Count(c) if c >= n || (c == 0 && n > 1) => {
                Err(Error::parameter(rule.name(), "neighbors", c, format_args!("between 1 and n - 1 = {}", n - 1)))
            }
            _ => Ok(()),
        }
    }

    /// The `neighbors` parameter of a specification.
    pub(crate) fn from_parameters(p: &mut Parameters) -> Result<Self> {
        Ok(p.option("neighbors", "rows in a score: `star` (n-f-1, default), `classic` (n-f-2) or a number")?.unwrap_or_default())
    }

    /// As in a specification; `None` for the default.
    pub(crate) fn spec(self) -> Option<String> {
        match self {
            Neighbors::Star => None,
            Neighbors::Classic => Some("neighbors=classic".into()),
            Neighbors::Count(c) => Some(format!("neighbors={c}")),
        }
    }
}

impl std::str::FromStr for Neighbors {
    type Err = String;
    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text {
            "star" => Ok(Neighbors::Star),
            "classic" => Ok(Neighbors::Classic),
            _ => text.parse().map(Neighbors::Count).map_err(|_| "not a number, 'star' or 'classic'".into()),
        }
    }
}

/// What a Krum score sums: powers of distances. The definition has squares; the others reproduce libraries that sum something else.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Power {
    /// Distances themselves.
    One,
    /// Squared distances.
    #[default]
    Two,
    /// Squares of squared distances.
    Four,
}

impl Power {
    /// The `power` parameter of a specification.
    pub(crate) fn from_parameters(p: &mut Parameters) -> Result<Self> {
        let meaning = "of the distances that are summed: 2 (default); 1 or 4 reproduce other libraries";
        Ok(p.option("power", meaning)?.unwrap_or_default())
    }

    /// The exponent.
    pub(crate) fn exponent(self) -> i32 {
        match self {
            Power::One => 1,
            Power::Two => 2,
            Power::Four => 4,
        }
    }

    /// As in a specification; `None` for the default.
    pub(crate) fn spec(self) -> Option<String> {
        (self != Power::Two).then(|| format!("power={}", self.exponent()))
    }
}

impl std::str::FromStr for Power {
    type Err = String;
    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text {
            "1" => Ok(Power::One),
            "2" => Ok(Power::Two),
            "4" => Ok(Power::Four),
            _ => Err("not 1, 2 or 4".into()),
        }
    }
}

/// Krum: the row of least score, where score_i is the sum of the squared distances from x_i to its nearest *other* rows;
/// equal scores go to the lower index.
///
/// - Requirement: f < n/2; with classic neighbors n ≥ 2f + 3.
/// - Neighbors: n − f − 1 by default (Krum* of the RESAM paper); see [`Neighbors`].
/// - Resilience: λ = 1 + √((n−f)/(n−2f)) for the default.
/// - Hostile input: rows with NaN or infinite values are left out, as (n−k, f−k).
/// - Cost: two reads at most: one for the distances, none for the result, which is a copy of one row as bits.
/// - Source: Blanchard et al., NeurIPS 2017; Krum*, Farhadkhani et al., ICML 2022.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Krum {
    /// Rows a score sums over.
    pub neighbors: Neighbors,
    /// Power of the distances a score sums; 2 by definition.
    pub power: Power,
}

impl Krum {
    pub(crate) fn from_parameters(p: &mut Parameters) -> Result<Self> {
        Ok(Self { neighbors: Neighbors::from_parameters(p)?, power: Power::from_parameters(p)? })
    }
}

impl Rule for Krum {
    fn name(&self) -> &'static str {
        "krum"
    }
    fn spec(&self) -> String {
        spec_of("krum", [self.neighbors.spec(), self.power.spec()])
    }
    fn definition(&self) -> &'static str {
        "the row with the least sum of squared distances to its n-f-1 nearest other rows"
    }
    fn check(&self, n: usize, f: usize) -> Result<()> {
        self.neighbors.check(self, n, f)
    }
    fn lambda(&self, n: usize, f: usize, _d: usize) -> Resilience {
        match (self.neighbors, self.power) {
            (Neighbors::Star, Power::Two) => Resilience::proved(1.0 + honest_ratio(n, f).sqrt(), RESAM),
            _ => Resilience::Unknown,
        }
    }
    fn kappa(&self, n: usize, f: usize, _d: usize) -> Resilience {
        match (self.neighbors, self.power) {
            (Neighbors::Star, Power::Two) => Resilience::published(6.0 * honest_ratio(n, f), NNM),
            _ => Resilience::Unknown,
        }
    }
    fn plan(&self, cohort: &Cohort<'_>) -> Plan {
        weighted(LeastScores { neighbors: self.neighbors.count(cohort.n(), cohort.f), power: self.power, keep: 1 })
    }
    fn reference(&self, rows: &[Vec<f64>], cohort: &Cohort<'_>) -> Vec<f64> {
        let scores = literal::krum_scores(rows, self.neighbors.count(rows.len(), cohort.f), self.power.exponent());
        rows[literal::least(&scores, 1)[0]].clone()
    }
}

/// Mean of the `keep` rows of least Krum score.
#[derive(Debug)]
pub(crate) struct LeastScores {
    pub(crate) neighbors: usize,
    pub(crate) power: Power,
    pub(crate) keep: usize,
}

impl Solve for LeastScores {
    fn solve(&self, geometry: &Geometry) -> Result<Solution> {
        let scores = geometry.gram.scores(self.neighbors, |distance2| match self.power {
            Power::One => distance2.sqrt(),
            Power::Two => distance2,
            Power::Four => distance2 * distance2,
        });
        Ok(Solution::least_of(scores, self.keep, |i, j| !geometry.gram.are_equal(i, j)))
    }
    fn on_device(&self) -> Option<DeviceSolve> {
        (self.power == Power::Two).then_some(DeviceSolve::LeastScores { neighbors: self.neighbors, keep: self.keep })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gram::Gram;
    use crate::rules::everyone;

    #[test]
    fn a_choice_between_equal_rows_is_not_close_and_one_that_drowned_is() {
        let margin = |products: [[f64; 3]; 3]| {
            let gram = Gram::new(3, products.concat()).unwrap();
            LeastScores { neighbors: 1, power: Power::Two, keep: 1 }.solve(&Geometry::new(gram)).unwrap().margin
        };
        // The rows 1, 1 and 3.
        assert_eq!(margin([[1.0, 1.0, 3.0], [1.0, 1.0, 3.0], [3.0, 3.0, 9.0]]), Some(1.0));
        // Of squared distance 1 by definition, and 0 by these products.
        assert_eq!(margin([[1e16, 1e16 + 2.0, 0.0], [1e16 + 2.0, 1e16 + 2.0, 0.0], [0.0, 0.0, 1.0]]), Some(0.0));
        // Nothing but copies: there is no choice.
        assert_eq!(margin([[1.0; 3]; 3]), None);
    }

    #[test]
    fn worked_examples() {
        // n = 5, f = 1, so three neighbors: scores 14, 6, 6 (lowest index wins), 14, huge.
        let rows: Vec<Vec<f64>> = [0.0, 1.0, 2.0, 3.0, 50.0].map(|v| vec![v]).to_vec();
        assert_eq!(everyone(&rows, 1, |c| Krum::default().reference(&rows, c)), [1.0]);
        // Two neighbors (classic): scores 5, 2, 2, 5, huge.
        let classic = Krum { neighbors: Neighbors::Classic, ..Krum::default() };
        assert_eq!(everyone(&rows, 1, |c| classic.reference(&rows, c)), [1.0]);
        assert!(classic.check(4, 1).unwrap_err().to_string().contains("n = 4"));
    }
}
