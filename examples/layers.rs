//! Combine what seven workers send as lists of layers, two of them hostile, and put the result back into a model's layers.
//!
//! `cargo run --release --example layers`

use resam::{Engine, Result, Rows, rules::Krum};

/// A worker's layers: a matrix of 3 × 2, a bias of 3, and a scale.
fn worker(x: f32) -> Vec<Vec<f32>> {
    vec![vec![x, -x, 2.0 * x, 0.5, 1.0 - x, 3.0], vec![x, 0.0, -1.0], vec![0.1 * x]]
}

fn main() -> Result<()> {
    let mut workers: Vec<Vec<Vec<f32>>> = [1.0, 1.1, 0.9, 1.05, 0.95, 1e30, -7.0].map(worker).into();
    workers[6][1][2] = f32::NAN;
    let mut model: Vec<Vec<f32>> = worker(0.0);

    // The layers stay where they are.
    let rows = Rows::from_layers(&workers)?;
    let engine = Engine::open_blocking("auto")?;
    println!("{} combines {} workers' {} layers, {} values each\n", engine.name(), rows.n(), model.len(), rows.d());

    // One choice of a worker, by all of its layers.
    let whole = engine.aggregate_blocking(&Krum::default(), &rows, 2)?;
    for (to, layer) in model.iter_mut().zip(rows.split(&whole.values)?) {
        to.copy_from_slice(layer);
    }
    println!("by whole rows, worker {:?}: {model:?}", whole.report.kept.unwrap_or_default());

    // One choice for each layer: another operator, whose resilience holds for each layer by itself.
    for (k, layer) in engine.aggregate_layers_blocking(&Krum::default(), &rows, 2).into_iter().enumerate() {
        let layer = layer?;
        println!("layer {k} by itself, worker {:?}: {:?}", layer.report.kept.unwrap_or_default(), layer.values);
    }
    Ok(())
}
