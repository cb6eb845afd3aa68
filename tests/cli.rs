//! The `resam` command, run as a user runs it.
#![cfg(feature = "cli")]
#![allow(missing_docs)]

use resam::{Engine, Rows, Spec, rules};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

const N: usize = 11;
const D: usize = 1003;
const F: usize = 2;

#[cfg(feature = "train")]
#[test]
fn training_refuses_what_it_cannot_read_or_run() {
    let folder = Folder::new().with("t10k-labels-idx1-ubyte", b"short");
    for (arguments, part) in [
        ("--dataset imagenet", "digits, mnist, fashion_mnist, cifar10"),
        ("--dataset mnist", "--data DIR"),
        ("--dataset fashion_mnist --data .", "dataset-fashion-mnist"),
        ("--dataset cifar10 --data .", "data_batch_1.bin"),
        ("--data .", "built in"),
        ("--model lstm", "logistic, mlp"),
        ("--model cnn", "784"),
        ("--split dirichlet", "alpha"),
        ("--split extreme -n 4000", "without an example"),
        ("-n 5000", "at most 4096"),
        ("--batch 18446744073709551615", "2^20"),
        ("--attack alie:z=loud", "search or max"),
        ("--attack krum", "none, alie"),
        ("-n 4 -f 2", "f < n/2"),
        ("--clip 0", "clip = 0, but it must be"),
        ("--dataset mnist --model lstm", "logistic, mlp"),
        ("-o nowhere/a.svg", "nowhere"),
        ("-o a.jpg", "NAME.png"),
        ("--threads 0", "0"),
    ] {
        folder.fails(&format!("train --quiet --steps 2 --device cpu {arguments}"), part);
    }
}

#[cfg(feature = "train")]
#[test]
fn training_draws_a_figure_and_diagnoses() {
    let folder = Folder::new();
    let out = folder.succeeds("train --steps 20 --device cpu --attack silent --attack nan --rule mda --diagnose -o a.svg");
    assert!(
        ["silent", "nan", "diverged", "λ of mda: 1.000", "λ of average: none, or none known"].iter().all(|part| out.contains(part)),
        "{out}"
    );
    assert_eq!(folder.names(), ["a.svg"]);
    folder.succeeds("train --steps 2 --device cpu --attack sf --quiet -o a.png --threads 1");
    folder.succeeds("train --steps 2 --device cpu --attack sf --quiet -o both");
    assert_eq!(folder.names(), ["a.png", "a.svg", "both.png", "both.svg"]);
    assert!(fs::read(folder.path("both.png")).unwrap().starts_with(b"\x89PNG"));
    assert_eq!(fs::read(folder.path("a.png")).unwrap(), fs::read(folder.path("both.png")).unwrap());
}

#[cfg(feature = "train")]
#[test]
fn models_train_on_a_gpu_where_the_build_has_one() {
    let folder = Folder::new();
    let train = "train --steps 2 --attack sf --rule average --beta 0 --train-on gpu -o a.svg";
    match cfg!(feature = "burn") {
        true => assert!(folder.succeeds(train).contains("test accuracy after 2 steps")),
        false => folder.fails(train, "--features train,burn"),
    }
    folder.fails("train --train-on gpu --device cpu", "takes no --device");
    folder.succeeds("train --train-on cpu --device cpu --steps 1 --attack sf --quiet -o a.svg");
}

/// Specifications with dots in file names, results that stand twice in their file, and half a letter at its end.
#[cfg(feature = "train")]
#[test]
fn a_grid_bears_odd_names_and_odd_files() {
    let grid = "datasets = ['digits']\nf = [1]\nrules = ['clipping:c=0.5+median']\nattacks = ['none']\nbetas = [0.0]\nseeds = [1]\n\
                n = 5\nsteps = 1\nmodel = 'logistic'";
    let folder = Folder::new().with("grid.toml", grid.as_bytes());
    assert!(folder.succeeds("reproduce grid.toml --out out").contains("1 of 1 runs done"));
    assert!(folder.path("out/report.html").is_file());
    let line = fs::read(folder.path("out/results.jsonl")).unwrap();
    fs::write(folder.path("out/results.jsonl"), [&line[..], &line, b"{\"dataset\":\"\xe2\x82"].concat()).unwrap();
    assert!(folder.succeeds("reproduce grid.toml --out out --report-only").contains("1 of 1 runs done"));
    assert!(folder.succeeds("reproduce grid.toml --out out").contains("1 of 1 runs done"));
    assert_eq!(fs::read(folder.path("out/results.jsonl")).unwrap(), [&line[..], &line].concat());
}

/// A rule that gives up on rows stops its own run and no other.
#[cfg(feature = "train")]
#[test]
fn a_rule_that_gives_up_is_a_result() {
    // Three rows hold NaN, and the rule is told to expect one.
    let grid = "datasets = ['digits']\nf = [3]\nrules = ['krum:f=1', 'median']\nattacks = ['nan', 'alie:z=max', 'mimic:worker=12']\n\
                betas = [0.0]\nseeds = [1]\nsteps = 4";
    let folder = Folder::new().with("grid.toml", grid.as_bytes());
    let out = folder.succeeds("reproduce grid.toml --out out");
    assert!(out.contains("4 of 4 runs done") && out.contains("left out") && out.contains("mimic"), "{out}");
    let report = fs::read_to_string(folder.path("out/report.html")).unwrap();
    assert!(["1 refused", "refused by krum:f=1: step 0", "more than f = 1"].iter().all(|part| report.contains(part)));
    let out = folder.succeeds("train --steps 4 --device cpu --attack nan --attack alie --rule krum:f=1 -n 15 -f 3 -o a.svg");
    assert!(out.contains("refused by krum:f=1: step 0") && out.matches("refused").count() == 4, "{out}");
}

