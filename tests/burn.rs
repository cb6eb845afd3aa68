//! Tensors and modules of burn: aggregates and momentums of tensors are those of the same values in host memory, on a device that is shared
//! and through data.

use burn::module::{Module, Param};
use burn::nn::{Linear, LinearConfig};
use burn::optim::{GradientsParams, SgdConfig};
use burn::tensor::wgpu::WgpuSetup;
use burn::tensor::{DType, Device, Distribution, Tensor, TensorData};
use resam::attacks::{self, NoAttack};
use resam::burn::{ModuleMomentum, TensorEngine};
use resam::rules::{Median, TrimmedMean};
use resam::train::{
    Config, Dataset, History, Model, Network, Rate, RuleServer, TensorServer, TrainError, digits, train, train_on_device,
};
use resam::{DistributedMomentum, Engine, Error, Options, Rows, Spec, bench, wgpu};
use std::sync::LazyLock;

/// A device of burn's, on the adapter that `RESAM_TEST_DEVICE` names, else on whichever there is.
fn open() -> (Device, WgpuSetup) {
    // One for all: wgpu tells devices of one instance apart.
    static INSTANCE: LazyLock<wgpu::Instance> =
        LazyLock::new(|| wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle()));
    let instance = INSTANCE.clone();
    let named = std::env::var("RESAM_TEST_DEVICE").unwrap_or_default().to_lowercase();
    let adapters = pollster::block_on(instance.enumerate_adapters(wgpu::Backends::PRIMARY));
    let best = |adapter: &wgpu::Adapter| {
        let info = adapter.get_info();
        (info.name.to_lowercase().contains(&named), info.device_type != wgpu::DeviceType::Cpu)
    };
    let adapter = adapters.into_iter().max_by_key(best).expect("an adapter");
    let descriptor = wgpu::DeviceDescriptor {
        required_features: adapter.features() - wgpu::Features::MAPPABLE_PRIMARY_BUFFERS - wgpu::Features::all_experimental_mask(),
        required_limits: adapter.limits(),
        ..Default::default()
    };
    let (device, queue) = pollster::block_on(adapter.request_device(&descriptor)).expect("a device");
    let setup = WgpuSetup { instance, backend: adapter.get_info().backend, adapter, device, queue };
    (Device::wgpu_options().setup(setup.clone()).init().expect("a device of burn"), setup)
}

/// One for all tests.
fn shared() -> (TensorEngine, Device) {
    static SHARED: LazyLock<(TensorEngine, Device)> = LazyLock::new(|| {
        let (device, setup) = open();
        let engine = TensorEngine::on_device(&device, &setup).expect("an engine");
        // Few columns in the sample: kernels for larger matrices run at small sizes.
        (engine.with_options(Options { sample: 64, ..Options::default() }), device)
    });
    SHARED.clone()
}

fn engines() -> Vec<(TensorEngine, Device)> {
    vec![shared(), (Engine::cpu().into(), Device::flex())]
}

fn tensor(values: &[f32], n: usize, d: usize, device: &Device) -> Tensor<2> {
    Tensor::from_data(TensorData::new(values.to_vec(), [n, d]), (device, DType::F32))
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.try_into_data().expect("data").convert::<f32>().try_to_vec().expect("values")
}

