//! Of a Service, what listeners, settings and status need.

use std::{borrow::Cow, collections::BTreeMap, net::IpAddr, sync::Arc, time::Duration};

use serde::Deserialize;
use serde_json::{Value, value::RawValue};
use tidegate_core::{PortName, SourceRange, SourceRanges};

use crate::{follow::Read, intern::Intern, meta::Key};

/// A Service as far as it is kept.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Service {
    /// `metadata.uid`, for Events.
    pub(crate) uid: Arc<str>,
    /// `metadata.creationTimestamp`; such texts sort by time.
    pub(crate) created: Arc<str>,
    /// It is being deleted.
    pub(crate) deleting: bool,
    /// `type: LoadBalancer`.
    pub(crate) load_balancer: bool,
    /// `spec.loadBalancerClass`.
    pub(crate) class: Option<Arc<str>>,
    /// `spec.ipFamilies`: whether IPv4, whether IPv6.
    pub(crate) families: (bool, bool),
    pub(crate) ports: Vec<Port>,
    /// `externalTrafficPolicy: Local`.
    pub(crate) external_local: bool,
    /// `internalTrafficPolicy: Local`.
    pub(crate) internal_local: bool,
    /// `sessionAffinity: ClientIP`, with its timeout.
    pub(crate) affinity: Option<Duration>,
    /// `spec.loadBalancerSourceRanges`, as written.
    pub(crate) ranges: Vec<String>,
    /// Annotations that begin with `tidegate.io/`, without that.
    pub(crate) overrides: Vec<(String, String)>,
    /// `status.loadBalancer`, as it is.
    pub(crate) status: Value,
}

/// A port of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Port {
    pub(crate) name: PortName,
    pub(crate) number: u16,
    pub(crate) is_tcp: bool,
    pub(crate) protocol: Arc<str>,
}

/// Beginning of the annotations that are Tidegate's.
const PREFIX: &str = "tidegate.io/";

/// Kubernetes' own default: three hours.
const AFFINITY: Duration = Duration::from_secs(10_800);

#[derive(Deserialize)]
struct Object<'a> {
    #[serde(borrow)]
    metadata: Metadata<'a>,
    #[serde(borrow, default)]
    spec: Spec<'a>,
    #[serde(default)]
    status: Option<Status>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Metadata<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    namespace: Cow<'a, str>,
    #[serde(borrow)]
    resource_version: Cow<'a, str>,
    #[serde(borrow)]
    uid: Cow<'a, str>,
    #[serde(borrow)]
    creation_timestamp: Option<Cow<'a, str>>,
    #[serde(borrow)]
    deletion_timestamp: Option<&'a RawValue>,
    #[serde(borrow)]
    annotations: Option<BTreeMap<Cow<'a, str>, Cow<'a, str>>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Spec<'a> {
    #[serde(rename = "type", borrow)]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow)]
    load_balancer_class: Option<Cow<'a, str>>,
    ip_families: Option<Vec<String>>,
    #[serde(borrow)]
    ports: Option<Vec<SpecPort<'a>>>,
    #[serde(borrow)]
    external_traffic_policy: Option<Cow<'a, str>>,
    #[serde(borrow)]
    internal_traffic_policy: Option<Cow<'a, str>>,
    #[serde(borrow)]
    session_affinity: Option<Cow<'a, str>>,
    session_affinity_config: Option<AffinityConfig>,
    load_balancer_source_ranges: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct SpecPort<'a> {
    #[serde(borrow, default)]
    name: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    protocol: Option<Cow<'a, str>>,
    port: i64,
}

