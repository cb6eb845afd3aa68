//! Tables and figures of what came of a grid.

use super::grid::Key;
use super::results::Outcome;
use crate::output::{Target, publish};
use crate::picture::Figure;
use crate::train::title;
use resam::attacks;
use resam::train::figure::{Curve, Panel, svg};
use resam::train::{BoxError, Point, datasets, heatmap};
use std::path::Path;

/// A table as text; the first column names the rows.
struct Table {
    title: String,
    head: Vec<String>,
    rows: Vec<Vec<String>>,
}

/// The different values of something, in the order in which they come.
fn distinct<'a, T: PartialEq>(outcomes: &[&'a Outcome], of: impl Fn(&'a Outcome) -> T) -> Vec<T> {
    let mut all = Vec::new();
    for value in outcomes.iter().map(|outcome| of(outcome)) {
        if !all.contains(&value) {
            all.push(value);
        }
    }
    all
}

fn only<'a>(outcomes: &[&'a Outcome], wanted: impl Fn(&Outcome) -> bool) -> Vec<&'a Outcome> {
    outcomes.iter().copied().filter(|outcome| wanted(outcome)).collect()
}

/// Mean and standard deviation, which one value has none of.
fn mean_and_std(values: &[f64]) -> (f64, Option<f64>) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (mean, (values.len() > 1).then(|| (squares / (n - 1.0)).sqrt()))
}

/// Per cent, with what they vary by.
fn percent(values: &[f64]) -> String {
    match mean_and_std(values) {
        (mean, Some(std)) => format!("{:.1} ± {:.1}", 100.0 * mean, 100.0 * std),
        (mean, None) => format!("{:.1}", 100.0 * mean),
    }
}

/// Writes the report of some runs of a grid, `all` of which are given, in the order in which it names them.
pub fn write(folder: &Path, outcomes: &[Outcome], all: &[Key], left_out: &[String]) -> Result<(), BoxError> {
    let outcomes: Vec<&Outcome> = outcomes.iter().collect();
    let (mut tables, mut figures) = (Vec::new(), Vec::new());
    for (dataset, model) in distinct(&outcomes, |o| (&o.key.dataset, &o.key.model)) {
        let of_set = only(&outcomes, |o| o.key.dataset == *dataset && o.key.model == *model);
        let name = format!("{}, {model}", datasets::by_name(dataset)?.title);
        let file = format!("{dataset}-{}", in_a_name(model));
        // A rule keeps its colour, whatever comes before it.
        let families = distinct(&of_set, |o| parts(&o.key.rule).1);
        for f in distinct(&of_set, |o| o.key.f) {
            let of_f = only(&of_set, |o| o.key.f == f);
            let n = of_f[0].key.n;
            for beta in distinct(&of_f, |o| o.key.beta) {
                tables.push(table(&format!("{name}: n = {n}, f = {f}, β = {beta}"), &only(&of_f, |o| o.key.beta == beta), all));
            }
            for before in distinct(&of_f, |o| parts(&o.key.rule).0) {
                let runs = only(&of_f, |o| parts(&o.key.rule).0 == before);
                let (heading, group) = match before {
                    "" => (format!("{name}: n = {n}, f = {f}"), "rules".into()),
                    _ => (format!("{name}: n = {n}, f = {f}, rules after {before}"), in_a_name(before)),
                };
                // Rules that refused the very first rows have no curve.
                if runs.iter().all(|run| run.accuracy.is_empty()) {
                    continue;
                }
                let columns = distinct(&runs, |o| o.key.beta).len();
                figures.push((format!("{file}-f{f}-{group}"), svg(&heading, &panels(&runs, &families)?, columns)?));
            }
        }
        if of_set.iter().any(|o| is_attack(&o.key.attack)) {
            figures.push((format!("{file}-worst"), worst(&name, &of_set, all)?));
        }
    }
    let markdown: String = tables.iter().map(Table::markdown).collect();
    let html = html(&tables, &figures, &explained(&outcomes)?, (outcomes.len(), all.len()), left_out);
    let mut files = vec![Target::new(&folder.join("table.md"), &[])?.stage([markdown.as_bytes()])?];
    for (name, svg) in &figures {
        files.extend(Figure::new(&folder.join(name), None)?.stage(svg)?);
    }
    files.push(Target::new(&folder.join("report.html"), &[])?.stage([html.as_bytes()])?);
    Ok(publish(files)?)
}

