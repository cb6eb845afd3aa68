//! On a device that the caller made and uses as well, from and into buffers of the caller's: the same results as from rows in host
//! memory, no error that reaches the caller's handlers, none that is lost.

use crate::agree::{parsed, rules_for, run, verify};
use crate::check::{Failures, same_bits};
use crate::device;
use crate::families;
use resam::wgpu::{self, BufferUsages};
use resam::{DeviceRows, DeviceVector, DistributedMomentum, Dtype, Element, Engine, Error, Report, Rows, Rule, bench, bf16, f16};
use std::sync::{Arc, LazyLock, Mutex, mpsc};

/// What a program has that uses a GPU for itself; errors that reach its handler are kept.
pub struct Program {
    pub device: wgpu::Device,
    pub queue: wgpu::Queue,
    errors: Arc<Mutex<Vec<String>>>,
}

impl Program {
    /// With the limits that wgpu gives by default, but for what is changed.
    pub fn new(change: impl FnOnce(&mut wgpu::Limits)) -> Self {
        // One for all: wgpu tells devices of one instance apart.
        static INSTANCE: LazyLock<wgpu::Instance> =
            LazyLock::new(|| wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle()));
        let instance = &*INSTANCE;
        let name = device::gpu().name();
        let adapters = pollster::block_on(instance.enumerate_adapters(wgpu::Backends::PRIMARY));
        let adapter = adapters.into_iter().find(|adapter| name.starts_with(&adapter.get_info().name)).expect(&name);
        let mut required_limits = wgpu::Limits::default();
        change(&mut required_limits);
        let descriptor = wgpu::DeviceDescriptor { required_limits, ..Default::default() };
        let (device, queue) = pollster::block_on(adapter.request_device(&descriptor)).expect("a device");
        let errors = Arc::new(Mutex::new(Vec::new()));
        let heard = errors.clone();
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| heard.lock().expect("a list").push(error.to_string())));
        Self { device, queue, errors }
    }

    pub fn engine(&self) -> Engine {
        device::small_sample(Engine::on_device(self.device.clone(), self.queue.clone(), None).expect("an engine"))
    }

    pub fn buffer(&self, bytes: u64, usage: BufferUsages) -> wgpu::Buffer {
        self.device.create_buffer(&wgpu::BufferDescriptor { label: None, size: bytes, usage, mapped_at_creation: false })
    }

    /// Rows at an offset and a stride; all around them is NaN.
    pub fn place<T: Element + bytemuck::Pod>(
        &self,
        rows: &[T],
        n: usize,
        d: usize,
        (before, stride): (usize, usize),
        usage: BufferUsages,
    ) -> DeviceRows {
        let dtype = Rows::from_slice(rows, n, d).expect("rows").dtype();
        let mut all = vec![0xffu8; (dtype.size() * (before + n * stride + 64)).next_multiple_of(4)];
        for (i, row) in rows.chunks(d.max(1)).enumerate() {
            let at = dtype.size() * (before + i * stride);
            all[at..at + size_of_val(row)].copy_from_slice(bytemuck::cast_slice(row));
        }
        let buffer = self.buffer(all.len() as u64, usage | BufferUsages::COPY_DST);
        self.queue.write_buffer(&buffer, 0, &all);
        DeviceRows::new(&buffer, n, d).dtype(dtype).offset((dtype.size() * before) as u64).stride(stride)
    }

    /// A buffer of nothing but 7.
    pub fn sevens(&self, values: usize, usage: BufferUsages) -> wgpu::Buffer {
        let buffer = self.buffer(4 * values as u64, usage | BufferUsages::COPY_SRC | BufferUsages::COPY_DST);
        self.queue.write_buffer(&buffer, 0, bytemuck::cast_slice(&vec![7f32; values]));
        buffer
    }

    pub fn read(&self, from: &wgpu::Buffer) -> Vec<f32> {
        let back = self.buffer(from.size(), BufferUsages::MAP_READ | BufferUsages::COPY_DST);
        let mut encoder = self.device.create_command_encoder(&Default::default());
        encoder.copy_buffer_to_buffer(from, 0, &back, 0, from.size());
        self.queue.submit([encoder.finish()]);
        let (send, receive) = mpsc::channel();
        back.map_async(wgpu::MapMode::Read, .., move |result| send.send(result).expect("a receiver"));
        self.device.poll(wgpu::PollType::wait_indefinitely()).expect("a device");
        receive.recv().expect("an answer").expect("a mapped buffer");
        bytemuck::cast_slice(&back.get_mapped_range(..).expect("bytes")).to_vec()
    }

    pub fn no_error_was_heard(&self) {
        assert_eq!(*self.errors.lock().expect("a list"), [""; 0]);
    }
}

