//! Which services are wanted, and how their slices reach them.
//!
//! A service that is given up keeps its slot and its join while flows are left on its endpoints: its pods can still
//! vanish, and it may be wanted again.

use alloc::{collections::BTreeMap, sync::Arc, vec::Vec};

use super::{
    Table,
    join::Join,
    service::Service,
    slices::{Arrived, OnlyPort, Slices},
    source::Source,
    touch::Touch,
};
use crate::{
    event::{FixedEndpoint, ServiceConfig},
    name::{PortName, ServiceName, ServicePort},
    output::{Notice, Output},
    snapshot::ServiceId,
};

impl Table {
    /// Takes the complete list of wanted services.
    pub(super) fn configure(&mut self, wanted: Vec<ServiceConfig>) {
        let wanted: BTreeMap<ServicePort, ServiceConfig> =
            wanted.into_iter().map(|config| (config.port.clone(), config)).collect();
        for (port, service) in &mut self.services {
            if service.configured && !wanted.contains_key(port) {
                service.configured = false;
                self.touched.entry(port.clone()).or_default().reload = true;
            }
        }
        for (port, config) in wanted {
            self.configure_one(&port, config);
            self.notice_shadow(&port.service);
        }
        let services = &self.services;
        let is_fixed = |name: &ServiceName| {
            services
                .values()
                .any(|service| service.configured && service.is_fixed() && service.port.service == *name)
        };
        self.shadowed.retain(is_fixed);
    }

    fn configure_one(&mut self, port: &ServicePort, config: ServiceConfig) {
        let Some(service) = self.services.get_mut(port) else {
            let next = ServiceId(u32::try_from(self.slots.len()).unwrap_or(u32::MAX));
            let slot = *self.slots.entry(port.clone()).or_insert(next);
            let source = Source::of(port, config.fixed, &self.slices);
            let mut service = Service::new(port.clone(), slot, Arc::new(config.settings), source);
            service.ambiguous = is_ambiguous(&service, &self.slices);
            self.services.insert(port.clone(), service);
            self.touched.entry(port.clone()).or_default().everything();
            return;
        };
        let mut touch = Touch::default();
        if *service.settings != config.settings {
            service.settings = Arc::new(config.settings);
            touch.choice = true;
        }
        if !service.configured {
            service.configured = true;
            touch.everything();
        }
        let same_source = match (&service.source, &config.fixed) {
            (Source::Slices { .. }, None) => true,
            (Source::Fixed { list, .. }, Some(wanted)) => list == wanted,
            (Source::Slices { .. }, Some(_)) | (Source::Fixed { .. }, None) => false,
        };
        if !same_source {
            service.source = Source::of(port, config.fixed, &self.slices);
            service.ambiguous = is_ambiguous(service, &self.slices);
            touch.everything();
            touch.reload = true;
        }
        if touch.choice {
            self.touched.entry(port.clone()).or_default().merge(touch);
        }
    }

    /// Lets every service of this name know that one of its slices has changed, has come or has gone.
    pub(super) fn join(
        &mut self,
        name: &ServiceName,
        old: Option<&Arc<Arrived>>,
        new: Option<&Arc<Arrived>>,
    ) {
        let first = ServicePort { service: name.clone(), port: None };
        for (port, service) in self.services.range_mut(first..).take_while(|(port, _)| port.service == *name)
        {
            let ambiguous = is_ambiguous(service, &self.slices);
            let Source::Slices { port: joined, join } = &mut service.source else { continue };
            let touch = self.touched.entry(port.clone()).or_default();
            if let (Some(old), Some(joined)) = (old, &*joined) {
                touch.note_terminating(&service.present, &old.slice, joined);
            }
            let wanted = port_to_join(port, &self.slices, joined.as_ref());
            if *joined == wanted {
                if let Some(joined) = &*joined {
                    let keys = join.replace(old.map(|old| &old.slice), new, joined);
                    touch.keys.extend(keys);
                }
            } else {
                *join = join_of(name, wanted.as_ref(), &self.slices);
                *joined = wanted;
                touch.everything();
            }
            if service.ambiguous != ambiguous {
                service.ambiguous = ambiguous;
                touch.choice = true;
            }
        }
        self.notice_shadow(name);
    }

    /// Says once that a service has a fixed list and slices too.
    fn notice_shadow(&mut self, name: &ServiceName) {
        if !self.slices.has_any(name) || self.shadowed.contains(name) {
            return;
        }
        let first = ServicePort { service: name.clone(), port: None };
        let mut services = self.services.range(first..).take_while(|(port, _)| port.service == *name);
        if services.any(|(_, service)| service.configured && service.is_fixed()) {
            self.shadowed.insert(name.clone());
            self.outputs.push_back(Output::Notice(Notice::SlicesShadowed { service: name.clone() }));
        }
    }
}

impl Source {
    pub(super) fn of(port: &ServicePort, fixed: Option<Vec<FixedEndpoint>>, slices: &Slices) -> Self {
        match fixed {
            Some(list) => Self::fixed(list),
            None => {
                let joined = port_to_join(port, slices, None);
                Self::Slices { join: join_of(&port.service, joined.as_ref(), slices), port: joined }
            }
        }
    }
}

fn join_of(name: &ServiceName, port: Option<&PortName>, slices: &Slices) -> Join {
    port.map_or_else(Join::default, |port| Join::of(slices.of(name), port))
}

/// The name to join by. Where a listener leaves it out and there are several, it stays what it was: the endpoints
/// that are known stay known, though none of them is eligible, and their flows are still watched.
fn port_to_join(port: &ServicePort, slices: &Slices, joined: Option<&PortName>) -> Option<PortName> {
    if let Some(name) = &port.port {
        return Some(Arc::clone(name));
    }
    match slices.only_port(&port.service) {
        OnlyPort::One(name) => Some(name),
        OnlyPort::None => joined.cloned(),
        OnlyPort::Many => joined.filter(|joined| slices.has_port(&port.service, joined)).cloned(),
    }
}

fn is_ambiguous(service: &Service, slices: &Slices) -> bool {
    !service.is_fixed()
        && service.port.port.is_none()
        && slices.only_port(&service.port.service) == OnlyPort::Many
}
