//! Matrices on disk: `.npy` and `.safetensors` files of n rows of d values: mapped, or converted to f32.

#[cfg(test)]
mod fuzz;

use crate::failure::Failure;
use crate::mapping::Mapping;
use crate::npy;
use rayon::prelude::*;
use resam::{Dtype, Rows, bf16, f16};
use safetensors::SafeTensors;
use std::fs::File;
use std::ops::Range;
use std::path::Path;

/// Longest `.safetensors` header taken: one tensor and its metadata need a small part of it.
const MAX_HEADER: u64 = 1 << 20;

/// Most rows taken. Rules compare every two rows, so that a matrix given the wrong way round would ask for terabytes.
const MAX_ROWS: usize = 1 << 16;

/// n rows of d values.
#[derive(Debug)]
pub(crate) struct Data {
    values: Values,
    n: usize,
    d: usize,
}

#[derive(Debug)]
enum Values {
    /// Little-endian f32, f16 or bf16 at these bytes of the file, at an address that suits them.
    Mapped(Mapping, Range<usize>, Dtype),
    /// f32 in memory, made from f64 or from bytes at an odd address.
    Converted(Vec<f32>),
}

/// Where the values lie in a file and what they are.
struct Layout {
    shape: Vec<usize>,
    kind: Kind,
    bytes: Range<usize>,
}

/// What a file's values are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    F16,
    Bf16,
    F32,
    F64,
    I32,
    I64,
    U32,
    U64,
}

impl Kind {
    /// Bytes of a value.
    fn width(self) -> usize {
        match self {
            Kind::F16 | Kind::Bf16 => 2,
            Kind::F32 | Kind::I32 | Kind::U32 => 4,
            Kind::F64 | Kind::I64 | Kind::U64 => 8,
        }
    }
}

/// A list of numbers: an array of one dimension, or of one row or column.
pub(crate) fn vector(path: &Path) -> Result<Vec<f64>, Failure> {
    let read = || -> Result<Vec<f64>, String> {
        let file = map(path)?;
        let layout = Layout::of(file.bytes(), path)?;
        if layout.shape.iter().filter(|&&side| side != 1).count() > 1 {
            return Err(format!("its shape {:?} is no list of numbers", layout.shape));
        }
        layout.holds_its_shape()?;
        let bytes = &file.bytes()[layout.bytes.clone()];
        let two = |value: fn([u8; 2]) -> f64| bytes.as_chunks().0.iter().map(|b| value(*b)).collect();
        let four = |value: fn([u8; 4]) -> f64| bytes.as_chunks().0.iter().map(|b| value(*b)).collect();
        let eight = |value: fn([u8; 8]) -> f64| bytes.as_chunks().0.iter().map(|b| value(*b)).collect();
        Ok(match layout.kind {
            Kind::F16 => two(|b| f16::from_le_bytes(b).into()),
            Kind::Bf16 => two(|b| bf16::from_le_bytes(b).into()),
            Kind::F32 => four(|b| f32::from_le_bytes(b).into()),
            Kind::I32 => four(|b| i32::from_le_bytes(b).into()),
            Kind::U32 => four(|b| u32::from_le_bytes(b).into()),
            Kind::F64 => eight(f64::from_le_bytes),
            Kind::I64 => eight(|b| i64::from_le_bytes(b) as f64),
            Kind::U64 => eight(|b| u64::from_le_bytes(b) as f64),
        })
    };
    read().map_err(|reason| Failure::file(path, reason))
}

/// A file's bytes.
fn map(path: &Path) -> Result<Mapping, String> {
    Mapping::new(&open(path)?).map_err(|e| e.to_string())
}

/// A short text, from a file or a pipe.
#[cfg(feature = "train")]
pub(crate) fn text(path: &Path) -> Result<String, Failure> {
    use std::io::Read;
    const MOST: u64 = 1 << 20;
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(MOST + 1).read_to_string(&mut text));
    match read.map_err(|e| Failure::file(path, e))? as u64 {
        ..=MOST => Ok(text),
        _ => Err(Failure::file(path, "is longer than a grid can be (1 MiB)")),
    }
}