fn some_rules() -> Vec<Arc<dyn Rule>> {
    let chains = ["nnm+trimmed_mean", "nnm+median", "arc+meamed", "bucketing+krum", "geometric_median:method=direct"];
    bench::rules().into_iter().chain(parsed(&chains)).collect()
}

/// The same but for what was moved.
fn unmoved(report: Report) -> Report {
    Report { bytes_uploaded: 0, bytes_downloaded: 0, bytes_read: 0, passes: 0, ..report }
}

/// Every rule from a buffer into a buffer gives what it gives from host memory into host memory.
fn agree<T: Element + bytemuck::Pod>(program: &Program, n: usize, d: usize, at: (usize, usize), usage: BufferUsages) {
    let f = 2;
    let engine = program.engine();
    let mut values: Vec<T> = bench::data(n, d, (n + d) as u64).expect("memory");
    values[(n - 1) * d] = T::rounded(f32::NAN);
    let rows = Rows::from_slice(&values, n, d).expect("rows");
    let placed = program.place(&values, n, d, at, usage);
    let mut failures = Failures::default();
    for rule in some_rules().into_iter().filter(|rule| rule.check(n, f).is_ok()) {
        let want = engine.aggregate_blocking(&*rule, &rows, f).expect("an aggregate");
        // Read in place, and behind some other values in a buffer that kernels cannot write to.
        for (usage, before) in [(BufferUsages::STORAGE, 0), (BufferUsages::empty(), 3)] {
            let out = program.sevens(before + d + 5, usage);
            let target = DeviceVector::new(&out).offset(4 * before as u64);
            let report = engine.aggregate_to_blocking(&*rule, &placed, f, &target).expect("an aggregate");
            let got = program.read(&out);
            let around = got[..before].iter().chain(&got[before + d..]).all(|v| *v == 7.0);
            let same = same_bits(&got[before..before + d], &want.values);
            let same = if around { same } else { Err("values around the result were written".into()) };
            failures.note(|| format!("{} of {n} x {d} at {at:?} into {before}..", rule.spec()), same);
            // Neither the rows nor the result went over the bus: tables of the rows did, and sums of blocks, and the sample.
            let tables = (n * n * 64 + 4 * n * (device::SAMPLE + 128) + 8 * (n * n + 4 * n) * d.div_ceil(2048) + 4096) as u64;
            let moved = (report.bytes_uploaded, report.bytes_downloaded);
            // These look at columns of their own.
            let looks = ["dnc", "signguard"].contains(&rule.name());
            let few =
                if looks || moved.0.max(moved.1) < 4 * tables { Ok(()) } else { Err(format!("{moved:?} bytes moved, {tables}")) };
            failures.note(|| format!("{} of {n} x {d}", rule.spec()), few);
            let (report, want) = (unmoved(report), unmoved(want.report.clone()));
            let same = if report == want { Ok(()) } else { Err(format!("{report:?}, but {want:?}")) };
            failures.note(|| format!("{} of {n} x {d} at {at:?}", rule.spec()), same);
        }
    }
    failures.settle();
    program.no_error_was_heard();
}