#[derive(Deserialize)]
struct AffinityConfig {
    #[serde(rename = "clientIP")]
    client_ip: Option<ClientIp>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ClientIp {
    timeout_seconds: Option<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    load_balancer: Option<Value>,
}

/// A Service from its JSON.
///
/// # Errors
///
/// Why it is none, in words.
pub(crate) fn read(json: &str, intern: &mut Intern) -> Result<Read<Service>, String> {
    let Object { metadata, spec, status } = serde_json::from_str(json).map_err(|error| error.to_string())?;
    if metadata.name.is_empty() {
        return Err("it has no name".to_owned());
    }
    let key = Key { namespace: intern.get(&metadata.namespace), name: (*metadata.name).into() };
    let is = |text: &Option<Cow<'_, str>>, word: &str| text.as_deref() == Some(word);
    let families = spec.ip_families.unwrap_or_default();
    let has = |family: &str| families.iter().any(|it| it == family);
    let mut port = |port: SpecPort<'_>| {
        let protocol = port.protocol.as_deref().unwrap_or("TCP");
        let number = u16::try_from(port.port).ok().filter(|number| *number > 0)?;
        Some(Port {
            name: intern.get(port.name.as_deref().unwrap_or_default()),
            number,
            is_tcp: protocol == "TCP",
            protocol: intern.get(protocol),
        })
    };
    let ports = spec.ports.into_iter().flatten().filter_map(&mut port).collect();
    let timeout = spec.session_affinity_config.and_then(|config| config.client_ip?.timeout_seconds);
    let overrides = metadata
        .annotations
        .into_iter()
        .flatten()
        .filter_map(|(name, value)| Some((name.strip_prefix(PREFIX)?.to_owned(), value.into_owned())));
    let service = Service {
        uid: (*metadata.uid).into(),
        created: metadata.creation_timestamp.as_deref().unwrap_or_default().into(),
        deleting: metadata.deletion_timestamp.is_some_and(|timestamp| timestamp.get() != "null"),
        load_balancer: is(&spec.kind, "LoadBalancer"),
        class: spec.load_balancer_class.as_deref().map(|class| intern.get(class)),
        // An object that says nothing of families is of a server before 1.20, which had IPv4 unless told otherwise.
        families: (has("IPv4") || families.is_empty(), has("IPv6")),
        ports,
        external_local: is(&spec.external_traffic_policy, "Local"),
        internal_local: is(&spec.internal_traffic_policy, "Local"),
        affinity: is(&spec.session_affinity, "ClientIP")
            .then(|| timeout.map_or(AFFINITY, |seconds| Duration::from_secs(seconds.clamp(1, 86_400)))),
        ranges: spec.load_balancer_source_ranges.unwrap_or_default(),
        overrides: overrides.collect(),
        status: status.and_then(|status| status.load_balancer).unwrap_or_default(),
    };
    Ok(Read { key, version: metadata.resource_version.into_owned(), object: service })
}

impl Service {
    /// Whether it is for load balancers of this class to serve (A24).
    pub(crate) fn is_of(&self, class: &str) -> bool {
        self.load_balancer && !self.deleting && self.class.as_deref() == Some(class)
    }

    /// The families, as addresses have them.
    pub(crate) fn has_family_of(&self, address: IpAddr) -> bool {
        if address.is_ipv4() { self.families.0 } else { self.families.1 }
    }

    /// The clients that it takes, and the texts that are no ranges. Where all of them are none, nobody is taken: there
    /// was to be a limit.
    pub(crate) fn source_ranges(&self) -> (Option<SourceRanges>, Vec<String>) {
        let texts = self.ranges.iter().filter(|text| !text.trim().is_empty());
        let (mut ranges, mut invalid) = (Vec::new(), Vec::new());
        for text in texts {
            match text.parse::<SourceRange>() {
                Ok(range) => ranges.push(range),
                Err(error) => invalid.push(error.to_string()),
            }
        }
        match (ranges.is_empty(), invalid.is_empty()) {
            (true, true) => (None, invalid),
            (true, false) => (Some(SourceRanges::nobody()), invalid),
            (false, _) => (Some(SourceRanges::of(ranges)), invalid),
        }
    }
}
