//! The protocol, seen from the server.

use super::*;
use crate::attacks::{NoAttack, SignFlip, by_name, list};

fn model() -> Mlp {
    Mlp::new(64, &[], 10)
}

fn small() -> Config {
    Config { workers: 7, byzantine: 2, beta: 0.9, steps: 12, batch: 5, measure: 5, ..Config::default() }
}

fn mean(sent: &[f32], n: usize) -> Result<Vec<f32>, BoxError> {
    Ok(mean_row(sent, sent.len() / n))
}

/// Coordinate-wise median of an odd number of rows.
fn median(sent: &[f32], n: usize) -> Result<Vec<f32>, BoxError> {
    let d = sent.len() / n;
    let middle = |k: usize| {
        let mut column: Vec<f32> = sent[k..].iter().step_by(d).copied().collect();
        *column.select_nth_unstable_by(n / 2, f32::total_cmp).1
    };
    Ok((0..d).map(middle).collect())
}

fn run(config: &Config, attack: &str, server: &mut dyn Server) -> Result<History, TrainError> {
    train(&model(), &digits::load().unwrap(), config, &*by_name(attack).unwrap(), server)
}

#[test]
fn the_same_seed_gives_the_same_bits() {
    for attack in list() {
        let [a, b] = [0, 1].map(|_| run(&small(), attack.name, &mut median).unwrap());
        assert_eq!(a, b, "{}", attack.name);
        assert_eq!(a.points.iter().map(|p| p.step).collect::<Vec<_>>(), [0, 5, 10, 12]);
        let other = run(&Config { seed: 2, ..small() }, attack.name, &mut median).unwrap();
        assert_ne!(a.parameters, other.parameters, "{}", attack.name);
    }
}

#[test]
fn the_server_sees_momentums_and_then_f_equal_byzantine_rows() {
    let d = model().parameters();
    let mut seen = vec![];
    let mut spy = |sent: &[f32], n: usize| {
        seen.push(sent.to_vec());
        mean(sent, n)
    };
    run(&small(), "sf", &mut spy).unwrap();
    assert_eq!(seen.len(), 12);
    for sent in &seen {
        assert_eq!(sent.len(), 7 * d);
        let honest = mean_row(&sent[..5 * d], d);
        for row in sent[5 * d..].chunks(d) {
            assert!(row.iter().zip(&honest).all(|(b, h)| *b == -h));
        }
    }
    // Without momentum the first rows are the gradients, 1/(1 − β) times as long.
    let mut first = vec![];
    let mut spy = |sent: &[f32], n: usize| {
        first = sent.to_vec();
        mean(sent, n)
    };
    run(&Config { beta: 0.0, steps: 1, ..small() }, "sf", &mut spy).unwrap();
    assert!(first.iter().zip(&seen[0]).all(|(g, m)| (m - 0.1 * g).abs() < 1e-6 * g.abs() + 1e-8));
}

#[test]
fn workers_draw_the_same_batches_whatever_the_attack() {
    let d = model().parameters();
    let first = |attack: &str| {
        let mut rows = vec![];
        let mut spy = |sent: &[f32], n: usize| {
            rows = sent[..5 * d].to_vec();
            mean(sent, n)
        };
        run(&Config { steps: 1, ..small() }, attack, &mut spy).unwrap();
        rows
    };
    let expected = first("none");
    assert_ne!(expected[..d], expected[d..2 * d]);
    for attack in list() {
        // One more row in the batched product may change the last bit.
        assert!(first(attack.name).iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-7), "{}", attack.name);
    }
}

