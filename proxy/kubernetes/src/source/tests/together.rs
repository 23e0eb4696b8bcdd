//! Several watches at once: namespaces, Nodes, Services, and what is written.

use super::*;

#[tokio::test]
async fn several_namespaces_are_told_when_all_are_listed() {
    let options = Options { namespaces: vec!["one".to_owned(), "two".to_owned()], ..Options::default() };
    let mut rig = Rig::start(options, pace()).await;
    let in_namespace = |name: &str, namespace: &str, version| {
        slice(name, version).replace("\"default\"", &format!("\"{namespace}\""))
    };
    let mut lists = [rig.expect("list").await, rig.expect("list").await];
    lists.sort_by(|a, b| a.target.cmp(&b.target));
    let [one, two] = lists;
    assert!(one.target.contains("/namespaces/one/") && two.target.contains("/namespaces/two/"));
    one.items(10, None, &[in_namespace("a", "one", 1)]).await;
    let mut watch = rig.expect("watch /namespaces/one/").await.stream().await;
    rig.nothing_told();
    two.items(12, None, &[in_namespace("b", "two", 2)]).await;
    assert_eq!(rig.listed().await, ["one/a", "two/b"]);
    let _other = rig.expect("watch /namespaces/two/").await;
    // One namespace's list says nothing of the other's slices.
    watch.expired().await;
    rig.expect("list /namespaces/one/").await.items(20, None, &[in_namespace("c", "one", 15)]).await;
    assert_eq!(rig.together().await, ["+c 15", "-a"]);
}

/// A follower of one namespace, and of the instances' own Service in another; what it asks of both, that one first.
async fn beside(pace: Pace) -> (Rig, [crate::rig::Exchange; 2]) {
    let own = ServiceName::new("system", "tidegate");
    // One that is followed anyway is not followed twice.
    let own = vec![own.clone(), own, ServiceName::new("one", "tidegate")];
    let options = Options { namespaces: vec!["one".to_owned()], own, ..Options::default() };
    let rig = Rig::start(options, pace).await;
    let mut lists = [rig.expect("list").await, rig.expect("list").await];
    lists.sort_by_key(|list| list.target.contains("/namespaces/one/"));
    assert!(lists[0].target.contains("/namespaces/system/"), "{}", lists[0].target);
    let selects = "labelSelector=kubernetes.io%2Fservice-name%3Dtidegate";
    assert!(lists[0].target.contains(selects) && !lists[1].target.contains(selects), "{}", lists[0].target);
    (rig, lists)
}

fn of_the_instances(version: u64) -> String {
    let slice = slice("tidegate-1", version).replace("\"default\"", "\"system\"");
    slice.replacen("\"name\"", "\"labels\":{\"kubernetes.io/service-name\":\"tidegate\"},\"name\"", 1)
}

/// The instances' own Service is followed in its namespace, and no other of that.
#[tokio::test]
async fn the_instances_service_is_followed_wherever_it_is() {
    let (mut rig, [own, one]) = beside(pace()).await;
    one.items(10, None, &[]).await;
    let _one = rig.expect("watch /namespaces/one/").await;
    rig.nothing_told();
    own.items(11, None, &[of_the_instances(3)]).await;
    assert_eq!(rig.listed().await, ["system/tidegate-1"]);
    let mut watch = rig.expect("watch /namespaces/system/ labelSelector").await.stream().await;
    watch.chunk(&format!("{}\n", line("MODIFIED", &of_the_instances(12)))).await;
    assert_eq!(rig.change().await, "+tidegate-1 12");
}

/// A namespace whose endpoints flows go to is waited for, also without the right to follow it.
#[tokio::test]
async fn a_namespace_that_may_not_be_read_is_waited_for() {
    let (mut rig, [own, one]) = beside(pace()).await;
    own.items(11, None, &[of_the_instances(3)]).await;
    let _own = rig.expect("watch /namespaces/system/").await;
    one.refuse(403, "endpointslices is forbidden").await;
    let one = rig.expect("list /namespaces/one/").await;
    rig.nothing_told();
    one.items(12, None, &[]).await;
    assert_eq!(rig.listed().await, ["system/tidegate-1"]);
}

/// Without the right to follow it nobody waits for it, and it is said; when it can be read, it is.
#[tokio::test]
async fn the_instances_service_holds_nobody_up() {
    let (mut rig, [own, one]) = beside(pace()).await;
    one.items(10, None, &[]).await;
    let _one = rig.expect("watch /namespaces/one/").await;
    own.refuse(500, "not yet").await;
    let own = rig.expect("list /namespaces/system/").await;
    rig.nothing_told();
    own.refuse(403, "endpointslices is forbidden").await;
    assert_eq!(rig.listed().await, Vec::<String>::new());
    let own = rig.expect("list /namespaces/system/").await;
    let report = rig.follower.status().report();
    let watch = report.watches.iter().find(|watch| watch.resource == "endpointslices of system/tidegate");
    let WatchState::Failing(why) = &watch.expect("it is watched").state else { panic!("it fails") };
    assert!(why.contains("give the verb `list` on `endpointslices`"), "{why}");
    own.items(11, None, &[of_the_instances(3)]).await;
    assert_eq!(rig.together().await, ["+tidegate-1 3"]);
}

