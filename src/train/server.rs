//! The server: what combines the rows that the workers sent.

use std::sync::Arc;

use super::BoxError;
use crate::attacks::worst_on_line;
use crate::{Engine, Rows, Rule};

/// The rule at the server. Closures `FnMut(&Rows) -> Result<Vec<f32>, E>` are servers too.
///
/// An attack that searches asks the server several times a step, so what a server remembers of the last call is not what
/// the last step was.
pub trait Server {
    /// Combines the rows that arrived into one of as many values. Workers that sent nothing have no row: they are the last
    /// ones, and the server knows n.
    ///
    /// # Errors
    /// Whatever stops the rule.
    fn combine(&mut self, sent: &Rows<'_>) -> Result<Vec<f32>, BoxError>;

    /// Called before each step with a number of its own, from the run's seed: what is random in the rule follows from it until the next.
    /// Nothing by default.
    fn draw(&mut self, number: u64) {
        let _ = number;
    }

    /// A quick answer for attacks that search, as [`worst_on_line`] gives it; none unless the server knows better.
    fn worst_on_line(&mut self, line: &Rows<'_>, attackers: usize) -> Option<f64> {
        let _ = (line, attackers);
        None
    }
}

impl<F, E> Server for F
where
    F: FnMut(&Rows<'_>) -> Result<Vec<f32>, E>,
    E: Into<BoxError>,
{
    fn combine(&mut self, sent: &Rows<'_>) -> Result<Vec<f32>, BoxError> {
        self(sent).map_err(Into::into)
    }
}

/// A [`Rule`] on an engine. What the rule draws it draws anew in each step ([`Rule::redrawn`]).
#[derive(Clone, Debug)]
pub struct RuleServer {
    engine: Engine,
    rule: Arc<dyn Rule>,
    /// As drawn for this step.
    pub(super) drawn: Arc<dyn Rule>,
    pub(super) n: usize,
    pub(super) f: usize,
}

impl RuleServer {
    /// A server for n workers, at most f of them Byzantine.
    ///
    /// # Errors
    /// What the rule's check refuses.
    pub fn new(engine: &Engine, rule: Arc<dyn Rule>, n: usize, f: usize) -> crate::Result<Self> {
        rule.check(n, f)?;
        Ok(Self { engine: engine.clone(), drawn: rule.clone(), rule, n, f })
    }

    /// λ of the rule for rows of d values, if one is known: see [`Point::lambda`](super::Point::lambda).
    pub fn lambda(&self, d: usize) -> Option<f64> {
        self.rule.lambda(self.n, self.f, d).value()
    }
}

impl Server for RuleServer {
    fn combine(&mut self, sent: &Rows<'_>) -> Result<Vec<f32>, BoxError> {
        // An absent row takes no part, whatever it holds.
        let absent: Vec<usize> = (sent.n()..self.n).collect();
        let rows = sent.padded(self.n);
        let mut values = vec![0.0; sent.d()];
        pollster::block_on(self.engine.run(&*self.drawn, (&rows).into(), self.f, &absent, &mut values))?;
        Ok(values)
    }

    fn draw(&mut self, number: u64) {
        if let Some(rule) = self.rule.redrawn(number) {
            self.drawn = rule;
        }
    }

    fn worst_on_line(&mut self, line: &Rows<'_>, attackers: usize) -> Option<f64> {
        worst_on_line(&self.engine, &self.drawn, self.f, line, attackers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Spec;

    #[test]
    fn absent_workers_count_against_f() {
        let values = [1.0, 2.0, 4.0, 9.0, 100.0];
        let combine = |spec: &str, arrived: usize| {
            let mut server = RuleServer::new(&Engine::cpu(), spec.parse::<Spec>().unwrap().into_rule(), 5, 2).unwrap();
            server.combine(&Rows::from_slice(&values[..arrived], arrived, 1).unwrap())
        };
        assert_eq!(combine("trimmed_mean", 5).unwrap(), [4.0]);
        assert_eq!(combine("trimmed_mean", 4).unwrap(), [3.0]); // n = 4, f = 1
        assert_eq!(combine("average", 3).unwrap(), [7.0 / 3.0]);
        assert!(combine("median", 2).unwrap_err().to_string().contains("absent"));
    }

    #[test]
    fn what_a_rule_draws_is_drawn_anew_in_each_step() {
        let values: Vec<f32> = (0..12).map(|i| (1 << i) as f32).collect();
        let rows = Rows::from_slice(&values, 12, 1).unwrap();
        for (spec, random) in [
            ("bucketing+median", true),
            ("nnm+bucketing+median", true),
            ("dnc:columns=1,iterations=3", true),
            ("nnm+median", false),
        ] {
            let rule = spec.parse::<Spec>().unwrap().into_rule();
            assert_eq!(rule.redrawn(1).is_some(), random, "{spec}");
            let mut server = RuleServer::new(&Engine::cpu(), rule, 12, 2).unwrap();
            let mut step = |number| {
                server.draw(number);
                let spec = server.drawn.spec();
                (server.combine(&rows).unwrap(), spec)
            };
            let [first, second, again] = [5, 6, 5].map(&mut step);
            assert_eq!(first, again);
            assert_eq!(first.1 != second.1, random, "{spec}");
            assert!(!spec.contains("bucketing+median") || spec.contains("nnm") || first.0 != second.0, "{spec}");
        }
    }
}
