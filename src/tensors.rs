//! Files of tensors as rows of layers: what `safetensors` writes, borrowed from the bytes of the files.

use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::rows::Rows;
use safetensors::SafeTensors;
use safetensors::tensor::TensorView;
use std::borrow::Cow;

/// The tensors of one `.safetensors` file, in order of their names: all of F32, all of F16 or all of BF16.
///
/// ```
/// use resam::{Engine, Rows, Tensors, rules::TrimmedMean};
/// # fn file(x: f32) -> Vec<u8> {
/// #     let bytes: Vec<u8> = [x, 10.0 * x].iter().flat_map(|x| x.to_le_bytes()).collect();
/// #     let view = |bytes| safetensors::tensor::TensorView::new(safetensors::Dtype::F32, vec![1], bytes).unwrap();
/// #     safetensors::serialize([("bias", view(&bytes[..4])), ("weight", view(&bytes[4..]))], None).unwrap()
/// # }
/// let files: Vec<Vec<u8>> = [1.0, 2.0, 3.0].map(file).into(); // each with the tensors "bias" and "weight" of one value
/// let workers = files.iter().map(|bytes| Tensors::parse(bytes)).collect::<resam::Result<Vec<_>>>()?;
///
/// let mean = Engine::cpu().aggregate_blocking(&TrimmedMean, &Rows::from_tensors(&workers)?, 1)?;
/// assert_eq!(workers[0].write(&mean.values)?, file(2.0));
/// # Ok::<(), resam::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Tensors<'a> {
    tensors: Vec<Tensor<'a>>,
    dtype: Dtype,
}

#[derive(Debug, Clone)]
struct Tensor<'a> {
    name: String,
    shape: Vec<usize>,
    bytes: Bytes<'a>,
}

/// The bits of a tensor at an address that suits its type.
#[derive(Debug, Clone)]
enum Bytes<'a> {
    Borrowed(&'a [u8]),
    /// A copy, where they lay at an odd address.
    Moved {
        words: Vec<u32>,
        length: usize,
    },
}

impl<'a> Bytes<'a> {
    fn of(bytes: &'a [u8], dtype: Dtype) -> Self {
        if bytes.as_ptr().addr().is_multiple_of(dtype.size()) {
            return Bytes::Borrowed(bytes);
        }
        let mut words = vec![0; bytes.len().div_ceil(size_of::<u32>())];
        bytemuck::cast_slice_mut(&mut words)[..bytes.len()].copy_from_slice(bytes);
        Bytes::Moved { words, length: bytes.len() }
    }

    fn get(&self) -> &[u8] {
        match self {
            Bytes::Borrowed(bytes) => bytes,
            Bytes::Moved { words, length } => &bytemuck::cast_slice(words)[..*length],
        }
    }
}

