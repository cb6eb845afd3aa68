//! Every rule on every engine against the literal definition, over families and sizes.

use crate::check::{EPS, Failures, TINY, poisoned, same_bits, same_rows, within};
use crate::device::{SAMPLE, engines, small_sample};
use crate::families::{self, Case};
use crate::literal;
use resam::rules::{self, Rule};
use resam::solve::diameter::least_diameter;
use resam::{Aggregate, Engine, Options, Spec};
use std::sync::Arc;

/// Relative accuracy of distances whose products are summed in f32 over at most 4096 columns: √4096 roundings.
pub const NEAR: f64 = 64.0 * EPS;

/// Every rule with its defaults, the parameters that change what is computed, and pre-aggregations before rules of every kind.
pub fn all_rules() -> Vec<Arc<dyn Rule>> {
    let more = [
        "fltrust:row=1",
        "krum:neighbors=classic",
        "krum:power=4",
        "multi_krum:m=2",
        "multi_krum:power=4",
        "median:middle=lower",
        "meamed:middle=upper",
        "monna:pivot=1",
        "aksel:keep=1",
        "rfa:iterations=7,nu=0.001",
        "centered_clipping:tau=0.5,iterations=4",
        "bulyan:neighbors=classic",
        "bulyan:picks=once",
        "smea:search=greedy",
        "dnc:iterations=3,columns=7,seed=5",
        "geometric_median:method=direct",
        "nnm+average",
        "nnm+median",
        "nnm+phocas",
        "arc+krum",
        "arc+trimmed_mean",
        "clipping:c=2+meamed",
        "clipping:c=2+geometric_median",
        "bucketing:s=1,seed=3+multi_krum",
        "bucketing:s=1+median",
        "nnm+clipping:c=3+bulyan",
        "arc+nnm+centered_clipping",
        "nnm+nnm+aksel",
    ];
    rules::all()
        .into_iter()
        .filter(|rule| !SENSITIVE.contains(&rule.name()) && rule.name() != "fltrust")
        .chain(parsed(&more))
        .collect()
}

/// Rules that merge clusters or alternate: on data with ties or of extreme scales which row is taken hangs on rounding, so they have a
/// test of their own.
const SENSITIVE: [&str; 3] = ["autogm", "clipped_clustering", "signguard"];

/// Rules by their specifications.
pub fn parsed(specs: &[&str]) -> Vec<Arc<dyn Rule>> {
    specs.iter().map(|text| text.parse::<Spec>().expect(text).into_rule()).collect()
}

/// The rules of the RESAM paper and their parameters: none is moved without bound, or knows the origin, or names a row.
pub fn core_rules() -> Vec<Arc<dyn Rule>> {
    parsed(&[
        "average",
        "median",
        "trimmed_mean",
        "meamed",
        "krum",
        "multi_krum",
        "mda",
        "geometric_median",
        "krum:neighbors=classic",
        "multi_krum:m=2",
        "geometric_median:method=direct",
    ])
}

/// Those of [`all_rules`] that take the case's (n, f).
pub fn rules_for(case: &Case) -> Vec<Arc<dyn Rule>> {
    let fits = |rule: &Arc<dyn Rule>| rule.check(case.n, case.f).is_ok() && named_row(&**rule).is_none_or(|row| row < case.n);
    all_rules().into_iter().filter(fits).collect()
}

/// The row that a rule's parameter names, if it names one.
pub fn named_row(rule: &dyn Rule) -> Option<usize> {
    match rule.name() {
        "monna" => Some(parameter(rule, "pivot").map_or(0, |row| row.parse().expect("a number"))),
        "fltrust" => parameter(rule, "row").map(|row| row.parse().expect("a number")),
        _ => None,
    }
}

/// The rule for the matrix without some rows: what names a row names the same one.
pub fn renumbered(rule: &dyn Rule, without: &[usize]) -> Arc<dyn Rule> {
    let spec = match named_row(rule) {
        None => rule.spec(),
        Some(row) => {
            let moved = row - without.iter().filter(|&&i| i < row).count();
            let key = if rule.name() == "monna" { "pivot" } else { "row" };
            format!("{}:{key}={moved}", rule.name())
        }
    };
    spec.parse::<Spec>().expect("what a rule prints").into_rule()
}

/// Runs the rule into a buffer full of garbage.
pub fn run(engine: &Engine, rule: &dyn Rule, case: &Case) -> resam::Result<Aggregate> {
    let mut values = poisoned(case.d);
    let report = engine.aggregate_into_blocking(rule, &case.rows(), case.f, &mut values)?;
    Ok(Aggregate { values, report })
}