#[test]
fn flipped_labels_give_the_mean_gradient_without_momentum() {
    let data = digits::load().unwrap();
    let flipped = Split { train: data.train.flipped(), test: data.test.clone() };
    let d = model().parameters();
    let rows_of = |data: &Split, attack: &dyn Attack| {
        let mut all = vec![];
        let mut freeze = |sent: &[f32], _: usize| -> Result<Vec<f32>, BoxError> {
            all.push(sent.to_vec());
            Ok(vec![0.0; d])
        };
        // Without momentum a row is a gradient; frozen parameters make both runs draw the same ones.
        train(&model(), data, &Config { steps: 3, beta: 0.0, ..small() }, attack, &mut freeze).unwrap();
        all
    };
    let attacked = rows_of(&data, &*by_name("lf").unwrap());
    let poisoned = rows_of(&flipped, &SignFlip);
    for (attacked, poisoned) in attacked.iter().zip(&poisoned) {
        let expected = mean_row(&poisoned[..5 * d], d);
        assert!(attacked[6 * d..].iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-6));
    }
}

#[test]
fn clipping_bounds_what_is_sent() {
    let mut longest = 0.0f64;
    let mut spy = |sent: &[f32], n: usize| {
        for row in sent.chunks(sent.len() / n) {
            longest = longest.max(row.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt());
        }
        mean(sent, n)
    };
    run(&Config { clip: Some(0.01), beta: 0.0, ..small() }, "none", &mut spy).unwrap();
    assert!((0.0099..0.010001).contains(&longest), "{longest}");
}

#[test]
fn learning_rate_drops_every_hold_steps() {
    let rate = Rate { initial: 0.6, hold: 50 };
    assert_eq!([0, 49, 50, 149].map(|t| rate.at(t)), [0.6, 0.6, 0.3, 0.2]);
    assert_eq!(Rate { hold: 0, ..rate }.at(1000), 0.6);
}

#[test]
fn bad_settings_are_named() {
    for (bad, name) in [
        (Config { byzantine: 7, ..small() }, "byzantine"),
        (Config { beta: 1.0, ..small() }, "beta"),
        (Config { beta: f32::NAN, ..small() }, "beta"),
        (Config { steps: 0, ..small() }, "steps"),
        (Config { batch: 0, ..small() }, "batch"),
        (Config { rate: Rate { initial: 0.0, hold: 1 }, ..small() }, "learning rate"),
        (Config { l2: -1.0, ..small() }, "l2"),
        (Config { clip: Some(f32::INFINITY), ..small() }, "clip"),
        (Config { measure: 0, ..small() }, "measure"),
    ] {
        let message = run(&bad, "none", &mut mean).unwrap_err().to_string();
        assert!(message.starts_with(name), "{message}");
    }
    let data = digits::load().unwrap();
    let error = train(&Mlp::new(64, &[], 9), &data, &small(), &NoAttack, &mut mean).unwrap_err();
    assert!(matches!(error, TrainError::Data(_)), "{error}");
}

#[test]
fn bad_aggregates_are_errors() {
    let nan = &mut |sent: &[f32], n: usize| -> Result<Vec<f32>, BoxError> { Ok(vec![f32::NAN; sent.len() / n]) };
    let huge = &mut |sent: &[f32], n: usize| -> Result<Vec<f32>, BoxError> { Ok(vec![f32::MAX; sent.len() / n]) };
    let short = &mut |_: &[f32], _: usize| -> Result<Vec<f32>, BoxError> { Ok(vec![0.0]) };
    let broken = &mut |_: &[f32], _: usize| -> Result<Vec<f32>, BoxError> { Err("the device is gone".into()) };
    let error = |server: &mut dyn Server| run(&small(), "none", server).unwrap_err();
    assert!(matches!(error(nan), TrainError::NonFinite { what: "the aggregate", step: 0 }));
    assert!(matches!(error(huge), TrainError::NonFinite { step: 0..2, .. }));
    assert!(matches!(error(short), TrainError::Length { found: 1, expected: 650, .. }));
    assert_eq!(error(broken).to_string(), "step 0: the server failed: the device is gone");
}

#[test]
fn learns_without_an_attack_and_under_one_with_a_median() {
    let config = Config { beta: 0.9, steps: 60, measure: 60, ..Config::default() };
    assert!(run(&config, "none", &mut mean).unwrap().accuracy() > 0.85);
    assert!(run(&config, "sf", &mut median).unwrap().accuracy() > 0.8);
}
