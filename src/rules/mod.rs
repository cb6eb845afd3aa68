//! The rules, one file each: definition, requirement on (n, f), ties, resilience coefficient λ, plan and literal reference.
//!
//! A rule never reads data and never sees a device: it returns a [`Plan`] that any engine executes.
//! To add a rule, add a file and one line to the `CATALOGUE` in this one: tests, benches, the command line and the rule
//! table iterate over it.

mod aksel;
mod autogm;
mod average;
mod bulyan;
mod caf;
mod centered_clipping;
mod cge;
mod clipped_clustering;
mod dnc;
mod fltrust;
mod geometric_median;
mod krum;
pub(crate) mod literal;
mod mda;
mod meamed;
mod median;
mod medoid;
mod monna;
mod multi_krum;
mod mva;
mod phocas;
mod rfa;
mod sign_majority;
mod signguard;
mod smea;
mod trimmed_mean;
mod weights;

pub use aksel::Aksel;
pub use autogm::AutoGm;
pub use average::{Average, WeightedAverage};
pub use bulyan::{Bulyan, Picks, Scored};
pub use caf::CovarianceBoundAgnosticFilter;
pub use centered_clipping::{CenteredClipping, Start};
pub use cge::ComparativeGradientElimination;
pub use clipped_clustering::{ClippedClustering, Linkage};
pub use dnc::DivideAndConquer;
pub use fltrust::FlTrust;
pub use geometric_median::{GeometricMedian, Method};
pub use krum::{Krum, Neighbors, Power};
pub use mda::MinimumDiameterAveraging;
pub use meamed::MeaMed;
pub use median::{Median, Middle, WeightedMedian};
pub use medoid::Medoid;
pub use monna::Monna;
pub use multi_krum::MultiKrum;
pub use mva::MinimumVarianceAveraging;
pub use phocas::Phocas;
pub use rfa::Rfa;
pub use sign_majority::SignMajority;
pub use signguard::SignGuard;
pub use smea::{Search, SmallestMaximumEigenvalueAveraging};
pub use trimmed_mean::{TrimmedMean, WeightedTrimmedMean};
pub use weights::Weights;

use crate::error::{Error, Result};
use crate::geometry::{Geometry, Wants};
use crate::parameters::{Parameter, Parameters};
use crate::plan::{Mix, Plan, Solution, Solve, Stat};
use crate::resilience::Resilience;
use std::sync::Arc;

/// What a rule does with rows that hold NaN or infinite values (at most f of them; more are an error).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NonFinite {
    /// Order them: every bit pattern has a place in each column, and at most f land in the tails that are cut.
    Order,
    /// Leave the k rows out and run as (n − k, f − k) on the others; n − f stays what it was.
    LeaveOut,
    /// Take them as they are: the result is what the formula gives.
    Propagate,
}

/// Who takes part in a call.
#[derive(Debug, Clone, Copy)]
pub struct Cohort<'a> {
    /// Rows of the matrix.
    pub total: usize,
    /// The rows that take part, ascending: all, but for those left out because they are not finite or absent.
    pub members: &'a [usize],
    /// How many of the members may be Byzantine.
    pub f: usize,
    /// Coordinates.
    pub d: usize,
}

impl Cohort<'_> {
    /// Rows that take part.
    pub fn n(&self) -> usize {
        self.members.len()
    }

    /// Where a row of the matrix stands among the members.
    pub fn place(&self, row: usize) -> Option<usize> {
        self.members.iter().position(|&i| i == row)
    }

    /// Refuses a parameter that names a row which does not take part.
    pub(crate) fn require_row<R: Rule + ?Sized>(&self, rule: &R, parameter: &str, row: usize) -> Result<()> {
        match self.place(row) {
            Some(_) => Ok(()),
            None if row < self.total => {
                let limit = "a row that takes part: this one is absent or holds NaN or infinite values";
                Err(Error::parameter(rule.name(), parameter, row, limit))
            }
            None => Err(Error::parameter(rule.name(), parameter, row, format_args!("below n = {}", self.total))),
        }
    }

    /// Of one value for each row of the matrix those of the members.
    pub fn of_members<T: Copy>(&self, values: &[T]) -> Vec<T> {
        self.members.iter().filter_map(|&i| values.get(i).copied()).collect()
    }
}

