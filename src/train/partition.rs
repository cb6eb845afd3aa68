//! Who holds which examples: how the training data are split over the honest workers.

use std::{
    fmt::{self, Display},
    str::FromStr,
    sync::Arc,
};

use fastrand::Rng;
use rand::{SeedableRng, rngs::Xoshiro256PlusPlus};
use rand_distr::{Distribution, Gamma};

use super::{Dataset, TrainError};
use crate::Error;
use crate::parameters::Parameters;

/// Smallest α of a Dirichlet split: below it, weights vanish in f64.
const LEAST_ALPHA: f64 = 0.01;

/// How the training data are split over the honest workers.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Partition {
    /// Every worker draws from all examples.
    #[default]
    Iid,
    /// Each class is divided among the workers by weights from a Dirichlet distribution: with small α (0.01 at least) most of
    /// a class falls to a few workers, with large α all get about the same. Source: Yurochkin et al., "Bayesian Nonparametric
    /// Federated Learning of Neural Networks", ICML 2019.
    Dirichlet {
        /// α, the concentration.
        alpha: f64,
    },
    /// The examples are sorted by class and cut into runs of equal length, one a worker.
    Extreme,
}

impl Partition {
    /// Whether shares can be cut by it at all.
    pub(super) fn is_possible(self) -> bool {
        match self {
            Self::Dirichlet { alpha } => (LEAST_ALPHA..f64::INFINITY).contains(&alpha),
            Self::Iid | Self::Extreme => true,
        }
    }

    /// The indices of each worker's examples.
    ///
    /// # Errors
    /// [`TrainError::Data`] if a worker would get none.
    pub(super) fn shares(self, data: &Dataset, workers: usize, rng: &mut Rng) -> Result<Vec<Arc<[usize]>>, TrainError> {
        let all = || (0..data.len()).collect::<Vec<_>>();
        let shares = match self {
            Self::Iid => vec![all().into(); workers],
            Self::Dirichlet { alpha } => dirichlet(alpha, data, workers, rng)?.into_iter().map(Arc::from).collect(),
            Self::Extreme => {
                let mut sorted = all();
                sorted.sort_by_key(|&i| data.labels[i]);
                cut(&sorted, (0..=workers).map(|w| w * sorted.len() / workers)).into_iter().map(Arc::from).collect()
            }
        };
        match shares.iter().position(|share: &Arc<[usize]>| share.is_empty()) {
            None => Ok(shares),
            Some(worker) => Err(TrainError::Data(format!(
                "the {self} split leaves worker {worker} without an example: take another seed, fewer workers, or more even shares"
            ))),
        }
    }
}

/// Each class, shuffled, is cut in proportion to weights that are independent Gamma(α) draws over their sum: Dirichlet(α).
fn dirichlet(alpha: f64, data: &Dataset, workers: usize, rng: &mut Rng) -> Result<Vec<Vec<usize>>, TrainError> {
    let setting = |alpha: f64, needs| TrainError::Setting { setting: "alpha", found: alpha.to_string(), needs };
    let gamma = Gamma::new(alpha, 1.0).map_err(|_| setting(alpha, "finite and at least 0.01"))?;
    let mut random = Xoshiro256PlusPlus::seed_from_u64(rng.u64(..));
    let mut shares = vec![vec![]; workers];
    for class in 0..data.classes {
        let mut members: Vec<usize> = (0..data.len()).filter(|&i| usize::from(data.labels[i]) == class).collect();
        rng.shuffle(&mut members);
        let weights: Vec<f64> = (0..workers).map(|_| gamma.sample(&mut random)).collect();
        let total: f64 = weights.iter().sum();
        if !total.is_normal() {
            return Err(setting(alpha, "such that a Gamma distribution of it stays in the range of f64"));
        }
        let mut before = 0.0;
        let ends = weights.iter().map(|weight| {
            before += weight;
            ((before / total * members.len() as f64).round() as usize).min(members.len())
        });
        for (share, part) in shares.iter_mut().zip(cut(&members, [0].into_iter().chain(ends))) {
            share.extend(part);
        }
    }
    Ok(shares)
}

/// The runs between consecutive places.
fn cut(indices: &[usize], places: impl Iterator<Item = usize>) -> Vec<Vec<usize>> {
    let places: Vec<usize> = places.collect();
    places.windows(2).map(|ends| indices[ends[0]..ends[1]].to_vec()).collect()
}

