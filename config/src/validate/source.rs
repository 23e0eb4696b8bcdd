//! Where endpoints come from.

use std::collections::BTreeSet;

use super::Check;
use crate::{
    configuration::{Kubernetes, Source},
    document::{KubernetesBlock, SourceBlock},
    leaf::Located,
};

impl Check<'_> {
    pub(super) fn source(
        &mut self,
        Located { value: block, place }: &Located<SourceBlock>,
    ) -> Option<Source> {
        let directory = block.endpoint_slice_directory.as_ref();
        match (directory, &block.kubernetes) {
            (Some(_), Some(kubernetes)) => {
                let message = "there is one source: remove this or `endpointSliceDirectory`";
                self.error(kubernetes.place, "source.kubernetes", message);
                None
            }
            (None, None) => {
                let message =
                    "missing: add `endpointSliceDirectory: PATH` or `kubernetes: {}` under `source`";
                self.error(*place, "source", message);
                None
            }
            (Some(_), None) => {
                let path = self.value(&block.endpoint_slice_directory, "source.endpointSliceDirectory")?;
                Some(Source::EndpointSliceDirectory(self.resolve(&path)))
            }
            (None, Some(kubernetes)) => Some(Source::Kubernetes(self.kubernetes(kubernetes))),
        }
    }

    fn kubernetes(&mut self, Located { value: block, place }: &Located<KubernetesBlock>) -> Kubernetes {
        let at = "source.kubernetes";
        let mut namespaces = BTreeSet::new();
        for (index, field) in block.namespaces.iter().flatten().enumerate() {
            let at = format!("{at}.namespaces[{index}]");
            match &field.read {
                Err(message) => self.error(field.place, at, message),
                Ok(name) if !namespaces.insert(name.0.clone()) => {
                    self.error(field.place, at, format!("`{}` is listed already: list it once", name.0));
                }
                Ok(_) => {}
            }
        }
        if let Some([]) = block.namespaces.as_deref() {
            // An empty list would mean all of them to some readers and none to others.
            self.error(
                *place,
                format!("{at}.namespaces"),
                "is empty: list namespaces, or remove it to follow all",
            );
        }
        let mut addresses = BTreeSet::new();
        for (index, field) in block.addresses.iter().flatten().enumerate() {
            let at = format!("{at}.addresses[{index}]");
            match &field.read {
                Err(message) => self.error(field.place, at, message),
                Ok(address) if address.is_multicast() || !addresses.insert(*address) => {
                    let message =
                        format!("`{address}` is listed already or is a multicast address: remove it");
                    self.error(field.place, at, message);
                }
                Ok(_) => {}
            }
        }
        let defaults = Kubernetes::default();
        let kubeconfig = self.value(&block.kubeconfig, format!("{at}.kubeconfig"));
        Kubernetes {
            kubeconfig: kubeconfig.map(|path| self.resolve(&path)),
            context: self.value(&block.context, format!("{at}.context")).map(|name| name.0),
            namespaces: namespaces.into_iter().collect(),
            load_balancer_class: self
                .value(&block.load_balancer_class, format!("{at}.loadBalancerClass"))
                .map_or(defaults.load_balancer_class, |class| class.0),
            addresses: addresses.into_iter().collect(),
            own_service: self.value(&block.own_service, format!("{at}.ownService")),
            early_drain: self
                .value(&block.early_drain, format!("{at}.earlyDrain"))
                .unwrap_or(defaults.early_drain),
            pod_events: self
                .value(&block.pod_events, format!("{at}.podEvents"))
                .unwrap_or(defaults.pod_events),
        }
    }
}
