//! Aggregates of tensors.

use super::place::{Placed, readable};
use crate::dtype::Dtype;
use crate::engine::Engine;
use crate::engines::gpu::{DeviceRows, DeviceVector};
use crate::error::{Error, Result};
use crate::report::Report;
use crate::rows::Rows;
use crate::rules::Rule;
use burn::tensor::wgpu::WgpuSetup;
use burn::tensor::{DType, Device, Tensor, TensorData};
use futures::future::{BoxFuture, FutureExt};

/// Executes rules on tensors of burn. Cheap to clone.
///
/// ```no_run
/// use burn::tensor::{Device, Tensor};
/// use resam::{burn::TensorEngine, rules::TrimmedMean};
/// let (device, setup) = Device::wgpu_options().init_with_setup()?;
/// let engine = TensorEngine::on_device(&device, &setup)?;
/// let momentums = Tensor::<2>::from_floats([[1.0, 10.0], [2.0, 20.0], [3.0, f32::NAN]], &device);
/// let (mean, _) = engine.aggregate_blocking(&TrimmedMean, &momentums, 1)?; // read and written on the device
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct TensorEngine {
    pub(super) engine: Engine,
    /// The device that it shares.
    shared: Option<Device>,
}

/// Rows as an engine can read them.
pub(super) enum Seen {
    /// On its device; held there by the second.
    Device(DeviceRows, Box<Placed>),
    Host(Data),
}

/// The data of a tensor of n × d.
pub(super) struct Data {
    data: TensorData,
    dtype: Dtype,
    n: usize,
    d: usize,
}

impl Data {
    pub(super) fn rows(&self) -> Result<Rows<'_>> {
        let unread = |e| Error::Tensors(format!("{e:?}"));
        match self.dtype {
            Dtype::F32 => Rows::from_slice(self.data.as_slice::<f32>().map_err(unread)?, self.n, self.d),
            Dtype::F16 => Rows::from_slice(self.data.as_slice::<crate::f16>().map_err(unread)?, self.n, self.d),
            Dtype::Bf16 => Rows::from_slice(self.data.as_slice::<crate::bf16>().map_err(unread)?, self.n, self.d),
        }
    }
}

/// Room for a result on the engine's device.
pub(super) struct Room {
    tensor: Tensor<1>,
    place: Placed,
}

impl Room {
    pub(super) fn vector(&self) -> DeviceVector {
        self.place.vector()
    }

    pub(super) fn filled(self) -> Tensor<1> {
        self.tensor
    }
}

impl From<Engine> for TensorEngine {
    /// Tensors of every backend pass through their data: they are copied to host memory, and the result to the tensor's device.
    fn from(engine: Engine) -> Self {
        Self { engine, shared: None }
    }
}

impl TensorEngine {
    /// An engine on the device that burn's wgpu backend uses: tensors that are on `device` are aggregated there. `setup` is what burn
    /// gave with it (`Device::wgpu_options().init_with_setup()`), or was given (`….setup(setup).init()`). Tensors that are elsewhere pass
    /// through their data.
    ///
    /// # Errors
    /// [`Error::Device`] as [`Engine::on_device`], and when the two are not of one device.
    pub fn on_device(device: &Device, setup: &WgpuSetup) -> Result<Self> {
        let engine = Engine::on_device(setup.device.clone(), setup.queue.clone(), None)?;
        let this = Self { engine, shared: Some(device.clone().inner()) };
        this.check(device)?;
        Ok(this)
    }

    /// The engine that does the work.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// With settings that hold for every engine.
    #[must_use]
    pub fn with_options(mut self, options: crate::Options) -> Self {
        self.engine = self.engine.with_options(options);
        self
    }

    /// [`Engine::aggregate`] of the rows of a tensor of n × d: d values in f32 on the tensor's device, without autodiff. f16, bf16 and f32 are read
    /// as they are, other types rounded to f32 first. Work that burn was asked for before is seen.
    ///
    /// On the shared device nothing passes through the host but what [`Engine::aggregate_to`] says. A tensor whose rows do not stand in one
    /// piece each (transposed, for example) is copied on the device first.
    ///
    /// # Errors
    /// As [`Engine::aggregate`]; [`Error::Tensors`] when burn cannot read the tensor.
    pub async fn aggregate(&self, rule: &dyn Rule, rows: &Tensor<2>, f: usize) -> Result<(Tensor<1>, Report)> {
        self.run(rule, rows, f, &[]).await
    }

