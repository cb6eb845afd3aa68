//! `resam aggregate`: one matrix in, one row out.

use crate::failure::Failure;
use crate::input::{self, Data};
use crate::output::{Target, publish};
use crate::{npy, print, rules};
use indicatif::{BinaryBytes, ProgressBar, ProgressFinish, ProgressStyle};
use resam::rules::{Given, NonFinite};
use resam::{Aggregate, Engine, Options, Rows, Rule, Spec};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Combine the n rows of a matrix into one, at most F of them Byzantine.
///
/// The matrix is an [n, d] array of f32, f16, bf16 or f64. Files of all but f64 are mapped, not read into memory, and may be larger than it;
/// nothing may write to the file meanwhile. f64 is converted once to the nearest f32, for every device; a value beyond its
/// range counts as infinite.
#[derive(Debug, clap::Args)]
#[command(after_help = after_help())]
pub(crate) struct AggregateArgs {
    /// Matrix of n rows (workers) and d columns: a .npy file, or a .safetensors file with one tensor
    #[arg(value_name = "IN")]
    input: PathBuf,
    /// Pre-aggregations and a rule, joined by +, each name or name:key=value,key=value (see below); all take f=F
    #[arg(short, long, value_name = "SPEC")]
    rule: String,
    /// Most rows that may be Byzantine: wrong, hostile, NaN or infinite. Needed unless every stage has f=, or the rule is average
    #[arg(short, long, value_name = "F")]
    f: Option<usize>,
    /// auto (the best real GPU, else the CPU), gpu, gpus (all real GPUs as one), cpu, reference (slow, literal definitions in f64), or a
    /// part of an adapter's name or driver, NAME#1 for the second of that name; see `resam devices`
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: String,
    /// Where the result goes: [d] f32 .npy
    #[arg(short, long, value_name = "OUT.npy")]
    output: Option<PathBuf>,
    /// Where the report goes: JSON, `-` for standard output (docs/report.md says what its fields mean). Without -o and --report a
    /// summary is printed
    #[arg(long, value_name = "OUT.json")]
    report: Option<PathBuf>,
    /// Seed of the column sample that picks the pivot of distances; a secret one keeps rows from hiding from it
    #[arg(long)]
    seed: Option<u64>,
    /// Most memory to take on a GPU, e.g. 512MiB; other devices ignore it
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    memory_budget: Option<u64>,
    /// Previous aggregate, [d], where centered_clipping starts
    #[arg(long, value_name = "FILE")]
    previous: Option<PathBuf>,
    /// Weights of the workers, [n], e.g. their numbers of samples: for average, median, trimmed_mean, geometric_median,
    /// centered_clipping
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,
    /// Index of the row that fltrust trusts, from 0; behind bucketing, of the bucket
    #[arg(long, value_name = "ROW")]
    trusted: Option<usize>,
    /// Count in the report how often each worker was outside of the values that a coordinate-wise rule kept
    #[arg(long)]
    diagnose: bool,
}

fn after_help() -> String {
    format!(
        "\
Rules, and the parameters that they take:
{}
Pre-aggregations:
{}
Examples:
  resam aggregate momentums.npy --rule trimmed_mean -f 3 -o mean.npy
  resam aggregate momentums.npy --rule nnm+bucketing:s=2,seed=7+krum -f 3 -o mean.npy
  resam aggregate updates.npy --rule centered_clipping:tau=2,iterations=3 -f 3 --previous last.npy -o next.npy
  resam aggregate momentums.npy --rule krum:neighbors=classic -f 3 --report krum.json
  resam aggregate gradients.safetensors --rule multi_krum:m=4,f=2 --device cpu
  resam aggregate momentums.npy --rule geometric_median -f 3 --report - | jq .margin

{}",
        rules::help(),
        rules::stages_help(),
        crate::EXIT_CODES
    )
}

