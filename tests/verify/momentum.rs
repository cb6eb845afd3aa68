//! Distributed momentum on every engine against a plain f64 loop, and what it promises about absent workers and snapshots.

use crate::check::{EPS, TINY, same_bits, within};
use crate::device::engines;
use crate::families::{Case, Random};
use crate::hostile::{PAYLOADS, with_reference};
use resam::rules::{Average, Krum, Median, Rule, TrimmedMean};
use resam::{DistributedMomentum, Engine, Error, Report, Rows, Snapshot};

/// Gradients of n workers, step after step, of sizes that differ.
fn gradients(n: usize, d: usize, seed: u64) -> Case {
    let mut random = Random::new(seed);
    let data = (0..n * d).map(|k| (random.normal() * [1.0, 1e3, 1e-3][k % 3]) as f32).collect();
    Case { family: "gradients", n, f: 0, d, byzantine: Vec::new(), data }
}

fn values(momentum: &DistributedMomentum) -> Vec<f32> {
    momentum.snapshot_blocking().expect("a snapshot").momentums
}

#[test]
fn steps_follow_the_formula() {
    for (name, engine) in with_reference() {
        for (n, d, beta) in [(1, 1, 0.9f32), (5, 65, 0.99), (8, 4100, 0.1), (3, 1000, 0.0)] {
            let mut momentum = DistributedMomentum::new_blocking(&engine, n, d, beta).expect("momentums");
            let mut exact = vec![0f64; n * d];
            let mut most = vec![0f64; n * d];
            for step in 1..=7u64 {
                let g = gradients(n, d, step);
                assert!(momentum.step_blocking(&g.rows()).expect("a step").is_empty());
                for (k, (m, g)) in exact.iter_mut().zip(&g.data).enumerate() {
                    *m = f64::from(beta) * *m + (1.0 - f64::from(beta)) * f64::from(*g);
                    most[k] = most[k].max(m.abs()).max(f64::from(g.abs()));
                }
                // Four roundings a step (1 − β, two products, a sum), each relative to the largest value so far.
                let bound = |k: usize| step as f64 * (4.0 * EPS * most[k] + 2.0 * TINY);
                within(&values(&momentum), &exact, bound).unwrap_or_else(|e| panic!("{name}, β = {beta}, step {step}: {e}"));
                assert_eq!((momentum.n(), momentum.d(), momentum.beta(), momentum.steps()), (n, d, beta, step));
            }
            same_bits(&momentum.matrix().read_blocking().expect("a copy"), &values(&momentum)).expect("matrix and snapshot");
        }
    }
}

/// Huge gradients of both signs stay finite.
#[test]
fn huge_gradients_do_not_overflow() {
    for (name, engine) in with_reference() {
        let mut momentum = DistributedMomentum::new_blocking(&engine, 2, 2, 0.5).expect("momentums");
        for g in [[f32::MAX, f32::MIN, 3e38, f32::MAX], [f32::MAX, f32::MAX, f32::MIN, f32::MAX]] {
            momentum.step_blocking(&Rows::from_slice(&g, 2, 2).expect("rows")).expect("a step");
        }
        let max = f64::from(f32::MAX);
        let want = [0.75 * max, 0.25 * max, 0.5 * 1.5e38 - 0.5 * max, 0.75 * max];
        within(&values(&momentum), &want, |_| 8.0 * EPS * max).unwrap_or_else(|e| panic!("{name}: {e}"));
    }
}

