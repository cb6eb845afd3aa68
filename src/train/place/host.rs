//! Host memory, for every model and server.

use std::cell::RefCell;
use std::iter;

use fastrand::Rng;

use super::{Place, row};
use crate::Rows;
use crate::attacks::{Attack, AttackError, BoxError, Scene, mean, narrow};
use crate::matrix::room;
use crate::train::{Config, Dataset, Model, Server, averaging};

pub(in crate::train) struct Host<'a> {
    model: &'a dyn Model,
    server: &'a mut dyn Server,
    honest: usize,
    theta: Vec<f32>,
    /// One row for each honest worker.
    gradients: Vec<f32>,
    momentums: Vec<f32>,
    aggregate: Vec<f32>,
}

impl<'a> Host<'a> {
    /// At θ, with zero momentums. `None` without memory for them.
    pub(in crate::train) fn new(model: &'a dyn Model, server: &'a mut dyn Server, honest: usize, theta: Vec<f32>) -> Option<Self> {
        let rows = || room(honest, theta.len(), 0.0f32).ok();
        Some(Self { model, server, honest, gradients: rows()?, momentums: rows()?, theta, aggregate: vec![] })
    }

    fn rows<'r>(&self, values: &'r [f32]) -> Vec<&'r [f32]> {
        values.chunks_exact(self.theta.len()).collect()
    }
}

impl Place for Host<'_> {
    fn draw(&mut self, number: u64) {
        self.server.draw(number);
    }

    fn gradients(&mut self, batch: &Dataset, config: &Config, noise: &mut Rng) -> Result<f64, BoxError> {
        let losses = self.model.gradients(&self.theta, batch, self.honest, noise, &mut self.gradients);
        for row in self.gradients.chunks_exact_mut(self.theta.len()) {
            row.iter_mut().zip(&self.theta).for_each(|(g, t)| *g += config.l2 * t);
            config.clip.iter().for_each(|&longest| clip(row, longest));
        }
        Ok(losses.iter().map(|&loss| f64::from(loss)).sum::<f64>() / self.honest as f64)
    }

    fn mean_gradient(&self) -> Result<Vec<f32>, BoxError> {
        Ok(narrow(mean(&self.rows(&self.gradients))))
    }

    fn update(&mut self, beta: f32) -> Result<bool, BoxError> {
        self.momentums.iter_mut().zip(&self.gradients).for_each(|(m, g)| *m = beta * *m + (1.0 - beta) * g);
        Ok(finite(&self.momentums))
    }

    fn attacked(
        &mut self,
        attack: &mut dyn Attack,
        attackers: usize,
        flipped: Option<&[f32]>,
    ) -> Result<Option<Vec<f32>>, AttackError> {
        let honest = self.rows(&self.momentums);
        let server = RefCell::new(&mut *self.server);
        let ask = |rows: &Rows| server.borrow_mut().combine(rows);
        let line = |rows: &Rows, attackers| server.borrow_mut().worst_on_line(rows, attackers);
        row(attack, Scene::new(&honest, attackers)?, (&ask, &line), flipped)
    }

    fn combine(&mut self, row: Option<&[f32]>, attackers: usize) -> Result<usize, BoxError> {
        let rows: Vec<&[f32]> = self
            .momentums
            .chunks_exact(self.theta.len())
            .chain(row.into_iter().flat_map(|row| iter::repeat_n(row, attackers)))
            .collect();
        self.aggregate = self.server.combine(&Rows::from_rows(&rows)?)?;
        Ok(self.aggregate.len())
    }

    fn finite(&self) -> Result<bool, BoxError> {
        Ok(finite(&self.aggregate))
    }

    fn averaging(&self) -> Result<(f64, f64), BoxError> {
        Ok(averaging(&self.rows(&self.momentums), &self.aggregate))
    }

    fn step(&mut self, rate: f32) -> Result<bool, BoxError> {
        self.theta.iter_mut().zip(&self.aggregate).for_each(|(t, r)| *t -= rate * r);
        Ok(finite(&self.theta))
    }

    fn accuracy(&self, data: &Dataset) -> Result<f64, BoxError> {
        Ok(self.model.accuracy(&self.theta, data))
    }

    fn parameters(&self) -> Result<Vec<f32>, BoxError> {
        Ok(self.theta.clone())
    }
}

/// Scales a row down to the norm `longest` if it is longer.
fn clip(row: &mut [f32], longest: f32) {
    let norm = row.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
    let factor = (f64::from(longest) / norm) as f32;
    if factor < 1.0 {
        row.iter_mut().for_each(|x| *x *= factor);
    }
}

fn finite(values: &[f32]) -> bool {
    values.iter().all(|x| x.is_finite())
}
