//! A convolutional network of burn learns digits from eight workers of which two are Byzantine: on a device of burn's wgpu backend, where
//! gradients and momentums stay, and on flex, a CPU backend whose tensors pass through their data.
//!
//! `cargo run --release --features burn,train --example burn`

use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::loss::CrossEntropyLoss;
use burn::nn::pool::{MaxPool2d, MaxPool2dConfig};
use burn::nn::{Linear, LinearConfig};
use burn::optim::{GradientsParams, SgdConfig};
use burn::tensor::{Device, Int, Tensor, TensorData, activation::relu};
use resam::burn::{ModuleMomentum, TensorEngine};
use resam::rules::{Average, Rule};
use resam::train::{Dataset, digits};
use resam::{Engine, Spec};

const WORKERS: usize = 8;
const BYZANTINE: usize = 2;

#[derive(Module, Debug)]
struct Cnn {
    convolution: Conv2d,
    pool: MaxPool2d,
    linear: Linear,
}

impl Cnn {
    fn new(device: &Device) -> Self {
        Self {
            convolution: Conv2dConfig::new([1, 8], [3, 3]).init(device),
            pool: MaxPool2dConfig::new([2, 2]).with_strides([2, 2]).init(),
            linear: LinearConfig::new(8 * 3 * 3, 10).init(device),
        }
    }

    fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        let [examples, ..] = images.dims();
        self.linear.forward(self.pool.forward(relu(self.convolution.forward(images))).reshape([examples, 72]))
    }
}

fn tensors(data: &Dataset, device: &Device) -> (Tensor<4>, Tensor<1, Int>) {
    let labels: Vec<i32> = data.labels.iter().map(|&y| y.into()).collect();
    let images = TensorData::new(data.features.clone(), [data.len(), 1, 8, 8]);
    (Tensor::from_data(images, device), Tensor::from_data(TensorData::new(labels, [data.len()]), device))
}

/// The share of test digits that are read right, after 150 steps.
fn train(engine: &TensorEngine, device: &Device, rule: &dyn Rule) -> Result<f32, Box<dyn std::error::Error>> {
    let device = device.clone().autodiff();
    device.seed(1);
    let (data, mut random) = (digits::load()?, fastrand::Rng::with_seed(1));
    let mut model = Cnn::new(&device);
    let mut optimizer = SgdConfig::new().init();
    let mut server = ModuleMomentum::new_blocking(engine, &model, WORKERS, 0.9)?;
    for step in 0..150 {
        for worker in 0..WORKERS {
            let (images, labels) = tensors(&data.train.select((0..16).map(|_| random.usize(..data.train.len()))), &device);
            let loss = CrossEntropyLoss::new(None, &device).forward(model.forward(images), labels);
            // The Byzantine ones pull the other way, harder, but for the steps in which one of them crashes.
            let loss = if worker < BYZANTINE { loss * -3.0 } else { loss };
            if worker > 0 || step % 10 > 0 {
                server.receive(worker, &model, &GradientsParams::from_grads(loss.backward(), &model))?;
            }
        }
        let (gradients, _) = server.step_blocking(rule, &model, BYZANTINE)?;
        model = optimizer.step(0.5, model, gradients);
    }
    let (images, labels) = tensors(&data.test, &device.inner());
    let right = model.forward(images).argmax(1).flatten::<1>(0, 1).equal(labels).int().sum();
    Ok(right.into_scalar::<i32>() as f32 / data.test.len() as f32)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // burn opens a GPU (or a software one), and the engine shares it.
    let (gpu, setup) = Device::wgpu_options().init_with_setup()?;
    let shared = TensorEngine::on_device(&gpu, &setup)?;
    let places = [(shared, gpu), (Engine::cpu().into(), Device::flex())];
    for (engine, device) in places {
        let robust: Spec = "nnm+trimmed_mean".parse()?;
        for rule in [robust.rule(), &Average] {
            let accuracy = train(&engine, &device, rule)?;
            println!("{device:?}, {}: {:.1} % of the test digits are read right", rule.spec(), 100.0 * accuracy);
        }
    }
    Ok(())
}
