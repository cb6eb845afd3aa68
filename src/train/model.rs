//! What the training loop needs of a model.

use fastrand::Rng;

use super::{Dataset, Network, TrainError};
use crate::parameters::Parameters;

/// A model whose parameters are one flat vector θ of d values. It has no state: θ goes in, gradients come out.
pub trait Model: Sync {
    /// Number of features of an example, and of classes.
    fn sizes(&self) -> (usize, usize);

    /// d, the length of the parameter vector.
    fn parameters(&self) -> usize;

    /// Starting parameters.
    fn init(&self, rng: &mut Rng) -> Vec<f32>;

    /// The gradients of w workers at θ, each of the mean loss over its own batch, into `rows` (w × d, row-major), and
    /// their losses. `batch` holds the w batches one after the other, all of the same size; `rng` is for models that
    /// learn with noise.
    ///
    /// # Panics
    /// If θ is not d long, `rows` not w·d, `w` does not divide the batch, or the batch's sizes are not the model's.
    fn gradients(&self, theta: &[f32], batch: &Dataset, w: usize, rng: &mut Rng, rows: &mut [f32]) -> Vec<f32>;

    /// The share of examples (0 to 1) whose label is the likeliest class at θ; the lower class wins ties.
    ///
    /// # Panics
    /// If θ is not d long, or the data's sizes are not the model's.
    fn accuracy(&self, theta: &[f32], data: &Dataset) -> f64;
}

/// Most values of a hidden layer.
const WIDEST: usize = 65_536;

/// The models that [`by_name`] knows, with their parameters.
pub const MODELS: [&str; 4] = ["logistic", "mlp[:hidden=100]", "cnn", "cifar_cnn"];

/// The model that `spec` names, for examples of `inputs` features in `classes` classes. The convolutional ones take images
/// of one size ([`Network::cnn`], [`Network::cifar_cnn`]), which the training loop checks.
///
/// # Errors
/// [`TrainError::Unknown`] for a name outside [`MODELS`], [`TrainError::Spec`] for parameters that it does not take.
pub fn by_name(spec: &str, inputs: usize, classes: usize) -> Result<Network, TrainError> {
    let (name, rest) = spec.split_once(':').map_or((spec, None), |(name, rest)| (name, Some(rest)));
    let mut parameters = Parameters::parse(spec, rest)?;
    let network = match name {
        "logistic" => Network::mlp(inputs, &[], classes),
        "mlp" => match parameters.take("hidden")?.map_or(100, std::num::NonZeroUsize::get) {
            hidden if hidden <= WIDEST => Network::mlp(inputs, &[hidden], classes),
            hidden => return Err(crate::Error::spec(spec, format!("hidden = {hidden}: at most {WIDEST}")).into()),
        },
        "cnn" => Network::cnn(),
        "cifar_cnn" => Network::cifar_cnn(),
        _ => {
            return Err(TrainError::Unknown {
                what: "model",
                name: name.into(),
                known: crate::spec::known(name, MODELS.iter().copied()),
            });
        }
    };
    parameters.finish(name)?;
    Ok(network)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_model_has_its_size_and_wrong_names_are_explained() {
        let parameters = |spec| by_name(spec, 784, 10).map(|model| model.parameters());
        for (spec, d) in
            [("logistic", 7850), ("mlp", 79_510), ("mlp:hidden=32", 25_450), ("cnn", 431_080), ("cifar_cnn", 1_310_922)]
        {
            assert_eq!(parameters(spec).unwrap(), d, "{spec}");
        }
        for (spec, part) in [
            ("lstm", "logistic, mlp"),
            ("logistics", "did you mean 'logistic'?"),
            ("mlp:hidden=0", "hidden = '0'"),
            ("mlp:hidden=18446744073709551615", "at most 65536"),
            ("mlp:width=1", "it takes hidden"),
            ("cnn:hidden=1", "none"),
        ] {
            let message = parameters(spec).unwrap_err().to_string();
            assert!(message.contains(part), "{message}");
        }
    }
}
