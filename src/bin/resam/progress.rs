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
    /// Of nothing yet; `quiet` shows nothing. `steps` is the word for the steps.
    pub(crate) fn new(quiet: bool, count: usize, steps: &'static str) -> Self {
        let terminal = stderr().is_terminal();
        let target = if quiet || !terminal { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let style = ProgressStyle::with_template("{bar:40} {pos}/{len} {prefix}, {eta} left {msg}").expect("a fixed template");
        let bar = ProgressBar::with_draw_target(Some(count as u64), target).with_style(style).with_prefix(steps);
        Self { bar, spoke: (!quiet && !terminal).then(|| Mutex::new(Instant::now())) }
    }

    /// Some more are done.
    pub(crate) fn add(&self, steps: u64) {
        self.bar.inc(steps);
        // What it is at is told with the next.
        if self.bar.message().is_empty() {
            self.speak();
        }
    }

    fn speak(&self) {
        if let Some(spoke) = &self.spoke {
            let mut spoke = spoke.lock().unwrap_or_else(PoisonError::into_inner);
            if spoke.elapsed() >= QUIET {
                *spoke = Instant::now();
                print::note(self.line(self.bar.elapsed()));
            }
        }
    }

    /// What it is at.
    pub(crate) fn say(&self, what: String) {
        self.bar.set_message(what);
        self.speak();
    }

    /// How far it is after some time.
    fn line(&self, elapsed: Duration) -> String {
        let (done, all, steps) = (self.bar.position(), self.bar.length().unwrap_or(0), self.bar.prefix());
        let what = Some(self.bar.message()).filter(|what| !what.is_empty()).map_or(String::new(), |what| format!(": {what}"));
        if done == 0 {
            return format!("none of {all} {steps} yet{what}");
        }
        let left = elapsed.mul_f64(all.saturating_sub(done) as f64 / done as f64);
        format!("{done} of {all} {steps}, about {} left{what}", HumanDuration(left))
    }

    /// Takes the bar away.
    pub(crate) fn end(&self) {
        self.bar.finish_and_clear();
    }

    #[cfg(all(test, feature = "train"))]
    pub(crate) fn done(&self) -> u64 {
        self.bar.position()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_how_far_it_is() {
        let progress = Progress::new(true, 400, "steps");
        progress.add(40);
        progress.add(60);
        assert_eq!(progress.line(Duration::from_secs(60)), "100 of 400 steps, about 3 minutes left");
        assert_eq!(Progress::new(true, 0, "steps").line(Duration::ZERO), "none of 0 steps yet");
        let works = Progress::new(true, 3, "works");
        works.say("krum, n = 5".into());
        assert_eq!(works.line(Duration::ZERO), "none of 3 works yet: krum, n = 5");
        works.add(1);
        assert_eq!(works.line(Duration::from_secs(30)), "1 of 3 works, about 60 seconds left: krum, n = 5");
    }
}
