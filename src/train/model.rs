//! A multi-layer perceptron whose parameters are one flat vector.
//!
//! Layers are affine with ReLU between them, then log-softmax and the negative log-likelihood. The parameter vector θ
//! (d values) holds, layer by layer, the weights (inputs × outputs, row-major) and then the biases. The model itself has no state:
//! θ goes in, gradients come out.

use burn::tensor::{Device, Int, Tensor, TensorData, activation};

use super::Dataset;

/// Sizes of the layers; no state.
#[derive(Clone, Debug)]
pub struct Mlp {
    layers: Vec<(usize, usize)>,
    device: Device,
}

/// What w workers computed in one step.
#[derive(Clone, Debug, PartialEq)]
pub struct Gradients {
    /// One gradient a worker: w × d, row-major.
    pub rows: Vec<f32>,
    /// One mean loss a worker, without the L2 term.
    pub losses: Vec<f32>,
}

impl Mlp {
    /// Layers of `inputs`, then each of `hidden`, then `classes` values. Without hidden layers this is logistic regression.
    pub fn new(inputs: usize, hidden: &[usize], classes: usize) -> Self {
        let sizes: Vec<usize> = [&[inputs], hidden, &[classes]].concat();
        Self { layers: sizes.windows(2).map(|pair| (pair[0], pair[1])).collect(), device: Device::flex() }
    }

    /// Number of features of an example, and of classes.
    pub fn sizes(&self) -> (usize, usize) {
        (self.layers[0].0, self.layers[self.layers.len() - 1].1)
    }

    /// d, the length of the parameter vector.
    pub fn parameters(&self) -> usize {
        self.layers.iter().map(|(i, o)| (i + 1) * o).sum()
    }

    /// Starting parameters: uniform in ±1/√inputs, layer by layer.
    pub fn init(&self, rng: &mut fastrand::Rng) -> Vec<f32> {
        let mut theta = Vec::with_capacity(self.parameters());
        for &(inputs, outputs) in &self.layers {
            let bound = 1.0 / (inputs as f32).sqrt();
            theta.extend((0..(inputs + 1) * outputs).map(|_| bound * (2.0 * rng.f32() - 1.0)));
        }
        theta
    }

    /// The gradients of w workers at θ, each of the mean loss over its own batch plus l2/2·‖θ‖².
    ///
    /// `batch` holds the w batches one after the other, all of the same size. θ enters the graph once a worker, as
    /// the rows of a w × d matrix, so one backward pass returns all gradients in the layout that a server reads.
    ///
    /// # Panics
    /// If θ is not d long, `w` does not divide the batch, or the batch's sizes are not the model's.
    pub fn gradients(&self, theta: &[f32], batch: &Dataset, w: usize, l2: f32) -> Gradients {
        let device = self.device.clone().autodiff();
        let copies = self.theta(theta, &device).repeat_dim(0, w).detach().require_grad();
        let size = batch.len() / w;
        let labels: Vec<i64> = batch.labels.iter().map(|&y| y.into()).collect();
        let labels = Tensor::<3, Int>::from_data(TensorData::new(labels, [w, size, 1]), &device);
        let losses = -self.forward(copies.clone(), batch, w).gather(2, labels).mean_dim(1).reshape([w]);
        let penalty = (copies.clone() * copies.clone()).sum() * (f64::from(l2) / 2.0);
        let mut gradients = (losses.clone().sum() + penalty).backward();
        let rows = copies.grad_remove(&mut gradients).expect("the loss depends on θ");
        Gradients { rows: values(rows), losses: values(losses.inner()) }
    }

    /// The share of examples (0 to 1) whose label is the likeliest class at θ; the lower class wins ties.
    ///
    /// # Panics
    /// If θ is not d long, or the data's sizes are not the model's.
    pub fn accuracy(&self, theta: &[f32], data: &Dataset) -> f64 {
        let scores = values(self.forward(self.theta(theta, &self.device), data, 1));
        let right = scores.chunks_exact(data.classes).zip(&data.labels).filter(|(row, y)| {
            let best = (1..row.len()).fold(0, |best, i| if row[i] > row[best] { i } else { best });
            best == usize::from(**y)
        });
        right.count() as f64 / data.len() as f64
    }

    /// θ as a 1 × d matrix.
    fn theta(&self, theta: &[f32], device: &Device) -> Tensor<2> {
        assert_eq!(theta.len(), self.parameters(), "length of the parameter vector");
        Tensor::from_data(TensorData::new(theta.to_vec(), [1, theta.len()]), device)
    }

