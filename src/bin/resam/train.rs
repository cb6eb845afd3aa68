//! `resam train`: does a rule keep a model learning while some workers attack?

use std::{
    fmt::Write,
    num::NonZeroUsize,
    path::PathBuf,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Instant,
};

use clap::Args;
use rayon::ThreadPoolBuilder;
use resam::{
    Engine, Spec,
    attacks::{self, AttackError, Scene},
    rules::Cohort,
    train::{
        BoxError, Config, Model, Network, Point, RuleServer, Split, TrainError,
        datasets::{self, Source},
        figure::{Curve, Panel, svg},
    },
};

use crate::{
    output::publish,
    picture::Figure,
    place::{Place, TrainOn},
    print,
    progress::Progress,
    settings::Settings,
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

    /// f, the number of Byzantine workers among them [default: by data set]
    #[arg(short = 'f', long, alias = "f")]
    byzantine: Option<usize>,

    /// β, the momentum of the workers; runs without momentum are shown beside it
    #[arg(long, default_value_t = Config::default().beta)]
    beta: f32,

    /// Seed of the start, the mini-batches and everything else random
    #[arg(long, default_value_t = Config::default().seed)]
    seed: u64,

    /// Where the rule runs, with a model that trains on the CPU [default: auto]
    #[arg(long)]
    device: Option<String>,

    /// Where the model trains. On a GPU, burn's default one, the rule runs there too, and gradients and momentums stay; numbers
    /// differ from the CPU's by rounding. It needs a build with the feature burn
    #[arg(long, value_name = "cpu|gpu", value_enum, default_value = "cpu", hide_possible_values = true)]
    train_on: TrainOn,

    #[command(flatten)]
    settings: Settings,

    /// The figure, NAME.svg or NAME.png, or NAME for both
    #[arg(short = 'o', long, value_name = "NAME", default_value = "resam-train")]
    figure: PathBuf,

    /// Print a second table: the largest ‖R − m̄‖ / max ‖mᵢ − mⱼ‖ that was measured, R the aggregate and m̄ the mean of the
    /// honest momentums mᵢ. A resilient rule keeps it below its λ
    #[arg(long, conflicts_with = "quiet")]
    diagnose: bool,

    /// Runs side by side [default: the number of cores; 1 on a GPU]
    #[arg(long, value_name = "COUNT")]
    threads: Option<NonZeroUsize>,

    /// Print nothing but errors
    #[arg(short, long)]
    quiet: bool,
}

const EXAMPLES: &str = "\
Attacks (m, s: mean and standard deviation of the honest rows; a search tries \
16 factors a step for the one that harms most):
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
  resam train -n 25 -f 11 --beta 0.9 -o f11.png    more workers, more of them hostile
  resam train --beta 0.9 --quiet -o beta-0.9.svg   only the figure
  resam train --dataset fashion_mnist --rule nnm+trimmed_mean
  resam train --dataset mnist --data ~/mnist --model cnn --measure 50
  resam train --dataset fashion_mnist --split dirichlet:alpha=0.5 --attack mimic

Same options, same seed, same device: same numbers.";

/// One run: an attack, a rule, a momentum.
pub struct Job<'a> {
    pub attack: &'a str,
    pub rule: &'a str,
    pub beta: f32,
}

/// What all runs share.
pub struct Task<'a> {
    pub place: &'a Place,
    pub model: &'a Network,
    pub data: &'a Split,
    pub config: &'a Config,
}

/// What came of a job.
pub struct Run {
    pub points: Vec<Point>,
    /// Whether a value stopped being finite.
    pub diverged: bool,
    /// Why the rule gave up, if it did.
    pub refused: Option<String>,
}

