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
use resam::{
    Engine, Spec,
    attacks::{self, Attack},
    train::{
        BoxError, Config, EngineMomentum, Mlp, Point, Rate, RuleServer, Split, TrainError, digits,
        figure::{Curve, Panel, svg},
        train_with,
    },
};

const HIDDEN: usize = 32;
const BASELINE: &str = "average";
/// Shown after the attacks of the list: they hide among the honest rows, this one shouts, and an average listens.
const LOUD: &str = "foe:nu=20";

/// Train a small model with simulated workers, some of them hostile
///
/// n workers learn to read hand-written digits (1797 images of 8×8, built in). Each honest worker sends its momentum
/// m = β·m + (1 − β)·gradient; the f Byzantine workers send an attack made from what the honest ones send; the server
/// combines the n rows with a rule and takes a step. The chosen rule runs beside the plain average, with and without
/// momentum. The command prints the test accuracy at the end and draws all curves.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct TrainArgs {
    /// Rule at the server, with its parameters
    #[arg(long, value_name = "SPEC", default_value = "trimmed_mean")]
    rule: String,

    /// Attack of the Byzantine workers: none, alie[:z=1.5], foe[:nu=1.1], sign_flip (sf) or label_flip (lf);
    /// repeat it for several [default: all, and foe:nu=20]
    #[arg(long, value_name = "SPEC")]
    attack: Vec<String>,

    /// n, the number of workers
    #[arg(short = 'n', long, default_value_t = Config::default().workers)]
    workers: usize,

    /// f, the number of Byzantine workers among them
    #[arg(short = 'f', long, default_value_t = Config::default().byzantine)]
    byzantine: usize,

    /// β, the momentum of the workers; runs without momentum are shown beside it
    #[arg(long, default_value_t = Config::default().beta)]
    beta: f32,

    /// Number of steps
    #[arg(long, default_value_t = Config::default().steps)]
    steps: usize,

    /// Examples in each worker's mini-batch
    #[arg(long, default_value_t = Config::default().batch)]
    batch: usize,

    /// Learning rate γ at the start
    #[arg(long, value_name = "RATE", default_value_t = Config::default().rate.initial)]
    lr: f32,

    /// Steps T between two drops of the learning rate γ/(1 + ⌊step/T⌋); 0 keeps it constant
    #[arg(long, value_name = "T", default_value_t = Config::default().rate.hold)]
    hold: usize,

    /// L2 penalty: the factor of ½‖θ‖² in the loss
    #[arg(long, value_name = "FACTOR", default_value_t = Config::default().l2)]
    l2: f32,

    /// Clip gradients to this norm before they enter the momentum [default: no clipping]
    #[arg(long, value_name = "NORM")]
    clip: Option<f32>,

    /// Seed of the start, the mini-batches and everything else random
    #[arg(long, default_value_t = Config::default().seed)]
    seed: u64,

    /// Where the rule runs; the model always trains on the CPU
    #[arg(long, default_value = "auto")]
    device: String,

    /// File to draw the figure to, as SVG
    #[arg(short = 'o', long, value_name = "FILE.svg", default_value = "resam-train.svg")]
    figure: PathBuf,

    /// Print nothing but errors
    #[arg(short, long)]
    quiet: bool,
}

const EXAMPLES: &str = "\
Examples:
  resam train                                      every attack against the trimmed mean
  resam train --rule median --attack alie          one rule, one attack
  resam train --attack alie --attack foe:nu=20     attacks with their own strength
  resam train -n 25 -f 11 --beta 0.9 -o f11.svg    more workers, more of them hostile
  resam train --beta 0.9 --quiet -o beta-0.9.svg   only the figure

Same options, same seed: same numbers.";

/// One run: an attack, a rule, a momentum.
struct Job<'a> {
    attack: &'a dyn Attack,
    rule: &'a str,
    beta: f32,
}

/// Attacks with their SPEC.
type Attacks<'a> = Vec<(&'a str, Box<dyn Attack>)>;

