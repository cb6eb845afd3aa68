//! n-space solvers: exact algorithms on the n × n distances or inner products of the rows. They never see the data.

pub mod diameter;
pub mod weiszfeld;
