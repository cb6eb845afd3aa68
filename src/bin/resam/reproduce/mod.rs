//! `resam reproduce`: a grid of training runs, from a file to tables and figures.

mod grid;
mod report;
mod results;

use crate::input;
use crate::place::{Place, TrainOn};
use crate::print;
use crate::progress::Progress;
use crate::train::{Job, Task, in_parallel, largest_lambda};
use clap::Args;
use grid::{Grid, Key};
use resam::attacks;
use resam::train::{BoxError, Split, datasets};
use results::{Outcome, Results};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Run a grid of training experiments, and draw what came of it
///
/// Every combination of data sets, f, rules, attacks, momentum coefficients β and seeds is one run of `resam train`. Runs go side by side, one a core. Each that ends adds a line to DIR/results.jsonl; the same command, begun again after a kill, goes on where it was, and repeats nothing. In the end, and with --report-only at any time, DIR holds
///
///   report.html   everything, in one file that opens from disk
///   table.md      mean ± standard deviation over the seeds of the final
///                 accuracy, and of the best on the way
///   *.svg, *.png  accuracy against step, a row of panels an attack; and the
///                 worst accuracy over all attacks
#[derive(Args, Debug)]
#[command(verbatim_doc_comment, after_help = EXAMPLES)]
pub struct ReproduceArgs {
    /// File with the grid, in TOML (see below)
    #[arg(value_name = "GRID.toml", required_unless_present = "smoke")]
    grid: Option<PathBuf>,

    /// A small grid on the digits instead, done in less than a minute
    #[arg(long, conflicts_with = "grid")]
    smoke: bool,

    /// Folder for results and report; made if it is not there
    #[arg(long, value_name = "DIR", default_value = "resam-reproduce")]
    out: PathBuf,

    /// Folder with the files of the data set, instead of the grid's; for several data sets, with a folder of its name for each
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,

    /// Run nothing; report what is there, even while another process adds to it
    #[arg(long)]
    report_only: bool,

    /// Folder for the report, if it is to lie elsewhere than its results
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,

    /// Runs side by side [default: the number of cores; 1 on a GPU]
    #[arg(long, value_name = "COUNT")]
    threads: Option<NonZeroUsize>,

    /// Where the rules run, with models that train on the CPU [default: cpu]
    #[arg(long)]
    device: Option<String>,

    /// Where the models train, as of `resam train`. A run that is in DIR already counts wherever it was trained
    #[arg(long, value_name = "cpu|gpu", value_enum, default_value = "cpu", hide_possible_values = true)]
    train_on: TrainOn,

    /// Print nothing but errors
    #[arg(short, long)]
    quiet: bool,
}