/// Runs the command.
pub fn run(args: TrainArgs) -> Result<(), BoxError> {
    let start = Instant::now();
    let source = datasets::by_name(&args.dataset)?;
    let config = &args.config(source);
    config.check()?;
    let attacks = args.attacks();
    let titles = attacks.iter().map(|spec| title(spec)).collect::<Result<Vec<_>, _>>()?;
    let model = source.model(args.settings.model(source))?;
    let rules = args.rules();
    let place = &Place::open(args.train_on, args.device.as_deref(), "auto")?;
    let model = &place.put(model);
    // A wrong SPEC or a bad (n, f) must not wait for its turn.
    for rule in &rules {
        server(place.engine(), rule, config)?;
    }
    for attack in &attacks {
        try_out(attack, config)?.map_or(Ok(()), |error| Err(format!("attack {attack}: {error}")))?;
    }
    let columns: Vec<(&str, f32)> = rules.iter().flat_map(|rule| args.betas().map(move |beta| (*rule, beta))).collect();
    let jobs: Vec<Job> = attacks.iter().flat_map(|attack| columns.iter().map(|&(rule, beta)| Job { attack, rule, beta })).collect();

    let figure = Figure::new(&args.figure, None)?;
    let names = figure.names();

    let data = &source.load(args.settings.data.as_deref())?;
    let progress = Progress::new(args.quiet, jobs.len() * config.steps, "steps");
    let task = Task { place, model, data, config };
    let (runs, failure) = in_parallel(place.threads(args.threads), &jobs, |job| task.run(job, &progress));
    progress.end();
    let failure = match failure {
        Some(error) if runs.iter().all(Option::is_none) => return Err(error),
        failure => failure,
    };

    // What ended is shown, whatever became of the others and of the figure.
    let panels = titles.iter().zip(runs.chunks(columns.len())).map(|(title, runs)| Panel {
        title: title.clone(),
        curves: columns.iter().zip(runs).filter_map(|(&column, run)| Some(curve(column, run.as_ref()?))).collect(),
    });
    let (n, f, beta) = (config.workers, config.byzantine, config.beta);
    let incomplete = if failure.is_some() { ", incomplete" } else { "" };
    let heading =
        format!("Learning {} with {n} workers, {f} of them Byzantine (n = {n}, f = {f}, β = {beta}{incomplete})", source.title);
    let drawn =
        svg(&heading, &panels.collect::<Vec<_>>(), 3).map_err(BoxError::from).and_then(|svg| Ok(publish(figure.stage(&svg)?)?));
    if !args.quiet {
        let mut out = String::new();
        writeln!(out, "{heading}, test accuracy after {} steps:\n", config.steps)?;
        let labels: Vec<String> = columns.iter().map(|&(rule, beta)| label(rule, beta)).collect();
        out += &table(&attacks, &labels, &runs, accuracy);
        if args.diagnose {
            writeln!(out, "\nLargest ‖R − m̄‖ / max ‖mᵢ − mⱼ‖ of the steps measured:\n")?;
            out += &table(&attacks, &labels, &runs, largest);
            for rule in rules {
                let lambda = server(place.engine(), rule, config)?.lambda(model.parameters());
                writeln!(out, "λ of {rule}: {}", lambda.map_or("none, or none known".into(), |lambda| format!("{lambda:.3}")))?;
            }
        }
        for (rule, run) in columns.iter().map(|(rule, _)| rule).cycle().zip(&runs) {
            let refused = run.as_ref().and_then(|run| run.refused.as_ref());
            refused.map_or(Ok(()), |reason| writeln!(out, "\nrefused by {rule}: {reason}"))?;
        }
        let curves = if drawn.is_ok() { format!("; curves in {names}") } else { String::new() };
        writeln!(out, "\n{:.1} s{curves}", start.elapsed().as_secs_f64())?;
        print::out(&out)?;
    }
    failure.map_or(drawn, Err)
}

