//! Rules as text: `krum:neighbors=3`, `trimmed_mean:f=2`, `nnm+bucketing:s=2,seed=7+krum`.

use crate::chain::{Chain, Stage};
use crate::error::{Error, Result};
use crate::parameters::Parameters;
use crate::pre::{self, PreAggregation};
use crate::rules::{self, Rule};
use std::str::FromStr;
use std::sync::Arc;

/// A rule, perhaps with pre-aggregations before it, and the values of f that the text names.
///
/// Grammar: stages joined by `+`, each `name` or `name:key=value,key=value`. The last stage is the rule, those before it are
/// pre-aggregations ([`Chain`]). Every stage takes `f`, which overrides the caller's.
///
/// ```
/// let spec: resam::Spec = "multi_krum:m=4,f=2".parse().unwrap();
/// assert_eq!(spec.rule().name(), "multi_krum");
/// assert_eq!(spec.f_or(5), 2);
/// let spec: resam::Spec = "nnm+bucketing:s=2,seed=7+krum".parse().unwrap();
/// assert_eq!(spec.rule().spec(), "nnm+bucketing:seed=7+krum");
/// assert!("krumm".parse::<resam::Spec>().unwrap_err().to_string().contains("krum"));
/// ```
#[derive(Debug, Clone)]
pub struct Spec {
    rule: Arc<dyn Rule>,
    /// The f of each stage, if the text names one.
    own: Vec<Option<usize>>,
}

impl Spec {
    /// The rule.
    pub fn rule(&self) -> &dyn Rule {
        &*self.rule
    }

    /// The rule, to keep.
    pub fn into_rule(self) -> Arc<dyn Rule> {
        self.rule
    }

    /// The most rows that may be Byzantine, if every stage names its f.
    pub fn f(&self) -> Option<usize> {
        self.own.iter().copied().collect::<Option<Vec<usize>>>()?.into_iter().max()
    }

    /// The most rows that may be Byzantine: as many as the stages say, if all do, else the caller's `f`.
    pub fn f_or(&self, f: usize) -> usize {
        self.f().unwrap_or(f)
    }
}

/// A stage as it is written.
struct Text<'a> {
    whole: &'a str,
    name: &'a str,
    parameters: Option<&'a str>,
}

impl Text<'_> {
    /// What this stage is, by a catalogue of its kind, and its own f.
    fn read<T: ?Sized>(
        &self,
        build: impl Fn(&str, &mut Parameters) -> Option<Result<Arc<T>>>,
        unknown: impl Fn() -> String,
    ) -> Result<Stage<T>> {
        let mut parameters = Parameters::parse(self.whole, self.parameters)?;
        let f = parameters.take("f")?;
        let what = build(self.name, &mut parameters).unwrap_or_else(|| Err(Error::spec(self.whole, unknown())))?;
        parameters.finish(self.name)?;
        Ok(Stage::new(what, f))
    }
}

impl FromStr for Spec {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if text.contains(char::is_control) {
            return Err(Error::spec(&text.escape_debug().to_string(), "it holds control characters"));
        }
        let mut stages: Vec<Text> = stages(text)
            .into_iter()
            .map(|part| {
                let part = part.trim();
                let (name, parameters) = part.split_once(':').map_or((part, None), |(name, rest)| (name.trim(), Some(rest)));
                Text { whole: text, name, parameters }
            })
            .collect();
        let last = stages.pop().ok_or_else(|| Error::spec(text, "it is empty"))?;
        let rule: Stage<dyn Rule> = last.read(rules::build, || match pre::names().any(|name| name == last.name) {
            true => format!("'{}' is a pre-aggregation, a rule must follow it", last.name),
            false => format!("no rule is named '{}'; {}", last.name, known(last.name, rules::names())),
        })?;
        let before = |stage: &Text| {
            stage.read(pre::build, || match rules::names().any(|name| name == stage.name) {
                true => format!("'{}' is a rule, which ends a specification", stage.name),
                false => format!("no pre-aggregation is named '{}'; {}", stage.name, known(stage.name, pre::names())),
            })
        };
        let stages: Vec<Stage<dyn PreAggregation>> = stages.iter().map(before).collect::<Result<_>>()?;
        let own = stages.iter().map(Stage::own).chain([rule.own()]).collect();
        let rule = if stages.is_empty() { rule.into_inner() } else { Arc::new(Chain::new(stages, rule)) };
        Ok(Self { rule, own })
    }
}

