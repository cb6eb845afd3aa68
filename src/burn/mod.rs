//! Tensors and modules of [burn](https://burn.dev) (feature `burn`).
//!
//! A [`TensorEngine`] aggregates the rows of a tensor. On a device of burn's wgpu backend that it shares, rows are read and the result is
//! written where they are; tensors of any other backend pass through their data. A [`ModuleMomentum`] is RESAM's step for a module: gradients
//! of the workers in, one set of gradients for any optimizer of burn out.
//!
//! `burn` must be of the version that this crate was built with.

mod engine;
mod momentum;
mod place;

pub use engine::TensorEngine;
pub use momentum::ModuleMomentum;