impl<'a> Tensors<'a> {
    /// Reads the header of a file and borrows its values; those at an odd address are copied (writers put none there).
    ///
    /// # Errors
    /// [`Error::Tensors`] when the bytes are no such file, whole and with nothing behind it, when it holds no tensor, or tensors of another
    /// type or of different ones.
    pub fn parse(bytes: &'a [u8]) -> Result<Self> {
        if cfg!(target_endian = "big") {
            return Err(refused("read in place on little-endian machines only"));
        }
        let file = SafeTensors::deserialize(bytes).map_err(|e| refused(format!("no sound .safetensors file: {e}")))?;
        let mut views: Vec<(&str, TensorView<'a>)> = file.iter().collect();
        views.sort_unstable_by_key(|(name, _)| *name);
        let mut first: Option<(&str, Dtype)> = None;
        let mut tensors = Vec::new();
        for (name, view) in &views {
            let dtype = match view.dtype() {
                safetensors::Dtype::F32 => Dtype::F32,
                safetensors::Dtype::F16 => Dtype::F16,
                safetensors::Dtype::BF16 => Dtype::Bf16,
                other => return Err(refused(format!("tensor {name:?} is of {other}, not F32, F16 or BF16"))),
            };
            match *first.get_or_insert((name, dtype)) {
                (_, kind) if kind == dtype => {}
                (one, kind) => {
                    return Err(refused(format!("tensor {name:?} is of {dtype}, {one:?} of {kind}: all must be of one type")));
                }
            }
            tensors.push(Tensor { name: name.to_string(), shape: view.shape().to_vec(), bytes: Bytes::of(view.data(), dtype) });
        }
        match first {
            Some((_, dtype)) => Ok(Self { tensors, dtype }),
            None => Err(refused("it holds no tensors")),
        }
    }

    /// Name and shape of each tensor, in order: those of the layers of [`Rows::from_tensors`].
    pub fn shapes(&self) -> impl ExactSizeIterator<Item = (&str, &[usize])> {
        self.tensors.iter().map(|tensor| (&tensor.name[..], &tensor.shape[..]))
    }

    /// Type of the values.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// A file with the same names and shapes that holds these values, such as an aggregate, in F32.
    ///
    /// # Errors
    /// [`Error::OutputLength`] when there are more or fewer values than in this file.
    pub fn write(&self, values: &[f32]) -> Result<Vec<u8>> {
        let lengths: Vec<usize> = self.tensors.iter().map(|tensor| tensor.bytes.get().len() / self.dtype.size()).collect();
        let d = lengths.iter().sum();
        if values.len() != d {
            return Err(Error::OutputLength { got: values.len(), expected: d });
        }
        let mut left = values;
        let mut views = Vec::new();
        for (tensor, length) in self.tensors.iter().zip(lengths) {
            let layer = left.split_off(..length).unwrap_or_default();
            let view = TensorView::new(safetensors::Dtype::F32, tensor.shape.clone(), bytemuck::cast_slice(layer));
            views.push((&tensor.name, view.map_err(|e| refused(e.to_string()))?));
        }
        safetensors::serialize(views, None).map_err(|e| refused(e.to_string()))
    }

    /// What a file that should be like this one has and this one has not, or the other way round.
    fn unlike(&self, other: &Self) -> Option<String> {
        let missing = |all: &Self, of: &Self| {
            let lacks = |tensor: &&Tensor| of.tensors.binary_search_by(|t| t.name.cmp(&tensor.name)).is_err();
            all.tensors.iter().find(lacks).map(|tensor| format!("{:?}", tensor.name))
        };
        if let Some(name) = missing(self, other) {
            return Some(format!("tensor {name} is missing"));
        }
        if let Some(name) = missing(other, self) {
            return Some(format!("tensor {name} is not in the file of worker 0"));
        }
        if self.dtype != other.dtype {
            return Some(format!("its tensors are of {}, those of worker 0 of {}", other.dtype, self.dtype));
        }
        let (one, two) = self.tensors.iter().zip(&other.tensors).find(|(one, two)| one.shape != two.shape)?;
        Some(format!("tensor {:?} has the shape {:?}, that of worker 0 {:?}", one.name, two.shape, one.shape))
    }
}

impl<'a> Rows<'a> {
    /// The tensors of n files, one file for each worker: a row is a file's tensors one behind the other in order of their names. Nothing
    /// is copied.
    ///
    /// # Errors
    /// [`Error::NoWorkers`] without files; [`Error::Worker`] names the first whose tensors have other names, shapes or another type than
    /// those of the first one.
    pub fn from_tensors(workers: &'a [Tensors<'a>]) -> Result<Self> {
        let first = workers.first().ok_or(Error::NoWorkers)?;
        for (worker, tensors) in workers.iter().enumerate() {
            if let Some(reason) = first.unlike(tensors) {
                return Err(Error::Worker { worker, reason });
            }
        }
        let layers = |worker: &'a Tensors| worker.tensors.iter().map(|tensor| first.dtype.values(tensor.bytes.get()));
        Self::of_layers(workers.iter().map(layers))
    }
}

