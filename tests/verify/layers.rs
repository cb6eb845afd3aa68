//! Rows that lie in several slices each give what the same values in one slice give, bit for bit.

use crate::agree::parsed;
use crate::check::{Failures, same_bits};
use crate::device::{self, small_sample};
use crate::families::{self, Case};
use resam::{Aggregate, DistributedMomentum, Element, Engine, Error, Input, Rows, bf16, f16, rules};

/// The engines, and one whose device takes a few columns at a time.
fn engines() -> Vec<(&'static str, Engine)> {
    let all = device::engines().into_iter().chain([
        ("reference", Engine::reference()),
        #[cfg(feature = "gpu")]
        ("gpu with little memory", device::gpu_with_budget(700_000)),
    ]);
    all.map(|(name, engine)| (name, small_sample(engine))).collect()
}

/// Lengths of layers that add up to d.
fn lengths(how: &str, d: usize) -> Vec<usize> {
    let mut random = fastrand::Rng::with_seed(d as u64);
    let mut next: Box<dyn FnMut() -> usize> = match how {
        "single values" => Box::new(|| 1),
        // Some are empty, and few begin at an even column.
        "short" => Box::new(move || random.usize(..4)),
        "long" => Box::new(move || if random.bool() { random.usize(..3000) } else { 0 }),
        "blocks" => Box::new(|| 4096),
        "beside blocks" => Box::new(move || 4095 + random.usize(..3)),
        other => panic!("no layers are {other}"),
    };
    let (mut lengths, mut left) = (vec![0], d);
    while left > 0 {
        let length = next().min(left);
        lengths.push(length);
        left -= length;
    }
    lengths.push(0);
    lengths
}

/// Each row cut into layers.
fn cut<'a, T>(rows: &'a [Vec<T>], lengths: &[usize]) -> Vec<Vec<&'a [T]>> {
    let cut = |row: &'a Vec<T>| {
        let mut left = &row[..];
        lengths.iter().map(|&length| left.split_off(..length).expect("as many values")).collect()
    };
    rows.iter().map(cut).collect()
}

/// Among these every kernel is used, and every way in which rows are looked at.
const RULES: &[&str] = &[
    "average",
    "trimmed_mean",
    "meamed",
    "krum",
    "mda",
    "aksel",
    "geometric_median",
    "geometric_median:method=direct",
    "centered_clipping",
    "dnc:iterations=3,columns=7,seed=5",
    "signguard",
    "nnm+median",
    "nnm+aksel",
    "clipping:c=2+krum",
];

/// The same result and report, whatever went to the device with the data.
fn same(got: &resam::Result<Aggregate>, want: &resam::Result<Aggregate>) -> Result<(), String> {
    let (got, want) = match (got, want) {
        (Ok(got), Ok(want)) => (got, want),
        (Err(got), Err(want)) if got == want => return Ok(()),
        other => return Err(format!("{other:?}")),
    };
    same_bits(&got.values, &want.values)?;
    let (got, want) = (&got.report, &want.report);
    if got == want { Ok(()) } else { Err(format!("{got:?}, but {want:?}")) }
}

fn values<T: Element>(case: &Case, value: fn(f32) -> T) -> Vec<Vec<T>> {
    (0..case.n).map(|i| case.row(i).iter().map(|x| value(*x)).collect()).collect()
}

