//! The recorded watches of a real control plane, replayed into a table.
//!
//! After each event the eligible set is compared twice: with a rule so plain that it can be read at a glance, applied to
//! the raw JSON, and with a written timeline in `fixtures/expected`. To write the timelines anew (and then review
//! them), run the tests with `TIDEGATE_WRITE_EXPECTED=1`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use serde_json::Value;
use tidegate_core::{
    Event, Output, ServiceConfig, ServiceName, ServicePort, ServiceSettings, SliceName, Table, Timestamp,
};
use tidegate_files::slice::from_json;

/// The services of the recordings: the workload, and the control plane's own.
const SERVICES: [(&str, &str); 2] = [("web", "http"), ("kubernetes", "https")];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}

fn read(name: &str) -> String {
    let path = folder().join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn port(service: &str, port: &str) -> ServicePort {
    ServicePort { service: ServiceName::new("default", service), port: Some(port.into()) }
}

fn slice_name(object: &Value) -> SliceName {
    let text = |field: &str| object["metadata"][field].as_str().expect("metadata is complete").into();
    SliceName { namespace: text("namespace"), name: text("name") }
}

/// A replay: the table under test, and the raw objects beside it.
struct Replay {
    table: Table,
    raw: BTreeMap<String, Value>,
    eligible: BTreeMap<ServicePort, BTreeSet<SocketAddr>>,
    timeline: String,
    zone: Option<&'static str>,
}

impl Replay {
    /// A replay by a node in this zone.
    fn new(zone: Option<&'static str>) -> Self {
        let mut table = Table::new(1);
        let config = |(service, name)| ServiceConfig {
            port: port(service, name),
            settings: ServiceSettings::default(),
            fixed: None,
        };
        let configs = SERVICES.into_iter().map(config).collect();
        table.handle_event(Event::ServicesConfigured(configs), Timestamp::default());
        table.handle_event(Event::NodeIs { name: None, zone: zone.map(Into::into) }, Timestamp::default());
        while table.poll_output(Timestamp::default()).is_some() {}
        Self { table, raw: BTreeMap::new(), eligible: BTreeMap::new(), timeline: String::new(), zone }
    }

    /// A whole list takes the place of everything.
    fn list(&mut self, what: &str, items: &[Value]) {
        self.raw = items.iter().map(|item| (slice_name(item).to_string(), item.clone())).collect();
        let slices = items.iter().map(|item| from_json(item).expect("a slice")).collect();
        self.tell(what, Event::SlicesListed(slices));
    }

    /// One line of a watch. A bookmark changes nothing; neither does an error, which asks for a list instead.
    fn watch(&mut self, number: usize, line: &Value) {
        let object = &line["object"];
        let kind = line["type"].as_str().expect("a watch line has a type");
        match kind {
            "ADDED" | "MODIFIED" => {
                self.raw.insert(slice_name(object).to_string(), object.clone());
                let slice = from_json(object).expect("a slice");
                self.tell(&format!("{number} {kind} {}", slice.name.name), Event::SliceApplied(slice));
            }
            "DELETED" => {
                let name = slice_name(object);
                self.raw.remove(&name.to_string());
                self.tell(&format!("{number} {kind} {}", name.name), Event::SliceDeleted(name));
            }
            "BOOKMARK" | "ERROR" => {
                assert!(kind == "ERROR" || from_json(object).is_err(), "a bookmark's object is no slice");
                self.note(&format!("{number} {kind}"), &[]);
            }
            other => panic!("unknown type {other}"),
        }
    }

    fn tell(&mut self, what: &str, event: Event) {
        let before = self.table.generation();
        self.table.handle_event(event, Timestamp::default());
        let mut publishes = 0;
        while let Some(output) = self.table.poll_output(Timestamp::default()) {
            publishes += u64::from(matches!(output, Output::Publish(_)));
        }
        assert_eq!(self.table.generation() - before, publishes);
        let mut changed = Vec::new();
        for (service, name) in SERVICES {
            let port = port(service, name);
            let expected = eligible_by_rule(&self.raw, service, name, self.zone);
            assert_eq!(self.eligible_in_table(&port), expected, "{port} after {what}");
            if self.eligible.insert(port, expected.clone()).as_ref() != Some(&expected) {
                changed.push((service, expected));
            }
        }
        // The first list also ends the time before the sync, which has to be published.
        assert!(publishes == u64::from(!changed.is_empty()), "{what}: {publishes} publishes for {changed:?}");
        self.note(what, &changed);
    }

    fn note(&mut self, what: &str, changed: &[(&str, BTreeSet<SocketAddr>)]) {
        let _ = write!(self.timeline, "{what}:");
        if changed.is_empty() {
            let _ = write!(self.timeline, " as before");
        }
        for (service, eligible) in changed {
            let addresses: Vec<String> = eligible.iter().map(ToString::to_string).collect();
            let addresses = if addresses.is_empty() { "nobody".into() } else { addresses.join(" ") };
            let _ = write!(self.timeline, " {service} = {addresses};");
        }
        self.timeline.push('\n');
    }

    fn eligible_in_table(&self, port: &ServicePort) -> BTreeSet<SocketAddr> {
        let id = self.table.service_id(port).expect("it is configured");
        let service = self.table.snapshot().service(id).expect("it is published");
        let published: BTreeSet<SocketAddr> =
            service.endpoints().map(|endpoint| endpoint.address()).collect();
        let view = self.table.services().into_iter().find(|view| view.port == *port).expect("it has a view");
        let viewed = view.endpoints.iter().filter(|view| view.eligible).map(|view| view.endpoint.address());
        assert_eq!(viewed.collect::<BTreeSet<_>>(), published, "view and snapshot agree");
        published
    }

    fn finish(self, name: &str) {
        let path = folder().join("expected").join(format!("{name}.txt"));
        if std::env::var_os("TIDEGATE_WRITE_EXPECTED").is_some() {
            fs::write(&path, &self.timeline).expect("the timeline can be written");
        }
        let expected = fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(self.timeline, expected, "the timeline of {name} is not as reviewed");
    }
}

/// The plain rule: every address of a slice of the Service whose endpoint does not say that it is not ready; of those,
/// the ones hinted for this zone, if all are hinted and some for this zone.
fn eligible_by_rule(
    raw: &BTreeMap<String, Value>,
    service: &str,
    port: &str,
    zone: Option<&str>,
) -> BTreeSet<SocketAddr> {
    let mut ready = Vec::new();
    for slice in raw.values() {
        if slice["metadata"]["labels"]["kubernetes.io/service-name"] != service {
            continue;
        }
        let ports = slice["ports"].as_array().into_iter().flatten();
        for number in ports.filter(|known| known["name"] == port).filter_map(|known| known["port"].as_u64()) {
            for endpoint in slice["endpoints"].as_array().into_iter().flatten() {
                if endpoint["conditions"]["ready"] != false {
                    let address =
                        endpoint["addresses"][0].as_str().expect("an address").parse().expect("an IP");
                    let address = SocketAddr::new(address, u16::try_from(number).expect("a port"));
                    ready.push((address, endpoint["hints"]["forZones"].to_string()));
                }
            }
        }
    }
    let zone = zone.map(|zone| format!("{{\"name\":\"{zone}\"}}"));
    let is_near = |hints: &str| zone.as_ref().is_some_and(|zone| hints.contains(zone));
    let by_hints =
        ready.iter().all(|(_, hints)| hints != "null") && ready.iter().any(|(_, hints)| is_near(hints));
    let chosen = ready.iter().filter(|(_, hints)| !by_hints || is_near(hints));
    chosen.map(|(address, _)| *address).collect()
}

fn items(list: &str) -> Vec<Value> {
    let list: Value = serde_json::from_str(&read(list)).expect("a list is JSON");
    list["items"].as_array().expect("a list has items").clone()
}

fn lines(stream: &str) -> Vec<Value> {
    read(stream).lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect()
}

/// Replays a list and the watch that follows it.
fn replay(name: &str, list: &str, relist: Option<&str>) {
    let mut replay = Replay::new(None);
    replay.list("list", &items(list));
    for (line, number) in lines(&format!("endpointslice-{name}.jsonl")).iter().zip(1..) {
        replay.watch(number, line);
        if line["type"] == "ERROR" {
            let relist = relist.expect("an error is answered by a list");
            replay.list("relist", &items(relist));
        }
    }
    replay.finish(name);
}

macro_rules! replays {
    ($($(#[$doc:meta])* $test:ident: $name:literal, $list:literal, $relist:expr;)*) => {
        $($(#[$doc])* #[test] fn $test() { replay($name, $list, $relist); })*
    };
}

replays! {
    /// A new pod is ready before an old one terminates, so that three are eligible throughout.
    a_rollout: "rollout", "endpointslice-list.json", None;
    /// A12, S8: scaled to zero, the slice says `endpoints: null`.
    scale_to_zero: "scale-to-zero", "endpointslice-scale-to-zero-list.json", None;
    /// A20, A4: not ready and back three times; then `serving` flips while it terminates.
    a_readiness_flap: "readiness-flap", "endpointslice-readiness-flap-list.json", None;
    /// A17: an endpoint goes without having been seen terminating for long.
    a_force_delete: "force-delete", "endpointslice-force-delete-list.json", None;
    /// A process is killed three times: the same address, the same pod, never terminating.
    a_pod_crash: "pod-crash", "endpointslice-pod-crash-list.json", None;
    /// A16, A11: one port name with two numbers in two slices.
    a_named_port: "named-port", "endpointslice-named-port-list.json", None;
    /// A3, A15: ready while terminating; the Service is deleted and made again.
    service_changes: "service-changes", "endpointslice-service-changes-list.json", None;
    /// A19: hints come, go, and are absent on terminating endpoints.
    zone_hints: "zone-hints", "endpointslice-zone-hints-list.json", None;
    /// A8, A9: many slices, some of which come and go.
    many_slices: "many-slices", "endpointslice-many-slices-list.json", None;
    /// A node is lost: its endpoints turn not ready together and come back.
    a_lost_node: "node-lost", "endpointslice-node-lost-list.json", None;
    /// B1: the watch breaks with an error; a list goes on where it was.
    an_api_server_restart: "apiserver-restart", "endpointslice-apiserver-restart-list.json",
        Some("endpointslice-apiserver-restart-relist-after-2.json");
}

/// The same recording seen from one zone: hints choose while every ready endpoint has one, and are ignored else.
#[test]
fn zone_hints_in_a_zone() {
    let mut replay = Replay::new(Some("zone-a"));
    replay.list("list", &items("endpointslice-zone-hints-list.json"));
    for (line, number) in lines("endpointslice-zone-hints.jsonl").iter().zip(1..) {
        replay.watch(number, line);
    }
    replay.finish("zone-hints-in-zone-a");
}

/// B5: a watch that begins with the state as ADDED lines is a list once its bookmark says so.
#[test]
fn a_watch_list() {
    let mut replay = Replay::new(None);
    let mut initial = Vec::new();
    for (line, number) in lines("endpointslice-watchlist.jsonl").iter().zip(1..) {
        if line["type"] == "ADDED" {
            initial.push(line["object"].clone());
            continue;
        }
        let ends = &line["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"];
        assert_eq!(ends, "true", "line {number}");
        assert!(!replay.table.is_synced());
        replay.list("initial events", &initial);
        replay.watch(number, line);
    }
    assert!(replay.table.is_synced());
    replay.finish("watchlist");
}

/// A watch from the beginning gives the state as ADDED lines; applied to what a list gave, they change nothing (S9).
#[test]
fn a_watch_from_the_beginning() {
    let added = lines("endpointslice-watch-from-0.jsonl");
    let objects: Vec<Value> = added.iter().map(|line| line["object"].clone()).collect();
    let mut replay = Replay::new(None);
    replay.list("list", &objects);
    let generation = replay.table.generation();
    for (line, number) in added.iter().zip(1..) {
        replay.watch(number, line);
    }
    assert_eq!(replay.table.generation(), generation);
    replay.finish("watch-from-0");
}

/// Bookmarks and errors alone change nothing, though nobody answers them.
#[test]
fn bookmarks_and_errors_change_nothing() {
    let mut replay = Replay::new(None);
    replay.list("list", &items("endpointslice-list.json"));
    let generation = replay.table.generation();
    for stream in ["endpointslice-watch-idle.jsonl", "endpointslice-watch-expired.jsonl"] {
        for (line, number) in lines(stream).iter().zip(1..) {
            replay.watch(number, line);
        }
    }
    assert_eq!(replay.table.generation(), generation);
    let malformed: Value = serde_json::from_str(&read("endpointslice-watch-malformed.json")).expect("JSON");
    assert!(from_json(&malformed).is_err(), "a Status is no slice");
    replay.finish("watch-without-changes");
}

/// Every recording in the folder is replayed by a test above.
#[test]
fn every_recording_is_replayed() {
    let source = include_str!("fixtures.rs");
    let names = fs::read_dir(folder())
        .expect("the folder is there")
        .map(|entry| entry.expect("an entry").file_name());
    for name in names.map(|name| name.to_string_lossy().into_owned()) {
        let Some(stream) = name.strip_prefix("endpointslice-").and_then(|name| name.strip_suffix(".jsonl"))
        else {
            continue;
        };
        if stream.ends_with(".timeline") {
            continue; // for people
        }
        let named = [format!("\"{stream}\""), format!("\"{name}\"")].iter().any(|text| source.contains(text));
        assert!(named, "{name} is not replayed");
    }
}