/// A grid that was cut short, in the middle of a line, ends as one that was not: every run once, with the same accuracies.
#[cfg(feature = "train")]
#[test]
fn a_grid_of_runs_resumes() {
    let grid = "datasets = ['digits']\nf = [3, 7]\nrules = ['average', 'bulyan']\nattacks = ['none', 'nan']\nbetas = [0.0, 0.9]\nseeds = [1]\nsteps = 10";
    let uneven = "datasets = ['digits']\nf = [3]\nrules = ['average']\nattacks = ['none', 'sf']\nbetas = [0.0]\nseeds = [1, 2]\nsteps = 2\n\
                  split = 'dirichlet:alpha=0.1'\nmodel = 'logistic'";
    let folder = Folder::new().with("grid.toml", grid.as_bytes()).with("bad.toml", b"f = 1").with("uneven.toml", uneven.as_bytes());
    let lines = || {
        let text = fs::read_to_string(folder.path("out/results.jsonl")).unwrap();
        let mut lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        lines.iter_mut().for_each(|line| line["seconds"] = Value::Null);
        lines.sort_by_key(Value::to_string);
        lines
    };
    let out = folder.succeeds("reproduce grid.toml --out out");
    assert!(out.contains("12 of 12 runs") && out.contains("left out with n = 15, f = 7"), "{out}");
    let (whole, path) = (lines(), folder.path("out/results.jsonl"));
    let text = fs::read(&path).unwrap();
    fs::write(&path, &text[..text.len() / 2]).unwrap();
    let torn = fs::read(&path).unwrap();
    let locked = fs::File::open(&path).unwrap();
    locked.lock().unwrap();
    assert!(folder.succeeds("reproduce grid.toml --out out --report-only --report so-far").contains("the rest is open"));
    assert!(fs::read(&path).unwrap() == torn && folder.path("so-far/digits-mlp-hidden-32-worst.png").exists());
    folder.fails("reproduce grid.toml --out out", "another run");
    drop(locked);
    folder.succeeds("reproduce grid.toml --out out --quiet");
    assert!(whole.len() == 12 && lines() == whole);
    let report = fs::read_to_string(folder.path("out/report.html")).unwrap();
    assert!(["<svg", "bulyan", "diverged", "worst attack"].iter().all(|part| report.contains(part)));
    // A seed whose split leaves a worker without examples costs its own runs only, in every report.
    for options in ["", "--report-only"] {
        let said = folder.succeeds(&format!("reproduce uneven.toml --out uneven {options}"));
        assert!(said.contains("seed = 1, 12 honest workers") && said.contains("3 of 3 runs done;"), "{said}");
    }
    folder.fails("reproduce bad.toml", "bad.toml");
    folder.fails("reproduce none.toml", "none.toml: No such file");
    folder.fails("reproduce grid.toml --out nowhere --report-only", "nowhere");
}

fn command() -> Command {
    let path = std::env::var("CARGO_BIN_EXE_resam").unwrap_or_else(|_| env!("CARGO_BIN_EXE_resam").into());
    Command::new(path)
}

/// A folder of its own for a test, in which the command runs.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn with(self, name: &str, content: &[u8]) -> Self {
        fs::write(self.path(name), content).unwrap();
        self
    }

    /// Names of all files, sorted: what a failed command must leave as it was.
    fn names(&self) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(self.0.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn run(&self, arguments: &str) -> Output {
        command().args(arguments.split_whitespace()).current_dir(self.0.path()).output().unwrap()
    }

    /// Runs what must succeed in silence on standard error, and returns its standard output.
    fn succeeds(&self, arguments: &str) -> String {
        self.succeeds_and_says(arguments, "")
    }

    /// The same of what says something on standard error.
    fn succeeds_and_says(&self, arguments: &str, says: &str) -> String {
        let output = self.run(arguments);
        let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
        assert_eq!((output.status.code(), err.as_str()), (Some(0), says), "{arguments}");
        out
    }

    /// Runs what must fail with 2, one line that contains `part`, and no trace in the folder.
    fn fails(&self, arguments: &str, part: &str) {
        let before = self.names();
        let output = self.run(arguments);
        let err = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments}: {err}");
        assert!(err.starts_with("resam: ") && err.lines().count() == 1 && err.ends_with('\n'), "{arguments}: {err:?}");
        assert!(err.contains(part), "{arguments}: '{part}' is not in {err}");
        assert!(output.stdout.is_empty(), "{arguments}");
        assert_eq!(self.names(), before, "{arguments}");
    }

    /// The values of a `[d]` file of f32, read without the command's own reader.
    fn values(&self, name: &str) -> Vec<f32> {
        let file = fs::read(self.path(name)).unwrap();
        let start = 10 + usize::from(u16::from_le_bytes([file[8], file[9]]));
        let (header, data) = file.split_at(start);
        assert_eq!(&header[..8], b"\x93NUMPY\x01\x00");
        assert_eq!(start % 64, 0);
        let text = std::str::from_utf8(&header[10..]).unwrap();
        let expected = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({},), }}", data.len() / 4);
        assert_eq!(text.trim_end(), expected);
        assert!(text.ends_with('\n'));
        data.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
    }
}

/// A `.npy` file of any version, with the header's text as it stands.
fn file(version: u8, header: &str, data: &[u8]) -> Vec<u8> {
    let length = (header.len() as u32).to_le_bytes();
    let length = if version == 1 { &length[..2] } else { &length[..] };
    [&b"\x93NUMPY"[..], &[version, 0], length, header.as_bytes(), data].concat()
}

fn header(descr: &str, shape: &str) -> String {
    format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}")
}

/// A rule by its name, with the parameter that it has no default for.
fn runnable(name: &str) -> &str {
    if name == "fltrust" { "fltrust:row=1" } else { name }
}

/// As numpy writes it: padded so that the data begin at a multiple of 64.
fn npy(descr: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    let text = header(descr, shape);
    let width = (10 + text.len() + 1).next_multiple_of(64) - 11;
    file(1, &format!("{text:width$}\n"), data)
}