/// Is this the rule's aggregate of the case? `reference` is the one of [`Engine::reference_f64`].
pub fn verify(rule: &dyn Rule, case: &Case, reference: &[f64], got: &Aggregate) -> Result<(), String> {
    let Case { n, f, d, .. } = *case;
    if (got.report.n, got.report.d, got.report.f) != (n, d, f) {
        return Err(format!("the report is about {:?}", (got.report.n, got.report.d, got.report.f)));
    }
    let direct = got.report.rule.ends_with("method=direct");
    if rule.spec().contains('+') {
        return near(case, reference, got, CHAINED);
    }
    let by_row = |c: Vec<f32>, ranks, keep| literal::nearest_by_row(&c, ranks, keep);
    let middle = |m: usize| match parameter(rule, "middle").as_deref() {
        None => (m - 1) / 2..m / 2 + 1,
        Some("lower") => (m - 1) / 2..(m - 1) / 2 + 1,
        Some(_) => m / 2..m / 2 + 1,
    };
    match rule.name() {
        "median" if parameter(rule, "middle").is_some() => {
            coordinate(case, reference, got, |c| literal::ordered(c)[middle(n)].to_vec(), true)
        }
        "meamed" if parameter(rule, "middle").is_some() => {
            coordinate(case, reference, got, |c| by_row(literal::ordered(c), middle(n), n - f), false)
        }
        "phocas" => coordinate(case, reference, got, |c| by_row(c, f..n - f, n - f), false),
        "sign_majority" => same_bits(&got.values, &reference.iter().map(|v| *v as f32).collect::<Vec<_>>()),
        "bulyan" => {
            let picked = kept(got)?.to_vec();
            if picked.len() != n - 2 * f {
                return Err(format!("picked {picked:?}: not n - 2f rows"));
            }
            let rows = Case { data: picked.iter().flat_map(|&i| case.row(i).to_vec()).collect(), n: picked.len(), ..case.clone() };
            let theta = picked.len();
            let values = |k: usize| by_row(rows.column(k), (theta - 1) / 2..theta / 2 + 1, n - 4 * f);
            let means: Vec<f64> = (0..d).map(|k| literal::mean(values(k).iter().map(|v| f64::from(*v)))).collect();
            let far =
                within(&means.iter().map(|v| *v as f32).collect::<Vec<_>>(), reference, |k| 4.0 * EPS * means[k].abs() + TINY);
            if far.is_err() && !got.report.close_call() {
                return Err(format!("picked {picked:?}, margin {:?}: {far:?}", got.report.margin));
            }
            coordinate(&rows, &means, got, |c| by_row(c, (theta - 1) / 2..theta / 2 + 1, n - 4 * f), false)
        }
        "monna" | "medoid" | "cge" | "aksel" => {
            let scores = selecting_scores(rule, case);
            let keep = match rule.name() {
                "medoid" => 1,
                "aksel" => parameter(rule, "keep").map_or(n.div_ceil(2), |keep| keep.parse().expect("a number")),
                _ => n - f,
            };
            let kept = legal_least(case, &scores, keep, got)?;
            let expected = kept == literal::least(&scores, keep);
            if keep == 1 {
                same_bits(&got.values, case.row(kept[0]))
            } else {
                mean_of(case, if expected { reference } else { &[] }, got, &kept)
            }
        }
        "mva" | "smea" | "dnc" => {
            let kept = kept(got)?;
            let exact = mean_of(case, reference, got, kept);
            if exact.is_ok() || rule.name() == "dnc" && !got.report.close_call() || rule.spec().contains("greedy") && f == 0 {
                return exact;
            }
            // Another subset, then: one that is no worse than rounding can tell, or a filter whose scores are that close.
            mean_of(case, &[], got, kept)?;
            if rule.spec() == "mva" {
                let d2 = distances2(case);
                let spread =
                    |rows: &[usize]| rows.iter().flat_map(|&i| rows.iter().map(|&j| d2[i][j]).collect::<Vec<_>>()).sum::<f64>();
                let least = literal::subsets(n, n - f).iter().map(|rows| spread(rows)).fold(f64::INFINITY, f64::min);
                return if spread(kept) <= least * (1.0 + NEAR) + flushed(case) * (n * n) as f64 { Ok(()) } else { exact };
            }
            if rule.spec() == "smea" {
                let top = |rows: &[usize]| literal::top_eigenvalue(&rows.iter().map(|&i| case.row(i)).collect::<Vec<_>>());
                let least = literal::subsets(n, n - f).iter().map(|rows| top(rows)).fold(f64::INFINITY, f64::min);
                return if top(kept) <= least * (1.0 + 4.0 * NEAR) + flushed(case) * n as f64 { Ok(()) } else { exact };
            }
            if got.report.close_call() || rule.spec().contains("greedy") { Ok(()) } else { exact }
        }
        // Weights that a row near the end point, or two like eigenvalues, make sensitive.
        "caf" => near(case, reference, got, 10.0 * CHAINED),
        "rfa" if parameter(rule, "nu").is_some() => near(case, reference, got, 50.0 * CHAINED),
        // Cosines of rows that are nearly orthogonal have the accuracy of 1, whatever their size.
        "fltrust" => {
            let most = reference.iter().map(|v| v.abs()).fold(0.0, f64::max).min(f64::from(f32::MAX));
            let held: Vec<f64> = reference.iter().map(|v| v.clamp(f64::from(f32::MIN), f64::from(f32::MAX))).collect();
            within(&got.values, &held, |_| CHAINED * most + (n as f64 + 2.0) * TINY)
        }
        // Which rows cluster may hang on rounding.
        "clipped_clustering" | "signguard" => near(case, reference, got, WEIGHTED),
        "autogm" => near(case, reference, got, 10.0 * WEIGHTED),
        "rfa" | "centered_clipping" => near(case, reference, got, WEIGHTED),
        "median" => coordinate(case, reference, got, |c| literal::ordered(c)[(n - 1) / 2..n / 2 + 1].to_vec(), n % 2 == 1),
        "trimmed_mean" => coordinate(case, reference, got, |c| literal::ordered(c)[f..n - f].to_vec(), n - 2 * f == 1),
        "meamed" => coordinate(case, reference, got, |c| literal::nearest_median(c, n - f), false),
        "average" => mean_of(case, reference, got, &(0..n).collect::<Vec<_>>()),
        "krum" => {
            let kept = least_scores(rule, case, got, 1)?;
            same_bits(&got.values, case.row(kept[0]))
        }
        "multi_krum" => {
            let m = parameter(rule, "m").map_or(n - f, |m| m.parse().expect("a number"));
            let kept = least_scores(rule, case, got, m)?;
            let expected = literal::least(&krum_scores(rule, case), m);
            mean_of(case, if kept == expected { reference } else { &[] }, got, &kept)
        }
        "mda" => {
            let d2 = distances2(case);
            let best = least_diameter(&d2.concat(), n, n - f, u64::MAX);
            let kept = kept(got)?;
            if kept.len() != n - f {
                return Err(format!("kept {kept:?}: not n - f rows"));
            }
            if kept != best.rows {
                let slack = best.diameter2 * (1.0 + NEAR) + flushed(case);
                if !got.report.close_call() || literal::diameter2(&d2, kept) > slack {
                    return Err(format!("kept {kept:?}, expected {:?}; margin {:?}", best.rows, got.report.margin));
                }
            }
            mean_of(case, if kept == best.rows { reference } else { &[] }, got, kept)
        }
        "geometric_median" => geometric_median(case, reference, got, direct && n > 2 && d > 1),
        name => panic!("no comparison is written for the rule {name}"),
    }
}