#[test]
fn buffers_of_the_callers_are_read_and_written_where_they_are() {
    let program = Program::new(|_| ());
    agree::<f32>(&program, 11, 4103, (0, 4103), BufferUsages::STORAGE);
    agree::<f32>(&program, 11, 130, (7, 141), BufferUsages::STORAGE);
    agree::<f16>(&program, 11, 4103, (5, 4105), BufferUsages::STORAGE);
    agree::<bf16>(&program, 11, 130, (64, 133), BufferUsages::STORAGE);
}

#[test]
fn what_cannot_be_bound_at_once_is_copied_slab_by_slab() {
    let program = Program::new(|limits| limits.max_storage_buffer_binding_size = 1 << 18);
    agree::<f32>(&program, 11, 13_003, (1, 13_005), BufferUsages::COPY_SRC);
    agree::<f16>(&program, 11, 26_001, (2, 26_002), BufferUsages::COPY_SRC);
}

/// Steps by gradients in a buffer are steps by gradients in host memory: the same momentums and aggregates bit for bit, and the same reports. The
/// last worker's gradient is not finite in one step of two.
fn steps<T: Element + bytemuck::Pod>(program: &Program, n: usize, d: usize, at: (usize, usize), usage: BufferUsages) {
    let (f, engine) = (2, program.engine());
    let mut failures = Failures::default();
    for rule in parsed(&["median", "trimmed_mean", "meamed", "sign_majority", "average", "krum", "nnm+median"]) {
        let mut momenta = [0, 1].map(|_| DistributedMomentum::new_blocking(&engine, n, d, 0.9).expect("momentums"));
        for step in 0..3 {
            let mut values: Vec<T> = bench::data(n, d, step).expect("memory");
            if step == 1 {
                values[n * d - 1] = T::rounded(f32::INFINITY);
            }
            let placed = program.place(&values, n, d, at, usage);
            let out = program.sevens(d, BufferUsages::STORAGE);
            let [host, there] = &mut momenta;
            let rows = Rows::from_slice(&values, n, d).expect("rows");
            let want = host.step_and_aggregate_blocking(&*rule, &rows, f).expect("an aggregate");
            let report = there.step_and_aggregate_to_blocking(&*rule, &placed, f, &DeviceVector::new(&out)).expect("an aggregate");
            failures.note(|| format!("{}, step {step}", rule.spec()), same_bits(&program.read(&out), &want.values));
            // Sums of blocks, samples and tables go over the bus, gradients and results do not.
            let few = (4096 + 8 * n * (n + device::SAMPLE) * d.div_ceil(2048) + 256 * n * n) as u64;
            assert!(report.bytes_uploaded.max(report.bytes_downloaded) < few, "{}: {report:?}", rule.spec());
            assert_eq!(report.absent.is_empty(), step != 1);
            assert_eq!(unmoved(report), unmoved(want.report), "{}, step {step}", rule.spec());
            assert_eq!(there.steps(), step + 1);
        }
        let [host, there] = momenta.map(|momentum| momentum.snapshot_blocking().expect("a snapshot").momentums);
        failures.note(|| format!("{}, momentums", rule.spec()), same_bits(&there, &host));
    }
    failures.settle();
    program.no_error_was_heard();
}

#[test]
fn momentums_step_by_gradients_in_a_buffer() {
    let program = Program::new(|_| ());
    steps::<f32>(&program, 9, 4103, (0, 4103), BufferUsages::STORAGE);
    steps::<f32>(&program, 9, 130, (7, 141), BufferUsages::STORAGE);
    steps::<f16>(&program, 9, 1030, (5, 1033), BufferUsages::STORAGE);
    steps::<bf16>(&program, 40, 33, (64, 35), BufferUsages::STORAGE);
}

/// Momentums in several slabs: gradients that are bound at once, and others that are copied slab by slab.
#[test]
fn momentums_in_slabs_step_by_gradients_in_a_buffer() {
    let program = Program::new(|limits| limits.max_storage_buffer_binding_size = 1 << 18);
    steps::<f32>(&program, 9, 26_001, (1, 26_005), BufferUsages::COPY_SRC);
    // Halves of this size can be bound where their momentums cannot.
    steps::<bf16>(&program, 9, 13_001, (3, 13_005), BufferUsages::STORAGE);
}

