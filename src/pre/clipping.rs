use super::{PreAggregation, scale_rows, scaled};
use crate::error::{Error, Result};
use crate::geometry::{Geometry, Wants};
use crate::parameters::Parameters;
use crate::plan::{Solution, Solve};
use crate::rules::literal;

/// Static clipping: x · min(1, c/‖x‖).
///
/// - Requirement: f < n/2; a radius c > 0, which has no default.
/// - Resilience: with a fixed radius none, whatever follows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Clipping {
    /// The largest norm.
    pub c: f64,
}

impl Clipping {
    pub(crate) fn from_parameters(p: &mut Parameters) -> Result<Self> {
        let missing = || Error::spec("clipping", "c is missing, the largest norm: clipping:c=C");
        Ok(Self { c: p.option("c", "norm that rows are shortened to; needed")?.ok_or_else(missing)? })
    }
}

impl PreAggregation for Clipping {
    fn name(&self) -> &'static str {
        "clipping"
    }
    fn spec(&self) -> String {
        format!("clipping:c={}", self.c)
    }
    fn definition(&self) -> &'static str {
        "rows longer than c are shortened to it"
    }
    fn check(&self, n: usize, f: usize) -> Result<()> {
        if !(self.c > 0.0 && self.c.is_finite()) {
            return Err(Error::parameter(self.name(), "c", self.c, "a positive number"));
        }
        if n > 0 && f < n.div_ceil(2) {
            return Ok(());
        }
        Err(Error::Requirement { rule: self.name().into(), n, f, needs: self.needs().into() })
    }
    fn solver(&self, _n: usize, _f: usize) -> Box<dyn Solve> {
        Box::new(*self)
    }
    fn reference(&self, rows: &[Vec<f64>], _f: usize) -> Vec<Vec<f64>> {
        scale_rows(rows, |i| (self.c / literal::norm(&rows[i])).min(1.0))
    }
}

impl Solve for Clipping {
    fn wants(&self) -> Wants {
        Wants::norms()
    }
    fn solve(&self, geometry: &Geometry) -> Result<Solution> {
        let factors: Vec<f64> = geometry.norms().iter().map(|norm| (self.c / norm).min(1.0)).collect();
        Ok(scaled(geometry, &factors))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn worked_example() {
        let rows = [vec![3.0, 4.0], vec![0.0, -1.0], vec![0.0, 0.0]];
        assert_eq!(Clipping { c: 2.5 }.reference(&rows, 1), [[1.5, 2.0], [0.0, -1.0], [0.0, 0.0]]);
        for c in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(Clipping { c }.check(3, 1).is_err());
        }
    }
}
