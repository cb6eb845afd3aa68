//! Neural networks: a list of layers, whose parameters are one flat vector.

use burn::tensor::{
    Device, Int, Tensor, TensorData, activation,
    module::{conv2d, max_pool2d},
    ops::{ConvOptions, MaxPoolOptions},
};
use fastrand::Rng;

use super::{BoxError, Dataset, Model};

/// Test examples that pass through a network together.
const TOGETHER: usize = 250;
/// Added to a variance before its root is taken.
const EPSILON: f32 = 1e-5;

/// One layer. Activations are examples × channels × height × width; vectors are images of one pixel.
#[derive(Clone, Copy, Debug)]
enum Layer {
    /// y = x·W + b on all values of an example.
    Affine { inputs: usize, outputs: usize },
    /// A convolution by kernels of `size` × `size`, over images with `padding` zeros around them.
    Convolution { inputs: usize, outputs: usize, size: usize, padding: usize },
    /// max(0, x).
    Relu,
    /// The largest of each 2 × 2 pixels.
    MaxPool,
    /// (x − μ)/√(σ² + 10⁻⁵)·γ + δ with the mean μ and variance σ² of the channel over the batch.
    BatchNorm { channels: usize },
    /// In training x·m/(1 − p), m = 0 with probability p, else 1.
    Dropout { probability: f32 },
    /// In training, each image is mirrored left to right with probability ½.
    Mirror,
}

impl Layer {
    /// The lengths of its two blocks of parameters, weights and biases, if it has any.
    fn blocks(self) -> Option<[usize; 2]> {
        match self {
            Self::Affine { inputs, outputs } => Some([inputs * outputs, outputs]),
            Self::Convolution { inputs, outputs, size, .. } => Some([inputs * outputs * size * size, outputs]),
            Self::BatchNorm { channels } => Some([channels, channels]),
            _ => None,
        }
    }

    /// Its starting parameters: uniform in ±1/√(values that enter an output); γ = 1 and δ = 0.
    fn init(self, rng: &mut Rng) -> Vec<f32> {
        let Some([weights, biases]) = self.blocks() else { return vec![] };
        if let Self::BatchNorm { .. } = self {
            return [vec![1.0; weights], vec![0.0; biases]].concat();
        }
        let bound = 1.0 / ((weights / biases) as f32).sqrt();
        (0..weights + biases).map(|_| bound * (2.0 * rng.f32() - 1.0)).collect()
    }
}

/// Layers, then log-softmax and the negative log-likelihood.
///
/// θ holds, layer by layer, the weights and then the biases: of an affine layer inputs × outputs, of a convolution
/// outputs × inputs × height × width, of a batch norm γ and δ. Batch norm keeps no running averages, for there is no state:
/// each worker normalises by its own batch, and a measurement by up to 250 test examples at once.
#[derive(Clone, Debug)]
pub struct Network {
    /// Channels, height and width of an example.
    image: [usize; 3],
    layers: Vec<Layer>,
    classes: usize,
    device: Device,
}

impl Network {
    fn new(image: [usize; 3], layers: Vec<Layer>, classes: usize) -> Self {
        Self { image, layers, classes, device: Device::flex() }
    }

    /// A multi-layer perceptron: affine layers of `inputs`, then each of `hidden`, then `classes` values, with ReLU between
    /// them. Without hidden layers this is logistic regression.
    pub fn mlp(inputs: usize, hidden: &[usize], classes: usize) -> Self {
        let sizes = [&[inputs], hidden, &[classes]].concat();
        let affine = sizes.windows(2).map(|pair| Layer::Affine { inputs: pair[0], outputs: pair[1] });
        let layers = affine.flat_map(|layer| [Layer::Relu, layer]).skip(1).collect();
        Self::new([inputs, 1, 1], layers, classes)
    }

    /// The network of the RESAM experiments for 28 × 28 grey images (d = 431,080): two 5 × 5 convolutions to 20 and 50
    /// channels, each with ReLU and pooling, an affine layer of 500 values with ReLU, and one of 10.
    pub fn cnn() -> Self {
        use Layer::{Affine, Convolution, MaxPool, Relu};
        let convolution = |inputs, outputs| Convolution { inputs, outputs, size: 5, padding: 0 };
        let layers = vec![
            convolution(1, 20),
            Relu,
            MaxPool,
            convolution(20, 50),
            Relu,
            MaxPool,
            Affine { inputs: 800, outputs: 500 },
            Relu,
            Affine { inputs: 500, outputs: 10 },
        ];
        Self::new([1, 28, 28], layers, 10)
    }