pub(crate) fn run(args: AggregateArgs) -> Result<(), Failure> {
    let spec: Spec = args.rule.parse()?;
    let f = args.f(&spec)?;
    let rule = args.rule(&spec)?;
    let to_stdout = args.report.as_deref() == Some(Path::new("-"));
    let output = args
        .output
        .as_deref()
        .map(|path| Target::new(path, &[&[&*args.input], args.weights.as_deref().as_slice()].concat()))
        .transpose()?;
    // A result may stand where the previous aggregate stood; nothing else may replace what is read.
    let taken = [Some(&args.input), args.output.as_ref(), args.weights.as_ref(), args.previous.as_ref()];
    let taken: Vec<&Path> = taken.into_iter().flatten().map(PathBuf::as_path).collect();
    let report = args.report.as_deref().filter(|_| !to_stdout).map(|path| Target::new(path, &taken)).transpose()?;

    let data = Data::open(&args.input)?;
    let rows = data.rows()?;
    rule.check(rows.n(), f)?;
    let engine = args.engine()?;
    let spinner = spinner(&*rule, &engine, &rows);
    let result = engine.aggregate_blocking(&*rule, &rows, f)?;
    drop(spinner);

    let mut json = serde_json::to_value(&result.report).map_err(Failure::new)?;
    json["close_call"] = result.report.close_call().into();
    let json = format!("{json:#}\n");
    let mut files = Vec::new();
    if let Some(target) = output {
        let values: Vec<u8>;
        let bytes = if cfg!(target_endian = "little") {
            bytemuck::cast_slice(&result.values)
        } else {
            values = result.values.iter().flat_map(|v| v.to_le_bytes()).collect();
            &values
        };
        files.push(target.stage([&npy::preamble(result.values.len()), bytes])?);
    }
    if let Some(target) = report {
        files.push(target.stage([json.as_bytes()])?);
    }
    publish(files)?;
    if !result.report.converged {
        print::note(format_args!("warning: {} stopped before it converged", result.report.rule));
    }
    if args.diagnose && result.report.outside.is_none() && rows.d() > 0 {
        let reason = match &*result.report.device {
            "reference" => "the reference counts nothing".into(),
            _ => format!("{} orders no columns of the workers' values", result.report.rule),
        };
        print::note(format_args!("warning: nothing to diagnose: {reason}"));
    }
    if args.output.is_some() && args.report.is_none() && !result.report.non_finite.is_empty() {
        let rows = print::some(result.report.non_finite.iter());
        print::note(format_args!("warning: rows with NaN or infinite values: {rows}"));
    }
    match (to_stdout, args.output.is_some() || args.report.is_some()) {
        (true, _) => print::out(&json),
        (false, false) => print::out(&summary(&result)),
        (false, true) => Ok(()),
    }
}

impl AggregateArgs {
    /// The rule with what is given beside the matrix.
    fn rule(&self, spec: &Spec) -> Result<Arc<dyn Rule>, Failure> {
        let mut rule = spec.clone().into_rule();
        if let Some(path) = &self.previous {
            let previous: Vec<f32> = input::vector(path)?.into_iter().map(|v| v as f32).collect();
            rule = rule.given(Given::Previous(previous.into()))?;
        }
        if let Some(path) = &self.weights {
            rule = rule.given(Given::Weights(input::vector(path)?.into()))?;
        }
        if let Some(row) = self.trusted {
            rule = rule.given(Given::Trusted(row))?;
        }
        Ok(rule)
    }

    /// The most rows that may be Byzantine: by each stage's own f, or that of `-f`.
    fn f(&self, spec: &Spec) -> Result<usize, Failure> {
        // An average is the same for every f.
        let any = (spec.rule().non_finite() == NonFinite::Propagate).then_some(0);
        let f = self.f.map(|f| spec.f_or(f)).or(spec.f()).or(any);
        f.ok_or_else(|| Failure::new("how many rows may be Byzantine? Give -f F, or f=F in the rule"))
    }

    fn engine(&self) -> Result<Engine, Failure> {
        let engine = pollster::block_on(Engine::open_with(&self.device, self.memory_budget))?;
        let options = Options::default();
        Ok(engine.with_options(Options { seed: self.seed.unwrap_or(options.seed), diagnose: self.diagnose, ..options }))
    }
}