/// What came of a job.
struct Run {
    points: Vec<Point>,
    /// Whether a value stopped being finite.
    diverged: bool,
}

/// Runs the command.
pub fn run(args: TrainArgs) -> Result<(), BoxError> {
    let start = Instant::now();
    let config = args.config();
    config.check()?;
    let attacks = args.attacks()?;
    let rules = args.rules();
    let engine = Engine::open_blocking(&args.device)?;
    for rule in &rules {
        args.server(&engine, rule)?; // a wrong SPEC or a bad (n, f) must not wait for its turn
    }
    let columns: Vec<(&str, f32)> = rules.iter().flat_map(|rule| args.betas().map(move |beta| (*rule, beta))).collect();
    let jobs: Vec<Job> =
        attacks.iter().flat_map(|(_, attack)| columns.iter().map(|&(rule, beta)| Job { attack: &**attack, rule, beta })).collect();

    if !folder(&args.figure).is_dir() {
        return Err(format!("there is no folder {} to put the figure into", folder(&args.figure).display()).into());
    }

    let data = digits::load()?;
    let model = Mlp::new(data.train.inputs, &[HIDDEN], data.train.classes);
    let bar = args.progress(jobs.len() * config.steps);
    let runs = in_parallel(&jobs, |job| args.one(&engine, job, &model, &data, &config, &bar));
    bar.finish_and_clear();
    let runs = runs.into_iter().collect::<Result<Vec<_>, _>>()?;

    let panels = attacks.iter().zip(runs.chunks(columns.len())).map(|((_, attack), runs)| Panel {
        title: title(&**attack),
        curves: columns.iter().zip(runs).map(|(&column, run)| args.curve(column, run)).collect(),
    });
    let heading = format!(
        "Learning digits with {} workers, {} of them Byzantine (n = {}, f = {}, β = {})",
        args.workers, args.byzantine, args.workers, args.byzantine, args.beta
    );
    write_whole(&args.figure, svg(&heading, &panels.collect::<Vec<_>>())?.as_bytes())
        .map_err(|error| format!("cannot write {}: {error}", args.figure.display()))?;
    if !args.quiet {
        let mut out = io::stdout().lock();
        writeln!(out, "{heading}, test accuracy after {} steps:\n", config.steps)?;
        out.write_all(table(&attacks, &columns, &runs).as_bytes())?;
        writeln!(out, "\n{:.1} s; curves in {}", start.elapsed().as_secs_f64(), args.figure.display())?;
    }
    Ok(())
}

impl TrainArgs {
    fn config(&self) -> Config {
        Config {
            workers: self.workers,
            byzantine: self.byzantine,
            beta: self.beta,
            steps: self.steps,
            batch: self.batch,
            rate: Rate { initial: self.lr, hold: self.hold },
            l2: self.l2,
            clip: self.clip,
            seed: self.seed,
            ..Config::default()
        }
    }

    /// The rule at the server, fresh for one run.
    fn server(&self, engine: &Engine, rule: &str) -> Result<RuleServer, BoxError> {
        Ok(RuleServer::new(engine, rule.parse::<Spec>()?, self.workers, self.byzantine)?)
    }

    fn attacks(&self) -> Result<Attacks<'_>, BoxError> {
        let specs: Vec<&str> = match self.attack.as_slice() {
            [] => attacks::list().iter().map(|entry| entry.name).chain([LOUD]).collect(),
            given => given.iter().map(String::as_str).collect(),
        };
        specs.into_iter().map(|spec| Ok((spec, attacks::by_name(spec)?))).collect()
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

    fn progress(&self, steps: usize) -> ProgressBar {
        let target = match self.quiet || !io::stderr().is_terminal() {
            true => ProgressDrawTarget::hidden(),
            false => ProgressDrawTarget::stderr(),
        };
        let style = ProgressStyle::with_template("{bar:40} {pos}/{len} steps, {eta} left");
        ProgressBar::with_draw_target(Some(steps as u64), target).with_style(style.expect("the template is valid"))
    }

