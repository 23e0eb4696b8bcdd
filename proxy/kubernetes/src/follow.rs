//! What a watch is of, who is told, and how patient it is.

use std::time::{Duration, Instant};

use tidegate_core::ServiceName;

use crate::{api::Resource, meta::Key, status::ErrorCause};

/// The label that joins a slice to its Service.
const SERVICE_LABEL: &str = "kubernetes.io/service-name";

/// Whoever is told what a watch finds has gone.
#[derive(Debug)]
pub(crate) struct Gone;

/// An object as it was read.
pub(crate) struct Read<T> {
    pub(crate) key: Key,
    /// As the server has it.
    pub(crate) version: String,
    pub(crate) object: T,
}

/// Everything there is.
pub(crate) struct Listing<T> {
    /// The objects that are new or have changed.
    pub(crate) objects: Vec<(Key, T)>,
    /// What was there before and is not any more.
    pub(crate) lacking: Vec<Key>,
    /// There are others, which have not changed, or could not be read this time: what is known of them stays.
    pub(crate) keeps: bool,
}

/// What is followed, and who is told.
pub(crate) trait Follow {
    /// What is kept of an object.
    type Object;

    /// The kind.
    const RESOURCE: Resource;

    /// An object from its JSON.
    fn read(&mut self, json: &str, arrived: Option<Instant>) -> Result<Read<Self::Object>, String>;

    /// Everything there is, and what it lacks of what was there before.
    async fn listed(&mut self, listing: Listing<Self::Object>, arrived: Instant) -> Result<(), Gone>;

    /// An object is new or has changed.
    async fn applied(&mut self, key: Key, object: Self::Object, arrived: Instant) -> Result<(), Gone>;

    /// An object is gone.
    async fn deleted(&mut self, key: Key, arrived: Instant) -> Result<(), Gone>;

    /// A request failed, and it will be tried again.
    async fn failed(&mut self, _: ErrorCause) -> Result<(), Gone> {
        Ok(())
    }
}

/// Of which objects of a kind a watch is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// All of them.
    All,
    /// Those of a namespace.
    Namespace(String),
    /// The slices of a Service.
    Service(ServiceName),
}

impl Scope {
    pub(crate) fn namespace(&self) -> Option<&str> {
        match self {
            Self::All => None,
            Self::Namespace(namespace) => Some(namespace),
            Self::Service(service) => Some(service.namespace()),
        }
    }

    /// The labels by which the server chooses.
    pub(crate) fn labels(&self) -> Option<String> {
        match self {
            Self::All | Self::Namespace(_) => None,
            Self::Service(service) => Some(format!("{SERVICE_LABEL}={}", service.name())),
        }
    }

    /// What is watched, for people.
    pub(crate) fn describe(&self, resource: &str) -> String {
        match self {
            Self::All => resource.to_owned(),
            Self::Namespace(namespace) => format!("{resource} in {namespace}"),
            Self::Service(service) => format!("{resource} of {service}"),
        }
    }
}

/// How patient a watch is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// The wait after the first failure; it doubles.
    pub(crate) retry: Duration,
    /// No wait is longer.
    pub(crate) retry_limit: Duration,
    /// A watch that says nothing for so long, no event and no bookmark, is listed again. Servers send a bookmark about
    /// once a minute.
    pub(crate) silence: Duration,
    /// How long the server may take to begin an answer, or to go on with one.
    pub(crate) patience: Duration,
    /// Objects on one page of a list.
    pub(crate) page: u32,
    /// A list that is older than what is known is believed after so long: then it is not a replica behind the others, but
    /// a store that was restored from a backup.
    pub(crate) stale_limit: Duration,
    /// So many pods are watched at a time.
    pub(crate) pod_watches: usize,
    /// How soon a pod that cannot be watched for want of a place is read again.
    pub(crate) read_again: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            retry: Duration::from_millis(200),
            retry_limit: Duration::from_secs(30),
            silence: Duration::from_secs(180),
            patience: Duration::from_secs(30),
            page: 500,
            stale_limit: Duration::from_secs(60),
            pod_watches: 100,
            read_again: Duration::from_secs(10),
        }
    }
}
