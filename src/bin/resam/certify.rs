//! `resam certify`: how near an adversarial search comes to a rule's bounds.

use crate::failure::Failure;
use crate::print;
use crate::progress::Progress;
use resam::certify::{Certificate, Ratio, Search, certify};
use resam::{Engine, Spec};
use serde_json::json;

/// Search for inputs on which a rule is as far as possible from the mean of n - f rows, and compare with its bounds.
///
/// The ratios are measured as lambda and kappa are defined, over every set of n - f rows of inputs that a seeded search makes ever
/// worse. What it finds is a lower bound of the true worst, often far below it unless n and d are small (try --d 1) and the steps many: a
/// value near the proved or published one says that this one is tight, a value that keeps growing with more steps that there is
/// none, a value above it that it is wrong.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  resam certify --rule trimmed_mean --n 7 --f 2 --d 1
  resam certify --rule nnm+krum --n 10 --f 2 --steps 20000")]
pub(crate) struct CertifyArgs {
    /// Rule, perhaps with pre-aggregations, as in `resam aggregate`
    #[arg(short, long, value_name = "SPEC")]
    rule: Spec,
    /// Workers; at most 16
    #[arg(short, long, default_value_t = 7)]
    n: usize,
    /// Byzantine workers
    #[arg(short, long, default_value_t = 2)]
    f: usize,
    /// Coordinates; at most 64
    #[arg(short, long, default_value_t = 2)]
    d: usize,
    /// Inputs to try for each of the two ratios
    #[arg(long, default_value = "5000")]
    steps: std::num::NonZeroUsize,
    /// Seed of the search
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Show no progress
    #[arg(short, long)]
    quiet: bool,
    /// Print JSON, with the worst inputs
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: CertifyArgs) -> Result<(), Failure> {
    let f = args.rule.f_or(args.f);
    let rule = args.rule.rule();
    let search = Search { n: args.n, f, d: args.d, steps: args.steps.get(), seed: args.seed };
    let progress = Progress::new(args.quiet, 2 * args.steps.get(), "inputs");
    let found = |ratio: Ratio| {
        certify(&Engine::cpu(), rule, &search, ratio, |_, worst| {
            progress.say(format!("{} {worst:.4}", ratio.name()));
            progress.add(1);
        })
    };
    let (lambda, kappa) = (found(Ratio::Lambda)?, found(Ratio::Kappa)?);
    progress.end();
    let bounds = [rule.lambda(args.n, f, args.d).value(), rule.kappa(args.n, f, args.d).value()];
    if args.json {
        let entry = |found: &Certificate, bound: Option<f64>| json!({ "worst": found.worst, "bound": bound, "input": found.input });
        return print::json(&json!({
            "rule": rule.spec(), "n": args.n, "f": f, "d": args.d, "steps": args.steps, "seed": args.seed,
            "lambda": entry(&lambda, bounds[0]), "kappa": entry(&kappa, bounds[1]),
        }));
    }
    let row = |name: &str, found: &Certificate, bound: Option<f64>| {
        let share = bound.filter(|bound| *bound > 0.0).map_or("-".into(), |bound| format!("{:.1} %", 100.0 * found.worst / bound));
        [name.into(), format!("{:.4}", found.worst), bound.map_or("-".into(), |bound| format!("{bound:.4}")), share]
    };
    let title = ["", "worst found", "bound", "reached"].map(String::from);
    let rows = [title, row("lambda", &lambda, bounds[0]), row("kappa", &kappa, bounds[1])];
    print::out(&format!("{} with n = {}, f = {f}, d = {}\n{}", rule.spec(), args.n, args.d, print::table(&rows)))
}