/// Something a caller has beside the matrix, for the rules that take it.
#[derive(Debug, Clone)]
pub enum Given {
    /// One positive weight for each worker, e.g. its number of samples.
    Weights(Arc<[f64]>),
    /// The previous aggregate.
    Previous(Arc<[f32]>),
    /// The index of a row that can be trusted.
    Trusted(usize),
}

impl Given {
    /// In words, for messages.
    pub fn name(&self) -> &'static str {
        match self {
            Given::Weights(_) => "weights of workers",
            Given::Previous(_) => "a previous aggregate",
            Given::Trusted(_) => "a trusted row",
        }
    }
}

/// An aggregation rule: from n rows, of which at most f are Byzantine, to one.
///
/// Implement it for a rule of your own; the engines take any `&dyn Rule`.
pub trait Rule: std::fmt::Debug + Send + Sync {
    /// Name in specifications, e.g. `trimmed_mean`.
    fn name(&self) -> &'static str;

    /// The specification that builds this rule again, e.g. `krum:neighbors=3`.
    fn spec(&self) -> String {
        self.name().to_string()
    }

    /// Definition in one line.
    fn definition(&self) -> &'static str;

    /// What it requires of (n, f), in words.
    fn needs(&self) -> &'static str {
        "f < n/2"
    }

    /// Refuses (n, f) for which the rule has no meaning or no guarantee.
    ///
    /// # Errors
    /// [`Error::Requirement`] or [`Error::Parameter`], with the numbers.
    fn check(&self, n: usize, f: usize) -> Result<()> {
        require(self, n, f, f < n.div_ceil(2))
    }

    /// Refuses a call: [`Rule::check`], and whether what the rule was [given](Rule::given) fits the matrix. Asked before
    /// the data is read, and again when rows are left out.
    ///
    /// # Errors
    /// As [`Rule::check`].
    fn admit(&self, cohort: &Cohort<'_>) -> Result<()> {
        self.check(cohort.n(), cohort.f)
    }

    /// The rule with something the caller has beside the matrix.
    ///
    /// # Errors
    /// [`Error::Given`] when the rule has no use for it, which is the default.
    fn given(&self, given: Given) -> Result<Arc<dyn Rule>> {
        Err(refused(self, &given))
    }

    /// The rule with other random choices: its seed plus `draw`. `None`, the default, where nothing is drawn. In a loop, give the
    /// step, or what an attacker cannot foresee.
    fn redrawn(&self, draw: u64) -> Option<Arc<dyn Rule>> {
        let _ = draw;
        None
    }

    /// The largest f it tolerates of n workers, if any.
    fn most_f(&self, n: usize) -> Option<usize> {
        // Whoever tolerates f tolerates less.
        self.check(n, 0).ok()?;
        let (mut most, mut over) = (0, n.saturating_add(1));
        while over - most > 1 {
            let f = most + (over - most) / 2;
            *if self.check(n, f).is_ok() { &mut most } else { &mut over } = f;
        }
        Some(most)
    }

    /// λ such that ‖F(x) − mean_S‖ ≤ λ · max_{i,j∈S} ‖x_i − x_j‖ for every S of n − f rows.
    fn lambda(&self, n: usize, f: usize, d: usize) -> Resilience;

    /// κ such that ‖F(x) − mean_S‖² ≤ κ · (1/|S|) Σ_S ‖x_i − mean_S‖² for every S of n − f rows. Unless a better one is known it
    /// follows from λ.
    fn kappa(&self, n: usize, f: usize, d: usize) -> Resilience {
        self.lambda(n, f, d).kappa_from_lambda(n, f)
    }

    /// What happens to rows with NaN or infinite values.
    fn non_finite(&self) -> NonFinite {
        NonFinite::LeaveOut
    }

    /// How engines compute it. Called only for a cohort that [`Rule::admit`] accepts.
    fn plan(&self, cohort: &Cohort<'_>) -> Plan;

    /// The definition, computed literally in f64, for the n ≥ 1 rows of the members, of equal length. The twin that every engine
    /// is tested against: it must not call what the plan calls.
    fn reference(&self, rows: &[Vec<f64>], cohort: &Cohort<'_>) -> Vec<f64>;
}

/// The error of [`Rule::given`] for something the rule has no use for.
pub(crate) fn refused<R: Rule + ?Sized>(rule: &R, given: &Given) -> Error {
    let what = match given {
        Given::Weights(_) => format!("{}: average, median, trimmed_mean, geometric_median and centered_clipping do", given.name()),
        _ => given.name().into(),
    };
    Error::Given { rule: rule.name().into(), what }
}

/// The error of [`Rule::check`] unless `holds`.
pub(crate) fn require<R: Rule + ?Sized>(rule: &R, n: usize, f: usize, holds: bool) -> Result<()> {
    if n > 0 && holds {
        return Ok(());
    }
    Err(Error::Requirement { rule: rule.name().into(), n, f, needs: rule.needs().into() })
}

/// A rule's constructor: takes the parameters it knows; what is left over is an error of the caller's.
type Build = fn(&mut Parameters) -> Result<Arc<dyn Rule>>;

/// Every rule by its name in specifications.
const CATALOGUE: &[(&str, Build)] = &[
    ("average", |_| Ok(Arc::new(Average))),
    ("median", |p| Ok(Arc::new(Median::from_parameters(p)?))),
    ("trimmed_mean", |_| Ok(Arc::new(TrimmedMean))),
    ("meamed", |p| Ok(Arc::new(MeaMed::from_parameters(p)?))),
    ("phocas", |_| Ok(Arc::new(Phocas))),
    ("sign_majority", |_| Ok(Arc::new(SignMajority))),
    ("krum", |p| Ok(Arc::new(Krum::from_parameters(p)?))),
    ("multi_krum", |p| Ok(Arc::new(MultiKrum::from_parameters(p)?))),
    ("bulyan", |p| Ok(Arc::new(Bulyan::from_parameters(p)?))),
    ("medoid", |_| Ok(Arc::new(Medoid))),
    ("mda", |_| Ok(Arc::new(MinimumDiameterAveraging))),
    ("mva", |_| Ok(Arc::new(MinimumVarianceAveraging))),
    ("smea", |p| Ok(Arc::new(SmallestMaximumEigenvalueAveraging::from_parameters(p)?))),
    ("monna", |p| Ok(Arc::new(Monna::from_parameters(p)?))),
    ("cge", |_| Ok(Arc::new(ComparativeGradientElimination))),
    ("aksel", |p| Ok(Arc::new(Aksel::from_parameters(p)?))),
    ("geometric_median", |p| Ok(Arc::new(GeometricMedian::from_parameters(p)?))),
    ("rfa", |p| Ok(Arc::new(Rfa::from_parameters(p)?))),
    ("centered_clipping", |p| Ok(Arc::new(CenteredClipping::from_parameters(p)?))),
    ("caf", |_| Ok(Arc::new(CovarianceBoundAgnosticFilter))),
    ("dnc", |p| Ok(Arc::new(DivideAndConquer::from_parameters(p)?))),
    ("autogm", |p| Ok(Arc::new(AutoGm::from_parameters(p)?))),
    ("clipped_clustering", |p| Ok(Arc::new(ClippedClustering::from_parameters(p)?))),
    ("signguard", |p| Ok(Arc::new(SignGuard::from_parameters(p)?))),
    ("fltrust", |p| Ok(Arc::new(FlTrust::from_parameters(p)?))),
];

/// Names of all rules, in the order of the rule table.
pub fn names() -> impl ExactSizeIterator<Item = &'static str> {
    CATALOGUE.iter().map(|(name, _)| *name)
}

