//! Gaussian noise.

use fastrand::Rng;
use statrs::distribution::{ContinuousCDF, Normal};

use super::{Attack, AttackError, Entry, Scene, narrow};
use crate::Error;

pub(super) const ENTRY: Entry = Entry {
    name: "gaussian",
    aliases: &[],
    title: "Gaussian",
    parameters: "sigma=NUMBER (default 200), seed=NUMBER (default 0)",
    build: |parameters| {
        let (sigma, seed) = (parameters.take("sigma")?.unwrap_or(200.0), parameters.take("seed")?.unwrap_or(0));
        match f64::is_finite(sigma) && sigma >= 0.0 {
            true => Ok(Box::new(Gaussian::new(sigma, seed))),
            false => Err(Error::parameter("gaussian", "sigma", sigma, "finite and at least 0")),
        }
    },
};

/// Gaussian: noise of mean 0 and standard deviation σ in each coordinate, drawn anew at each step and sent by all attackers.
///
/// It is a fault more than an attack: it does not look at the honest rows and is easy to tell from them.
///
/// Source: Blanchard, El Mhamdi, Guerraoui, Stainer, "Machine Learning with Adversaries: Byzantine Tolerant Gradient
/// Descent", NeurIPS 2017, with σ = 200.
#[derive(Clone, Debug)]
pub struct Gaussian {
    sigma: f64,
    seed: u64,
    rng: Rng,
}

impl Gaussian {
    /// Noise of standard deviation σ; the same seed gives the same noise, in a run together with the run's seed.
    pub fn new(sigma: f64, seed: u64) -> Self {
        Self { sigma, seed, rng: Rng::with_seed(seed) }
    }
}

impl Attack for Gaussian {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn draw(&mut self, number: u64) {
        self.rng = Rng::with_seed(self.seed.wrapping_add(number));
    }

    fn description(&self) -> String {
        format!("noise of standard deviation {}", self.sigma)
    }

    fn row(&mut self, scene: &Scene) -> Result<Option<Vec<f32>>, AttackError> {
        let normal = Normal::standard();
        // In (0, 1), where the inverse is finite.
        let uniform = |rng: &mut Rng| (rng.f64() + f64::EPSILON / 4.0).min(1.0 - f64::EPSILON);
        Ok(Some(narrow((0..scene.d()).map(|_| self.sigma * normal.inverse_cdf(uniform(&mut self.rng))))))
    }
}

#[cfg(test)]
mod tests {
    use super::super::by_name;
    use super::*;

    #[test]
    fn noise_has_its_moments_and_repeats_with_the_seed() {
        let zeros = vec![0.0f32; 40_000];
        let honest: [&[f32]; 1] = [&zeros];
        let scene = Scene::new(&honest, 1).unwrap();
        let mut attack = Gaussian::new(3.0, 7);
        let [first, second] = [0, 1].map(|_| attack.row(&scene).unwrap().unwrap());
        let moment = |p: i32| first.iter().map(|&x| f64::from(x).powi(p)).sum::<f64>() / first.len() as f64;
        assert!(moment(1).abs() < 0.06 && (moment(2) - 9.0).abs() < 0.3 && (moment(4) / 81.0 - 3.0).abs() < 0.3);
        assert_ne!(first, second);
        assert_eq!(by_name("gaussian:sigma=3,seed=7").unwrap().row(&scene).unwrap().unwrap(), first);
        let drawn = [4, 5, 4].map(|number| {
            attack.draw(number);
            attack.row(&scene).unwrap().unwrap()
        });
        assert!(drawn[0] == drawn[2] && drawn[0] != drawn[1]);
        assert!(by_name("gaussian:sigma=-1").unwrap_err().to_string().contains("at least 0"));
    }
}
