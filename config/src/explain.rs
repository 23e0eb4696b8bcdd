//! The effective configuration as a file, with every default filled in.

use std::{
    collections::BTreeSet,
    fmt::{self, Write},
    path::Path,
};

use tidegate_core::{DrainSettings, Keepalive, RebalanceSettings, ServiceSettings};

use crate::{
    configuration::{Configuration, FlowLog, Kubernetes, PeerMembers, PeerTls, Peers, Source, Workers},
    deadline::{deadline_text, window_text},
    timespan::{display, display_or_none},
    words::Words as _,
};

impl Configuration {
    /// The configuration as YAML with every default filled in. Reading it again gives an equal configuration, and
    /// equal configurations give the same text.
    pub fn explain(&self) -> String {
        let mut text = String::new();
        // Writing to a String does not fail.
        let _ = self.write(&mut text);
        text
    }

    fn write(&self, out: &mut String) -> fmt::Result {
        writeln!(out, "apiVersion: tidegate.io/v1alpha1\nkind: ProxyConfiguration")?;
        match self.workers {
            Workers::Auto => writeln!(out, "workers: auto")?,
            Workers::Count(count) => writeln!(out, "workers: {count}")?,
        }
        if let Some(admin) = &self.admin {
            writeln!(out, "admin:\n  address: {}", quoted(&admin.address.to_string()))?;
            if let Some(path) = &admin.token_file {
                writeln!(out, "  tokenFile: {}", path_text(path))?;
            }
        }
        if let Some(address) = self.metrics {
            writeln!(out, "metrics:\n  address: {}", quoted(&address.to_string()))?;
        }
        if let Some(address) = self.gate {
            writeln!(out, "gate:\n  address: {}", quoted(&address.to_string()))?;
        }
        if let Some(peers) = &self.peers {
            writeln!(out, "peers: {}", peers_text(peers))?;
        }
        match &self.source {
            None => {}
            Some(Source::EndpointSliceDirectory(path)) => {
                writeln!(out, "source:\n  endpointSliceDirectory: {}", path_text(path))?;
            }
            Some(Source::Kubernetes(kubernetes)) => {
                writeln!(out, "source:\n  kubernetes: {}", kubernetes_text(kubernetes))?;
            }
        }
        if let Some(path) = &self.state_directory {
            writeln!(out, "stateDirectory: {}", path_text(path))?;
        }
        if let Some(handoff) = &self.handoff {
            writeln!(out, "handoff:\n  socket: {}", path_text(&handoff.socket))?;
            writeln!(out, "  timeout: {}", display(handoff.timeout))?;
            writeln!(out, "  linger: {}", display(handoff.linger))?;
            writeln!(out, "  afterwards: {}", handoff.afterwards.word())?;
            if let Some(path) = &handoff.probe_socket {
                writeln!(out, "  probeSocket: {}", path_text(path))?;
            }
        }
        self.write_node(out)?;
        writeln!(out, "shutdown:\n  delay: {}", display(self.shutdown.delay))?;
        writeln!(out, "  grace: {}", display_or_none(self.shutdown.grace))?;
        match self.flow_log {
            FlowLog::Off => writeln!(out, "flowLog:\n  mode: off")?,
            FlowLog::Sampled { every } => writeln!(out, "flowLog:\n  mode: sampled\n  sampleEvery: {every}")?,
            FlowLog::All => writeln!(out, "flowLog:\n  mode: all")?,
        }
        writeln!(out, "audit:")?;
        if let Some(file) = &self.audit.file {
            writeln!(out, "  file: {}", quoted(&file.to_string()))?;
        }
        writeln!(out, "  keep: {}", self.audit.keep)?;
        writeln!(out, "listeners:{}", if self.listeners.is_empty() { " []" } else { "" })?;
        for listener in &self.listeners {
            writeln!(out, "- name: {}", quoted(&listener.name))?;
            writeln!(out, "  address: {}", quoted(&listener.address.to_string()))?;
            writeln!(out, "  service: {}", listener.service.service)?;
            if let Some(port) = &listener.service.port {
                writeln!(out, "  port: {}", quoted(port))?;
            }
        }
        self.write_services(out)?;
        writeln!(out, "defaults:")?;
        write_settings(out, &self.defaults)
    }