fn refused(reason: impl Into<Cow<'static, str>>) -> Error {
    Error::Tensors(reason.into().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{bf16, f16};
    use safetensors::Dtype as Kind;

    type Contents<'a> = &'a [(&'a str, Kind, &'a [usize], &'a [u8])];

    fn file(tensors: Contents) -> Vec<u8> {
        let views =
            tensors.iter().map(|(name, kind, shape, bytes)| (*name, TensorView::new(*kind, shape.to_vec(), bytes).unwrap()));
        safetensors::serialize(views, None).unwrap()
    }

    fn reason(file: &[u8]) -> String {
        Tensors::parse(file).map(|tensors| tensors.dtype()).unwrap_err().to_string()
    }

    const BYTES: [u8; 24] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24];

    #[test]
    fn layers_are_borrowed_in_order_of_names() {
        for (kind, dtype) in [(Kind::F32, Dtype::F32), (Kind::F16, Dtype::F16), (Kind::BF16, Dtype::Bf16)] {
            let size = dtype.size();
            let [a, b, c] = [&BYTES[..size], &BYTES[size..5 * size], &BYTES[..0]];
            let bytes = file(&[("b", kind, &[2, 2], b), ("c", kind, &[0, 7], c), ("a", kind, &[], a)]);
            let workers = [Tensors::parse(&bytes).unwrap(), Tensors::parse(&bytes).unwrap()];
            assert_eq!(workers[0].shapes().collect::<Vec<_>>(), [("a", &[][..]), ("b", &[2, 2]), ("c", &[0, 7])]);
            let rows = Rows::from_tensors(&workers).unwrap();
            assert_eq!((rows.n(), rows.d(), rows.dtype()), (2, 5, dtype));
            let lengths: Vec<usize> = rows.layers().map(|layer| layer.d()).collect();
            assert_eq!(lengths, [1, 4, 0]);
            let want = dtype.values(Bytes::of(&BYTES[..5 * size], dtype).get()).widened().into_owned();
            assert!(*rows.row(1) == want, "{dtype}");
            assert!(bytes.as_ptr_range().contains(&rows.slices().nth(1).unwrap().as_ptr()), "{dtype}: not where it lay");
            // As F32 it is written and read again.
            let written = workers[0].write(&want).unwrap();
            let again = [Tensors::parse(&written).unwrap()];
            assert!(again[0].shapes().eq(workers[0].shapes()));
            assert!(*Rows::from_tensors(&again).unwrap().row(0) == want);
            assert_eq!(workers[0].write(&want[1..]), Err(Error::OutputLength { got: 4, expected: 5 }));
        }
    }

    /// Values at every address modulo four.
    #[test]
    fn odd_addresses() {
        for (kind, values) in
            [(Kind::F32, vec![1.5f32, -2.0, 3.0]), (Kind::F16, vec![1.5, -2.0, 3.0]), (Kind::BF16, vec![1.5, -2.0, 3.0])]
        {
            let bytes: Vec<u8> = match kind {
                Kind::F32 => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
                Kind::F16 => values.iter().flat_map(|v| f16::from_f32(*v).to_le_bytes()).collect(),
                _ => values.iter().flat_map(|v| bf16::from_f32(*v).to_le_bytes()).collect(),
            };
            let good = file(&[("x", kind, &[3], &bytes)]);
            for shift in 0..4 {
                let mut moved = vec![0u8; shift];
                moved.extend_from_slice(&good);
                let workers = [Tensors::parse(&moved[shift..]).unwrap()];
                assert_eq!(*Rows::from_tensors(&workers).unwrap().row(0), values, "{kind} {shift}");
            }
        }
    }

    #[test]
    fn files_that_are_none_are_refused() {
        let good = file(&[("x", Kind::F32, &[6], &BYTES), ("y", Kind::F32, &[0], &[])]);
        for length in 0..good.len() {
            assert!(reason(&good[..length]).starts_with("tensors: no sound .safetensors file: "), "{length} bytes");
        }
        assert!(reason(&[&good[..], b"!"].concat()).contains("no sound"));
        assert!(reason(&u64::MAX.to_le_bytes()).contains("no sound"));
        assert_eq!(reason(&file(&[])), "tensors: it holds no tensors");
        assert_eq!(reason(&file(&[("x", Kind::F64, &[3], &BYTES)])), "tensors: tensor \"x\" is of F64, not F32, F16 or BF16");
        let mixed = file(&[("x", Kind::F32, &[1], &BYTES[..4]), ("y", Kind::F16, &[1], &BYTES[..2])]);
        assert_eq!(reason(&mixed), "tensors: tensor \"y\" is of f16, \"x\" of f32: all must be of one type");
    }

    /// Files with some bytes changed: a refusal, or as many values as the shapes say.
    #[test]
    fn damaged_files() {
        let good = file(&[("x", Kind::F16, &[2, 3], &BYTES[..12]), ("y", Kind::F16, &[3], &BYTES[..6])]);
        let mut random = fastrand::Rng::with_seed(12);
        let mut read = 0;
        for _ in 0..20_000 {
            let mut bytes = good.clone();
            for _ in 0..random.usize(1..4) {
                let at = random.usize(..bytes.len());
                bytes[at] = if random.bool() { random.u8(b' '..=b'~') } else { random.u8(..) };
            }
            let Ok(tensors) = Tensors::parse(&bytes) else { continue };
            read += 1;
            let d: usize = tensors.shapes().map(|(_, shape)| shape.iter().product::<usize>()).sum();
            let workers = [tensors];
            let rows = Rows::from_tensors(&workers).unwrap();
            assert_eq!((rows.d(), rows.row(0).len()), (d, d));
            assert!(workers[0].write(&vec![0.0; d]).is_ok());
        }
        assert!((1000..19_000).contains(&read), "{read} of 20000 were read");
    }

    #[test]
    fn workers_that_differ_are_named() {
        let x = ("x", Kind::F32, &[2usize, 3][..], &BYTES[..]);
        let y = ("y", Kind::F32, &[1usize][..], &BYTES[..4]);
        let good = file(&[x, y]);
        let refused = |other: Contents| {
            let other = file(other);
            let workers = [&good, &good, &other].map(|bytes| Tensors::parse(bytes).unwrap());
            Rows::from_tensors(&workers).map(|rows| rows.n()).unwrap_err().to_string()
        };
        assert_eq!(refused(&[x]), "worker 2: tensor \"y\" is missing");
        assert_eq!(refused(&[x, y, ("z", Kind::F32, &[0], &[])]), "worker 2: tensor \"z\" is not in the file of worker 0");
        assert_eq!(refused(&[x, ("z", Kind::F32, &[1], &BYTES[..4])]), "worker 2: tensor \"y\" is missing");
        assert_eq!(
            refused(&[("x", Kind::F32, &[3, 2], &BYTES), y]),
            "worker 2: tensor \"x\" has the shape [3, 2], that of worker 0 [2, 3]"
        );
        let halves = [("x", Kind::BF16, &[2usize, 3][..], &BYTES[..12]), ("y", Kind::BF16, &[1], &BYTES[..2])];
        assert_eq!(refused(&halves), "worker 2: its tensors are of bf16, those of worker 0 of f32");
        assert_eq!(Rows::from_tensors(&[]).map(|rows| rows.n()), Err(Error::NoWorkers));
    }
}
