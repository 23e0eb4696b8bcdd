//! What survives a restart: the drains that operators asked for, in one small file.
//!
//! Written beside and renamed, so that a crash leaves the old file or the new one. A file that cannot be understood is
//! moved aside and reported; it never keeps the process from starting.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    net::SocketAddr,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use serde::{Deserialize, Serialize};
use tidegate_core::{EndpointSelector, ServiceName};

/// A drain that an operator asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StoredDrain {
    pub(crate) selector: EndpointSelector,
    pub(crate) by: String,
    pub(crate) reason: String,
    /// Wall time, RFC 3339; for people.
    pub(crate) since: String,
}

/// Why the state directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The directory is not there and cannot be made, or is no directory.
    #[error("state directory {}: {cause}; make it, owned by the user that runs tidegate", path.display())]
    Directory {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// A file in it could not be written.
    #[error("state file {}: {cause}; what operators asked for will not survive a restart", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
}

/// A directory for what survives a restart.
#[derive(Debug)]
pub struct StateDirectory {
    path: PathBuf,
    /// The number of the list that was written last, so that an older one never overwrites it.
    written: Mutex<u64>,
}

const FILE: &str = "drains.json";
const FILE_NEW: &str = "drains.json.new";
const FILE_CORRUPT: &str = "drains.json.corrupt";
const VERSION: u32 = 1;
/// No file that this code wrote is longer.
const FILE_LIMIT: u64 = 8 << 20;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    version: u32,
    drains: Vec<Entry>,
}

/// Only the version: read first, so that another version's file is called that and not malformed.
#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    service: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    address: Option<SocketAddr>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pod: Option<String>,
    by: String,
    reason: String,
    since: String,
}

impl StateDirectory {
    /// Uses a directory; makes it, for this user alone, where it is not there.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, StateError> {
        let path = path.into();
        match fs::DirBuilder::new().recursive(true).mode(0o700).create(&path) {
            Ok(()) => Ok(Self { path, written: Mutex::new(0) }),
            Err(cause) => Err(StateError::Directory { path, cause }),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The drains that were kept; none where there is no file or none that can be understood.
    pub(crate) fn load(&self) -> Vec<StoredDrain> {
        let path = self.path.join(FILE);
        let why = match read(&path) {
            Ok(None) => return Vec::new(),
            Ok(Some(drains)) => return drains,
            Err(why) => why,
        };
        let aside = self.path.join(FILE_CORRUPT);
        let moved = fs::rename(&path, &aside);
        tracing::warn!(
            file = %path.display(),
            moved_to = %aside.display(),
            moved = moved.is_ok(),
            why,
            "the drains that operators had asked for cannot be read; starting without them"
        );
        Vec::new()
    }

    /// Writes the list, unless a later one was written already.
    pub(crate) fn save(&self, number: u64, drains: &[StoredDrain]) -> Result<(), StateError> {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        if number <= *written {
            return Ok(());
        }
        self.write(drains).map_err(|cause| StateError::Write { path: self.path.join(FILE), cause })?;
        *written = number;
        Ok(())
    }

    fn write(&self, drains: &[StoredDrain]) -> io::Result<()> {
        let document = Document { version: VERSION, drains: drains.iter().map(Entry::of).collect() };
        let beside = self.path.join(FILE_NEW);
        match fs::remove_file(&beside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
        file.write_all(&serde_json::to_vec_pretty(&document)?)?;
        file.sync_all()?;
        fs::rename(&beside, self.path.join(FILE))?;
        File::open(&self.path)?.sync_all()
    }
}

impl Entry {
    fn of(drain: &StoredDrain) -> Self {
        let (service, address, pod) = match &drain.selector {
            EndpointSelector::Address { service, address } => (service, Some(*address), None),
            EndpointSelector::Pod { service, pod } => (service, None, Some(pod.to_string())),
        };
        Self {
            service: service.to_string(),
            address,
            pod,
            by: drain.by.clone(),
            reason: drain.reason.clone(),
            since: drain.since.clone(),
        }
    }

    fn into_drain(self) -> Result<StoredDrain, String> {
        let service: ServiceName = self.service.parse().map_err(|error| format!("{error}"))?;
        let selector = match (self.address, self.pod) {
            (Some(address), None) => EndpointSelector::Address { service, address },
            (None, Some(pod)) => EndpointSelector::Pod { service, pod: pod.into() },
            _ => return Err(format!("a drain of `{service}` names not exactly one of address and pod")),
        };
        Ok(StoredDrain { selector, by: self.by, reason: self.reason, since: self.since })
    }
}

/// The file's drains; `None` where there is no file.
fn read(path: &Path) -> Result<Option<Vec<StoredDrain>>, String> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.to_string()),
    };
    let mut bytes = Vec::new();
    file.take(FILE_LIMIT + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() as u64 > FILE_LIMIT {
        return Err(format!("it is longer than {FILE_LIMIT} bytes"));
    }
    let Versioned { version } = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
    if version != VERSION {
        return Err(format!("it has version {version}; this build reads version {VERSION}"));
    }
    let document: Document = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
    document.drains.into_iter().map(Entry::into_drain).collect::<Result<_, _>>().map(Some)
}

#[cfg(test)]
mod tests;
