//! `resam train`: does a rule keep a model learning while some workers attack?

use std::{
    io,
    io::{IsTerminal, Write},
    path::{Path, PathBuf},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Instant,
};

use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use rayon::ThreadPoolBuilder;
use resam::{
    Engine, Spec,
    attacks::{self, Attack},
    train::{
        BoxError, Config, Model, Partition, Point, Rate, RuleServer, Split, TrainError,
        datasets::{self, Source},
        figure::{Curve, Panel, svg},
        model, train_with,
    },
};

const BASELINE: &str = "average";
/// The attacks of a run that names none. The last one does not hide among the honest rows but shouts, and an average listens.
const ATTACKS: [&str; 6] = ["none", "alie", "foe", "sign_flip", "label_flip", "foe:nu=20"];

/// Train a small model with simulated workers, some of them hostile
///
/// n workers learn to tell images apart: hand-written digits (1797 of 8×8, built in), MNIST, Fashion-MNIST or CIFAR-10. Each
/// honest worker sends its momentum m = β·m + (1 − β)·gradient; the f Byzantine workers send an attack made from what the
/// honest ones send; the server combines the n rows with a rule and takes a step. The chosen rule runs beside the plain
/// average, with and without momentum. The command prints the test accuracy at the end and draws all curves.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct TrainArgs {
    /// Rule at the server, with its parameters
    #[arg(long, value_name = "SPEC", default_value = "trimmed_mean")]
    rule: String,

    /// Attack of the Byzantine workers, with its parameters (see below); repeat it for several
    /// [default: none, alie, foe, sign_flip, label_flip and foe:nu=20]
    #[arg(long, value_name = "SPEC")]
    attack: Vec<String>,

    /// Data set: digits, mnist, fashion_mnist or cifar10
    #[arg(long, value_name = "NAME", default_value = "digits")]
    dataset: String,

    /// Folder with the files of the data set; for fashion_mnist, without it, the folder of Debian's package
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,

    /// How the training data are split over the honest workers: iid, dirichlet:alpha=A (the smaller A, the fewer classes a
    /// worker sees) or extreme (sorted by class)
    #[arg(long, value_name = "SPEC", default_value_t = Partition::Iid)]
    split: Partition,

    /// Model: logistic, mlp[:hidden=100], cnn (28×28 images) or cifar_cnn (32×32 in colour)
    /// [default: by data set, see below]
    #[arg(long, value_name = "NAME")]
    model: Option<String>,

    /// n, the number of workers [default: by data set]
    #[arg(short = 'n', long)]
    workers: Option<usize>,

    /// f, the number of Byzantine workers among them [default: by data set]
    #[arg(short = 'f', long)]
    byzantine: Option<usize>,

    /// β, the momentum of the workers; runs without momentum are shown beside it
    #[arg(long, default_value_t = Config::default().beta)]
    beta: f32,

    /// Number of steps [default: by data set]
    #[arg(long)]
    steps: Option<usize>,

    /// Examples in each worker's mini-batch [default: by data set]
    #[arg(long)]
    batch: Option<usize>,

    /// Learning rate γ at the start [default: by data set]
    #[arg(long, value_name = "RATE")]
    lr: Option<f32>,

    /// Steps T between two drops of the learning rate γ/(1 + D·⌊step/T⌋); 0 keeps it constant [default: by data set]
    #[arg(long, value_name = "T")]
    hold: Option<usize>,

    /// What each drop of the learning rate adds to its divisor [default: by data set]
    #[arg(long, value_name = "D")]
    decay: Option<f32>,

    /// L2 penalty: the factor of ½‖θ‖² in the loss [default: by data set]
    #[arg(long, value_name = "FACTOR")]
    l2: Option<f32>,

    /// Clip gradients to this norm before they enter the momentum [default: by data set]
    #[arg(long, value_name = "NORM")]
    clip: Option<f32>,

    /// Steps between two measurements [default: by data set]
    #[arg(long, value_name = "STEPS")]
    measure: Option<usize>,

    /// Seed of the start, the mini-batches and everything else random
    #[arg(long, default_value_t = Config::default().seed)]
    seed: u64,

    /// Where the rule runs; the model always trains on the CPU
    #[arg(long, default_value = "auto")]
    device: String,

    /// File to draw the figure to, as SVG
    #[arg(short = 'o', long, value_name = "FILE.svg", default_value = "resam-train.svg")]
    figure: PathBuf,

    /// Print a second table: the largest ‖R − m̄‖ / max ‖mᵢ − mⱼ‖ that was measured, R the aggregate and m̄ the mean of the
    /// honest momentums mᵢ. A resilient rule keeps it below its λ
    #[arg(long, conflicts_with = "quiet")]
    diagnose: bool,

    /// Print nothing but errors
    #[arg(short, long)]
    quiet: bool,
}

