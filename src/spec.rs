//! Rules as text: `krum:neighbors=3`, `trimmed_mean:f=2`.

use crate::error::{Error, Result};
use crate::parameters::Parameters;
use crate::rules::{self, Rule};
use std::str::FromStr;
use std::sync::Arc;

/// A rule and, where the text names one, its own f.
///
/// Grammar: stages joined by `+`, each `name` or `name:key=value,key=value`. The last stage is the rule; stages before it
/// would be pre-aggregations, of which this version has none. Every stage takes `f`, which overrides the caller's.
///
/// ```
/// let spec: resam::Spec = "multi_krum:m=4,f=2".parse().unwrap();
/// assert_eq!(spec.rule().name(), "multi_krum");
/// assert_eq!(spec.f_or(5), 2);
/// assert!("krumm".parse::<resam::Spec>().unwrap_err().to_string().contains("krum"));
/// ```
#[derive(Debug, Clone)]
pub struct Spec {
    rule: Arc<dyn Rule>,
    f: Option<usize>,
}

impl Spec {
    /// The rule.
    pub fn rule(&self) -> &dyn Rule {
        &*self.rule
    }

    /// The stage's own f, if the text names one.
    pub fn f(&self) -> Option<usize> {
        self.f
    }

    /// The rule, to keep.
    pub fn into_rule(self) -> Arc<dyn Rule> {
        self.rule
    }

    /// The stage's own f, or the caller's.
    pub fn f_or(&self, f: usize) -> usize {
        self.f.unwrap_or(f)
    }
}

impl FromStr for Spec {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut stages = text.split('+').map(str::trim).rev();
        let last = stages.next().unwrap_or_default();
        let (name, rest) = last.split_once(':').map_or((last, None), |(n, r)| (n.trim(), Some(r)));
        let mut parameters = Parameters::parse(text, rest)?;
        let f = parameters.take("f")?;
        let known = || rules::names().collect::<Vec<_>>().join(", ");
        let rule = rules::build(name, &mut parameters)
            .unwrap_or_else(|| Err(Error::spec(text, format!("no rule is named '{name}'; known: {}", known()))))?;
        parameters.finish(name)?;
        match stages.next() {
            None => Ok(Self { rule, f }),
            Some(stage) => {
                let name = stage.split(':').next().unwrap_or_default();
                let what =
                    if rules::names().any(|n| n == name) { "a rule, which ends" } else { "no pre-aggregation that can begin" };
                Err(Error::spec(text, format!("'{name}' is {what} a specification")))
            }
        }
    }
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
        for text in ["krum:neighbors=3", "krum:neighbors=classic", "multi_krum:m=2", "geometric_median:method=direct"] {
            assert_eq!(text.parse::<Spec>().unwrap().rule().spec(), text);
        }
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
            ("krumm", "no rule is named 'krumm'"),
            ("krum:", "not key=value"),
            ("krum:neighbors", "not key=value"),
            ("krum:neighbors=", "not key=value"),
            ("krum:neighbors=x", "neighbors = 'x'"),
            ("krum:neighbors=-1", "neighbors = '-1'"),
            ("krum:m=3", "no parameter 'm'"),
            ("median:f=1,f=2", "given twice"),
            ("median+krum", "'median' is a rule"),
            ("nothing+krum", "'nothing' is no pre-aggregation"),
            ("krum+", "no rule is named ''"),
        ] {
            let error = text.parse::<Spec>().unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