/// The stages of a specification: between the plus signs, but for that of an exponent, as in `tau=1e+20`.
fn stages(text: &str) -> Vec<&str> {
    let (mut stages, mut first) = (Vec::new(), 0);
    for (at, _) in text.match_indices('+') {
        let mut before = text[..at].bytes().rev();
        let exponent = before.next().is_some_and(|e| e.eq_ignore_ascii_case(&b'e'))
            && before.next().is_some_and(|digit| digit.is_ascii_digit() || digit == b'.')
            && text[at + 1..].starts_with(|digit: char| digit.is_ascii_digit());
        if !exponent {
            stages.push(&text[first..at]);
            first = at + 1;
        }
    }
    stages.push(&text[first..]);
    stages
}

/// The names that are known, and the one that was meant, if it can be told.
pub(crate) fn known(name: &str, names: impl Iterator<Item = &'static str>) -> String {
    let names: Vec<&str> = names.collect();
    format!("{}known: {}", meant(name, &names), names.join(", "))
}

/// The one that was meant, if it can be told.
pub(crate) fn meant(name: &str, names: &[&str]) -> String {
    let alike = names.iter().map(|known| (strsim::jaro_winkler(name, known), known)).filter(|(alike, _)| *alike > 0.75);
    alike.max_by(|a, b| a.0.total_cmp(&b.0)).map_or(String::new(), |(_, known)| format!("did you mean '{known}'? "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_parses_to_its_rule_and_prints_back() {
        for rule in rules::all() {
            let spec: Spec = rule.spec().parse().unwrap();
            assert_eq!(spec.rule().name(), rule.name());
            assert_eq!(spec.rule().spec(), rule.spec());
        }
        for text in [
            "krum:neighbors=3",
            "krum:neighbors=classic",
            "multi_krum:m=2",
            "geometric_median:method=direct",
            "nnm+bucketing:s=3,seed=7+krum:neighbors=classic",
            "clipping:c=0.5+arc+nnm:f=2+centered_clipping:tau=1,iterations=3,f=1",
            "fltrust:row=2",
            "smea:search=greedy",
        ] {
            assert_eq!(text.parse::<Spec>().unwrap().rule().spec(), text);
        }
        // A sign of an exponent joins nothing.
        let spec: Spec = "clipping:c=1e+20+nnm+centered_clipping:tau=2.5E+2,iterations=3".parse().unwrap();
        assert_eq!(spec.rule().spec(), "clipping:c=100000000000000000000+nnm+centered_clipping:tau=250,iterations=3");
    }

    proptest::proptest! {
        /// Whatever the text, it is a specification that prints back to itself or a clear refusal.
        #[test]
        fn any_text_is_read_or_refused(text in "[a-z_]{0,12}|(krum|median|multi_krum|geometric_median)[:+,=a-z0-9-]{0,20}|\\PC{0,20}") {
            if let Ok(spec) = text.parse::<Spec>() {
                let again: Spec = spec.rule().spec().parse().expect("what a rule prints");
                proptest::prop_assert_eq!(again.rule().spec(), spec.rule().spec());
            }
        }
    }

    #[test]
    fn bad_specifications_say_what_is_wrong() {
        for (text, part) in [
            ("", "no rule is named ''"),
            ("krumm", "no rule is named 'krumm'; did you mean 'krum'? known: average"),
            ("trimed_mean", "did you mean 'trimmed_mean'?"),
            ("nmm+krum", "did you mean 'nnm'?"),
            ("krum:", "not key=value"),
            ("krum:neighbors", "not key=value"),
            ("krum:neighbors=", "not key=value"),
            ("krum:neighbors=x", "neighbors = 'x'"),
            ("krum:neighbors=-1", "neighbors = '-1'"),
            ("krum:m=3", "no parameter 'm'; it takes"),
            ("krum:neighbours=3", "no parameter 'neighbours'; did you mean 'neighbors'? it takes"),
            ("median:f=1,f=2", "given twice"),
            ("median+krum", "'median' is a rule"),
            ("nothing+krum", "no pre-aggregation is named 'nothing'; known: nnm"),
            ("krum+nnm", "'nnm' is a pre-aggregation"),
            ("nnm:k=1+krum", "no parameter 'k'"),
            ("clipping+krum", "c is missing"),
            ("bucketing:s=2,s=3+krum", "given twice"),
            ("nnm++krum", "no pre-aggregation is named ''"),
            ("krum+", "no rule is named ''"),
        ] {
            let error = text.parse::<Spec>().unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