#[test]
fn absent_workers_keep_their_momentum_and_take_no_part() {
    for (name, engine) in with_reference() {
        let (n, d, f) = (7, 300, 2);
        for place in 0..d + 1 {
            if ![0, 63, 64, 255, d - 1, d].contains(&place) {
                continue; // the first and last of a tile; d: everywhere
            }
            let mut momentum = DistributedMomentum::new_blocking(&engine, n, d, 0.9).expect("momentums");
            momentum.step_blocking(&gradients(n, d, 1).rows()).expect("a step");
            let before = values(&momentum);
            let mut g = gradients(n, d, 2);
            for (at, i) in [1, 5].into_iter().enumerate() {
                let bad = f32::from_bits(PAYLOADS[(place + at) % PAYLOADS.len()]);
                if place == d { g.row_mut(i).fill(bad) } else { g.row_mut(i)[place] = bad }
            }
            let got = momentum.step_and_aggregate_blocking(&Median::default(), &g.rows(), f).expect("an aggregate");
            assert_eq!((&got.report.absent[..], &got.report.non_finite[..]), (&[1, 5][..], &[][..]), "{name}");
            let after = values(&momentum);
            for i in 0..n {
                let unchanged = same_bits(&after[i * d..][..d], &before[i * d..][..d]).is_ok();
                assert_eq!(unchanged, [1, 5].contains(&i), "{name}: row {i}");
            }
            // The rule sees the other five rows.
            let others: Vec<f32> = [0, 2, 3, 4, 6].iter().flat_map(|&i| after[i * d..][..d].to_vec()).collect();
            let want = Engine::cpu()
                .aggregate_blocking(&Median::default(), &Rows::from_slice(&others, 5, d).expect("rows"), 0)
                .expect("a median");
            same_bits(&got.values, &want.values).unwrap_or_else(|e| panic!("{name}: {e}"));
            assert_eq!(momentum.steps(), 2);
        }
    }
}

#[test]
fn too_many_absent_workers_change_nothing() {
    for (name, engine) in with_reference() {
        let (n, d) = (5, 70);
        let mut momentum = DistributedMomentum::new_blocking(&engine, n, d, 0.9).expect("momentums");
        momentum.step_blocking(&gradients(n, d, 1).rows()).expect("a step");
        let before = momentum.snapshot_blocking().expect("a snapshot");
        let mut g = gradients(n, d, 2);
        g.row_mut(0)[69] = f32::NAN;
        g.row_mut(3).fill(f32::INFINITY);
        for rule in [&Median::default() as &dyn Rule, &Krum::default(), &TrimmedMean] {
            let error = momentum.step_and_aggregate_blocking(rule, &g.rows(), 1).expect_err("too many");
            assert_eq!(error, Error::NonFinite { rule: rule.name().into(), rows: vec![0, 3], f: 1 }, "{name}");
            // An f that the rule refuses.
            assert!(matches!(momentum.step_and_aggregate_blocking(rule, &g.rows(), 3), Err(Error::Requirement { .. })), "{name}");
            let after = momentum.snapshot_blocking().expect("a snapshot");
            same_bits(&after.momentums, &before.momentums).unwrap_or_else(|e| panic!("{name}: {e}"));
            assert_eq!(after.steps, before.steps, "{name}");
        }
        // A step alone has no f: it leaves them out and says so.
        assert_eq!(momentum.step_blocking(&g.rows()), Ok(vec![0, 3]), "{name}");
        assert!(momentum.step_and_aggregate_blocking(&Average, &g.rows(), 0).is_ok(), "{name}: the average takes any number");
        let (steps, nothing) = (momentum.steps(), vec![f32::NAN; 5 * 70]);
        let nobody = Rows::from_slice(&nothing, 5, 70).expect("rows");
        let error = momentum.step_and_aggregate_blocking(&Average, &nobody, 5).expect_err("nobody is left");
        assert!(error.to_string().contains("none is left") && momentum.steps() == steps, "{name}: {error}");
    }
}

/// A call that is refused before anything is done leaves the state whole.
#[test]
fn a_refused_call_tears_nothing() {
    for (name, engine) in engines() {
        let mut momentum = DistributedMomentum::new_blocking(&engine, 1024, 2, 0.5).expect("momentums");
        let ones = vec![1.0; 1025 * 2];
        match momentum.add_worker() {
            Ok(_) => momentum.remove_worker(1024).expect("a worker less"),
            Err(error) => assert!(matches!(error, Error::Parameter { .. }), "{name}: {error}"),
        }
        assert!(momentum.step_blocking(&Rows::from_slice(&ones, 1025, 2).expect("rows")).is_err());
        momentum.step_blocking(&Rows::from_slice(&ones[..2048], 1024, 2).expect("rows")).expect("a step");
        same_bits(&momentum.snapshot_blocking().expect("a snapshot").momentums, &[0.5; 2048])
            .unwrap_or_else(|e| panic!("{name}: {e}"));
    }
    // What no engine has room for, though it holds nothing.
    let nothing = Snapshot { n: usize::MAX, d: 0, beta: 0.5, steps: u64::MAX, momentums: Vec::new() };
    assert!(matches!(DistributedMomentum::resume_blocking(&Engine::cpu(), &nothing), Err(Error::Parameter { .. })));
    let last = Snapshot { n: 1, d: 1, momentums: vec![1.0], ..nothing };
    let mut momentum = DistributedMomentum::resume_blocking(&Engine::cpu(), &last).expect("momentums");
    momentum.step_blocking(&Rows::from_slice(&[1.0], 1, 1).expect("rows")).expect("a step");
    assert_eq!(momentum.steps(), u64::MAX);
}