impl TrainArgs {
    /// The data set's settings, with those that the user gave in their place.
    fn config(&self, source: &Source) -> Config {
        let config = self.settings.config(source);
        Config { byzantine: self.byzantine.unwrap_or(config.byzantine), beta: self.beta, seed: self.seed, ..config }
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

impl Task<'_> {
    /// Trains once.
    pub fn run(&self, job: &Job, progress: &Progress) -> Result<Run, BoxError> {
        let config = Config { beta: job.beta, ..self.config.clone() };
        let mut attack = attacks::by_name(job.attack)?;
        let server = server(self.place.engine(), job.rule, &config)?;
        let mut points: Vec<Point> = vec![];
        let mut note = |point: &Point| {
            progress.add((point.step - points.last().map_or(0, |last| last.step)) as u64);
            points.push(*point);
        };
        let ended = self.place.train((self.model, self.data, &config), &mut *attack, server, &mut note);
        let last = points.last().map_or(0, |last| last.step);
        progress.add(config.steps.saturating_sub(last) as u64); // those that a run which broke off has no need of
        let (diverged, refused) = match ended {
            Ok(_) => (false, None),
            // A rule that breaks is a result of the experiment, not of the command.
            Err(TrainError::NonFinite { .. }) => (true, None),
            Err(error) if by_the_rule(&error) => (false, Some(error.to_string())),
            Err(error) => return Err(format!("rule {}, attack {}, β = {}: {error}", job.rule, job.attack, job.beta).into()),
        };
        Ok(Run { points, diverged, refused })
    }
}

/// Was it the rule that gave up on the rows it got, and not the device that failed?
fn by_the_rule(error: &TrainError) -> bool {
    matches!(error, TrainError::Part { source, .. } if source.downcast_ref().is_some_and(resam::Error::is_refusal))
}

/// Why an attack has no row with so many workers, if so; asked for one among rows of one value.
pub fn try_out(attack: &str, config: &Config) -> Result<Option<AttackError>, AttackError> {
    let mut attack = attacks::by_name(attack)?;
    let honest: Vec<&[f32]> = vec![&[1.0]; config.workers - config.byzantine];
    let first = |rows: &resam::Rows| Ok(rows.row(0).to_vec());
    let scene = Scene::new(&honest, config.byzantine)?.with_rule(&first).with_flipped(&[1.0])?;
    Ok(attack.row(&scene).err())
}

/// The rule at the server, fresh for one run.
pub fn server(engine: &Engine, rule: &str, config: &Config) -> Result<RuleServer, BoxError> {
    let spec: Spec = rule.parse()?;
    let f = spec.f_or(config.byzantine);
    let rule = spec.into_rule();
    // What no step could do without, such as a row that FLTrust trusts, must not wait for the first.
    let members: Vec<usize> = (0..config.workers).collect();
    rule.admit(&Cohort { total: config.workers, members: &members, f, d: 0 })?;
    Ok(RuleServer::new(engine, rule, config.workers, f)?)
}

fn curve((rule, beta): (&str, f32), run: &Run) -> Curve {
    Curve {
        label: label(rule, beta),
        family: usize::from(rule != BASELINE),
        dashed: beta == 0.0,
        broke_off: run.diverged || run.refused.is_some(),
        points: run.points.clone(),
        deviations: Vec::new(),
    }
}

/// `work` of every item, in the items' order, on so many threads, or as many as the machine has cores. What rayon would share out within
/// an item stays on the item's thread. After a failure, which is returned (the first), no other item begins.
pub fn in_parallel<T: Sync, R: Send, E: Send>(
    threads: Option<NonZeroUsize>,
    items: &[T],
    work: impl Fn(&T) -> Result<R, E> + Sync,
) -> (Vec<Option<R>>, Option<E>) {
    let next = AtomicUsize::new(0);
    let ended = Mutex::new(((0..items.len()).map(|_| None).collect::<Vec<_>>(), None));
    let take = || {
        while let Some((index, item)) = {
            let index = next.fetch_add(1, Ordering::Relaxed);
            items.get(index).map(|item| (index, item))
        } {
            let result = work(item);
            let (results, failure) = &mut *ended.lock().expect("no worker panics with the lock");
            match result {
                Ok(result) => results[index] = Some(result),
                Err(error) => {
                    next.store(items.len(), Ordering::Relaxed);
                    failure.get_or_insert(error);
                }
            }
        }
    };
    thread::scope(|scope| {
        let threads = threads.or_else(|| thread::available_parallelism().ok()).map_or(1, usize::from);
        for _ in 0..threads.min(items.len()) {
            scope.spawn(|| match ThreadPoolBuilder::new().num_threads(1).use_current_thread().build() {
                Ok(alone) => alone.install(take),
                Err(_) => take(),
            });
        }
    });
    ended.into_inner().expect("no worker panics with the lock")
}

fn label(rule: &str, beta: f32) -> String {
    format!("{rule}, β = {beta}")
}

/// A short title of an attack, with its parameters.
pub fn title(spec: &str) -> Result<String, AttackError> {
    let name = attacks::by_name(spec)?.name();
    let title = attacks::list().iter().find(|entry| entry.name == name).map_or(name, |entry| entry.title);
    Ok(spec.split_once(':').map_or(title.into(), |(_, parameters)| format!("{title}, {parameters}")))
}

/// The test accuracy at the end, in per cent.
fn accuracy(run: &Run) -> String {
    match run.points.last() {
        _ if run.refused.is_some() => "refused".into(),
        Some(last) if !run.diverged => format!("{:.1} %", last.accuracy * 100.0),
        _ => "diverged".into(),
    }
}

/// The largest realised coefficient of resilience.
pub fn largest_lambda(run: &Run) -> Option<f64> {
    let largest = run.points.iter().map(|point| point.lambda).fold(f64::NAN, f64::max);
    largest.is_finite().then_some(largest)
}

/// The same as text.
fn largest(run: &Run) -> String {
    largest_lambda(run).map_or("none".into(), |largest| format!("{largest:.3}"))
}

/// Rows are attacks, columns rules and momentums; a dash is a run that did not end.
fn table(attacks: &[&str], labels: &[String], runs: &[Option<Run>], cell: impl Fn(&Run) -> String) -> String {
    let first = attacks.iter().map(|spec| spec.chars().count()).max().unwrap_or(0);
    let mut text = format!("{:first$}", "");
    labels.iter().for_each(|label| text += &format!("   {label}"));
    for (spec, row) in attacks.iter().zip(runs.chunks(labels.len())) {
        text += &format!("\n{spec:first$}");
        for (label, run) in labels.iter().zip(row) {
            let cell = run.as_ref().map_or("–".into(), &cell);
            text += &format!("   {cell:>width$}", width = label.chars().count());
        }
    }
    text + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use resam::train::{Partition, Rate};

    #[test]
    fn results_keep_the_order_of_the_items() {
        let items: Vec<usize> = (0..50).collect();
        let good = |i: &usize| Ok::<_, ()>(i * 2);
        assert_eq!(in_parallel(None, &items, good), ((0..100).step_by(2).map(Some).collect(), None));
        assert_eq!(in_parallel(None, &[], good), (vec![], None));
        let seen = Mutex::new(std::collections::HashSet::new());
        in_parallel(NonZeroUsize::new(3), &items, |_| {
            thread::sleep(std::time::Duration::from_millis(1));
            Ok::<_, ()>(seen.lock().unwrap().insert(thread::current().id()))
        });
        assert_eq!(seen.into_inner().unwrap().len(), 3);
    }

    #[test]
    fn after_a_failure_nothing_begins_and_what_ended_is_kept() {
        let items: Vec<usize> = (0..50).collect();
        let (results, failure) = in_parallel(NonZeroUsize::new(1), &items, |&i| if i < 3 { Ok(i) } else { Err(i) });
        assert_eq!(failure, Some(3));
        assert_eq!(results.into_iter().flatten().collect::<Vec<_>>(), [0, 1, 2]);
    }

    #[test]
    fn tables_are_aligned_and_name_divergence() {
        let point = Point { step: 1, accuracy: 0.9375, loss: 0.0, lambda: 0.25, spread: 1.0 };
        let runs = [false, true].map(|diverged| Some(Run { points: vec![point], diverged, refused: None }));
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

    /// The bar ends full, however a run ends.
    #[test]
    fn steps_that_a_run_has_no_need_of_count() {
        let config = &Config { byzantine: 3, steps: 20, ..Config::default() };
        let data = &resam::train::digits::load().unwrap();
        let model = &datasets::by_name("digits").unwrap().model("logistic").unwrap();
        let task = Task { place: &Place::Host(Engine::cpu()), model, data, config };
        for (rule, ends) in [("average", (true, false)), ("krum:f=1", (false, true)), ("krum", (false, false))] {
            let progress = Progress::new(true, config.steps, "steps");
            let run = task.run(&Job { attack: "nan", rule, beta: 0.0 }, &progress).unwrap();
            assert_eq!(((run.diverged, run.refused.is_some()), progress.done()), (ends, 20), "{rule}");
        }
    }
}
