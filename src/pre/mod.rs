//! Pre-aggregations, one file each: they turn n rows into rows that a rule, or another pre-aggregation, follows.
//!
//! Each row they give is a weighted sum of the rows, with weights that depend on inner products alone. So they are composed on
//! n × n numbers, and the rows they give are never formed: see [`Chain`](crate::Chain).

mod arc;
mod bucketing;
mod clipping;
mod nnm;

pub use arc::AdaptiveRobustClipping;
pub use bucketing::Bucketing;
pub use clipping::Clipping;
pub use nnm::NearestNeighborMixing;

use crate::error::{Error, Result};
use crate::geometry::{Geometry, Mixing};
use crate::parameters::{Parameter, Parameters};
use crate::plan::{Solution, Solve};
use std::sync::Arc;

/// Turns n rows, of which at most f are Byzantine, into rows that a rule follows.
pub trait PreAggregation: std::fmt::Debug + Send + Sync {
    /// Name in specifications, e.g. `nnm`.
    fn name(&self) -> &'static str;

    /// The specification that builds it again, e.g. `bucketing:s=3`.
    fn spec(&self) -> String {
        self.name().to_string()
    }

    /// Definition in one line.
    fn definition(&self) -> &'static str;

    /// What it requires of (n, f), in words.
    fn needs(&self) -> &'static str {
        "f < n/2"
    }

    /// Refuses (n, f) for which it has no meaning.
    ///
    /// # Errors
    /// [`Error::Requirement`] or [`Error::Parameter`], with the numbers.
    fn check(&self, n: usize, f: usize) -> Result<()> {
        if n > 0 && f < n.div_ceil(2) {
            return Ok(());
        }
        Err(Error::Requirement { rule: self.name().into(), n, f, needs: self.needs().into() })
    }

    /// The same with other random choices, as [`Rule::redrawn`](crate::Rule::redrawn); `None` where nothing is drawn.
    fn redrawn(&self, draw: u64) -> Option<Arc<dyn PreAggregation>> {
        let _ = draw;
        None
    }

    /// Rows that come out of n.
    fn rows(&self, n: usize) -> usize {
        n
    }

    /// How it mixes n rows.
    fn solver(&self, n: usize, f: usize) -> Box<dyn Solve>;

    /// The definition, computed literally in f64. It must not call what the solver calls.
    fn reference(&self, rows: &[Vec<f64>], f: usize) -> Vec<Vec<f64>>;
}

type Build = fn(&mut Parameters) -> Result<Arc<dyn PreAggregation>>;

/// Every pre-aggregation by its name in specifications.
const CATALOGUE: &[(&str, Build)] = &[
    ("nnm", |_| Ok(Arc::new(NearestNeighborMixing))),
    ("bucketing", |p| Ok(Arc::new(Bucketing::from_parameters(p)?))),
    ("clipping", |p| Ok(Arc::new(Clipping::from_parameters(p)?))),
    ("arc", |_| Ok(Arc::new(AdaptiveRobustClipping))),
];

/// Names of all pre-aggregations.
pub fn names() -> impl ExactSizeIterator<Item = &'static str> {
    CATALOGUE.iter().map(|(name, _)| *name)
}

/// The parameters that a pre-aggregation of that name takes in specifications, beside `f`.
pub fn parameters(name: &str) -> Vec<Parameter> {
    let mut parameters = Parameters::default();
    let _ = build(name, &mut parameters);
    parameters.known()
}

/// Every pre-aggregation; clipping, which has no default radius, to norm 1.
pub fn all() -> Vec<Arc<dyn PreAggregation>> {
    let parameters = |name: &str| Parameters::parse(name, (name == "clipping").then_some("c=1")).expect("well-formed parameters");
    CATALOGUE.iter().map(|(name, build)| build(&mut parameters(name)).expect("these parameters are right")).collect()
}

/// The pre-aggregation of that name with these parameters.
pub(crate) fn build(name: &str, parameters: &mut Parameters) -> Option<Result<Arc<dyn PreAggregation>>> {
    CATALOGUE.iter().find(|(n, _)| *n == name).map(|(_, build)| build(parameters))
}

/// Rows scaled towards the origin: row i by `factors[i]` ≤ 1.
fn scaled(geometry: &Geometry, factors: &[f64]) -> Solution {
    let (n, width) = (geometry.n(), geometry.all.n());
    let row = |i: usize| {
        let mut weights = vec![0.0; width];
        weights[i] = factors[i];
        if let Some(origin) = geometry.origin {
            weights[origin] = 1.0 - factors[i];
        }
        weights
    };
    Solution::new(Mixing::new((0..n).map(row).collect()))
}

/// Scales each row of the f64 reference.
fn scale_rows(rows: &[Vec<f64>], factor: impl Fn(usize) -> f64) -> Vec<Vec<f64>> {
    let scaled = |row: &[f64], factor: f64| row.iter().map(|x| x * factor).collect();
    rows.iter().enumerate().map(|(i, row)| scaled(row, factor(i))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_readme_lists_every_one_as_it_is() {
        let readme = include_str!("../../README.md");
        for stage in all() {
            let row = format!("| `{}` | {} | {} |", stage.name(), stage.definition(), stage.needs());
            assert!(readme.contains(&row), "{row}");
            for Parameter { name, meaning } in parameters(stage.name()) {
                let row = format!("| `{}` | `{name}` | {meaning} |", stage.name());
                assert!(!meaning.is_empty() && readme.contains(&row), "{row}");
            }
        }
    }

    #[test]
    fn impossible_f_is_refused_with_the_numbers() {
        for stage in all() {
            for (n, f) in [(0, 0), (1, 1), (4, 2), (5, 3)] {
                let text = stage.check(n, f).unwrap_err().to_string();
                assert!(text.contains(&format!("f = {f}")) && text.contains(&format!("n = {n}")), "{text}");
            }
        }
    }
}
