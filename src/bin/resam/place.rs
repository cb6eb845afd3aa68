//! Where models train, and rules with them.

use clap::ValueEnum;
use resam::Engine;
use resam::attacks::Attack;
use resam::train::{BoxError, Config, History, Network, Point, RuleServer, Split, TrainError, train_with};
use std::num::NonZeroUsize;
#[cfg(feature = "burn")]
use {
    burn::tensor::Device,
    resam::burn::TensorEngine,
    resam::train::{TensorServer, train_on_device},
};

/// What `--train-on` takes.
#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
pub enum TrainOn {
    Cpu,
    Gpu,
}

/// A place that is open.
pub enum Place {
    /// Models train on the CPU; rules run on the engine.
    Host(Engine),
    /// All on one device of burn.
    #[cfg(feature = "burn")]
    Device(Box<(TensorEngine, Device)>),
}

impl Place {
    /// The CPU, with rules on `device`, or by default on `usual`; or a GPU for both.
    pub fn open(on: TrainOn, device: Option<&str>, usual: &str) -> Result<Self, BoxError> {
        match on {
            TrainOn::Cpu => Ok(Self::Host(Engine::open_blocking(device.unwrap_or(usual))?)),
            TrainOn::Gpu if device.is_some() => {
                Err("--train-on gpu takes no --device: the rule runs where the model trains".into())
            }
            #[cfg(feature = "burn")]
            TrainOn::Gpu => {
                let (device, setup) = Device::wgpu_options().init_with_setup()?;
                Ok(Self::Device(Box::new((TensorEngine::on_device(&device, &setup)?, device))))
            }
            #[cfg(not(feature = "burn"))]
            TrainOn::Gpu => Err("--train-on gpu needs a build with the feature burn (--features train,burn)".into()),
        }
    }

    /// Where rules run.
    pub fn engine(&self) -> &Engine {
        match self {
            Self::Host(engine) => engine,
            #[cfg(feature = "burn")]
            Self::Device(shared) => shared.0.engine(),
        }
    }

    /// How many runs go side by side: one a core, but one at a time on a GPU.
    pub fn threads(&self, given: Option<NonZeroUsize>) -> Option<NonZeroUsize> {
        match self {
            Self::Host(_) => given,
            #[cfg(feature = "burn")]
            Self::Device(..) => given.or(Some(NonZeroUsize::MIN)),
        }
    }

    /// The network where it trains.
    pub fn put(&self, network: Network) -> Network {
        match self {
            Self::Host(_) => network,
            #[cfg(feature = "burn")]
            Self::Device(shared) => network.on(&shared.1),
        }
    }

    /// Trains once.
    pub fn train(
        &self,
        (network, data, config): (&Network, &Split, &Config),
        attack: &mut dyn Attack,
        mut server: RuleServer,
        progress: &mut dyn FnMut(&Point),
    ) -> Result<History, TrainError> {
        match self {
            Self::Host(_) => train_with(network, data, config, attack, &mut server, progress),
            #[cfg(feature = "burn")]
            Self::Device(shared) => train_on_device(network, data, config, attack, &TensorServer::new(&shared.0, server), progress),
        }
    }
}
