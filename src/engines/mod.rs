//! The engines: each executes a [`Plan`](crate::plan::Plan) on rows it can read. None of them knows a rule's name.
//!
//! [`execute`] holds what they share: which rows take part, the sample that picks a pivot, when to read again, the report.
//! An engine only has to offer the [`passes::Passes`], each of which reads the data once.

pub(crate) mod cpu;
pub(crate) mod exact_sum;
pub(crate) mod execute;
#[cfg(feature = "gpu")]
pub(crate) mod gpu;
pub(crate) mod keys;
pub(crate) mod network;
pub(crate) mod pair_sums;
pub(crate) mod passes;
pub(crate) mod pivot;
pub(crate) mod reference;
