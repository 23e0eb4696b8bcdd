//! Two pods of a node hand over: what of the manifests has to agree for that, with a handoff and without one, by kustomize
//! and by the chart.

use std::path::Path;

use serde_json::{Value, json};
use tidegate_config::{Afterwards, Handoff};

use super::{
    base::{container, pod},
    configuration::configuration,
};
use crate::manifests::{Case, at, helm, kustomize, kustomize_overlay, object, read};

/// Each way to deploy it, and whether its pods hand over.
fn ways() -> Option<Vec<(&'static str, bool, Vec<Value>)>> {
    let case = |values| Case { name: "tidegate", namespace: "default", values };
    let charts = helm(&[
        case(json!({})),
        case(json!({"handoff": {"enabled": false}})),
        case(json!({"gate": {"enabled": true}, "shutdown": {"graceSeconds": 60}})),
    ])?;
    let [chart, plain, gate] = <[_; 3]>::try_from(charts.cases).expect("one for each");
    Some(vec![
        ("the base", true, kustomize("kubernetes")?),
        ("the base without handoff", false, kustomize_overlay(&["kubernetes"], &["no-handoff"])?),
        ("the gate", true, kustomize("gate")?),
        ("the gate without handoff", false, kustomize_overlay(&["gate"], &["no-handoff"])?),
        ("the chart", true, chart.expect("it renders")),
        ("the chart without handoff", false, plain.expect("it renders")),
        ("the chart with a gate", true, gate.expect("it renders")),
    ])
}

fn handoff(objects: &[Value]) -> Handoff {
    configuration(objects).handoff.expect("it is in every configuration")
}

/// The volume that a path is in, and where that is mounted.
fn volume<'a>(objects: &'a [Value], path: &Path) -> (&'a Value, &'a Path) {
    let mounts = at(container(objects), "/volumeMounts").as_array().expect("a list");
    let place = |mount: &'a Value| Path::new(mount["mountPath"].as_str().expect("a path"));
    let mut holding = mounts.iter().filter(|mount| path.starts_with(place(mount)));
    let mount = holding.next().unwrap_or_else(|| panic!("{} is in no volume", path.display()));
    assert!(holding.next().is_none(), "{} is in two volumes", path.display());
    assert_ne!(mount["readOnly"], true, "nothing can be made in {mount}");
    let volumes = at(pod(objects), "/volumes").as_array().expect("a list");
    let volume = volumes.iter().find(|volume| volume["name"] == mount["name"]).expect("a mount has a volume");
    (volume, place(mount))
}

/// One node after the other: with a handoff the new pod comes before the old one goes, without one after that.
#[test]
fn pods_of_a_node_follow_each_other() {
    let Some(ways) = ways() else { return };
    for (way, hands_over, objects) in &ways {
        let daemon_set = object(objects, "DaemonSet tidegate");
        let (surge, unavailable) = if *hands_over { (1, 0) } else { (0, 1) };
        assert_eq!(
            *at(daemon_set, "/spec/updateStrategy"),
            json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}),
            "{way}"
        );
        assert!(at(daemon_set, "/spec/minReadySeconds").as_u64() > Some(0), "{way}: a new pod has to last");
    }
}

/// A port of a pod on the node's network is a port of the node, and the scheduler gives that to one pod alone. Services and
/// Prometheus find the port by its number.
#[test]
fn two_pods_fit_on_a_node() {
    let Some(ways) = ways() else { return };
    for (way, _, objects) in &ways {
        let pod = pod(objects);
        for list in ["containers", "initContainers", "ephemeralContainers"] {
            for container in pod.get(list).and_then(Value::as_array).into_iter().flatten() {
                assert!(container.get("ports").is_none(), "{way}: {}", container["name"]);
            }
        }
        let affinity = at(object(objects, "DaemonSet tidegate"), "/spec/template/spec").get("affinity");
        assert!(affinity.is_none(), "{way}: a pod that keeps others of its kind away cannot be followed");
        for port in at(object(objects, "Service tidegate"), "/spec/ports").as_array().expect("a list") {
            assert!(port["targetPort"].is_number(), "{way}: a name has to be declared by the pods");
        }
    }
}