    /// [`TensorEngine::aggregate`] without the `absent` rows, which count against f.
    pub(crate) fn run<'a>(
        &'a self,
        rule: &'a dyn Rule,
        rows: &'a Tensor<2>,
        f: usize,
        absent: &'a [usize],
    ) -> BoxFuture<'a, Result<(Tensor<1>, Report)>> {
        async move {
            match self.see(rows).await? {
                Seen::Device(placed, _held) => {
                    let room = self.room(&rows.device(), placed.d())?;
                    let report = self.engine.run_to(rule, (&placed).into(), f, absent, &room.vector()).await?;
                    Ok((room.filled(), report))
                }
                Seen::Host(data) => {
                    let rows_here = data.rows()?;
                    let mut values = vec![0.0; rows_here.d()];
                    let report = self.engine.run(rule, (&rows_here).into(), f, absent, &mut values).await?;
                    Ok((tensor(values, &rows.device()), report))
                }
            }
        }
        .boxed()
    }

    /// [`TensorEngine::aggregate`], waiting for it.
    ///
    /// # Errors
    /// As [`TensorEngine::aggregate`].
    pub fn aggregate_blocking(&self, rule: &dyn Rule, rows: &Tensor<2>, f: usize) -> Result<(Tensor<1>, Report)> {
        pollster::block_on(self.aggregate(rule, rows, f))
    }

    /// Rows where they are, if that is on the shared device; else their data.
    pub(super) fn see<'a>(&'a self, rows: &'a Tensor<2>) -> BoxFuture<'a, Result<Seen>> {
        async move {
            let [n, d] = rows.dims();
            if n == 0 {
                return Err(Error::NoWorkers);
            }
            let dtype = readable(rows.dtype());
            // A tensor without values need not stand anywhere.
            if self.shared.as_ref() == Some(&rows.device().inner()) && d > 0 {
                let rows = if dtype.is_some() { rows.clone().inner() } else { rows.clone().inner().cast(DType::F32) };
                let dtype = dtype.unwrap_or(Dtype::F32);
                let placed = self.place(&rows)?;
                if let Some(seen) = placed.rows(dtype) {
                    return Ok(Seen::Device(seen, placed.into()));
                }
                // Another shape and back makes burn put them in order.
                let placed = self.place(&rows.reshape([n * d]).reshape([n, d]))?;
                if let Some(seen) = placed.rows(dtype) {
                    return Ok(Seen::Device(seen, placed.into()));
                }
                return Err(Error::Tensors("the rows of the tensor do not stand in one piece each".into()));
            }
            let data = rows.clone().inner().into_data_async().await.map_err(|e| Error::Tensors(e.to_string()))?;
            let data = match data.dtype() {
                DType::F32 | DType::F16 | DType::BF16 => data,
                _ => data.convert::<f32>(),
            };
            Ok(Seen::Host(Data { data, dtype: dtype.unwrap_or(Dtype::F32), n, d }))
        }
        .boxed()
    }

    /// Room for d values on this device, which is the shared one.
    pub(super) fn room(&self, device: &Device, d: usize) -> Result<Room> {
        let tensor = Tensor::<1>::empty([d], (&device.clone().inner(), DType::F32));
        let place = self.place(&tensor)?;
        Ok(Room { tensor, place })
    }

    fn place<const D: usize>(&self, tensor: &Tensor<D>) -> Result<Placed> {
        Placed::of(tensor).map_err(|reason| Error::Device { device: self.engine.name(), reason })
    }

    /// Does the engine find what burn wrote there?
    fn check(&self, device: &Device) -> Result<()> {
        let values: Vec<f32> = (0..64u32).map(|k| (k.wrapping_mul(0x9e37_79b9) >> 8) as f32).collect();
        let apart = |reason: String| Error::Device {
            device: self.engine.name(),
            reason: format!("the burn device {device:?} is not the one of this setup: {reason}"),
        };
        let written = tensor(values.clone(), &device.clone().inner());
        let placed = Placed::of(&written).map_err(apart)?;
        let rows = DeviceRows::new(placed.buffer().0, 1, values.len()).offset(placed.buffer().1);
        let rows = crate::Input::from(&rows);
        let got = self.engine.aggregate_blocking(&crate::rules::Average, rows, 0).map_err(|e| apart(e.to_string()))?;
        if got.values != values {
            return Err(apart("it does not hold what burn wrote".into()));
        }
        Ok(())
    }
}

/// A result as a tensor.
pub(super) fn tensor(values: Vec<f32>, device: &Device) -> Tensor<1> {
    let d = values.len();
    Tensor::from_data(TensorData::new(values, [d]), (&device.clone().inner(), DType::F32))
}
