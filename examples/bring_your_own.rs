//! A rule and an attack of your own in the training loop of `resam train`.
//!
//! `cargo run --release --features train --example bring_your_own`

use resam::attacks::{Attack, AttackError, Scene};
use resam::plan::{Mix, Plan, Stat};
use resam::train::{BoxError, Config, Network, RuleServer, digits, train};
use resam::{Engine, Rule, resilience::Resilience, rules::Cohort};
use std::sync::Arc;

/// Per coordinate the (f + 1)-th smallest value. `plan` is how engines compute it, `reference` the definition that they can be checked against.
#[derive(Debug)]
struct Smallest;
impl Rule for Smallest {
    fn name(&self) -> &'static str {
        "smallest"
    }
    fn definition(&self) -> &'static str {
        "per coordinate: the (f+1)-th smallest value"
    }
    fn lambda(&self, _n: usize, _f: usize, _d: usize) -> Resilience {
        Resilience::Unknown
    }
    fn plan(&self, cohort: &Cohort) -> Plan {
        // The mean of ranks from..to, of one value here.
        Plan { mix: Mix::Rows, stat: Stat::Ranks { from: cohort.f, to: cohort.f + 1 } }
    }
    fn reference(&self, rows: &[Vec<f64>], cohort: &Cohort) -> Vec<f64> {
        let column = |k: usize| rows.iter().map(|row| row[k]).collect::<Vec<_>>();
        (0..rows[0].len()).map(|k| *column(k).select_nth_unstable_by(cohort.f, f64::total_cmp).1).collect()
    }
}

/// Cancels the average: −(n − f)/f times the honest mean.
#[derive(Debug)]
struct Cancel;
impl Attack for Cancel {
    fn name(&self) -> &'static str {
        "cancel"
    }
    fn row(&mut self, scene: &Scene) -> Result<Option<Vec<f32>>, AttackError> {
        let factor = (scene.n() - scene.f()) as f64 / scene.f() as f64;
        Ok(Some(scene.mean()?.iter().map(|m| (-factor * m) as f32).collect()))
    }
}

fn main() -> Result<(), BoxError> {
    let config = Config { beta: 0.9, byzantine: 3, steps: 200, ..Config::default() };
    let mut server = RuleServer::new(&Engine::cpu(), Arc::new(Smallest), config.workers, config.byzantine)?;
    let history = train(&Network::mlp(64, &[32], 10), &digits::load()?, &config, &mut Cancel, &mut server)?;
    println!("{:.1} % of the test digits are read right", 100.0 * history.accuracy());
    Ok(())
}
