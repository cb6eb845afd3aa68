//! What is run: every combination of the lists in a file.

use crate::settings::Settings;
use crate::train::{server, try_out};
use resam::Engine;
use resam::train::datasets::{self, Source};
use resam::train::{BoxError, Config, Rate};
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::HashSet;
use std::path::{Path, PathBuf};

/// A grid of runs.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Grid {
    datasets: Vec<String>,
    f: Vec<usize>,
    rules: Vec<String>,
    attacks: Vec<String>,
    betas: Vec<f32>,
    seeds: Vec<u64>,
    /// All other keys.
    #[serde(flatten, deserialize_with = "rest")]
    pub settings: Settings,
}

/// What the lists left, which must all be settings: serde's `flatten` by itself would let unknown keys pass.
fn rest<'de, D: Deserializer<'de>>(keys: D) -> Result<Settings, D::Error> {
    let table = toml::Table::deserialize(keys)?;
    // One by one, for the error of a whole table does not say which.
    for (key, value) in &table {
        let wrong = |e: toml::de::Error| {
            let lists = "expected one of `datasets`, `f`, `rules`, `attacks`, `betas`, `seeds`, ";
            D::Error::custom(format!("{key}: {}", e.message().replacen("expected one of ", lists, 1)))
        };
        toml::Table::from_iter([(key.clone(), value.clone())]).try_into::<Settings>().map_err(wrong)?;
    }
    table.try_into().map_err(D::Error::custom)
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
    fn new(dataset: &str, model: &str, rule: &str, attack: &str, config: &Config) -> Self {
        Self {
            dataset: dataset.into(),
            model: model.into(),
            split: config.partition.to_string(),
            n: config.workers,
            f: config.byzantine,
            rule: rule.into(),
            attack: attack.into(),
            beta: config.beta,
            seed: config.seed,
            steps: config.steps,
            batch: config.batch,
            lr: config.rate.initial,
            hold: config.rate.hold,
            decay: config.rate.decay,
            l2: config.l2,
            clip: config.clip,
            measure: config.measure,
        }
    }

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

    /// Whether only the seed differs, if anything.
    pub fn same_but_seed(&self, other: &Self) -> bool {
        // All else follows from the data set in a grid.
        (self.f, self.beta) == (other.f, other.beta)
            && (&self.dataset, &self.rule, &self.attack) == (&other.dataset, &other.rule, &other.attack)
    }

    /// The key as one line: the same settings, the same line.
    pub fn line(&self) -> String {
        serde_json::to_string(self).expect("a key is plain data")
    }
}