fn bytes32(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

fn bytes64(values: &[f64]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

fn matrix(values: &[f32], n: usize) -> Vec<u8> {
    npy("<f4", &format!("({n}, {})", values.len() / n), &bytes32(values))
}

/// Distinct signed values of several magnitudes; the last F rows lie far away.
fn momentums() -> Vec<f32> {
    let mut random = fastrand::Rng::with_seed(7);
    let mut value = |i: usize| (random.f32() - 0.5) * [1.0, 100.0, 1e-3][i % 3] + if i / D >= N - F { 1000.0 } else { 0.0 };
    (0..N * D).map(&mut value).collect()
}

fn tensor(name: &str, dtype: safetensors::Dtype, shape: &[usize], data: &[u8]) -> Vec<u8> {
    tensors(&[name], dtype, shape, data)
}

fn tensors(names: &[&str], dtype: safetensors::Dtype, shape: &[usize], data: &[u8]) -> Vec<u8> {
    let view = || safetensors::tensor::TensorView::new(dtype, shape.to_vec(), data).unwrap();
    safetensors::serialize(names.iter().map(|n| (*n, view())), None).unwrap()
}

#[test]
fn every_rule_on_cpu_and_reference() {
    let values = momentums();
    let folder = Folder::new().with("in.npy", &matrix(&values, N));
    let rows = Rows::from_slice(&values, N, D).unwrap();
    for name in rules::names().map(runnable) {
        for device in ["cpu", "reference"] {
            folder.succeeds(&format!(
                "aggregate in.npy --rule {name} -f {F} --device {device} -o {device}.npy --report {device}.json"
            ));
            let report: Value = serde_json::from_slice(&fs::read(folder.path(&format!("{device}.json"))).unwrap()).unwrap();
            assert!(report["device"].as_str().unwrap().starts_with(device), "{name} on {device}: {report}");
        }
        let (cpu, reference) = (folder.values("cpu.npy"), folder.values("reference.npy"));
        assert_eq!((cpu.len(), reference.len()), (D, D));
        // Sums of at most N values below 1001 in f32, and the convergence of iterations: 1e-5 of the largest.
        for (a, b) in cpu.iter().zip(&reference) {
            assert!((a - b).abs() <= 1e-5 * 1001.0 * if name == "average" { 1.0 } else { 0.1 }, "{name}: {a} {b}");
        }
        let expected = Engine::cpu().aggregate_blocking(name.parse::<Spec>().unwrap().rule(), &rows, F).unwrap().values;
        assert!(cpu.iter().zip(&expected).all(|(a, b)| a.to_bits() == b.to_bits()), "{name}");
    }
}

#[test]
fn adapters_are_taken_by_name() {
    let folder = Folder::new().with("in.npy", &matrix(&momentums(), N));
    folder.succeeds(&format!("aggregate in.npy --rule trimmed_mean -f {F} --device cpu -o cpu.npy"));
    let devices: Value = serde_json::from_str(&folder.succeeds("devices --json")).unwrap();
    let adapters = devices["adapters"].as_array().unwrap();
    let real = adapters.iter().any(|a| a["real"] == true);
    for adapter in adapters {
        let part = adapter["name"].as_str().unwrap().split_whitespace().next().unwrap().to_uppercase();
        folder.succeeds(&format!("aggregate in.npy --rule trimmed_mean -f {F} --device {part} -o gpu.npy"));
        let close = |(a, b): (&f32, &f32)| (a - b).abs() <= 1e-4;
        assert!(folder.values("gpu.npy").iter().zip(&folder.values("cpu.npy")).all(close), "{part}");
    }
    let auto = devices["auto"]["device"].as_str().unwrap();
    if real {
        println!("skipped: --device gpu without a GPU; this machine has one, {auto}");
    } else {
        assert!(auto.starts_with("cpu"), "{auto}");
        folder.fails("aggregate in.npy --rule median -f 1 --device gpu -o out.npy", "no device matches");
        folder.fails("aggregate in.npy --rule median -f 1 --device gpu --memory-budget 64MiB", "no device matches");
        folder.succeeds("aggregate in.npy --rule median -f 1 --memory-budget 64MiB -o out.npy");
    }
    assert!(folder.succeeds("devices").contains(&format!("auto takes {auto}")));
}

#[test]
fn f64_is_rounded_once_to_the_nearest_f32() {
    // Ties and values below f32's precision; 1e300 becomes infinite.
    let wide = [1.0 + f64::EPSILON, 1.0 + 2f64.powi(-24), 1.0 + 3.0 * 2f64.powi(-24), -1e-50, 0.1, -2.5, 7.0, 1e300, -1e300, 3e38];
    let narrow: Vec<f32> = wide.iter().map(|v| *v as f32).collect();
    let folder = Folder::new().with("wide.npy", &npy("<f8", "(5, 2)", &bytes64(&wide))).with("narrow.npy", &matrix(&narrow, 5));
    for device in ["cpu", "reference"] {
        for name in ["wide", "narrow"] {
            let arguments = format!("aggregate {name}.npy --rule median -f 2 --device {device} -o {name}-out.npy");
            folder.succeeds_and_says(&arguments, "resam: warning: rows with NaN or infinite values: 3 4\n");
        }
        assert_eq!(folder.values("wide-out.npy"), folder.values("narrow-out.npy"));
        folder.fails(&format!("aggregate wide.npy --rule krum -f 1 --device {device}"), "rows [3, 4]");
    }
}

#[test]
fn halves_are_read_as_they_are() {
    let values: Vec<u16> = momentums().iter().map(|v| resam::f16::from_f32(*v).to_bits()).collect();
    let data: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    let wide = |widened: fn(u16) -> f32| matrix(&values.iter().map(|v| widened(*v)).collect::<Vec<_>>(), N);
    let shape = format!("({N}, {D})");
    let folder = Folder::new()
        .with("f16.npy", &npy("<f2", &shape, &data))
        .with("odd.npy", &file(1, &header("<f2", &shape), &data))
        .with("f16.safetensors", &tensor("m", safetensors::Dtype::F16, &[N, D], &data))
        .with("bf16.safetensors", &tensor("m", safetensors::Dtype::BF16, &[N, D], &data))
        .with("f16-wide.npy", &wide(|v| resam::f16::from_bits(v).to_f32()))
        .with("bf16-wide.npy", &wide(|v| resam::bf16::from_bits(v).to_f32()));
    let aggregate = |name: &str| {
        folder.succeeds(&format!("aggregate {name} --rule multi_krum -f {F} --device cpu -o {name}.out --report out.json"));
        let report: Value = serde_json::from_slice(&fs::read(folder.path("out.json")).unwrap()).unwrap();
        (folder.values(&format!("{name}.out")), report["bytes_read"].as_u64().unwrap())
    };
    for (name, wide, share) in [
        ("f16.npy", "f16-wide.npy", 2),
        ("f16.safetensors", "f16-wide.npy", 2),
        ("bf16.safetensors", "bf16-wide.npy", 2),
        // Its values lie at odd addresses: they are widened as they are read.
        ("odd.npy", "f16-wide.npy", 1),
    ] {
        let ((got, read), (want, bytes)) = (aggregate(name), aggregate(wide));
        assert!(got.iter().map(|v| v.to_bits()).eq(want.iter().map(|v| v.to_bits())), "{name}");
        assert_eq!(share * read, bytes, "{name}");
    }
}

#[test]
fn every_form_of_a_file_gives_the_same() {
    let values = momentums();
    let (data, wide) = (bytes32(&values), bytes64(&values.iter().map(|v| f64::from(*v)).collect::<Vec<_>>()));
    let shape = format!("({N}, {D})");
    let other = format!("{{\"shape\":({N},{D}),\"fortran_order\":False,\"descr\":\"<f4\"}}");
    let folder = Folder::new()
        .with("1.npy", &npy("<f4", &shape, &data))
        .with("wide.npy", &npy("<f8", &shape, &wide))
        .with("2.npy", &file(2, &header("<f4", &shape), &data))
        .with("3.npy", &file(3, &other, &data))
        .with("odd.npy", &file(1, &(header("<f4", &shape) + " "), &data))
        .with("odder.npy", &file(1, &(header("<f4", &shape) + "  "), &data))
        .with("32.safetensors", &tensor("m", safetensors::Dtype::F32, &[N, D], &data))
        .with("64.safetensors", &tensor("m", safetensors::Dtype::F64, &[N, D], &wide));
    let names = folder.names();
    folder.succeeds(&format!("aggregate 1.npy --rule geometric_median -f {F} --device cpu -o expected"));
    for name in names {
        folder.succeeds(&format!("aggregate {name} --rule geometric_median -f {F} --device cpu -o out"));
        assert_eq!(folder.values("out"), folder.values("expected"), "{name}");
    }
}

#[test]
fn no_columns_are_fine() {
    let folder = Folder::new().with("in.npy", &npy("<f4", "(7, 0)", &[]));
    for rule in rules::names().map(runnable) {
        for device in ["cpu", "reference"] {
            folder.succeeds(&format!("aggregate in.npy --rule {rule} -f 1 --device {device} -o out.npy"));
            assert!(folder.values("out.npy").is_empty());
        }
    }
}

#[test]
fn bad_files_are_refused() {
    let data = bytes32(&[1.0; 8]);
    let good = npy("<f4", "(4, 2)", &data);
    let claim = |version: u8, length: &[u8]| [&b"\x93NUMPY"[..], &[version, 0], length, &[b' '; 64]].concat();
    let f32s = safetensors::Dtype::F32;
    let tensor_file = tensor("m", f32s, &[4, 2], &data);
    let with_length = |length: u64| [&length.to_le_bytes(), &tensor_file[8..]].concat();
    let cases: Vec<(&str, &str, Vec<u8>, &str)> = vec![
        ("empty", "npy", vec![], "no .npy file"),
        ("wrong magic", "npy", b"PK\x03\x04 an archive".to_vec(), "no .npy file"),
        ("unknown kind", "bin", vec![0; 64], "neither"),
        ("magic alone", "npy", good[..6].to_vec(), "truncated"),
        ("cut in the header", "npy", good[..40].to_vec(), "truncated"),
        ("no data", "npy", good[..good.len() - data.len()].to_vec(), "truncated"),
        ("one byte short", "npy", good[..good.len() - 1].to_vec(), "needs 32 bytes of values, it holds 31"),
        ("one byte long", "npy", [&good[..], b"x"].concat(), "needs 32 bytes of values, it holds 33"),
        ("more rows than data", "npy", npy("<f4", "(5, 2)", &data), "needs 40 bytes"),
        ("unknown version", "npy", file(9, &header("<f4", "(4, 2)"), &data), "version 9"),
        ("huge header", "npy", claim(2, &u32::MAX.to_le_bytes()), "header claims 4294967295 bytes"),
        ("big header", "npy", claim(1, &u16::MAX.to_le_bytes()), "header claims 65535 bytes"),
        ("overflow", "npy", npy("<f4", "(4611686018427387904, 8)", &data), "overflows"),
        ("overflow to zero", "npy", npy("<f4", "(4611686018427387904, 4)", &[]), "overflows"),
        ("more than 64 bits", "npy", npy("<f4", "(99999999999999999999, 8)", &data), "more than any memory"),
        ("huge and empty", "npy", npy("<f4", "(4611686018427387904, 0)", &[]), "rows"),
        ("negative", "npy", npy("<f4", "(-4, 2)", &data), "malformed"),
        ("one dimension", "npy", npy("<f4", "(8,)", &data), "1 dimensions, not 2"),
        ("three dimensions", "npy", npy("<f4", "(2, 2, 2)", &data), "3 dimensions, not 2"),
        ("a scalar", "npy", npy("<f4", "()", &data[..4]), "0 dimensions, not 2"),
        ("no rows", "npy", npy("<f4", "(0, 8)", &[]), "no rows"),
        ("big-endian", "npy", npy(">f4", "(4, 2)", &data), "big-endian"),
        ("integers", "npy", npy("<i4", "(4, 2)", &data), "whole numbers"),
        ("objects", "npy", npy("|O", "(4, 2)", &data), "'|O'"),
        ("records", "npy", file(1, "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (4, 2)}", &data), "records"),
        ("Fortran order", "npy", file(1, "{'descr': '<f4', 'fortran_order': True, 'shape': (4, 2)}", &data), "Fortran"),
        ("code", "npy", file(1, "__import__('os').system('touch out.npy')", &data), "malformed"),
        ("not text", "npy", claim(1, &[40, 0]).iter().map(|b| if *b == b' ' { 0xff } else { *b }).collect(), "no text"),
        ("a line break", "npy", npy("<f\n4", "(4, 2)", &data), "not '<f2' (f16), '<f4'"),
        ("wrong way round", "npy", npy("<f4", "(100000, 1)", &[0; 400_000]), "wrong way round"),
        ("empty", "safetensors", vec![], "header too small"),
        ("cut", "safetensors", tensor_file[..tensor_file.len() - 1].to_vec(), "no sound .safetensors file"),
        ("huge header", "safetensors", with_length(1 << 40), "header claims"),
        ("header past the end", "safetensors", with_length(5000), "no sound .safetensors file"),
        ("no tensor", "safetensors", tensors(&[], f32s, &[4, 2], &data), "0 tensors"),
        ("two tensors", "safetensors", tensors(&["a", "b"], f32s, &[4, 2], &data), "2 tensors, not one: a b"),
        ("integers", "safetensors", tensor("m", safetensors::Dtype::I32, &[4, 2], &data), "not F16, BF16, F32 or F64"),
        ("one dimension", "safetensors", tensor("m", f32s, &[8], &data), "1 dimensions, not 2"),
    ];
    for (name, extension, content, part) in cases {
        let input = format!("in.{extension}");
        let folder = Folder::new().with(&input, &content);
        let arguments = format!("aggregate {input} --rule trimmed_mean -f 1 --device cpu -o out.npy --report out.json");
        println!("{name}: {extension}");
        folder.fails(&arguments, part);
        folder.fails(&arguments, &input);
        let folder = folder.with("out.npy", b"precious").with("out.json", b"too");
        folder.fails(&arguments, part);
        assert_eq!(
            (fs::read(folder.path("out.npy")).unwrap(), fs::read(folder.path("out.json")).unwrap()),
            (b"precious".into(), b"too".into())
        );
    }
}

#[test]
fn damaged_headers_never_panic() {
    let good = [matrix(&[1.0; 8], 4), tensor("m", safetensors::Dtype::F32, &[4, 2], &bytes32(&[1.0; 8]))];
    let mut random = fastrand::Rng::with_seed(3);
    for round in 0..200 {
        let extension = ["npy", "safetensors"][round % 2];
        let mut content = good[round % 2].clone();
        for _ in 0..random.usize(1..4) {
            let at = random.usize(0..content.len().min(90));
            content[at] = if random.bool() { random.u8(..) } else { *random.choice(b"0123456789(){},:'\"-<>f").unwrap() };
        }
        content.truncate(if round % 8 == 0 { random.usize(0..content.len()) } else { content.len() });
        let folder = Folder::new().with(&format!("in.{extension}"), &content);
        let output = folder.run(&format!("aggregate in.{extension} --rule median -f 1 --device cpu -o out.npy"));
        let err = String::from_utf8(output.stderr).unwrap();
        match output.status.code() {
            Some(0) => assert_eq!(folder.values("out.npy").len() % 2, 0),
            Some(2) => assert!(err.lines().count() == 1 && folder.names().len() == 1, "{err}"),
            code => panic!("{code:?}: {err}: {content:?}"),
        }
    }
}

#[test]
fn bad_requests_are_refused() {
    let mut values = momentums();
    for row in [1, 4, 7] {
        values[row * D + row] = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY][row % 3];
    }
    let folder = Folder::new().with("in.npy", &matrix(&values, N)).with("good.npy", &matrix(&momentums(), N));
    for (arguments, part) in [
        ("missing.npy --rule median -f 1", "missing.npy: No such file"),
        (". --rule median -f 1", "not a regular file"),
        ("good.npy --rule krumm -f 1", "no rule is named 'krumm'"),
        ("good.npy --rule krum:m=1 -f 1", "no parameter 'm'"),
        ("good.npy --rule median", "-f F"),
        ("good.npy --rule median -f 6", "f = 6 Byzantine of n = 11"),
        ("good.npy --rule median -f 18446744073709551615", "f = 18446744073709551615"),
        ("good.npy --rule average -f 12", "f = 12 Byzantine of n = 11"),
        ("good.npy --rule median -f -1", "invalid value '-1' for '--f <F>': not a whole number of at least 0"),
        ("good.npy --rule median -f 1 --device abacus", "no device matches 'abacus'"),
        ("good.npy --rule median -f 1 --weights good.npy", "is no list of numbers"),
        ("good.npy --rule median -f 1 --previous good.npy", "is no list of numbers"),
        ("good.npy --rule median -f 1 --trusted 0", "median does not take a trusted row"),
        ("good.npy --rule median -f 1 --memory-budget 3XB", "units are"),
        ("good.npy --rule median -f 1 --nonsense", "unexpected argument '--nonsense'"),
        ("good.npy -f 1", "--rule <SPEC>"),
        ("in.npy --rule median -f 2 --device cpu", "rows [1, 4, 7]"),
        ("in.npy --rule median -f 2 --device reference", "rows [1, 4, 7]"),
        ("in.npy --rule krum -f 2 --device cpu", "rows [1, 4, 7]"),
        ("in.npy --rule mda -f 2 --device reference", "rows [1, 4, 7]"),
    ] {
        folder.fails(&format!("aggregate {arguments} -o out.npy"), part);
    }
    for arguments in ["bench -n -1", "bench --seed -1", "certify --rule median --seed -1", "aggregate good.npy --memory-budget -5"]
    {
        folder.fails(arguments, "invalid value '-");
    }
    folder.fails("bench --rule krum -n 15 -f 9 -d 100 -q --device cpu", "nothing could be measured: krum: f = 9");
    folder.fails("aggregate good.npy --rule bucketing+krum -f 4", "makes 6 rows of 11");
    folder.succeeds("aggregate good.npy --rule average");
    let counts_nothing = "resam: warning: nothing to diagnose: the reference counts nothing\n";
    folder.succeeds_and_says("aggregate good.npy --rule median -f 1 --device reference --diagnose", counts_nothing);
    let says = "resam: warning: nothing to diagnose: krum orders no columns of the workers' values\n";
    folder.succeeds_and_says("aggregate good.npy --rule krum -f 1 --device cpu --diagnose", says);
    folder.fails("agregate", "unrecognized subcommand");
    folder.fails("rules --f 5", "--n");
}

#[test]
fn outputs_are_whole_or_absent() {
    let content = matrix(&momentums(), N);
    let folder = Folder::new().with("in.npy", &content);
    fs::create_dir(folder.path("folder")).unwrap();
    let run = format!("aggregate in.npy --rule median -f {F} --device cpu");
    for (outputs, part) in [
        ("-o in.npy", "in.npy: is in.npy as well"),
        ("-o ./folder/../in.npy", "must not replace it"),
        ("-o out.npy --report in.npy", "must not replace it"),
        ("-o out.npy --report ./out.npy", "must not replace it"),
        ("-o folder", "not a regular file"),
        ("-o missing/out.npy", "missing/out.npy"),
        ("-o out.npy --report missing/out.json", "missing/out.json"),
        ("-o out.npy --report folder", "not a regular file"),
    ] {
        folder.fails(&format!("{run} {outputs}"), part);
        assert_eq!(fs::read(folder.path("in.npy")).unwrap(), content);
    }
    // Files that are there are replaced.
    let folder = folder.with("out.npy", b"old").with("out.json", b"old");
    folder.succeeds(&format!("{run} -o out.npy --report out.json"));
    assert_eq!(folder.values("out.npy").len(), D);
    assert_eq!(folder.names(), ["folder", "in.npy", "out.json", "out.npy"]);
}

#[cfg(unix)]
#[test]
fn links_and_permissions_are_kept() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let folder = Folder::new().with("in.npy", &matrix(&momentums(), N)).with("real.npy", b"old").with("locked.npy", b"old");
    let mode = |name: &str| fs::metadata(folder.path(name)).unwrap().permissions().mode() & 0o777;
    let set = |name: &str, mode| fs::set_permissions(folder.path(name), fs::Permissions::from_mode(mode)).unwrap();
    symlink("in.npy", folder.path("also-in.npy")).unwrap();
    symlink("real.npy", folder.path("link.npy")).unwrap();
    symlink("later.npy", folder.path("dangling.npy")).unwrap();
    symlink("round.npy", folder.path("around.npy")).unwrap();
    symlink("around.npy", folder.path("round.npy")).unwrap();
    set("real.npy", 0o640);
    set("locked.npy", 0o444);
    let run = format!("aggregate in.npy --rule median -f {F} --device cpu -o");
    folder.fails(&format!("{run} also-in.npy"), "must not replace it");
    folder.fails(&format!("{run} locked.npy"), "read-only");
    folder.succeeds(&format!("{run} link.npy"));
    assert!(folder.path("link.npy").is_symlink());
    assert_eq!((folder.values("real.npy").len(), mode("real.npy")), (D, 0o640));
    folder.succeeds(&format!("{run} dangling.npy"));
    assert!(folder.path("dangling.npy").is_symlink() && folder.values("later.npy").len() == D);
    folder.fails(&format!("{run} round.npy"), "circle");
    folder.fails(&format!("{run} there/"), "folder");
    // A new file is as readable as any other.
    fs::write(folder.path("any"), b"").unwrap();
    folder.succeeds(&format!("{run} new.npy"));
    assert_eq!(mode("new.npy"), mode("any"));
}

