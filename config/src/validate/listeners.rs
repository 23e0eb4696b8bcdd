//! Listeners, and that no two of anything accept on one address.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use tidegate_core::{PortName, ServicePort};

use super::Check;
use crate::{
    configuration::{Listener, Service},
    document::Document,
    leaf::{Located, Place},
};

impl Check<'_> {
    pub(super) fn listeners(
        &mut self,
        document: &Document,
        services: &[Service],
        has_source: bool,
    ) -> Vec<Listener> {
        let blocks = document.listeners.as_deref().unwrap_or_default();
        let has_kubernetes = document.source.as_ref().is_some_and(|source| source.value.kubernetes.is_some());
        if blocks.is_empty() && !has_kubernetes {
            self.error(
                Place { line: 1, column: 1 },
                "listeners",
                "missing: add at least one, `listeners: [{name: web, address: 127.0.0.1:8080, service: default/web}]`",
            );
        }
        let mut listeners = Vec::new();
        let mut names: BTreeMap<String, u64> = BTreeMap::new();
        for (index, Located { value: block, place }) in blocks.iter().enumerate() {
            let at = format!("listeners[{index}]");
            let name = self.required(&block.name, *place, format!("{at}.name"), "`name: NAME`");
            let address =
                self.required(&block.address, *place, format!("{at}.address"), "`address: IP:port`");
            let remedy = "`service: NAMESPACE/NAME`";
            let service = self.required(&block.service, *place, format!("{at}.service"), remedy);
            let port = self.value(&block.port, format!("{at}.port"));

            if let (Some(name), Some(field)) = (&name, &block.name) {
                if let Some(line) = names.get(&name.0) {
                    self.error(
                        field.place,
                        format!("{at}.name"),
                        format!(
                            "`{}` is the name of the listener on line {line} already: give it another",
                            name.0
                        ),
                    );
                } else {
                    names.insert(name.0.clone(), field.place.line);
                }
            }
            if let Some(address) = address {
                self.bind(address, format!("{at}.address"), block.address.as_ref());
            }
            let Some(service) = service else { continue };
            let entry = services.iter().find(|entry| entry.name == service);
            let is_fixed = entry.is_some_and(|entry| entry.fixed.is_some());
            if let (false, false, Some(field)) = (is_fixed, has_source, &block.service) {
                self.error(
                    field.place,
                    format!("{at}.service"),
                    format!(
                        "nothing says where the endpoints of `{service}` are: add `source: \
                         {{endpointSliceDirectory: PATH}}` or `source: {{kubernetes: {{}}}}`, or list them as \
                         `endpoints` of the service"
                    ),
                );
            }
            if let (true, Some(field)) = (is_fixed, &block.port) {
                self.warn(
                    field.place,
                    format!("{at}.port"),
                    format!(
                        "has no effect: `{service}` has a fixed list of endpoints, which have their own ports"
                    ),
                );
            }
            let (Some(name), Some(address)) = (name, address) else {
                continue;
            };
            // With a fixed list there is one set of endpoints, whatever the port is called.
            let port = port.filter(|_| !is_fixed).map(|port| PortName::from(port.0));
            listeners.push(Listener {
                name: Arc::from(name.0),
                address,
                service: ServicePort { service, port },
            });
        }
        listeners
    }

    /// Two sockets of one process on one address: the second bind would fail, or share the first one's flows.
    pub(super) fn taken_twice(&mut self) {
        let taken = std::mem::take(&mut self.bound);
        for (index, (address, field, place)) in taken.iter().enumerate() {
            let earlier = taken[..index].iter().find(|(other, _, _)| overlap(*address, *other));
            if let Some((other, other_field, other_place)) = earlier {
                let line = other_place.line;
                let message = if address == other {
                    format!(
                        "{address} is taken by {other_field} on line {line}: give it another address or port"
                    )
                } else {
                    format!(
                        "{address} overlaps with {other}, which {other_field} on line {line} takes (one of them \
                         means every address): give it another port"
                    )
                };
                self.error(*place, field.clone(), message);
            }
        }
    }
}

/// The kernel would not let both be bound: the same port, and one address or one that means every address. `[::]`
/// takes IPv4 too.
fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    let covers = |wide: SocketAddr, other: SocketAddr| {
        wide.ip().is_unspecified() && (wide.is_ipv6() || other.is_ipv4())
    };
    a.port() != 0 && a.port() == b.port() && (a == b || covers(a, b) || covers(b, a))
}
