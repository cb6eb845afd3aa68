//! The strength of an attack that has one: given, or searched at each step.

use std::{
    fmt::{self, Display},
    str::FromStr,
};

use super::{AttackError, Scene};

/// Rules that a search asks at each step.
const EVALUATIONS: usize = 16;

/// How strong an attack is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Factor {
    /// Always the same.
    Fixed(f64),
    /// At each step the factor ≥ 0 that a line search of 16 evaluations finds to take the aggregate farthest from ḡ: from 0 in
    /// steps from 1 on that double while they improve, then in steps that shrink by 0.8.
    Search,
}

impl Factor {
    /// The row of this factor; `row(c)` is ḡ + c·(row(1) − ḡ).
    ///
    /// # Errors
    /// [`AttackError::RuleMissing`] if a search has no rule to ask.
    pub(super) fn row(self, scene: &Scene, row: impl Fn(f64) -> Vec<f32>) -> Result<Vec<f32>, AttackError> {
        let factor = match self {
            Self::Fixed(factor) => factor,
            Self::Search => match scene.worst_on_line(&row(1.0)) {
                Some(factor) => factor,
                None => tried(scene, &row)?,
            },
        };
        Ok(row(factor))
    }
}

/// The search that tries rows on the rule.
fn tried(scene: &Scene, row: &impl Fn(f64) -> Vec<f32>) -> Result<f64, AttackError> {
    let mean = scene.mean()?;
    search(|factor| match scene.aggregate(&row(factor)) {
        Ok(aggregate) => Ok(aggregate.iter().zip(&mean).map(|(&r, m)| (f64::from(r) - m).powi(2)).sum()),
        // What the rule refuses does no damage; a device that fails tells nothing.
        Err(AttackError::Rule(error)) if error.downcast_ref().is_none_or(crate::Error::is_refusal) => Ok(0.0),
        Err(error) => Err(error),
    })
}

impl FromStr for Factor {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match (text, text.parse()) {
            ("search", _) => Ok(Self::Search),
            (_, Ok(factor)) if f64::is_finite(factor) => Ok(Self::Fixed(factor)),
            _ => Err("it must be a finite number or search".into()),
        }
    }
}

impl Display for Factor {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(factor) => factor.fmt(out),
            Self::Search => out.write_str("[searched]"),
        }
    }
}

/// A factor ≥ 0 where `damage` is large, by a line search without derivatives: from 0 in steps that double while they
/// improve, then in steps, to either side of the best factor so far, that shrink by 0.8.
///
/// # Errors
/// What `damage` refuses.
pub(super) fn search<E>(mut damage: impl FnMut(f64) -> Result<f64, E>) -> Result<f64, E> {
    let (mut best, mut most) = (0.0, damage(0.0)?);
    if most.is_nan() {
        most = f64::NEG_INFINITY; // worse than any number
    }
    let (mut step, mut growth) = (1.0, 2.0);
    for _ in 1..EVALUATIONS {
        let factor = f64::abs(best + step); // never below 0: a step over it is reflected
        let found = damage(factor)?;
        if found > most {
            (best, most) = (factor, found);
            step *= growth;
        } else {
            growth = 0.8;
            step *= -growth;
        }
    }
    Ok(best)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    #[test]
    fn peaks_are_found_and_the_rule_is_asked_sixteen_times() {
        for peak in [0.0, 0.3, 1.0, 2.7, 40.0, 900.0] {
            let mut asked = 0;
            let found = search(|factor| {
                asked += 1;
                assert!(factor >= 0.0);
                Ok::<_, Infallible>(-(factor - peak).powi(2))
            });
            assert!((found.unwrap() - peak).abs() <= 0.1 + 0.15 * peak, "{peak}: {found:?}");
            assert_eq!(asked, 16);
        }
    }

    #[test]
    fn damage_that_is_no_number_is_never_chosen() {
        let found = search(|factor| Ok::<_, Infallible>(if factor < 0.5 { f64::NAN } else { factor.min(3.0) }));
        assert!(found.unwrap() >= 2.0);
        let found = search(|factor| Ok::<_, Infallible>(if factor > 2.0 { f64::NAN } else { factor }));
        assert!((1.0..=2.0).contains(&found.unwrap()));
    }
}
