//! Where tensors of burn's wgpu backend stand: in which buffer, from which byte on.

use crate::dtype::Dtype;
use crate::engines::gpu::{DeviceRows, DeviceVector, wgpu};
use burn::backend::wgpu::{AutoCompiler, CubeBackend, CubeTensor, Wgpu};
use burn::backend::{BackendTypes, TensorMetadata};
use burn::cubecl::wgpu::WgpuServer;
use burn::tensor::{DType, Tensor};
use burn_fusion::{FusionBackend, FusionTensor};

/// What a float tensor of burn's wgpu backend is: one of CubeCL, or, where burn fuses kernels, a promise of one.
trait Resolve<B: BackendTypes> {
    fn resolve(self) -> B::FloatTensorPrimitive;
}

impl Resolve<CubeBackend> for CubeTensor {
    fn resolve(self) -> CubeTensor {
        self
    }
}

impl<B: FusionBackend> Resolve<B> for FusionTensor<B::FusionRuntime> {
    fn resolve(self) -> B::FloatTensorPrimitive {
        let client = self.client.clone();
        client.resolve_tensor_float::<B>(self)
    }
}

/// A tensor's bytes on the device. While this lives, burn neither frees nor reuses them.
pub(super) struct Placed {
    tensor: CubeTensor,
    buffer: wgpu::Buffer,
    offset: u64,
}

impl Placed {
    /// Makes sure that everything that burn has to do for the tensor is submitted.
    ///
    /// # Errors
    /// What burn says.
    pub(super) fn of<const D: usize>(tensor: &Tensor<D>) -> Result<Self, String> {
        let primitive = tensor.clone().inner().try_into_primitive::<Wgpu>().map_err(|e| format!("{e:?}"))?;
        let tensor: CubeTensor = Resolve::<CubeBackend>::resolve(primitive);
        let resource = tensor.client.get_resource::<WgpuServer<AutoCompiler>>(tensor.handle.clone()).map_err(|e| e.to_string())?;
        tensor.client.flush().map_err(|e| e.to_string())?;
        let (buffer, offset) = (resource.resource().buffer.clone(), resource.resource().offset);
        Ok(Self { tensor, buffer, offset })
    }

    /// As rows of this type, where the values of a row stand side by side.
    pub(super) fn rows(&self, dtype: Dtype) -> Option<DeviceRows> {
        let shape = self.tensor.shape();
        let (n, d) = (shape[0], shape[1]);
        let strides = self.tensor.meta.strides();
        let stride = if n > 1 { strides[0] } else { d };
        let side_by_side = (d <= 1 || strides[1] == 1) && stride >= d;
        side_by_side.then(|| DeviceRows::new(&self.buffer, n, d).dtype(dtype).offset(self.offset).stride(stride))
    }

    /// As a place for values of f32.
    pub(super) fn vector(&self) -> DeviceVector {
        DeviceVector::new(&self.buffer).offset(self.offset)
    }

    /// Its buffer, and the byte it begins at.
    pub(super) fn buffer(&self) -> (&wgpu::Buffer, u64) {
        (&self.buffer, self.offset)
    }
}

/// The type that kernels read values of this one as, where they can.
pub(super) fn readable(dtype: DType) -> Option<Dtype> {
    match dtype {
        DType::F32 | DType::Flex32 => Some(Dtype::F32),
        DType::F16 => Some(Dtype::F16),
        DType::BF16 => Some(Dtype::Bf16),
        _ => None,
    }
}