/// A sign of life on a terminal when the work will take a while.
fn spinner(rule: &dyn Rule, engine: &Engine, rows: &Rows<'_>) -> Option<ProgressBar> {
    let (n, d) = (rows.n(), rows.d());
    let bytes = (n * d * rows.dtype().size()) as u64;
    (bytes > 64 << 20).then(|| {
        let style = ProgressStyle::with_template("{spinner} {msg} {elapsed}").expect("a fixed template");
        let message = format!("{} of {n} x {d} values ({}) on {}", rule.spec(), BinaryBytes(bytes), engine.name());
        let spinner = ProgressBar::new_spinner().with_style(style).with_message(message).with_finish(ProgressFinish::AndClear);
        spinner.enable_steady_tick(Duration::from_millis(100));
        spinner
    })
}

/// The report for people.
fn summary(Aggregate { values, report }: &Aggregate) -> String {
    let norm = values.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().abs().sqrt();
    let mut lines = vec![
        ("rule", report.rule.clone()),
        ("device", report.device.clone()),
        ("matrix", format!("n = {} workers, d = {} coordinates, f = {}", report.n, report.d, report.f)),
        ("result", print::some(values.iter())),
        ("norm", print::number(norm)),
    ];
    if let Some(kept) = &report.kept {
        lines.push(("weighted rows", print::some(kept.iter())));
    }
    if !report.non_finite.is_empty() {
        lines.push(("not finite", format!("rows {}", print::some(report.non_finite.iter()))));
    }
    if let Some(outside) = &report.outside {
        let share = |count: u64| 100.0 * count as f64 / report.d.max(1) as f64;
        let mut rows: Vec<(usize, u64)> = outside.iter().enumerate().filter_map(|(i, count)| Some((i, (*count)?))).collect();
        rows.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let often = print::some(rows.iter().map(|(i, count)| format!("row {i} {:.1}%,", share(*count))));
        lines.push(("outside", format!("of the kept values: {}", often.trim_end_matches(','))));
    }
    if let Some(objective) = report.objective {
        lines.push(("objective", print::number(objective)));
    }
    if let Some(rounds) = report.iterations {
        lines.push(("rounds", rounds.to_string()));
    }
    if let Some(margin) = report.margin {
        let close = if report.close_call() {
            ", a close call: what ties here, or nearly, may be selected otherwise on another device"
        } else {
            ""
        };
        lines.push(("margin", print::number(margin) + close));
    }
    if report.passes > 0 {
        let times = if report.passes == 1 { "time" } else { "times" };
        lines.push(("read", format!("{} {times}, {}", report.passes, BinaryBytes(report.bytes_read))));
    }
    print::table(&lines.into_iter().map(|(name, value)| [name.to_string(), value]).collect::<Vec<_>>())
}

/// A number of bytes with an optional unit: 1048576, 1MiB, 2GB.
pub(crate) fn bytes(text: &str) -> Result<u64, String> {
    let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let unit = unit.trim().to_lowercase();
    let (prefix, base) = match unit.strip_suffix("ib") {
        Some(prefix) => (prefix, 1024u64),
        None => (unit.strip_suffix('b').unwrap_or(&unit), 1000),
    };
    let power =
        ["", "k", "m", "g", "t"].iter().position(|p| *p == prefix).ok_or("units are B, KiB, MiB, GiB, TiB, KB, MB, GB, TB")?;
    let count: u64 = digits.parse().map_err(|_| "not a number of bytes, such as 512MiB")?;
    count.checked_mul(base.pow(power as u32)).ok_or_else(|| "more bytes than there are".into())
}

#[cfg(test)]
mod tests {
    use super::bytes;

    #[test]
    fn bytes_take_units() {
        for (text, count) in [("0", 0), ("1048576", 1 << 20), ("64MiB", 64 << 20), ("2 gb", 2_000_000_000), ("7B", 7), ("1k", 1000)]
        {
            assert_eq!(bytes(text), Ok(count), "{text}");
        }
        for text in ["", "MiB", "-1", "1.5GiB", "1XB", "99999999999TiB", "ib"] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }
}
