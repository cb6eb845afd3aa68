//! What is run: every combination of the lists in a file.

use crate::train::server;
use resam::Engine;
use resam::attacks;
use resam::train::datasets;
use resam::train::{BoxError, Config, Rate};
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::path::PathBuf;

/// A grid of runs; what is left out is as suits the data set.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grid {
    datasets: Vec<String>,
    /// Folder of the data sets' files.
    pub data: Option<PathBuf>,
    model: Option<String>,
    split: Option<String>,
    n: Option<usize>,
    f: Vec<usize>,
    rules: Vec<String>,
    attacks: Vec<String>,
    betas: Vec<f32>,
    seeds: Vec<u64>,
    steps: Option<usize>,
    batch: Option<usize>,
    lr: Option<f32>,
    hold: Option<usize>,
    decay: Option<f32>,
    l2: Option<f32>,
    clip: Option<f32>,
    measure: Option<usize>,
}

/// All that decides what comes of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Key {
    pub dataset: String,
    pub model: String,
    pub split: String,
    pub n: usize,
    pub f: usize,
    pub rule: String,
    pub attack: String,
    pub beta: f32,
    pub seed: u64,
    pub steps: usize,
    pub batch: usize,
    pub lr: f32,
    pub hold: usize,
    pub decay: f32,
    pub l2: f32,
    pub clip: Option<f32>,
    pub measure: usize,
}

impl Key {
    pub fn config(&self) -> Result<Config, BoxError> {
        let config = Config {
            workers: self.n,
            byzantine: self.f,
            beta: self.beta,
            steps: self.steps,
            batch: self.batch,
            rate: Rate { initial: self.lr, hold: self.hold, decay: self.decay },
            partition: self.split.parse()?,
            l2: self.l2,
            clip: self.clip,
            seed: self.seed,
            measure: self.measure,
        };
        config.check()?;
        Ok(config)
    }

    /// The key as one line: the same settings, the same line.
    pub fn line(&self) -> String {
        serde_json::to_string(self).expect("a key is plain data")
    }
}

impl Grid {
    /// From the text of a TOML file.
    pub fn parse(text: &str) -> Result<Self, BoxError> {
        let grid: Self = toml::from_str(text).map_err(|error| error.to_string().trim().replace('\n', " "))?;
        let empty = [
            ("datasets", grid.datasets.is_empty()),
            ("f", grid.f.is_empty()),
            ("rules", grid.rules.is_empty()),
            ("attacks", grid.attacks.is_empty()),
            ("betas", grid.betas.is_empty()),
            ("seeds", grid.seeds.is_empty()),
        ];
        match empty.iter().find(|(_, empty)| *empty) {
            Some((name, _)) => Err(format!("{name} is empty: the grid has no run").into()),
            None => Ok(grid),
        }
    }

    /// The runs, seed after seed, so that a grid that is stopped has whole tables of the first seeds; and of each rule that cannot
    /// work with some n and f the reason why its runs are left out.
    pub fn runs(&self, engine: &Engine) -> Result<(Vec<Key>, Vec<String>), BoxError> {
        let (mut keys, mut left_out) = (Vec::new(), Vec::new());
        for attack in &self.attacks {
            attacks::by_name(attack)?;
        }
        for dataset in &self.datasets {
            let source = datasets::by_name(dataset)?;
            let suited = source.config();
            for (&seed, &f) in self.seeds.iter().flat_map(|seed| self.f.iter().map(move |f| (seed, f))) {
                for (rule, &beta) in self.rules.iter().flat_map(|rule| self.betas.iter().map(move |beta| (rule, beta))) {
                    let key = |attack: &String| Key {
                        dataset: dataset.clone(),
                        model: self.model.clone().unwrap_or(source.model.into()),
                        split: self.split.clone().unwrap_or(suited.partition.to_string()),
                        n: self.n.unwrap_or(suited.workers),
                        f,
                        rule: rule.clone(),
                        attack: attack.clone(),
                        beta,
                        seed,
                        steps: self.steps.unwrap_or(suited.steps),
                        batch: self.batch.unwrap_or(suited.batch),
                        lr: self.lr.unwrap_or(suited.rate.initial),
                        hold: self.hold.unwrap_or(suited.rate.hold),
                        decay: self.decay.unwrap_or(suited.rate.decay),
                        l2: self.l2.unwrap_or(suited.l2),
                        clip: self.clip.or(suited.clip),
                        measure: self.measure.unwrap_or(suited.measure),
                    };
                    let config = key(&self.attacks[0]).config()?;
                    match (rule.parse::<resam::Spec>(), server(engine, rule, &config)) {
                        (Err(error), _) => return Err(error.into()),
                        (Ok(_), Ok(_)) => keys.extend(self.attacks.iter().map(key)),
                        (Ok(_), Err(error)) => left_out.push(format!("left out with n = {}, f = {f}: {error}", config.workers)),
                    }
                }
            }
        }
        let mut seen = HashSet::new();
        keys.retain(|key: &Key| seen.insert(key.line()));
        left_out.sort();
        left_out.dedup();
        Ok((keys, left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "datasets = ['digits']\nf = [3, 7]\nrules = ['average', 'bulyan']\nattacks = ['none', 'alie']\nbetas = [0.0]\nseeds = [1, 2]";

    #[test]
    fn a_grid_is_all_combinations_that_can_work() {
        let (keys, left_out) = Grid::parse(TEXT).unwrap().runs(&Engine::cpu()).unwrap();
        // Bulyan needs n >= 4f + 3.
        assert_eq!(keys.len(), 2 * 2 * 2 + 2 * 2);
        assert!(left_out.len() == 1 && left_out[0].contains("f = 7"), "{left_out:?}");
        let twice = TEXT.replace("[1, 2]", "[1, 2, 1]");
        assert_eq!(Grid::parse(&twice).unwrap().runs(&Engine::cpu()).unwrap().0, keys);
        let lines: HashSet<String> = keys.iter().map(Key::line).collect();
        assert_eq!(lines.len(), keys.len());
        assert_eq!(keys[0].config().unwrap(), Config { byzantine: 3, beta: 0.0, ..Config::default() });
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (wrong, says) in [
            (TEXT.replace("seeds", "sedes"), "sedes"),
            (TEXT.replace("['digits']", "[]"), "datasets is empty"),
            (TEXT.replace("digits", "digit"), "digit"),
            (TEXT.replace("alie", "lie"), "lie"),
            (TEXT.replace("average", "averag"), "averag"),
            (TEXT.replace("[0.0]", "[1.5]"), "beta"),
        ] {
            let error = Grid::parse(&wrong).and_then(|grid| grid.runs(&Engine::cpu()).map(|_| ())).unwrap_err().to_string();
            assert!(error.contains(says) && !error.contains('\n'), "{error}");
        }
    }
}
