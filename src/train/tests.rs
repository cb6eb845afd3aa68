//! The protocol, seen from the server.

use super::*;
use crate::attacks::{self, NoAttack, SignFlip, by_name, list};
use crate::{Engine, Rows, Spec};

fn model() -> Network {
    Network::mlp(64, &[], 10)
}

fn small() -> Config {
    Config { workers: 7, byzantine: 2, beta: 0.9, steps: 12, batch: 5, measure: 5, ..Config::default() }
}

fn mean(sent: &Rows) -> Result<Vec<f32>, BoxError> {
    Ok(narrow(attacks::mean(&sent.iter().collect::<Vec<_>>())))
}

fn rule(spec: &str, config: &Config) -> RuleServer {
    RuleServer::new(&Engine::cpu(), spec.parse::<Spec>().unwrap().into_rule(), config.workers, config.byzantine).unwrap()
}

fn run(config: &Config, attack: &str, server: &mut dyn Server) -> Result<History, TrainError> {
    train(&model(), &digits::load().unwrap(), config, &mut *by_name(attack).unwrap(), server)
}

#[test]
fn the_same_seed_gives_the_same_bits() {
    for attack in list() {
        let run = |config: &Config| run(config, attack.name, &mut rule("median", config)).unwrap();
        let [a, b] = [0, 1].map(|_| run(&small()));
        assert_eq!(a, b, "{}", attack.name);
        assert_eq!(a.points.iter().map(|p| p.step).collect::<Vec<_>>(), [0, 5, 10, 12]);
        let other = run(&Config { seed: 2, ..small() });
        assert_ne!(a.parameters, other.parameters, "{}", attack.name);
    }
}

/// The rows that a server saw, step by step.
fn seen(config: &Config, attack: &str) -> Vec<Vec<Vec<f32>>> {
    let mut seen = vec![];
    let mut spy = |sent: &Rows| {
        seen.push(sent.iter().map(|row| row.to_vec()).collect());
        mean(sent)
    };
    run(config, attack, &mut spy).unwrap();
    seen
}

fn mean_of(rows: &[Vec<f32>]) -> Vec<f32> {
    narrow(attacks::mean(rows))
}

#[test]
fn the_server_sees_momentums_and_then_f_equal_byzantine_rows() {
    let d = model().parameters();
    let steps = seen(&small(), "sf");
    assert_eq!(steps.len(), 12);
    for sent in &steps {
        assert!(sent.len() == 7 && sent.iter().all(|row| row.len() == d));
        let honest = mean_of(&sent[..5]);
        assert!(sent[5..].iter().flat_map(|row| row.iter().zip(&honest)).all(|(b, h)| *b == -h));
    }
    // Without momentum the first rows are the gradients, 1/(1 − β) times as long.
    let gradients = seen(&Config { beta: 0.0, steps: 1, ..small() }, "sf").concat().concat();
    assert!(gradients.iter().zip(&steps[0].concat()).all(|(g, m)| (m - 0.1 * g).abs() < 1e-6 * g.abs() + 1e-8));
}

#[test]
fn silent_workers_have_no_row() {
    assert!(seen(&small(), "silent").iter().all(|sent| sent.len() == 5));
    let all = seen(&small(), "none");
    assert!(all.iter().all(|sent| sent.len() == 7));
}

#[test]
fn workers_draw_the_same_batches_whatever_the_attack() {
    let first = |attack: &str| seen(&Config { steps: 1, ..small() }, attack).swap_remove(0)[..5].to_vec();
    let expected = first("none");
    assert_ne!(expected[0], expected[1]);
    for attack in list().iter().filter(|attack| !["nan", "inf", "huge"].contains(&attack.name)) {
        assert_eq!(first(attack.name), expected, "{}", attack.name);
    }
}

#[test]
fn flipped_labels_give_the_mean_gradient_without_momentum() {
    let data = digits::load().unwrap();
    let flipped = Split { train: data.train.flipped(), test: data.test.clone() };
    let d = model().parameters();
    let rows_of = |data: &Split, attack: &mut dyn Attack| {
        let mut all = vec![];
        let mut freeze = |sent: &Rows| -> Result<Vec<f32>, BoxError> {
            all.push(sent.iter().map(|row| row.to_vec()).collect::<Vec<_>>());
            Ok(vec![0.0; d])
        };
        // Without momentum a row is a gradient; frozen parameters make both runs draw the same ones.
        train(&model(), data, &Config { steps: 3, beta: 0.0, ..small() }, attack, &mut freeze).unwrap();
        all
    };
    let attacked = rows_of(&data, &mut *by_name("lf").unwrap());
    let poisoned = rows_of(&flipped, &mut SignFlip);
    for (attacked, poisoned) in attacked.iter().zip(&poisoned) {
        assert!(attacked[6].iter().zip(&mean_of(&poisoned[..5])).all(|(a, b)| (a - b).abs() < 1e-6));
    }
}

#[test]
fn clipping_bounds_what_is_sent() {
    let sent = seen(&Config { clip: Some(0.01), beta: 0.0, ..small() }, "none").concat();
    let norms = sent.iter().map(|row| row.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt());
    let longest = norms.fold(0.0, f64::max);
    assert!((0.0099..0.010001).contains(&longest), "{longest}");
}