/// That it may not be read may be what is heard last.
#[tokio::test]
async fn a_right_that_is_missing_for_the_instances_service_completes_the_list() {
    let (mut rig, [own, one]) = beside(pace()).await;
    own.refuse(403, "endpointslices is forbidden").await;
    let _own = rig.expect("list /namespaces/system/").await;
    rig.nothing_told();
    one.items(10, None, &[]).await;
    assert_eq!(rig.listed().await, Vec::<String>::new());
}

/// A follower that knows its node, and has asked for slices and got them; and what it asks of Nodes.
async fn on_a_node() -> (Rig, crate::rig::Exchange) {
    let options = Options { node: Some("here".into()), ..Options::default() };
    let rig = Rig::start_with(options, pace(), &["endpointslices", "nodes"]).await;
    let mut lists = [rig.expect("list").await, rig.expect("list").await];
    lists.sort_by_key(|list| list.target.contains("nodes"));
    let [slices, nodes] = lists;
    slices.list(10, None, &[("a", 1)]).await;
    (rig, nodes)
}

#[tokio::test]
async fn slices_wait_for_this_nodes_zone() {
    let (mut rig, nodes) = on_a_node().await;
    let node = |zone: &str, version: u64| {
        format!(
            "{{\"metadata\":{{\"name\":\"here\",\"resourceVersion\":\"{version}\",\"labels\":{{\"topology.kubernetes.io/zone\":\"{zone}\"}}}}}}"
        )
    };
    nodes.items(10, None, &[node("zone-a", 4)]).await;
    let Event::NodeIs { name, zone } = rig.event().await else { panic!("the zone comes first") };
    assert_eq!((name.as_deref(), zone.as_deref()), (Some("here"), Some("zone-a")));
    assert_eq!(rig.listed().await, ["default/a"]);
    assert_eq!(rig.follower.zone().borrow().as_deref(), Some("zone-a"));
    let mut watches = [rig.expect("watch").await, rig.expect("watch").await];
    watches.sort_by_key(|watch| watch.target.contains("nodes"));
    let [_slices, watch] = watches;
    let mut watch = watch.stream().await;
    watch.chunk(&format!("{}\n", line("MODIFIED", &node("zone-b", 11)))).await;
    let Event::NodeIs { zone, .. } = rig.event().await else { panic!("the zone has changed") };
    assert_eq!(zone.as_deref(), Some("zone-b"));
}

