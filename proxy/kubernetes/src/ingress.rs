//! What the status of a Service says: the addresses at which it is served, and which of its ports are not.
//!
//! Pure. Every instance would come to the same addresses; only the leader writes them.

use std::{collections::BTreeMap, net::IpAddr};

use serde_json::{Value, json};
use tidegate_core::ServiceName;

use crate::{plan::Problem, service::Service, view::View};

/// Whose status it is, and who says it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Speaker<'a> {
    /// The class of load balancer.
    pub(crate) class: &'a str,
    /// The Service by whose slices instances know of each other.
    pub(crate) own: &'a ServiceName,
    /// The node that this instance runs on: what cannot be there is said of that node's addresses alone.
    pub(crate) here: Option<&'a str>,
}

/// `status.loadBalancer` of a Service; `None` where it is not this class's to write, or is not known well enough: where
/// no instance at all is ready, what was written stays. Whoever asks is one, so its own Service is not the right one or
/// its slices are behind.
pub(crate) fn load_balancer(view: &View, name: &ServiceName, speaker: Speaker<'_>) -> Option<Value> {
    let Speaker { class, own, here } = speaker;
    let service = view.services.get(name).filter(|service| service.is_of(class))?;
    // Each with whether it is this node's.
    let mut addresses: BTreeMap<IpAddr, bool> = BTreeMap::new();
    let with_proxy = view.ready_nodes(own);
    if with_proxy.is_empty() || view.unlisted_slices > 0 {
        return None;
    }
    let with_endpoint = service.external_local.then(|| view.ready_nodes(name));
    for (node_name, node) in &view.nodes {
        let is_target = node.ready
            && !node.excluded
            && node.leaving.is_none()
            && with_proxy.contains(node_name)
            && with_endpoint.as_ref().is_none_or(|nodes| nodes.contains(node_name));
        if is_target {
            addresses.extend([true, false].into_iter().filter_map(|is_v4| {
                let of_family = |list: &[IpAddr]| {
                    list.iter().copied().find(|ip| ip.is_ipv4() == is_v4 && service.has_family_of(*ip))
                };
                let address = of_family(&node.external).or_else(|| of_family(&node.internal))?;
                Some((address, here == Some(&**node_name)))
            }));
        }
    }
    let [elsewhere, here] = [false, true].map(|here| ports(view, name, service, here));
    let ingress: Vec<Value> = addresses
        .into_iter()
        .map(|(ip, is_here)| {
            let mut ingress = json!({ "ip": ip.to_string(), "ipMode": "Proxy" });
            if let Some(ports) = if is_here { &here } else { &elsewhere } {
                ingress["ports"] = ports.clone();
            }
            ingress
        })
        .collect();
    Some(json!({ "ingress": ingress }))
}

/// All ports of one node's entry, where one of them has an error: either every port is listed or none.
fn ports(view: &View, name: &ServiceName, service: &Service, here: bool) -> Option<Value> {
    let own = |problem: &&Problem| problem.service == *name && (here || !problem.is_of_one_node());
    let errors: BTreeMap<u16, &'static str> = view
        .problems
        .iter()
        .flatten()
        .filter(own)
        .filter_map(|problem| Some((problem.port?, problem.reason)))
        .collect();
    if errors.is_empty() {
        return None;
    }
    let entry = |port: &crate::service::Port| {
        // An error of a number is of its TCP port, unless it says that the protocol is not served.
        let error =
            errors.get(&port.number).filter(|error| port.is_tcp != (**error == "ProtocolNotSupported"));
        let mut entry = json!({ "port": port.number, "protocol": &*port.protocol });
        if let Some(error) = error {
            entry["error"] = json!(error);
        }
        entry
    };
    Some(service.ports.iter().map(entry).collect())
}

