//! Small files in the folder of a storage extension, in which a receiver keeps how far it came.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// A longer file is none of ours.
const BYTES_MAX: u64 = 64 << 20;

/// The file of the receiver with this id.
pub fn file_of(folder: &Path, receiver: &str, extension: &str) -> PathBuf {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    let name: String = receiver.chars().map(plain).collect();
    folder.join(format!("{name}.{extension}"))
}

/// What is in a file; `None` when there is none.
pub fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let about = match fs::metadata(path) {
        Ok(about) => about,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    if about.len() > BYTES_MAX {
        return Err(io::Error::other("it is longer than 64 MiB"));
    }
    fs::read(path).map(Some)
}

/// Makes a new and empty file that only its owner reads.
pub fn create(path: &Path) -> io::Result<File> {
    let mut opening = OpenOptions::new();
    opening.write(true).create(true).truncate(true).mode(0o600);
    opening.open(path)
}

/// Puts a text in the place of a file's. The old one stands until the new one does; with `synced` the new one survives a loss
/// of power once its folder is synced, too.
pub fn replace(path: &Path, text: &[u8], synced: bool) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = create(&new)?;
    file.write_all(text)?;
    if synced {
        file.sync_all()?;
    }
    fs::rename(&new, path)
}

/// What was put into the folder of this file survives a loss of power.
pub fn sync_folder(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}