/// What attackers send, and why rules gave up.
fn explained(outcomes: &[&Outcome]) -> Result<Vec<String>, BoxError> {
    let mut lines = Vec::new();
    for attack in distinct(outcomes, |o| &o.key.attack) {
        lines.push(format!("{attack}: {} ({})", title(attack)?, attacks::by_name(attack)?.description()));
    }
    let refused = only(outcomes, |o| o.refused.is_some());
    lines.extend(
        distinct(&refused, |o| (&o.key.rule, &o.refused))
            .iter()
            .map(|(rule, reason)| format!("refused by {rule}: {}", reason.as_deref().unwrap_or_default())),
    );
    Ok(lines)
}

/// Rules by attacks.
fn table(title: &str, outcomes: &[&Outcome], all: &[Key]) -> Table {
    let attacks = distinct(outcomes, |o| &o.key.attack);
    let cell = |rule: &str, attack: &str| {
        let runs = only(outcomes, |o| o.key.rule == rule && o.key.attack == attack);
        if runs.is_empty() {
            return "–".into();
        }
        let of = |what: fn(&Outcome) -> f64| percent(&runs.iter().map(|run| what(run)).collect::<Vec<_>>());
        let some = |what, count| if count > 0 { format!(", {count} {what}") } else { String::new() };
        let diverged = some("diverged", runs.iter().filter(|run| run.diverged).count());
        let refused = some("refused", runs.iter().filter(|run| run.refused.is_some()).count());
        let planned = all.iter().filter(|key| key.same_but_seed(&runs[0].key)).count();
        let open = some("open", planned.saturating_sub(runs.len()));
        format!("{} ({}){diverged}{refused}{open}", of(Outcome::last), of(Outcome::best))
    };
    let rules = distinct(outcomes, |o| &o.key.rule);
    Table {
        title: title.into(),
        head: row("rule", attacks.iter().map(|attack| attack.to_string())),
        rows: rules.iter().map(|rule| row(rule, attacks.iter().map(|attack| cell(rule, attack)))).collect(),
    }
}

/// The pre-aggregations of a rule's specification, if any, and what follows them.
fn parts(rule: &str) -> (&str, &str) {
    rule.rsplit_once('+').unwrap_or(("", rule))
}

/// A specification as a part of a file's name.
fn in_a_name(spec: &str) -> String {
    spec.replace([':', '=', ',', '+', '.'], "-")
}

/// A row of panels an attack, in it one a β; `families` are the rules that have a colour each.
fn panels(outcomes: &[&Outcome], families: &[&str]) -> Result<Vec<Panel>, BoxError> {
    let rules = distinct(outcomes, |o| &o.key.rule);
    let mut panels = Vec::new();
    for attack in distinct(outcomes, |o| &o.key.attack) {
        let title = title(attack)?;
        for beta in distinct(outcomes, |o| o.key.beta) {
            let curve = |rule: &&String| {
                let runs = only(outcomes, |o| o.key.rule == **rule && o.key.attack == *attack && o.key.beta == beta);
                let longest = runs.iter().map(|run| &run.accuracy).max_by_key(|points| points.len());
                // A run that broke off counts as 0 from there on.
                let at = |k: usize| {
                    mean_and_std(&runs.iter().map(|run| run.accuracy.get(k).map_or(0.0, |point| point.1)).collect::<Vec<_>>())
                };
                let steps: Vec<usize> = longest.iter().flat_map(|points| points.iter().map(|point| point.0)).collect();
                let point = |(k, &step): (usize, &usize)| Point { step, accuracy: at(k).0, loss: 0.0, lambda: 0.0, spread: 0.0 };
                Curve {
                    label: rule.to_string(),
                    family: families.iter().position(|family| *family == parts(rule).1).unwrap_or(0),
                    dashed: false,
                    broke_off: !runs.is_empty() && runs.iter().all(|run| run.broke_off()),
                    deviations: (0..steps.len()).map(|k| at(k).1.unwrap_or(0.0)).collect(),
                    points: steps.iter().enumerate().map(point).collect(),
                }
            };
            panels.push(Panel { title: format!("{title}, β = {beta}"), curves: rules.iter().map(curve).collect() });
        }
    }
    Ok(panels)
}

/// Whether somebody attacks at all.
fn is_attack(spec: &str) -> bool {
    attacks::by_name(spec).is_ok_and(|attack| attack.attackers(1) > 0)
}

