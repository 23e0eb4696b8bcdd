//! The source of endpoints: which one is followed, and what it says of itself.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tidegate_admin::{
    PodEventsReport, ServiceProblem, SourceReport, TriggerDelay, WatchReport, WriterReport,
};
use tidegate_config::{Configuration, Kubernetes, PeerMembers};
use tidegate_control::ControlHandle;
use tidegate_core::{Event, ServiceName};
use tidegate_files::DirectoryState;
use tidegate_kubernetes::{Access, ErrorCause, Interest, Options, Problem, WatchState, Writing};
use tokio::sync::mpsc;

use crate::{overrides::Overrides, pod_events::PodEvents};

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
        overrides: &Overrides,
        seed: u64,
        events: &mpsc::Sender<(Event, Instant)>,
        interest: Interest,
        is_successor: bool,
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
                let writing = writing(kubernetes, overrides);
                let announcing = overrides.pod_name.clone().filter(|_| kubernetes.pod_events);
                let peers = configuration.peers.as_ref().and_then(|peers| match &peers.members {
                    PeerMembers::Service(service) => Some(service),
                    PeerMembers::Own | PeerMembers::Addresses(_) => None,
                });
                let own = writing.iter().map(|writing| &writing.own).chain(peers).cloned().collect();
                let Kubernetes { kubeconfig, context, namespaces, early_drain, .. } = kubernetes.clone();
                let options = Options {
                    pods: Some(interest),
                    writing,
                    // Until it has taken over, its predecessor does.
                    waits_to_write: is_successor,
                    announcing,
                    early_drain,
                    access: Access { kubeconfig, context },
                    namespaces,
                    own,
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

    /// Writes from here on: this process has taken over.
    pub(crate) fn begin_to_write(&self) {
        if let Self::Kubernetes(follower) = self {
            follower.begin_to_write();
        }
    }

    /// Writes nothing more: the process is about to end, and another instance may begin at once.
    pub(crate) fn resign(&self) {
        if let Self::Kubernetes(follower) = self {
            follower.resign();
        }
    }

    /// Waits until nothing is written any more, where that was asked for; a few seconds at most.
    pub(crate) async fn resigned(&self) {
        if let Self::Kubernetes(follower) = self {
            follower.resigned().await;
        }
    }

    /// Follows what becomes of drains and says so in Events on their pods, where that is wanted. To be called on the
    /// control runtime.
    pub(crate) fn announce_drains(&self, handle: &ControlHandle, configuration: &Configuration) -> PodEvents {
        match self {
            Self::Kubernetes(follower) => {
                PodEvents::start(handle, Arc::clone(follower), configuration.node.name.clone())
            }
            Self::None | Self::Files(_) => PodEvents::default(),
        }
    }

    /// What it says of itself, in the admin API's terms.
    pub(crate) fn report(&self) -> Option<SourceReport> {
        match self {
            Self::None => None,
            Self::Files(follower) => Some(of_files(&follower.status().report())),
            Self::Kubernetes(follower) => {
                Some(of_kubernetes(&follower.status().report(), follower.problems()))
            }
        }
    }
}

/// Who writes the status of Services: an instance that is a pod among others.
fn writing(kubernetes: &Kubernetes, overrides: &Overrides) -> Option<Writing> {
    let class = kubernetes.load_balancer_class.as_deref()?;
    let (Some(namespace), Some(identity)) = (&overrides.pod_namespace, &overrides.pod_name) else {
        tracing::info!("POD_NAMESPACE and POD_NAME are not set: no status of Services is written from here");
        return None;
    };
    let own = kubernetes.own_service.clone();
    Some(Writing {
        class: class.into(),
        namespace: namespace.clone(),
        identity: identity.clone(),
        own: own.unwrap_or_else(|| ServiceName::new(namespace.as_str(), "tidegate")),
    })
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
        watches: Vec::new(),
        trigger_delay: None,
        problems: Vec::new(),
        writer: None,
        pod_events: None,
        clock_skew_millis: None,
    }
}

fn of_kubernetes(report: &tidegate_kubernetes::SourceReport, problems: Vec<Problem>) -> SourceReport {
    let watches: Vec<WatchReport> = report.watches.iter().map(watch).collect();
    let slices = report.watches.iter().filter(|watch| watch.resource.starts_with("endpointslices"));
    SourceReport {
        kind: "kubernetes".to_owned(),
        directory: report.origin.clone().into(),
        trouble: watches.iter().find_map(|watch| watch.trouble.clone()),
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
        watches,
        trigger_delay: Some(TriggerDelay {
            count: report.trigger_to_arrival.count,
            sum: report.trigger_to_arrival.sum,
        }),
        problems: problems.into_iter().map(problem).collect(),
        writer: report.writer.as_ref().map(writer),
        pod_events: report.announcer.as_ref().map(pod_events),
        clock_skew_millis: report.clock_skew_millis,
    }
}

fn problem(Problem { service, port, reason, message }: Problem) -> ServiceProblem {
    ServiceProblem { service: service.to_string(), port, reason, message }
}

fn writer(report: &tidegate_kubernetes::WriterReport) -> WriterReport {
    let errors = ErrorCause::ALL.iter().map(|cause| cause.word()).zip(report.errors);
    WriterReport {
        leads: report.leads,
        trouble: report.trouble.clone(),
        statuses: report.statuses_total,
        events: report.events_total,
        errors: errors.collect(),
    }
}

fn pod_events(report: &tidegate_kubernetes::AnnouncerReport) -> PodEventsReport {
    let tidegate_kubernetes::AnnouncerReport { trouble, written_total, dropped_total } = report.clone();
    PodEventsReport { trouble, written: written_total, dropped: dropped_total }
}

fn watch(report: &tidegate_kubernetes::WatchReport) -> WatchReport {
    let trouble = match &report.state {
        WatchState::Starting => Some(format!("{} have not been listed yet", report.resource)),
        WatchState::Following => None,
        WatchState::Failing(why) => Some(why.clone()),
    };
    let errors = ErrorCause::ALL.iter().map(|cause| cause.word()).zip(report.errors);
    WatchReport {
        resource: report.resource.clone(),
        trouble,
        objects: report.objects,
        events: report.events_total,
        outdated: report.outdated_total,
        lists: report.lists_total,
        errors: errors.collect(),
        unreadable: report.unreadable_total,
        last_contact: report.last_contact,
    }
}