/// Pods of a node meet in one directory of the node where they hand over, and each in its own where they do not. The proxy
/// makes the directory of the socket itself, because the kubelet would make it for everybody to read.
#[test]
fn pods_meet_where_the_configuration_says() {
    let Some(ways) = ways() else { return };
    for (way, hands_over, objects) in &ways {
        let socket = handoff(objects).socket;
        let (volume, mount) = volume(objects, &socket);
        assert_eq!(
            socket.parent().and_then(Path::parent),
            Some(mount),
            "{way}: a directory that is not there yet"
        );
        if *hands_over {
            assert_eq!(volume["hostPath"]["type"], "DirectoryOrCreate", "{way}");
            let path = volume["hostPath"]["path"].as_str().expect("a path");
            let namespace = at(object(objects, "DaemonSet tidegate"), "/metadata/namespace").as_str();
            let own = Path::new(namespace.expect("a namespace")).join("tidegate");
            assert!(path.starts_with("/run/") && Path::new(path).ends_with(own), "{way}: {path}");
        } else {
            assert!(volume.get("hostPath").is_none() && volume["emptyDir"].is_object(), "{way}: {volume}");
        }
    }
}

/// Each pod answers its own probes, by a program that its image has.
#[test]
fn probes_ask_the_pod_itself() {
    let Some(ways) = ways() else { return };
    let image = read("Containerfile");
    for (way, _, objects) in &ways {
        let socket = handoff(objects).probe_socket.expect("the probes need it");
        let (volume, mount) = volume(objects, &socket);
        assert!(volume["emptyDir"].is_object(), "{way}: {volume}");
        assert_eq!(socket.parent(), Some(mount), "{way}: nobody makes a directory there");
        for (probe, what) in [("startup", "live"), ("liveness", "live"), ("readiness", "ready")] {
            let probe = at(container(objects), &format!("/{probe}Probe"));
            let expected =
                json!(["/usr/local/bin/tidegate", "probe", what, format!("--socket={}", socket.display())]);
            assert_eq!(*at(probe, "/exec/command"), expected, "{way}");
            assert!(probe.get("httpGet").is_none() && probe.get("tcpSocket").is_none(), "{way}");
        }
        assert!(
            image.contains(" /usr/local/bin/tidegate\n") && image.contains("[\"/usr/local/bin/tidegate\"]")
        );
    }
}

/// A container whose process ends is started again, in the old pod: so it stays, and is known by its pod when it starts
/// all the same. Flows that did not move end before the kubelet ends them.
#[test]
fn old_pods_wait_for_their_end() {
    let Some(ways) = ways() else { return };
    for (way, _, objects) in &ways {
        let handoff = handoff(objects);
        assert_eq!(handoff.afterwards, Afterwards::Park, "{way}");
        let env = at(container(objects), "/env").as_array().expect("a list");
        let uid = env.iter().find(|variable| variable["name"] == "POD_UID").expect(way);
        assert_eq!(*at(uid, "/valueFrom/fieldRef/fieldPath"), "metadata.uid", "{way}");
        let seconds = at(pod(objects), "/terminationGracePeriodSeconds").as_u64().expect("a number");
        assert!(handoff.linger.as_secs() < seconds, "{way}: {:?} in {seconds} s", handoff.linger);
        assert!(pod(objects).get("restartPolicy").is_none_or(|policy| policy == "Always"), "{way}");
    }
}

/// What a chart's values say of the handoff is in the configuration; its paths are the chart's.
#[test]
fn the_chart_takes_times_of_a_handoff() {
    let values = json!({"configuration": {"handoff": {"timeout": "90s", "linger": "5s"}}});
    let Some(rendered) = helm(&[Case { name: "tidegate", namespace: "default", values }]) else { return };
    let objects = rendered.cases.into_iter().next().expect("one").expect("it renders");
    let handoff = handoff(&objects);
    assert_eq!((handoff.timeout.as_secs(), handoff.linger.as_secs()), (90, 5));
    assert_eq!(handoff.afterwards, Afterwards::Park);
}
