//! The source of endpoints: which one is followed, and what it says of itself.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tidegate_admin::SourceReport;
use tidegate_config::{Configuration, Kubernetes};
use tidegate_core::Event;
use tidegate_files::DirectoryState;
use tidegate_kubernetes::{Access, Options, WatchState};
use tokio::sync::mpsc;

/// A source that is being followed, until this is dropped.
#[derive(Clone)]
pub(crate) enum Source {
    /// Every endpoint is in the configuration.
    None,
    /// A directory of slice files.
    Files(Arc<tidegate_files::Follower>),
    /// An API server.
    Kubernetes(Arc<tidegate_kubernetes::Follower>),
}

/// As good as for ever: an API server that is away at the start is waited for, because a listener that accepts before
/// anything is known only refuses.
pub(crate) const SYNC_WAIT_KUBERNETES: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

impl Source {
    /// Starts following what the configuration names. Without a source there is nothing to wait for: the complete list
    /// is empty.
    pub(crate) fn follow(
        configuration: &Configuration,
        seed: u64,
        events: &mpsc::Sender<(Event, Instant)>,
    ) -> anyhow::Result<Self> {
        match &configuration.source {
            None => {
                let _ = events.try_send((Event::SlicesListed(Vec::new()), Instant::now()));
                Ok(Self::None)
            }
            Some(tidegate_config::Source::EndpointSliceDirectory(directory)) => {
                Ok(Self::Files(Arc::new(tidegate_files::follow(directory, events.clone())?)))
            }
            Some(tidegate_config::Source::Kubernetes(kubernetes)) => {
                let Kubernetes { kubeconfig, context, namespaces } = kubernetes.clone();
                let options = Options {
                    access: Access { kubeconfig, context },
                    namespaces,
                    node: configuration.node.name.clone(),
                    zone: configuration.node.zone.clone(),
                    seed,
                    begin: Some(tidegate_sys::yield_to_others),
                };
                Ok(Self::Kubernetes(Arc::new(tidegate_kubernetes::follow(options, events.clone())?)))
            }
        }
    }

    /// This node's zone as the source knows it; the configuration's comes before it.
    pub(crate) fn zone(&self) -> Option<Arc<str>> {
        match self {
            Self::None | Self::Files(_) => None,
            Self::Kubernetes(follower) => follower.zone().borrow().clone(),
        }
    }

    /// What it says of itself, in the admin API's terms.
    pub(crate) fn report(&self) -> Option<SourceReport> {
        match self {
            Self::None => None,
            Self::Files(follower) => Some(of_files(&follower.status().report())),
            Self::Kubernetes(follower) => Some(of_kubernetes(&follower.status().report())),
        }
    }
}

fn of_files(report: &tidegate_files::SourceReport) -> SourceReport {
    let trouble = match &report.state {
        DirectoryState::Starting => Some("the directory has not been read yet".to_owned()),
        DirectoryState::Following => None,
        DirectoryState::Missing => {
            Some("the directory does not exist; what was known of it stays".to_owned())
        }
        DirectoryState::Failed(error) => Some(error.clone()),
    };
    let invalid = report.invalid.iter();
    SourceReport {
        kind: "endpointSliceDirectory".to_owned(),
        directory: report.directory.clone(),
        trouble,
        files: report.files,
        slices: report.slices,
        invalid: invalid.map(|it| (it.path.display().to_string(), it.error.clone())).collect(),
        last_event: report.last_event,
        events: report.events_total,
        invalid_total: report.invalid_total,
    }
}

fn of_kubernetes(report: &tidegate_kubernetes::SourceReport) -> SourceReport {
    let trouble = report.watches.iter().find_map(|watch| match &watch.state {
        WatchState::Starting => Some(format!("{} have not been listed yet", watch.resource)),
        WatchState::Following => None,
        WatchState::Failing(why) => Some(why.clone()),
    });
    let slices = report.watches.iter().filter(|watch| watch.resource.starts_with("endpointslices"));
    SourceReport {
        kind: "kubernetes".to_owned(),
        directory: report.origin.clone().into(),
        trouble,
        files: 0,
        slices: slices.map(|watch| watch.objects).sum(),
        invalid: report
            .watches
            .iter()
            .filter_map(|watch| Some((watch.resource.clone(), watch.last_unreadable.clone()?)))
            .collect(),
        last_event: report.last_event,
        events: report.events_total,
        invalid_total: report.watches.iter().map(|watch| watch.unreadable_total).sum(),
    }
}