#[test]
fn a_step_that_cannot_be_made_changes_no_momentum() {
    let program = Program::new(|_| ());
    let (n, d, f) = (5, 100, 1);
    let values: Vec<f32> = bench::data(n, d, 1).expect("memory");
    let rows = program.place(&values, n, d, (0, d), BufferUsages::STORAGE);
    let mut bad = values.clone();
    (bad[3], bad[2 * d]) = (f32::NAN, f32::INFINITY);
    let bad = program.place(&bad, n, d, (0, d), BufferUsages::STORAGE);
    let out = program.sevens(d, BufferUsages::STORAGE);
    let target = DeviceVector::new(&out);
    let mut momentum = DistributedMomentum::new_blocking(&program.engine(), n, d, 0.5).expect("momentums");
    for rule in parsed(&["median", "krum"]) {
        momentum.step_and_aggregate_to_blocking(&*rule, &rows, f, &target).expect("an aggregate");
        let before = momentum.snapshot_blocking().expect("a snapshot");
        // Found before anything is written.
        let mut refused = |rule: &dyn Rule, rows: &DeviceRows, f, target: &DeviceVector| {
            program.queue.write_buffer(&out, 0, bytemuck::cast_slice(&[7f32; 100]));
            momentum.step_and_aggregate_to_blocking(rule, rows, f, target).expect_err("an error")
        };
        assert!(matches!(refused(&*rule, &rows, 3, &target), Error::Requirement { .. }));
        assert!(matches!(refused(&*rule, &DeviceRows::new(&out, n, d), f, &target), Error::Buffer(_)));
        assert!(matches!(refused(&*rule, &rows, f, &target.clone().offset(4)), Error::Buffer(_)));
        let wide = program.buffer(8 * 4 * 100, BufferUsages::STORAGE);
        for (n, d) in [(n + 1, d), (n, d - 1)] {
            assert!(matches!(refused(&*rule, &DeviceRows::new(&wide, n, d), f, &target), Error::Momentum(_)));
        }
        assert!(program.read(&out).iter().all(|v| *v == 7.0));
        // Found in the data.
        let error = momentum.step_and_aggregate_to_blocking(&*rule, &bad, f, &target).expect_err("an error");
        assert_eq!(error, Error::NonFinite { rule: rule.name().into(), rows: vec![0, 2], f });
        assert!(program.read(&out).iter().all(|v| v.is_nan()));
        assert_eq!(momentum.snapshot_blocking().expect("a snapshot"), before);
    }
    // An engine without buffers.
    let mut momentum = DistributedMomentum::new_blocking(&Engine::cpu(), n, d, 0.5).expect("momentums");
    let error = momentum.step_and_aggregate_to_blocking(&*parsed(&["median"])[0], &rows, f, &target);
    assert!(matches!(error, Err(Error::Device { .. })), "{error:?}");
    program.no_error_was_heard();
}

/// Groups of 16 KiB: smaller tiles, and more of them. Against the definitions.
#[test]
fn small_groups_do() {
    let program = Program::new(|_| ());
    assert!(program.device.limits().max_compute_workgroup_storage_size < 20 << 10);
    let engine = program.engine();
    let mut failures = Failures::default();
    for (n, f, d) in [(15, 3, 600), (64, 10, 300), (100, 20, 300), (131, 20, 200)] {
        let case = families::make("gauss", n, f, d, 3);
        let few = ["krum", "geometric_median", "nnm+trimmed_mean", "trimmed_mean", "meamed", "aksel", "median"];
        let rules = if n == 15 { rules_for(&case) } else { parsed(&few) };
        for rule in rules {
            let reference = Engine::reference_f64(&*rule, &case.rows(), f).expect("a reference");
            let got = run(&engine, &*rule, &case);
            let result = got.map_err(|e| e.to_string()).and_then(|got| verify(&*rule, &case, &reference, &got));
            failures.note(|| format!("{} of {n} x {d}", rule.spec()), result);
        }
    }
    failures.settle();
    program.no_error_was_heard();
}