const EXAMPLES: &str = "\
Attacks (m, s: mean and standard deviation of the honest rows; a search tries 16 factors a step for the one that harms most):
  none                                      all workers are honest
  alie[:z=1.5], alie:z=max, alie:z=search   m - z*s; max: the z of the original paper
  foe[:nu=1.1], foe:nu=search, ipm:tau=0.1  (1 - nu)*m = -tau*m
  sign_flip (sf)                            -m
  label_flip (lf)                           mean gradient on the labels (C - 1) - y
  mimic[:worker=I]                          the row of one honest worker
  gaussian[:sigma=200,seed=0]               noise
  nan, inf, zero, huge                      NaN, infinity, 0 or 3e38 everywhere
  silent                                    nothing is sent

By data set: model; n, f; batch, steps; learning rate; L2, clip; steps between measurements
  digits                mlp:hidden=32; 15, 5; 25, 600; 1; 1e-4, none; 10
  mnist, fashion_mnist  mlp; 15, 3; 25, 600; 0.75/(1 + floor(step/50)); 1e-4, none; 10
  cifar10               cifar_cnn; 25, 5; 50, 2000; 0.5, from step 1500 on 0.05; 1e-2, 5; 50

Examples:
  resam train                                      six attacks against the trimmed mean
  resam train --rule median --attack alie          one rule, one attack
  resam train --attack alie --attack foe:nu=20     attacks with their own strength
  resam train -n 25 -f 11 --beta 0.9 -o f11.svg    more workers, more of them hostile
  resam train --beta 0.9 --quiet -o beta-0.9.svg   only the figure
  resam train --dataset fashion_mnist --rule nnm+trimmed_mean
  resam train --dataset mnist --data ~/mnist --model cnn --measure 50
  resam train --dataset fashion_mnist --split dirichlet:alpha=0.5 --attack mimic

Same options, same seed: same numbers.";

/// One run: an attack, a rule, a momentum.
pub struct Job<'a> {
    pub attack: &'a str,
    pub rule: &'a str,
    pub beta: f32,
}

/// What all runs share.
pub struct Task<'a> {
    pub engine: Engine,
    pub model: &'a dyn Model,
    pub data: &'a Split,
    pub config: &'a Config,
}

/// What came of a job.
pub struct Run {
    pub points: Vec<Point>,
    /// Whether a value stopped being finite.
    pub diverged: bool,
}

/// Runs the command.
pub fn run(args: TrainArgs) -> Result<(), BoxError> {
    let start = Instant::now();
    let source = datasets::by_name(&args.dataset)?;
    let config = &args.config(source);
    config.check()?;
    let attacks = args.attacks();
    let titles = attacks.iter().map(|spec| Ok(title(&*attacks::by_name(spec)?))).collect::<Result<Vec<_>, BoxError>>()?;
    let rules = args.rules();
    let engine = Engine::open_blocking(&args.device)?;
    for rule in &rules {
        server(&engine, rule, config)?; // a wrong SPEC or a bad (n, f) must not wait for its turn
    }
    let columns: Vec<(&str, f32)> = rules.iter().flat_map(|rule| args.betas().map(move |beta| (*rule, beta))).collect();
    let jobs: Vec<Job> = attacks.iter().flat_map(|attack| columns.iter().map(|&(rule, beta)| Job { attack, rule, beta })).collect();

    if !folder(&args.figure).is_dir() {
        return Err(format!("there is no folder {} to put the figure into", folder(&args.figure).display()).into());
    }

    let data = &source.load(args.data.as_deref())?;
    let model = &*model::by_name(args.model.as_deref().unwrap_or(source.model), data.train.inputs, data.train.classes)?;
    let bar = bar(args.quiet, jobs.len() * config.steps);
    let task = Task { engine, model, data, config };
    let runs = in_parallel(&jobs, |job| task.run(job, &bar));
    bar.finish_and_clear();
    let runs = runs.into_iter().collect::<Result<Vec<_>, _>>()?;

    let panels = titles.iter().zip(runs.chunks(columns.len())).map(|(title, runs)| Panel {
        title: title.clone(),
        curves: columns.iter().zip(runs).map(|(&column, run)| curve(column, run)).collect(),
    });
    let (n, f, beta) = (config.workers, config.byzantine, config.beta);
    let heading = format!("Learning {} with {n} workers, {f} of them Byzantine (n = {n}, f = {f}, β = {beta})", source.title);
    write_whole(&args.figure, svg(&heading, &panels.collect::<Vec<_>>(), 3)?.as_bytes())
        .map_err(|error| format!("cannot write {}: {error}", args.figure.display()))?;
    if !args.quiet {
        let mut out = io::stdout().lock();
        writeln!(out, "{heading}, test accuracy after {} steps:\n", config.steps)?;
        let labels: Vec<String> = columns.iter().map(|&(rule, beta)| label(rule, beta)).collect();
        out.write_all(table(&attacks, &labels, &runs, accuracy).as_bytes())?;
        if args.diagnose {
            writeln!(out, "\nLargest ‖R − m̄‖ / max ‖mᵢ − mⱼ‖ of the steps measured:\n")?;
            out.write_all(table(&attacks, &labels, &runs, largest).as_bytes())?;
            for rule in rules {
                let lambda = server(&task.engine, rule, config)?.lambda(model.parameters());
                writeln!(out, "λ of {rule}: {}", lambda.map_or("none known".into(), |lambda| format!("{lambda:.3}")))?;
            }
        }
        writeln!(out, "\n{:.1} s; curves in {}", start.elapsed().as_secs_f64(), args.figure.display())?;
    }
    Ok(())
}