#[test]
fn the_report_says_what_happened() {
    let mut values = momentums();
    values[3 * D] = f32::NAN;
    let folder = Folder::new().with("in.npy", &matrix(&values, N));
    folder.succeeds(&format!("aggregate in.npy --rule krum -f {F} --device cpu --report krum.json"));
    assert_eq!(folder.names(), ["in.npy", "krum.json"]);
    let report: Value = serde_json::from_slice(&fs::read(folder.path("krum.json")).unwrap()).unwrap();
    assert_eq!((&report["n"], &report["d"], &report["f"]), (&N.into(), &D.into(), &F.into()));
    assert_eq!(report["rule"], "krum");
    assert!(report["device"].as_str().unwrap().starts_with("cpu"));
    assert_eq!(report["non_finite"], serde_json::json!([3]));
    assert_eq!(report["kept"].as_array().unwrap().len(), 1);
    let scores = report["scores"].as_array().unwrap();
    assert_eq!((scores.len(), &scores[3]), (N, &Value::Null));
    assert!(report["margin"].as_f64().unwrap() > 0.0);
    assert!(report["bytes_read"].as_u64().unwrap() > 0);
    assert_eq!(report["converged"], true);
    // The rule's own f goes first; `-` is standard output.
    let out = folder.succeeds("aggregate in.npy --rule trimmed_mean:f=3 -f 1 --device cpu --report -");
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&report["f"], &report["kept"]), (&3.into(), &Value::Null));
    folder.succeeds("aggregate in.npy --rule trimmed_mean:f=3 --device cpu --report krum.json");
    // Without -o and --report a summary is printed.
    let out = folder.succeeds(&format!("aggregate in.npy --rule krum -f {F} --device cpu --seed 9"));
    for part in ["krum", "n = 11 workers, d = 1003 coordinates, f = 2", "rows 3", "margin", "norm"] {
        assert!(out.contains(part), "'{part}' is not in {out}");
    }
}

