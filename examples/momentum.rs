//! RESAM's server loop on a toy problem: minimise ½‖θ − target‖² with noisy gradients from ten workers, three of which push the
//! other way. Momentum first, then a resilient rule.
//!
//! `cargo run --release --example momentum`

use resam::{DistributedMomentum, Engine, Result, Rows, Rule, rules};

const WORKERS: usize = 10;
const BYZANTINE: usize = 3;
const D: usize = 1000;

fn distance_after_training(engine: &Engine, rule: &dyn Rule, beta: f32) -> Result<f32> {
    let mut random = fastrand::Rng::with_seed(1);
    let mut momentum = DistributedMomentum::new_blocking(engine, WORKERS, D, beta)?;
    let mut theta = vec![0.0f32; D];
    let target = 1.0;
    for _ in 0..200 {
        let mut gradients = vec![0.0; WORKERS * D];
        for (i, row) in gradients.chunks_mut(D).enumerate() {
            let side = if i < WORKERS - BYZANTINE { 1.0 } else { -2.0 };
            row.iter_mut().zip(&theta).for_each(|(g, t)| *g = side * (t - target) + 4.0 * (random.f32() - 0.5));
        }
        let step = momentum.step_and_aggregate_blocking(rule, &Rows::from_slice(&gradients, WORKERS, D)?, BYZANTINE)?;
        theta.iter_mut().zip(&step.values).for_each(|(t, r)| *t -= 0.1 * r);
    }
    Ok((theta.iter().map(|t| (t - target).powi(2)).sum::<f32>() / D as f32).sqrt())
}

fn main() -> Result<()> {
    let engine = Engine::cpu();
    println!("root mean square distance to the target (1 at the start), {BYZANTINE} of {WORKERS} workers hostile\n");
    println!("{:18} {:>8} {:>8}", "", "β = 0", "β = 0.9");
    for rule in rules::all() {
        let [without, with] = [0.0, 0.9].map(|beta| distance_after_training(&engine, &*rule, beta));
        match (without, with) {
            (Ok(without), Ok(with)) => println!("{:18} {without:8.3} {with:8.3}", rule.name()),
            // Bulyan wants more workers, FLTrust a row to trust.
            (Err(refusal), _) | (_, Err(refusal)) => println!("{:18} {refusal}", rule.name()),
        }
    }
    Ok(())
}