impl Grid {
    /// From the text of a TOML file.
    pub fn parse(text: &str) -> Result<Self, BoxError> {
        let grid: Self = toml::from_str(text).map_err(|error| {
            // Of keys that are not known toml says no place.
            let at = error.span().map_or(0, |span| span.start);
            let line = text.get(..at).map_or(0, |before| before.matches('\n').count()) + 1;
            let place = if at > 0 { format!("line {line}: ") } else { String::new() };
            format!("{place}{}", error.message().trim().replace('\n', " "))
        })?;
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

    /// The folder with a data set's files: the grid's or the one given instead of it; where several data sets have files, that of the data
    /// set's name in it. Four of MNIST's files and Fashion-MNIST's have the same names.
    pub fn folder(&self, given: Option<&Path>, source: &Source) -> Option<PathBuf> {
        let folder = given.or(self.settings.data.as_deref()).filter(|_| source.files)?;
        let named = |name: &String| name != source.name && datasets::by_name(name).is_ok_and(|other| other.files);
        Some(if self.datasets.iter().any(named) { folder.join(source.name) } else { folder.into() })
    }

    /// The runs, seed after seed, so that a grid that is stopped has whole tables of the first seeds; and of each rule and attack
    /// that cannot work with some n and f the reason why its runs are left out.
    pub fn runs(&self, engine: &Engine) -> Result<(Vec<Key>, Vec<String>), BoxError> {
        let (mut keys, mut left_out) = (Vec::new(), Vec::new());
        for dataset in &self.datasets {
            let source = datasets::by_name(dataset)?;
            let model = self.settings.model(source);
            source.model(model)?; // a wrong one must not wait for the data
            for (&seed, &f) in self.seeds.iter().flat_map(|seed| self.f.iter().map(move |f| (seed, f))) {
                let config = Config { byzantine: f, seed, ..self.settings.config(source) };
                config.check()?;
                let mut without = |error| left_out.push(format!("left out with n = {}, f = {f}: {error}", config.workers));
                let mut possible = Vec::new();
                for attack in &self.attacks {
                    match try_out(attack, &config)? {
                        None => possible.push(attack),
                        Some(reason) => without(reason.to_string()),
                    }
                }
                for (rule, &beta) in self.rules.iter().flat_map(|rule| self.betas.iter().map(move |beta| (rule, beta))) {
                    let config = Config { beta, ..config.clone() };
                    config.check()?;
                    rule.parse::<resam::Spec>()?;
                    match server(engine, rule, &config) {
                        Ok(_) => keys.extend(possible.iter().map(|attack| Key::new(dataset, model, rule, attack, &config))),
                        Err(error) => without(error.to_string()),
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
        let given = format!("{TEXT}\nn = 11\nsplit = 'extreme'\nlr = 0.5\nmodel = 'logistic'\ndata = 'x'");
        let key = &Grid::parse(&given).unwrap().runs(&Engine::cpu()).unwrap().0[0];
        assert_eq!((key.n, &key.split[..], key.lr, key.hold, &key.model[..]), (11, "extreme", 0.5, 0, "logistic"));
    }

    #[test]
    fn rules_that_lack_something_are_left_out() {
        let text = TEXT.replace("'average', 'bulyan'", "'fltrust', 'fltrust:row=0'");
        let (keys, left_out) = Grid::parse(&text).unwrap().runs(&Engine::cpu()).unwrap();
        assert!(left_out.iter().all(|reason| reason.contains("fltrust: row = none")) && !left_out.is_empty(), "{left_out:?}");
        assert!(keys.iter().all(|key| key.rule == "fltrust:row=0") && !keys.is_empty());
    }

    #[test]
    fn attacks_without_a_row_are_left_out() {
        // With f = 7 there are 8 honest workers, with f = 3 there are 12.
        let text = TEXT.replace("'none', 'alie'", "'alie:z=max', 'mimic:worker=11', 'foe:nu=search', 'label_flip'");
        let (keys, left_out) = Grid::parse(&text).unwrap().runs(&Engine::cpu()).unwrap();
        assert!(left_out.iter().any(|reason| reason.contains("f = 7") && reason.contains("mimic")), "{left_out:?}");
        assert!(keys.iter().all(|key| key.f == 3 || key.attack != "mimic:worker=11"));
        assert!(keys.iter().any(|key| key.f == 3 && key.attack == "mimic:worker=11"));
    }

    #[test]
    fn data_sets_with_the_same_file_names_have_folders_of_their_own() {
        let folder = |datasets: &str, of: &str, given: Option<&str>| {
            let text = format!("{}\ndata = 'data'", TEXT.replace("['digits']", datasets));
            Grid::parse(&text).unwrap().folder(given.map(Path::new), datasets::by_name(of).unwrap())
        };
        let path = |name: &str| Some(PathBuf::from(name));
        assert_eq!(folder("['digits', 'mnist']", "mnist", None), path("data"));
        assert_eq!(folder("['digits', 'mnist']", "digits", None), None);
        assert_eq!(folder("['mnist', 'fashion_mnist']", "mnist", None), path("data/mnist"));
        assert_eq!(folder("['mnist', 'fashion_mnist']", "fashion_mnist", Some("other")), path("other/fashion_mnist"));
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (wrong, says) in [
            (TEXT.replace("seeds", "sedes"), "sedes"),
            (TEXT.replace("seeds = [1, 2]", ""), "seeds is empty"),
            (format!("{TEXT}\nsteps = 'few'"), "steps"),
            (format!("{TEXT}\nsplit = 'odd'"), "odd"),
            (format!("{TEXT}\nmodel = 'lstm'"), "lstm"),
            (format!("{TEXT}\nmodel = 'cnn'"), "a model of 784"),
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
