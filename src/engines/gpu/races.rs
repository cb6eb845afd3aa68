//! Do results hang on which invocation comes first? A software device runs those of a group a few at a time, in order, from barrier to
//! barrier: a missing barrier may do no harm there and take the right result on a GPU. So every kernel is compiled again with its
//! invocations in other places and its groups from the last to the first. Of two invocations that share memory without a barrier the other
//! one comes first then, and bits differ.

#![cfg(test)]

use super::device::Use;
use super::shader::tests::kernels;
use super::shader::{BLOCK, Kernel};
use super::tests::open;
use super::{DeviceRows, DeviceVector, GpuEngine};
use crate::dtype::Dtype;
use crate::engine::{Engine, Kind};
use crate::engines::execute::Options;
use crate::engines::passes::{Centre, Frame, Passes, Plain};
use crate::error::Error;
use crate::momentum::DistributedMomentum;
use crate::rows::Rows;
use crate::rules::{Given, Median, Rule};
use crate::spec::Spec;
use std::collections::BTreeSet;
use std::sync::Arc;

/// What is made of the text of kernels before they are compiled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Change {
    /// Of one kernel only.
    kernel: Option<&'static str>,
    /// Are invocations and groups in another order?
    shuffled: bool,
    /// Leaves out the barrier of this number.
    without: Option<usize>,
}

impl Change {
    pub(crate) fn changes(self, kernel: &str) -> bool {
        self != Self::default() && self.kernel.is_none_or(|only| only == kernel)
    }

    pub(crate) fn of(self, kernel: &str, source: &str) -> String {
        if !self.changes(kernel) {
            return source.into();
        }
        let barrier = self.without.and_then(|number| barriers(source).get(number).cloned());
        let kept = barrier.map_or(source.into(), |barrier| [&source[..barrier.start], &source[barrier.end..]].concat());
        if self.shuffled { shuffled(&kept) } else { kept }
    }
}

/// The shader with its groups from the last to the first and neighbours of a group 83 places apart (19 of 64), two of three of them exchanged.
fn shuffled(source: &str) -> String {
    let (lane, group) = ("@builtin(local_invocation_index) lane: u32) {", "@builtin(workgroup_id) group: vec3<u32>");
    let size = source.split_once("@workgroup_size(").and_then(|(_, rest)| rest.split_once(')')).expect("a size").0;
    assert_eq!(source.matches(lane).count(), 1, "{source}");
    assert_eq!(source.matches(group).count(), source.matches("workgroup_id").count(), "{source}");
    let (seat, last) = ("@builtin(local_invocation_index) seat: u32) {\n", "let group = groups - vec3(1u) - seat_of_group;\n");
    // Odd: each is somewhere.
    let lanes = format!("let lane = (37u * seat + 5u) % {size}u;\n");
    let last = if source.contains(group) { last } else { "" };
    source.replace(lane, &[seat, last, &lanes].concat()).replace(group, "@builtin(workgroup_id) seat_of_group: vec3<u32>")
}

/// Where the barriers of a shader stand.
fn barriers(source: &str) -> Vec<std::ops::Range<usize>> {
    let all =
        ["workgroupBarrier();", "storageBarrier();"].map(|name| source.match_indices(name).map(|(at, _)| at..at + name.len()));
    let mut all: Vec<_> = all.into_iter().flatten().collect();
    all.sort_by_key(|barrier| barrier.start);
    all
}

/// What a result is, and its bits.
type Results = Vec<(String, Vec<u32>)>;

