//! What survives a restart: what operators asked for, in one small file.
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
use tidegate_core::{AdminState, EndpointSelector, ServiceName};

/// What an operator asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StoredRequest {
    pub(crate) selector: EndpointSelector,
    pub(crate) state: AdminState,
    pub(crate) by: String,
    pub(crate) reason: String,
    /// Wall time, RFC 3339; for people.
    pub(crate) since: String,
    /// A drain's deadline: when what is left is cut, in milliseconds of Unix time.
    pub(crate) cut_at: Option<u64>,
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

const FILE: &str = "operators.json";
const FILE_NEW: &str = "operators.json.new";
const FILE_CORRUPT: &str = "operators.json.corrupt";
const VERSION: u32 = 1;
/// No file that this code wrote is longer.
const FILE_LIMIT: u64 = 8 << 20;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    version: u32,
    requests: Vec<Entry>,
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
    state: State,
    by: String,
    reason: String,
    since: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cut_at: Option<u64>,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum State {
    InService,
    Drain,
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

    /// What was kept; nothing where there is no file or one that cannot be understood.
    pub(crate) fn load(&self) -> Vec<StoredRequest> {
        let path = self.path.join(FILE);
        let why = match read(&path) {
            Ok(None) => return Vec::new(),
            Ok(Some(requests)) => return requests,
            Err(why) => why,
        };
        let aside = self.path.join(FILE_CORRUPT);
        let moved = fs::rename(&path, &aside);
        tracing::warn!(
            file = %path.display(),
            moved_to = %aside.display(),
            moved = moved.is_ok(),
            why,
            "what operators had asked for cannot be read; starting without it"
        );
        Vec::new()
    }

    /// Writes the list, unless a later one was written already.
    pub(crate) fn save(&self, number: u64, requests: &[StoredRequest]) -> Result<(), StateError> {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        if number <= *written {
            return Ok(());
        }
        self.write(requests).map_err(|cause| StateError::Write { path: self.path.join(FILE), cause })?;
        *written = number;
        Ok(())
    }

    fn write(&self, requests: &[StoredRequest]) -> io::Result<()> {
        let document = Document { version: VERSION, requests: requests.iter().map(Entry::of).collect() };
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
    fn of(request: &StoredRequest) -> Self {
        let (service, address, pod) = match &request.selector {
            EndpointSelector::Address { service, address } => (service, Some(*address), None),
            EndpointSelector::Pod { service, pod } => (service, None, Some(pod.to_string())),
        };
        Self {
            service: service.to_string(),
            address,
            pod,
            state: match request.state {
                AdminState::InService => State::InService,
                AdminState::Drain => State::Drain,
            },
            by: request.by.clone(),
            reason: request.reason.clone(),
            since: request.since.clone(),
            cut_at: request.cut_at,
        }
    }

    fn into_request(self) -> Result<StoredRequest, String> {
        let service: ServiceName = self.service.parse().map_err(|error| format!("{error}"))?;
        let selector = match (self.address, self.pod) {
            (Some(address), None) => EndpointSelector::Address { service, address },
            (None, Some(pod)) => EndpointSelector::Pod { service, pod: pod.into() },
            _ => return Err(format!("a request for `{service}` names not exactly one of address and pod")),
        };
        let state = match self.state {
            State::InService => AdminState::InService,
            State::Drain => AdminState::Drain,
        };
        Ok(StoredRequest {
            selector,
            state,
            by: self.by,
            reason: self.reason,
            since: self.since,
            cut_at: self.cut_at,
        })
    }
}

/// Requests as the file has them.
pub(crate) fn to_json(requests: &[StoredRequest]) -> serde_json::Value {
    let entries: Vec<Entry> = requests.iter().map(Entry::of).collect();
    serde_json::to_value(entries).unwrap_or_default()
}

/// Requests from what [`to_json`] gave, in this build or another; none from nothing.
pub(crate) fn from_json(requests: serde_json::Value) -> Result<Vec<StoredRequest>, String> {
    let entries: Option<Vec<Entry>> = serde_json::from_value(requests).map_err(|error| error.to_string())?;
    entries.into_iter().flatten().map(Entry::into_request).collect()
}

/// The file's requests; `None` where there is no file.
fn read(path: &Path) -> Result<Option<Vec<StoredRequest>>, String> {
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
    document.requests.into_iter().map(Entry::into_request).collect::<Result<_, _>>().map(Some)
}

#[cfg(test)]
mod tests;