#[test]
fn unfit_buffers_are_errors_and_touch_nothing() {
    let program = Program::new(|_| ());
    let engine = program.engine();
    let (n, d, f) = (5, 100, 1);
    let rule = &parsed(&["trimmed_mean"])[0];
    let values: Vec<f32> = bench::data(n, d, 1).expect("memory");
    let rows = program.place(&values, n, d, (0, d), BufferUsages::STORAGE);
    let out = program.sevens(d, BufferUsages::STORAGE);
    let target = DeviceVector::new(&out);
    let storage = |bytes| program.buffer(bytes, BufferUsages::STORAGE);
    let all = storage(4 * 600);
    let destroyed = storage(4 * 500);
    destroyed.destroy();
    let other = Program::new(|_| ());
    let foreign = other.buffer(4 * 500, BufferUsages::STORAGE);
    let bad_rows = [
        ("too small", DeviceRows::new(&storage(4 * 499), n, d), "do not fit"),
        ("too small from there", rows.clone().offset(4 * 200), "do not fit"),
        ("a stride that is too small", rows.clone().stride(99), "stride"),
        ("a stride beyond all numbers", rows.clone().stride(usize::MAX), "do not fit"),
        ("an offset beyond all numbers", rows.clone().offset(u64::MAX - 3), "do not fit"),
        ("an offset within a value", rows.clone().offset(2), "offset"),
        ("a buffer without uses", DeviceRows::new(&program.buffer(4 * 500, BufferUsages::COPY_DST), n, d), "STORAGE"),
        ("a buffer that is gone", DeviceRows::new(&destroyed, n, d), "destroyed"),
        ("a buffer of another device", DeviceRows::new(&foreign, n, d), "evice"),
    ];
    for (what, rows, says) in bad_rows {
        let error = engine.aggregate_to_blocking(&**rule, &rows, f, &target).expect_err(what);
        assert!(matches!(&error, Error::Buffer(text) if text.contains(says)), "{what}: {error}");
    }
    assert_eq!(engine.aggregate_to_blocking(&**rule, &DeviceRows::new(&all, 0, d), f, &target), Err(Error::NoWorkers));
    let within = DeviceRows::new(&all, n, d);
    let bad_targets = [
        ("too small", DeviceVector::new(&storage(4 * 99)), "does not fit"),
        ("an offset that is too large", DeviceVector::new(&out).offset(4), "does not fit"),
        ("an offset within a value", DeviceVector::new(&program.sevens(d + 1, BufferUsages::STORAGE)).offset(2), "does not fit"),
        ("no use", DeviceVector::new(&program.buffer(400, BufferUsages::COPY_SRC)), "COPY_DST"),
        ("a buffer that is gone", DeviceVector::new(&destroyed), "destroyed"),
        ("a buffer of another device", DeviceVector::new(&foreign), "evice"),
    ];
    for (what, target, says) in bad_targets {
        let error = engine.aggregate_to_blocking(&**rule, &within, f, &target).expect_err(what);
        assert!(matches!(&error, Error::Buffer(text) if text.contains(says)), "{what}: {error}");
    }
    let error = engine.aggregate_to_blocking(&**rule, &within, f, &DeviceVector::new(&all).offset(4 * 499)).expect_err("overlap");
    assert!(matches!(&error, Error::Buffer(text) if text.contains("overwrite")), "{error}");
    assert!(program.read(&out).iter().all(|v| *v == 7.0));
    // Engines without the buffers' device.
    for engine in [Engine::cpu(), Engine::reference()] {
        assert!(matches!(engine.aggregate_blocking(&**rule, &rows, f), Err(Error::Device { .. })));
        assert!(matches!(engine.aggregate_to_blocking(&**rule, &rows, f, &target), Err(Error::Device { .. })));
    }
    // After all that it works, from the device and from the host.
    let want = engine.aggregate_blocking(&**rule, &Rows::from_slice(&values, n, d).expect("rows"), f).expect("an aggregate");
    engine.aggregate_to_blocking(&**rule, &rows, f, &target).expect("an aggregate");
    same_bits(&program.read(&out), &want.values).expect("the same");
    program.no_error_was_heard();
    other.no_error_was_heard();
}

