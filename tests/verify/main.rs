//! The verification suite: every rule on every engine against its literal f64 definition, and the engines against what they
//! promise (hostile input, determinism, exact ties, passes). One binary, because each one links all of wgpu.
//!
//! The GPU engine runs on the adapter named by `RESAM_TEST_DEVICE`; without it on a real GPU, or else on lavapipe. Without any
//! adapter the tests fail: nothing is skipped in silence.
#![allow(missing_docs)]

mod check;
mod device;
mod families;
mod literal;

mod agree;
mod architecture;
mod determinism;
mod distributed;
#[cfg(feature = "gpu")]
mod encoded;
mod exact;
mod faults;
mod geometry;
mod given;
mod halves;
mod hostile;
mod lambda;
mod layers;
mod many;
mod momentum;
#[cfg(feature = "gpu")]
mod shared;