fn rules() -> Vec<Spec> {
    let specs = ["median", "trimmed_mean", "average", "krum", "geometric_median", "mda", "nnm+trimmed_mean", "nnm+krum"];
    specs.iter().map(|spec| spec.parse().expect("a rule")).collect()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

/// What the tensor's rows give where they are is what they give from host memory, bit for bit.
fn agree(engine: &TensorEngine, rows: &Tensor<2>, host: &Rows<'_>, what: &str) {
    for spec in rules() {
        let want = engine.engine().aggregate_blocking(spec.rule(), host, 2).expect("an aggregate");
        let (got, report) = engine.aggregate_blocking(spec.rule(), rows, 2).expect("an aggregate");
        assert_eq!((got.dtype(), got.dims(), got.device()), (DType::F32, [host.d()], rows.device().inner()), "{what}");
        assert_eq!(bits(&values(got)), bits(&want.values), "{what}: {}", spec.rule().spec());
        let found = (&report.kept, &report.non_finite);
        assert_eq!(found, (&want.report.kept, &want.report.non_finite), "{what}: {}", spec.rule().spec());
        // Neither rows nor results went over the bus.
        let (moved, all) = (report.bytes_uploaded.max(report.bytes_downloaded), 4 * (host.n() * host.d()) as u64);
        assert!(report.device.starts_with("cpu") || host.d() < 9000 || moved < all / 4, "{what}: {report:?}");
    }
}

#[test]
fn tensors_are_aggregated_where_they_are() {
    for (engine, device) in engines() {
        for (n, d) in [(7, 1), (9, 130), (11, 20_011)] {
            let mut data: Vec<f32> = bench::data(n, d, 3).expect("memory");
            data[(n - 1) * d] = f32::NAN;
            let host = Rows::from_slice(&data, n, d).expect("rows");
            let rows = tensor(&data, n, d, &device);
            agree(&engine, &rows, &host, "as it is");
            agree(&engine, &tensor(&data, n, d, &device.clone().autodiff()).require_grad(), &host, "with autodiff");
            // Rows that do not stand in one piece each, and some of other rows and columns.
            let columns: Vec<f32> = (0..n * d).map(|k| data[k % n * d + k / n]).collect();
            agree(&engine, &tensor(&columns, d, n, &device).transpose(), &host, "transposed");
            let around = Tensor::cat(vec![rows.clone(), rows.clone()], 1);
            let slice = Tensor::cat(vec![around.clone(), around], 0).slice([1..n, d..2 * d]);
            agree(&engine, &slice, &Rows::from_slice(&data[d..], n - 1, d).expect("rows"), "sliced");
            // The same once more: what burn has to do first is done first.
            agree(
                &engine,
                &((rows * 2.0 + 1.0 - 1.0) / 2.0),
                &Rows::from_slice(&roundabout(&data), n, d).expect("rows"),
                "computed",
            );
        }
    }
}

fn roundabout(data: &[f32]) -> Vec<f32> {
    data.iter().map(|v| (v * 2.0 + 1.0 - 1.0) / 2.0).collect()
}

/// A tensor that another thread makes is read once it is made.
#[test]
fn tensors_of_other_threads_are_read() {
    let (engine, device) = shared();
    for round in 1..40 {
        let maker = device.clone();
        let rows = std::thread::spawn(move || {
            let ones = Tensor::<2>::ones([5, 40_000], (&maker, DType::F32));
            (0..round).fold(ones, |rows, _| rows + 1.0)
        });
        let rows = rows.join().expect("a tensor");
        let (got, _) = engine.aggregate_blocking(&Median::default(), &rows, 1).expect("a median");
        assert!(values(got).iter().all(|v| *v == 1.0 + round as f32), "{round}");
    }
}

/// Halves where the device has them, others by rounding.
#[test]
fn other_types_are_read() {
    for (engine, device) in engines() {
        let (n, d) = (7, 301);
        let data: Vec<f32> = bench::data(n, d, 5).expect("memory");
        for (dtype, size) in [(DType::F16, 2), (DType::BF16, 2), (DType::F64, 4)] {
            if !device.supports_dtype(dtype) {
                eprintln!("NOT RUN: {dtype:?} on {device:?}");
                continue;
            }
            let rows = tensor(&data, n, d, &device).cast(dtype);
            let rounded: Vec<f32> = values(rows.clone());
            let (got, report) = engine.aggregate_blocking(&TrimmedMean, &rows, 2).expect("an aggregate");
            let rounded = Rows::from_slice(&rounded, n, d).expect("rows");
            let want = engine.engine().aggregate_blocking(&TrimmedMean, &rounded, 2).expect("an aggregate");
            assert_eq!(bits(&values(got)), bits(&want.values), "{dtype:?} on {device:?}");
            assert_eq!(report.bytes_read, (size * n * d) as u64);
        }
    }
}

#[test]
fn hostile_tensors_are_errors_or_are_borne() {
    for (engine, device) in engines() {
        let mut data: Vec<f32> = bench::data(5, 200, 1).expect("memory");
        (data[0], data[203]) = (f32::NAN, f32::NEG_INFINITY);
        let rows = tensor(&data, 5, 200, &device);
        let error = engine.aggregate_blocking(&TrimmedMean, &rows, 1).map(|_| ()).expect_err("two of one");
        assert_eq!(error, Error::NonFinite { rule: "trimmed_mean".into(), rows: vec![0, 1], f: 1 });
        assert!(matches!(engine.aggregate_blocking(&TrimmedMean, &rows, 3), Err(Error::Requirement { .. })));
        assert!(engine.aggregate_blocking(&TrimmedMean, &rows, 2).is_ok());
        let huge = tensor(&[3e38, -3e38, 3e38, 1e-45, f32::MAX, f32::MIN], 3, 2, &device);
        let (got, _) = engine.aggregate_blocking(&Median::default(), &huge, 1).expect("a median");
        assert_eq!(values(got), [3e38, -3e38]);
    }
}

/// The engine finds out that it was given another device's setup.
#[test]
fn a_setup_of_another_device_is_refused() {
    let ((one, _), (_, other)) = (open(), open());
    for device in [one, Device::flex()] {
        let error = TensorEngine::on_device(&device, &other).expect_err("two devices");
        assert!(matches!(&error, Error::Device { reason, .. } if reason.contains("not the one")), "{error}");
    }
}

#[derive(Module, Debug)]
struct Net {
    first: Linear,
    scale: Param<Tensor<3>>,
    last: Linear,
}

impl Net {
    fn new(device: &Device) -> Self {
        let scale = Param::from_tensor(Tensor::ones([1, 1, 1], device));
        Self { first: LinearConfig::new(6, 40).init(device), scale, last: LinearConfig::new(40, 3).init(device) }
    }

    const D: usize = 6 * 40 + 40 + 1 + 40 * 3 + 3;

    /// The gradients of a batch of the worker's own, and the same, flat; the scale has none.
    fn gradients(&self, seed: u64, device: &Device) -> (GradientsParams, Vec<f32>) {
        device.seed(seed);
        let x = Tensor::<2>::random([4, 6], Distribution::Default, &device.clone().autodiff());
        let loss = self.last.forward(self.first.forward(x)).powi_scalar(2).sum();
        let gradients = GradientsParams::from_grads(loss.backward(), self);
        let flat = |param: &Linear| {
            let weight = values(gradients.get::<2>(param.weight.id).expect("a gradient"));
            [weight, values(gradients.get::<1>(param.bias.as_ref().expect("a bias").id).expect("a gradient"))].concat()
        };
        let all = [flat(&self.first), vec![0.0], flat(&self.last)].concat();
        (gradients, all)
    }
}

#[test]
fn modules_step_as_flat_vectors_do() {
    let (n, f) = (5, 1);
    for (engine, device) in engines() {
        let net = Net::new(&device.clone().autodiff());
        for spec in ["trimmed_mean", "nnm+median"] {
            let spec: Spec = spec.parse().expect("a rule");
            let mut server = ModuleMomentum::new_blocking(&engine, &net, n, 0.9).expect("momentums");
            assert_eq!((server.momentum().n(), server.momentum().d()), (n, Net::D));
            let mut flat = DistributedMomentum::new_blocking(engine.engine(), n, Net::D, 0.9).expect("momentums");
            for step in 0..3 {
                let mut rows = vec![f32::NAN; n * Net::D];
                for worker in 0..n {
                    // In the second step the third worker sends nothing.
                    if (step, worker) != (1, 2) {
                        let (gradients, all) = net.gradients(10 * step + worker as u64, &device);
                        server.receive(worker, &net, &gradients).expect("received");
                        rows[worker * Net::D..][..Net::D].copy_from_slice(&all);
                    }
                }
                let rows = Rows::from_slice(&rows, n, Net::D).expect("rows");
                let want = flat.step_and_aggregate_blocking(spec.rule(), &rows, f).expect("an aggregate");
                let (got, report) = server.step_blocking(spec.rule(), &net, f).expect("a step");
                assert_eq!(report.absent, want.report.absent);
                assert_eq!(report.absent.is_empty(), step != 1);
                let part = |linear: &Linear| {
                    let weight = got.get::<2>(linear.weight.id).expect("a gradient");
                    assert_eq!(weight.dims(), linear.weight.val().dims());
                    [values(weight), values(got.get::<1>(linear.bias.as_ref().expect("a bias").id).expect("a gradient"))].concat()
                };
                let all = [part(&net.first), values(got.get::<3>(net.scale.id).expect("a gradient")), part(&net.last)].concat();
                assert_eq!(bits(&all), bits(&want.values), "{}, step {step}", spec.rule().spec());
                // An optimizer takes them.
                let moved = SgdConfig::new().init().step(0.5, net.clone(), got);
                let moved = values(moved.first.weight.val().inner());
                let before = values(net.first.weight.val().inner());
                let right = moved.iter().zip(&before).zip(&all).all(|((m, b), g)| (m - (b - 0.5 * g)).abs() < 1e-5);
                assert!(right, "{}", spec.rule().spec());
            }
            let snapshot = server.momentum().snapshot_blocking().expect("a snapshot");
            assert_eq!(snapshot, flat.snapshot_blocking().expect("a snapshot"));
            let resumed = ModuleMomentum::resume_blocking(&engine, &net, &snapshot).expect("momentums");
            assert_eq!(resumed.momentum().snapshot_blocking().expect("a snapshot"), snapshot);
        }
    }
}

#[test]
fn what_does_not_fit_a_module_is_an_error() {
    for (engine, device) in engines() {
        let (net, n) = (Net::new(&device.clone().autodiff()), 3);
        let mut server = ModuleMomentum::new_blocking(&engine, &net, n, 0.9).expect("momentums");
        let (gradients, _) = net.gradients(1, &device);
        assert!(matches!(server.receive(n, &net, &gradients), Err(Error::Momentum(_))));
        // A Byzantine worker's gradient of another shape.
        let (mut other, _) = net.gradients(1, &device);
        other.remove::<2>(net.first.weight.id);
        other.register::<2>(net.first.weight.id, Tensor::zeros([40, 6], &device));
        let error = server.receive(1, &net, &other).expect_err("another shape");
        assert!(matches!(&error, Error::Worker { worker: 1, reason } if reason.contains("[40, 6]")), "{error}");
        let linear = LinearConfig::new(6, 40).init(&device.clone().autodiff());
        let error = server.receive(2, &linear, &gradients).expect_err("another module");
        assert!(matches!(&error, Error::Worker { worker: 2, .. }), "{error}");
        // Nothing was received: three absent of one, and nothing stepped.
        let error = server.step_blocking(&TrimmedMean, &net, 1).map(|_| ()).expect_err("nobody is there");
        assert_eq!(error, Error::NonFinite { rule: "trimmed_mean".into(), rows: vec![0, 1, 2], f: 1 });
        assert_eq!(server.momentum().steps(), 0);
        let snapshot = server.momentum().snapshot_blocking().expect("a snapshot");
        assert!(matches!(ModuleMomentum::resume_blocking(&engine, &linear, &snapshot), Err(Error::Momentum(_))));
        // A module on two devices, and one without parameters.
        assert!(matches!(ModuleMomentum::new_blocking(&engine, &burn::nn::Relu::new(), n, 0.9), Err(Error::Tensors(_))));
        assert!(matches!(ModuleMomentum::new_blocking(&engine, &net, n, 1.0), Err(Error::Parameter { .. })));
    }
    let net = Net { first: Net::new(&Device::flex()).first, ..Net::new(&shared().1) };
    assert!(matches!(ModuleMomentum::new_blocking(&Engine::cpu().into(), &net, 3, 0.9), Err(Error::Tensors(_))));
}

/// Nine workers of which two attack learn digits for eight steps, on a device and in host memory.
fn learn(network: &Network, config: &Config, rule: &str, attack: &str) -> [Result<History, TrainError>; 2] {
    let data = digits::load().expect("digits");
    let (engine, device) = shared();
    let new = || attacks::by_name(attack).expect("an attack");
    let rule = rule.parse::<Spec>().expect("a rule").into_rule();
    let mut host = RuleServer::new(&Engine::cpu(), rule, config.workers, config.byzantine).expect("a server");
    let server = TensorServer::new(&engine, host.clone());
    let there = network.clone().on(&device);
    [
        train_on_device(&there, &data, config, &mut *new(), &server, &mut |_| {}),
        train(network, &data, config, &mut *new(), &mut host),
    ]
}

fn few_steps() -> Config {
    let rate = Rate { initial: 0.2, hold: 0, decay: 1.0 };
    Config { workers: 9, byzantine: 2, beta: 0.9, steps: 8, batch: 8, rate, measure: 4, ..Config::default() }
}

/// Training where gradients stay on a device is training, whatever an attack looks at.
#[test]
fn networks_learn_on_a_device_what_they_learn_in_host_memory() {
    let network = Network::mlp(64, &[16], 10);
    let clipped = Config { clip: Some(0.5), l2: 0.1, beta: 0.0, ..few_steps() };
    // Gradients whose squares are infinite, before they are clipped.
    let steep = Config { l2: 1e25, ..clipped.clone() };
    for (attack, config, rule) in [
        ("none", few_steps(), "trimmed_mean"),
        ("alie", clipped.clone(), "geometric_median"),
        ("foe", few_steps(), "trimmed_mean"),
        ("sign_flip", clipped.clone(), "geometric_median"),
        ("label_flip", few_steps(), "trimmed_mean"),
        ("mimic", clipped.clone(), "geometric_median"),
        ("silent", clipped.clone(), "geometric_median"),
        // Absent workers lower a rule's own f.
        ("silent", few_steps(), "trimmed_mean:f=2"),
        ("nan", clipped, "geometric_median"),
        ("foe:nu=search", few_steps(), "geometric_median"),
        ("alie", steep, "trimmed_mean"),
    ] {
        let [there, here] = learn(&network, &config, rule, attack).map(|history| history.expect("a run"));
        let (steps, moved): (Vec<_>, f32) =
            (there.points.iter().map(|p| p.step).collect(), distance(&here.parameters, &start(&network, &config)));
        assert_eq!(steps, [0, 4, 8]);
        let apart = distance(&there.parameters, &here.parameters);
        assert!(moved > 0.01 && apart < 1e-3 * moved, "{attack}: {apart} apart after {moved}");
        for (a, b) in there.points.iter().zip(&here.points) {
            assert!((a.loss - b.loss).abs() < 1e-3 && (a.accuracy - b.accuracy).abs() < 0.02, "{attack}: {a:?}, {b:?}");
            // Without a spread there is no λ.
            let lambda = (a.lambda - b.lambda).abs() < 1e-2 || (a.lambda.is_nan() && b.lambda.is_nan());
            assert!(lambda && (a.spread - b.spread).abs() <= 1e-2 * b.spread, "{attack}: {a:?}, {b:?}");
        }
    }
}

/// Where a run starts: what comes of steps of length 0.
fn start(network: &Network, config: &Config) -> Vec<f32> {
    let still = Config { steps: 1, ..config.clone() };
    let mut nothing = |sent: &Rows<'_>| Ok::<_, Error>(vec![0.0; sent.d()]);
    let history = train(network, &digits::load().expect("digits"), &still, &mut NoAttack, &mut nothing);
    history.expect("a run").parameters
}

fn distance(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f32>().sqrt()
}

/// What is no number ends a run on a device as in host memory.
#[test]
fn runs_on_a_device_end_where_they_diverge() {
    let ends = |config: &Config, attack| {
        let [there, here] = learn(&Network::mlp(64, &[], 10), config, "average", attack)
            .map(|ended| ended.map(|_| ()).expect_err("no end").to_string());
        assert_eq!(there, here);
        there
    };
    let far = Config { rate: Rate { initial: 1e30, hold: 0, decay: 0.0 }, ..few_steps() };
    assert!(ends(&far, "none").contains("a parameter is not finite"));
    // The first step takes θ so far that the L2 term overflows, and the loss does not.
    let away = Config { l2: 1e25, ..few_steps() };
    assert!(ends(&away, "none").contains("step 1: a momentum is not finite"));
    assert!(ends(&few_steps(), "nan").contains("the aggregate is not finite"));
    assert!(ends(&few_steps(), "mimic:worker=7").contains("no honest worker 7"));
}

/// Every layer of the convolutional networks has the same gradient on a device.
#[test]
fn layers_have_the_same_gradients_on_a_device() {
    let (_, device) = shared();
    for network in [Network::cnn(), Network::cifar_cnn()] {
        let (inputs, classes) = network.sizes();
        let mut random = fastrand::Rng::with_seed(4);
        let theta = network.init(&mut random);
        let data = Dataset { features: (0..2 * inputs).map(|_| random.f32() - 0.5).collect(), labels: vec![3, 7], inputs, classes };
        let gradient = |network: &Network| {
            let mut row = vec![f32::NAN; theta.len()];
            let loss = network.gradients(&theta, &data, 1, &mut fastrand::Rng::with_seed(5), &mut row);
            (row, loss[0])
        };
        let ((there, loss_there), (here, loss_here)) = (gradient(&network.clone().on(&device)), gradient(&network));
        let (apart, length) = (distance(&there, &here), distance(&here, &vec![0.0; here.len()]));
        assert!(length > 0.1 && apart < 1e-3 * length, "{apart} of {length}");
        assert!((loss_there - loss_here).abs() < 1e-4, "{loss_there}, {loss_here}");
    }
}
