//! Mimicking an honest worker.

use super::{Attack, AttackError, Entry, Scene, mean};

pub(super) const ENTRY: Entry = Entry {
    name: "mimic",
    aliases: &[],
    title: "Mimic",
    parameters: "worker=INDEX (default: the one most aligned with the direction of largest variance)",
    build: |parameters| Ok(Box::new(Mimic { worker: parameters.take("worker")?, ..Mimic::default() })),
};

/// Mimic: a copy of one honest row.
///
/// Nothing about the row is out of place; but one worker's data count f + 1 times, and where workers have different data
/// a rule that drops rows drops those of rare ones.
///
/// Without a fixed worker it learns, by one round of the power method a step over all steps so far, a direction z in which
/// the honest rows vary most,
///
/// μ ← (t·μ + ḡ)/(t + 1), z ← t·z + Σᵢ ⟨xᵢ − μ, z⟩(xᵢ − μ), then normalised (z = xᵢ − ḡ as long as it is 0, with the
/// first xᵢ that is not ḡ),
///
/// and copies the worker whose rows point along it most: the largest |Σ ⟨xᵢ, z⟩| over the steps (ties: the lowest index).
///
/// Source: Karimireddy, He, Jaggi, "Byzantine-Robust Learning on Heterogeneous Datasets via Bucketing", ICLR 2022.
#[derive(Clone, Debug, Default)]
pub struct Mimic {
    /// The worker to copy; `None` for the heuristic.
    pub worker: Option<usize>,
    learned: Learned,
}

/// What the heuristic keeps from step to step.
#[derive(Clone, Debug, Default)]
struct Learned {
    steps: f64,
    /// μ, the running mean of the honest rows.
    mean: Vec<f64>,
    /// z, of length 1, or 0 while all honest rows are the same.
    direction: Vec<f64>,
    /// Σ ⟨xᵢ, z⟩ of each honest worker.
    along: Vec<f64>,
}

impl Mimic {
    /// A copy of one worker.
    pub fn of(worker: usize) -> Self {
        Self { worker: Some(worker), ..Self::default() }
    }
}

impl Learned {
    /// Learns from one more step, and says whom to copy.
    fn choose(&mut self, scene: &Scene) -> Result<usize, AttackError> {
        let (steps, honest) = (self.steps, scene.honest()?);
        let now = mean(&honest);
        if self.direction.iter().all(|z| *z == 0.0) {
            let away = |row: &&[f32]| row.iter().zip(&now).map(|(&x, m)| f64::from(x) - m).collect();
            let differs = |z: &Vec<f64>| z.iter().any(|z| *z != 0.0);
            self.direction = honest.iter().map(away).find(differs).unwrap_or_else(|| vec![0.0; now.len()]);
        }
        if steps == 0.0 {
            self.along = vec![0.0; honest.len()];
            self.mean = vec![0.0; now.len()];
        }
        self.mean.iter_mut().zip(now).for_each(|(mean, m)| *mean += (m - *mean) / (steps + 1.0));
        let mut next: Vec<f64> = self.direction.iter().map(|z| steps * z).collect();
        for row in &honest {
            let away = || row.iter().zip(&self.mean).map(|(&x, m)| f64::from(x) - m);
            let along: f64 = away().zip(&self.direction).map(|(x, z)| x * z).sum();
            next.iter_mut().zip(away()).for_each(|(z, x)| *z += along * x);
        }
        let length = next.iter().map(|z| z * z).sum::<f64>().sqrt();
        if length > 0.0 {
            self.direction = next.iter().map(|z| z / length).collect();
        }
        for (along, row) in self.along.iter_mut().zip(&honest) {
            *along += row.iter().zip(&self.direction).map(|(&x, z)| f64::from(x) * z).sum::<f64>();
        }
        self.steps += 1.0;
        Ok((1..honest.len()).fold(0, |best, i| if self.along[i].abs() > self.along[best].abs() { i } else { best }))
    }
}

impl Attack for Mimic {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn description(&self) -> String {
        match self.worker {
            Some(worker) => format!("the row of honest worker {worker}"),
            None => "the row of the honest worker farthest along the direction of largest variance".into(),
        }
    }

    fn row(&mut self, scene: &Scene) -> Result<Option<Vec<f32>>, AttackError> {
        let worker = match self.worker {
            Some(worker) => worker,
            None => self.learned.choose(scene)?,
        };
        let row = scene.honest()?.get(worker).copied().ok_or_else(|| AttackError::Impossible {
            reason: format!("mimic: there is no honest worker {worker}, only 0 to {}", scene.n() - scene.f() - 1),
        })?;
        Ok(Some(row.to_vec()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fixed_worker_is_copied_or_missed() {
        let honest: [&[f32]; 2] = [&[1.0, 2.0], &[3.0, -0.5]];
        let scene = Scene::new(&honest, 3).unwrap();
        assert_eq!(Mimic::of(1).row(&scene).unwrap().unwrap(), [3.0, -0.5]);
        assert!(Mimic::of(2).row(&scene).unwrap_err().to_string().contains("0 to 1"));
    }

    #[test]
    fn the_heuristic_settles_on_the_worker_farthest_out() {
        // Coordinate 1 varies most over the workers, and worker 2 is farthest along it; coordinate 0 is a little noise.
        let mut rng = fastrand::Rng::with_seed(4);
        let mut attack = Mimic::default();
        let mut chosen = vec![];
        for _ in 0..20 {
            let rows: Vec<[f32; 2]> = [1.0, -1.0, 5.0, -2.0].iter().map(|&x| [rng.f32(), x + rng.f32() - 0.5]).collect();
            let honest: Vec<&[f32]> = rows.iter().map(|row| &row[..]).collect();
            chosen = attack.row(&Scene::new(&honest, 1).unwrap()).unwrap().unwrap();
            assert!(honest.iter().any(|row| *row == chosen));
        }
        assert!(chosen[1] > 4.0, "{chosen:?}");
        let z = &attack.learned.direction;
        assert!(z[1].abs() > 0.99 && (z[0] * z[0] + z[1] * z[1] - 1.0).abs() < 1e-9);
    }

    #[test]
    fn a_first_row_at_the_mean_hides_nothing() {
        let mut attack = Mimic::default();
        for rows in [[0.0f32, 1.0, -1.5, 0.5], [0.0, 1.0, -3.0, 0.0]] {
            let honest: Vec<&[f32]> = rows.iter().map(std::slice::from_ref).collect();
            assert_eq!(attack.row(&Scene::new(&honest, 1).unwrap()).unwrap().unwrap(), [rows[2]]);
        }
    }

    #[test]
    fn equal_rows_are_copied_as_they_are() {
        let honest: [&[f32]; 2] = [&[1.0], &[1.0]];
        assert_eq!(Mimic::default().row(&Scene::new(&honest, 1).unwrap()).unwrap().unwrap(), [1.0]);
    }
}
