//! A thousand workers, few columns: loops over pairs of rows, tables of n² numbers, long networks.

use crate::agree::{named_row, parsed, run, verify};
use crate::check::Failures;
use crate::families;
use resam::{Engine, rules};

/// Rules that search subsets; their definition enumerates them.
const SEARCH: [&str; 3] = ["mda", "mva", "smea"];
/// Rules whose definition, computed literally, takes n³ steps or more.
const CUBIC: [&str; 4] = ["bulyan", "caf", "dnc", "clipped_clustering"];

#[test]
fn a_thousand_workers() {
    let mut failures = Failures::default();
    let more = parsed(&[
        "fltrust:row=0",
        "nnm+krum",
        "arc+median",
        "clipping:c=2+trimmed_mean",
        "bucketing+geometric_median",
        "nnm+meamed",
    ]);
    let all: Vec<_> =
        rules::all().into_iter().filter(|r| !SEARCH.contains(&r.name()) && r.name() != "fltrust").chain(more).collect();
    for (n, f) in [(1000, 100), (1000, 249), (100, 24)] {
        for rule in all.iter().filter(|rule| CUBIC.contains(&rule.name()) == (n < 1000)) {
            assert!(named_row(&**rule).is_none_or(|row| row < n));
            let case = families::make("alie", n, f, 4, 0x1000);
            let reference = Engine::reference_f64(&**rule, &case.rows(), f).expect("a reference");
            let result = run(&Engine::cpu(), &**rule, &case).map_err(|e| e.to_string());
            let result = result.and_then(|got| verify(&**rule, &case, &reference, &got));
            failures.note(|| format!("{}, {}", rule.spec(), case.name()), result);
        }
    }
    failures.settle();
}
