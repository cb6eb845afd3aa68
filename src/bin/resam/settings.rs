//! Settings of training that take the place of those that suit the data set; options of the command and keys of a grid alike.

use clap::Args;
use resam::train::datasets::Source;
use resam::train::{Config, Partition, Rate};
use serde::de::Error;
use serde::{Deserialize, Deserializer};
use std::path::PathBuf;

// What is left out is as suits the data set. (No doc comment: clap would take it for the command's.)
#[derive(Args, Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    /// Folder with the files of the data set; for fashion_mnist, without it, the folder of Debian's package
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,

    /// How the training data are split over the honest workers: iid, dirichlet:alpha=A (the smaller A, the fewer classes a
    /// worker sees) or extreme (sorted by class) [default: iid]
    #[arg(long, value_name = "SPEC")]
    #[serde(default, deserialize_with = "partition")]
    split: Option<Partition>,

    /// Model: logistic, mlp[:hidden=100], cnn (28×28 images) or cifar_cnn (32×32 in colour)
    /// [default: by data set, see below]
    #[arg(long, value_name = "NAME")]
    model: Option<String>,

    /// n, the number of workers [default: by data set]
    #[arg(short = 'n', long = "workers", value_name = "WORKERS")]
    n: Option<usize>,

    /// Number of steps [default: by data set]
    #[arg(long)]
    steps: Option<usize>,

    /// Examples in each worker's mini-batch [default: by data set]
    #[arg(long)]
    batch: Option<usize>,

    /// Learning rate γ at the start [default: by data set]
    #[arg(long, value_name = "RATE")]
    lr: Option<f32>,

    /// Steps T between two drops of the learning rate γ/(1 + D·⌊step/T⌋); 0 keeps it constant [default: by data set]
    #[arg(long, value_name = "T")]
    hold: Option<usize>,

    /// What each drop of the learning rate adds to its divisor [default: by data set]
    #[arg(long, value_name = "D")]
    decay: Option<f32>,

    /// L2 penalty: the factor of ½‖θ‖² in the loss [default: by data set]
    #[arg(long, value_name = "FACTOR")]
    l2: Option<f32>,

    /// Clip gradients to this norm before they enter the momentum [default: by data set]
    #[arg(long, value_name = "NORM")]
    clip: Option<f32>,

    /// Steps between two measurements [default: by data set]
    #[arg(long, value_name = "STEPS")]
    measure: Option<usize>,
}

impl Settings {
    /// What suits the data set, with these in its place.
    pub(crate) fn config(&self, source: &Source) -> Config {
        let suited = source.config();
        Config {
            workers: self.n.unwrap_or(suited.workers),
            steps: self.steps.unwrap_or(suited.steps),
            batch: self.batch.unwrap_or(suited.batch),
            rate: Rate {
                initial: self.lr.unwrap_or(suited.rate.initial),
                hold: self.hold.unwrap_or(suited.rate.hold),
                decay: self.decay.unwrap_or(suited.rate.decay),
            },
            partition: self.split.unwrap_or(suited.partition),
            l2: self.l2.unwrap_or(suited.l2),
            clip: self.clip.or(suited.clip),
            measure: self.measure.unwrap_or(suited.measure),
            ..suited
        }
    }

    /// The model's name.
    pub(crate) fn model<'a>(&'a self, source: &'a Source) -> &'a str {
        self.model.as_deref().unwrap_or(source.model)
    }
}

fn partition<'de, D: Deserializer<'de>>(text: D) -> Result<Option<Partition>, D::Error> {
    String::deserialize(text)?.parse().map(Some).map_err(D::Error::custom)
}
