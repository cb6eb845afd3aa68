//! Compiled pipelines in a file, so that a later process need not compile them again.
//!
//! The only unsafe code of the crate: wgpu cannot prove that the bytes it is handed come from a driver's cache. What stands in the file
//! is held against a checksum first, and the driver checks that the bytes are its own; whoever can write to the folder must
//! be trusted, as with a folder of programs.

use crate::error::{Error, Result};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

/// Bytes of the checksum that goes before the driver's.
const SUM: usize = 8;

#[derive(Debug)]
pub(crate) struct PipelineCache {
    cache: wgpu::PipelineCache,
    path: PathBuf,
}

fn checksum(bytes: &[u8]) -> [u8; SUM] {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish().to_le_bytes()
}

/// What a file of ours holds; nothing when it is missing, cut short or changed.
fn contents(path: &Path) -> Option<Vec<u8>> {
    let bytes = std::fs::read(path).ok()?;
    let (sum, data) = bytes.split_at_checked(SUM)?;
    (sum == checksum(data)).then(|| data.to_vec())
}

impl PipelineCache {
    /// The cache of an adapter in this folder; `None` where the adapter has none.
    pub(crate) fn open(device: &wgpu::Device, adapter: &wgpu::AdapterInfo, folder: &Path) -> Option<Self> {
        if !device.features().contains(wgpu::Features::PIPELINE_CACHE) {
            return None;
        }
        let path = folder.join(wgpu::util::pipeline_cache_key(adapter)?);
        let data = contents(&path);
        let descriptor = wgpu::PipelineCacheDescriptor { label: Some("resam"), data: data.as_deref(), fallback: true };
        // SAFETY: the bytes are what `get_data` returned for an adapter of the same key: the file's name is made from that key and its
        // checksum is right. With `fallback` the driver begins an empty cache where it does not know them.
        #[expect(unsafe_code)]
        let cache = unsafe { device.create_pipeline_cache(&descriptor) };
        Some(Self { cache, path })
    }

    pub(crate) fn cache(&self) -> &wgpu::PipelineCache {
        &self.cache
    }

    /// Writes what was compiled so far: to another file first, so that a reader never sees half of it.
    pub(crate) fn save(&self) -> Result<()> {
        let Some(data) = self.cache.get_data() else { return Ok(()) };
        let refused =
            |e: std::io::Error| Error::Device { device: "pipeline cache".into(), reason: format!("{}: {e}", self.path.display()) };
        if let Some(folder) = self.path.parent() {
            std::fs::create_dir_all(folder).map_err(refused)?;
        }
        let fresh = self.path.with_extension(format!("{}.part", std::process::id()));
        std::fs::write(&fresh, [&checksum(&data)[..], &data].concat()).map_err(refused)?;
        std::fs::rename(&fresh, &self.path).map_err(refused)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_files_are_read() {
        let folder = std::env::temp_dir().join(format!("resam-cache-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("file");
        let data = b"what a driver wrote";
        let whole = [&checksum(data)[..], data].concat();
        assert_eq!(contents(&path), None);
        std::fs::write(&path, &whole).unwrap();
        assert_eq!(contents(&path).as_deref(), Some(&data[..]));
        for cut in 0..whole.len() {
            std::fs::write(&path, &whole[..cut]).unwrap();
            assert_eq!(contents(&path), None, "{cut}");
            let mut changed = whole.clone();
            changed[cut] ^= 1;
            std::fs::write(&path, changed).unwrap();
            assert_eq!(contents(&path), None, "{cut}");
        }
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