const EXAMPLES: &str = "\
A grid:
  datasets = [\"fashion_mnist\"]
  f        = [3, 5]
  rules    = [\"average\", \"trimmed_mean\", \"nnm+krum\"]
  attacks  = [\"none\", \"alie\", \"foe:nu=20\"]
  betas    = [0.0, 0.99]
  seeds    = [1, 2, 3]
Also n, steps, batch, lr, hold, decay, l2, clip, measure, model, split and data, as the options of `resam train`; what is left out is as \
suits the data set. Rules and attacks that cannot work with some f are left out there, and named; so are splits that leave a worker without examples.

Examples:
  resam reproduce --smoke
  resam reproduce examples/grids/fashion_mnist.toml --out fashion
  resam reproduce examples/grids/fashion_mnist.toml --out fashion --report-only --report so-far";

const SMOKE: &str = include_str!("../../../../examples/grids/smoke.toml");

/// Runs the command.
pub fn run(args: ReproduceArgs) -> Result<(), BoxError> {
    let (text, name) = match &args.grid {
        Some(path) => {
            let text = input::text(path)?;
            (text, path.display().to_string())
        }
        None => (SMOKE.into(), "the smoke grid".into()),
    };
    let grid = Grid::parse(&text).map_err(|error| format!("{name}: {error}"))?;
    let place = Place::open(args.train_on, args.device.as_deref(), "cpu")?;
    let (mut keys, mut left_out) = grid.runs(place.engine()).map_err(|error| format!("{name}: {error}"))?;
    let path = args.out.join("results.jsonl");
    let (results, found) = if args.report_only {
        (None, results::read(&path)?)
    } else {
        make(&args.out)?;
        let (results, found) = Results::open(&path)?;
        (Some(results), found)
    };
    let done: HashSet<String> = found.iter().map(|outcome| outcome.key.line()).collect();
    let open = |key: &&Key| !done.contains(&key.line());
    // A report needs the data to know which splits are left out; without them their runs count as open.
    let data = match args.load(&grid, keys.iter().filter(open).filter(|key| results.is_some() || key.split != "iid")) {
        Err(_) if args.report_only => BTreeMap::new(),
        data => data?,
    };
    let mut uneven = Uneven::default();
    keys.retain(|key| !open(&key) || data.get(&key.dataset).is_none_or(|data| uneven.splits(key, data)));
    left_out.extend(uneven.reasons());
    let (mut outcomes, failure) = match results {
        None => (found, None),
        Some(results) => {
            let (new, failure) = args.run_all(&place, &data, &keys.iter().filter(open).collect::<Vec<_>>(), &results);
            ([found, new].concat(), failure)
        }
    };
    let wanted: HashMap<String, usize> = keys.iter().enumerate().map(|(at, key)| (key.line(), at)).collect();
    let at = |outcome: &Outcome| wanted.get(&outcome.key.line()).copied();
    if let Some(error) = failure {
        return Err(error);
    }
    // As the grid names them, not as they ended.
    outcomes.retain(|outcome| at(outcome).is_some());
    outcomes.sort_by_key(at);
    // Two files put together, or two processes on a file system without locks: what was run twice counts once.
    outcomes.dedup_by_key(|outcome| at(outcome));
    let folder = args.report.as_ref().unwrap_or(&args.out);
    make(folder)?;
    report::write(folder, &outcomes, &keys, &left_out)?;
    if !args.quiet {
        let reasons: String = left_out.iter().map(|reason| format!("{reason}\n")).collect();
        let open = if outcomes.len() < keys.len() { ", the rest is open" } else { "" };
        let (done, all, report) = (outcomes.len(), keys.len(), folder.join("report.html"));
        print::out(&format!("{reasons}{done} of {all} runs done{open}; see {}\n", report.display()))?;
    }
    Ok(())
}

fn make(folder: &Path) -> Result<(), BoxError> {
    Ok(std::fs::create_dir_all(folder).map_err(|error| format!("cannot make {}: {error}", folder.display()))?)
}

impl ReproduceArgs {
    /// The data sets of some runs.
    fn load<'a>(&self, grid: &Grid, keys: impl Iterator<Item = &'a Key>) -> Result<BTreeMap<String, Split>, BoxError> {
        let mut data = BTreeMap::new();
        for key in keys {
            if let Entry::Vacant(entry) = data.entry(key.dataset.clone()) {
                let source = datasets::by_name(&key.dataset)?;
                entry.insert(source.load(grid.folder(self.data.as_deref(), source).as_deref())?);
            }
        }
        Ok(data)
    }

    /// What came of the runs that ended, and the first failure: after it no other run begins.
    fn run_all(
        &self,
        place: &Place,
        data: &BTreeMap<String, Split>,
        open: &[&Key],
        results: &Results,
    ) -> (Vec<Outcome>, Option<BoxError>) {
        let progress = Progress::new(self.quiet, open.iter().map(|key| key.steps).sum(), "steps");
        let one = |key: &&Key| -> Result<Outcome, BoxError> {
            let start = Instant::now();
            let (data, config) = (&data[&key.dataset], &key.config()?);
            let model = &place.put(datasets::by_name(&key.dataset)?.model(&key.model)?);
            let task = Task { place, model, data, config };
            let run = task.run(&Job { attack: &key.attack, rule: &key.rule, beta: key.beta }, &progress)?;
            let lambda = largest_lambda(&run);
            let outcome = Outcome {
                key: (*key).clone(),
                accuracy: run.points.iter().map(|point| (point.step, point.accuracy)).collect(),
                diverged: run.diverged,
                refused: run.refused,
                lambda,
                seconds: start.elapsed().as_secs_f64(),
            };
            results.add(&outcome)?;
            Ok(outcome)
        };
        let (ended, failure) = in_parallel(place.threads(self.threads), open, one);
        progress.end();
        (ended.into_iter().flatten().collect(), failure)
    }
}

/// The splits of a grid that leave a worker without examples.
#[derive(Default)]
struct Uneven {
    /// Why, by what decides it, if so.
    tried: BTreeMap<(String, usize, u64, usize), Option<String>>,
}

impl Uneven {
    /// Whether a run's split gives every honest worker an example.
    fn splits(&mut self, key: &Key, data: &Split) -> bool {
        let (Ok(config), Ok(attack)) = (key.config(), attacks::by_name(&key.attack)) else { return true };
        let attackers = attack.attackers(key.f);
        let what = (key.dataset.clone(), key.f, key.seed, attackers);
        let reason = || {
            let error = config.check_split(data, &*attack).err()?;
            let honest = key.n - attackers;
            Some(format!("left out with f = {}, seed = {}, {honest} honest workers: {error}", key.f, key.seed))
        };
        self.tried.entry(what).or_insert_with(reason).is_none()
    }

    fn reasons(self) -> impl Iterator<Item = String> {
        self.tried.into_values().flatten()
    }
}