fn agree<T: Element>(value: fn(f32) -> T) {
    let (engines, mut failures) = (engines(), Failures::default());
    let shapes = [("single values", 70), ("short", 301), ("long", 9001), ("blocks", 8192), ("beside blocks", 8297), ("short", 0)];
    for (shape, (how, d)) in shapes.into_iter().enumerate() {
        let mut case = families::make("alie", 7, 2, d, 40);
        if shape % 2 == 0 {
            case.row_mut(3)[d - 1] = f32::NAN;
            case.row_mut(5).fill(f32::INFINITY);
        }
        let one = values(&case, value);
        let cut = cut(&one, &lengths(how, d));
        let (layers, whole) =
            (Rows::from_layers(cut.iter().map(|c| c.iter().copied())).expect("layers"), Rows::from_vecs(&one).expect("rows"));
        assert_eq!((layers.n(), layers.d(), layers.dtype()), (whole.n(), whole.d(), whole.dtype()));
        for (got, want) in layers.iter().zip(whole.iter()) {
            failures.note(|| format!("a row of {how} layers"), same_bits(&got, &want));
        }
        for (name, engine) in &engines {
            let held = engine.load_blocking(&layers).expect("a matrix");
            let [got, want] = [held.read_blocking().expect("values"), whole.iter().collect::<Vec<_>>().concat()];
            failures.note(|| format!("{name}: {how} layers of {d} values read back"), same_bits(&got, &want));
            for rule in parsed(RULES) {
                let aggregate = |input: Input<'_>| engine.aggregate_blocking(&*rule, input, case.f);
                let result = same(&aggregate((&layers).into()), &aggregate((&whole).into()));
                failures.note(|| format!("{} on {name}: {how} layers of {d} values", rule.spec()), result);
            }
        }
    }
    failures.settle();
}

#[test]
fn layers_of_f32() {
    agree::<f32>(|x| x);
}

#[test]
fn layers_of_f16() {
    agree(f16::from_f32);
}

#[test]
fn layers_of_bf16() {
    agree(bf16::from_f32);
}

/// Ten thousand layers of no to three values.
#[test]
fn many_tiny_layers() {
    let case = families::make("gauss", 9, 2, 15_000, 41);
    let one = values(&case, |x| x);
    let lengths = lengths("short", case.d);
    assert!(lengths.len() > 9000, "{} layers", lengths.len());
    let cut = cut(&one, &lengths);
    let rows = Rows::from_layers(cut.iter().map(|c| c.iter().copied())).expect("layers");
    let mut failures = Failures::default();
    for (name, engine) in device::engines() {
        for rule in parsed(&["trimmed_mean", "krum", "nnm+meamed", "geometric_median", "average"]) {
            let aggregate = |input: Input<'_>| engine.aggregate_blocking(&*rule, input, case.f);
            let result = same(&aggregate((&rows).into()), &aggregate((&case.rows()).into()));
            failures.note(|| format!("{} on {name}", rule.spec()), result);
        }
    }
    failures.settle();
}

#[test]
fn gradients_in_layers() {
    let (n, d, f) = (7, 4099, 2);
    for (name, engine) in engines() {
        for rule in parsed(&["median", "krum", "nnm+trimmed_mean"]) {
            let [mut one, mut two] = [0, 1].map(|_| DistributedMomentum::new_blocking(&engine, n, d, 0.9).expect("momentums"));
            for seed in 0..2 {
                let mut case = families::make("gauss", n, f, d, seed);
                case.row_mut(6)[d / 2] = if seed == 0 { f32::NAN } else { 0.0 };
                let rows = values(&case, |x| x);
                let cut = cut(&rows, &lengths("long", d));
                let layers = Rows::from_layers(cut.iter().map(|c| c.iter().copied())).expect("layers");
                let [got, want] =
                    [one.step_and_aggregate_blocking(&*rule, &layers, f), two.step_and_aggregate_blocking(&*rule, &case.rows(), f)];
                same(&got, &want).unwrap_or_else(|e| panic!("{name}, {}: {e}", rule.spec()));
            }
            assert_eq!(one.snapshot_blocking().expect("a snapshot"), two.snapshot_blocking().expect("a snapshot"), "{name}");
        }
    }
}

