//! A device of burn that the model and the rule share.

use std::cell::OnceCell;

use burn::tensor::{Bool, DType, Tensor, TensorData};
use fastrand::Rng;

use super::{Place, row};
use crate::Rows;
use crate::attacks::{Attack, AttackError, BoxError, Elsewhere, Scene};
use crate::burn::TensorEngine;
use crate::train::{Config, Dataset, Network, RuleServer, Server, averaging};

/// The rule of a [`RuleServer`] for momentums that are tensors: see [`train_on_device`](crate::train::train_on_device).
#[derive(Clone, Debug)]
pub struct TensorServer {
    engine: TensorEngine,
    server: RuleServer,
}

impl TensorServer {
    /// The rule of `server` on an engine for tensors. Attacks that search ask `server` itself.
    pub fn new(engine: &TensorEngine, server: RuleServer) -> Self {
        Self { engine: engine.clone(), server }
    }
}

pub(in crate::train) struct OnDevice<'a> {
    network: &'a Network,
    server: TensorServer,
    honest: usize,
    theta: Tensor<1>,
    /// One row for each honest worker.
    gradients: Tensor<2>,
    momentums: Tensor<2>,
    aggregate: Tensor<1>,
}

impl<'a> OnDevice<'a> {
    /// At θ, with zero momentums.
    pub(in crate::train) fn new(network: &'a Network, server: &'a TensorServer, honest: usize, theta: &[f32]) -> Self {
        let theta = network.tensor(theta);
        let rows = Tensor::zeros([honest, theta.dims()[0]], (&theta.device(), DType::F32));
        Self { network, server: server.clone(), honest, aggregate: theta.clone(), theta, gradients: rows.clone(), momentums: rows }
    }
}

impl Place for OnDevice<'_> {
    fn draw(&mut self, number: u64) {
        self.server.server.draw(number);
    }

    fn gradients(&mut self, batch: &Dataset, config: &Config, noise: &mut Rng) -> Result<f64, BoxError> {
        let each = self.network.each(&self.theta, batch, self.honest, noise);
        let (losses, gradients): (Vec<_>, Vec<_>) = each.map(|(loss, blocks)| (loss, Tensor::cat(blocks, 0))).unzip();
        let mut rows = Tensor::stack(gradients, 0) + (self.theta.clone() * config.l2).unsqueeze();
        if let Some(longest) = config.clip {
            // In units of the largest value, whose square may be infinite or 0.
            let unit = largest(rows.clone(), 1);
            let scaled = rows / unit.clone();
            let norm = (scaled.clone() * scaled.clone()).sum_dim(1).sqrt();
            rows = scaled * (norm.recip() * longest).min_pair(unit);
        }
        self.gradients = rows;
        Ok(values(Tensor::cat(losses, 0))?.into_iter().map(f64::from).sum::<f64>() / self.honest as f64)
    }

    fn mean_gradient(&self) -> Result<Vec<f32>, BoxError> {
        values(mean(&self.gradients))
    }

    fn update(&mut self, beta: f32) -> Result<bool, BoxError> {
        self.momentums = self.momentums.clone() * beta + self.gradients.clone() * (1.0 - beta);
        holds(self.momentums.clone().is_finite().all())
    }

    fn attacked(
        &mut self,
        attack: &mut dyn Attack,
        attackers: usize,
        flipped: Option<&[f32]>,
    ) -> Result<Option<Vec<f32>>, AttackError> {
        let seen = Seen { momentums: &self.momentums, rows: OnceCell::new() };
        let server = || self.server.server.clone();
        let ask = |rows: &Rows| server().combine(rows);
        let line = |rows: &Rows, attackers| server().worst_on_line(rows, attackers);
        row(attack, Scene::elsewhere(&seen, attackers), (&ask, &line), flipped)
    }

    fn combine(&mut self, row: Option<&[f32]>, attackers: usize) -> Result<usize, BoxError> {
        let RuleServer { drawn: rule, n, f, .. } = &self.server.server;
        let (device, d) = (self.theta.device(), self.theta.dims()[0]);
        let mut parts = vec![self.momentums.clone()];
        if let Some(row) = row {
            if row.len() != d {
                return Err(crate::Error::Ragged { row: self.honest, got: row.len(), expected: d }.into());
            }
            let row = Tensor::<2>::from_data(TensorData::new(row.to_vec(), [1, d]), &device);
            parts.push(row.repeat_dim(0, attackers));
        }
        // As for any server: an absent row takes no part, whatever it holds.
        let arrived = self.honest + row.map_or(0, |_| attackers);
        let absent: Vec<usize> = (arrived..*n).collect();
        if !absent.is_empty() {
            parts.push(Tensor::zeros([absent.len(), d], (&device, DType::F32)));
        }
        let rows = Tensor::cat(parts, 0);
        (self.aggregate, _) = pollster::block_on(self.server.engine.run(&**rule, &rows, *f, &absent))?;
        Ok(self.aggregate.dims()[0])
    }

    fn finite(&self) -> Result<bool, BoxError> {
        holds(self.aggregate.clone().is_finite().all())
    }

    fn averaging(&self) -> Result<(f64, f64), BoxError> {
        let rows = values(self.momentums.clone())?;
        Ok(averaging(&rows.chunks_exact(self.theta.dims()[0]).collect::<Vec<_>>(), &values(self.aggregate.clone())?))
    }

    fn step(&mut self, rate: f32) -> Result<bool, BoxError> {
        self.theta = self.theta.clone() - self.aggregate.clone() * rate;
        holds(self.theta.clone().is_finite().all())
    }

    fn accuracy(&self, data: &Dataset) -> Result<f64, BoxError> {
        self.network.share_right(&self.theta, data)
    }

    fn parameters(&self) -> Result<Vec<f32>, BoxError> {
        values(self.theta.clone())
    }
}

