//! A Little Is Enough.

use super::{Attack, AttackError, Entry, Scene, narrow};

pub(super) const ENTRY: Entry =
    Entry { name: "alie", aliases: &[], title: "A little is enough", parameter: Some(("z", 1.5)), build: |z| Box::new(Alie { z }) };

/// ALIE: ḡ − z·s, with s the per-coordinate standard deviation of the honest rows.
///
/// It targets rules that trust what lies within the honest spread: each coordinate is moved by a little that hides in
/// the noise of the mini-batches, always in the same direction, so the error adds up over the steps. Less noise leaves
/// it less room, which is why worker momentum helps against it.
///
/// Source: Baruch, Baruch, Goldberg, "A Little Is Enough: Circumventing Defenses For Distributed Learning",
/// NeurIPS 2019, with a fixed z.
#[derive(Clone, Copy, Debug)]
pub struct Alie {
    /// Standard deviations away from the mean; 1.5 by default.
    pub z: f64,
}

impl Default for Alie {
    fn default() -> Self {
        Self { z: 1.5 }
    }
}

impl Attack for Alie {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn description(&self) -> String {
        format!("mean − {}·std of the honest rows", self.z)
    }

    fn row(&self, scene: &Scene) -> Result<Vec<f32>, AttackError> {
        let (mean, std) = scene.mean_and_std();
        Ok(narrow(mean.iter().zip(&std).map(|(m, s)| m - self.z * s)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn worked_example() {
        // Means 2, −1, 5; unbiased deviations 1, 4, 0.
        let honest: [&[f32]; 3] = [&[1.0, -5.0, 5.0], &[2.0, -1.0, 5.0], &[3.0, 3.0, 5.0]];
        let scene = Scene::new(&honest, 1).unwrap();
        assert_eq!(Alie::default().row(&scene).unwrap(), [0.5, -7.0, 5.0]);
        assert_eq!(Alie { z: -2.0 }.row(&scene).unwrap(), [4.0, 7.0, 5.0]);
    }
}
