//! `resam bench`: how near rules and kernels come to plain reads of the same bytes.

use crate::failure::Failure;
use crate::input::Data;
use crate::output::publish;
use crate::picture::Figure;
use crate::progress::Progress;
use crate::{aggregate, print};
use clap::ValueEnum;
use resam::bench::{self, Bench, Limit, Measurement, Work};
use resam::{Dtype, Engine, Error, Rows, Rule, Spec, bf16, f16};
use serde_json::{Value, json};
use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

/// Measure rules and kernels beside plain reads, copies and uploads of the same bytes on the same device.
///
/// A rule that reads the data twice is held against two plain reads. Plain work and rule are measured in turn, so that whatever
/// slows the machine down for a while slows both; what counts is the fraction of that limit which is reached. Before anything is
/// timed its result for a small matrix is compared with the literal definition in f64.
#[derive(Debug, clap::Args)]
#[command(after_help = after_help())]
pub(crate) struct BenchArgs {
    /// What to measure [default: kernels,rules; with --rule rules]
    #[arg(long, value_delimiter = ',')]
    what: Vec<Section>,
    /// Rule, perhaps with pre-aggregations, as in `resam aggregate`; may be given several times. Without it every rule and some chains,
    /// in scaling and streaming a few
    #[arg(short, long, value_name = "SPEC")]
    rule: Vec<Spec>,
    /// Workers: one number or several, e.g. 15,25,51 [default: 15,25; with --quick and for calls 15]
    #[arg(short, long, value_delimiter = ',', value_name = "N")]
    n: Vec<usize>,
    /// Byzantine workers: one number for each N, or one for all [default: n/5]
    #[arg(short, long, value_delimiter = ',', value_name = "F")]
    f: Vec<usize>,
    /// Coordinates: one number or several [default: 1000000; with --quick 100000; for calls 10000; for scaling 100000 to 10000000]
    #[arg(short, long, value_delimiter = ',', value_name = "D")]
    d: Vec<usize>,
    /// Type of the values: f32, f16 or bf16
    #[arg(long, value_name = "DTYPE", default_value_t)]
    dtype: Dtype,
    /// Measure on this matrix instead of a random one: a .npy or .safetensors file as in `resam aggregate`
    #[arg(long, value_name = "FILE", conflicts_with_all = ["n", "d", "dtype", "quick"])]
    input: Option<PathBuf>,
    /// Device, as in `resam aggregate`; may be given several times
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: Vec<String>,
    /// Most memory to take on a GPU for data in host memory [default: 2GiB; for streaming a quarter of the matrix]
    #[arg(long, value_name = "BYTES", value_parser = aggregate::bytes)]
    memory_budget: Option<u64>,
    /// Repetitions of each measurement [default: 15; with --quick 5]; fewer where one takes long
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    repetitions: Option<u32>,
    /// Seed of the random matrices
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Small sizes and few repetitions: less than a minute on two cores
    #[arg(long)]
    quick: bool,
    /// Print Markdown
    #[arg(long)]
    markdown: bool,
    /// Print JSON
    #[arg(long, conflicts_with = "markdown")]
    json: bool,
    /// Show no progress
    #[arg(short, long)]
    quiet: bool,
    /// Draw a figure, NAME.svg or NAME.png, or NAME for both: the fraction of the limit; of scaling, if nothing else is measured, time
    /// against d
    #[arg(short = 'o', long, value_name = "NAME", alias = "svg")]
    figure: Option<PathBuf>,
}

/// A part of the measurements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Section {
    /// Each kernel by itself, and a step of momentum
    Kernels,
    /// Whole aggregates of a matrix on the device
    Rules,
    /// Whole aggregates for growing d
    Scaling,
    /// Whole aggregates of data in host memory that does not fit the memory budget, beside a plain upload; for GPUs
    Streaming,
    /// Whole aggregates from a buffer on the device into another there, as `Engine::aggregate_to`, in an encoder, and with a step of momentum;
    /// for GPUs
    Device,
    /// Whole aggregates of small matrices, one by one and many in a call, by aggregates a second
    Calls,
}

impl Section {
    fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().into())
    }

    fn rules(self) -> Vec<Arc<dyn Rule>> {
        let few: &[&str] = match self {
            Section::Scaling => &["trimmed_mean", "krum", "geometric_median", "nnm+trimmed_mean"],
            Section::Streaming => &["average", "trimmed_mean", "krum", "geometric_median"],
            Section::Device => &["average", "trimmed_mean", "krum", "geometric_median", "nnm+trimmed_mean"],
            _ => &["nnm+trimmed_mean", "nnm+krum", "nnm+geometric_median", "bucketing:s=2+median", "arc+meamed"],
        };
        let few = few.iter().map(|spec| spec.parse::<Spec>().expect("a specification of ours").into_rule());
        match self {
            Section::Scaling | Section::Streaming | Section::Device => few.collect(),
            _ => bench::rules().into_iter().chain(few).collect(),
        }
    }
}