#[test]
fn rules_and_help_name_every_rule() {
    let folder = Folder::new();
    let (table, help) = (folder.succeeds("rules --n 25 --f 5"), folder.succeeds("aggregate --help"));
    let json: Value = serde_json::from_str(&folder.succeeds("rules --n 25 --f 5 --d 9 --json")).unwrap();
    assert_eq!(json["rules"].as_array().unwrap().len(), rules::names().len());
    for (rule, entry) in rules::all().iter().zip(json["rules"].as_array().unwrap()) {
        assert!(table.contains(rule.name()) && help.contains(rule.name()));
        assert_eq!((&entry["name"], &entry["definition"]), (&rule.name().into(), &rule.definition().into()));
        assert_eq!(entry["lambda"].as_f64(), rule.lambda(25, 5, 9).value());
    }
    assert!(folder.succeeds("rules --n 4 --f 2 --rule median").contains("refused: median: f = 2 Byzantine of n = 4"));
    let parameters = |list: &str, name: &str| -> Vec<Value> {
        let entry = json[list].as_array().unwrap().iter().find(|e| e["name"] == name).unwrap();
        entry["parameters"].as_array().unwrap().iter().map(|p| p["name"].clone()).collect()
    };
    assert_eq!(parameters("rules", "centered_clipping"), ["tau", "iterations", "start"]);
    assert_eq!(parameters("pre_aggregations", "clipping"), ["c"]);
    assert!(help.contains("neighbors: rows in a score: star (n-f-1, default)") && help.contains("row: the trusted row"));
    let of_spec = folder.succeeds("rules --n 25 --rule krum:f=7");
    assert_eq!(of_spec, folder.succeeds("rules --n 25 --f 7 --rule krum"));
    assert_ne!(of_spec, folder.succeeds("rules --n 25 --f 5 --rule krum"));
    folder.fails("rules --rule krum:f=7", "f = 7 says nothing of a rule without --n");
    folder.succeeds("rules --n 4294967295 --f 0");
    folder.succeeds("rules --n 1 --f 4294967295 --d 0");
    folder.fails("rules --n 0 --f 0", "0 is not in");
    folder.fails("rules --n 18446744073709551615 --f 0", "invalid value");
    assert!(folder.succeeds("--version").starts_with("resam "));
}