/// Accuracy of weights that are smooth functions of distances.
const WEIGHTED: f64 = 1e-4;
/// The same after pre-aggregations.
const CHAINED: f64 = 1e-4;

/// Near the reference: to `accuracy` of the honest spread and size of the column. A result that a close call decided is any of the rows' hull.
fn near(case: &Case, reference: &[f64], got: &Aggregate, accuracy: f64) -> Result<(), String> {
    let n = case.n;
    // Half of the rows are no larger than this anywhere.
    let mut sizes: Vec<f64> = (0..n).map(|i| case.row(i).iter().map(|v| f64::from(v.abs())).fold(0.0, f64::max)).collect();
    sizes.sort_by(f64::total_cmp);
    let size = sizes[n / 2];
    // What an output can hold.
    let held: Vec<f64> = reference.iter().map(|v| v.clamp(f64::from(f32::MIN), f64::from(f32::MAX))).collect();
    let bound = |k: usize| {
        let column = literal::ordered(case.column(k));
        // Half of the values are no farther than this from the median, and from zero.
        let middle = f64::from(column[n / 2]);
        let spread = column.iter().map(|v| (f64::from(*v) - middle).abs()).fold(0.0, f64::max).min(10.0 * size);
        accuracy * (spread + reference[k].abs())
            + (n as f64 + 6.0) * EPS * (middle.abs() + reference[k].abs())
            + (n as f64 + 2.0) * TINY
    };
    match within(&got.values, &held, bound) {
        Err(_) if got.report.close_call() && got.values.iter().all(|v| v.is_finite()) => Ok(()),
        result => result,
    }
}

