//! Worker momentum.

use super::BoxError;
use crate::{DistributedMomentum, Engine, Rows};

/// The momentums of all honest workers.
pub trait Momentum {
    /// Takes one gradient a worker (w × d, row-major) and returns one momentum a worker in the same layout.
    ///
    /// # Errors
    /// Whatever stops the implementation, such as a lost device.
    fn update(&mut self, gradients: &[f32]) -> Result<&[f32], BoxError>;
}

/// mₜ = β·mₜ₋₁ + (1 − β)·gₜ with m₀ = 0, in host memory.
#[derive(Clone, Debug)]
pub struct HostMomentum {
    beta: f32,
    rows: Vec<f32>,
}

impl HostMomentum {
    /// All momentums zero; β in [0, 1), and 0 passes the gradients on.
    pub fn new(beta: f32) -> Self {
        Self { beta, rows: vec![] }
    }
}

impl Momentum for HostMomentum {
    fn update(&mut self, gradients: &[f32]) -> Result<&[f32], BoxError> {
        self.rows.resize(gradients.len(), 0.0);
        self.rows.iter_mut().zip(gradients).for_each(|(m, g)| *m = self.beta * *m + (1.0 - self.beta) * g);
        Ok(&self.rows)
    }
}

/// The momentums of this crate's [`DistributedMomentum`], on the engine's device; read back at each step, because the attacks of
/// a simulation look at them.
#[derive(Debug)]
pub struct EngineMomentum {
    state: DistributedMomentum,
    rows: Vec<f32>,
}

impl EngineMomentum {
    /// Zero momentums for `workers` of d coordinates.
    ///
    /// # Errors
    /// As [`DistributedMomentum::new`].
    pub fn new(engine: &Engine, workers: usize, d: usize, beta: f32) -> crate::Result<Self> {
        Ok(Self { state: DistributedMomentum::new_blocking(engine, workers, d, beta)?, rows: Vec::new() })
    }
}

impl Momentum for EngineMomentum {
    fn update(&mut self, gradients: &[f32]) -> Result<&[f32], BoxError> {
        self.state.step_blocking(&Rows::from_slice(gradients, self.state.n(), self.state.d())?)?;
        self.rows = self.state.matrix().read_blocking()?;
        Ok(&self.rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn worked_example() {
        let mut momentum = HostMomentum::new(0.75);
        assert_eq!(momentum.update(&[4.0, -8.0]).unwrap(), [1.0, -2.0]);
        assert_eq!(momentum.update(&[4.0, 0.0]).unwrap(), [1.75, -1.5]);
        assert_eq!(HostMomentum::new(0.0).update(&[4.0, -8.0]).unwrap(), [4.0, -8.0]);
    }
}
