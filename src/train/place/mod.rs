//! Where training happens: in host memory, or on a device that the model and the rule share.

#[cfg(feature = "burn")]
mod device;
mod host;

#[cfg(feature = "burn")]
pub(super) use device::OnDevice;
#[cfg(feature = "burn")]
pub use device::TensorServer;
pub(super) use host::Host;

use fastrand::Rng;

use super::{Config, Dataset};
use crate::attacks::{AskLine, AskRule, Attack, AttackError, BoxError, Scene};

/// θ, the gradients and momentums of the honest workers, the aggregate: where they are, and what is computed with them there.
pub(super) trait Place {
    /// Before a step: see [`Server::draw`](super::Server::draw).
    fn draw(&mut self, number: u64);

    /// Takes the gradients of the honest workers at θ, with L2 and clipping; the mean of their losses, without L2.
    fn gradients(&mut self, batch: &Dataset, config: &Config, noise: &mut Rng) -> Result<f64, BoxError>;

    /// The mean of these gradients.
    fn mean_gradient(&self) -> Result<Vec<f32>, BoxError>;

    /// m ← β·m + (1 − β)·g; are all momentums finite?
    fn update(&mut self, beta: f32) -> Result<bool, BoxError>;

    /// What the attack makes of the momentums.
    fn attacked(
        &mut self,
        attack: &mut dyn Attack,
        attackers: usize,
        flipped: Option<&[f32]>,
    ) -> Result<Option<Vec<f32>>, AttackError>;

    /// Gives the server the momentums and `attackers` copies of the row, if there is one; the length of the aggregate.
    fn combine(&mut self, row: Option<&[f32]>, attackers: usize) -> Result<usize, BoxError>;

    /// Is the aggregate finite?
    fn finite(&self) -> Result<bool, BoxError>;

    /// λ and spread of a [`Point`](super::Point).
    fn averaging(&self) -> Result<(f64, f64), BoxError>;

    /// θ ← θ − `rate` · aggregate; is it finite?
    fn step(&mut self, rate: f32) -> Result<bool, BoxError>;

    /// The share of right answers at θ.
    fn accuracy(&self, data: &Dataset) -> Result<f64, BoxError>;

    /// θ.
    fn parameters(&self) -> Result<Vec<f32>, BoxError>;
}

/// The attack's row in a scene, with the server to ask and the row of flipped labels, if it was made.
fn row(
    attack: &mut dyn Attack,
    scene: Scene,
    (ask, line): (&AskRule, &AskLine),
    flipped: Option<&[f32]>,
) -> Result<Option<Vec<f32>>, AttackError> {
    let scene = scene.with_rule(ask).with_line(line);
    attack.row(&match flipped {
        Some(row) => scene.with_flipped(row)?,
        None => scene,
    })
}
