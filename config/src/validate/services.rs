//! Services and their fixed endpoints.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use tidegate_core::{FixedEndpoint, ServiceName, ServiceSettings};

use super::Check;
use crate::{
    configuration::Service,
    document::{Document, EndpointBlock, Settings},
    leaf::{Located, Place},
};

impl Check<'_> {
    /// The services that have an entry.
    pub(super) fn services(&mut self, document: &Document, defaults: &ServiceSettings) -> Vec<Service> {
        let mut services = Vec::new();
        let mut lines: BTreeMap<ServiceName, u64> = BTreeMap::new();
        let has_kubernetes = document.source.as_ref().is_some_and(|source| source.value.kubernetes.is_some());
        let named: BTreeSet<&ServiceName> = document
            .listeners
            .iter()
            .flatten()
            .filter_map(|listener| listener.value.service.as_ref()?.read.as_ref().ok())
            .collect();
        for (index, Located { value: block, place }) in document.services.iter().flatten().enumerate() {
            let at = format!("services[{index}]");
            let name = self.required(&block.name, *place, format!("{at}.name"), "`name: NAMESPACE/NAME`");
            let settings = self.settings(block.settings(), &at, defaults);
            self.warn_of_idle(block.settings(), &at, name.as_ref(), &settings, has_kubernetes);
            let fixed = block.endpoints.as_ref().map(|list| self.endpoints(list, &at, *place));
            let Some(name) = name else { continue };
            let name_place = block.name.as_ref().map_or(*place, |field| field.place);
            if let Some(line) = lines.get(&name) {
                self.error(
                    name_place,
                    format!("{at}.name"),
                    format!("`{name}` has an entry on line {line} already: join the two"),
                );
                continue;
            }
            lines.insert(name.clone(), name_place.line);
            // A Service of an API server has listeners that the file does not name.
            if !named.contains(&name) && !has_kubernetes {
                self.warn(
                    name_place,
                    format!("{at}.name"),
                    format!(
                        "no listener names `{name}`, so its entry has no effect: add a listener or remove it"
                    ),
                );
            }
            let given = if has_kubernetes { given(block.settings()) } else { BTreeSet::new() };
            services.push(Service { name, settings, fixed, given });
        }
        services
    }

    fn endpoints(&mut self, list: &[Located<EndpointBlock>], at: &str, service: Place) -> Vec<FixedEndpoint> {
        let mut endpoints = Vec::new();
        let mut lines: BTreeMap<SocketAddr, u64> = BTreeMap::new();
        if list.is_empty() {
            self.warn(
                service,
                format!("{at}.endpoints"),
                "is empty, so every new flow is refused: list endpoints, or remove it to follow slices",
            );
        }
        for (index, Located { value, place }) in list.iter().enumerate() {
            let at = format!("{at}.endpoints[{index}]");
            let (address, address_place, weight) = match value {
                EndpointBlock::Address(Ok(address)) => (Some(*address), *place, 1),
                EndpointBlock::Address(Err(message)) => {
                    self.error(*place, at.clone(), message);
                    (None, *place, 1)
                }
                EndpointBlock::Weighted(block) => {
                    let remedy = "`address: IP:port`";
                    let address = self.required(&block.address, *place, format!("{at}.address"), remedy);
                    let weight =
                        self.value(&block.weight, format!("{at}.weight")).map_or(1, |weight| weight.0);
                    (address, block.address.as_ref().map_or(*place, |field| field.place), weight)
                }
            };
            let Some(address) = address else { continue };
            if let Some(reason) = not_connectable(address) {
                self.error(address_place, at, format!("`{address}` cannot be connected to: {reason}"));
            } else if let Some(line) = lines.insert(address, address_place.line) {
                self.error(
                    address_place,
                    at,
                    format!("`{address}` is on line {line} already: list it once, with a `weight` if it should get more"),
                );
            } else {
                endpoints.push(FixedEndpoint { address, weight: u16::try_from(weight).unwrap_or(u16::MAX) });
            }
        }
        endpoints
    }
}

/// The settings that a block gives. Of `drain` it may give a part and leave another to a Service's annotations.
fn given(block: Settings<'_>) -> BTreeSet<&'static str> {
    let fields = [
        ("policy", block.policy.is_some()),
        ("connectTimeout", block.connect_timeout.is_some()),
        ("connectAttempts", block.connect_attempts.is_some()),
        ("idleTimeout", block.idle_timeout.is_some()),
        ("whenNoneReady", block.when_none_ready.is_some()),
        ("onRemoval", block.on_removal.is_some()),
        ("affinity", block.affinity.is_some()),
        ("keepalive", block.keepalive.is_some()),
        ("userTimeout", block.user_timeout.is_some()),
        ("deadPeerTimeout", block.dead_peer_timeout.is_some()),
        ("maxLifetime", block.max_lifetime.is_some()),
        ("maxLifetimeJitter", block.max_lifetime_jitter.is_some()),
        ("rebalance", block.rebalance.is_some()),
    ];
    let drain = block.drain.as_ref().map_or(Vec::new(), |drain| {
        Vec::from([
            ("drain.deadline", drain.deadline.is_some()),
            ("drain.margin", drain.margin.is_some()),
            ("drain.window", drain.window.is_some()),
            ("drain.quiet", drain.quiet.is_some()),
            ("drain.maxPerSecond", drain.max_per_second.is_some()),
        ])
    });
    let has_drain = drain.iter().any(|(_, is_given)| *is_given);
    let fields = fields.into_iter().chain([("drain", has_drain)]).chain(drain);
    fields.filter(|(_, is_given)| *is_given).map(|(field, _)| field).collect()
}

/// Why nothing can be listening at this address.
fn not_connectable(address: SocketAddr) -> Option<&'static str> {
    match address.ip().to_canonical() {
        _ if address.port() == 0 => Some("port 0 is no port; expected 1 to 65535"),
        ip if ip.is_unspecified() => Some("it means any address; expected the endpoint's own"),
        ip if ip.is_multicast() => Some("it is a multicast address"),
        _ => None,
    }
}