#[test]
fn the_result_of_an_error_is_no_number() {
    let program = Program::new(|_| ());
    let engine = program.engine();
    let (n, d, f) = (5, 4200, 1);
    let mut values: Vec<f32> = bench::data(n, d, 1).expect("memory");
    (values[d], values[2 * d + 7]) = (f32::NAN, f32::INFINITY);
    let rows = program.place(&values, n, d, (0, d), BufferUsages::STORAGE);
    for rule in parsed(&["median", "krum", "geometric_median", "nnm+trimmed_mean"]) {
        for usage in [BufferUsages::STORAGE, BufferUsages::empty()] {
            let out = program.sevens(d + 3, usage);
            let error = engine.aggregate_to_blocking(&*rule, &rows, f, &DeviceVector::new(&out));
            assert!(matches!(&error, Err(Error::NonFinite { rows, .. }) if rows == &[1, 2]), "{}: {error:?}", rule.spec());
            let got = program.read(&out);
            assert!(got[..d].iter().all(|v| v.is_nan()) && got[d..].iter().all(|v| *v == 7.0), "{}", rule.spec());
        }
    }
    // Without columns there is nothing to do.
    let out = program.sevens(4, BufferUsages::STORAGE);
    let report = engine.aggregate_to_blocking(&*parsed(&["median"])[0], &DeviceRows::new(&out, 3, 0), 1, &DeviceVector::new(&out));
    assert_eq!(report.map(|report| report.d), Ok(0));
    program.no_error_was_heard();
}

/// Halves that end within a word, in a buffer that ends there as well.
#[test]
fn the_last_half_is_read() {
    let program = Program::new(|_| ());
    let halves: Vec<f16> = (0..9).map(|v| f16::from_f32(v as f32)).collect();
    let buffer = program.buffer(20, BufferUsages::STORAGE | BufferUsages::COPY_DST);
    program.queue.write_buffer(&buffer, 0, bytemuck::cast_slice(&[&halves[..], &[f16::NAN]].concat()));
    let rows = DeviceRows::new(&buffer, 3, 3).dtype(Dtype::F16);
    assert_eq!(program.engine().aggregate_blocking(&*parsed(&["median"])[0], &rows, 1).expect("a median").values, [3.0, 4.0, 5.0]);
    let shifted = rows.offset(2);
    assert_eq!(
        program.engine().aggregate_blocking(&*parsed(&["median"])[0], &shifted, 1).expect("a median").values[..2],
        [4.0, 5.0]
    );
}

#[test]
fn a_lost_device_is_an_error_and_another_one_works() {
    let values: Vec<f32> = bench::data(5, 300, 1).expect("memory");
    let rule = &parsed(&["krum"])[0];
    let lost = Program::new(|_| ());
    let (engine, rows, out) =
        (lost.engine(), lost.place(&values, 5, 300, (0, 300), BufferUsages::STORAGE), lost.sevens(300, BufferUsages::STORAGE));
    lost.device.destroy();
    let result = engine.aggregate_to_blocking(&**rule, &rows, 1, &DeviceVector::new(&out));
    assert!(matches!(result, Err(Error::Device { .. } | Error::Buffer(_))), "{result:?}");
    let result = engine.aggregate_blocking(&**rule, &Rows::from_slice(&values, 5, 300).expect("rows"), 1);
    assert!(matches!(result, Err(Error::Device { .. })), "{result:?}");
    lost.no_error_was_heard();
    let fresh = Program::new(|_| ());
    let (rows, out) = (fresh.place(&values, 5, 300, (0, 300), BufferUsages::STORAGE), fresh.sevens(300, BufferUsages::STORAGE));
    fresh.engine().aggregate_to_blocking(&**rule, &rows, 1, &DeviceVector::new(&out)).expect("an aggregate");
}
