//! A Little Is Enough.

use std::{
    fmt::{self, Display},
    str::FromStr,
};

use statrs::distribution::{ContinuousCDF, Normal};

use super::{Attack, AttackError, Entry, Factor, Scene, narrow};

pub(super) const ENTRY: Entry = Entry {
    name: "alie",
    aliases: &[],
    title: "A little is enough",
    parameters: "z=NUMBER (default 1.5), z=max or z=search",
    build: |parameters| Ok(Box::new(Alie { z: parameters.take("z")?.unwrap_or_default() })),
};

/// ALIE: ḡ − z·s, with s the per-coordinate standard deviation of the honest rows.
///
/// It targets rules that trust what lies within the honest spread: each coordinate is moved by a little that hides in
/// the noise of the mini-batches, always in the same direction, so the error adds up over the steps. Less noise leaves
/// it less room, which is why worker momentum helps against it.
///
/// Source: Baruch, Baruch, Goldberg, "A Little Is Enough: Circumventing Defenses For Distributed Learning",
/// NeurIPS 2019, whose z is [`Deviations::Max`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Alie {
    /// Standard deviations away from the mean; 1.5 by default.
    pub z: Deviations,
}

/// How many standard deviations ALIE goes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Deviations {
    /// Given, or searched at each step.
    Factor(Factor),
    /// Φ⁻¹((n − f − k)/(n − f)) with k = ⌊n/2 + 1⌋ − f, the honest rows that make the f attackers a majority: so many are to
    /// lie farther from the mean than they. There must be such a k, from 1 to n − f − 1.
    Max,
}

impl Default for Deviations {
    fn default() -> Self {
        Self::Factor(Factor::Fixed(1.5))
    }
}

impl FromStr for Deviations {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "max" => Ok(Self::Max),
            _ => text.parse().map(Self::Factor).map_err(|error| format!("{error} or max")),
        }
    }
}

impl Display for Deviations {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Factor(factor) => factor.fmt(out),
            Self::Max => out.write_str("z_max"),
        }
    }
}

/// The z of the source for n workers, f of them hostile.
fn z_max(n: usize, f: usize) -> Result<f64, AttackError> {
    let honest = n - f;
    let supporters = (n / 2 + 1).saturating_sub(f);
    if supporters == 0 || supporters >= honest {
        let reason = format!("z=max of alie needs 0 < n/2 + 1 - f < n - f, but n = {n} and f = {f}");
        return Err(AttackError::Impossible { reason });
    }
    Ok(Normal::standard().inverse_cdf((honest - supporters) as f64 / honest as f64))
}

impl Attack for Alie {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn description(&self) -> String {
        format!("mean − {}·std of the honest rows", self.z)
    }

    fn row(&mut self, scene: &Scene) -> Result<Option<Vec<f32>>, AttackError> {
        let (mean, std) = scene.mean_and_std()?;
        let factor = match self.z {
            Deviations::Factor(factor) => factor,
            Deviations::Max => Factor::Fixed(z_max(scene.n(), scene.f())?),
        };
        factor.row(scene, |z| narrow(mean.iter().zip(&std).map(|(m, s)| m - z * s))).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use approx::assert_relative_eq;

    use super::*;

    #[test]
    fn worked_example() {
        // Means 2, −1, 5; unbiased deviations 1, 4, 0.
        let honest: [&[f32]; 3] = [&[1.0, -5.0, 5.0], &[2.0, -1.0, 5.0], &[3.0, 3.0, 5.0]];
        let scene = Scene::new(&honest, 1).unwrap();
        assert_eq!(Alie::default().row(&scene).unwrap().unwrap(), [0.5, -7.0, 5.0]);
        let mut other = Alie { z: Deviations::Factor(Factor::Fixed(-2.0)) };
        assert_eq!(other.row(&scene).unwrap().unwrap(), [4.0, 7.0, 5.0]);
    }

    #[test]
    fn the_original_z_is_a_quantile_of_the_normal_distribution() {
        // n = 50, f = 24: 2 of 26 honest rows are needed, 24/26 of the mass lies below z.
        assert_relative_eq!(z_max(50, 24).unwrap(), 1.426_076_872_27, max_relative = 1e-9);
        // n = 15, f = 5: 3 of 10.
        assert_relative_eq!(z_max(15, 5).unwrap(), 0.524_400_512_71, max_relative = 1e-9);
        assert!(z_max(15, 8).unwrap_err().to_string().contains("n = 15 and f = 8"));
        assert!(z_max(4, 1).is_ok() && z_max(2, 1).is_err());
    }
}
