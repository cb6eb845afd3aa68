//! One call on one rank, once its shard is at hand.

use super::link::Link;
use super::passes::Shard;
use super::shards::Shards;
use crate::engine::Engine;
use crate::engines::execute::Asked;
use crate::error::Result;
use crate::matrix::Input;
use crate::report::Report;

/// Combines the rows of all ranks' shards; this rank's columns of the result go into `out`. Every rank gets the same report, but for the name
/// of its device, or the same error. After an error found in the data, or on another rank, `out` holds NaN.
pub(crate) fn run(
    link: &mut Link<'_>,
    shards: Shards,
    engine: &Engine,
    input: Input<'_>,
    asked: Asked<'_>,
    out: &mut [f32],
) -> Result<Report> {
    let report = pollster::block_on(engine.run_wrapped(Shard { link, shards }, input, asked, out));
    let finished = report.is_ok();
    let agreed = link.agree(&"the report", report).and_then(|report| totals(link, report));
    if agreed.is_err() && finished {
        out.fill(f32::NAN);
    }
    agreed
}

/// The bytes of all ranks, and the time of the slowest.
fn totals(link: &mut Link<'_>, report: Report) -> Result<Report> {
    let Report { bytes_read, bytes_uploaded, bytes_downloaded, device_seconds, .. } = report;
    let timed = u64::from(device_seconds.is_some());
    let all = link.gather_equal(&[bytes_read, bytes_uploaded, bytes_downloaded, timed, device_seconds.unwrap_or(0.0).to_bits()])?;
    let sum = |k: usize| all.iter().map(|rank| rank[k]).sum();
    let seconds = all.iter().map(|rank| f64::from_bits(rank[4])).fold(0.0, f64::max);
    Ok(Report {
        bytes_read: sum(0),
        bytes_uploaded: sum(1),
        bytes_downloaded: sum(2),
        device_seconds: all.iter().all(|rank| rank[3] == 1).then_some(seconds),
        ..report
    })
}
