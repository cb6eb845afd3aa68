//! Gradients that are on a GPU already are combined there: an engine on the program's own device, rows and result in its own buffers.
//! Nothing but a few tables of the workers goes over the bus.
//!
//! `cargo run --release --example on_your_device`

use resam::wgpu::{self, BufferUsages, util::DeviceExt};
use resam::{DeviceRows, DeviceVector, Engine, rules::Krum};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // A device as any program makes one.
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
    let adapter = pollster::block_on(instance.request_adapter(&wgpu::RequestAdapterOptions::default()))?;
    let (device, queue) = pollster::block_on(adapter.request_device(&wgpu::DeviceDescriptor::default()))?;

    // Eleven workers' gradients, one behind the other; the last two say nonsense.
    let (n, f, d) = (11, 2, 100_000);
    let gradient = |i: usize, k: usize| if i < n - f { (i + k % 7) as f32 } else { f32::NAN };
    let values: Vec<f32> = (0..n * d).map(|at| gradient(at / d, at % d)).collect();
    let usage = BufferUsages::STORAGE;
    let contents = bytemuck::cast_slice(&values);
    let gradients = device.create_buffer_init(&wgpu::util::BufferInitDescriptor { label: Some("gradients"), contents, usage });
    let usage = BufferUsages::STORAGE | BufferUsages::COPY_SRC;
    let combined = device.create_buffer(&wgpu::BufferDescriptor {
        label: Some("combined"),
        size: 4 * d as u64,
        usage,
        mapped_at_creation: false,
    });

    let engine = Engine::on_device(device.clone(), queue.clone(), None)?;
    let rows = DeviceRows::new(&gradients, n, d);
    let report = engine.aggregate_to_blocking(&Krum::default(), &rows, f, &DeviceVector::new(&combined))?;
    println!("{}: took {:?}, left out {:?}", report.device, report.kept, report.non_finite);
    println!("{} bytes read on the device, {} sent, {} fetched", report.bytes_read, report.bytes_uploaded, report.bytes_downloaded);
    // `combined` is the program's: an optimizer's kernel would read it next.
    Ok(())
}
