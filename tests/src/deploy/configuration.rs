//! The configuration in the ConfigMap is one that the proxy accepts, and probes, ports and times follow from it.

use serde_json::{Value, json};
use tidegate_config::{AdminAddress, Configuration};

use super::{
    at,
    base::{container, pod},
    object,
    tools::kustomize,
};

/// Seconds between the end of `shutdown` and SIGKILL: for closing listeners and for cutting what is left.
const MARGIN: u64 = 15;

/// The configuration of a ConfigMap, as the proxy reads it.
fn configuration(objects: &[Value]) -> Configuration {
    let text = at(object(objects, "ConfigMap tidegate"), "/data/tidegate.yaml").as_str().expect("text");
    let loaded = tidegate_config::parse(text, "/etc/tidegate/tidegate.yaml");
    let loaded = loaded.unwrap_or_else(|error| panic!("{error}"));
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    loaded.configuration
}

#[test]
fn the_configuration_is_accepted_and_the_ports_agree() {
    let Some(objects) = kustomize("kubernetes") else { return };
    let configuration = configuration(&objects);
    let Some(AdminAddress::Tcp(admin)) = configuration.admin.map(|admin| admin.address) else {
        panic!("the kubelet asks a TCP port")
    };
    assert!(admin.ip().is_loopback(), "probes need no token on loopback alone");
    for (probe, path) in [("startup", "/livez"), ("liveness", "/livez"), ("readiness", "/readyz")] {
        let get = at(container(&objects), &format!("/{probe}Probe/httpGet"));
        assert_eq!(*get, json!({"host": admin.ip(), "port": admin.port(), "path": path}), "{probe}");
    }
    let metrics = configuration.metrics.expect("there is an address for scrapers").port();
    let ports = at(object(&objects, "Service tidegate"), "/spec/ports");
    assert_eq!(
        *ports,
        json!([{"name": "metrics", "port": metrics, "targetPort": metrics, "protocol": "TCP"}]),
        "a slice without a port says that there are no endpoints"
    );
    let state = configuration.state_directory.expect("drains of operators are kept");
    let mounts = at(container(&objects), "/volumeMounts").as_array().expect("a list");
    assert!(mounts.iter().any(|mount| mount["mountPath"] == *state.to_str().expect("UTF-8")));
    let file = container(&objects)["args"][1].as_str().expect("the second argument");
    assert_eq!(file, "--config=/etc/tidegate/tidegate.yaml");
    assert!(mounts.iter().all(|mount| mount.get("subPath").is_none()), "a file by subPath never changes");
}

#[test]
fn flows_have_the_time_that_the_configuration_gives_them() {
    let Some(objects) = kustomize("kubernetes") else { return };
    let shutdown = configuration(&objects).shutdown;
    let grace = shutdown.grace.expect("the kubelet does not wait for ever").as_secs();
    let seconds = at(pod(&objects), "/terminationGracePeriodSeconds").as_u64().expect("a number");
    assert_eq!(seconds, shutdown.delay.as_secs() + grace + MARGIN, "the kubelet kills what takes longer");
    assert!(container(&objects).get("lifecycle").is_none(), "a preStop hook would use up the time");
}
