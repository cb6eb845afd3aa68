//! Files that appear whole or not at all: written beside their place, then renamed into it.

use crate::failure::Failure;
use std::fs;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use tempfile::{Builder, NamedTempFile};

/// A place for a file, found writable.
#[derive(Debug)]
pub(crate) struct Target {
    /// As the user wrote it.
    path: PathBuf,
    /// Links followed.
    place: PathBuf,
}

/// A file that is whole on the disk and not yet in its place; dropped, it vanishes.
#[derive(Debug)]
pub(crate) struct Staged {
    file: NamedTempFile,
    target: Target,
}

impl Target {
    /// Checks before any work is done that a file can be put there and that it replaces none of `taken`.
    pub(crate) fn new(path: &Path, taken: &[&Path]) -> Result<Self, Failure> {
        let place = resolve(path).map_err(|e| Failure::file(path, e))?;
        if let Some(other) = taken.iter().find(|t| resolve(t).is_ok_and(|t| t == place)) {
            return Err(Failure::file(
                path,
                format_args!("is {} as well, and must not replace it: choose another name", other.display()),
            ));
        }
        match fs::metadata(&place) {
            Ok(there) if !there.is_file() => return Err(Failure::file(path, "exists and is not a regular file")),
            Ok(there) if there.permissions().readonly() => return Err(Failure::file(path, "exists and is read-only")),
            _ => {}
        }
        let target = Self { path: path.to_path_buf(), place };
        target.create()?;
        Ok(target)
    }

    /// As the user wrote it.
    #[cfg(feature = "train")]
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes the content to a file in the same folder.
    pub(crate) fn stage<'a>(self, content: impl IntoIterator<Item = &'a [u8]>) -> Result<Staged, Failure> {
        let file = self.create()?;
        let mut writer = BufWriter::new(file.as_file());
        let written = content.into_iter().try_for_each(|part| writer.write_all(part)).and_then(|()| writer.flush());
        drop(writer);
        written.and_then(|()| file.as_file().sync_all()).map_err(|e| Failure::file(&self.path, e))?;
        Ok(Staged { file, target: self })
    }

    fn create(&self) -> Result<NamedTempFile, Failure> {
        let mut builder = Builder::new();
        builder.prefix(".resam-");
        // As any new file has, instead of the owner alone; the umask takes its part.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        let folder = self.place.parent().unwrap_or(Path::new("/"));
        builder.tempfile_in(folder).map_err(|e| Failure::file(&self.path, format_args!("cannot be written: {}", e.kind())))
    }
}

/// Puts files in their places, once all of them are whole.
pub(crate) fn publish(files: impl IntoIterator<Item = Staged>) -> Result<(), Failure> {
    files.into_iter().try_for_each(|Staged { file, target }| {
        if let Ok(there) = fs::metadata(&target.place) {
            fs::set_permissions(file.path(), there.permissions()).map_err(|e| Failure::file(&target.path, e))?;
        }
        file.persist(&target.place).map(drop).map_err(|e| Failure::file(&target.path, e.error))
    })
}

/// The absolute path without links, of a file that need not be there.
fn resolve(path: &Path) -> std::io::Result<PathBuf> {
    /// More links than that lead nowhere.
    const LINKS: usize = 40;
    let mut path = path.to_path_buf();
    for _ in 0..LINKS {
        if let Ok(place) = fs::canonicalize(&path) {
            return Ok(place);
        }
        // To a file that is not there yet.
        let Ok(target) = fs::read_link(&path) else { return resolve_absent(&path) };
        path = folder(&path).join(target);
    }
    Err(std::io::Error::other("its links lead in a circle"))
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The absolute path of a file that is not there.
fn resolve_absent(path: &Path) -> std::io::Result<PathBuf> {
    if path.to_string_lossy().ends_with(std::path::is_separator) {
        return Err(std::io::Error::other("is the name of a folder that is not there"));
    }
    let name = path.file_name().ok_or(std::io::ErrorKind::InvalidFilename)?;
    let folder = folder(path);
    match fs::canonicalize(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(std::io::Error::new(error.kind(), format!("there is no folder {}", folder.display())))
        }
        folder => Ok(folder?.join(name)),
    }
}
