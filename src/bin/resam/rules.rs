//! `resam rules`: the table of rules and pre-aggregations, and how resilient they are.

use crate::failure::Failure;
use crate::print;
use resam::resilience::{Resilience, Status, kappa_after_nnm, momentum_noise};
use resam::{Parameter, Rule, Spec, pre, rules};
use serde_json::json;

/// List the rules: definition, requirement on (n, f), and how resilient each is for given n, f, d.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
lambda is the resilience coefficient: the result is no farther from the mean of any n - f rows than lambda times the largest \
distance between two of them. kappa bounds the square of that distance by kappa times the mean squared distance of those rows to \
their mean. 'with nnm' is the kappa that is known with nnm before the rule, 8 f/(n - f) (kappa + 1): less than kappa only where f \
is a small part of n, for it is a bound for the worst input; in experiments nnm helps nearly every rule. Smaller is better. 'none' means that an input exists for which no finite value holds, '-' that no value is \
known to us. 'proved' values have a short proof, 'published' ones are from the literature and not checked against its text; \
adversarial searches found nothing above either (see resam certify). What parameters mean: resam aggregate --help.

Examples:
  resam rules --n 25 --f 5 --d 431080
  resam rules --n 25 --f 5 --rule nnm+krum
  resam rules --n 25 --beta 0.99")]
pub(crate) struct RulesArgs {
    /// Workers
    #[arg(short, long, value_parser = clap::value_parser!(u32).range(1..))]
    n: Option<u32>,
    /// Byzantine workers
    #[arg(short, long, requires = "n")]
    f: Option<u32>,
    /// Coordinates; without them lambda holds for any number
    #[arg(short, long, requires = "n")]
    d: Option<usize>,
    /// Only this rule, perhaps with pre-aggregations
    #[arg(short, long, value_name = "SPEC")]
    rule: Option<Spec>,
    /// Momentum coefficient: says how near it brings honest workers to each other
    #[arg(long)]
    beta: Option<f64>,
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
}

/// What is known of a rule at (n, f, d).
struct Known {
    refused: Option<String>,
    lambda: Option<Resilience>,
    kappa: Option<Resilience>,
    most_f: Option<usize>,
    /// Is something before the rule already?
    chain: bool,
}

impl Known {
    fn of(rule: &dyn Rule, args: &RulesArgs) -> Self {
        let n = args.n.map(|n| n as usize);
        let most_f = n.and_then(|n| rule.most_f(n));
        let at = n.zip(args.f.map(|f| f as usize));
        let refused = at.and_then(|(n, f)| rule.check(n, f).err()).map(|e| e.to_string());
        let known = at.filter(|_| refused.is_none());
        let d = args.d.unwrap_or(usize::MAX);
        Self {
            lambda: known.map(|(n, f)| rule.lambda(n, f, d)),
            kappa: known.map(|(n, f)| rule.kappa(n, f, d)),
            refused,
            most_f,
            chain: rule.spec().contains('+'),
        }
    }
}

pub(crate) fn run(mut args: RulesArgs) -> Result<(), Failure> {
    if let Some(f) = args.rule.as_ref().and_then(Spec::f) {
        if args.n.is_none() {
            return Err(Failure::new(format_args!("f = {f} says nothing of a rule without --n")));
        }
        args.f = Some(u32::try_from(f).unwrap_or(u32::MAX));
    }
    if let Some(beta) = args.beta.filter(|beta| !(0.0..1.0).contains(beta)) {
        return Err(Failure::new(format_args!("--beta is {beta}, but a momentum coefficient is at least 0 and below 1")));
    }
    let listed = match &args.rule {
        Some(spec) => vec![spec.clone().into_rule()],
        None => rules::all(),
    };
    let noise = args.beta.map(|beta| momentum_noise(beta, 1.0));
    if args.json {
        let object = |rule: &dyn Rule| {
            let known = Known::of(rule, &args);
            json!({
                "name": rule.spec(),
                "definition": rule.definition(),
                "requirement": rule.needs(),
                "parameters": rules::parameters(rule.name()),
                "lambda": known.lambda.and_then(|l| l.value()),
                "lambda_status": known.lambda.map(status),
                "lambda_source": known.lambda.and_then(source),
                "kappa": known.kappa.and_then(|k| k.value()),
                "kappa_status": known.kappa.map(status),
                "kappa_source": known.kappa.and_then(source),
                "kappa_after_nnm": after_nnm(&known, &args),
                "most_f": known.most_f,
                "refused": known.refused,
            })
        };
        let stage = |stage: &dyn pre::PreAggregation| json!({ "name": stage.name(), "definition": stage.definition(), "requirement": stage.needs(), "parameters": pre::parameters(stage.name()) });
        let listed: Vec<_> = listed.iter().map(|r| object(&**r)).collect();
        return print::json(&json!({
            "rules": listed,
            "pre_aggregations": pre::all().iter().map(|s| stage(&**s)).collect::<Vec<_>>(),
            "momentum_noise": noise,
        }));
    }
    let mut text = print::table(&table(&listed, &args));
    if args.n.is_none() && args.rule.is_none() {
        let row = |stage: &dyn pre::PreAggregation| {
            let takes = parameters(&pre::parameters(stage.name()));
            [stage.name().into(), stage.needs().into(), takes, stage.definition().into()]
        };
        let mut stages = vec![["pre-aggregation", "requires", "parameters", "definition"].map(String::from)];
        stages.extend(pre::all().iter().map(|s| row(&**s)));
        text += &format!("\n{}", print::table(&stages));
    }
    if let [only] = &listed[..] {
        text.extend(Known::of(&**only, &args).refused.map(|e| format!("refused: {e}\n")));
    }
    let sources = sources(&listed, &args);
    if !sources.is_empty() {
        text += &format!("sources:\n{}", sources.concat());
    }
    if let (Some(noise), Some(beta)) = (noise, args.beta) {
        text += &format!(
            "momentum {beta}: honest workers' momentums differ by {noise:.4} sigma^2 in mean square, gradients by 2 sigma^2\n"
        );
    }
    print::out(&text)
}