    fn write_node(&self, out: &mut String) -> fmt::Result {
        if self.node.name.is_none() && self.node.zone.is_none() {
            return Ok(());
        }
        writeln!(out, "node:")?;
        for (field, value) in [("name", &self.node.name), ("zone", &self.node.zone)] {
            if let Some(value) = value {
                writeln!(out, "  {field}: {}", quoted(value))?;
            }
        }
        Ok(())
    }

    fn write_services(&self, out: &mut String) -> fmt::Result {
        writeln!(out, "services:{}", if self.services.is_empty() { " []" } else { "" })?;
        for service in &self.services {
            writeln!(out, "- name: {}", service.name)?;
            match &self.source {
                // What a Service of an API server says of itself comes before the defaults: only what the entry gives
                // is sure.
                Some(Source::Kubernetes(_)) => write_given(out, &service.settings, &service.given)?,
                _ => write_settings(out, &service.settings)?,
            }
            match service.fixed.as_deref() {
                None => {}
                Some([]) => writeln!(out, "  endpoints: []")?,
                Some(fixed) => {
                    writeln!(out, "  endpoints:")?;
                    for endpoint in fixed {
                        let address = quoted(&endpoint.address.to_string());
                        writeln!(out, "  - {{address: {address}, weight: {}}}", endpoint.weight)?;
                    }
                }
            }
        }
        Ok(())
    }
}

fn write_settings(out: &mut String, settings: &ServiceSettings) -> fmt::Result {
    writeln!(out, "  policy: {}", settings.policy.word())?;
    writeln!(out, "  connectTimeout: {}", display(settings.connect_timeout))?;
    writeln!(out, "  connectAttempts: {}", settings.connect_attempts)?;
    writeln!(out, "  idleTimeout: {}", display_or_none(settings.idle_timeout))?;
    writeln!(out, "  whenNoneReady: {}", settings.when_none_ready.word())?;
    writeln!(out, "  onRemoval: {}", settings.on_removal.word())?;
    writeln!(
        out,
        "  affinity:\n    clientIP:\n      timeout: {}",
        display_or_none(settings.affinity_timeout)
    )?;
    writeln!(out, "  keepalive:\n    enabled: {}", settings.keepalive.is_some())?;
    if let Some(Keepalive { idle, interval, probes }) = settings.keepalive {
        writeln!(out, "    idle: {}", display(idle))?;
        writeln!(out, "    interval: {}", display(interval))?;
        writeln!(out, "    probes: {probes}")?;
    }
    writeln!(out, "  userTimeout: {}", display_or_none(settings.user_timeout))?;
    writeln!(out, "  deadPeerTimeout: {}", display_or_none(settings.dead_peer_timeout))?;
    let DrainSettings { deadline, margin, window, quiet, max_per_second } = settings.drain;
    writeln!(out, "  drain:\n    deadline: {}", deadline_text(deadline))?;
    writeln!(out, "    margin: {}", display(margin))?;
    writeln!(out, "    window: {}", window_text(window))?;
    writeln!(out, "    quiet: {}", display(quiet))?;
    writeln!(out, "    maxPerSecond: {max_per_second}")?;
    writeln!(out, "  maxLifetime: {}", display_or_none(settings.lifetime.max))?;
    writeln!(out, "  maxLifetimeJitter: {}%", settings.lifetime.jitter)?;
    writeln!(out, "  rebalance:\n    enabled: {}", settings.rebalance.is_some())?;
    if let Some(RebalanceSettings { max_per_second, tolerance, delay }) = settings.rebalance {
        writeln!(out, "    maxPerSecond: {max_per_second}")?;
        writeln!(out, "    tolerance: {tolerance}%")?;
        writeln!(out, "    delay: {}", display(delay))?;
    }
    Ok(())
}

