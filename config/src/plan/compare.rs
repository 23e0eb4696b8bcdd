//! Comparing two configurations.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
};

use tidegate_core::{DrainSettings, FixedEndpoint, ServiceName, ServiceSettings};

use super::{Change, NeedsRestart, Plan};
use crate::{
    configuration::{Configuration, FlowLog, Handoff, Listener, Service, Source, Workers},
    deadline::{deadline_text, window_text},
    explain::{kubernetes_text, peers_text},
    timespan::{display, display_or_none},
    words::Words as _,
};

/// What a reload from `old` to `new` would do.
pub fn plan(old: &Configuration, new: &Configuration) -> Plan {
    let mut plan = Plan { changes: Vec::new(), needs_restart: needs_restart(old, new) };
    plan.listeners(&old.listeners, &new.listeners);
    plan.services(&old.services, &new.services);
    plan.settings(old, new);
    plan
}

fn needs_restart(old: &Configuration, new: &Configuration) -> Vec<NeedsRestart> {
    let workers = |it: &Configuration| match it.workers {
        Workers::Auto => "auto".to_owned(),
        Workers::Count(count) => count.to_string(),
    };
    let text = |value: Option<String>| value.unwrap_or_else(|| "none".to_owned());
    let path = |path: Option<&std::path::PathBuf>| text(path.map(|path| path.display().to_string()));
    type Of<'a> = Box<dyn Fn(&Configuration) -> String + 'a>;
    let fields: [(&'static str, Of<'_>, &'static str); 10] = [
        ("workers", Box::new(workers), "each worker owns its flows and its part of every listener"),
        (
            "admin.address",
            Box::new(|it| text(it.admin.as_ref().map(|admin| admin.address.to_string()))),
            "whoever watches the proxy would lose it",
        ),
        (
            "admin.tokenFile",
            Box::new(|it| path(it.admin.as_ref().and_then(|admin| admin.token_file.as_ref()))),
            "who may ask is settled when the admin API starts",
        ),
        (
            "metrics.address",
            Box::new(|it| text(it.metrics.map(|address| address.to_string()))),
            "whoever watches the proxy would lose it",
        ),
        (
            "gate.address",
            Box::new(|it| text(it.gate.map(|address| address.to_string()))),
            "pods that wait there would be let go",
        ),
        (
            "peers",
            Box::new(|it| text(it.peers.as_ref().map(peers_text))),
            "gates that wait ask the instances they began with",
        ),
        (
            "stateDirectory",
            Box::new(|it| path(it.state_directory.as_ref())),
            "what it keeps was read at the start",
        ),
        (
            "handoff",
            Box::new(|it| {
                text(it.handoff.as_ref().map(|Handoff { socket, timeout, linger, afterwards, probe_socket }| {
                    let (socket, timeout, linger) = (socket.display(), display(*timeout), display(*linger));
                    let (afterwards, probe) = (afterwards.word(), path(probe_socket.as_ref()));
                    format!(
                        "{{socket: {socket}, timeout: {timeout}, linger: {linger}, afterwards: {afterwards}, \
                         probeSocket: {probe}}}"
                    )
                }))
            }),
            "the next successor looks for the socket of this process",
        ),
        (
            "source.endpointSliceDirectory",
            Box::new(|it| match &it.source {
                Some(Source::EndpointSliceDirectory(directory)) => path(Some(directory)),
                _ => "none".to_owned(),
            }),
            "endpoints of two directories would be taken for one another; swap a symbolic link instead",
        ),
        (
            "source.kubernetes",
            Box::new(|it| match &it.source {
                Some(Source::Kubernetes(kubernetes)) => kubernetes_text(kubernetes),
                _ => "none".to_owned(),
            }),
            "endpoints of two API servers would be taken for one another",
        ),
    ];
    let mut refusals = Vec::new();
    for (field, value, reason) in fields {
        let (from, to) = (value(old), value(new));
        if from != to {
            refusals.push(NeedsRestart { field, from, to, reason });
        }
    }
    refusals
}

impl Plan {
    fn listeners(&mut self, old: &[Listener], new: &[Listener]) {
        let named = |list: &[Listener], name: &str| list.iter().any(|listener| &*listener.name == name);
        let mut renamed = BTreeSet::new();
        for listener in new {
            let same_name = old.iter().find(|it| it.name == listener.name);
            let same_address =
                || old.iter().find(|it| it.address == listener.address && !named(new, &it.name));
            let before = match same_name {
                Some(before) => before,
                None => match same_address().filter(|it| it.address.port() != 0) {
                    None => {
                        self.changes.push(Change::ListenerAdded(listener.clone()));
                        continue;
                    }
                    Some(before) => {
                        renamed.insert(Arc::clone(&before.name));
                        self.changes.push(Change::ListenerRenamed {
                            from: Arc::clone(&before.name),
                            to: Arc::clone(&listener.name),
                            address: listener.address,
                        });
                        before
                    }
                },
            };
            let name = || Arc::clone(&listener.name);
            if before.address != listener.address {
                self.changes.push(Change::ListenerMoved {
                    name: name(),
                    from: before.address,
                    to: listener.address,
                });
            }
            if before.service != listener.service {
                self.changes.push(Change::ListenerRetargeted {
                    name: name(),
                    from: before.service.clone(),
                    to: listener.service.clone(),
                });
            }
        }
        let is_gone = |it: &&Listener| !named(new, &it.name) && !renamed.contains(&it.name);
        self.changes.extend(old.iter().filter(is_gone).cloned().map(Change::ListenerRemoved));
    }

    fn services(&mut self, old: &[Service], new: &[Service]) {
        for service in new {
            let name = &service.name;
            let Some(before) = old.iter().find(|it| it.name == *name) else {
                self.changes.push(Change::ServiceAdded(name.clone()));
                continue;
            };
            let pairs = setting_texts(&before.settings).into_iter().zip(setting_texts(&service.settings));
            for ((setting, from), (_, to)) in pairs.filter(|(from, to)| from != to) {
                self.changes.push(Change::ServiceSettingChanged { service: name.clone(), setting, from, to });
            }
            match (&before.fixed, &service.fixed) {
                (None, None) => {}
                (None, Some(list)) => {
                    self.changes.push(Change::EndpointsFixed { service: name.clone(), count: list.len() });
                }
                (Some(_), None) => self.changes.push(Change::EndpointsFollowed(name.clone())),
                (Some(from), Some(to)) => self.endpoints(name, from, to),
            }
        }
        let is_gone = |it: &&Service| new.iter().all(|service| service.name != it.name);
        self.changes.extend(old.iter().filter(is_gone).map(|it| Change::ServiceRemoved(it.name.clone())));
    }

    fn endpoints(&mut self, service: &ServiceName, old: &[FixedEndpoint], new: &[FixedEndpoint]) {
        let weights = |list: &[FixedEndpoint]| -> BTreeMap<SocketAddr, u16> {
            list.iter().map(|it| (it.address, it.weight)).collect()
        };
        let (before, after) = (weights(old), weights(new));
        let added: Vec<_> = new.iter().filter(|it| !before.contains_key(&it.address)).copied().collect();
        let removed: Vec<_> = old.iter().filter(|it| !after.contains_key(&it.address)).copied().collect();
        let reweighted: Vec<_> = new
            .iter()
            .filter_map(|it| {
                before.get(&it.address).filter(|weight| **weight != it.weight).map(|weight| (*weight, *it))
            })
            .collect();
        if !(added.is_empty() && removed.is_empty() && reweighted.is_empty()) {
            let service = service.clone();
            self.changes.push(Change::EndpointsChanged { service, added, removed, reweighted });
        }
    }

    /// What belongs to no listener and no service. `defaults` show in the services.
    fn settings(&mut self, old: &Configuration, new: &Configuration) {
        let name = |name: &Option<Arc<str>>| name.as_deref().unwrap_or("none").to_owned();
        let flow_log = |log: FlowLog| match log {
            FlowLog::Off => "off".to_owned(),
            FlowLog::Sampled { every } => format!("sampled (1 of {every})"),
            FlowLog::All => "all".to_owned(),
        };
        let texts = |it: &Configuration| {
            [
                ("node.name", name(&it.node.name)),
                ("node.zone", name(&it.node.zone)),
                ("shutdown.delay", display(it.shutdown.delay)),
                ("shutdown.grace", display_or_none(it.shutdown.grace)),
                ("flowLog.mode", flow_log(it.flow_log)),
                ("audit.file", it.audit.file.as_ref().map_or_else(|| "none".to_owned(), ToString::to_string)),
                ("audit.keep", it.audit.keep.to_string()),
            ]
        };
        for ((setting, from), (_, to)) in texts(old).into_iter().zip(texts(new)) {
            if from != to {
                self.changes.push(Change::SettingChanged { setting, from, to });
            }
        }
    }
}

/// Every setting of a service by its name in the file, with its value as in the file.
fn setting_texts(settings: &ServiceSettings) -> [(&'static str, String); 14] {
    let ServiceSettings {
        policy,
        when_none_ready,
        on_removal,
        connect_timeout,
        connect_attempts,
        idle_timeout,
        affinity_timeout,
        keepalive,
        user_timeout,
        dead_peer_timeout,
        drain,
        lifetime,
        rebalance,
        local_only: _,
        source_ranges: _,
    } = settings;
    let DrainSettings { deadline, margin, window, quiet, max_per_second } = *drain;
    let drain = format!(
        "(deadline {}, margin {}, window {}, quiet {}, maxPerSecond {max_per_second})",
        deadline_text(deadline),
        display(margin),
        window_text(window),
        display(quiet),
    );
    let rebalance = match rebalance {
        None => "off".to_owned(),
        Some(it) => format!(
            "(maxPerSecond {}, tolerance {}%, delay {})",
            it.max_per_second,
            it.tolerance,
            display(it.delay)
        ),
    };
    let keepalive = match keepalive {
        None => "off".to_owned(),
        Some(it) => {
            format!("(idle {}, interval {}, probes {})", display(it.idle), display(it.interval), it.probes)
        }
    };
    [
        ("policy", policy.word().to_owned()),
        ("connectTimeout", display(*connect_timeout)),
        ("connectAttempts", connect_attempts.to_string()),
        ("idleTimeout", display_or_none(*idle_timeout)),
        ("whenNoneReady", when_none_ready.word().to_owned()),
        ("onRemoval", on_removal.word().to_owned()),
        ("affinity.clientIP.timeout", display_or_none(*affinity_timeout)),
        ("keepalive", keepalive),
        ("userTimeout", display_or_none(*user_timeout)),
        ("deadPeerTimeout", display_or_none(*dead_peer_timeout)),
        ("drain", drain),
        ("maxLifetime", display_or_none(lifetime.max)),
        ("maxLifetimeJitter", format!("{}%", lifetime.jitter)),
        ("rebalance", rebalance),
    ]
}
