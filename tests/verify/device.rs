//! The engines under test.

use resam::{Engine, Options};

/// Columns of the pivot's sample in tests: few, so that the kernels for larger matrices run at small sizes.
pub const SAMPLE: usize = 64;

/// An engine that looks at [`SAMPLE`] columns before it picks a pivot.
pub fn small_sample(engine: Engine) -> Engine {
    engine.with_options(Options { sample: SAMPLE, ..Options::default() })
}

/// The engines that are held to the reference.
pub fn engines() -> Vec<(&'static str, Engine)> {
    vec![
        ("cpu", Engine::cpu()),
        #[cfg(feature = "gpu")]
        ("gpu", gpu::engine()),
    ]
}

#[cfg(feature = "gpu")]
pub use gpu::{engine as gpu, with_budget as gpu_with_budget};

#[cfg(feature = "gpu")]
mod gpu {
    use resam::{Engine, Error, GpuOptions};
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// On the adapter that `RESAM_TEST_DEVICE` names, else on a real GPU if there is one, else on lavapipe.
    fn open(memory_budget: Option<u64>) -> Engine {
        let open = |adapter: Option<&str>| {
            Engine::gpu_blocking(GpuOptions { adapter: adapter.map(Into::into), memory_budget, ..GpuOptions::default() })
        };
        let name = std::env::var("RESAM_TEST_DEVICE").unwrap_or_default();
        let engine = match name.trim() {
            "" => match open(None) {
                Err(Error::NoDevice { .. }) => open(Some("lavapipe")),
                other => other,
            },
            "gpu" => open(None),
            name => open(Some(name)),
        };
        engine.unwrap_or_else(|e| {
            panic!(
                "the GPU engine cannot be tested here: {e}.\nInstall a GPU driver, or Mesa's software one (Debian and Ubuntu: \
                 apt-get install mesa-vulkan-drivers libvulkan1; Fedora: dnf install mesa-vulkan-drivers), or name an adapter in \
                 RESAM_TEST_DEVICE."
            )
        })
    }

    /// One of two engines for the whole binary, tests in turn: a software device compiles and computes on one thread for the most part.
    pub fn engine() -> Engine {
        static ENGINES: [OnceLock<Engine>; 2] = [const { OnceLock::new() }; 2];
        static TURN: AtomicUsize = AtomicUsize::new(0);
        thread_local!(static TEST: usize = TURN.fetch_add(1, Ordering::Relaxed));
        ENGINES[TEST.with(|test| test % 2)].get_or_init(|| open(None)).clone()
    }

    /// Another engine on the same adapter, with a memory budget of its own.
    pub fn with_budget(bytes: u64) -> Engine {
        open(Some(bytes))
    }
}
