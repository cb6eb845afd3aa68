//! The built-in data: 1797 hand-written digits of 8×8 grey levels (see `data/README.md` for authors and licence).

use std::io::Read;

use flate2::read::GzDecoder;

use super::{Dataset, Split, TrainError};

/// Number of examples to learn from; the other 360 are for testing.
pub const TRAIN: usize = 1437;

const PIXELS: usize = 64;
const LEVELS: f32 = 16.0;
const SPLIT_SEED: u64 = 0;

/// The digits in [0, 1], shuffled and split by a fixed seed, so that all runs are measured on the same test examples.
///
/// # Errors
/// [`TrainError::Data`] if the built-in file is damaged.
pub fn load() -> Result<Split, TrainError> {
    let all = read(include_bytes!("data/digits.csv.gz"))?;
    let mut order: Vec<usize> = (0..all.len()).collect();
    fastrand::Rng::with_seed(SPLIT_SEED).shuffle(&mut order);
    let (train, test) = order.split_at_checked(TRAIN).ok_or_else(|| TrainError::Data(format!("only {} rows", all.len())))?;
    Ok(Split { train: all.select(train.iter().copied()), test: all.select(test.iter().copied()) })
}

/// Decodes gzipped lines of 64 grey levels (0 to 16) and a digit.
fn read(gz: &[u8]) -> Result<Dataset, TrainError> {
    let mut text = String::new();
    GzDecoder::new(gz).read_to_string(&mut text).map_err(|e| TrainError::Data(e.to_string()))?;
    let mut data = Dataset { features: vec![], labels: vec![], inputs: PIXELS, classes: 10 };
    for (number, line) in text.lines().enumerate() {
        let values: Option<Vec<u8>> = line.split(',').map(|value| value.parse().ok()).collect();
        match values.as_deref() {
            Some([pixels @ .., digit @ 0..10]) if pixels.len() == PIXELS && pixels.iter().all(|&p| p <= 16) => {
                data.features.extend(pixels.iter().map(|&p| f32::from(p) / LEVELS));
                data.labels.push(*digit);
            }
            _ => {
                return Err(TrainError::Data(format!("line {} is not 64 grey levels and a digit", number + 1)));
            }
        }
    }
    Ok(data)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::GzEncoder};

    use super::*;

    #[test]
    fn shapes_ranges_and_class_counts() {
        let Split { train, test } = load().unwrap();
        assert_eq!((train.len(), test.len()), (TRAIN, 360));
        let mut counts = [0; 10];
        let mut sum = 0.0;
        for part in [&train, &test] {
            assert_eq!(part.features.len(), part.len() * 64);
            assert!(part.features.iter().all(|x| (0.0..=1.0).contains(x)));
            part.labels.iter().for_each(|&y| counts[usize::from(y)] += 1);
            sum += part.features.iter().map(|&x| f64::from(x)).sum::<f64>();
        }
        assert_eq!(counts, [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]);
        assert_eq!(sum * 16.0, 561_718.0);
        assert!((0..10).all(|digit| test.labels.contains(&digit)));
        assert_eq!(load().unwrap().test, test);
    }

    #[test]
    fn damage_is_reported() {
        let gz = |text: &str| {
            let mut encoder = GzEncoder::new(vec![], Compression::fast());
            encoder.write_all(text.as_bytes()).unwrap();
            encoder.finish().unwrap()
        };
        let good = format!("{}7\n", "16,".repeat(64));
        assert_eq!(read(&gz(&good)).unwrap().features, [1.0; 64]);
        for bad in ["16,", "17,", "-1,", "1.5,", ","].map(|pixel| format!("{}{}7\n", "0,".repeat(63), pixel)) {
            let second = read(&gz(&format!("{good}{bad}")));
            assert_eq!(second.is_ok(), bad.contains("16,"), "{bad}");
        }
        assert!(read(&gz(&format!("{}10\n", "0,".repeat(64)))).is_err());
        assert!(read(b"no gzip").is_err());
    }
}
