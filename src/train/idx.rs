//! MNIST and Fashion-MNIST in their own format, IDX, gzipped or not.
//!
//! A file is big-endian: two zero bytes, 8 (for unsigned bytes), the number of dimensions, the length of each as 32 bits,
//! and then the bytes.

use std::{
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

use flate2::read::GzDecoder;

use super::{Dataset, Split, TrainError};

const SIDE: usize = 28;
const CLASSES: usize = 10;
/// Mean and standard deviation of MNIST's grey levels in [0, 1], which are brought to 0 and 1.
const NORMAL: (f32, f32) = (0.1307, 0.3081);
/// Images and labels of the examples to learn from, and of those to test with.
const FILES: [[&str; 2]; 2] =
    [["train-images-idx3-ubyte", "train-labels-idx1-ubyte"], ["t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"]];

/// A data set of four IDX files.
pub(super) struct Idx {
    title: &'static str,
    /// Where a package of the system puts the files, if there is one.
    installed: Option<&'static str>,
    /// How to get them.
    advice: &'static str,
}

pub(super) const MNIST: Idx = Idx {
    title: "MNIST",
    installed: None,
    advice: "put the four files of the MNIST database of Y. LeCun, C. Cortes and C. Burges into one folder and name it (--data DIR)",
};

pub(super) const FASHION_MNIST: Idx = Idx {
    title: "Fashion-MNIST",
    installed: Some("/usr/share/datasets/fashion-mnist"),
    advice: "install the Debian package dataset-fashion-mnist, or put the four files of Fashion-MNIST (Zalando Research) \
        into one folder and name it (--data DIR)",
};

impl Idx {
    /// Reads the four files from `folder`, or from where the package puts them.
    pub(super) fn load(&self, folder: Option<&Path>) -> Result<Split, TrainError> {
        let folder = folder.or(self.installed.map(Path::new)).ok_or_else(|| self.missing("no folder is given"))?;
        let [train, test] = FILES.map(|names| {
            let [images, labels] = names.map(|name| self.find(folder, name));
            read(&images?, &labels?)
        });
        Ok(Split { train: train?, test: test? })
    }

    /// The file of this name in a folder, gzipped or not.
    fn find(&self, folder: &Path, name: &str) -> Result<PathBuf, TrainError> {
        let candidates = [folder.join(format!("{name}.gz")), folder.join(name)];
        let found = candidates.into_iter().find(|path| path.is_file());
        found.ok_or_else(|| {
            let all = FILES.as_flattened().join(".gz, ");
            self.missing(&format!("there is no {name}.gz or {name} in {} (the files are {all}.gz)", folder.display()))
        })
    }

    fn missing(&self, what: &str) -> TrainError {
        TrainError::Data(format!("{}: {what}; {}", self.title, self.advice))
    }
}

/// The examples of a file of images and one of labels.
fn read(images: &Path, labels: &Path) -> Result<Dataset, TrainError> {
    let (lengths, pixels) = bytes::<3>(images)?;
    let ([count], labels_read) = bytes::<1>(labels)?;
    if lengths[1..] != [SIDE, SIDE] {
        return Err(bad(images, format!("images of {} by {} pixels, expected {SIDE} by {SIDE}", lengths[1], lengths[2])));
    }
    if count != lengths[0] {
        return Err(bad(labels, format!("{count} labels for the {} images of {}", lengths[0], images.display())));
    }
    if let Some(at) = labels_read.iter().position(|&y| usize::from(y) >= CLASSES) {
        return Err(bad(labels, format!("label {} of example {at} is not below {CLASSES}", labels_read[at])));
    }
    let (mean, std) = NORMAL;
    let features = pixels.iter().map(|&p| (f32::from(p) / 255.0 - mean) / std).collect();
    Ok(Dataset { features, labels: labels_read, inputs: SIDE * SIDE, classes: CLASSES })
}

/// The lengths of the D dimensions of a file and its bytes.
fn bytes<const D: usize>(path: &Path) -> Result<([usize; D], Vec<u8>), TrainError> {
    let mut file = whole(path).map_err(|error| bad(path, error))?;
    let start = 4 * (D + 1);
    let Some((&[a, b, c, d], lengths)) = file.get(..start).and_then(<[u8]>::split_first_chunk) else {
        return Err(bad(path, format!("truncated: {} bytes, where the header alone has {start}", file.len())));
    };
    if [a, b, c, d] != [0, 0, 8, D as u8] {
        return Err(bad(
            path,
            format!("no IDX file of bytes in {D} dimensions: it begins with {a} {b} {c} {d}, expected 0 0 8 {D}"),
        ));
    }
    let mut shape = [0; D];
    for (length, bytes) in shape.iter_mut().zip(lengths.as_chunks::<4>().0) {
        *length = u32::from_be_bytes(*bytes) as usize;
    }
    let expected = shape.iter().try_fold(1usize, |product, &length| product.checked_mul(length));
    let found = file.len() - start;
    match expected {
        Some(expected) if found == expected => Ok((shape, file.split_off(start))),
        Some(expected) if found > expected => Err(bad(path, format!("{} bytes too many after its {expected}", found - expected))),
        _ => Err(bad(path, format!("truncated: {found} bytes after its header, which promises {shape:?}"))),
    }
}

/// Most bytes of a file: five times those of the largest that there is.
const MOST_BYTES: u64 = 1 << 28;

/// A file's bytes, unpacked.
fn whole(path: &Path) -> io::Result<Vec<u8>> {
    let bytes = fs::read(path)?;
    if path.extension().is_none_or(|end| end != "gz") {
        return Ok(bytes);
    }
    let mut unpacked = vec![];
    let unusable = |error| io::Error::other(format!("no gzip file, or truncated ({error})"));
    GzDecoder::new(&bytes[..]).take(MOST_BYTES + 1).read_to_end(&mut unpacked).map_err(unusable)?;
    if unpacked.len() as u64 > MOST_BYTES {
        return Err(io::Error::other(format!("unpacks to more than {MOST_BYTES} bytes, which no data set of this kind has")));
    }
    Ok(unpacked)
}

fn bad(path: &Path, what: impl std::fmt::Display) -> TrainError {
    TrainError::Data(format!("{}: {what}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::GzEncoder};

    use super::*;

    fn file(shape: &[u32], bytes: &[u8]) -> Vec<u8> {
        let lengths: Vec<u8> = shape.iter().flat_map(|length| length.to_be_bytes()).collect();
        [&[0, 0, 8, shape.len() as u8], &lengths[..], bytes].concat()
    }

    fn gz(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(vec![], Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    /// Three images to learn from, gzipped, and one to test with, plain.
    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let put = |name: &str, bytes: Vec<u8>| fs::write(folder.path().join(name), bytes).unwrap();
        let levels: Vec<u8> = [0, 100, 255].iter().flat_map(|&level| [level; SIDE * SIDE]).collect();
        put("train-images-idx3-ubyte.gz", gz(&file(&[3, 28, 28], &levels)));
        put("train-labels-idx1-ubyte.gz", gz(&file(&[3], &[7, 0, 9])));
        put("t10k-images-idx3-ubyte", file(&[1, 28, 28], &[1; SIDE * SIDE]));
        put("t10k-labels-idx1-ubyte", file(&[1], &[4]));
        folder
    }

    #[test]
    fn images_and_labels_are_read_gzipped_or_not() {
        let folder = folder();
        let Split { train, test } = MNIST.load(Some(folder.path())).unwrap();
        assert_eq!((train.labels, train.features.len(), test.labels), (vec![7, 0, 9], 3 * 784, vec![4]));
        let [black, grey, white] = [0, 784, 3 * 784 - 1].map(|at| train.features[at]);
        let expected = |level: f32| (level / 255.0 - 0.1307) / 0.3081;
        assert_eq!([black, grey, white], [0.0, 100.0, 255.0].map(expected));
    }

    #[test]
    fn bad_files_are_named() {
        let images = file(&[1, 28, 28], &[1; SIDE * SIDE]);
        let cases: [(&str, Vec<u8>, &str); 9] = [
            ("t10k-images-idx3-ubyte", vec![], "truncated"),
            ("t10k-images-idx3-ubyte", images[..500].to_vec(), "truncated"),
            ("t10k-images-idx3-ubyte", [&images[..], &[0, 0]].concat(), "2 bytes too many"),
            ("t10k-images-idx3-ubyte", file(&[20], &[1; 20]), "no IDX file"),
            ("t10k-images-idx3-ubyte", file(&[1, 4, 4], &[0; 16]), "4 by 4"),
            ("t10k-images-idx3-ubyte", file(&[u32::MAX; 3], &[0; 16]), "truncated"),
            ("t10k-labels-idx1-ubyte", file(&[2], &[0, 1]), "2 labels for the 1 images"),
            ("t10k-labels-idx1-ubyte", file(&[1], &[10]), "label 10"),
            ("train-labels-idx1-ubyte.gz", b"plain".to_vec(), "no gzip file"),
        ];
        for (name, bytes, part) in cases {
            let folder = folder();
            fs::write(folder.path().join(name), bytes).unwrap();
            let message = MNIST.load(Some(folder.path())).unwrap_err().to_string();
            assert!(message.contains(name) && message.contains(part), "{message}");
        }
        let folder = folder();
        let whole = fs::read(folder.path().join("train-images-idx3-ubyte.gz")).unwrap();
        fs::write(folder.path().join("train-images-idx3-ubyte.gz"), &whole[..whole.len() / 2]).unwrap();
        assert!(MNIST.load(Some(folder.path())).unwrap_err().to_string().contains("train-images-idx3-ubyte.gz"));
    }

    #[test]
    fn missing_files_come_with_advice() {
        assert!(MNIST.load(None).unwrap_err().to_string().contains("--data DIR"));
        let empty = tempfile::tempdir().unwrap();
        let message = FASHION_MNIST.load(Some(empty.path())).unwrap_err().to_string();
        assert!(message.contains("train-images-idx3-ubyte") && message.contains("dataset-fashion-mnist"), "{message}");
    }
}
