//! The server: what combines the rows that the workers sent.

use super::BoxError;
use crate::{Engine, Rows, Spec};

/// The rule at the server. Closures `FnMut(&[f32], usize) -> Result<Vec<f32>, E>` are servers too.
pub trait Server {
    /// Combines the n rows that the workers sent (n × d, row-major) into one row of d values.
    ///
    /// # Errors
    /// Whatever stops the rule.
    fn combine(&mut self, sent: &[f32], n: usize) -> Result<Vec<f32>, BoxError>;
}

impl<F, E> Server for F
where
    F: FnMut(&[f32], usize) -> Result<Vec<f32>, E>,
    E: Into<BoxError>,
{
    fn combine(&mut self, sent: &[f32], n: usize) -> Result<Vec<f32>, BoxError> {
        self(sent, n).map_err(Into::into)
    }
}

/// A rule of this crate on one of its engines.
#[derive(Clone, Debug)]
pub struct RuleServer {
    engine: Engine,
    spec: Spec,
    f: usize,
}

impl RuleServer {
    /// A server for n workers, at most f of them Byzantine unless the specification has an f of its own.
    ///
    /// # Errors
    /// What the rule's check refuses.
    pub fn new(engine: &Engine, spec: Spec, n: usize, f: usize) -> crate::Result<Self> {
        let f = spec.f_or(f);
        spec.rule().check(n, f)?;
        Ok(Self { engine: engine.clone(), spec, f })
    }
}

impl Server for RuleServer {
    fn combine(&mut self, sent: &[f32], n: usize) -> Result<Vec<f32>, BoxError> {
        let rows = Rows::from_slice(sent, n, sent.len() / n.max(1))?;
        Ok(self.engine.aggregate_blocking(self.spec.rule(), &rows, self.f)?.values)
    }
}