/// What a rule that keeps the rows of least score goes by.
fn selecting_scores(rule: &dyn Rule, case: &Case) -> Vec<f64> {
    let d2 = distances2(case);
    let about = |centre: Vec<f64>| -> Vec<f64> {
        (0..case.n).map(|i| case.row(i).iter().zip(&centre).map(|(x, c)| (f64::from(*x) - c).powi(2)).sum()).collect()
    };
    match rule.name() {
        "monna" => d2[named_row(rule).expect("a pivot")].clone(),
        "medoid" => d2.iter().map(|row| row.iter().map(|d2| d2.sqrt()).sum()).collect(),
        "cge" => about(vec![0.0; case.d]).iter().map(|d2| d2.sqrt()).collect(),
        _ => {
            let n = case.n;
            let median = |k: usize| {
                let column = literal::ordered(case.column(k));
                0.5 * (f64::from(column[(n - 1) / 2]) + f64::from(column[n / 2]))
            };
            about((0..case.d).map(median).collect())
        }
    }
}

/// A coordinate rule: the mean of the values kept, or the bits of the only one.
fn coordinate(
    case: &Case,
    reference: &[f64],
    got: &Aggregate,
    keep: impl Fn(Vec<f32>) -> Vec<f32>,
    selected: bool,
) -> Result<(), String> {
    let kept: Vec<Vec<f32>> = (0..case.d).map(|k| keep(case.column(k))).collect();
    let largest: Vec<f64> = kept.iter().map(|c| c.iter().map(|v| f64::from(v.abs())).fold(0.0, f64::max)).collect();
    // The definition by this suite and the definition by the crate.
    for k in 0..case.d {
        let mean = literal::mean(kept[k].iter().map(|v| f64::from(*v)));
        if (mean - reference[k]).abs() > case.n as f64 * f64::EPSILON * largest[k] {
            return Err(format!("column {k}: the reference is {:e}, by definition it is {mean:e}", reference[k]));
        }
    }
    if selected {
        return same_bits(&got.values, &kept.iter().map(|c| c[0]).collect::<Vec<_>>());
    }
    let n = case.n as f64;
    within(&got.values, reference, |k| (n + 2.0) * EPS * largest[k] + TINY)
}

/// The mean of some rows; `reference` may be empty when these are not the reference's rows.
fn mean_of(case: &Case, reference: &[f64], got: &Aggregate, kept: &[usize]) -> Result<(), String> {
    let m = kept.len() as f64;
    let weights = got.report.weights.as_ref().ok_or("no weights in the report")?;
    if weights.len() != case.n || (0..case.n).any(|i| weights[i] != if kept.contains(&i) { 1.0 / m } else { 0.0 }) {
        return Err(format!("weights {weights:?} for the rows {kept:?}"));
    }
    let column = |k: usize| kept.iter().map(move |&i| f64::from(case.data[i * case.d + k]));
    let means: Vec<f64> = (0..case.d).map(|k| literal::mean(column(k))).collect();
    // One rounding a term, relative to the row it is centred on, one for the weight, and a few for the last steps.
    let bound = |k: usize| {
        let (low, high) = column(k).fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
        (m + 6.0) * EPS * (high - low) + 2.0 * EPS * low.abs().max(high.abs()) + (m + 2.0) * TINY
    };
    within(&got.values, if reference.is_empty() { &means } else { reference }, bound)
}

fn distances2(case: &Case) -> Vec<Vec<f64>> {
    literal::distances2(&(0..case.n).map(|i| case.row(i)).collect::<Vec<_>>())
}

/// Squared distances that vanish when a device flushes denormals.
fn flushed(case: &Case) -> f64 {
    4.0 * case.d as f64 * TINY * TINY
}

fn kept(got: &Aggregate) -> Result<&[usize], String> {
    got.report.kept.as_deref().ok_or_else(|| "no kept rows in the report".into())
}

