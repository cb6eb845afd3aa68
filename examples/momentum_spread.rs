//! How near to each other momentum brings honest workers: the mean of ‖mᵢ − mⱼ‖² against β, beside the bound of the theory.
//!
//! `cargo run --release --features train --example momentum_spread`
//!
//! The parameters stand still, so that the variance σ² of a gradient stays the same; it is measured at β = 0.

use resam::attacks::NoAttack;
use resam::resilience::momentum_noise;
use resam::train::{BoxError, Config, Network, digits, train};
use resam::{Rows, train::Model};

fn main() -> Result<(), BoxError> {
    let (data, model) = (digits::load()?, Network::mlp(64, &[32], 10));
    let mut stand_still = |_: &Rows| -> Result<Vec<f32>, BoxError> { Ok(vec![0.0; model.parameters()]) };
    let mut sigma2 = None;
    println!("{:>6} {:>16} {:>22}", "β", "measured", "2σ²(1 − β)/(1 + β)");
    for beta in [0.0, 0.5, 0.9, 0.99] {
        let config = Config { beta, byzantine: 0, l2: 0.0, steps: 4000, ..Config::default() };
        let points = train(&model, &data, &config, &mut NoAttack, &mut stand_still)?.points;
        let settled = &points[points.len() / 4..];
        // The mean over pairs i ≠ j is 2n/(n − 1) times the mean squared distance to the mean.
        let n = config.workers as f64;
        let pairs = settled.iter().map(|p| 2.0 * n / (n - 1.0) * p.spread).sum::<f64>() / settled.len() as f64;
        println!("{beta:6} {pairs:16.5} {:22.5}", momentum_noise(beta.into(), *sigma2.get_or_insert(pairs / 2.0)));
    }
    Ok(())
}
