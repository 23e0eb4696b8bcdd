use std::{collections::BTreeMap, time::Instant};

use serde_json::Value;

use super::*;
use crate::apiserver::{ENDPOINT_SLICES, LEASES, PODS, Resource, SERVICES, Target};

fn call(verb: Verb, resource: Resource, namespace: Option<&str>, subresource: Option<&str>) -> Call {
    let target = Target {
        resource,
        namespace: namespace.map(str::to_owned),
        name: None,
        subresource: subresource.map(str::to_owned),
    };
    Call {
        at: Instant::now(),
        verb,
        method: "GET".into(),
        path: "/".into(),
        query: BTreeMap::new(),
        target: Some(target),
        user_agent: String::new(),
        authorization: String::new(),
        content_type: String::new(),
        body: Value::Null,
        status: 200,
    }
}

#[test]
fn what_the_rules_say_is_granted_and_nothing_else() {
    let rights = Rights::of_the_deployment();
    let granted = [
        call(Verb::Watch, ENDPOINT_SLICES, None, None),
        call(Verb::List, SERVICES, Some("default"), None),
        call(Verb::Patch, SERVICES, Some("default"), Some("status")),
        call(Verb::Update, LEASES, Some("tidegate-system"), None),
    ];
    assert_eq!(rights.missing(&granted), BTreeSet::new());
    for (refused, words) in [
        (
            call(Verb::Update, LEASES, Some("default"), None),
            "update leases of \"coordination.k8s.io\" in default",
        ),
        (call(Verb::Patch, SERVICES, Some("default"), None), "patch services of \"\" in default"),
        (call(Verb::Get, PODS, Some("tidegate-system"), None), "get pods of \"\" in tidegate-system"),
        (call(Verb::List, LEASES, None, None), "list leases of \"coordination.k8s.io\" in all namespaces"),
    ] {
        assert_eq!(rights.missing([&refused]), BTreeSet::from([words.to_owned()]));
    }
}