/// The worst mean accuracy over all attacks, of each rule with each f and β; nothing where a run is open, which could be worse.
fn worst(name: &str, outcomes: &[&Outcome], all: &[Key]) -> Result<String, BoxError> {
    let rules = distinct(outcomes, |o| &o.key.rule);
    let columns: Vec<(usize, f32)> = distinct(outcomes, |o| (o.key.f, o.key.beta));
    let Key { dataset, model, .. } = &outcomes[0].key;
    let attacked = only(outcomes, |o| is_attack(&o.key.attack));
    let planned: Vec<&Key> =
        all.iter().filter(|key| key.dataset == *dataset && key.model == *model && is_attack(&key.attack)).collect();
    let mut some_open = false;
    let mut cell = |rule: &String, (f, beta): (usize, f32)| {
        let here = |key: &Key| key.rule == *rule && key.f == f && key.beta == beta;
        let runs = only(&attacked, |o| here(&o.key));
        let open = runs.len() < planned.iter().filter(|key| here(key)).count();
        some_open |= open;
        let of_attack = |attack: &String| {
            let values: Vec<f64> = runs.iter().filter(|run| run.key.attack == *attack).map(|run| run.last()).collect();
            mean_and_std(&values).0
        };
        distinct(&runs, |o| &o.key.attack).into_iter().map(of_attack).reduce(f64::min).filter(|_| !open)
    };
    let values: Vec<Vec<Option<f64>>> =
        rules.iter().map(|rule| columns.iter().map(|&column| cell(rule, column)).collect()).collect();
    let note = if some_open { " (empty: some are open)" } else { "" };
    let columns: Vec<String> = columns.iter().map(|(f, beta)| format!("f = {f}, β = {beta}")).collect();
    let rules: Vec<String> = rules.into_iter().cloned().collect();
    Ok(heatmap::svg(&format!("{name}: final accuracy (%) under the worst attack{note}"), &rules, &columns, &values)?)
}

fn row(first: &str, rest: impl Iterator<Item = String>) -> Vec<String> {
    std::iter::once(first.to_string()).chain(rest).collect()
}

impl Table {
    fn markdown(&self) -> String {
        let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
        let rule = format!("|{}\n", "---|".repeat(self.head.len()));
        let rows: String = self.rows.iter().map(|row| line(row)).collect();
        format!("### {}\n\n{}{rule}{rows}\n", self.title, line(&self.head))
    }

    fn html(&self) -> String {
        let line = |cells: &[String], tag: &str| {
            // What is in parentheses on a line of its own.
            let cell = |cell: &String| format!("<{tag}>{}</{tag}>", escaped(cell).replace(" (", "<br>("));
            let cells: String = cells.iter().map(cell).collect();
            format!("<tr>{cells}</tr>\n")
        };
        let rows: String = self.rows.iter().map(|row| line(row, "td")).collect();
        let title = escaped(&self.title);
        format!("<h3 id=\"{}\">{title}</h3>\n<table>\n{}{rows}</table>\n", anchor(&self.title), line(&self.head, "th"))
    }
}

/// What links to a title name it by: an id has no spaces.
fn anchor(title: &str) -> String {
    escaped(title).replace(' ', "-")
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

const STYLE: &str = "body { font-family: sans-serif; margin: 2em auto; max-width: 1300px; padding: 0 1em } \
    table { border-collapse: collapse } td, th { border-bottom: 1px solid #ddd; padding: .3em .7em; text-align: right; white-space: nowrap } \
    td:first-child, th:first-child { text-align: left } svg { max-width: 100%; height: auto }";

/// One file that needs no other.
fn html(
    tables: &[Table],
    figures: &[(String, String)],
    explained: &[String],
    (done, all): (usize, usize),
    left_out: &[String],
) -> String {
    let link = |to: &str| format!("<li><a href=\"#{}\">{}</a></li>\n", anchor(to), escaped(to));
    let titles = figures.iter().map(|(name, _)| name).chain(tables.iter().map(|table| &table.title));
    let links: String = titles.map(|title| link(title)).collect();
    let time = humantime::format_rfc3339_seconds(std::time::SystemTime::now());
    let figures: String = figures.iter().map(|(name, svg)| format!("<figure id=\"{name}\">{svg}</figure>\n")).collect();
    let tables: String = tables.iter().map(Table::html).collect();
    let list = |lines: &[String]| lines.iter().map(|line| format!("<li>{}</li>\n", escaped(line))).collect::<String>();
    let (left_out, explained) = (list(left_out), list(explained));
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><title>resam reproduce</title><style>{STYLE}</style></head>\n<body>\n\
         <h1>Training under attack</h1>\n<p>{done} of {all} runs; resam {}, {time}.</p>\n<ul>\n{left_out}{explained}</ul>\n\
         <p>Figures: mean test accuracy over the seeds, and the band of one standard deviation around it. Tables: mean ± standard \
         deviation of the accuracy at the end and, in parentheses, of the best on the way, in per cent. A run that diverged, \
         or on which the rule gave up, counts as 0 from there on.</p>\n\
         <ul>\n{links}</ul>\n{figures}{tables}</body>\n</html>\n",
        env!("CARGO_PKG_VERSION")
    )
}