    /// The network of the same group's experiments for 32 × 32 colour images (d = 1,310,922): 3 × 3 convolutions to 64, 64,
    /// 128 and 128 channels, each with ReLU and batch norm, pooling and dropout after every second, then affine layers of
    /// 128 values, with ReLU, and 10. Images are mirrored at random in training.
    pub fn cifar_cnn() -> Self {
        use Layer::{Affine, BatchNorm, Convolution, Dropout, MaxPool, Mirror, Relu};
        let block = |inputs, outputs| [Convolution { inputs, outputs, size: 3, padding: 1 }, Relu, BatchNorm { channels: outputs }];
        let shrink = [MaxPool, Dropout { probability: 0.25 }];
        let head = [Affine { inputs: 8192, outputs: 128 }, Relu, Affine { inputs: 128, outputs: 10 }];
        let parts: [&[Layer]; 8] =
            [&[Mirror], &block(3, 64), &block(64, 64), &shrink, &block(64, 128), &block(128, 128), &shrink, &head];
        Self::new([3, 32, 32], parts.concat(), 10)
    }

    /// The blocks of θ, in order.
    fn blocks(&self) -> impl Iterator<Item = usize> {
        self.layers.iter().filter_map(|layer| layer.blocks()).flatten()
    }

    /// The same on another device of burn: where θ and gradients are in host memory, they pass through their data on every call, which panics
    /// when the device fails.
    #[must_use]
    pub fn on(self, device: &Device) -> Self {
        Self { device: device.clone().inner(), ..self }
    }

    /// θ as a tensor on its device.
    pub(super) fn tensor(&self, theta: &[f32]) -> Tensor<1> {
        assert_eq!(theta.len(), self.parameters(), "length of the parameter vector");
        Tensor::from_data(TensorData::from(theta), &self.device)
    }

    /// Each block of θ.
    fn split(&self, theta: &Tensor<1>) -> Vec<Tensor<1>> {
        let mut at = 0;
        let next = |length| {
            let block = theta.clone().narrow(0, at, length);
            at += length;
            block
        };
        self.blocks().map(next).collect()
    }

    /// Log-probabilities, examples × classes. In training, `noise` is given.
    fn forward(&self, theta: &[Tensor<1>], features: &[f32], mut noise: Option<&mut Rng>) -> Tensor<2> {
        let device = theta[0].device();
        let [channels, height, width] = self.image;
        let examples = features.len() / (channels * height * width);
        let tensor = |values: Vec<f32>, shape| Tensor::<4>::from_data(TensorData::new(values, shape), &device);
        let mut x = tensor(features.to_vec(), [examples, channels, height, width]);
        let mut blocks = theta.iter().cloned();
        let mut next = || blocks.next().expect("a block for each weight and bias");
        for &layer in &self.layers {
            let shape = x.dims();
            x = match (layer, noise.as_deref_mut()) {
                (Layer::Affine { inputs, outputs }, _) => {
                    let y = x.reshape([examples, inputs]).matmul(next().reshape([inputs, outputs])) + next().reshape([1, outputs]);
                    y.reshape([examples, outputs, 1, 1])
                }
                (Layer::Convolution { inputs, outputs, size, padding }, _) => {
                    let options = ConvOptions::new([1, 1], [padding; 2], [1, 1], 1);
                    conv2d(x, next().reshape([outputs, inputs, size, size]), Some(next()), options)
                }
                (Layer::Relu, _) => activation::relu(x),
                (Layer::MaxPool, _) => max_pool2d(x, MaxPoolOptions::new([2, 2]).with_stride([2, 2])),
                (Layer::BatchNorm { channels }, _) => {
                    let mut by_channel = || next().reshape([1, channels, 1, 1]);
                    let (scale, shift) = (by_channel(), by_channel());
                    let centred = x.clone() - mean_of_channel(x);
                    let deviation = (mean_of_channel(centred.clone() * centred.clone()) + EPSILON).sqrt();
                    centred / deviation * scale + shift
                }
                (Layer::Dropout { probability }, Some(rng)) => {
                    let kept = 1.0 / (1.0 - probability);
                    let mask = (0..shape.iter().product()).map(|_| if rng.f32() < probability { 0.0 } else { kept });
                    x * tensor(mask.collect(), shape)
                }
                (Layer::Mirror, Some(rng)) => {
                    let mirrored = tensor((0..examples).map(|_| f32::from(rng.u8(..2))).collect(), [examples, 1, 1, 1]);
                    x.clone() + (x.clone().flip([3]) - x) * mirrored
                }
                (Layer::Dropout { .. } | Layer::Mirror, None) => x,
            };
        }
        activation::log_softmax(x.reshape([examples, self.classes]), 1)
    }
}

