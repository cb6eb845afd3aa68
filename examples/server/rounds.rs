//! Who has sent what in the round that is open, and the results of those before. Knows nothing of HTTP.

use resam::{Engine, Rows, Spec};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::{sync::Notify, task::spawn_blocking, time::timeout};

/// Results of past rounds that can still be fetched.
const KEPT: usize = 4;

pub struct Settings {
    pub rule: Spec,
    /// Workers.
    pub n: usize,
    /// How many of them may be Byzantine, absent ones included.
    pub f: usize,
    /// Coordinates of a momentum.
    pub d: usize,
    /// How long a round waits for stragglers. One with more than f missing waits on.
    pub deadline: Duration,
}

/// Little-endian f32, or why there is no result.
pub type Outcome = Result<Vec<u8>, String>;

/// Why a momentum is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The round is over.
    Over,
    /// The round has not begun.
    Early,
    /// This worker has sent one, or is sending one.
    Again,
}

/// What is known of a round.
pub enum Fate {
    Unknown,
    Open,
    Done(Outcome),
}

pub struct Rounds {
    settings: Settings,
    state: Mutex<State>,
    arrived: Notify,
}

struct State {
    /// The round that is open, or being combined.
    round: u64,
    open: bool,
    slots: Vec<Slot>,
    outcomes: BTreeMap<u64, Outcome>,
}

#[derive(Clone)]
enum Slot {
    Empty,
    Arriving,
    Here(Vec<f32>),
}

/// A place kept for a momentum that is on its way: given up when it is dropped.
pub struct Place {
    rounds: Arc<Rounds>,
    round: u64,
    worker: usize,
}

impl Rounds {
    /// Refuses what the rule refuses for n and f.
    pub fn new(settings: Settings) -> resam::Result<Self> {
        settings.rule.rule().check(settings.n, settings.f)?;
        let state = State { round: 0, open: true, slots: vec![Slot::Empty; settings.n], outcomes: BTreeMap::new() };
        Ok(Self { settings, state: Mutex::new(state), arrived: Notify::new() })
    }

    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Keeps the place of one of the n workers: one momentum a worker and round.
    pub fn place(self: &Arc<Self>, round: u64, worker: usize) -> Result<Place, Refusal> {
        let mut state = self.state();
        state.accepts(round)?;
        match &mut state.slots[worker] {
            slot @ Slot::Empty => *slot = Slot::Arriving,
            Slot::Arriving | Slot::Here(_) => return Err(Refusal::Again),
        }
        Ok(Place { rounds: self.clone(), round, worker })
    }

    pub fn fate(&self, round: u64) -> Fate {
        let state = self.state();
        match state.outcomes.get(&round) {
            Some(outcome) => Fate::Done(outcome.clone()),
            None if round == state.round => Fate::Open,
            None => Fate::Unknown,
        }
    }

    /// Round after round: collects, combines, publishes.
    pub async fn run(self: Arc<Self>, engine: Engine) {
        loop {
            let start = Instant::now();
            let momentums = self.collect(start).await;
            let (rounds, engine) = (self.clone(), engine.clone());
            // The engine may keep a thread busy: not one that answers requests.
            let combined = spawn_blocking(move || rounds.combine(&engine, &momentums, start)).await;
            self.publish(combined.unwrap_or_else(|e| Err(e.to_string())));
        }
    }

    /// Waits until all momentums are here, or the deadline is over and no more than f are missing.
    async fn collect(&self, start: Instant) -> Vec<Option<Vec<f32>>> {
        loop {
            let left = self.settings.deadline.checked_sub(start.elapsed());
            if let Some(momentums) = self.close(left.is_none()) {
                return momentums;
            }
            match left {
                Some(left) => drop(timeout(left, self.arrived.notified()).await),
                None => self.arrived.notified().await,
            }
        }
    }

    fn close(&self, late: bool) -> Option<Vec<Option<Vec<f32>>>> {
        let mut state = self.state();
        let missing = state.slots.iter().filter(|slot| !matches!(slot, Slot::Here(_))).count();
        if missing > if late { self.settings.f } else { 0 } {
            return None;
        }
        state.open = false;
        let slots = std::mem::replace(&mut state.slots, vec![Slot::Empty; self.settings.n]);
        Some(slots.into_iter().map(|slot| if let Slot::Here(momentum) = slot { Some(momentum) } else { None }).collect())
    }

    /// A row of NaN stands for an absent worker: no rule but the average lets it move the result, and it counts against f as one that came
    /// with NaN does.
    fn combine(&self, engine: &Engine, momentums: &[Option<Vec<f32>>], start: Instant) -> Outcome {
        let Settings { rule, n, f, d, .. } = &self.settings;
        let nothing = vec![f32::NAN; *d];
        let rows: Vec<&[f32]> = momentums.iter().map(|momentum| momentum.as_ref().unwrap_or(&nothing).as_slice()).collect();
        let absent: Vec<usize> = (0..*n).filter(|&i| momentums[i].is_none()).collect();
        let result = Rows::from_rows(&rows).and_then(|rows| engine.aggregate_blocking(rule.rule(), &rows, *f));
        let (round, waited, here) = (self.state().round, start.elapsed(), n - absent.len());
        let said = match &result {
            Ok(result) => {
                let spoilt: Vec<&usize> = result.report.non_finite.iter().filter(|i| !absent.contains(i)).collect();
                let kept = result.report.kept.as_ref().map_or("values of all by coordinate".into(), |kept| format!("{kept:?}"));
                format!("NaN or infinities from {spoilt:?}, kept {kept}")
            }
            Err(e) => format!("no result: {e}"),
        };
        println!("round {round}: {here} of {n} workers within {waited:.1?}, absent {absent:?}, {said}");
        result.map(|result| result.values.iter().flat_map(|y| y.to_le_bytes()).collect()).map_err(|e| e.to_string())
    }

    /// Opens the next round.
    fn publish(&self, outcome: Outcome) {
        let mut state = self.state();
        let round = state.round;
        state.outcomes.insert(round, outcome);
        while state.outcomes.len() > KEPT {
            state.outcomes.pop_first();
        }
        (state.round, state.open) = (round + 1, true);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No change of the state is left half-made by a panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn accepts(&self, round: u64) -> Result<(), Refusal> {
        match round {
            _ if round > self.round => Err(Refusal::Early),
            _ if round < self.round || !self.open => Err(Refusal::Over),
            _ => Ok(()),
        }
    }
}

impl Place {
    /// The momentum is here.
    pub fn fill(self, momentum: Vec<f32>) -> Result<(), Refusal> {
        let mut state = self.rounds.state();
        state.accepts(self.round)?;
        state.slots[self.worker] = Slot::Here(momentum);
        drop(state);
        self.rounds.arrived.notify_one();
        Ok(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.rounds.state();
        if state.accepts(self.round).is_ok()
            && let slot @ Slot::Arriving = &mut state.slots[self.worker]
        {
            *slot = Slot::Empty;
        }
    }
}