impl FromStr for Partition {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let (name, rest) = text.split_once(':').map_or((text, None), |(name, rest)| (name, Some(rest)));
        let mut parameters = Parameters::parse(text, rest)?;
        let partition = match name {
            "iid" => Self::Iid,
            "extreme" => Self::Extreme,
            "dirichlet" => match parameters.take("alpha")? {
                Some(alpha) if (Self::Dirichlet { alpha }).is_possible() => Self::Dirichlet { alpha },
                _ => return Err(Error::spec(text, format!("dirichlet needs alpha=NUMBER, at least {LEAST_ALPHA}"))),
            },
            _ => return Err(Error::spec(text, "a split is iid, dirichlet:alpha=A or extreme")),
        };
        parameters.finish(name)?;
        Ok(partition)
    }
}

impl Display for Partition {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Iid => out.write_str("iid"),
            Self::Dirichlet { alpha } => write!(out, "dirichlet:alpha={alpha}"),
            Self::Extreme => out.write_str("extreme"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(per_class: usize) -> Dataset {
        let labels: Vec<u8> = (0..10 * per_class).map(|i| (i % 10) as u8).collect();
        Dataset { features: vec![0.0; labels.len()], labels, inputs: 1, classes: 10 }
    }

    fn shares(partition: &str, data: &Dataset, workers: usize, seed: u64) -> Result<Vec<Vec<usize>>, TrainError> {
        let shares = partition.parse::<Partition>().unwrap().shares(data, workers, &mut Rng::with_seed(seed));
        Ok(shares?.iter().map(|share| share.to_vec()).collect())
    }

    /// The mean over workers of the share of their commonest class.
    fn purity(shares: &[Vec<usize>], data: &Dataset) -> f64 {
        let of = |share: &Vec<usize>| {
            let mut counts = [0usize; 10];
            share.iter().for_each(|&i| counts[usize::from(data.labels[i])] += 1);
            counts.into_iter().max().unwrap_or(0) as f64 / share.len() as f64
        };
        shares.iter().map(of).sum::<f64>() / shares.len() as f64
    }

    #[test]
    fn splits_give_each_example_to_one_worker_by_the_seed() {
        let data = data(100);
        for partition in ["dirichlet:alpha=0.1", "dirichlet:alpha=1", "extreme"] {
            let split = shares(partition, &data, 12, 3).unwrap();
            assert_eq!(split.len(), 12);
            let mut all = split.concat();
            all.sort_unstable();
            assert_eq!(all, (0..1000).collect::<Vec<_>>(), "{partition}");
            assert_eq!(split, shares(partition, &data, 12, 3).unwrap());
        }
        assert_ne!(shares("dirichlet:alpha=1", &data, 12, 3).unwrap(), shares("dirichlet:alpha=1", &data, 12, 4).unwrap());
        assert_eq!(shares("iid", &data, 2, 0).unwrap(), [(0..1000).collect::<Vec<_>>(), (0..1000).collect()]);
    }

    #[test]
    fn smaller_alpha_means_fewer_classes_a_worker() {
        let data = data(200);
        let purity = |partition| purity(&shares(partition, &data, 10, 1).unwrap(), &data);
        assert!(purity("iid") < 0.101 && purity("extreme") == 1.0);
        let alphas = ["dirichlet:alpha=1000", "dirichlet:alpha=1", "dirichlet:alpha=0.1"].map(purity);
        assert!(alphas[0] < 0.2 && alphas[0] < alphas[1] && alphas[1] < alphas[2], "{alphas:?}");
    }

    #[test]
    fn nobody_is_left_without_examples_unsaid() {
        let error = shares("extreme", &data(1), 11, 0).unwrap_err().to_string();
        assert!(error.contains("extreme") && error.contains("worker 0"), "{error}");
        let error = shares("dirichlet:alpha=0.01", &data(2), 20, 0).unwrap_err().to_string();
        assert!(error.contains("dirichlet:alpha=0.01 split leaves worker"), "{error}");
    }

    #[test]
    fn specifications_print_back_and_wrong_ones_are_explained() {
        for text in ["iid", "extreme", "dirichlet:alpha=0.5"] {
            assert_eq!(text.parse::<Partition>().unwrap().to_string(), text);
        }
        for (text, part) in [
            ("random", "dirichlet:alpha=A"),
            ("dirichlet", "needs alpha"),
            ("dirichlet:alpha=0", "at least 0.01"),
            ("dirichlet:alpha=nan", "at least 0.01"),
            ("iid:alpha=1", "no parameter 'alpha'"),
        ] {
            let error = text.parse::<Partition>().unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