/// The parameters that a rule of that name takes in specifications, beside `f`.
pub fn parameters(name: &str) -> Vec<Parameter> {
    let mut parameters = Parameters::default();
    // What is refused for want of a parameter has asked for it.
    let _ = build(name, &mut parameters);
    parameters.known()
}

/// Every rule with its default parameters.
pub fn all() -> Vec<Arc<dyn Rule>> {
    let none = || Parameters::default();
    CATALOGUE.iter().map(|(_, build)| build(&mut none()).expect("every rule has defaults")).collect()
}

/// The rule of that name with these parameters.
pub(crate) fn build(name: &str, parameters: &mut Parameters) -> Option<Result<Arc<dyn Rule>>> {
    CATALOGUE.iter().find(|(n, _)| *n == name).map(|(_, build)| build(parameters))
}

/// A rule that lets its solver choose weights.
pub(crate) fn weighted(solver: impl Solve + 'static) -> Plan {
    Plan { mix: Mix::Solve(Box::new(solver)), stat: Stat::Identity }
}

/// A rule that looks at one coordinate at a time.
pub(crate) fn per_coordinate(stat: Stat) -> Plan {
    Plan { mix: Mix::Rows, stat }
}

/// The specification of a rule with some of its parameters.
pub(crate) fn spec_of(name: &str, parameters: impl IntoIterator<Item = Option<String>>) -> String {
    let given: Vec<String> = parameters.into_iter().flatten().collect();
    if given.is_empty() { name.into() } else { format!("{name}:{}", given.join(",")) }
}

