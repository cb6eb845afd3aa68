//! What came of the runs: a file to which one line is added when a run ends, so that nothing finished is lost.

use super::grid::Key;
use resam::train::BoxError;
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// One line of the file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    #[serde(flatten)]
    pub key: Key,
    /// Steps done and test accuracy, 0 to 1.
    pub accuracy: Vec<(usize, f64)>,
    /// Whether a value stopped being finite.
    pub diverged: bool,
    /// Why the rule gave up, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// The largest realised coefficient of resilience.
    pub lambda: Option<f64>,
    pub seconds: f64,
}

impl Outcome {
    /// Did it end before its last step?
    pub fn broke_off(&self) -> bool {
        self.diverged || self.refused.is_some()
    }

    /// The accuracy at the end; 0 where the run broke off.
    pub fn last(&self) -> f64 {
        if self.broke_off() { 0.0 } else { self.accuracy.last().map_or(0.0, |(_, accuracy)| *accuracy) }
    }

    /// The best accuracy on the way.
    pub fn best(&self) -> f64 {
        self.accuracy.iter().map(|(_, accuracy)| *accuracy).fold(0.0, f64::max)
    }
}

/// The file, locked against a second writer.
#[derive(Debug)]
pub struct Results {
    path: PathBuf,
    file: Mutex<File>,
}

/// What is in the file, whoever is writing it; a last line that was cut short is no part of it.
pub fn read(path: &Path) -> Result<Vec<Outcome>, BoxError> {
    regular(path)?;
    let text = std::fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    parse(path, &text).map(|(outcomes, _)| outcomes)
}

/// The outcomes, and the length of their lines.
fn parse(path: &Path, text: &[u8]) -> Result<(Vec<Outcome>, usize), BoxError> {
    let (mut outcomes, mut whole) = (Vec::new(), 0);
    for (at, line) in text.split_inclusive(|byte| *byte == b'\n').enumerate() {
        match serde_json::from_slice(line) {
            Ok(outcome) => outcomes.push(outcome),
            // Only the last line has no end: it is the beginning of one, or zeros that a lost system left.
            Err(error) if !line.ends_with(b"\n") && (error.is_eof() || line.iter().all(|byte| *byte == 0)) => break,
            Err(error) => {
                return Err(format!("{}, line {}: {error}; remove the line, or take another folder", path.display(), at + 1).into());
            }
        }
        whole += line.len();
    }
    Ok((outcomes, whole))
}

/// Refuses what is there and is no file: a pipe would be waited for.
fn regular(path: &Path) -> Result<(), BoxError> {
    match path.metadata() {
        Ok(there) if !there.is_file() => Err(format!("{} is not a regular file", path.display()).into()),
        _ => Ok(()),
    }
}

impl Results {
    /// Opens or begins the file, and reads what is there. A last line that was cut short by a kill is dropped, one that only lacks its end
    /// gets it.
    pub fn open(path: &Path) -> Result<(Self, Vec<Outcome>), BoxError> {
        regular(path)?;
        let failed = |error: std::io::Error| format!("cannot use {}: {error}", path.display());
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(path).map_err(failed)?;
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => return Err(format!("another run is writing {}", path.display()).into()),
            // Some file systems have no locks.
            Ok(()) | Err(TryLockError::Error(_)) => {}
        }
        let mut text = Vec::new();
        file.read_to_end(&mut text).map_err(failed)?;
        let (outcomes, whole) = parse(path, &text)?;
        if whole < text.len() {
            file.set_len(whole as u64).map_err(failed)?;
            file.seek(SeekFrom::End(0)).map_err(failed)?;
        }
        if whole > 0 && text[whole - 1] != b'\n' {
            file.write_all(b"\n").map_err(failed)?;
        }
        Ok((Self { path: path.into(), file: Mutex::new(file) }, outcomes))
    }

    /// Adds a line.
    pub fn add(&self, outcome: &Outcome) -> Result<(), BoxError> {
        let line = serde_json::to_string(outcome)? + "\n";
        let mut file = self.file.lock().expect("no writer panics with the lock");
        let whole = file.metadata()?.len();
        file.write_all(line.as_bytes()).and_then(|()| file.sync_data()).map_err(|error| {
            // What a full disk took of the line must not stand before the next one.
            let _ = file.set_len(whole);
            format!(
                "cannot write {}: {error}; the runs that ended before are kept, and the same command goes on",
                self.path.display()
            )
            .into()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::grid::Grid;
    use super::*;
    use resam::Engine;

    #[test]
    fn what_was_written_is_read_and_a_torn_line_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("results.jsonl");
        let grid =
            "datasets = ['digits']\nf = [3]\nrules = ['average']\nattacks = ['none', 'foe']\nbetas = [0.99]\nseeds = [1]\nlr = 0.1";
        let (keys, _) = Grid::parse(grid).unwrap().runs(&Engine::cpu()).unwrap();
        let outcomes: Vec<Outcome> = keys
            .into_iter()
            .map(|key| Outcome {
                key,
                accuracy: vec![(0, 0.1), (10, 1.0 / 3.0)],
                diverged: false,
                refused: None,
                lambda: None,
                seconds: 0.5,
            })
            .collect();
        {
            let (results, found) = Results::open(&path).unwrap();
            assert!(found.is_empty());
            results.add(&outcomes[0]).unwrap();
            assert_eq!(read(&path).unwrap(), outcomes[..1]);
            assert!(Results::open(&path).unwrap_err().to_string().contains("another run"));
        }
        let torn = serde_json::to_string(&outcomes[1]).unwrap();
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, [&whole[..], &torn.as_bytes()[..40]].concat()).unwrap();
        assert_eq!(read(&path).unwrap(), outcomes[..1]);
        assert_eq!(std::fs::read(&path).unwrap().len(), whole.len() + 40);
        {
            let (results, found) = Results::open(&path).unwrap();
            assert_eq!(found, outcomes[..1]);
            assert_eq!(found[0].key.line(), outcomes[0].key.line());
            results.add(&outcomes[1]).unwrap();
        }
        assert_eq!(Results::open(&path).unwrap().1, outcomes);
        let refused = Outcome { refused: Some("no".into()), ..outcomes[1].clone() };
        assert_eq!(serde_json::from_str::<Outcome>(&serde_json::to_string(&refused).unwrap()).unwrap(), refused);
        assert!(!torn.contains("refused") && refused.last() == 0.0 && outcomes[1].last() > 0.0);
        let text = std::fs::read(&path).unwrap();
        std::fs::write(&path, text.trim_ascii_end()).unwrap();
        assert_eq!(read(&path).unwrap(), outcomes, "only the last line's end is missing");
        assert_eq!(Results::open(&path).unwrap().1, outcomes);
        assert_eq!(std::fs::read(&path).unwrap(), text);
        std::fs::write(&path, [&text[..], &[0; 100]].concat()).unwrap();
        assert_eq!(Results::open(&path).unwrap().1, outcomes);
        assert_eq!(std::fs::read(&path).unwrap(), text);
        std::fs::write(&path, "no result of ours").unwrap();
        assert!(Results::open(&path).is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"no result of ours");
        assert!(Results::open(folder.path()).unwrap_err().to_string().contains("not a regular file"));
        std::fs::write(&path, "{}\n").unwrap();
        assert!(Results::open(&path).unwrap_err().to_string().contains("line 1"));
    }
}