#[test]
fn wrong_calls() {
    for (name, engine) in with_reference() {
        for beta in [-0.1, 1.0, f32::NAN, f32::INFINITY] {
            assert!(
                matches!(DistributedMomentum::new_blocking(&engine, 2, 2, beta), Err(Error::Parameter { .. })),
                "{name}: {beta}"
            );
        }
        assert!(matches!(DistributedMomentum::new_blocking(&engine, 0, 2, 0.9), Err(Error::NoWorkers)), "{name}");
        let snapshot = |momentums| Snapshot { n: 2, d: 2, beta: 0.5, steps: 3, momentums };
        assert!(
            matches!(DistributedMomentum::resume_blocking(&engine, &snapshot(vec![0.0; 3])), Err(Error::Shape { .. })),
            "{name}"
        );
        let bad = snapshot(vec![0.0, 1.0, f32::NAN, 0.0]);
        assert!(matches!(DistributedMomentum::resume_blocking(&engine, &bad), Err(Error::Momentum(_))), "{name}");

        let mut momentum = DistributedMomentum::resume_blocking(&engine, &snapshot(vec![1.0, 2.0, 3.0, 4.0])).expect("momentums");
        for (n, d) in [(3, 2), (2, 3), (1, 4)] {
            let data = vec![1.0; n * d];
            let rows = Rows::from_slice(&data, n, d).expect("rows");
            let error = momentum.step_blocking(&rows).expect_err("a wrong shape").to_string();
            assert!(error.contains(&format!("{n} x {d}")) && error.contains("2 x 2"), "{name}: {error}");
            assert!(matches!(momentum.step_and_aggregate_blocking(&Median::default(), &rows, 0), Err(Error::Momentum(_))));
        }
        assert!(
            matches!(momentum.reset(2), Err(Error::Momentum(_))) && matches!(momentum.remove_worker(2), Err(Error::Momentum(_)))
        );
        same_bits(&values(&momentum), &[1.0, 2.0, 3.0, 4.0]).expect("unchanged");
        assert_eq!(momentum.steps(), 3);
    }
}

#[test]
fn workers_come_and_go() {
    for (name, engine) in with_reference() {
        for d in [3, 4099] {
            let mut momentum = DistributedMomentum::new_blocking(&engine, 3, d, 0.5).expect("momentums");
            let g = gradients(3, d, 1);
            momentum.step_blocking(&g.rows()).expect("a step");
            let half = |i: usize| g.row(i).iter().map(|g| 0.5 * g).collect::<Vec<f32>>();
            let zero = vec![0.0; d];
            let expect = |momentum: &DistributedMomentum, rows: &[&[f32]], what: &str| {
                assert_eq!(momentum.n(), rows.len());
                same_bits(&values(momentum), &rows.concat()).unwrap_or_else(|e| panic!("{name}, {what}: {e}"));
            };
            let [a, b, c] = [half(0), half(1), half(2)];
            expect(&momentum, &[&a, &b, &c], "a step");
            assert_eq!(momentum.add_worker(), Ok(3));
            expect(&momentum, &[&a, &b, &c, &zero], "a worker more");
            momentum.remove_worker(1).expect("removed");
            expect(&momentum, &[&a, &c, &zero], "a worker less");
            momentum.reset(0).expect("reset");
            expect(&momentum, &[&zero, &c, &zero], "a reset");
            // The state still works.
            momentum.step_blocking(&gradients(3, d, 2).rows()).expect("a step");
            let mean = engine.aggregate_blocking(&Average, momentum.matrix(), 0).expect("an aggregate");
            let now = values(&momentum);
            let want: Vec<f64> = (0..d).map(|k| (0..3).map(|i| f64::from(now[i * d + k]) / 3.0).sum()).collect();
            let most = now.iter().fold(0f32, |m, v| m.max(v.abs()));
            within(&mean.values, &want, |_| 10.0 * EPS * f64::from(most)).unwrap_or_else(|e| panic!("{name}: {e}"));
            momentum.remove_worker(2).expect("removed");
            momentum.remove_worker(0).expect("removed");
            assert!(momentum.remove_worker(0).is_err(), "{name}: the last worker stays");
            same_bits(&values(&momentum), &now[d..2 * d]).unwrap_or_else(|e| panic!("{name}: {e}"));
        }
    }
}

