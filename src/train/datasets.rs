//! The data sets, and the settings that suit each.

use std::path::Path;

use super::{Config, Rate, Split, TrainError, cifar, digits, idx};

/// One line of the list of data sets.
#[derive(Clone, Copy, Debug)]
pub struct Source {
    /// Its name, such as `fashion_mnist`.
    pub name: &'static str,
    /// A short title for tables and figures.
    pub title: &'static str,
    /// The model that suits it, as [`model::by_name`](super::model::by_name) takes it.
    pub model: &'static str,
    load: fn(Option<&Path>) -> Result<Split, TrainError>,
    config: fn() -> Config,
}

impl Source {
    /// Reads the examples: from files in `folder`, if given, else from where the system's packages put them; the digits are
    /// built in and take no folder.
    ///
    /// # Errors
    /// [`TrainError::Data`], which names the file, or says where to get the files.
    pub fn load(&self, folder: Option<&Path>) -> Result<Split, TrainError> {
        (self.load)(folder)
    }

    /// The settings of an experiment with it.
    pub fn config(&self) -> Config {
        (self.config)()
    }
}

/// Every data set. The settings are those of the experiments of the RESAM authors' group, but for the digits.
pub fn list() -> &'static [Source] {
    &[
        Source {
            name: "digits",
            title: "digits",
            model: "mlp:hidden=32",
            load: |folder| match folder {
                Some(_) => Err(TrainError::Data("the digits are built in and take no folder".into())),
                None => digits::load(),
            },
            config: Config::default,
        },
        Source { name: "mnist", title: "MNIST", model: "mlp", load: |folder| idx::MNIST.load(folder), config: mnist },
        Source {
            name: "fashion_mnist",
            title: "Fashion-MNIST",
            model: "mlp",
            load: |folder| idx::FASHION_MNIST.load(folder),
            config: mnist,
        },
        Source { name: "cifar10", title: "CIFAR-10", model: "cifar_cnn", load: cifar::load, config: cifar10 },
    ]
}

fn mnist() -> Config {
    Config { byzantine: 3, rate: Rate { initial: 0.75, hold: 50, decay: 1.0 }, ..Config::default() }
}

fn cifar10() -> Config {
    Config {
        workers: 25,
        byzantine: 5,
        steps: 2000,
        batch: 50,
        rate: Rate { initial: 0.5, hold: 1500, decay: 9.0 },
        l2: 1e-2,
        clip: Some(5.0),
        measure: 50,
        ..Config::default()
    }
}

/// The data set of that name.
///
/// # Errors
/// [`TrainError::Unknown`], with the names there are.
pub fn by_name(name: &str) -> Result<&'static Source, TrainError> {
    list().iter().find(|source| source.name == name).ok_or_else(|| TrainError::Unknown {
        what: "data set",
        name: name.into(),
        known: list().iter().map(|source| source.name).collect::<Vec<_>>().join(", "),
    })
}

#[cfg(test)]
mod tests {
    use super::super::model;
    use super::*;

    #[test]
    fn every_data_set_has_settings_that_can_run_and_a_model_that_fits() {
        for (source, inputs) in list().iter().zip([64, 784, 784, 3072]) {
            assert_eq!(by_name(source.name).unwrap().title, source.title);
            source.config().check().unwrap();
            assert_eq!(model::by_name(source.model, inputs, 10).unwrap().sizes(), (inputs, 10), "{}", source.name);
        }
        assert!(by_name("imagenet").unwrap_err().to_string().contains("fashion_mnist"));
    }

    #[test]
    fn the_learning_rate_of_cifar10_drops_once() {
        let rate = cifar10().rate;
        assert_eq!([0, 1499, 1500, 1999].map(|t| rate.at(t)), [0.5, 0.5, 0.05, 0.05]);
    }
}
