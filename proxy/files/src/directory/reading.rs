//! Which files of a directory are slice files, and what one of them says.

use std::{
    collections::BTreeSet,
    ffi::{OsStr, OsString},
    fs::{self, File, Metadata},
    hash::{DefaultHasher, Hash as _, Hasher as _},
    io::{self, Read as _},
    path::Path,
    time::SystemTime,
};

use crate::{
    document::{self, MAX_FILE_BYTES},
    inventory::FileSlices,
};

/// What a look at a file gave.
pub(super) enum Reading {
    /// It says this.
    Valid(FileSlices),
    /// It is not there.
    Gone,
    /// It changed while it was read.
    Unsettled,
    /// It says nothing that can be used.
    Invalid {
        /// What is wrong with it.
        error: String,
        /// The same for the same content.
        fingerprint: u64,
    },
}

/// Whether a file of this name is read: `*.yaml`, `*.yml`, `*.json`, and not hidden, as editors' own files are.
pub(super) fn is_slice_file(name: &OsStr) -> bool {
    let extension = Path::new(name).extension().and_then(OsStr::to_str);
    matches!(extension, Some("yaml" | "yml" | "json")) && !name.as_encoded_bytes().starts_with(b".")
}

/// The names of the slice files in a directory.
pub(super) fn list(directory: &Path) -> io::Result<BTreeSet<OsString>> {
    let names = fs::read_dir(directory)?.map(|entry| entry.map(|entry| entry.file_name()));
    names.filter(|name| name.as_ref().map_or(true, |name| is_slice_file(name))).collect()
}

/// What a file says.
pub(super) fn read_file(path: &Path) -> Reading {
    match read_bytes(path) {
        Ok(Some((bytes, written))) => match document::read(&bytes) {
            Ok(content) => Reading::Valid(FileSlices {
                written,
                slices: content.slices,
                ignored_objects: content.ignored_objects,
            }),
            Err(error) => Reading::Invalid { error: shown(&error), fingerprint: fingerprint(&bytes) },
        },
        Ok(None) => Reading::Unsettled,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Reading::Gone,
        Err(error) => {
            let error = shown(&error);
            Reading::Invalid { fingerprint: fingerprint(error.as_bytes()), error }
        }
    }
}

/// The bytes of a file and when they were written; `None` where they go on changing.
fn read_bytes(path: &Path) -> io::Result<Option<(Vec<u8>, SystemTime)>> {
    const ATTEMPTS: usize = 3;
    // Opening a pipe would wait for its writer.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("is not a regular file: put slice files here, or rename it"));
    }
    let stamp = |metadata: &Metadata| (metadata.len(), metadata.modified().ok());
    for _ in 0..ATTEMPTS {
        let mut file = File::open(path)?;
        let before = file.metadata()?;
        let mut bytes = Vec::new();
        // One byte more than is allowed lets the reader see that it is too large.
        file.by_ref().take(MAX_FILE_BYTES as u64 + 1).read_to_end(&mut bytes)?;
        if stamp(&before) == stamp(&file.metadata()?) {
            return Ok(Some((bytes, before.modified().unwrap_or(SystemTime::UNIX_EPOCH))));
        }
    }
    Ok(None)
}

/// An error may quote the file: as much of it as a status line can show, and nothing that would steer a terminal.
fn shown(error: &dyn std::error::Error) -> String {
    const SHOWN: usize = 500;
    error.to_string().chars().take(SHOWN).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn fingerprint(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}