fn after_help() -> String {
    format!(
        "\
'of limit' is the median over the repetitions of (time of the plain work) / (time): 100 % is as fast as the device can read. GPUs that \
can tell also report the time that kernels took by their own clock, without transfers and waiting.

Examples:
  resam bench --quick
  resam bench --rule krum --rule nnm+trimmed_mean -n 25 -f 5 -d 1000000
  resam bench --what kernels -n 15,25,51 --device cpu --device auto --figure kernels.svg
  resam bench --what scaling -n 25 -d 100000,1000000,10000000 --figure scaling.svg --markdown
  resam bench --what device --device gpu -n 25 -d 10000000
  resam bench --what streaming --device gpu -d 20000000 --memory-budget 256MiB
  resam bench --input momentums.npy --rule krum -f 3 --json

{}",
        crate::EXIT_CODES
    )
}

/// A matrix to measure on.
#[derive(Clone, Copy)]
struct Size {
    n: usize,
    f: usize,
    d: usize,
}

/// What was found.
struct Found {
    measured: Vec<(Section, Measurement)>,
    /// What could not be measured, and why.
    missing: Vec<(Section, String, Size, String)>,
    progress: Progress,
}

pub(crate) fn run(mut args: BenchArgs) -> Result<(), Failure> {
    if args.what.is_empty() {
        args.what = if args.rule.is_empty() { vec![Section::Kernels, Section::Rules] } else { vec![Section::Rules] };
    }
    let figure = args.figure.as_deref().map(|path| Figure::new(path, args.input.as_deref())).transpose()?;
    let file = args.input.as_deref().map(Data::open).transpose()?;
    let mut sizes = Vec::new();
    for &section in &args.what {
        sizes.extend(args.sizes(section, file.as_ref())?.into_iter().map(|size| (section, size)));
    }
    let works: usize = sizes.iter().map(|(section, _)| args.works(*section).len()).sum();
    let progress = Progress::new(args.quiet, args.device.len() * works, "works");
    let mut found = Found { measured: Vec::new(), missing: Vec::new(), progress };
    let mut devices = Vec::new();
    let ended = found.all(&args, &sizes, file.as_ref(), &mut devices);
    found.progress.end();
    if found.measured.is_empty() {
        ended?;
        let reason = found.missing.first().map_or("no size and no rule", |(.., reason)| reason);
        return Err(Failure::new(format_args!("nothing could be measured: {reason}")));
    }
    // What was measured before a failure is not lost.
    found.print(&args, &devices)?;
    ended?;
    figure.map_or(Ok(()), |figure| publish(figure.stage(&found.figure(&devices)?)?))
}

impl BenchArgs {
    fn repetitions(&self) -> usize {
        self.repetitions.map_or(if self.quick { 5 } else { 15 }, |count| count as usize)
    }

    /// The rules of a section with the f that they name.
    fn rules(&self, section: Section) -> Vec<(Arc<dyn Rule>, Option<usize>)> {
        match self.rule[..] {
            [] => section.rules().into_iter().map(|rule| (rule, None)).collect(),
            _ => self.rule.iter().map(|spec| (spec.clone().into_rule(), spec.f())).collect(),
        }
    }

    fn sizes(&self, section: Section, file: Option<&Data>) -> Result<Vec<Size>, Failure> {
        let given = |list: &[usize], default: &[usize]| if list.is_empty() { default.to_vec() } else { list.to_vec() };
        let (ns, ds) = match file {
            Some(data) => {
                let rows = data.rows()?;
                (vec![rows.n()], vec![rows.d()])
            }
            None => (
                given(&self.n, if self.quick || section == Section::Calls { &[15] } else { &[15, 25] }),
                given(
                    &self.d,
                    match section {
                        Section::Calls => &[10_000],
                        Section::Scaling if self.quick => &[30_000, 100_000, 300_000],
                        Section::Scaling => &[100_000, 300_000, 1_000_000, 3_000_000, 10_000_000],
                        _ if self.quick => &[100_000],
                        _ => &[1_000_000],
                    },
                ),
            ),
        };
        if self.f.len() > 1 && self.f.len() != ns.len() {
            return Err(Failure::new(format_args!("-f has {} numbers, but -n has {}", self.f.len(), ns.len())));
        }
        if let Some(zero) = [("n", &ns), ("d", &ds)].into_iter().find(|(_, list)| list.contains(&0)) {
            return Err(Failure::new(format_args!("-{} is 0, but it must be at least 1", zero.0)));
        }
        let f = |at: usize, n: usize| self.f.get(at).or(self.f.first()).copied().unwrap_or(n / 5);
        Ok(ns.iter().enumerate().flat_map(|(at, &n)| ds.iter().map(move |&d| Size { n, f: f(at, n), d })).collect())
    }