impl Network {
    /// The loss of each of w workers at θ and its gradient, block by block, as [`Model::gradients`] has them. Workers take turns: their
    /// batches stay in the cache, and the tensors of θ are shared.
    pub(super) fn each(
        &self,
        theta: &Tensor<1>,
        batch: &Dataset,
        w: usize,
        rng: &mut Rng,
    ) -> impl Iterator<Item = (Tensor<1>, Vec<Tensor<1>>)> {
        let size = batch.len() / w;
        let theta: Vec<Tensor<1>> = self.split(theta).into_iter().map(|block| Tensor::from_inner(block).require_grad()).collect();
        let batches = batch.features.chunks_exact(size * batch.inputs).zip(batch.labels.chunks_exact(size));
        batches.map(move |(features, labels)| {
            let labels: Vec<i64> = labels.iter().map(|&y| y.into()).collect();
            let labels = Tensor::<2, Int>::from_data(TensorData::new(labels, [size, 1]), &theta[0].device());
            let loss = -self.forward(&theta, features, Some(&mut *rng)).gather(1, labels).mean();
            let mut gradients = loss.backward();
            let gradient = |block: &Tensor<1>| block.grad_remove(&mut gradients).expect("the loss depends on every block");
            let blocks = theta.iter().map(gradient).collect();
            (loss.inner(), blocks)
        })
    }

    /// As [`Model::accuracy`].
    ///
    /// # Errors
    /// What burn says of a device that failed.
    pub(super) fn share_right(&self, theta: &Tensor<1>, data: &Dataset) -> Result<f64, BoxError> {
        let theta = self.split(theta);
        let parts = data.features.chunks(TOGETHER * data.inputs).zip(data.labels.chunks(TOGETHER));
        let right = |(features, labels): (&[f32], &[u8])| {
            let scores = self.forward(&theta, features, None).try_into_data()?;
            let scores = scores.as_slice::<f32>().expect("the models compute in f32").chunks_exact(self.classes);
            let best = |row: &[f32]| (1..row.len()).fold(0, |best, i| if row[i] > row[best] { i } else { best });
            Ok(scores.zip(labels).filter(|(row, y)| best(row) == usize::from(**y)).count())
        };
        let right: Result<usize, BoxError> = parts.map(right).sum();
        Ok(right? as f64 / data.len() as f64)
    }
}

impl Model for Network {
    fn sizes(&self) -> (usize, usize) {
        (self.image.iter().product(), self.classes)
    }

    fn parameters(&self) -> usize {
        self.blocks().sum()
    }

    fn init(&self, rng: &mut Rng) -> Vec<f32> {
        self.layers.iter().flat_map(|layer| layer.init(rng)).collect()
    }

    fn gradients(&self, theta: &[f32], batch: &Dataset, w: usize, rng: &mut Rng, rows: &mut [f32]) -> Vec<f32> {
        let rows = rows.chunks_exact_mut(self.parameters());
        let one = |(row, (loss, blocks)): (&mut [f32], (Tensor<1>, Vec<Tensor<1>>))| {
            let mut rest = row;
            for block in blocks {
                let gradient = block.into_data();
                let gradient = gradient.as_slice().expect("the models compute in f32");
                let (to, after) = rest.split_at_mut(gradient.len());
                to.copy_from_slice(gradient);
                rest = after;
            }
            loss.into_scalar::<f32>()
        };
        rows.zip(self.each(&self.tensor(theta), batch, w, rng)).map(one).collect()
    }

    fn accuracy(&self, theta: &[f32], data: &Dataset) -> f64 {
        self.share_right(&self.tensor(theta), data).expect("the device works")
    }
}

