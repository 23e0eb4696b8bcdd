//! The configuration in the ConfigMap is one that the proxy accepts, and ports and times follow from it.

use serde_json::{Value, json};
use tidegate_config::{AdminAddress, Configuration};

use super::base::{container, pod};
use crate::manifests::{at, documents, kustomize, object, read};

/// Seconds between the end of `shutdown` and SIGKILL: for closing listeners and for cutting what is left.
const MARGIN: u64 = 15;

/// The configuration of a ConfigMap, as the proxy reads it.
pub(super) fn configuration(objects: &[Value]) -> Configuration {
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
        panic!("`kubectl exec` finds it without being told where")
    };
    assert!(admin.ip().is_loopback(), "there is no token");
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

/// The gate is off in the base; with the overlay its Secret is where the configuration looks for the token, and the
/// example's hook asks at its port.
#[test]
fn the_gate_agrees_with_its_secret_and_its_example() {
    let Some(base) = kustomize("kubernetes") else { return };
    assert!(configuration(&base).gate.is_none() && configuration(&base).peers.is_none());
    let Some(objects) = kustomize("gate") else { return };
    let configuration = configuration(&objects);
    let peers = configuration.peers.expect("the overlay is there for them");
    let mounts = at(container(&objects), "/volumeMounts").as_array().expect("a list");
    let mount = mounts.iter().find(|mount| mount["name"] == "peers").expect("the Secret is mounted");
    let folder = peers.token_file.parent().and_then(|folder| folder.to_str()).expect("UTF-8");
    assert_eq!((&mount["mountPath"], &mount["readOnly"]), (&json!(folder), &json!(true)));
    let port = configuration.gate.expect("it has an address").port();
    for example in documents(&read("kubernetes/examples/gate.yaml")) {
        let pod = at(&example, "/spec/template/spec");
        let container = &at(pod, "/containers")[0];
        let env = at(container, "/env").as_array().expect("a list");
        let gate = env.iter().find(|variable| variable["name"] == "TIDEGATE_GATE").expect("it says where");
        assert_eq!(gate["value"], format!("$(HOST_IP):{port}"));
        let command = at(container, "/lifecycle/preStop/exec/command").as_array().expect("a list");
        assert_eq!(command[1..3], [json!("gate"), json!("wait")]);
        let timeout = command[3].as_str().and_then(|text| text.strip_prefix("--timeout="));
        let timeout = tidegate_config::parse_duration(timeout.expect("a timeout")).expect("a time");
        let grace = at(pod, "/terminationGracePeriodSeconds").as_u64().expect("a number");
        assert!(timeout.as_secs() < grace, "the kubelet does not wait longer");
    }
}