/// Whether a status says this already. Absent and empty lists are one.
pub(crate) fn says(status: &Value, wanted: &Value) -> bool {
    let ingress = |value: &Value| value.get("ingress").and_then(Value::as_array).cloned().unwrap_or_default();
    ingress(status) == ingress(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{intern::Intern, meta::Key, node, service};

    const CLASS: &str = "tidegate.io/tidegate";

    fn own() -> ServiceName {
        ServiceName::new("tidegate", "tidegate")
    }

    fn web() -> ServiceName {
        ServiceName::new("default", "web")
    }

    fn node(view: &mut View, name: &str, ready: &str, external: &[&str]) {
        let mut addresses = vec![json!({"type": "InternalIP", "address": format!("10.0.0.{name}")})];
        addresses.push(json!({"type": "InternalIP", "address": format!("fd00::{name}")}));
        addresses.extend(external.iter().map(|ip| json!({"type": "ExternalIP", "address": ip})));
        let object = json!({"metadata": {"name": name}, "status": {
            "conditions": [{"type": "Ready", "status": ready}], "addresses": addresses}});
        let read = node::read(&object.to_string(), &mut Intern::default()).expect("a node");
        view.nodes.insert(read.key.name, read.object);
    }

    fn ready_on(view: &mut View, service: &ServiceName, nodes: &[&str]) {
        let key = Key { namespace: service.namespace().into(), name: service.name().into() };
        view.slices.insert(key, (service.clone(), nodes.iter().map(|node| (*node).into()).collect()));
    }

    fn view(changes: &Value) -> View {
        let mut spec = json!({"type": "LoadBalancer", "loadBalancerClass": CLASS, "ipFamilies": ["IPv4"],
            "ports": [{"name": "http", "port": 80}, {"name": "dns", "port": 53, "protocol": "UDP"}]});
        for (field, value) in changes.as_object().into_iter().flatten() {
            spec[field] = value.clone();
        }
        let object = json!({"metadata": {"name": "web", "namespace": "default"}, "spec": spec});
        let read = service::read(&object.to_string(), &mut Intern::default()).expect("a Service");
        let mut view = View::default();
        view.services.insert(web(), read.object);
        node(&mut view, "1", "True", &[]);
        node(&mut view, "2", "True", &["203.0.113.2"]);
        ready_on(&mut view, &own(), &["1", "2"]);
        view
    }

    fn status_of(view: &View) -> Option<Value> {
        let own = own();
        load_balancer(view, &web(), Speaker { class: CLASS, own: &own, here: Some("2") })
    }

    fn ips(view: &View) -> Vec<String> {
        let status = status_of(view).expect("it is ours");
        let ingress = status["ingress"].as_array().expect("a list").clone();
        assert!(ingress.iter().all(|it| it["ipMode"] == "Proxy"));
        ingress.iter().map(|it| it["ip"].as_str().expect("an address").to_owned()).collect()
    }

    #[test]
    fn external_addresses_come_first_and_families_count() {
        assert_eq!(ips(&view(&json!({}))), ["10.0.0.1", "203.0.113.2"]);
        let dual = view(&json!({"ipFamilies": ["IPv4", "IPv6"]}));
        assert_eq!(ips(&dual), ["10.0.0.1", "203.0.113.2", "fd00::1", "fd00::2"]);
    }

    #[test]
    fn only_nodes_that_serve_are_named() {
        let mut known = view(&json!({}));
        node(&mut known, "3", "True", &[]);
        assert_eq!(ips(&known).len(), 2, "no Tidegate is ready there");
        node(&mut known, "1", "False", &[]);
        assert_eq!(ips(&known), ["203.0.113.2"]);
        known.nodes.values_mut().for_each(|node| node.excluded = true);
        assert_eq!(ips(&known), [""; 0]);
    }

    #[test]
    fn local_needs_an_endpoint_on_the_node() {
        let mut local = view(&json!({"externalTrafficPolicy": "Local"}));
        assert_eq!(ips(&local), [""; 0]);
        ready_on(&mut local, &web(), &["1", "7"]);
        assert_eq!(ips(&local), ["10.0.0.1"]);
    }

    /// What is not known yet, or cannot be, takes no address out of a status.
    #[test]
    fn what_was_written_stays_while_no_instance_is_known_to_be_ready() {
        let mut known = view(&json!({}));
        known.unlisted_slices = 1;
        assert_eq!(status_of(&known), None);
        known.unlisted_slices = 0;
        ready_on(&mut known, &own(), &[]);
        assert_eq!(status_of(&known), None);
    }

    /// A24.
    #[test]
    fn the_status_of_others_is_left_alone() {
        let other = view(&json!({"loadBalancerClass": "example.com/other"}));
        assert_eq!(status_of(&other), None);
    }

    #[test]
    fn a_port_that_is_not_served_has_an_error() {
        let mut known = view(&json!({}));
        let problem =
            |port, reason| Problem { service: web(), port: Some(port), reason, message: String::new() };
        known.problems = Some(vec![problem(80, "PortConflict"), problem(53, "ProtocolNotSupported")]);
        let status = status_of(&known).expect("it is ours");
        let expected = json!([
            {"port": 80, "protocol": "TCP", "error": "PortConflict"},
            {"port": 53, "protocol": "UDP", "error": "ProtocolNotSupported"},
        ]);
        assert_eq!(status["ingress"][0]["ports"], expected);
    }

    /// What one node cannot do is said of its own address.
    #[test]
    fn an_error_of_one_node_is_said_of_that_node() {
        let mut known = view(&json!({}));
        let problem = |reason| Problem { service: web(), port: Some(80), reason, message: String::new() };
        for reason in ["CannotListen", "PortInUse"] {
            known.problems = Some(vec![problem(reason)]);
            let status = status_of(&known).expect("it is ours");
            assert_eq!(status["ingress"][0], json!({"ip": "10.0.0.1", "ipMode": "Proxy"}));
            assert_eq!(status["ingress"][1]["ports"][0]["error"], reason);
        }
    }

    #[test]
    fn an_empty_status_is_an_absent_one() {
        assert!(says(&Value::Null, &json!({"ingress": []})) && says(&json!({}), &json!({"ingress": []})));
        assert!(!says(&Value::Null, &json!({"ingress": [{"ip": "10.0.0.1"}]})));
    }
}