#[cfg(test)]
mod tests {
    use super::super::grid::Grid;
    use super::*;

    #[test]
    fn mean_and_deviation_are_those_of_the_definition() {
        assert_eq!(percent(&[0.5]), "50.0");
        // Squares of the differences from 0.6: 0.01 twice, over n − 1 = 1.
        assert_eq!(percent(&[0.5, 0.7]), "60.0 ± 14.1");
    }

    #[test]
    fn tables_are_the_same_in_both_forms() {
        let table = Table {
            title: "a < b".into(),
            head: row("rule", ["none".into()].into_iter()),
            rows: vec![row("krum", ["1".into()].into_iter())],
        };
        assert_eq!(table.markdown(), "### a < b\n\n| rule | none |\n|---|---|\n| krum | 1 |\n\n");
        assert_eq!(table.html().matches("</td>").count(), 2);
        assert!(table.html().contains("a &lt; b"));
        let page = html(&[table], &[("worst".into(), "<svg/>".into())], &[], (1, 2), &[]);
        for to in page.split("href=\"#").skip(1).map(|rest| rest.split('"').next().unwrap()) {
            assert!(page.contains(&format!("id=\"{to}\"")) && !to.contains(' '), "{to}");
        }
        assert_eq!(page.matches("href").count(), 2);
    }

    #[test]
    fn a_run_that_broke_off_counts_as_zero_from_there_on() {
        let grid = "datasets = ['digits']\nf = [3]\nrules = ['average']\nattacks = ['none']\nbetas = [0.9]\nseeds = [1, 2]";
        let (keys, _) = Grid::parse(grid).unwrap().runs(&resam::Engine::cpu()).unwrap();
        let outcome = |at: usize, accuracy: &[(usize, f64)], refused: Option<&str>| Outcome {
            key: keys[at].clone(),
            accuracy: accuracy.to_vec(),
            diverged: false,
            refused: refused.map(str::to_string),
            lambda: None,
            seconds: 1.0,
        };
        let outcomes = [outcome(0, &[(0, 0.2), (10, 0.4)], Some("no")), outcome(1, &[(0, 0.2), (10, 0.6), (20, 0.8)], None)];
        let outcomes: Vec<&Outcome> = outcomes.iter().collect();
        let curve = &panels(&outcomes, &["median", "average"]).unwrap()[0].curves[0];
        assert_eq!(
            curve.points.iter().map(|point| (point.step, point.accuracy)).collect::<Vec<_>>(),
            [(0, 0.2), (10, 0.5), (20, 0.4)]
        );
        assert!(!curve.broke_off && curve.deviations.len() == 3 && curve.family == 1);
        assert_eq!(table("", &outcomes, &keys).rows[0][1], "40.0 ± 56.6 (60.0 ± 28.3), 1 refused");
        assert_eq!(table("", &outcomes[1..], &keys).rows[0][1], "80.0 (80.0), 1 open");
        assert!(explained(&outcomes).unwrap()[1].contains("refused by average: no"));
    }

    /// The worst of an unfinished row would be too good; a rule that refuses the first rows has no curve, and hinders no other.
    #[test]
    fn what_is_open_or_has_no_curve_is_left_empty() {
        let grid = "datasets = ['digits']\nf = [3]\nrules = ['average', 'nnm+krum']\nattacks = ['none', 'alie', 'nan']\nbetas = [0.9]\nseeds = [1]";
        let (keys, _) = Grid::parse(grid).unwrap().runs(&resam::Engine::cpu()).unwrap();
        let mut outcomes: Vec<Outcome> = keys
            .iter()
            .map(|key| Outcome {
                key: key.clone(),
                accuracy: if key.rule == "average" { vec![(0, 0.123), (10, 0.456)] } else { vec![] },
                diverged: false,
                refused: (key.rule != "average").then(|| "no".into()),
                lambda: None,
                seconds: 1.0,
            })
            .collect();
        let worst = |outcomes: &[Outcome]| worst("", &outcomes.iter().collect::<Vec<_>>(), &keys).unwrap();
        let all = worst(&outcomes);
        assert!(all.contains("45.6") && !all.contains("open"));
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), &outcomes, &keys, &[]).unwrap();
        let has = |name: &str| folder.path().join(name).exists();
        assert!(has("report.html") && has("digits-mlp-hidden-32-f3-rules.svg") && !has("digits-mlp-hidden-32-f3-nnm.svg"));
        let nan = outcomes.iter().position(|o| o.key.rule == "average" && o.key.attack == "nan").unwrap();
        outcomes.remove(nan);
        let some = worst(&outcomes);
        assert!(!some.contains("45.6") && some.contains("some are open"));
    }
}