/// A regular file.
fn open(path: &Path) -> Result<File, String> {
    let text = |e: std::io::Error| e.to_string();
    // Before it is opened: opening a pipe would wait for a writer.
    if !path.metadata().map_err(text)?.is_file() {
        return Err("not a regular file".into());
    }
    File::open(path).map_err(text)
}

impl Data {
    /// Maps the file, checks its header against its length, and converts values that are neither f32 nor halves.
    pub(crate) fn open(path: &Path) -> Result<Self, Failure> {
        Self::read(path).map_err(|reason| Failure::file(path, reason))
    }

    fn read(path: &Path) -> Result<Self, String> {
        let file = map(path)?;
        let layout = Layout::of(file.bytes(), path)?;
        let (n, d) = layout.check()?;
        let bytes = &file.bytes()[layout.bytes.clone()];
        let dtype = match layout.kind {
            Kind::F16 => Some(Dtype::F16),
            Kind::Bf16 => Some(Dtype::Bf16),
            Kind::F32 => Some(Dtype::F32),
            _ => None,
        };
        let suits = |dtype: &Dtype| bytes.as_ptr().addr().is_multiple_of(dtype.size()) && cfg!(target_endian = "little");
        let values = match (dtype.filter(suits), layout.kind) {
            (Some(dtype), _) => Values::Mapped(file, layout.bytes, dtype),
            (None, Kind::F16) => Values::Converted(convert(bytes, |b| f16::from_le_bytes(b).into())?),
            (None, Kind::Bf16) => Values::Converted(convert(bytes, |b| bf16::from_le_bytes(b).into())?),
            (None, Kind::F32) => Values::Converted(convert(bytes, f32::from_le_bytes)?),
            (None, _) => Values::Converted(convert(bytes, |b| f64::from_le_bytes(b) as f32)?),
        };
        Ok(Self { values, n, d })
    }

    /// The matrix, row by row.
    pub(crate) fn rows(&self) -> Result<Rows<'_>, Failure> {
        let (n, d) = (self.n, self.d);
        Ok(match &self.values {
            Values::Mapped(file, bytes, dtype) => {
                let bytes = &file.bytes()[bytes.clone()];
                match dtype {
                    Dtype::F16 => Rows::from_slice::<f16>(bytemuck::cast_slice(bytes), n, d),
                    Dtype::Bf16 => Rows::from_slice::<bf16>(bytemuck::cast_slice(bytes), n, d),
                    Dtype::F32 => Rows::from_slice::<f32>(bytemuck::cast_slice(bytes), n, d),
                }
            }
            Values::Converted(values) => Rows::from_slice(values, n, d),
        }?)
    }
}

impl Layout {
    /// Reads the header of either format.
    fn of(file: &[u8], path: &Path) -> Result<Self, String> {
        if file.starts_with(npy::MAGIC) {
            return Self::npy(file);
        }
        match path.extension().and_then(|e| e.to_str()) {
            Some("safetensors") => Self::safetensors(file),
            Some("npy") => Err("no .npy file: it does not begin with \\x93NUMPY".into()),
            _ => Err("neither a .npy nor a .safetensors file".into()),
        }
    }

    fn npy(file: &[u8]) -> Result<Self, String> {
        let header = npy::header(file)?;
        let kind = match header.descr.as_str() {
            "<f2" => Kind::F16,
            "<f4" => Kind::F32,
            "<f8" => Kind::F64,
            "<i4" => Kind::I32,
            "<i8" => Kind::I64,
            "<u4" => Kind::U32,
            "<u8" => Kind::U64,
            ">f2" | ">f4" | ">f8" => return Err("its values are big-endian; save it with .astype('<f4')".into()),
            other => return Err(format!("its values are '{other}', not '<f2' (f16), '<f4' (f32) or '<f8' (f64)")),
        };
        if header.fortran_order {
            return Err("its values are in Fortran order; save it with numpy.ascontiguousarray".into());
        }
        Ok(Self { shape: header.shape, kind, bytes: header.data })
    }

