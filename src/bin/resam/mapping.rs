//! Files seen as memory.

use std::fs::File;
use std::io;

/// A file's bytes, read from the disk as they are touched: it may be larger than the memory of the machine.
///
/// The length is taken when the mapping is made, and whoever reads the bytes must check against it. Nobody may write to or
/// shorten the file while the command runs: that is the user's part, which no operating system lets us enforce. Other values
/// give another result; a shorter file ends the process with a bus error.
#[derive(Debug)]
pub(crate) struct Mapping(memmap2::Mmap);

impl Mapping {
    /// Maps the whole of a regular file.
    pub(crate) fn new(file: &File) -> io::Result<Self> {
        // SAFETY: the map is private and read-only, every byte is a valid u8 (and four of them a valid f32), and the command
        // never writes to its input: outputs are renamed into place and are refused where they would replace it. That no
        // other process changes the file meanwhile is asked of the user (see above and `resam aggregate --help`).
        #[allow(unsafe_code)]
        let map = unsafe { memmap2::MmapOptions::new().map_copy_read_only(file) }?;
        Ok(Self(map))
    }

    /// All bytes of the file.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}
