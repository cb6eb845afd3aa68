//! `resam rules`: the table of rules.

use crate::failure::Failure;
use crate::print;
use resam::Rule;
use resam::rules;
use serde_json::json;

/// List the rules: definition, requirement on (n, f), and λ for given n, f, d.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
λ is the resilience coefficient: the result is no further from the mean of any n - f rows than λ times the largest distance
between two of them. Smaller is better; a rule without one can be moved as far as the attacker likes.

Example:
  resam rules --n 25 --f 5 --d 431080")]
pub(crate) struct RulesArgs {
    /// Workers
    #[arg(short, long, requires = "f")]
    n: Option<u32>,
    /// Byzantine workers
    #[arg(short, long, requires = "n")]
    f: Option<u32>,
    /// Coordinates; without them λ holds for any number
    #[arg(short, long, requires = "n")]
    d: Option<usize>,
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: RulesArgs) -> Result<(), Failure> {
    let at = args.n.zip(args.f).map(|(n, f)| (n as usize, f as usize));
    let lambda = |rule: &dyn Rule| {
        at.map(|(n, f)| rule.check(n, f).map(|()| rule.lambda(n, f, args.d.unwrap_or(usize::MAX))).map_err(Failure::from))
    };
    if args.json {
        let object = |rule: &dyn Rule| {
            let (lambda, refused) = match lambda(rule) {
                Some(Err(e)) => (None, Some(e.to_string())),
                Some(Ok(lambda)) => (lambda, None),
                None => (None, None),
            };
            json!({
                "name": rule.name(),
                "definition": rule.definition(),
                "requirement": rule.needs(),
                "lambda": lambda,
                "refused": refused,
            })
        };
        return print::json(&rules::all().iter().map(|r| object(&**r)).collect());
    }
    let row = |rule: &dyn Rule| {
        let lambda = match lambda(rule) {
            None => String::new(),
            Some(Ok(Some(lambda))) => format!("{lambda:.4}"),
            Some(Ok(None)) => "none".into(),
            Some(Err(_)) => "refused".into(),
        };
        [rule.name(), rule.needs(), &lambda, rule.definition()].map(String::from)
    };
    let title = at.map_or("", |_| "λ");
    let mut rows = vec![["rule", "requires", title, "definition"].map(String::from)];
    rows.extend(rules::all().iter().map(|r| row(&**r)));
    let refused = rules::all().iter().filter_map(|r| lambda(&**r)?.err()).map(|e| format!("refused: {e}\n")).collect::<String>();
    print::out(&(print::table(&rows) + &refused))
}

/// The rules for the help of `--rule`.
pub(crate) fn help() -> String {
    let rows: Vec<[String; 2]> =
        rules::all().iter().map(|rule| [format!("  {}", rule.name()), rule.definition().to_string()]).collect();
    print::table(&rows)
}