    fn safetensors(file: &[u8]) -> Result<Self, String> {
        let claimed = file.first_chunk().map_or(0, |b| u64::from_le_bytes(*b));
        if claimed > MAX_HEADER {
            return Err(format!("its header claims {claimed} bytes; one tensor needs no more than {MAX_HEADER}"));
        }
        let (length, metadata) = SafeTensors::read_metadata(file).map_err(|e| format!("no sound .safetensors file: {e}"))?;
        let tensors = metadata.tensors();
        let mut names: Vec<&String> = tensors.keys().collect();
        names.sort();
        let [name] = names[..] else {
            return Err(format!("it holds {} tensors, not one: {}", names.len(), crate::print::some(names.iter())));
        };
        let tensor = tensors[name];
        let kind = match tensor.dtype {
            safetensors::Dtype::F16 => Kind::F16,
            safetensors::Dtype::BF16 => Kind::Bf16,
            safetensors::Dtype::F32 => Kind::F32,
            safetensors::Dtype::F64 => Kind::F64,
            safetensors::Dtype::I32 => Kind::I32,
            safetensors::Dtype::I64 => Kind::I64,
            safetensors::Dtype::U32 => Kind::U32,
            safetensors::Dtype::U64 => Kind::U64,
            other => return Err(format!("its values are {other}, not F16, BF16, F32 or F64")),
        };
        let start = size_of::<u64>() + length;
        let (from, to) = tensor.data_offsets;
        Ok(Self { shape: tensor.shape.clone(), kind, bytes: start + from..start + to })
    }

    /// n and d of a matrix of floats, after a look at whether the file holds just as many values.
    fn check(&self) -> Result<(usize, usize), String> {
        if matches!(self.kind, Kind::I32 | Kind::I64 | Kind::U32 | Kind::U64) {
            return Err("its values are whole numbers, not F16, BF16, F32 or F64 ('<f2', '<f4' or '<f8')".into());
        }
        let [n, d] = self.shape[..] else {
            return Err(format!(
                "its shape {:?} has {} dimensions, not 2: [n workers, d coordinates]",
                self.shape,
                self.shape.len()
            ));
        };
        self.holds_its_shape()?;
        match n {
            0 => Err(resam::Error::NoWorkers.to_string()),
            1..=MAX_ROWS => Ok((n, d)),
            _ => Err(format!("it has {n} rows, more than {MAX_ROWS}: rows are workers; is it the wrong way round?")),
        }
    }

    /// Does the file hold just as many values as its shape says?
    fn holds_its_shape(&self) -> Result<(), String> {
        let count = self.shape.iter().try_fold(1usize, |count, side| count.checked_mul(*side));
        let needed = count.and_then(|count| count.checked_mul(self.kind.width()));
        let needed = needed.ok_or_else(|| format!("its shape {:?} overflows", self.shape))?;
        let got = self.bytes.len();
        let truncated = if got < needed { "truncated: " } else { "" };
        if got == needed {
            return Ok(());
        }
        Err(format!("{truncated}its shape {:?} needs {needed} bytes of values, it holds {got}", self.shape))
    }
}

/// Values of `W` bytes as f32, on all cores. f64 is rounded to the nearest f32, and to infinity beyond its range.
fn convert<const W: usize>(bytes: &[u8], value: impl Fn([u8; W]) -> f32 + Sync) -> Result<Vec<f32>, String> {
    let (chunks, _) = bytes.as_chunks::<W>();
    let mut values = Vec::new();
    values.try_reserve_exact(chunks.len()).map_err(|_| format!("no memory for a copy of its {} values as f32", chunks.len()))?;
    chunks.par_iter().with_min_len(1 << 16).map(|b| value(*b)).collect_into_vec(&mut values);
    Ok(values)
}