/// The mean over examples and pixels, channel by channel.
fn mean_of_channel(x: Tensor<4>) -> Tensor<4> {
    x.mean_dim(0).mean_dim(2).mean_dim(3)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tiny() -> (Network, Vec<f32>, Dataset) {
        let mut rng = Rng::with_seed(5);
        let model = Network::mlp(3, &[4], 3);
        let theta = model.init(&mut rng);
        let features = (0..18).map(|_| rng.f32() * 2.0 - 1.0).collect();
        (model, theta, Dataset { features, labels: vec![0, 1, 2, 2, 1, 1], inputs: 3, classes: 3 })
    }

    /// The same loss in f64, by the definition, sharing nothing with the model.
    fn loss(theta: &[f64], data: &Dataset) -> f64 {
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
        total / data.len() as f64
    }

    fn gradients(model: &Network, theta: &[f32], data: &Dataset, w: usize, seed: u64) -> (Vec<f32>, Vec<f32>) {
        let mut rows = vec![f32::NAN; w * model.parameters()];
        let losses = model.gradients(theta, data, w, &mut Rng::with_seed(seed), &mut rows);
        (rows, losses)
    }

    #[test]
    fn gradients_match_finite_differences_of_an_f64_loss() {
        let (model, theta, data) = tiny();
        let (rows, losses) = gradients(&model, &theta, &data, 2, 0);
        assert_eq!(losses.len(), 2);
        let theta: Vec<f64> = theta.iter().map(|&t| t.into()).collect();
        for (worker, gradient) in rows.chunks(theta.len()).enumerate() {
            let batch = data.select(worker * 3..worker * 3 + 3);
            assert!((loss(&theta, &batch) - f64::from(losses[worker])).abs() < 1e-6);
            for k in 0..theta.len() {
                let at = |step: f64| {
                    let mut moved = theta.clone();
                    moved[k] += step;
                    loss(&moved, &batch)
                };
                let expected = (at(1e-5) - at(-1e-5)) / 2e-5;
                assert!((expected - f64::from(gradient[k])).abs() < 1e-5, "worker {worker}, parameter {k}");
            }
        }
    }

    #[test]
    fn every_layer_has_the_gradient_of_its_loss() {
        // One of each layer on images of 2 channels of 6 × 6; the same seed makes the same noise.
        let layers = vec![
            Layer::Mirror,
            Layer::Convolution { inputs: 2, outputs: 3, size: 3, padding: 1 },
            Layer::BatchNorm { channels: 3 },
            Layer::Relu,
            Layer::MaxPool,
            Layer::Dropout { probability: 0.25 },
            Layer::Affine { inputs: 27, outputs: 3 },
        ];
        let model = Network::new([2, 6, 6], layers, 3);
        let mut rng = Rng::with_seed(8);
        let theta = model.init(&mut rng);
        assert_eq!((theta.len(), model.parameters()), (57 + 6 + 84, 57 + 6 + 84));
        let features = (0..8 * 72).map(|_| rng.f32() * 2.0 - 1.0).collect();
        let data = Dataset { features, labels: vec![0, 1, 2, 2, 1, 1, 0, 0], inputs: 72, classes: 3 };
        let (rows, _) = gradients(&model, &theta, &data, 2, 3);
        let mut direction = Rng::with_seed(9);
        let direction: Vec<f32> = theta.iter().map(|_| direction.f32() - 0.5).collect();
        for worker in 0..2 {
            let row = &rows[worker * theta.len()..][..theta.len()];
            let along: f64 = row.iter().zip(&direction).map(|(g, v)| f64::from(g * v)).sum();
            let at = |step: f32| {
                let moved: Vec<f32> = theta.iter().zip(&direction).map(|(t, v)| t + step * v).collect();
                f64::from(gradients(&model, &moved, &data, 2, 3).1[worker])
            };
            let expected = (at(2e-3) - at(-2e-3)) / 4e-3;
            assert!((expected - along).abs() < 0.03 * along.abs() + 2e-3, "worker {worker}: {along}, expected {expected}");
        }
        assert_ne!(gradients(&model, &theta, &data, 2, 4).0, rows, "the noise follows the seed");
        let accuracy = model.accuracy(&theta, &data);
        assert!((0.0..=1.0).contains(&accuracy) && accuracy == model.accuracy(&theta, &data), "measurements are without noise");
    }

    #[test]
    fn every_parameter_has_its_place() {
        // No hidden layer: class c of example x scores θ[c·…]; put all weight of input i on class i.
        let model = Network::mlp(3, &[], 3);
        assert_eq!(model.parameters(), 12);
        let mut theta = vec![0.0; 12];
        (0..3).for_each(|i| theta[i * 3 + i] = 1.0);
        let data = Dataset { features: vec![1., 0., 0., 0., 1., 0., 0., 0., 1.], labels: vec![0, 1, 2], inputs: 3, classes: 3 };
        assert_eq!(model.accuracy(&theta, &data), 1.0);
        theta[9 + 2] = 5.0; // the bias of class 2
        assert_eq!(model.accuracy(&theta, &data), 1.0 / 3.0);
    }

    #[test]
    fn the_convolutional_networks_fit_their_images() {
        for (model, d) in [(Network::cnn(), 431_080), (Network::cifar_cnn(), 1_310_922)] {
            let (inputs, classes) = model.sizes();
            let mut rng = Rng::with_seed(2);
            let theta = model.init(&mut rng);
            assert_eq!(theta.len(), d);
            let data = Dataset { features: (0..2 * inputs).map(|_| rng.f32()).collect(), labels: vec![3, 7], inputs, classes };
            let (rows, losses) = gradients(&model, &theta, &data, 1, 1);
            assert!(rows.iter().all(|g| g.is_finite()) && losses[0].is_finite());
            assert!(rows.iter().filter(|g| **g != 0.0).count() > d / 20);
        }
    }

    #[test]
    fn init_fills_the_vector_and_repeats() {
        let (model, theta, _) = tiny();
        assert_eq!(theta.len(), model.parameters());
        assert_eq!(theta, model.init(&mut Rng::with_seed(5)));
        assert!(theta.iter().all(|t| t.abs() <= 1.0 / 3f32.sqrt()));
    }
}