/// Weights count by their proportions, whatever their size, and no output takes the place of what is read.
#[test]
fn weights_of_any_size_count_and_are_not_written_over() {
    let column = |values: &[f32]| npy("<f4", &format!("({}, 1)", values.len()), &bytes32(values));
    let weights = |values: &[f64]| npy("<f8", &format!("({},)", values.len()), &bytes64(values));
    let many: Vec<f32> = (0..65_536).map(|i| (i % 7) as f32).collect();
    let folder = Folder::new().with("five.npy", &column(&[1.0, 2.0, 3.0, 4.0, 5.0])).with("many.npy", &column(&many));
    for unit in [0.5, 1e9, 1e307, 1e-300, 0.1] {
        fs::write(folder.path("w.npy"), weights(&[unit, unit, unit, unit, 3.0 * unit].map(|w| w / 4.0))).unwrap();
        for (rule, want) in [("median", 4.0), ("geometric_median", 4.0), ("average", 25.0 / 7.0)] {
            for device in ["cpu", "reference"] {
                folder.succeeds(&format!("aggregate five.npy --rule {rule} -f 0 --weights w.npy --device {device} -o out.npy"));
                let got = folder.values("out.npy")[0];
                assert!((got - want).abs() < 1e-5, "{rule} on {device} with weights of {unit}: {got}");
            }
        }
        // Half of the weight on either side.
        fs::write(folder.path("w.npy"), weights(&[unit, unit, 2.0 * unit, 2.0 * unit, 2.0 * unit].map(|w| w / 4.0))).unwrap();
        folder.succeeds("aggregate five.npy --rule median -f 0 --weights w.npy --device cpu -o out.npy");
        assert_eq!(folder.values("out.npy"), [3.5], "{unit}");
    }
    folder.fails("aggregate five.npy --rule median -f 0 --weights w.npy --device cpu -o w.npy", "must not replace");
    folder.fails("aggregate five.npy --rule median -f 0 --weights w.npy --device cpu --report w.npy", "must not replace");
    // No table of all pairs of rows where none is needed, and no attempt at one where it would not fit.
    folder.succeeds("aggregate many.npy --rule average -f 1 --device cpu -o out.npy");
    folder.fails("aggregate many.npy --rule bucketing:s=2+median -f 1 --device cpu -o out.npy", "at most 4096");
}