/// The value of a parameter in a rule's specification.
fn parameter(rule: &dyn Rule, key: &str) -> Option<String> {
    let spec = rule.spec();
    let (_, pairs) = spec.split_once(':')?;
    pairs.split(',').find_map(|pair| pair.strip_prefix(key)?.strip_prefix('=').map(String::from))
}

/// Neighbours of a Krum score.
fn neighbors(rule: &dyn Rule, n: usize, f: usize) -> usize {
    match parameter(rule, "neighbors").as_deref() {
        None | Some("star") => n - f - 1,
        Some("classic") => n - f - 2,
        Some(number) => number.parse().expect("a number"),
    }
}

/// The rows a rule of least scores kept, if they are the right ones: any of a near tie that the report admits, exactly the lower
/// ones of equal scores.
fn least_scores(rule: &dyn Rule, case: &Case, got: &Aggregate, m: usize) -> Result<Vec<usize>, String> {
    legal_least(case, &krum_scores(rule, case), m, got)
}

fn krum_scores(rule: &dyn Rule, case: &Case) -> Vec<f64> {
    let power = parameter(rule, "power").map_or(2.0, |power| power.parse().expect("a number"));
    let powers: Vec<Vec<f64>> = distances2(case).iter().map(|row| row.iter().map(|d2| d2.powf(0.5 * power)).collect()).collect();
    literal::scores(&powers, neighbors(rule, case.n, case.f))
}

/// The rows kept, if they are those of least score.
fn legal_least(case: &Case, scores: &[f64], m: usize, got: &Aggregate) -> Result<Vec<usize>, String> {
    let expected = literal::least(scores, m);
    let kept = kept(got)?.to_vec();
    if kept == expected {
        return Ok(kept);
    }
    let slack = |s: f64| s * (1.0 + NEAR) + case.n as f64 * flushed(case).sqrt().max(flushed(case));
    let others = || (0..case.n).filter(|j| !kept.contains(j));
    let legal = |i: usize, j: usize| scores[i] <= slack(scores[j]) && (scores[i] != scores[j] || i < j || case.n == 2);
    if kept.len() == m && got.report.close_call() && kept.iter().all(|&i| others().all(|j| legal(i, j))) {
        return Ok(kept);
    }
    Err(format!("kept {kept:?}, expected {expected:?}; margin {:?}, scores {scores:?}", got.report.margin))
}

/// Relative accuracy of the weights of a geometric median: of inner products summed in f32, and of the direct iteration, which
/// stops at a change of 1e-5 a round.
const WEIGHTS: f64 = 1e-5;
const WEIGHTS_DIRECT: f64 = 1e-3;

/// The geometric median: near the reference, and a point where the unit pulls of the rows cancel.
fn geometric_median(case: &Case, reference: &[f64], got: &Aggregate, direct: bool) -> Result<(), String> {
    let (n, d) = (case.n, case.d);
    if d == 1 {
        let middle = |c: Vec<f32>| literal::ordered(c)[(n - 1) / 2..n / 2 + 1].to_vec();
        // One or two rows are averaged, which need not keep the sign of a zero.
        return coordinate(case, reference, got, middle, n % 2 == 1 && n > 2);
    }
    let away = |i: usize, y: &[f64]| case.row(i).iter().zip(y).map(|(x, y)| (f64::from(*x) - y).powi(2)).sum::<f64>().sqrt();
    let r: Vec<f64> = (0..n).map(|i| away(i, reference)).collect();
    let mut sorted = r.clone();
    sorted.sort_by(f64::total_cmp);
    // Weights w_i ∝ 1/r_i; a row at the median itself counts like one at the middle distance. Where most rows coincide the
    // direct iteration, which knows no zero distance, is allowed its accuracy of the next one.
    let least = if direct { sorted.iter().copied().find(|r| *r > 0.0).unwrap_or(0.0) } else { 0.0 };
    let nearest = sorted[n / 2].max(least).max(f64::MIN_POSITIVE);
    let pulls: Vec<f64> = r.iter().map(|r| 1.0 / r.max(nearest)).collect();
    let total: f64 = pulls.iter().sum();
    let accuracy = if direct { WEIGHTS_DIRECT } else { WEIGHTS };
    let bounds: Vec<f64> = (0..d)
        .map(|k| {
            let spread = |i: usize| pulls[i] / total * (f64::from(case.data[i * d + k]) - reference[k]).abs();
            let moved: f64 = (0..n).map(spread).sum();
            (accuracy + (n as f64 + 6.0) * EPS) * moved + 4.0 * EPS * reference[k].abs() + (n as f64 + 2.0) * TINY
        })
        .collect();
    within(&got.values, reference, |k| bounds[k])?;

    let y: Vec<f64> = got.values.iter().map(|v| f64::from(*v)).collect();
    let error = bounds.iter().map(|b| b * b).sum::<f64>().sqrt();
    let (mut pull, mut slack) = (vec![0.0; d], 0.0);
    for i in 0..n {
        let r = away(i, &y);
        if r <= 2.0 * error {
            slack += 1.0;
            continue;
        }
        slack += 2.0 * error / r;
        pull.iter_mut().zip(case.row(i)).zip(&y).for_each(|((p, x), y)| *p += (f64::from(*x) - y) / r);
    }
    let pull = pull.iter().map(|p| p * p).sum::<f64>().sqrt();
    if pull > slack + 1e-9 { Err(format!("the rows pull with {pull:e}, more than {slack:e}")) } else { Ok(()) }
}

