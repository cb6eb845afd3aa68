//! The data sets, and the settings that suit each.

use std::path::Path;

use super::{Config, Network, Rate, Split, TrainError, check_sizes, cifar, digits, idx, model};

/// One line of the list of data sets.
#[derive(Clone, Copy, Debug)]
pub struct Source {
    /// Its name, such as `fashion_mnist`.
    pub name: &'static str,
    /// A short title for tables and figures.
    pub title: &'static str,
    /// Features of an example, and classes.
    pub sizes: (usize, usize),
    /// Whether it is read from files; else it is built in.
    pub files: bool,
    /// The model that suits it, as [`Source::model`] takes it.
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
        match folder {
            Some(_) if !self.files => Err(TrainError::Data(format!("the {} are built in and take no folder", self.title))),
            _ => (self.load)(folder),
        }
    }

    /// The model that `spec` names ([`model::by_name`]) for its examples.
    ///
    /// # Errors
    /// As [`model::by_name`]; [`TrainError::Data`] for a model of other sizes.
    pub fn model(&self, spec: &str) -> Result<Network, TrainError> {
        let model = model::by_name(spec, self.sizes.0, self.sizes.1)?;
        check_sizes(&model, self.sizes)?;
        Ok(model)
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
            sizes: (64, 10),
            files: false,
            model: "mlp:hidden=32",
            load: |_| digits::load(),
            config: Config::default,
        },
        Source {
            name: "mnist",
            title: "MNIST",
            sizes: (784, 10),
            files: true,
            model: "mlp",
            load: |folder| idx::MNIST.load(folder),
            config: mnist,
        },
        Source {
            name: "fashion_mnist",
            title: "Fashion-MNIST",
            sizes: (784, 10),
            files: true,
            model: "mlp",
            load: |folder| idx::FASHION_MNIST.load(folder),
            config: mnist,
        },
        Source {
            name: "cifar10",
            title: "CIFAR-10",
            sizes: (3072, 10),
            files: true,
            model: "cifar_cnn",
            load: cifar::load,
            config: cifar10,
        },
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
        known: crate::spec::known(name, list().iter().map(|source| source.name)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::Model;

    #[test]
    fn every_data_set_has_settings_that_can_run_and_a_model_that_fits() {
        for source in list() {
            assert_eq!(by_name(source.name).unwrap().title, source.title);
            source.config().check().unwrap();
            assert_eq!(source.model(source.model).unwrap().sizes(), source.sizes, "{}", source.name);
        }
        let digits = by_name("digits").unwrap();
        let split = digits.load(None).unwrap();
        assert_eq!((split.train.inputs, split.train.classes), digits.sizes);
        assert!(digits.model("cnn").err().unwrap().to_string().contains("64 features in 10 classes for a model of 784"));
        assert!(by_name("imagenet").unwrap_err().to_string().contains("fashion_mnist"));
        assert!(by_name("fashion-mnist").unwrap_err().to_string().contains("did you mean 'fashion_mnist'?"));
    }

    #[test]
    fn the_learning_rate_of_cifar10_drops_once() {
        let rate = cifar10().rate;
        assert_eq!([0, 1499, 1500, 1999].map(|t| rate.at(t)), [0.5, 0.5, 0.05, 0.05]);
    }
}