/// A25: where early drain is turned off, nobody is told which nodes leave.
#[tokio::test]
async fn leaving_nodes_are_told_only_where_that_is_wanted() {
    for early_drain in [true, false] {
        let options = Options { early_drain, ..Options::default() };
        let mut rig = Rig::start_with(options, pace(), &["endpointslices", "nodes"]).await;
        let leaving = "{\"metadata\":{\"name\":\"n\",\"resourceVersion\":\"4\"},\"spec\":{\"taints\":\
            [{\"key\":\"ToBeDeletedByClusterAutoscaler\"}]}}";
        let mut lists = [rig.expect("list").await, rig.expect("list").await];
        lists.sort_by_key(|list| list.target.contains("nodes"));
        let [slices, nodes] = lists;
        slices.list(10, None, &[]).await;
        nodes.items(10, None, &[leaving.to_owned()]).await;
        let mut told = Vec::new();
        // Slices are told after what nodes say.
        loop {
            match rig.event().await {
                Event::NodesLeaving(nodes) => told.push(nodes.len()),
                Event::SlicesListed(_) => break,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(told, if early_drain { vec![1] } else { Vec::new() });
    }
}

#[tokio::test]
async fn slices_do_not_wait_for_a_zone_that_may_not_be_read() {
    let (mut rig, nodes) = on_a_node().await;
    nodes.refuse(403, "no").await;
    assert_eq!(rig.listed().await, ["default/a"]);
}

const LB: &str = "{\"metadata\":{\"name\":\"web\",\"namespace\":\"default\",\"uid\":\"u\",\"resourceVersion\":\"4\"},\
    \"spec\":{\"type\":\"LoadBalancer\",\"loadBalancerClass\":\"tidegate.io/tidegate\",\"ports\":[{\"port\":80}]}}";

#[tokio::test]
async fn services_and_nodes_are_seen_in_the_view() {
    let options = Options { node: Some("here".into()), early_drain: true, ..Options::default() };
    let mut rig = Rig::start_with(options, pace(), &["endpointslices", "nodes", "/services"]).await;
    let view = rig.follower.view();
    let mut changes = view.changes();
    assert!(!view.look().is_complete());
    let mut watches = Vec::new();
    while watches.len() < 3 {
        let asked = rig.next().await;
        if asked.is_watch() {
            watches.push(asked.stream().await);
            continue;
        }
        let items = match asked.target.as_str() {
            target if target.contains("/services") => vec![LB.to_owned()],
            target if target.contains("nodes") => vec![
                "{\"metadata\":{\"name\":\"here\",\"resourceVersion\":\"3\"},\"status\":{\"addresses\":[\
                 {\"type\":\"InternalIP\",\"address\":\"10.0.0.1\"}]}}"
                    .to_owned(),
            ],
            _ => Vec::new(),
        };
        asked.items(10, None, &items).await;
    }
    crate::rig::within(changes.wait_for(|_| view.look().is_complete())).await.expect("a view");
    let rules =
        Rules { class: Some("tidegate.io/tidegate".into()), node: Some("here".into()), ..Rules::default() };
    let planned = crate::plan(&view.look(), &rules, &[]);
    assert_eq!(planned.listeners.first().expect("a listener").address.to_string(), "10.0.0.1:80");
    let nodes = watches.iter_mut().find(|watch| watch.target.contains("nodes")).expect("the nodes");
    let tainted = "{\"metadata\":{\"name\":\"here\",\"resourceVersion\":\"11\"},\"spec\":{\"taints\":[\
        {\"key\":\"ToBeDeletedByClusterAutoscaler\"}]}}";
    nodes.chunk(&format!("{}\n", line("MODIFIED", tainted))).await;
    loop {
        if let Event::NodesLeaving(nodes) = rig.event().await {
            assert_eq!(nodes.into_iter().collect::<Vec<_>>(), ["here".into()]);
            break;
        }
    }
    let services = watches.iter_mut().find(|watch| watch.target.contains("/services")).expect("the Services");
    services.chunk(&format!("{}\n", line("DELETED", &LB.replace("\"4\"", "\"12\"")))).await;
    let gone = || crate::plan(&view.look(), &rules, &[]).listeners.is_empty();
    crate::rig::within(changes.wait_for(|_| gone())).await.expect("a view");
}

/// The leader takes the Lease, writes the status where it differs, and says in an Event what cannot be.
#[tokio::test]
async fn the_leader_writes_status_and_events() {
    let options = Options { node: Some("here".into()), writing: Some(writing()), ..Options::default() };
    let rig = Rig::start_with(options, pace(), &["/"]).await;
    let own = slice("own", 5)
        .replace(
            "\"namespace\":\"default\",",
            "\"namespace\":\"system\",\"labels\":{\"kubernetes.io/service-name\":\"tidegate\"},",
        )
        .replace("[\"10.0.0.1\"]", "[\"10.0.0.1\"],\"nodeName\":\"here\"");
    let node = "{\"metadata\":{\"name\":\"here\",\"resourceVersion\":\"3\"},\"status\":{\"conditions\":[\
        {\"type\":\"Ready\",\"status\":\"True\"}],\"addresses\":[{\"type\":\"InternalIP\",\"address\":\"10.0.0.1\"}]}}";
    let problem = Problem {
        service: ServiceName::new("default", "web"),
        port: Some(80),
        reason: "CannotListen",
        message: "somebody has it".to_owned(),
    };
    let mut streams = Vec::new();
    let mut seen = Vec::new();
    while !["lease", "status", "event"].iter().all(|what| seen.contains(what)) {
        let asked = rig.next().await;
        let method = asked.head.split(' ').next().unwrap_or_default().to_owned();
        match (method.as_str(), asked.target.clone()) {
            ("GET", target) if target.contains("watch=true") => streams.push(asked.stream().await),
            ("GET", target) if target.contains("/leases/tidegate") => asked.refuse(404, "none").await,
            ("POST", target) if target.ends_with("/namespaces/system/leases") => {
                assert_eq!(asked.body["spec"]["holderIdentity"], "me");
                seen.push("lease");
                asked.answer("201 Created", "", "{}").await;
            }
            ("GET", target) if target.contains("/services") => {
                asked.items(10, None, &[LB.to_owned()]).await;
                rig.follower.report(vec![problem.clone()]);
            }
            ("GET", target) if target.contains("/nodes") => asked.items(10, None, &[node.to_owned()]).await,
            ("GET", _) => asked.items(10, None, std::slice::from_ref(&own)).await,
            ("PATCH", target) if target.ends_with("/namespaces/default/services/web/status") => {
                let ingress = &asked.body["status"]["loadBalancer"]["ingress"];
                let expected = serde_json::json!([{"ip": "10.0.0.1", "ipMode": "Proxy",
                    "ports": [{"port": 80, "protocol": "TCP", "error": "CannotListen"}]}]);
                // A first write may come before the node or the slices are known.
                if *ingress == expected {
                    seen.push("status");
                }
                asked.answer("200 OK", "", "{}").await;
            }
            ("POST", target) if target.ends_with("/namespaces/default/events") => {
                assert_eq!(
                    (asked.body["reason"].as_str(), asked.body["note"].as_str()),
                    (Some("CannotListen"), Some("somebody has it"))
                );
                seen.push("event");
                asked.answer("201 Created", "", "{}").await;
            }
            (method, target) => panic!("{method} {target}"),
        }
    }
}