/// (n, f) and columns.
type Sizes<'a> = [((usize, usize), &'a [usize])];

/// Every engine's results, each held to the one reference; columns: one, tiles of 64 and blocks of 4096 and their edges, beyond the
/// default sample.
fn agree(sizes: &Sizes<'_>) {
    let engines = engines().into_iter().map(|(name, engine)| (name, small_sample(engine))).collect::<Vec<_>>();
    let mut failures = Failures::default();
    let mut refused = 0;
    for &((n, f), widths) in sizes {
        for &d in widths {
            for (at, family) in families::NAMES.into_iter().enumerate() {
                // Large sizes take every fourth family.
                if n * d > 30_000 && at % 4 != (n + d) % 4 {
                    continue;
                }
                let case = families::make(family, n, f, d, 0x7e57);
                for (turn, rule) in all_rules().into_iter().enumerate() {
                    if rule.check(n, f).is_err() || named_row(&*rule).is_some_and(|row| row >= n) {
                        refused += 1;
                        continue;
                    }
                    // Rules that search subsets have literal twins that list them; chains and parameters take turns.
                    // Mixed values tie where no engine's rounding does, and values of all sizes leave nothing of the small ones' distances.
                    let hard = family == "wide" && (rule.spec().contains('+') || matches!(rule.name(), "aksel" | "caf"))
                        || family == "sparse" && rule.name() == "caf"
                        || matches!(family, "zeros" | "ties") && rule.spec() == "nnm+phocas";
                    if hard || matches!(rule.name(), "mva" | "smea") && n > 15 || turn >= 22 && turn % 3 != (at + n) % 3 {
                        continue;
                    }
                    // The literal MDA is exponential; that of the solver on f64 distances takes over.
                    let reference = if rule.name() == "mda" && n > 15 {
                        let best = least_diameter(&distances2(&case).concat(), n, n - f, u64::MAX);
                        let column = |k: usize| best.rows.iter().map(|&i| f64::from(case.data[i * d + k])).collect::<Vec<_>>();
                        (0..d).map(|k| literal::mean(column(k).into_iter())).collect()
                    } else {
                        Engine::reference_f64(&*rule, &case.rows(), f).expect("a reference")
                    };
                    for (name, engine) in &engines {
                        let result = run(engine, &*rule, &case).map_err(|e| e.to_string());
                        let result = result.and_then(|got| {
                            verify(&*rule, &case, &reference, &got)?;
                            same_rows("non-finite", &got.report.non_finite, &[])?;
                            reads(&*rule, &got, d)
                        });
                        failures.note(|| format!("{name}, {}, {}", rule.spec(), case.name()), result);
                    }
                }
            }
        }
    }
    println!("{refused} combinations that the rules refuse");
    failures.settle();
}

/// Rows so far apart in size that the ratio of their scales is 0 in f32: the three that agree are the geometric median.
#[test]
fn tiny_rows_beside_huge_ones() {
    let d = 70;
    let direction: Vec<f32> = (0..d).map(|k| ((k * k + 3 * k) % 11) as f32 - 5.0).collect();
    let row = |size: f32| direction.iter().map(move |u| size * u);
    let data: Vec<f32> = [1e-12, 1.0001e-12, 0.9999e-12, -1e-12, 1e37].into_iter().flat_map(row).collect();
    let rows = resam::Rows::from_slice(&data, 5, d).expect("rows");
    let rule = parsed(&["geometric_median:method=direct"]).remove(0);
    for (name, engine) in engines() {
        let got = engine.aggregate_blocking(&*rule, &rows, 2).expect("a result");
        let far = got.values.iter().zip(row(1e-12)).map(|(y, c)| (y - c).abs()).fold(0.0, f32::max);
        assert!(got.report.converged && far < 1e-15, "{name}: {far:e} away, {:?}", got.report);
    }
}

