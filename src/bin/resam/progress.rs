//! How far long work is: a bar on a terminal, a line a minute elsewhere.

use crate::print;
use indicatif::{HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{IsTerminal, stderr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Time between two lines.
const QUIET: Duration = Duration::from_secs(60);

/// So many steps of work, some of them done.
pub(crate) struct Progress {
    bar: ProgressBar,
    /// When the last line was written, where there is no terminal.
    spoke: Option<Mutex<Instant>>,
}

impl Progress {
    /// Of nothing yet; `quiet` shows nothing.
    pub(crate) fn new(quiet: bool, steps: usize) -> Self {
        let terminal = stderr().is_terminal();
        let target = if quiet || !terminal { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let style = ProgressStyle::with_template("{bar:40} {pos}/{len} steps, {eta} left").expect("a fixed template");
        let bar = ProgressBar::with_draw_target(Some(steps as u64), target).with_style(style);
        Self { bar, spoke: (!quiet && !terminal).then(|| Mutex::new(Instant::now())) }
    }

    /// Some more are done.
    pub(crate) fn add(&self, steps: u64) {
        self.bar.inc(steps);
        if let Some(spoke) = &self.spoke {
            let mut spoke = spoke.lock().unwrap_or_else(PoisonError::into_inner);
            if spoke.elapsed() >= QUIET {
                *spoke = Instant::now();
                print::note(self.line(self.bar.elapsed()));
            }
        }
    }

    /// How far it is after some time.
    fn line(&self, elapsed: Duration) -> String {
        let (done, all) = (self.bar.position(), self.bar.length().unwrap_or(0));
        if done == 0 {
            return format!("none of {all} steps yet");
        }
        let left = elapsed.mul_f64(all.saturating_sub(done) as f64 / done as f64);
        format!("{done} of {all} steps, about {} left", HumanDuration(left))
    }

    /// Takes the bar away.
    pub(crate) fn end(&self) {
        self.bar.finish_and_clear();
    }

    #[cfg(test)]
    pub(crate) fn done(&self) -> u64 {
        self.bar.position()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_how_far_it_is() {
        let progress = Progress::new(true, 400);
        progress.add(40);
        progress.add(60);
        assert_eq!(progress.line(Duration::from_secs(60)), "100 of 400 steps, about 3 minutes left");
        assert_eq!(Progress::new(true, 0).line(Duration::ZERO), "none of 0 steps yet");
    }
}