    fn one(
        &self,
        engine: &Engine,
        job: &Job,
        model: &Mlp,
        data: &Split,
        config: &Config,
        bar: &ProgressBar,
    ) -> Result<Run, BoxError> {
        let config = Config { beta: job.beta, ..config.clone() };
        let mut server = self.server(engine, job.rule)?;
        let honest = config.workers - job.attack.attackers(config.byzantine).min(config.byzantine);
        let mut momentum = EngineMomentum::new(engine, honest, model.parameters(), job.beta)?;
        let mut points: Vec<Point> = vec![];
        let mut progress = |point: &Point| {
            bar.inc((point.step - points.last().map_or(0, |last| last.step)) as u64);
            points.push(*point);
        };
        match train_with(model, data, &config, job.attack, &mut server, &mut momentum, &mut progress) {
            Ok(_) => Ok(Run { points, diverged: false }),
            // A rule that breaks is a result of the experiment, not of the command.
            Err(TrainError::NonFinite { .. }) => Ok(Run { points, diverged: true }),
            Err(error) => Err(format!("rule {}, attack {}, β = {}: {error}", job.rule, job.attack.name(), job.beta).into()),
        }
    }

    fn curve(&self, (rule, beta): (&str, f32), run: &Run) -> Curve {
        Curve {
            label: label(rule, beta),
            family: usize::from(rule != BASELINE),
            dashed: beta == 0.0,
            diverged: run.diverged,
            points: run.points.clone(),
        }
    }
}

/// `work` of every item, in the items' order, on as many threads as the machine has cores.
fn in_parallel<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let results = Mutex::new((0..items.len()).map(|_| None).collect::<Vec<_>>());
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from).min(items.len()) {
            scope.spawn(|| {
                while let Some((index, item)) = {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    items.get(index).map(|item| (index, item))
                } {
                    let result = work(item);
                    results.lock().expect("no worker panics with the lock")[index] = Some(result);
                }
            });
        }
    });
    results.into_inner().expect("no worker panics with the lock").into_iter().flatten().collect()
}

fn label(rule: &str, beta: f32) -> String {
    format!("{rule}, β = {beta}")
}

/// The attack's title, with its row.
fn title(attack: &dyn Attack) -> String {
    let entry = attacks::list().iter().find(|entry| entry.name == attack.name());
    format!("{}: {}", entry.map_or(attack.name(), |entry| entry.title), attack.description())
}

/// Rows are attacks, columns rules and momentums; per cent.
fn table(attacks: &[(&str, Box<dyn Attack>)], columns: &[(&str, f32)], runs: &[Run]) -> String {
    let head: Vec<String> = columns.iter().map(|&(rule, beta)| label(rule, beta)).collect();
    let first = attacks.iter().map(|(spec, _)| spec.chars().count()).max().unwrap_or(0);
    let mut text = format!("{:first$}", "");
    head.iter().for_each(|label| text += &format!("   {label}"));
    for ((spec, _), row) in attacks.iter().zip(runs.chunks(columns.len())) {
        text += &format!("\n{spec:first$}");
        for (label, run) in head.iter().zip(row) {
            let cell = match (run.diverged, run.points.last()) {
                (false, Some(point)) => format!("{:.1} %", point.accuracy * 100.0),
                _ => "diverged".into(),
            };
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
fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
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
        let point = Point { step: 1, accuracy: 0.9375, loss: 0.0 };
        let runs = [false, true].map(|diverged| Run { points: vec![point], diverged });
        let attacks = vec![("foe:nu=20", attacks::by_name("foe:nu=20").unwrap())];
        let text = table(&attacks, &[("average", 0.0), ("median", 0.9)], &runs);
        assert_eq!(text, "            average, β = 0   median, β = 0.9\nfoe:nu=20           93.8 %          diverged\n");
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