#[test]
fn measurements_say_how_far_the_aggregate_was_from_the_honest_mean() {
    let honest: [&[f32]; 3] = [&[0.0, 0.0], &[3.0, 0.0], &[0.0, 3.0]];
    // Mean (1, 1); diameter √18; squared distances to the mean 2, 5, 5.
    assert_eq!(averaging(&honest, &[1.0, 4.0]), ((9.0f64 / 18.0).sqrt(), 4.0));
    let config = Config { byzantine: 1, ..small() };
    let mut server = rule("mda", &config);
    let bound = server.lambda(model().parameters()).unwrap();
    let history = run(&config, "foe:nu=search", &mut server).unwrap();
    assert!(history.points.iter().all(|p| p.lambda > 0.0 && p.lambda <= bound && p.spread > 0.0), "{:?}", history.points);
    let average = run(&config, "foe:nu=20", &mut mean).unwrap();
    assert!(average.points.iter().any(|p| p.lambda > bound));
}

#[test]
fn momentum_narrows_the_spread() {
    let spread = |beta| {
        let mut freeze = |sent: &Rows| -> Result<Vec<f32>, BoxError> { Ok(vec![0.0; sent.d()]) };
        let config = Config { beta, steps: 200, measure: 20, ..small() };
        let points = run(&config, "none", &mut freeze).unwrap().points;
        points[5..].iter().map(|p| p.spread).sum::<f64>() / points[5..].len() as f64
    };
    // The theory: (1 − β)/(1 + β) of the spread of gradients.
    let ratio = spread(0.9) / spread(0.0);
    assert!((0.03..0.08).contains(&ratio), "{ratio}");
}

#[test]
fn a_searched_attack_does_more_harm_than_its_fixed_one() {
    let config = Config { steps: 40, measure: 40, ..small() };
    let run = |attack| run(&config, attack, &mut rule("median", &config)).unwrap().points[0].lambda;
    assert!(run("alie:z=search") > run("alie:z=0.1"));
    assert!(run("foe:nu=search") > run("foe:nu=0.1"));
}

#[test]
fn workers_may_hold_different_classes() {
    let config = Config { partition: Partition::Extreme, beta: 0.0, ..small() };
    let spread = |config: &Config| run(config, "none", &mut mean).unwrap().points[0].spread;
    assert!(spread(&config) > 2.0 * spread(&small()));
    let many = Config { workers: 2000, ..config };
    assert!(matches!(run(&many, "none", &mut mean), Err(TrainError::Data(_))));
}

#[test]
fn learning_rate_drops_every_hold_steps() {
    let rate = Rate { initial: 0.6, hold: 50, decay: 1.0 };
    assert_eq!([0, 49, 50, 149].map(|t| rate.at(t)), [0.6, 0.6, 0.3, 0.2]);
    assert_eq!(Rate { hold: 0, ..rate }.at(1000), 0.6);
    assert_eq!([0, 50].map(|t| Rate { decay: 2.0, ..rate }.at(t)), [0.6, 0.2]);
}

#[test]
fn bad_settings_are_named() {
    for (bad, name) in [
        (Config { byzantine: 7, ..small() }, "byzantine"),
        (Config { beta: 1.0, ..small() }, "beta"),
        (Config { beta: f32::NAN, ..small() }, "beta"),
        (Config { steps: 0, ..small() }, "steps"),
        (Config { batch: 0, ..small() }, "batch"),
        (Config { rate: Rate { initial: 0.0, ..Config::default().rate }, ..small() }, "learning rate"),
        (Config { rate: Rate { decay: -1.0, ..Config::default().rate }, ..small() }, "decay"),
        (Config { l2: -1.0, ..small() }, "l2"),
        (Config { clip: Some(f32::INFINITY), ..small() }, "clip"),
        (Config { measure: 0, ..small() }, "measure"),
    ] {
        let message = run(&bad, "none", &mut mean).unwrap_err().to_string();
        assert!(message.starts_with(name), "{message}");
    }
    let data = digits::load().unwrap();
    let error = train(&Network::mlp(64, &[], 9), &data, &small(), &mut NoAttack, &mut mean).unwrap_err();
    assert!(matches!(error, TrainError::Data(_)), "{error}");
}

#[test]
fn bad_aggregates_are_errors() {
    let nan = &mut |sent: &Rows| -> Result<Vec<f32>, BoxError> { Ok(vec![f32::NAN; sent.d()]) };
    let huge = &mut |sent: &Rows| -> Result<Vec<f32>, BoxError> { Ok(vec![f32::MAX; sent.d()]) };
    let short = &mut |_: &Rows| -> Result<Vec<f32>, BoxError> { Ok(vec![0.0]) };
    let broken = &mut |_: &Rows| -> Result<Vec<f32>, BoxError> { Err("the device is gone".into()) };
    let error = |server: &mut dyn Server| run(&small(), "none", server).unwrap_err();
    assert!(matches!(error(nan), TrainError::NonFinite { what: "the aggregate", step: 0 }));
    assert!(matches!(error(huge), TrainError::NonFinite { step: 0..2, .. }));
    assert!(matches!(error(short), TrainError::Length { found: 1, expected: 650, .. }));
    assert_eq!(error(broken).to_string(), "step 0: the server failed: the device is gone");
}

/// Honest rows that overflow are a run that diverged, whatever the rule makes of them.
#[test]
fn momentums_that_overflow_are_an_error() {
    // The first step makes parameters larger than 1, the penalty's gradient of which no f32 holds.
    let config = Config { beta: 0.0, l2: f32::MAX, rate: Rate { initial: 1e-36, hold: 0, decay: 1.0 }, ..small() };
    let error = run(&config, "none", &mut rule("krum", &config)).unwrap_err();
    assert!(matches!(error, TrainError::NonFinite { what: "a momentum", step: 1.. }), "{error}");
}

#[test]
fn learns_without_an_attack_and_under_one_with_a_median() {
    let config = Config { beta: 0.9, steps: 60, measure: 60, ..Config::default() };
    assert!(run(&config, "none", &mut mean).unwrap().accuracy() > 0.85);
    assert!(run(&config, "sf", &mut rule("median", &config)).unwrap().accuracy() > 0.8);
}
