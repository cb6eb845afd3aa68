//! Memory that a call takes beside the matrix. A binary of its own with one test: the allocator counts the whole process.
#![allow(missing_docs)]

use peak_alloc::PeakAlloc;
use resam::{Aggregate, Engine, Rows, Spec};

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

const N: usize = 25;
const F: usize = 5;
const D: usize = 1_000_000;
/// Bytes of the matrix.
const MATRIX: usize = N * D * size_of::<f32>();

/// The most memory that `work` holds at a time beyond what was held before, and its result.
fn taken<T>(work: impl FnOnce() -> T) -> (usize, T) {
    MEMORY.reset_peak_usage();
    let before = MEMORY.current_usage();
    let result = work();
    (MEMORY.peak_usage() - before, result)
}

/// Beside the matrix there are the result, a row of zeros, and what each thread keeps of a block of columns and of the pairs of rows: no
/// n × d temporary, nor a part of one, whatever is mixed.
fn frugal(bytes: usize) -> Result<(), String> {
    let limit = 5 * D * size_of::<f32>();
    if bytes <= limit { Ok(()) } else { Err(format!("{bytes} bytes, {:.3} of the matrix", bytes as f64 / MATRIX as f64)) }
}

#[test]
fn there_is_no_n_by_d_temporary() {
    let mut random = fastrand::Rng::with_seed(3);
    let data: Vec<f32> = (0..N * D).map(|_| random.f32() - 0.5).collect();
    let rows = Rows::from_slice(&data, N, D).expect("a shape");
    let engine = Engine::cpu();
    let aggregate_of = |spec: &str, rows: &Rows| -> Aggregate {
        let spec: Spec = spec.parse().expect(spec);
        engine.aggregate_blocking(spec.rule(), rows, F).expect("an aggregate")
    };
    let aggregate = |spec: &str| aggregate_of(spec, &rows);
    for spec in [
        "trimmed_mean",
        "nnm+trimmed_mean",
        "krum",
        "bulyan",
        "geometric_median",
        "geometric_median:method=direct",
        "nnm+bucketing+krum",
        "arc+median",
        "clipping:c=1+nnm+meamed",
        "aksel",
        "nnm+aksel",
    ] {
        let (bytes, result) = taken(|| aggregate(spec));
        println!("{spec}: {:.3} of the matrix", bytes as f64 / MATRIX as f64);
        assert_eq!(result.values.len(), D);
        frugal(bytes).unwrap_or_else(|e| panic!("{spec}: {e}"));
    }
    // Rows in a thousand layers each, of which blocks of columns lie in several.
    let workers: Vec<_> = data.chunks(D).map(|row| row.chunks(997)).collect();
    let layers = Rows::from_layers(workers).expect("layers");
    for spec in ["trimmed_mean", "nnm+trimmed_mean", "krum", "geometric_median", "geometric_median:method=direct"] {
        let (bytes, result) = taken(|| aggregate_of(spec, &layers));
        println!("{spec} of layers: {:.3} of the matrix", bytes as f64 / MATRIX as f64);
        assert_eq!(result.values, aggregate(spec).values);
        frugal(bytes).unwrap_or_else(|e| panic!("{spec} of layers: {e}"));
    }
    // A copy of the matrix is noticed, and one of a fifth of it.
    for rows in [N, N / 5] {
        let (bytes, _) = taken(|| (data[..rows * D].to_vec(), aggregate("nnm+trimmed_mean")));
        assert!(frugal(bytes).is_err(), "{rows} rows: {bytes} bytes");
    }
}
