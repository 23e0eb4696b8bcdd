//! The slices as their source last showed them (S2), also those of services that nobody configured: a reload may.

use alloc::{
    boxed::Box,
    collections::{BTreeMap, BTreeSet},
    string::String,
    sync::Arc,
    vec::Vec,
};

use crate::{
    name::{PortName, ServiceName, SliceName},
    output::Notice,
    slice::{Slice, SliceEndpoint},
};

/// A slice, and when what it says arrived.
#[derive(Debug)]
pub(super) struct Arrived {
    pub(super) slice: Slice,
    /// For each endpoint, at which change of any slice this slice first had this pod at this address. A rewrite that
    /// leaves an endpoint as it was is no arrival.
    pub(super) arrivals: Box<[u64]>,
}

impl Arrived {
    /// A slice at the change with number `now`, in the place of `old`.
    pub(super) fn after(old: Option<&Self>, slice: Slice, now: u64) -> Self {
        let known: BTreeMap<_, u64> = old
            .into_iter()
            .flat_map(|old| old.slice.endpoints.iter().zip(&*old.arrivals))
            .map(|(endpoint, arrival)| ((endpoint.address, endpoint.pod_uid.as_ref()), *arrival))
            .collect();
        let arrival = |endpoint: &SliceEndpoint| {
            known.get(&(endpoint.address, endpoint.pod_uid.as_ref())).copied().unwrap_or(now)
        };
        let arrivals = slice.endpoints.iter().map(arrival).collect();
        Self { slice, arrivals }
    }
}

/// All slices, by name and by Service.
#[derive(Debug, Default)]
pub(super) struct Slices {
    by_name: BTreeMap<SliceName, Arc<Arrived>>,
    services: BTreeMap<ServiceName, ServiceSlices>,
}

/// The slices of one Service.
#[derive(Debug, Default)]
pub(super) struct ServiceSlices {
    names: BTreeSet<SliceName>,
    /// How many slices have a port of this name.
    ports: BTreeMap<PortName, usize>,
}

/// The name that a service without a port name stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum OnlyPort {
    /// No slice has a port.
    None,
    /// All slices agree.
    One(PortName),
    /// They do not.
    Many,
}

impl Slices {
    /// Replaces a slice and returns the one it replaces.
    pub(super) fn replace(&mut self, name: &SliceName, with: Option<Arc<Arrived>>) -> Option<Arc<Arrived>> {
        let old = self.by_name.remove(name);
        if let Some(service) = old.as_ref().and_then(|old| joined(&old.slice)) {
            let empty = self.services.get_mut(service).is_some_and(|slices| {
                slices.remove(name, old.as_ref().map(|old| &old.slice));
                slices.names.is_empty()
            });
            if empty {
                self.services.remove(service);
            }
        }
        if let Some(new) = with {
            if let Some(service) = joined(&new.slice) {
                self.services.entry(service.clone()).or_default().add(&new.slice);
            }
            self.by_name.insert(name.clone(), new);
        }
        old
    }

    pub(super) fn get(&self, name: &SliceName) -> Option<&Arc<Arrived>> {
        self.by_name.get(name)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &SliceName> {
        self.by_name.keys()
    }

    pub(super) fn len(&self) -> usize {
        self.by_name.len()
    }

    /// The slices of a Service.
    pub(super) fn of(&self, service: &ServiceName) -> impl Iterator<Item = &Arc<Arrived>> {
        let names = self.services.get(service).into_iter().flat_map(|slices| &slices.names);
        names.filter_map(|name| self.by_name.get(name))
    }

    pub(super) fn has_any(&self, service: &ServiceName) -> bool {
        self.services.contains_key(service)
    }

    /// The port that a service without a port name stands for.
    pub(super) fn only_port(&self, service: &ServiceName) -> OnlyPort {
        let Some(slices) = self.services.get(service) else { return OnlyPort::None };
        let mut names = slices.ports.keys();
        match (names.next(), names.next()) {
            (None, _) => OnlyPort::None,
            (Some(name), None) => OnlyPort::One(Arc::clone(name)),
            (Some(_), Some(_)) => OnlyPort::Many,
        }
    }

    pub(super) fn has_port(&self, service: &ServiceName, port: &PortName) -> bool {
        self.services.get(service).is_some_and(|slices| slices.ports.contains_key(port))
    }

    /// The names of a Service's ports, joined with commas.
    pub(super) fn ports(&self, service: &ServiceName) -> String {
        let names = self.services.get(service).into_iter().flat_map(|slices| slices.ports.keys());
        names.map(|name| &**name).collect::<Vec<_>>().join(",")
    }
}

impl ServiceSlices {
    fn add(&mut self, slice: &Slice) {
        self.names.insert(slice.name.clone());
        for name in port_names(slice) {
            *self.ports.entry(Arc::clone(name)).or_default() += 1;
        }
    }

    fn remove(&mut self, name: &SliceName, slice: Option<&Slice>) {
        self.names.remove(name);
        for name in slice.into_iter().flat_map(port_names) {
            if let Some(count) = self.ports.get_mut(name) {
                *count = count.saturating_sub(1);
                if *count == 0 {
                    self.ports.remove(name);
                }
            }
        }
    }
}

fn port_names(slice: &Slice) -> BTreeSet<&PortName> {
    slice.ports.iter().filter(|port| port.number != 0).map(|port| &port.name).collect()
}

/// The Service a slice is joined to, if it is used at all (S1, S6).
pub(super) fn joined(slice: &Slice) -> Option<&ServiceName> {
    slice.service.as_ref().filter(|_| !slice.is_fqdn)
}

/// What of a slice is not used, where that differs from what was said of it before.
pub(super) fn ignored(old: Option<&Slice>, new: &Slice) -> Vec<Notice> {
    let before = old.map(ignored_parts).unwrap_or_default();
    let differs = |(at, part): &(usize, (&'static str, u32))| part.1 != 0 && before.get(*at) != Some(part);
    let notice = |(_, (why, count))| Notice::SliceIgnored { slice: new.name.clone(), why, count };
    ignored_parts(new).into_iter().enumerate().filter(differs).map(notice).collect()
}

fn ignored_parts(slice: &Slice) -> [(&'static str, u32); 4] {
    let whole =
        |is: bool| if is { u32::try_from(slice.endpoints.len()).unwrap_or(u32::MAX).max(1) } else { 0 };
    [
        ("it has no label kubernetes.io/service-name", whole(slice.service.is_none())),
        ("its endpoints are domain names (addressType FQDN)", whole(slice.is_fqdn)),
        ("ports that are not TCP or have no number", slice.ignored_ports),
        ("endpoints without a usable address", slice.ignored_endpoints),
    ]
}