    /// What a section measures.
    fn works(&self, section: Section) -> Vec<(Work, Option<usize>)> {
        let rules = |work: fn(Arc<dyn Rule>) -> Work| self.rules(section).into_iter().map(move |(rule, f)| (work(rule), f));
        match section {
            Section::Kernels => [Work::Read, Work::Copy].into_iter().chain(Work::kernels()).map(|work| (work, None)).collect(),
            Section::Streaming => rules(Work::Streamed).collect(),
            Section::Device => rules(Work::OnDevice).chain(rules(Work::Encoded)).chain(rules(Work::StepOnDevice)).collect(),
            Section::Calls => rules(Work::Rule).chain(rules(Work::Batch)).collect(),
            Section::Rules | Section::Scaling => rules(Work::Rule).collect(),
        }
    }
}

impl Found {
    /// Measures everything on every device.
    fn all(
        &mut self,
        args: &BenchArgs,
        sizes: &[(Section, Size)],
        file: Option<&Data>,
        devices: &mut Vec<String>,
    ) -> Result<(), Failure> {
        for name in &args.device {
            let engine = pollster::block_on(Engine::open_with(name, args.memory_budget))?;
            devices.push(engine.name());
            let mut checked = HashSet::new();
            for &(section, size) in sizes {
                self.section(args, (name, &engine), section, size, file, &mut checked)?;
            }
        }
        Ok(())
    }

    /// Measures one section on one matrix.
    fn section(
        &mut self,
        args: &BenchArgs,
        (name, engine): (&str, &Engine),
        section: Section,
        size: Size,
        file: Option<&Data>,
        checked: &mut HashSet<(String, usize, usize)>,
    ) -> Result<(), Failure> {
        let Size { n, f, d } = size;
        let (singles, halves, brains): (Vec<f32>, Vec<f16>, Vec<bf16>);
        let rows = match (file, args.dtype) {
            (Some(data), _) => data.rows()?,
            (None, Dtype::F32) => {
                singles = bench::data(n, d, args.seed)?;
                Rows::from_slice(&singles, n, d)?
            }
            (None, Dtype::F16) => {
                halves = bench::data(n, d, args.seed)?;
                Rows::from_slice(&halves, n, d)?
            }
            (None, Dtype::Bf16) => {
                brains = bench::data(n, d, args.seed)?;
                Rows::from_slice(&brains, n, d)?
            }
        };
        let engine = match section {
            Section::Streaming | Section::Device if engine.name().starts_with("cpu") => {
                return Err(Failure::new(format_args!(
                    "{} is measured on GPUs; a CPU reads and writes host memory as it is",
                    section.name()
                )));
            }
            Section::Streaming if args.memory_budget.is_none() => {
                &pollster::block_on(Engine::open_with(name, Some((n * d * rows.dtype().size() / 4) as u64)))?
            }
            _ => engine,
        };
        let works = args.works(section);
        let mut bench = Bench::new(engine, &rows, f)?;
        for (work, own) in works {
            self.progress.say(format!("{} {}, n = {n}, d = {d}, {}", section.name(), work.name(), engine.name()));
            let f = own.unwrap_or(f);
            let mut measure = || -> resam::Result<Measurement> {
                for witness in work.witnesses() {
                    if checked.insert((witness.spec(), n, f)) {
                        bench::check(engine, &*witness, (n, f), rows.dtype(), args.seed)?;
                    }
                }
                bench.set_f(f);
                bench.measure(&work, args.repetitions())
            };
            match measure() {
                Ok(measured) => self.measured.push((section, measured)),
                Err(e @ (Error::Disagrees { .. } | Error::Device { .. })) => return Err(e.into()),
                Err(e) => self.missing.push((section, work.name(), Size { n, f, d }, e.to_string())),
            }
            self.progress.add(1);
        }
        Ok(())
    }