/// Layer by layer: what each gives alone. Coordinate-wise rules give the same both ways, rules on distances do not.
#[test]
fn each_layer_by_itself() {
    let case = families::make("gauss", 7, 2, 700, 42);
    let one = values(&case, |x| x);
    let lengths = [100, 0, 500, 1, 99];
    let cut = cut(&one, &lengths);
    let rows = Rows::from_layers(cut.iter().map(|c| c.iter().copied())).expect("layers");
    for (name, engine) in device::engines() {
        for rule in parsed(&["trimmed_mean", "krum", "nnm+median", "geometric_median"]) {
            let layers = engine.aggregate_layers_blocking(&*rule, &rows, case.f);
            let mut joined = Vec::new();
            for (k, layer) in layers.into_iter().enumerate() {
                let alone: Vec<&[f32]> = cut.iter().map(|worker| worker[k]).collect();
                let alone = engine.aggregate_blocking(&*rule, &Rows::from_rows(&alone).expect("rows"), case.f);
                same(&layer, &alone).unwrap_or_else(|e| panic!("{name}, {}, layer {k}: {e}", rule.spec()));
                joined.extend(layer.expect("an aggregate").values);
            }
            let whole = engine.aggregate_blocking(&*rule, &rows, case.f).expect("an aggregate").values;
            assert_eq!(same_bits(&joined, &whole).is_ok(), rule.name() == "trimmed_mean", "{name}, {}", rule.spec());
        }
        // A NaN is left out of its own layer only.
        let mut spoilt = one.clone();
        spoilt[4][650] = f32::NAN;
        let cut: Vec<Vec<&[f32]>> = spoilt.iter().map(|row| vec![&row[..600], &row[600..]]).collect();
        let rows = Rows::from_layers(cut.iter().map(|c| c.iter().copied())).expect("layers");
        let non_finite = |layer: resam::Result<Aggregate>| layer.expect("an aggregate").report.non_finite;
        let found: Vec<_> =
            engine.aggregate_layers_blocking(&rules::Krum::default(), &rows, 2).into_iter().map(non_finite).collect();
        assert_eq!(found, [vec![], vec![4]], "{name}");
        let refused: Vec<_> =
            engine.aggregate_layers_blocking(&rules::Krum::default(), &rows, 0).into_iter().map(|l| l.is_err()).collect();
        assert_eq!(refused, [false, true], "{name}");
    }
}

#[test]
fn results_in_layers() {
    let rows = [[vec![1.0f32, 2.0], vec![], vec![3.0]]];
    let rows = Rows::from_layers(&rows).expect("layers");
    assert_eq!(rows.split(&[4.0, 5.0, 6.0]).expect("three layers"), [&[4.0, 5.0][..], &[], &[6.0]]);
    assert_eq!(rows.split(&[4.0, 5.0]), Err(Error::OutputLength { got: 2, expected: 3 }));
    assert_eq!(Rows::from_slice(&[1.0f32, 2.0], 1, 2).expect("rows").split(&[3, 4]).expect("one slice"), [&[3, 4]]);
}

#[test]
fn ragged_layers_are_refused() {
    let refused = |workers: &[Vec<Vec<f32>>]| Rows::from_layers(workers).map(|rows| rows.n()).expect_err("a refusal");
    let layers = |lengths: &[usize]| -> Vec<Vec<f32>> { lengths.iter().map(|&length| vec![0.0; length]).collect() };
    let good = layers(&[2, 0, 3]);
    assert_eq!(refused(&[]), Error::NoWorkers);
    assert_eq!(refused(&[layers(&[])]), Error::NoLayers);
    assert_eq!(refused(&[good.clone(), layers(&[])]), Error::Layers { worker: 1, got: 0, expected: 3 });
    assert_eq!(refused(&[good.clone(), good.clone(), layers(&[2, 0, 3, 0])]), Error::Layers { worker: 2, got: 4, expected: 3 });
    // As many values in all.
    let error = refused(&[good.clone(), layers(&[2, 1, 2])]);
    assert_eq!(error, Error::Layer { worker: 1, layer: 1, got: 1, expected: 0 });
    assert_eq!(error.to_string(), "layer 1 of worker 1 has 1 coordinates where that of worker 0 has 0");
}

/// What is uploaded is what the rows hold, once.
#[cfg(feature = "gpu")]
#[test]
fn no_more_is_uploaded() {
    let case = families::make("gauss", 7, 2, 9001, 43);
    let one = values(&case, |x| x);
    let cut = cut(&one, &lengths("long", case.d));
    let rows = Rows::from_layers(cut.iter().map(|c| c.iter().copied())).expect("layers");
    let bytes = device::gpu().aggregate_blocking(&rules::TrimmedMean, &rows, 2).expect("an aggregate").report.bytes_uploaded;
    let matrix = 4 * 7 * 9001;
    assert!((matrix..matrix + 1024).contains(&bytes), "{bytes} bytes");
}