/// A snapshot goes on bit for bit, results included.
#[test]
fn a_resumed_state_goes_on_bit_for_bit() {
    for (name, engine) in with_reference() {
        let (n, d) = (6, 9001);
        let mut first = DistributedMomentum::new_blocking(&engine, n, d, 0.99).expect("momentums");
        for step in 0..3 {
            first.step_blocking(&gradients(n, d, step).rows()).expect("a step");
        }
        let snapshot = first.snapshot_blocking().expect("a snapshot");
        assert_eq!((snapshot.n, snapshot.d, snapshot.beta, snapshot.steps), (n, d, 0.99, 3));
        let mut second = DistributedMomentum::resume_blocking(&engine, &snapshot).expect("momentums");
        assert_eq!(second.snapshot_blocking().expect("a snapshot"), snapshot, "{name}");
        for step in 3..6 {
            let mut g = gradients(n, d, step);
            g.row_mut(4)[9000] = f32::NAN;
            let [a, b] =
                [&mut first, &mut second].map(|m| m.step_and_aggregate_blocking(&TrimmedMean, &g.rows(), 2).expect("an aggregate"));
            same_bits(&a.values, &b.values).unwrap_or_else(|e| panic!("{name}: {e}"));
            assert_eq!(a.report, b.report, "{name}");
        }
        same_bits(&values(&first), &values(&second)).unwrap_or_else(|e| panic!("{name}: {e}"));
    }
}

/// The same momentums, bits and report; rules that look at one coordinate at a time read gradients and momentums just once.
#[test]
fn step_and_aggregate_is_a_step_and_an_aggregate() {
    let plain = ["median", "trimmed_mean", "meamed", "phocas", "sign_majority"];
    let few = crate::agree::parsed(&[&plain[..], &["krum", "nnm+median"]].concat());
    let f = 2;
    for (name, engine) in with_reference() {
        for (n, d, rules) in [(7, 130, crate::agree::all_rules()), (6, 9000, few.clone()), (150, 20, few.clone())] {
            for rule in rules.into_iter().filter(|rule| rule.check(n, f).is_ok()) {
                let [mut one, mut two] = [0, 1].map(|_| DistributedMomentum::new_blocking(&engine, n, d, 0.9).expect("momentums"));
                for step in 0..2 {
                    let mut g = gradients(n, d, step);
                    // In the second step a worker is absent.
                    g.row_mut(3)[d - 1] = if step == 0 { 1.0 } else { f32::NAN };
                    let (matrix, absent) = (one.matrix().n() * d, step as usize);
                    let a = one.step_and_aggregate_blocking(&*rule, &g.rows(), f).expect("an aggregate");
                    assert_eq!(two.step_blocking(&g.rows()).expect("a step").len(), absent);
                    same_bits(&values(&one), &values(&two)).unwrap_or_else(|e| panic!("{name}, {}: {e}", rule.spec()));
                    let both = 8 * (matrix - absent * d) as u64;
                    let fused = plain.contains(&rule.name()) && !rule.spec().contains('+') && n <= 128 && name == "gpu";
                    assert_eq!(a.report.bytes_read == both && a.report.passes == 1, fused, "{name}, {:?}", a.report);
                    if absent == 0 {
                        let b = engine.aggregate_blocking(&*rule, two.matrix(), f).expect("an aggregate");
                        same_bits(&a.values, &b.values).unwrap_or_else(|e| panic!("{name}, {}: {e}", rule.spec()));
                        let [a, b] = [a, b].map(|got| Report { bytes_read: 0, bytes_uploaded: 0, ..got.report });
                        assert_eq!(a, b, "{name}, {}", rule.spec());
                    }
                }
            }
        }
    }
}