/// Weights of a mean that do not depend on the data; one for each row.
#[derive(Debug)]
pub(crate) struct Fixed(pub(crate) Vec<f64>);

impl Solve for Fixed {
    fn wants(&self) -> Wants {
        Wants::nothing()
    }
    fn solve(&self, _geometry: &Geometry) -> Result<Solution> {
        let total: f64 = self.0.iter().sum();
        Ok(Solution::weights(self.0.iter().map(|w| w / total).collect()))
    }
}

/// The rows of one row, weighted equally.
#[cfg(test)]
pub(crate) fn everyone(rows: &[Vec<f64>], f: usize, work: impl Fn(&Cohort<'_>) -> Vec<f64>) -> Vec<f64> {
    let members: Vec<usize> = (0..rows.len()).collect();
    work(&Cohort { total: rows.len(), members: &members, f, d: rows[0].len() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_readme_lists_every_rule_as_it_is() {
        let readme = include_str!("../../README.md");
        for rule in all() {
            let row = format!("| `{}` | {} | {} |", rule.name(), rule.definition(), rule.needs());
            assert!(readme.contains(&row), "{row}");
            for Parameter { name, meaning } in parameters(rule.name()) {
                let row = format!("| `{}` | `{name}` | {meaning} |", rule.name());
                assert!(!meaning.is_empty() && readme.contains(&row), "{row}");
            }
        }
    }

    #[test]
    fn impossible_f_is_refused_with_the_numbers() {
        for rule in all() {
            for (n, f) in [(0, 0), (1, 1), (4, 2), (5, 3), (10, 11)] {
                let refused = rule.check(n, f);
                if rule.non_finite() == NonFinite::Propagate && f <= n && n > 0 {
                    assert_eq!(refused, Ok(()));
                } else {
                    let text = refused.unwrap_err().to_string();
                    assert!(text.contains(&format!("f = {f}")) && text.contains(&format!("n = {n}")), "{text}");
                }
            }
            for (n, f) in [(1, 0), (2, 0), (3, 1), (15, 7), (31, 7)] {
                if n < 4 * f + 3 && rule.name() == "bulyan" {
                    continue;
                }
                assert_eq!(rule.check(n, f), Ok(()));
                assert!(rule.lambda(n, f, 10).value().is_none_or(|l| l >= f as f64 / (n - f) as f64));
            }
        }
    }
}