/// No rule reads the data more than twice, and once more when a row hid; the direct iteration reads once a round.
fn reads(rule: &dyn Rule, got: &Aggregate, d: usize) -> Result<(), String> {
    let hidden = usize::from(got.report.hidden_row);
    let most = match &rule.spec() {
        direct if direct.ends_with("direct") && d > 1 => 2 + 500 * (1 + hidden),
        chained if chained.ends_with("+aksel") => 3 + hidden,
        _ => 2 + hidden,
    };
    if got.report.passes == 0 || got.report.passes > most {
        return Err(format!("{} reads of the data, expected 1 to {most}", got.report.passes));
    }
    if d <= SAMPLE && got.report.hidden_row && !rule.spec().ends_with("direct") {
        return Err("a row hid from a sample of all columns".into());
    }
    Ok(())
}

#[test]
fn few_rows_agree_with_the_reference() {
    agree(&[
        ((1, 0), &[1, 65]),
        ((2, 0), &[2, 64, 1000]),
        ((3, 1), &[1, 63, 65, 4097]),
        ((5, 1), &[2, 64, 1000, 4096]),
        ((5, 2), &[65, 4097]),
        ((8, 3), &[1, 63, 1000]),
        ((15, 3), &[2, 65, 1000]),
    ]);
}

#[test]
fn more_rows_agree_with_the_reference() {
    agree(&[((25, 5), &[64, 1000, 9000]), ((33, 10), &[65, 1000]), ((70, 20), &[130])]);
}

/// Columns of so many values that a GPU's invocations share them, in every shape of what is kept.
#[test]
fn many_rows_in_a_column() {
    let mut failures = Failures::default();
    let specs = ["median", "trimmed_mean", "meamed", "phocas", "meamed:middle=upper", "sign_majority", "nnm+median", "nnm+meamed"];
    for (n, f, d) in [(129, 0, 3), (150, 40, 37), (257, 128, 19), (600, 3, 5), (1024, 500, 9)] {
        for family in ["gauss", "ties", "huge", "zeros", "denormals", "near equal"] {
            let case = families::make(family, n, f, d, 0x3a);
            for rule in parsed(&specs) {
                // As in `agree`.
                if n > 300 && rule.spec().contains('+') || matches!(family, "zeros" | "ties") && rule.spec() == "nnm+meamed" {
                    continue;
                }
                let reference = Engine::reference_f64(&*rule, &case.rows(), f).expect("a reference");
                for (name, engine) in engines() {
                    let engine = engine.with_options(Options { diagnose: true, ..Options::default() });
                    let result = run(&engine, &*rule, &case).map_err(|e| e.to_string()).and_then(|got| {
                        verify(&*rule, &case, &reference, &got)?;
                        let outside = got.report.outside.as_ref().ok_or("no diagnosis")?;
                        let least = Engine::cpu().with_options(Options { diagnose: true, ..Options::default() });
                        let cpu = run(&least, &*rule, &case).map_err(|e| e.to_string())?.report.outside;
                        match rule.spec().contains('+') || cpu.as_ref() == Some(outside) {
                            true => Ok(()),
                            false => Err(format!("outside {outside:?}, on the CPU {cpu:?}")),
                        }
                    });
                    failures.note(|| format!("{name}, {}, {}", rule.spec(), case.name()), result);
                }
            }
        }
    }
    failures.settle();
}

