#![doc = include_str!("../README.md")]

#[macro_use]
mod simd;

#[cfg(feature = "ndarray")]
mod arrays;
pub mod attacks;
pub mod bench;
#[cfg(feature = "burn")]
pub mod burn;
pub mod certify;
mod chain;
pub mod distributed;
mod dtype;
mod engine;
mod engines;
mod error;
#[cfg(feature = "cli")]
mod figure;
pub mod geometry;
pub mod gram;
mod matrix;
mod momentum;
mod parallel;
mod parameters;
mod pieces;
pub mod plan;
pub mod pre;
mod report;
pub mod resilience;
mod rows;
pub mod rules;
pub mod solve;
mod spec;
#[cfg(feature = "safetensors")]
mod tensors;
#[cfg(feature = "train")]
pub mod train;

pub use chain::{Chain, Stage};
pub use dtype::{Dtype, Element};
pub use engine::{Engine, TOGETHER};
pub use engines::cpu::CpuOptions;
pub use engines::execute::Options;
/// The wgpu that [`Engine::on_device`] takes devices of.
#[cfg(feature = "gpu")]
pub use engines::gpu::wgpu;
#[cfg(feature = "gpu")]
pub use engines::gpu::{AdapterInfo, DeviceReport, DeviceRows, DeviceRule, DeviceVector, GpuOptions, adapters};
pub use error::{Error, Result};
pub use half::{bf16, f16};
pub use matrix::{Input, Matrix};
pub use momentum::{DistributedMomentum, Snapshot};
pub use parameters::Parameter;
pub use report::{Aggregate, Report};
pub use rows::Rows;
pub use rules::Rule;
pub use spec::Spec;
#[cfg(feature = "safetensors")]
pub use tensors::Tensors;
