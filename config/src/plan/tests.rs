use super::*;
use crate::{Configuration, parse};

const HEAD: &str =
    "apiVersion: tidegate.io/v1alpha1\nkind: ProxyConfiguration\nsource: {endpointSliceDirectory: e}\n";

fn configuration(rest: &str) -> Configuration {
    parse(&format!("{HEAD}{rest}"), "/etc/tidegate.yaml")
        .unwrap_or_else(|error| panic!("{error}"))
        .configuration
}

fn planned(old: &str, new: &str) -> String {
    plan(&configuration(old), &configuration(new)).to_string()
}

#[test]
fn the_same_configuration_changes_nothing() {
    let one = "listeners: [{name: web, address: 127.0.0.1:80, service: default/web}]\n";
    let same = "defaults: {connectTimeout: 2000ms}\n";
    assert_eq!(planned(one, &format!("{one}{same}")), "nothing changes");
}

#[test]
fn every_change_is_said_in_words() {
    let old = "\
listeners:
- {name: stays, address: 127.0.0.1:80, service: default/web}
- {name: moves, address: 127.0.0.1:81, service: default/web}
- {name: retargeted, address: 127.0.0.1:82, service: default/web, port: http}
- {name: before, address: 127.0.0.1:83, service: default/web}
- {name: leaves, address: 127.0.0.1:84, service: default/old}
- {name: fixed, address: 127.0.0.1:86, service: edge/fixed}
- {name: to-list, address: 127.0.0.1:87, service: edge/to-list}
- {name: to-slices, address: 127.0.0.1:88, service: edge/to-slices}
services:
- {name: edge/fixed, endpoints: [10.0.0.1:1, 10.0.0.2:1, 10.0.0.3:1]}
- {name: edge/to-slices, endpoints: [10.0.0.1:1]}
";
    let new = "\
listeners:
- {name: stays, address: 127.0.0.1:80, service: default/web}
- {name: moves, address: 127.0.0.1:91, service: default/web}
- {name: retargeted, address: 127.0.0.1:82, service: default/web, port: https}
- {name: after, address: 127.0.0.1:83, service: default/web}
- {name: comes, address: 127.0.0.1:85, service: default/new, port: http}
- {name: fixed, address: 127.0.0.1:86, service: edge/fixed}
- {name: to-list, address: 127.0.0.1:87, service: edge/to-list}
- {name: to-slices, address: 127.0.0.1:88, service: edge/to-slices}
services:
- {name: edge/fixed, endpoints: [10.0.0.1:1, {address: 10.0.0.2:1, weight: 9}, 10.0.0.4:1]}
- {name: edge/to-list, endpoints: [10.0.0.1:1]}
- name: default/web
  policy: maglev
  connectTimeout: 1s
  connectAttempts: 2
  idleTimeout: 1h
  whenNoneReady: servingTerminating
  onRemoval: close
  affinity: {clientIP: {}}
  keepalive: {enabled: false}
  userTimeout: 30s
  deadPeerTimeout: none
node: {name: n, zone: z}
shutdown: {delay: 0s, grace: 1m}
flowLog: {mode: sampled, sampleEvery: 7}
audit: {file: '-', keep: 9}
";
    insta::assert_snapshot!(planned(old, new));
}

#[test]
fn what_needs_a_restart_says_why() {
    let listeners = "listeners: [{name: web, address: 127.0.0.1:80, service: default/web}]\n";
    let new = format!(
        "{listeners}workers: 2\nadmin: {{address: 0.0.0.0:9901, tokenFile: token}}\nmetrics: {{address: \
         0.0.0.0:9902}}\ngate: {{address: 0.0.0.0:9903}}\npeers: {{service: default/tidegate, tokenFile: token}}\n\
         stateDirectory: state\n"
    );
    let (old, mut new) = (configuration(listeners), configuration(&new));
    new.source = Some(crate::Source::EndpointSliceDirectory("/elsewhere".into()));
    let plan = plan(&old, &new);
    assert_eq!(plan.changes, []);
    assert!(!plan.is_empty());
    insta::assert_snapshot!(plan);
}

#[test]
fn another_api_server_needs_a_restart() {
    let listeners = "listeners: [{name: web, address: 127.0.0.1:80, service: default/web}]\n";
    let (old, mut new) = (configuration(listeners), configuration(listeners));
    new.source = Some(crate::Source::Kubernetes(crate::Kubernetes {
        kubeconfig: Some("/etc/kube/config".into()),
        context: Some("other".to_owned()),
        namespaces: vec!["default".to_owned(), "edge".to_owned()],
        ..crate::Kubernetes::default()
    }));
    let refused: Vec<_> = plan(&old, &new).needs_restart.into_iter().map(|it| (it.field, it.to)).collect();
    let expected = "{kubeconfig: /etc/kube/config, context: other, namespaces: [default, edge], \
                    loadBalancerClass: tidegate.io/tidegate, earlyDrain: true, podEvents: true}";
    assert_eq!(
        refused,
        [("source.endpointSliceDirectory", "none".to_owned()), ("source.kubernetes", expected.to_owned())]
    );
}

/// A change of `defaults` is a change of the services that follow them, and of no other.
#[test]
fn a_default_changes_the_services_that_follow_it() {
    let services = "\
listeners:
- {name: a, address: 127.0.0.1:80, service: default/a}
- {name: b, address: 127.0.0.1:81, service: default/b}
services: [{name: default/b, connectAttempts: 3}]
";
    assert_eq!(
        planned(services, &format!("{services}defaults: {{connectAttempts: 5}}\n")),
        "service default/a: connectAttempts 3 -> 5"
    );
}