#[test]
fn weights_previous_aggregates_and_trusted_rows_are_given_as_files_and_numbers() {
    let values = momentums();
    let counts: Vec<u8> = (0..N as i64).flat_map(|i| (1 + i % 4).to_le_bytes()).collect();
    let folder = Folder::new()
        .with("in.npy", &matrix(&values, N))
        .with("start.npy", &npy("<f4", &format!("({D},)"), &bytes32(&values[..D])))
        .with("short.npy", &npy("<f8", "(3,)", &bytes64(&[1.0; 3])))
        .with("counts.npy", &npy("<i8", &format!("({N},)"), &counts));
    for (rule, more) in [
        ("trimmed_mean", "--weights counts.npy"),
        ("median", "--weights counts.npy"),
        ("centered_clipping:tau=3,iterations=2", "--previous start.npy --weights counts.npy"),
        ("nnm+centered_clipping:tau=3", "--previous start.npy"),
        ("arc+fltrust", "--trusted 4"),
        ("nnm+bucketing:s=2,seed=7+krum", ""),
    ] {
        let run = format!("aggregate in.npy --rule {rule} -f {F} {more} --device cpu -o cpu.npy --report report.json --diagnose");
        let says = match rule {
            "trimmed_mean" | "median" => String::new(),
            _ => {
                let spec: Spec = rule.parse().unwrap();
                format!("resam: warning: nothing to diagnose: {} orders no columns of the workers' values\n", spec.rule().spec())
            }
        };
        let says = says.replace("arc+fltrust ", "arc+fltrust:row=4 ");
        folder.succeeds_and_says(&run, &says);
        folder.succeeds(&format!("aggregate in.npy --rule {rule} -f {F} {more} --device reference -o reference.npy"));
        for (a, b) in folder.values("cpu.npy").iter().zip(folder.values("reference.npy")) {
            assert!((a - b).abs() <= 1e-4 * (1.0 + b.abs()), "{rule}: {a} {b}");
        }
        let report: Value = serde_json::from_slice(&fs::read(folder.path("report.json")).unwrap()).unwrap();
        assert_eq!(report["outside"].is_array(), !report["weights"].is_array(), "{rule}: {report:#}");
    }
    let fails =
        |arguments: &str, part: &str| folder.fails(&format!("aggregate in.npy -f {F} --device cpu -o out.npy {arguments}"), part);
    fails("--rule krum --weights counts.npy", "krum does not take weights");
    fails("--rule nnm+average --weights counts.npy", "does not take weights");
    fails("--rule trimmed_mean --weights short.npy", "number of weights");
    fails("--rule trimmed_mean --weights start.npy", "positive");
    fails("--rule centered_clipping --previous counts.npy", "length of the previous aggregate");
    fails("--rule fltrust", "row = none");
    fails("--rule fltrust --trusted 11", "below n = 11");
    fails("--rule nnm+signguard", "never formed");
    fails("--rule nnm+geometric_median:method=direct", "never formed");
}

#[test]
fn certify_compares_a_search_with_the_bounds() {
    let folder = Folder::new();
    let out = folder.succeeds("certify --rule trimmed_mean --n 5 --f 1 --d 1 --steps 600");
    assert!(out.contains("lambda") && out.contains("kappa") && out.contains('%'), "{out}");
    let json: Value = serde_json::from_str(&folder.succeeds("certify --rule nnm+krum --n 7 --f 2 --steps 200 --json")).unwrap();
    let (worst, bound) = (json["kappa"]["worst"].as_f64().unwrap(), json["kappa"]["bound"].as_f64().unwrap());
    assert!(worst > 0.0 && worst <= bound, "{json:#}");
    assert_eq!(json["kappa"]["input"].as_array().unwrap().len(), 14);
    folder.fails("certify --rule krum --n 5 --f 1 --steps 0", "not a whole number of at least 1");
    folder.fails("certify --rule krum --n 40", "n = 40");
    folder.fails("certify --rule krum --n 6 --f 3", "f = 3");
    assert!(folder.succeeds("rules --n 25 --f 5 --rule nnm+krum --beta 0.9").contains("momentum 0.9"));
    folder.fails("rules --beta 1", "below 1");
}

/// An engine's name for the command: the adapter that `RESAM_TEST_DEVICE` names, else the GPU, else lavapipe.
fn gpu(folder: &Folder) -> String {
    let devices: Value = serde_json::from_str(&folder.succeeds("devices --json")).unwrap();
    let real = devices["adapters"].as_array().unwrap().iter().any(|a| a["real"] == true);
    std::env::var("RESAM_TEST_DEVICE").unwrap_or(if real { "gpu" } else { "lavapipe" }.into())
}

