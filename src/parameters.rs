//! The parameters of one stage of a specification.

use crate::error::{Error, Result};
use crate::spec::meant;
use std::str::FromStr;

/// A parameter of a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Parameter {
    /// Its key.
    pub name: &'static str,
    /// Its values and what they mean, with the default.
    pub meaning: &'static str,
}

/// The `key=value` pairs of one stage; each rule takes those it knows.
#[derive(Debug, Default)]
pub(crate) struct Parameters {
    text: String,
    pairs: Vec<(String, String)>,
    known: Vec<Parameter>,
}

impl Parameters {
    pub(crate) fn parse(text: &str, rest: Option<&str>) -> Result<Self> {
        let mut pairs: Vec<(String, String)> = Vec::new();
        for pair in rest.into_iter().flat_map(|r| r.split(',')) {
            let (key, value) = pair
                .split_once('=')
                .map(|(k, v)| (k.trim(), v.trim()))
                .filter(|(k, v)| !k.is_empty() && !v.is_empty())
                .ok_or_else(|| Error::spec(text, format!("'{pair}' is not key=value")))?;
            if pairs.iter().any(|(k, _)| k == key) {
                return Err(Error::spec(text, format!("'{key}' is given twice")));
            }
            pairs.push((key.to_string(), value.to_string()));
        }
        Ok(Self { text: text.to_string(), pairs, known: Vec::new() })
    }

    /// The value of `key`, if it was given.
    pub(crate) fn take<T: FromStr>(&mut self, key: &'static str) -> Result<Option<T>>
    where
        T::Err: std::fmt::Display,
    {
        self.option(key, "")
    }

    /// The same of a parameter that is explained to users.
    pub(crate) fn option<T: FromStr>(&mut self, key: &'static str, meaning: &'static str) -> Result<Option<T>>
    where
        T::Err: std::fmt::Display,
    {
        self.known.push(Parameter { name: key, meaning });
        let Some(at) = self.pairs.iter().position(|(k, _)| k == key) else { return Ok(None) };
        let (_, value) = self.pairs.swap_remove(at);
        value.parse().map(Some).map_err(|e| Error::spec(&self.text, format!("{key} = '{value}': {e}")))
    }

    /// What was asked for.
    pub(crate) fn known(self) -> Vec<Parameter> {
        self.known
    }

    /// An error when a key is left that nobody asked for.
    pub(crate) fn finish(self, name: &str) -> Result<()> {
        match self.pairs.first() {
            None => Ok(()),
            Some((key, _)) => {
                let known = if self.known.is_empty() { "none".into() } else { names(&self.known) };
                let meant = meant(key, &self.known.iter().map(|known| known.name).collect::<Vec<_>>());
                Err(Error::spec(&self.text, format!("{name} has no parameter '{key}'; {meant}it takes {known}")))
            }
        }
    }
}
/// Names of parameters, in a line.
pub(crate) fn names(parameters: &[Parameter]) -> String {
    parameters.iter().map(|parameter| parameter.name).collect::<Vec<_>>().join(", ")
}