/// Every engine's results of these rules on (n, f, d), each held to the reference.
fn hold(sizes: &[(usize, usize, usize)], families: &[&'static str], specs: &[&str]) {
    let mut failures = Failures::default();
    for (&(n, f, d), family) in sizes.iter().flat_map(|size| families.iter().map(move |family| (size, family))) {
        let case = families::make(family, n, f, d, 0x3b);
        for rule in parsed(specs) {
            let reference = Engine::reference_f64(&*rule, &case.rows(), f).expect("a reference");
            for (name, engine) in engines() {
                let result = run(&small_sample(engine), &*rule, &case).map_err(|e| e.to_string());
                let result = result.and_then(|got| verify(&*rule, &case, &reference, &got));
                failures.note(|| format!("{name}, {}, {}", rule.spec(), case.name()), result);
            }
        }
    }
    failures.settle();
}

/// So many rows that the groups of a GPU share the pairs of rows.
#[test]
fn pairs_of_many_rows() {
    let sizes = [(88, 20, 4200), (89, 20, 130), (128, 50, 300), (129, 3, 70), (257, 100, 66), (600, 100, 65)];
    hold(&sizes, &["gauss", "offset 1000", "far 1e30"], &["krum", "multi_krum", "monna:pivot=1", "medoid", "rfa", "nnm+krum"]);
}

/// So many rows and columns that a software device, which ends loops after 65,535 iterations in silence, would have ended some.
#[test]
fn loops_over_many_rows_do_not_end_early() {
    let families = ["gauss", "offset 1000", "far 1e30"];
    hold(&[(40, 4, 1000), (150, 15, 4200)], &families, &["nnm+aksel"]);
    hold(&[(200, 20, 4200)], &families, &["aksel"]);
    hold(&[(300, 30, 2100), (520, 50, 4100)], &families, &["geometric_median:method=direct"]);
}

/// With the default sample, on more columns than it takes.
#[test]
fn default_sample_agrees_with_the_reference() {
    let mut failures = Failures::default();
    for family in ["gauss", "far 1e30", "offset 1e4", "huge"] {
        let case = families::make(family, 5, 1, 9000, 0x5a);
        for rule in rules_for(&case) {
            let reference = Engine::reference_f64(&*rule, &case.rows(), case.f).expect("a reference");
            for (name, engine) in engines() {
                let result = run(&engine, &*rule, &case).map_err(|e| e.to_string());
                let result =
                    result.and_then(|got| verify(&*rule, &case, &reference, &got).and_then(|()| reads(&*rule, &got, case.d)));
                failures.note(|| format!("{name}, {}, {}", rule.spec(), case.name()), result);
            }
        }
    }
    failures.settle();
}

/// The reference engine rounds the f64 reference once.
#[test]
fn the_reference_engine_rounds_the_reference() {
    let case = families::make("alie", 8, 2, 33, 3);
    for rule in rules_for(&case) {
        let reference = Engine::reference_f64(&*rule, &case.rows(), 2).expect("a reference");
        let got = run(&Engine::reference(), &*rule, &case).expect("an aggregate");
        same_bits(&got.values, &reference.iter().map(|v| *v as f32).collect::<Vec<_>>()).expect("one rounding");
        assert_eq!(got.report.device, "reference");
    }
}

/// On data without ties the sensitive rules agree, too.
#[test]
fn sensitive_rules_agree_on_plain_data() {
    let mut failures = Failures::default();
    let specs = [
        "autogm",
        "autogm:lambda=3",
        "clipped_clustering",
        "clipped_clustering:linkage=complete",
        "signguard",
        "signguard:columns=500,seed=1",
    ];
    for (n, f, d) in [(5, 1, 130), (9, 2, 4100), (15, 3, 1000), (33, 8, 300)] {
        for family in ["gauss", "alie"] {
            let case = families::make(family, n, f, d, 0x5e);
            for rule in parsed(&specs) {
                let reference = Engine::reference_f64(&*rule, &case.rows(), f).expect("a reference");
                for (name, engine) in engines() {
                    let result = run(&small_sample(engine), &*rule, &case).map_err(|e| e.to_string());
                    let result = result.and_then(|got| verify(&*rule, &case, &reference, &got));
                    failures.note(|| format!("{name}, {}, {}", rule.spec(), case.name()), result);
                }
            }
        }
    }
    failures.settle();
}

/// Seen from the origin, rows with a common offset differ by small angles, which must not drown in rounding.
#[test]
fn small_angles_are_told_apart() {
    let mut failures = Failures::default();
    for (seed, (n, d)) in [(5, 5), (15, 5), (9, 40), (15, 130)].into_iter().cycle().take(80).enumerate() {
        let case = families::make("offset 1000", n, 2, d, seed as u64);
        for rule in parsed(&["clipped_clustering", "clipped_clustering:linkage=complete"]) {
            let reference = Engine::reference_f64(&*rule, &case.rows(), case.f).expect("a reference");
            let got = run(&Engine::cpu(), &*rule, &case).expect("an aggregate");
            // Rows differ by 0.05; a result is rounded by 1000 EPS.
            failures.note(|| format!("{}, {seed}, {}", rule.spec(), case.name()), within(&got.values, &reference, |_| 2e-4));
        }
    }
    failures.settle();
}