impl TrainArgs {
    /// The data set's settings, with those that the user gave in their place.
    fn config(&self, source: &Source) -> Config {
        let suited = source.config();
        Config {
            workers: self.workers.unwrap_or(suited.workers),
            byzantine: self.byzantine.unwrap_or(suited.byzantine),
            beta: self.beta,
            steps: self.steps.unwrap_or(suited.steps),
            batch: self.batch.unwrap_or(suited.batch),
            rate: Rate {
                initial: self.lr.unwrap_or(suited.rate.initial),
                hold: self.hold.unwrap_or(suited.rate.hold),
                decay: self.decay.unwrap_or(suited.rate.decay),
            },
            partition: self.split,
            l2: self.l2.unwrap_or(suited.l2),
            clip: self.clip.or(suited.clip),
            seed: self.seed,
            measure: self.measure.unwrap_or(suited.measure),
        }
    }

    fn attacks(&self) -> Vec<&str> {
        match self.attack.as_slice() {
            [] => ATTACKS.to_vec(),
            given => given.iter().map(String::as_str).collect(),
        }
    }

    /// The average and the chosen rule, once if they are the same.
    fn rules(&self) -> Vec<&str> {
        if self.rule == BASELINE { vec![BASELINE] } else { vec![BASELINE, &self.rule] }
    }

    /// Without momentum and with it, once if they are the same.
    fn betas(&self) -> impl Iterator<Item = f32> + Clone + use<> {
        let beta = self.beta;
        [0.0].into_iter().chain((beta != 0.0).then_some(beta))
    }
}

/// A bar of so many steps.
pub fn bar(quiet: bool, steps: usize) -> ProgressBar {
    let target = match quiet || !io::stderr().is_terminal() {
        true => ProgressDrawTarget::hidden(),
        false => ProgressDrawTarget::stderr(),
    };
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} steps, {eta} left");
    ProgressBar::with_draw_target(Some(steps as u64), target).with_style(style.expect("the template is valid"))
}

impl Task<'_> {
    /// Trains once.
    pub fn run(&self, job: &Job, bar: &ProgressBar) -> Result<Run, BoxError> {
        let config = Config { beta: job.beta, ..self.config.clone() };
        let mut attack = attacks::by_name(job.attack)?;
        let mut server = server(&self.engine, job.rule, &config)?;
        let mut points: Vec<Point> = vec![];
        let mut progress = |point: &Point| {
            bar.inc((point.step - points.last().map_or(0, |last| last.step)) as u64);
            points.push(*point);
        };
        match train_with(self.model, self.data, &config, &mut *attack, &mut server, &mut progress) {
            Ok(_) => Ok(Run { points, diverged: false }),
            // A rule that breaks is a result of the experiment, not of the command.
            Err(TrainError::NonFinite { .. }) => Ok(Run { points, diverged: true }),
            Err(error) => Err(format!("rule {}, attack {}, β = {}: {error}", job.rule, job.attack, job.beta).into()),
        }
    }
}

/// The rule at the server, fresh for one run.
pub fn server(engine: &Engine, rule: &str, config: &Config) -> Result<RuleServer, BoxError> {
    let spec: Spec = rule.parse()?;
    let f = spec.f_or(config.byzantine);
    Ok(RuleServer::new(engine, spec.into_rule(), config.workers, f)?)
}

fn curve((rule, beta): (&str, f32), run: &Run) -> Curve {
    Curve {
        label: label(rule, beta),
        family: usize::from(rule != BASELINE),
        dashed: beta == 0.0,
        diverged: run.diverged,
        points: run.points.clone(),
        deviations: Vec::new(),
    }
}