#[test]
fn bench_compares_with_plain_reads() {
    let folder = Folder::new();
    let gpu = gpu(&folder);
    for (device, size) in [("cpu", "-n 15 -d 9001"), (&gpu, "-n 6 -d 300")] {
        let out = folder.succeeds(&format!("bench --quick -q {size} --repetitions 2 --device {device} --json --figure out.svg"));
        let json: Value = serde_json::from_str(&out).unwrap();
        let measured = json["measurements"].as_array().unwrap();
        let svg = fs::read_to_string(folder.path("out.svg")).unwrap();
        assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
        assert_eq!(svg.matches("<text").count(), svg.matches("</text>").count());
        for name in rules::names() {
            // Bulyan needs more workers than 6, and says so.
            let refused = json["not_measured"].as_array().unwrap().iter().any(|m| m["what"] == name);
            let what = |m: &&Value| m["section"] == "rules" && m["what"].as_str().unwrap().split(':').next() == Some(name);
            assert_eq!(measured.iter().filter(what).count(), usize::from(!refused), "{name} on {device}");
            assert_eq!(refused, device != "cpu" && name == "bulyan", "{name} on {device}");
            assert!(refused || svg.contains(name), "{name}");
        }
        for m in measured {
            let number = |value: &Value| value.as_f64().unwrap();
            let all = [&m["fraction"], &m["seconds"]["median"], &m["bytes_per_second"], &m["limit_seconds"]].map(number);
            assert!(all.iter().all(|v| v.is_finite() && *v > 0.0), "{m:#}");
            assert!(m["device_fraction"].as_f64().is_none_or(|v| v.is_finite() && v > 0.0), "{m:#}");
            assert_eq!(m["repetitions"], 2);
        }
        assert!(measured.iter().any(|m| m["what"] == "gram") && measured.iter().any(|m| m["what"] == "nnm+krum"));
    }
    let streamed = folder.succeeds(&format!("bench -q --what streaming --device {gpu} -n 3 -d 99000 -r median --repetitions 1"));
    assert!(streamed.contains("streamed median") && streamed.contains("upload"), "{streamed}");
    let bare = folder.succeeds(&format!("bench -q --what device --device {gpu} -n 5 -d 999 --dtype bf16 --repetitions 1 --json"));
    let bare: Value = serde_json::from_str(&bare).unwrap();
    let measured = |what: &str, reads: usize, copies: usize| {
        let found = bare["measurements"].as_array().unwrap().iter().find(|m| m["what"] == what).unwrap();
        assert_eq!(found["limit"], json!({ "reads": reads, "copies": copies, "uploads": 0 }), "{what}");
    };
    measured("trimmed_mean to a buffer", 1, 0);
    measured("nnm+trimmed_mean in an encoder", 2, 0);
    measured("momentum, trimmed_mean to a buffer", 2, 1);
    measured("momentum, geometric_median to a buffer", 3, 1);
}

#[test]
fn bench_measures_a_file_and_prints_tables() {
    let folder = Folder::new().with("in.npy", &matrix(&momentums(), N));
    let json =
        folder.succeeds("bench --what rules --input in.npy --rule krum --rule median:f=4 -f 2 --repetitions 1 --device cpu --json");
    let json: Value = serde_json::from_str(&json).unwrap();
    let measured = json["measurements"].as_array().unwrap();
    let sizes: Vec<_> = measured.iter().map(|m| [&m["n"], &m["d"], &m["f"]].map(|v| v.as_u64().unwrap() as usize)).collect();
    assert_eq!(sizes, [[N, D, 2], [N, D, 4]]);
    let calls = folder.succeeds("bench --what calls -n 5 -d 100 --rule mda --repetitions 1 --device cpu --markdown");
    assert!(calls.contains("| calls/s |") && calls.contains("| mda | 5 | 1 | 100 |"), "{calls}");
    let scaling = "bench --what scaling -n 5,7 -d 100,1000,10000 --rule median --repetitions 1 --device cpu -o scaling";
    assert!(folder.succeeds(scaling).lines().filter(|line| line.starts_with("median")).count() == 6);
    assert!(fs::read_to_string(folder.path("scaling.svg")).unwrap().contains("median, n = 7"));
    let help = folder.succeeds("bench --help");
    assert!(help.contains("Examples:") && help.contains("resam bench --quick"));
    for (arguments, part) in [
        ("--rule krumm", "krumm"),
        ("--what everything", "everything"),
        ("--repetitions 0", "repetitions"),
        ("-n 5,7,9 -f 1,2", "-f has 2 numbers, but -n has 3"),
        ("-n 0", "-n is 0"),
        ("-d 0", "-d is 0"),
        ("-n 5 -f 3 -d 10 --rule krum --what rules", "f = 3"),
        ("--device nothing-like-it", "no device matches"),
        ("--device reference -d 10 --what rules", "reference"),
        ("--device cpu --what streaming", "GPU"),
        ("--device cpu --what device", "GPU"),
        ("--input in.npy -n 5", "cannot be used with"),
        ("--input nowhere.npy", "nowhere.npy"),
        ("--json --markdown", "cannot be used with"),
        ("--figure nowhere/out.svg", "nowhere/out.svg"),
        ("--figure out.jpg", "NAME.png"),
        ("-n 1000000000 -d 18446744073709551615 --device cpu", "matrix"),
    ] {
        folder.fails(&format!("bench {arguments}"), part);
    }
}

/// Devices get lost: hours of measurements are not, and the failure is told all the same.
#[test]
fn bench_prints_what_it_measured_before_a_failure() {
    let folder = Folder::new();
    let output = folder.run("bench --what rules,streaming --device cpu -n 5 -d 10 --rule median --repetitions 1 --json -o out.svg");
    let err = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{err}");
    assert!(err.starts_with("resam: streaming is measured on GPUs") && err.lines().count() == 1, "{err}");
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&json["measurements"][0]["what"], json["measurements"].as_array().unwrap().len()), (&json!("median"), 1));
    assert!(!folder.path("out.svg").exists());
}

#[test]
fn a_closed_pipe_is_no_failure() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = command().arg("rules").stdout(Stdio::from(writer)).stderr(Stdio::piped()).output().unwrap();
    assert_eq!((output.status.code(), output.stderr), (Some(0), vec![]));
    if Path::new("/dev/full").exists() {
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = command().arg("rules").stdout(full).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        assert!(output.stderr.starts_with(b"resam: standard output:"));
    } else {
        println!("skipped: /dev/full is not there");
    }
}
