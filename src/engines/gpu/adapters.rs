//! The adapters of this machine, and which of them a name means.

use crate::error::{Error, Result};
use futures::future::{BoxFuture, FutureExt};

/// What a user wants to know of an adapter.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct AdapterInfo {
    /// Name of the device.
    pub name: String,
    /// Driver and its version.
    pub driver: String,
    /// Graphics interface: vulkan, metal, dx12.
    pub backend: String,
    /// discrete, integrated, virtual, cpu or other.
    pub kind: String,
    /// True for a GPU, false for software such as lavapipe, which is used only when asked for by name.
    pub real: bool,
    /// Largest buffer a kernel can see at once, bytes.
    pub max_binding_bytes: u64,
    /// Largest buffer, bytes.
    pub max_buffer_bytes: u64,
    /// Memory shared by a group of invocations, bytes.
    pub max_workgroup_bytes: u32,
    /// Invocations of a group.
    pub max_workgroup_invocations: u32,
    /// Subgroup operations.
    pub subgroups: bool,
    /// Timestamps on the device.
    pub timestamps: bool,
}

impl AdapterInfo {
    fn of(adapter: &wgpu::Adapter) -> Self {
        Self::new(adapter.get_info(), adapter.limits(), adapter.features())
    }

    /// Of a device, with the limits it was made with.
    pub(super) fn of_device(device: &wgpu::Device) -> Self {
        Self::new(device.adapter_info(), device.limits(), device.features())
    }

    fn new(info: wgpu::AdapterInfo, limits: wgpu::Limits, features: wgpu::Features) -> Self {
        let kind = match info.device_type {
            wgpu::DeviceType::DiscreteGpu => "discrete",
            wgpu::DeviceType::IntegratedGpu => "integrated",
            wgpu::DeviceType::VirtualGpu => "virtual",
            wgpu::DeviceType::Cpu => "cpu",
            wgpu::DeviceType::Other => "other",
        };
        Self {
            driver: [&info.driver[..], &info.driver_info].join(" ").trim().to_string(),
            backend: info.backend.to_str().to_string(),
            real: matches!(kind, "discrete" | "integrated" | "virtual"),
            kind: kind.into(),
            name: info.name,
            max_binding_bytes: limits.max_storage_buffer_binding_size,
            max_buffer_bytes: limits.max_buffer_size,
            max_workgroup_bytes: limits.max_compute_workgroup_storage_size,
            max_workgroup_invocations: limits.max_compute_invocations_per_workgroup,
            subgroups: features.contains(wgpu::Features::SUBGROUP),
            timestamps: features.contains(wgpu::Features::TIMESTAMP_QUERY),
        }
    }

    /// Does a part of a name mean this adapter? Case does not matter; lavapipe is an alias of llvmpipe.
    fn answers_to(&self, part: &str) -> bool {
        let part = part.to_lowercase().replace("lavapipe", "llvmpipe");
        format!("{} {}", self.name, self.driver).to_lowercase().contains(&part)
    }

    /// Preference among adapters that serve.
    fn rank(&self) -> usize {
        ["discrete", "integrated", "virtual"].iter().position(|k| *k == self.kind).unwrap_or(3)
    }
}

fn enumerate() -> BoxFuture<'static, Vec<(wgpu::Adapter, AdapterInfo)>> {
    async move {
        let backends = wgpu::Backends::VULKAN | wgpu::Backends::METAL | wgpu::Backends::DX12;
        let instance =
            wgpu::Instance::new(wgpu::InstanceDescriptor { backends, ..wgpu::InstanceDescriptor::new_without_display_handle() });
        let adapters = instance.enumerate_adapters(backends).await;
        let mut all: Vec<_> = adapters
            .into_iter()
            .map(|a| {
                let info = AdapterInfo::of(&a);
                (a, info)
            })
            .collect();
        all.sort_by_key(|(_, info)| info.rank());
        all
    }
    .boxed()
}

/// All adapters of this machine, the one `auto` prefers first. Software adapters have [`AdapterInfo::real`] = false.
pub async fn adapters() -> Vec<AdapterInfo> {
    enumerate().await.into_iter().map(|(_, info)| info).collect()
}

/// The adapter with that part in its name, or without a name the best real GPU; `NAME#1` is the second one of that name, `gpu#1` the
/// second real GPU.
pub(crate) async fn choose(wanted: Option<&str>) -> Result<(wgpu::Adapter, AdapterInfo)> {
    let all = enumerate().await;
    let names: Vec<String> = all.iter().map(|(_, a)| format!("{} ({})", a.name, if a.real { "GPU" } else { "software" })).collect();
    let software = all.iter().any(|(_, a)| !a.real);
    let numbered = wanted.and_then(|name| name.rsplit_once('#')).and_then(|(part, place)| Some((part, place.trim().parse().ok()?)));
    let (part, place) = match numbered {
        Some((part, place)) => (Some(part).filter(|part| !part.trim().eq_ignore_ascii_case("gpu")), place),
        None => (wanted, 0),
    };
    let answers = |a: &AdapterInfo| part.map_or(a.real, |part| !part.trim().is_empty() && a.answers_to(part));
    let found = all.into_iter().filter(|(_, a)| answers(a)).nth(place);
    found.ok_or_else(|| Error::NoDevice {
        wanted: wanted.unwrap_or("gpu").into(),
        available: [vec!["cpu".to_string(), "reference".to_string()], names].concat().join(", ")
            + if part.is_none() && software { "; a software adapter is taken only by its name" } else { "" },
    })
}