/// `work` of every item, in the items' order, on as many threads as the machine has cores. What rayon would share out within
/// an item stays on the item's thread.
pub fn in_parallel<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let results = Mutex::new((0..items.len()).map(|_| None).collect::<Vec<_>>());
    let take = || {
        while let Some((index, item)) = {
            let index = next.fetch_add(1, Ordering::Relaxed);
            items.get(index).map(|item| (index, item))
        } {
            let result = work(item);
            results.lock().expect("no worker panics with the lock")[index] = Some(result);
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from).min(items.len()) {
            scope.spawn(|| match ThreadPoolBuilder::new().num_threads(1).use_current_thread().build() {
                Ok(alone) => alone.install(take),
                Err(_) => take(),
            });
        }
    });
    results.into_inner().expect("no worker panics with the lock").into_iter().flatten().collect()
}

fn label(rule: &str, beta: f32) -> String {
    format!("{rule}, β = {beta}")
}

/// The attack's title, with its row.
pub fn title(attack: &dyn Attack) -> String {
    let entry = attacks::list().iter().find(|entry| entry.name == attack.name());
    format!("{}: {}", entry.map_or(attack.name(), |entry| entry.title), attack.description())
}

/// The test accuracy at the end, in per cent.
fn accuracy(run: &Run) -> Option<String> {
    run.points.last().filter(|_| !run.diverged).map(|point| format!("{:.1} %", point.accuracy * 100.0))
}

/// The largest realised coefficient of resilience.
pub fn largest_lambda(run: &Run) -> Option<f64> {
    let largest = run.points.iter().map(|point| point.lambda).fold(f64::NAN, f64::max);
    largest.is_finite().then_some(largest)
}

/// The same as text.
fn largest(run: &Run) -> Option<String> {
    largest_lambda(run).map(|largest| format!("{largest:.3}"))
}

/// Rows are attacks, columns rules and momentums.
fn table(attacks: &[&str], labels: &[String], runs: &[Run], cell: impl Fn(&Run) -> Option<String>) -> String {
    let first = attacks.iter().map(|spec| spec.chars().count()).max().unwrap_or(0);
    let mut text = format!("{:first$}", "");
    labels.iter().for_each(|label| text += &format!("   {label}"));
    for (spec, row) in attacks.iter().zip(runs.chunks(labels.len())) {
        text += &format!("\n{spec:first$}");
        for (label, run) in labels.iter().zip(row) {
            let cell = cell(run).unwrap_or_else(|| "diverged".into());
            text += &format!("   {cell:>width$}", width = label.chars().count());
        }
    }
    text + "\n"
}

/// Where `path` lies.
fn folder(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Writes a file that appears whole or not at all.
pub fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666)); // less the umask, as for any new file
    let mut file = builder.tempfile_in(folder(path))?;
    file.write_all(bytes)?;
    file.persist(path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_keep_the_order_of_the_items() {
        let items: Vec<usize> = (0..50).collect();
        assert_eq!(in_parallel(&items, |i| i * 2), (0..100).step_by(2).collect::<Vec<_>>());
        assert!(in_parallel(&[], |i: &usize| *i).is_empty());
    }

    #[test]
    fn tables_are_aligned_and_name_divergence() {
        let point = Point { step: 1, accuracy: 0.9375, loss: 0.0, lambda: 0.25, spread: 1.0 };
        let runs = [false, true].map(|diverged| Run { points: vec![point], diverged });
        let labels = [label("average", 0.0), label("median", 0.9)];
        let text = table(&["foe:nu=20"], &labels, &runs, accuracy);
        assert_eq!(text, "            average, β = 0   median, β = 0.9\nfoe:nu=20           93.8 %          diverged\n");
        assert_eq!(table(&["foe:nu=20"], &labels, &runs, largest).matches("0.250").count(), 2);
    }

    #[test]
    fn what_the_user_gives_takes_the_place_of_the_data_sets_settings() {
        let config = |text: &str| {
            #[derive(clap::Parser)]
            struct Cli {
                #[command(flatten)]
                args: TrainArgs,
            }
            let args = <Cli as clap::Parser>::try_parse_from(text.split(' ')).unwrap().args;
            args.config(datasets::by_name(&args.dataset).unwrap())
        };
        assert_eq!(config("train"), Config::default());
        let suited = datasets::by_name("cifar10").unwrap().config();
        assert_eq!(config("train --dataset cifar10"), suited);
        let given = config("train --dataset cifar10 -f 3 --lr 0.1 --split extreme --clip 1");
        let rate = Rate { initial: 0.1, ..suited.rate };
        assert_eq!(given, Config { byzantine: 3, rate, partition: Partition::Extreme, clip: Some(1.0), ..suited });
    }

    #[test]
    fn a_file_replaces_the_old_one_and_leaves_nothing_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("figure.svg");
        write_whole(&path, b"old").unwrap();
        write_whole(&path, b"new").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        assert!(write_whole(folder.path(), b"").is_err());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