/// The settings of these names alone.
fn write_given(out: &mut String, settings: &ServiceSettings, given: &BTreeSet<&'static str>) -> fmt::Result {
    let mut all = String::new();
    write_settings(&mut all, settings)?;
    let mut is_given = false;
    for line in all.lines() {
        // Two spaces begin a setting; more of them go on with it.
        if let Some(field) = line.strip_prefix("  ").filter(|text| !text.starts_with(' ')) {
            is_given = field.split_once(':').is_some_and(|(field, _)| given.contains(field));
        }
        if is_given {
            writeln!(out, "{line}")?;
        }
    }
    Ok(())
}

/// As one line, which is also how a plan shows it.
pub(crate) fn kubernetes_text(kubernetes: &Kubernetes) -> String {
    let Kubernetes {
        kubeconfig,
        context,
        namespaces,
        load_balancer_class,
        addresses,
        own_service,
        early_drain,
        pod_events,
    } = kubernetes;
    let mut fields = Vec::new();
    fields.extend(kubeconfig.as_deref().map(|path| format!("kubeconfig: {}", path_text(path))));
    fields.extend(context.as_deref().map(|context| format!("context: {}", quoted(context))));
    if !namespaces.is_empty() {
        let names: Vec<_> = namespaces.iter().map(|name| quoted(name)).collect();
        fields.push(format!("namespaces: [{}]", names.join(", ")));
    }
    fields.push(format!("loadBalancerClass: {}", quoted(load_balancer_class.as_deref().unwrap_or("none"))));
    if !addresses.is_empty() {
        let texts = addresses.iter().map(|it| serde_json::Value::from(it.to_string()).to_string());
        fields.push(format!("addresses: [{}]", texts.collect::<Vec<_>>().join(", ")));
    }
    fields.extend(own_service.as_ref().map(|service| format!("ownService: {service}")));
    fields.push(format!("earlyDrain: {early_drain}"));
    fields.push(format!("podEvents: {pod_events}"));
    format!("{{{}}}", fields.join(", "))
}

/// As one line, which is also how a plan shows it.
pub(crate) fn peers_text(Peers { members, token_file, tls }: &Peers) -> String {
    let text = |text: String| serde_json::Value::from(text).to_string();
    let mut fields = Vec::new();
    match members {
        PeerMembers::Service(service) => fields.push(format!("service: {service}")),
        PeerMembers::Own => {}
        PeerMembers::Addresses(addresses) => {
            let texts: Vec<_> = addresses.iter().map(|address| text(address.to_string())).collect();
            fields.push(format!("addresses: [{}]", texts.join(", ")));
        }
    }
    fields.push(format!("tokenFile: {}", path_text(token_file)));
    if let Some(PeerTls { certificate_file, key_file, authority_file, server_name }) = tls {
        fields.push(format!(
            "tls: {{certificateFile: {}, keyFile: {}, authorityFile: {}, serverName: {}}}",
            path_text(certificate_file),
            path_text(key_file),
            path_text(authority_file),
            quoted(server_name),
        ));
    }
    format!("{{{}}}", fields.join(", "))
}

fn path_text(path: &Path) -> String {
    quoted(&path.to_string_lossy())
}

/// A text as YAML reads it back: bare where that is plain to see, else in the quotes of JSON, which YAML shares.
pub(crate) fn quoted(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '_' | '-' | ':');
    let begins_plain = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/')
        || (text.contains(':') && text.starts_with(|c: char| c.is_ascii_digit()));
    let is_word = matches!(
        text.to_ascii_lowercase().as_str(),
        "null" | "true" | "false" | "yes" | "no" | "on" | "off" | "y" | "n"
    );
    if begins_plain && !is_word && !text.ends_with(':') && text.chars().all(is_plain) {
        text.to_owned()
    } else {
        serde_json::Value::from(text).to_string()
    }
}

#[cfg(test)]
mod tests;
