//! What the command line and the environment say of a configuration, at the start and at every reload.

use std::{path::PathBuf, sync::Arc};

use tidegate_config::{Configuration, PeerMembers, Source};
use tidegate_core::ServiceName;

/// What comes before, or fills in, what the file says.
#[derive(Clone, Debug, Default)]
pub(crate) struct Overrides {
    /// `--kubeconfig`.
    pub(crate) kubeconfig: Option<PathBuf>,
    /// `--context`.
    pub(crate) context: Option<String>,
    /// `NODE_NAME`, where the file has no `node.name`; it counts only with an API server.
    pub(crate) node_name: Option<Arc<str>>,
    /// `POD_NAMESPACE`: where the Lease is that decides who writes.
    pub(crate) pod_namespace: Option<String>,
    /// `POD_NAME`: this instance among all.
    pub(crate) pod_name: Option<String>,
}

impl Overrides {
    /// Puts them into a configuration.
    pub(crate) fn apply(&self, configuration: &mut Configuration) -> anyhow::Result<()> {
        let Some(Source::Kubernetes(kubernetes)) = &mut configuration.source else {
            if self.kubeconfig.is_some() || self.context.is_some() {
                anyhow::bail!(
                    "--kubeconfig and --context are for `source.kubernetes`, which the configuration lacks: add \
                     `source: {{kubernetes: {{}}}}` or leave them out"
                );
            }
            return Ok(());
        };
        if let Some(path) = &self.kubeconfig {
            kubernetes.kubeconfig = Some(path.clone());
        }
        if let Some(context) = &self.context {
            kubernetes.context = Some(context.clone());
        }
        if let (Some(peers), Some(namespace)) = (&mut configuration.peers, &self.pod_namespace)
            && peers.members == PeerMembers::Own
        {
            peers.members = PeerMembers::Service(ServiceName::new(namespace.as_str(), "tidegate"));
        }
        if configuration.node.name.is_none() {
            configuration.node.name.clone_from(&self.node_name);
        }
        Ok(())
    }
}