fn parameters(all: &[Parameter]) -> String {
    let names: Vec<&str> = all.iter().map(|parameter| parameter.name).collect();
    if names.is_empty() { "-".into() } else { names.join(", ") }
}

fn table(listed: &[std::sync::Arc<dyn Rule>], args: &RulesArgs) -> Vec<[String; 7]> {
    let columns = match (args.n, args.f) {
        (None, _) => ["rule", "requires", "parameters", "definition", "", "", ""],
        (Some(_), None) => ["rule", "requires", "largest f", "definition", "", "", ""],
        (Some(_), Some(_)) => ["rule", "requires", "largest f", "lambda", "kappa", "with nnm", "definition"],
    };
    let row = |rule: &dyn Rule| {
        let known = Known::of(rule, args);
        let most = known.most_f.map_or("-".into(), |f| f.to_string());
        let (name, needs, definition) = (rule.spec(), rule.needs().to_string(), rule.definition().to_string());
        match (args.n, args.f) {
            (None, _) => {
                let takes = parameters(&rules::parameters(rule.name()));
                [name, needs, takes, definition, String::new(), String::new(), String::new()]
            }
            (Some(_), None) => [name, needs, most, definition, String::new(), String::new(), String::new()],
            (Some(_), Some(_)) => {
                let nnm = after_nnm(&known, args).map_or("-".into(), |kappa| format!("{kappa:.4}"));
                let [lambda, kappa] = [known.lambda, known.kappa].map(|c| c.map_or("refused".into(), in_words));
                [name, needs, most, lambda, kappa, nnm, definition]
            }
        }
    };
    [columns.map(String::from)].into_iter().chain(listed.iter().map(|r| row(&**r))).collect()
}

/// Where values come from and why there are none, a line each with the rules of which it is said.
fn sources(listed: &[std::sync::Arc<dyn Rule>], args: &RulesArgs) -> Vec<String> {
    let mut all: Vec<(&str, Vec<String>)> = Vec::new();
    for rule in listed {
        let (known, name) = (Known::of(&**rule, args), rule.spec());
        for source in [known.lambda, known.kappa].into_iter().flatten().filter_map(source) {
            let at = all.iter().position(|(said, _)| *said == source).unwrap_or(all.len());
            if at == all.len() {
                all.push((source, Vec::new()));
            }
            if !all[at].1.contains(&name) {
                all[at].1.push(name.clone());
            }
        }
    }
    all.into_iter().map(|(source, rules)| format!("  {}: {source}\n", rules.join(", "))).collect()
}

/// κ with NNM before the rule.
fn after_nnm(known: &Known, args: &RulesArgs) -> Option<f64> {
    let (n, f) = (args.n? as usize, args.f? as usize);
    known.kappa?.value().filter(|_| !known.chain).map(|kappa| kappa_after_nnm(kappa, n, f))
}

fn in_words(coefficient: Resilience) -> String {
    match coefficient {
        Resilience::Bound { value, status: Status::Proved, .. } => format!("{value:.4} proved"),
        Resilience::Bound { value, status: Status::Published, .. } => format!("{value:.4} published"),
        Resilience::Unbounded { .. } => "none".into(),
        Resilience::Unknown => "-".into(),
    }
}

fn status(coefficient: Resilience) -> &'static str {
    match coefficient {
        Resilience::Bound { status: Status::Proved, .. } => "proved",
        Resilience::Bound { status: Status::Published, .. } => "published",
        Resilience::Unbounded { .. } => "none",
        Resilience::Unknown => "unknown",
    }
}

fn source(coefficient: Resilience) -> Option<&'static str> {
    match coefficient {
        Resilience::Bound { source, .. } => Some(source),
        Resilience::Unbounded { why } => Some(why),
        Resilience::Unknown => None,
    }
}

/// The rules for the help of `--rule`.
pub(crate) fn help() -> String {
    print::definitions(rules::all().iter().map(|rule| (rule.name(), rules::parameters(rule.name()), rule.definition())))
}

/// The pre-aggregations.
pub(crate) fn stages_help() -> String {
    print::definitions(pre::all().iter().map(|stage| (stage.name(), pre::parameters(stage.name()), stage.definition())))
}