    /// Log-probabilities, w × batch × classes, of w batches under w parameter vectors (w × d).
    fn forward(&self, theta: Tensor<2>, data: &Dataset, w: usize) -> Tensor<3> {
        let shape = [w, data.len() / w, data.inputs];
        let mut x = Tensor::<3>::from_data(TensorData::new(data.features.clone(), shape), &theta.device());
        let mut start = 0;
        for (layer, &(inputs, outputs)) in self.layers.iter().enumerate() {
            let mut take = |rows: usize| {
                let part = theta.clone().narrow(1, start, rows * outputs).reshape([w, rows, outputs]);
                start += rows * outputs;
                part
            };
            if layer > 0 {
                x = activation::relu(x);
            }
            x = x.matmul(take(inputs)) + take(1);
        }
        activation::log_softmax(x, 2)
    }
}

/// The values of a tensor of f32, row-major.
fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_into_vec().expect("the models compute in f32")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tiny() -> (Mlp, Vec<f32>, Dataset) {
        let mut rng = fastrand::Rng::with_seed(5);
        let model = Mlp::new(3, &[4], 3);
        let theta = model.init(&mut rng);
        let features = (0..18).map(|_| rng.f32() * 2.0 - 1.0).collect();
        (model, theta, Dataset { features, labels: vec![0, 1, 2, 2, 1, 1], inputs: 3, classes: 3 })
    }

    /// The same loss in f64, by the definition, sharing nothing with the model.
    fn loss(theta: &[f64], data: &Dataset, l2: f64) -> f64 {
        let affine = |x: &[f64], w: &[f64], outputs: usize| -> Vec<f64> {
            (0..outputs).map(|o| w[x.len() * outputs + o] + (0..x.len()).map(|i| x[i] * w[i * outputs + o]).sum::<f64>()).collect()
        };
        let mut total = 0.0;
        for (x, &y) in data.features.chunks(3).zip(&data.labels) {
            let x: Vec<f64> = x.iter().map(|&x| x.into()).collect();
            let hidden: Vec<f64> = affine(&x, &theta[..16], 4).iter().map(|h| h.max(0.0)).collect();
            let scores = affine(&hidden, &theta[16..], 3);
            total += scores.iter().map(|s| s.exp()).sum::<f64>().ln() - scores[usize::from(y)];
        }
        total / data.len() as f64 + l2 / 2.0 * theta.iter().map(|t| t * t).sum::<f64>()
    }

    #[test]
    fn gradients_match_finite_differences_of_an_f64_loss() {
        let (model, theta, data) = tiny();
        let (w, l2) = (2, 0.1);
        let Gradients { rows, losses } = model.gradients(&theta, &data, w, l2);
        assert_eq!((rows.len(), losses.len()), (w * model.parameters(), w));
        let theta: Vec<f64> = theta.iter().map(|&t| t.into()).collect();
        for (worker, gradient) in rows.chunks(theta.len()).enumerate() {
            let batch = data.select(worker * 3..worker * 3 + 3);
            assert!((loss(&theta, &batch, 0.0) - f64::from(losses[worker])).abs() < 1e-6);
            for k in 0..theta.len() {
                let at = |step: f64| {
                    let mut moved = theta.clone();
                    moved[k] += step;
                    loss(&moved, &batch, l2.into())
                };
                let expected = (at(1e-5) - at(-1e-5)) / 2e-5;
                assert!((expected - f64::from(gradient[k])).abs() < 1e-5, "worker {worker}, parameter {k}");
            }
        }
    }

    #[test]
    fn every_parameter_has_its_place() {
        // No hidden layer: class c of example x scores θ[c·…]; put all weight of input i on class i.
        let model = Mlp::new(3, &[], 3);
        assert_eq!(model.parameters(), 12);
        let mut theta = vec![0.0; 12];
        (0..3).for_each(|i| theta[i * 3 + i] = 1.0);
        let data = Dataset { features: vec![1., 0., 0., 0., 1., 0., 0., 0., 1.], labels: vec![0, 1, 2], inputs: 3, classes: 3 };
        assert_eq!(model.accuracy(&theta, &data), 1.0);
        theta[9 + 2] = 5.0; // the bias of class 2
        assert_eq!(model.accuracy(&theta, &data), 1.0 / 3.0);
    }

    #[test]
    fn init_fills_the_vector_and_repeats() {
        let (model, theta, _) = tiny();
        assert_eq!(theta.len(), model.parameters());
        assert_eq!(theta, model.init(&mut fastrand::Rng::with_seed(5)));
        assert!(theta.iter().all(|t| t.abs() <= 1.0 / 3f32.sqrt()));
    }
}
