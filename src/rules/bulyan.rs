use super::{Cohort, Rule, literal, require, spec_of};
use crate::error::Result;
use crate::geometry::{Geometry, Mixing};
use crate::parameters::Parameters;
use crate::plan::{Mix, Plan, Solution, Solve, Stat, Ties};
use crate::resilience::Resilience;
use crate::solve::bulyan::bulyan_selection;

/// How many nearest others a Krum score sums over while rows are picked one by one and m of them are left.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Scored {
    /// max(1, m − f − 1), as in Krum*.
    #[default]
    Star,
    /// max(1, m − f − 2), as in the original.
    Classic,
}

impl Scored {
    /// What m − f is lessened by.
    fn fewer(self) -> usize {
        match self {
            Scored::Star => 1,
            Scored::Classic => 2,
        }
    }
}

impl std::str::FromStr for Scored {
    type Err = String;
    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text {
            "star" => Ok(Scored::Star),
            "classic" => Ok(Scored::Classic),
            _ => Err("not 'star' or 'classic'".into()),
        }
    }
}

/// How rows are picked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Picks {
    /// One by one, scored anew among those left.
    #[default]
    OneByOne,
    /// All at once by their scores among all rows, as one library does.
    Once,
}

impl std::str::FromStr for Picks {
    type Err = String;
    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text {
            "one_by_one" => Ok(Picks::OneByOne),
            "once" => Ok(Picks::Once),
            _ => Err("not 'one_by_one' or 'once'".into()),
        }
    }
}

/// Bulyan: θ = n − 2f rows are picked one by one, each the one of least Krum score among those left; then, per coordinate, the mean of the
/// θ − 2f picked values nearest their median (ties: the lower row).
///
/// - Requirement: n ≥ 4f + 3.
/// - Resilience: none known to us in the sense of λ.
/// - Hostile input: rows with NaN or infinite values are left out, as (n−k, f−k).
/// - Cost: two reads of the data; O(n³) on the table of distances.
/// - Source: El Mhamdi, Guerraoui and Rouault, ICML 2018.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bulyan {
    /// Rows a score sums over.
    pub neighbors: Scored,
    /// How rows are picked.
    pub picks: Picks,
}

impl Bulyan {
    pub(crate) fn from_parameters(p: &mut Parameters) -> Result<Self> {
        Ok(Self {
            neighbors: p
                .option("neighbors", "rows in a score among m rows left: `star` (m-f-1, default) or `classic` (m-f-2)")?
                .unwrap_or_default(),
            picks: p
                .option("picks", "`one_by_one` (default), each scored among those left, or `once`, all by the same scores")?
                .unwrap_or_default(),
        })
    }
}

impl Rule for Bulyan {
    fn name(&self) -> &'static str {
        "bulyan"
    }
    fn spec(&self) -> String {
        let neighbors = (self.neighbors == Scored::Classic).then(|| "neighbors=classic".into());
        spec_of(self.name(), [neighbors, (self.picks == Picks::Once).then(|| "picks=once".into())])
    }
    fn definition(&self) -> &'static str {
        "n-2f rows picked by Krum, then per coordinate the mean of the n-4f values nearest the median"
    }
    fn needs(&self) -> &'static str {
        "n >= 4f + 3"
    }
    fn check(&self, n: usize, f: usize) -> Result<()> {
        require(self, n, f, f.checked_mul(4).is_some_and(|four| n >= four.saturating_add(3)))
    }
    fn lambda(&self, _n: usize, _f: usize, _d: usize) -> Resilience {
        Resilience::Unknown
    }
    fn plan(&self, cohort: &Cohort<'_>) -> Plan {
        let (n, f) = (cohort.n(), cohort.f);
        let stat = Stat::nearest_median(n - 2 * f, n - 4 * f, Ties::LowerRow);
        let keep = n - 2 * f;
        let neighbors = (n - f).saturating_sub(self.neighbors.fewer()).max(1).min(n - 1);
        let mix: Box<dyn Solve> = match self.picks {
            Picks::OneByOne => Box::new(Picked { f, fewer: self.neighbors.fewer() }),
            Picks::Once => Box::new(PickedOnce { neighbors, keep }),
        };
        Plan { mix: Mix::Solve(mix), stat }
    }
    fn reference(&self, rows: &[Vec<f64>], cohort: &Cohort<'_>) -> Vec<f64> {
        let (theta, f) = (rows.len() - 2 * cohort.f, cohort.f);
        let mut left: Vec<usize> = (0..rows.len()).collect();
        let mut picked = Vec::new();
        if self.picks == Picks::Once {
            let count = rows.len().saturating_sub(f + self.neighbors.fewer()).max(1);
            picked = literal::least(&literal::krum_scores(rows, count, 2), theta);
        }
        while picked.len() < theta {
            let those: Vec<Vec<f64>> = left.iter().map(|&i| rows[i].clone()).collect();
            let count = left.len().saturating_sub(f + self.neighbors.fewer()).max(1).min(left.len() - 1);
            let best = literal::least(&literal::krum_scores(&those, count, 2), 1)[0];
            picked.push(left.remove(best));
        }
        picked.sort_unstable();
        (0..rows[0].len())
            .map(|k| {
                let column: Vec<f64> = picked.iter().map(|&i| rows[i][k]).collect();
                let mut ordered = column.clone();
                ordered.sort_by(f64::total_cmp);
                // Twice the median.
                let twice = [ordered[(theta - 1) / 2], ordered[theta / 2]];
                literal::nearest(&column, 1, &twice, theta - 2 * f)
            })
            .collect()
    }
}

#[derive(Debug)]
struct Picked {
    f: usize,
    fewer: usize,
}

impl Solve for Picked {
    fn solve(&self, Geometry { gram, .. }: &Geometry) -> Result<Solution> {
        let n = gram.n();
        let found = bulyan_selection(&gram.distances2(), n, self.f, n - 2 * self.f, self.fewer);
        let mixing = Mixing::means(found.rows.iter().map(|&i| [i]), n);
        Ok(Solution { margin: found.margin, ..Solution::new(mixing) })
    }
}

/// The `keep` rows of least Krum score, each a row of its own.
#[derive(Debug)]
struct PickedOnce {
    neighbors: usize,
    keep: usize,
}

impl Solve for PickedOnce {
    fn solve(&self, Geometry { gram, .. }: &Geometry) -> Result<Solution> {
        let n = gram.n();
        let found = Solution::least(gram.krum_scores(self.neighbors), self.keep);
        let mixing = Mixing::means((0..n).filter(|&i| found.mixing.uses(i)).map(|i| [i]), n);
        Ok(Solution { mixing, ..found })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::everyone;

    #[test]
    fn worked_example() {
        // n = 7, f = 1: five are picked (not 50), and of them the three nearest their median 2 are averaged.
        let rows: Vec<Vec<f64>> = [0.0, 1.0, 2.0, 3.0, 50.0, 4.5, 2.2].map(|v| vec![v]).to_vec();
        let y = everyone(&rows, 1, |c| Bulyan::default().reference(&rows, c))[0];
        assert!((y - (1.0 + 2.0 + 2.2) / 3.0).abs() < 1e-14 || (y - (2.0 + 2.2 + 3.0) / 3.0).abs() < 1e-14, "{y}");
        assert!(Bulyan::default().check(6, 1).is_err() && Bulyan::default().check(3, usize::MAX).is_err());
    }
}
