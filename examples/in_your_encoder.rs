//! A robust aggregate between a program's own GPU commands: one submission, no wait, nothing on the host.
//!
//! `cargo run --release --example in_your_encoder`

use resam::wgpu::{self, BufferUsages};
use resam::{DeviceRows, DeviceVector, Dtype, Engine, Spec};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
    let adapter = pollster::block_on(instance.request_adapter(&wgpu::RequestAdapterOptions::default()))?;
    let (device, queue) = pollster::block_on(adapter.request_device(&wgpu::DeviceDescriptor::default()))?;
    let (n, f, d) = (15, 3, 50_000);
    let buffer =
        |size, usage| device.create_buffer(&wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false });
    let gradients = buffer(4 * (n * d) as u64, BufferUsages::STORAGE | BufferUsages::COPY_DST);
    let update = buffer(4 * d as u64, BufferUsages::STORAGE | BufferUsages::COPY_SRC);
    let seen = buffer(4 * d as u64, BufferUsages::MAP_READ | BufferUsages::COPY_DST);
    // Twelve workers say nearly the same, three pull the other way, hard.
    let gradient = |i: usize, k: usize| if i < n - f { 1.0 + 0.01 * ((i * k) % 7) as f32 } else { -1e6 };
    let values: Vec<f32> = (0..n * d).map(|at| gradient(at / d, at % d)).collect();

    // Once: buffers and kernels for matrices of this size.
    let engine = Engine::on_device(device.clone(), queue.clone(), None)?;
    let rule = engine.device_rule("nnm+trimmed_mean".parse::<Spec>()?.rule(), n, d, f, Dtype::F32)?;
    for step in 0..3 {
        let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        // The kernels of the backward pass would fill the gradients here.
        queue.write_buffer(&gradients, 0, bytemuck::cast_slice(&values));
        rule.encode(&mut encoder, &DeviceRows::new(&gradients, n, d), &DeviceVector::new(&update))?;
        // Those of the optimizer would read the update here.
        encoder.copy_buffer_to_buffer(&update, 0, &seen, 0, 4 * d as u64);
        queue.submit([encoder.finish()]);
        println!("step {step} submitted");
    }
    // When there is time to look: were workers left out, did one hide?
    println!("{:?}", rule.report_blocking()?);
    seen.map_async(wgpu::MapMode::Read, .., |mapped| mapped.expect("a mapped buffer"));
    device.poll(wgpu::PollType::wait_indefinitely())?;
    println!("the update begins with {:?}", bytemuck::cast_slice::<u8, f32>(&seen.get_mapped_range(..16)?));
    Ok(())
}