    fn figure(&self, devices: &[String]) -> Result<String, Failure> {
        let of = |wanted: fn(&Section) -> bool| -> Vec<&Measurement> {
            self.measured.iter().filter(|(section, _)| wanted(section)).map(|(_, m)| m).collect()
        };
        let title = format!("resam on {}, {}", devices.join(" and "), today());
        let near = of(|section| *section != Section::Scaling);
        let drawn = match near[..] {
            [] => bench::figure::times(&title, &of(|_| true)),
            _ => bench::figure::fractions(&title, &near),
        };
        drawn.map_err(|reason| Failure::new(format_args!("the figure: {reason}")))
    }

    fn print(&self, args: &BenchArgs, devices: &[String]) -> Result<(), Failure> {
        let drivers = pollster::block_on(resam::adapters());
        let driver =
            |name: &String| drivers.iter().find(|a| name.starts_with(&a.name)).map(|a| a.driver.clone()).or_else(processor);
        if args.json {
            let measured = self.measured.iter().map(|(section, m)| {
                let mut entry = json!(m);
                entry["section"] = section.name().into();
                entry
            });
            let missing = self.missing.iter().map(|(section, what, size, reason)| {
                json!({ "section": section.name(), "what": what, "n": size.n, "f": size.f, "d": size.d, "reason": reason })
            });
            return print::json(&json!({
                "resam": env!("CARGO_PKG_VERSION"),
                "date": today(),
                "devices": devices.iter().map(|name| json!({ "name": name, "driver": driver(name) })).collect::<Vec<Value>>(),
                "seed": args.seed,
                "measurements": measured.collect::<Vec<Value>>(),
                "not_measured": missing.collect::<Vec<Value>>(),
            }));
        }
        let named = |name: &String| driver(name).map_or(name.clone(), |driver| format!("{name}, {driver}"));
        let devices: Vec<String> = devices.iter().map(named).collect();
        let dtype = self.measured.first().map_or(args.dtype, |(_, m)| m.dtype);
        let mut text = format!("resam {}, {}, rows of {dtype}, on {}\n", env!("CARGO_PKG_VERSION"), today(), devices.join(" and "));
        for &section in &args.what {
            let of: Vec<&Measurement> = self.measured.iter().filter(|(s, _)| *s == section).map(|(_, m)| m).collect();
            if of.is_empty() {
                continue;
            }
            let rate = if section == Section::Calls { "calls/s" } else { "GB/s" };
            let header =
                ["", "n", "f", "d", "ms", "min .. max", "GPU ms", rate, "moves", "of limit", "by GPU clock"].map(String::from);
            let table: Vec<_> = [header].into_iter().chain(of.into_iter().map(|m| cells(section, m))).collect();
            let (title, table) = match args.markdown {
                true => (format!("### {}\n\n", section.name()), print::markdown(&table)),
                false => (format!("{}\n", section.name()), print::table(&table)),
            };
            text += &format!("\n{title}{table}");
        }
        for (section, what, size, reason) in &self.missing {
            text +=
                &format!("\nnot measured: {} {what}, n = {}, f = {}, d = {}: {reason}\n", section.name(), size.n, size.f, size.d);
        }
        print::out(&text)
    }
}

/// A line of the table.
fn cells(section: Section, m: &Measurement) -> [String; 11] {
    let ms = |seconds: f64| format!("{:.3}", 1e3 * seconds);
    let share = |fraction: f64| format!("{:.1} %", 100.0 * fraction);
    let none = || "-".to_string();
    let rate = if section == Section::Calls { m.calls as f64 / m.seconds.median } else { 1e-9 * m.bytes_per_second };
    [
        m.what.clone(),
        m.n.to_string(),
        m.f.to_string(),
        m.d.to_string(),
        ms(m.seconds.median),
        format!("{} .. {}", ms(m.seconds.min), ms(m.seconds.max)),
        m.device_seconds.map_or_else(none, |times| ms(times.median)),
        format!("{rate:.1}"),
        moves(m.limit),
        share(m.fraction),
        m.device_fraction.map_or_else(none, share),
    ]
}

/// The limit in words.
fn moves(limit: Limit) -> String {
    let some = |count: usize, one: &str, many: &str| match count {
        0 => None,
        1 => Some(format!("1 {one}")),
        _ => Some(format!("{count} {many}")),
    };
    let parts =
        [some(limit.reads, "read", "reads"), some(limit.copies, "copy", "copies"), some(limit.uploads, "upload", "uploads")];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// The date, UTC.
fn today() -> String {
    humantime::format_rfc3339_seconds(SystemTime::now()).to_string().chars().take(10).collect()
}

/// The processor's name, where the system tells.
fn processor() -> Option<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    line.split_once(':').map(|(_, name)| name.trim().into())
}
