//! CIFAR-10 in its own binary format: records of one label and 3 × 32 × 32 bytes, red, green and blue, row by row.

use std::{fs, path::Path};

use super::{Dataset, Split, TrainError};

const PIXELS: usize = 32 * 32;
const RECORD: usize = 1 + 3 * PIXELS;
/// Mean and standard deviation of red, green and blue in [0, 1], which are brought to 0 and 1.
const NORMAL: [(f32, f32); 3] = [(0.4914, 0.2023), (0.4822, 0.1994), (0.4465, 0.2010)];
const TRAIN: [&str; 5] = ["data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin"];
const TEST: &str = "test_batch.bin";

/// Reads the six files of the binary version from `folder`.
pub(super) fn load(folder: Option<&Path>) -> Result<Split, TrainError> {
    let folder = folder.ok_or_else(|| {
        let files = "data_batch_1.bin to data_batch_5.bin and test_batch.bin";
        TrainError::Data(format!(
            "CIFAR-10: no folder is given; unpack the binary version of A. Krizhevsky's CIFAR-10 ({files}) and name its folder (--data DIR)"
        ))
    })?;
    Ok(Split { train: read(folder, &TRAIN)?, test: read(folder, &[TEST])? })
}

/// The examples of some files, one file after the other.
fn read(folder: &Path, names: &[&str]) -> Result<Dataset, TrainError> {
    let mut data = Dataset { features: vec![], labels: vec![], inputs: 3 * PIXELS, classes: 10 };
    for path in names.iter().map(|name| folder.join(name)) {
        let bad = |what: String| TrainError::Data(format!("{}: {what}", path.display()));
        let bytes = fs::read(&path).map_err(|error| bad(error.to_string()))?;
        if bytes.is_empty() || bytes.len() % RECORD != 0 {
            return Err(bad(format!(
                "{} bytes are no whole number of records of {RECORD}: truncated, or another format",
                bytes.len()
            )));
        }
        for (at, record) in bytes.chunks_exact(RECORD).enumerate() {
            if usize::from(record[0]) >= data.classes {
                return Err(bad(format!("label {} of record {at} is not below {}", record[0], data.classes)));
            }
            data.labels.push(record[0]);
            for (channel, (mean, std)) in record[1..].chunks_exact(PIXELS).zip(NORMAL) {
                data.features.extend(channel.iter().map(|&p| (f32::from(p) / 255.0 - mean) / std));
            }
        }
    }
    Ok(data)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(label: u8, level: u8) -> Vec<u8> {
        let mut record = vec![label];
        (0..3).for_each(|channel| record.extend([level + channel; PIXELS]));
        record
    }

    #[test]
    fn records_of_all_files_are_read_in_order() {
        let folder = tempfile::tempdir().unwrap();
        for (label, name) in (0..).zip(TRAIN) {
            fs::write(folder.path().join(name), [record(label, 10 * label), record(9, 100)].concat()).unwrap();
        }
        fs::write(folder.path().join(TEST), record(3, 200)).unwrap();
        let Split { train, test } = load(Some(folder.path())).unwrap();
        assert_eq!(train.labels, [0, 9, 1, 9, 2, 9, 3, 9, 4, 9]);
        assert_eq!((train.features.len(), test.labels, test.features.len()), (10 * 3072, vec![3], 3072));
        let blue = train.features[2 * 3072 + 2 * PIXELS];
        assert!((blue - (12.0 / 255.0 - 0.4465) / 0.2010).abs() < 1e-6);
        assert!((test.features[0] - (200.0 / 255.0 - 0.4914) / 0.2023).abs() < 1e-6);
    }

    #[test]
    fn bad_files_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let error = || load(Some(folder.path())).unwrap_err().to_string();
        assert!(error().contains("data_batch_1.bin"), "{}", error());
        TRAIN.iter().for_each(|name| fs::write(folder.path().join(name), record(0, 0)).unwrap());
        for (bytes, part) in [
            (record(10, 0), "label 10 of record 0"),
            (record(0, 0)[1..].to_vec(), "truncated"),
            ([record(0, 0), vec![0]].concat(), "3074 bytes"),
            (vec![], "0 bytes"),
        ] {
            fs::write(folder.path().join(TEST), bytes).unwrap();
            assert!(error().contains(TEST) && error().contains(part), "{}", error());
        }
        assert!(load(None).unwrap_err().to_string().contains("--data"));
    }
}