/// What an attack sees of momentums on a device.
struct Seen<'a> {
    momentums: &'a Tensor<2>,
    /// All of them, once an attack asked.
    rows: OnceCell<Vec<f32>>,
}

impl Elsewhere for Seen<'_> {
    fn sizes(&self) -> [usize; 2] {
        self.momentums.dims()
    }

    fn rows(&self) -> Result<&[f32], BoxError> {
        let rows = match self.rows.get() {
            Some(_) => vec![],
            None => values(self.momentums.clone())?,
        };
        Ok(self.rows.get_or_init(|| rows))
    }

    fn mean(&self) -> Result<Vec<f64>, BoxError> {
        wide(mean(self.momentums))
    }

    fn mean_and_std(&self) -> Result<(Vec<f64>, Vec<f64>), BoxError> {
        let freedom = (self.sizes()[0] - 1).max(1) as f32;
        let mean = mean(self.momentums);
        // In units of the largest, whose square may be infinite or 0.
        let away = self.momentums.clone() - mean.clone();
        let unit = largest(away.clone(), 0);
        let away = away / unit.clone();
        let std = ((away.clone() * away).sum_dim(0) / freedom).sqrt() * unit;
        Ok((wide(mean)?, wide(std)?))
    }
}

/// The mean of rows, which does not overflow where their sum would.
fn mean(rows: &Tensor<2>) -> Tensor<2> {
    (rows.clone() / rows.dims()[0] as f32).sum_dim(0)
}

/// The largest magnitude along a dimension, as a number to divide by.
fn largest(values: Tensor<2>, dim: usize) -> Tensor<2> {
    values.abs().max_dim(dim).clamp_min(f32::MIN_POSITIVE)
}

fn values<const D: usize>(tensor: Tensor<D>) -> Result<Vec<f32>, BoxError> {
    Ok(tensor.try_into_data()?.try_to_vec().map_err(|e| format!("{e:?}"))?)
}

fn wide<const D: usize>(tensor: Tensor<D>) -> Result<Vec<f64>, BoxError> {
    Ok(values(tensor)?.into_iter().map(f64::from).collect())
}

fn holds(all: Tensor<1, Bool>) -> Result<bool, BoxError> {
    Ok(all.try_into_scalar::<bool>()?)
}