fn rule(spec: &str) -> Arc<dyn Rule> {
    spec.parse::<Spec>().expect("a rule").into_rule()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

/// A matrix with a row of another size.
fn matrix(n: usize, d: usize) -> Vec<f32> {
    let mut values: Vec<f32> = crate::bench::data(n, d, n as u64).expect("values");
    values[..d].iter_mut().for_each(|v| *v *= 50.0);
    values
}

/// What each kernel makes of few rows, of more, and of so many that several invocations sort a column.
fn results(gpu: &GpuEngine) -> Results {
    let weighted = Median::default().given(Given::Weights(Arc::from([1.0, 2.0, 3.0, 4.0, 5.0]))).expect("weights");
    let few = ["median", "meamed", "krum", "multi_krum", "geometric_median:method=direct", "nnm+trimmed_mean", "nnm+aksel"];
    let more = ["krum", "geometric_median:method=direct", "nnm+aksel"].map(rule);
    let d = 5 * BLOCK + 77;
    [
        of_rules(gpu, &[few.map(rule).as_slice(), &[weighted]].concat(), 5, 1, d),
        of_rules(gpu, &more, 23, 4, 200),
        of_rules(gpu, &["trimmed_mean", "meamed", "krum"].map(rule), 133, 30, 70),
        of_passes(gpu, 5, d),
        of_encoders(gpu, 5, 1, d),
        of_encoders(gpu, 23, 4, 200),
    ]
    .concat()
}

/// Aggregates and weights, with a bad row.
fn of_rules(gpu: &GpuEngine, rules: &[Arc<dyn Rule>], n: usize, f: usize, d: usize) -> Results {
    let engine = Engine::from(Kind::Gpu(gpu.clone())).with_options(Options { sample: 64, ..Options::default() });
    let mut values = matrix(n, d);
    values[d + 3] = f32::NAN;
    let loaded = engine.load_blocking(&Rows::from_slice(&values, n, d).expect("rows")).expect("room");
    let of = |rule: &Arc<dyn Rule>| {
        let got = engine.aggregate_blocking(&**rule, &loaded, f).expect("an aggregate");
        let weights = got.report.weights.iter().flatten().map(|w| (*w as f32).to_bits());
        (format!("{} of {n}", rule.spec()), bits(&got.values).into_iter().chain(weights).collect())
    };
    rules.iter().map(of).collect()
}

/// Passes that no aggregate makes, or not of these sizes.
fn of_passes(gpu: &GpuEngine, n: usize, d: usize) -> Results {
    let values = matrix(n, d);
    let rows = Rows::from_slice(&values, n, d).expect("rows");
    let mut all = Vec::new();

    let mut momentum = DistributedMomentum::new_blocking(&Engine::from(Kind::Gpu(gpu.clone())), n, d, 0.9).expect("room");
    momentum.step_blocking(&rows).expect("a step");
    let stepped = momentum.step_and_aggregate_blocking(&Median::default(), &rows, 1).expect("a step");
    all.push(("a step".into(), bits(&stepped.values)));
    all.push(("momentums".into(), bits(&momentum.snapshot_blocking().expect("momentums").momentums)));

    let resident = pollster::block_on(gpu.load(&rows, false)).expect("room");
    let passes = || gpu.resident(&resident, false).expect("rows");
    for what in [Plain::Read, Plain::Copy] {
        let plain = pollster::block_on(passes().plain(what, &mut [])).expect("a pass");
        all.push((format!("{what:?}"), vec![u32::from(plain)]));
    }

    let (everyone, scales): (Vec<usize>, _) = ((0..n).collect(), vec![1.0; n]);
    let frames = [Centre::Median { voters: n - 1 }, Centre::Row(1)].map(|centre| Frame { centre, scales: &scales });
    let products = pollster::block_on(passes().gram(&everyone, &frames)).expect("a pass").finish().products.concat();
    all.push(("products about medians".into(), bits(&products.iter().map(|p| *p as f32).collect::<Vec<_>>())));

    let buffer = gpu.device.filled(Use::Storage, &values).own();
    let foreign = gpu.foreign(&DeviceRows::new(&buffer.buffer, n, d), false);
    let bad = pollster::block_on(foreign.expect("rows").not_finite()).expect("a pass");
    all.push(("bad rows".into(), bad.iter().map(|i| *i as u32).collect()));
    all
}

/// Results and reports of rules in an encoder.
fn of_encoders(gpu: &GpuEngine, n: usize, f: usize, d: usize) -> Results {
    let device = &gpu.device;
    let mut values = matrix(n, d);
    let mut all = Vec::new();
    for hostile in [1.0, f32::NAN, 1e25] {
        // Behind what is looked at: it takes another read to find it.
        values[4 * d - 1] = hostile;
        // Rows that need other scales.
        if hostile > 1.0 {
            values[..d].iter_mut().for_each(|v| *v *= 1e12);
            values[2 * d..3 * d].iter_mut().for_each(|v| *v *= 1e-15);
        }
        let rows = device.filled(Use::Storage, &values).own();
        for spec in ["sign_majority", "krum", "nnm+sign_majority", "geometric_median", "centered_clipping:tau=3,iterations=3"] {
            let made = gpu.device_rule(&*rule(spec), n, d, f, Dtype::F32).expect("a rule for encoders");
            let (out, mut encoder) = (device.storage(d), device.encoder());
            made.encode(&mut encoder, &DeviceRows::new(&rows.buffer, n, d), &DeviceVector::new(&out.buffer)).expect("commands");
            let (mark, fetch) = (device.mark(), device.fetch(&mut encoder, &out, 0, 4 * d as u64));
            let ticket = device.submit(encoder);
            let got = pollster::block_on(device.receive(fetch, ticket, mark, <[u32]>::to_vec)).expect("a result");
            let counts = match made.report_blocking() {
                Ok(r) => [r.non_finite.len(), r.iterations, usize::from(r.hidden_row)].map(|c| c as u32).into(),
                // That no scales serve is a result as well.
                Err(Error::Device { reason, .. }) if reason.contains("sizes") => vec![u32::MAX],
                Err(e) => panic!("{spec} of {n}: {e}"),
            };
            all.push((format!("{spec} of {n} in an encoder, {hostile}"), [got, counts].concat()));
        }
    }
    all
}

/// What of two lists differs.
fn differing(a: &Results, b: &Results) -> Vec<String> {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).filter(|(a, b)| a != b).map(|(a, _)| a.0.clone()).collect()
}

#[test]
fn no_result_hangs_on_the_order_of_invocations() {
    let gpu = open();
    let expected = results(&gpu);
    let compiled: BTreeSet<&str> = gpu.device.compiled().into_iter().map(Kernel::name).collect();
    assert_eq!(compiled, kernels().into_iter().map(Kernel::name).collect());
    gpu.device.compile_changed(Change { shuffled: true, ..Change::default() });
    assert_eq!(differing(&expected, &results(&gpu)), Vec::<String>::new());
    // How a GPU runs its groups is its own affair: it may show a missing barrier, or not.
    if gpu.device.info.real {
        return;
    }
    // On lavapipe, which runs eight invocations at a time, only the other order shows that these are missing.
    for (kernel, without) in [("coordinate", 3), ("clip_solve", 10)] {
        gpu.device.compile_changed(Change { kernel: Some(kernel), shuffled: true, without: Some(without) });
        assert_ne!(differing(&expected, &results(&gpu)), Vec::<String>::new(), "{kernel} without barrier {without}");
    }
}
