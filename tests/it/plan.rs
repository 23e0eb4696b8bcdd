//! What a drain would do, told from live flows, and nothing is changed for it.

use tidegate_tests::support::{Endpoint, api};

use crate::setup;

#[test]
fn a_drain_is_planned_from_live_flows() {
    let endpoints = Endpoint::greeting_group(3);
    let proxy = setup().ready(&endpoints).start();
    let flows: Vec<_> = (0..12).map(|_| proxy.connect_greeted()).collect();
    let leaving = endpoints[0].address();
    let on_leaving = flows.iter().filter(|(_, endpoint)| *endpoint == leaving).count() as u64;
    let address = leaving.to_string();
    let output =
        proxy.command(&["plan", "drain", "default/web", &address, "--deadline", "21s", "-o", "json"]);
    assert!(output.status.success(), "{output:?}");
    let plan: api::Plan = serde_json::from_slice(&output.stdout).unwrap();
    let service = &plan.services[0];
    assert_eq!((service.flows_to_move, service.endpoints[0].flows), (on_leaving, on_leaving));
    assert_eq!((service.policy.as_str(), service.nobody_left), ("leastFlows", false));
    assert_eq!((service.deadline_seconds, service.window_seconds), (Some(21.0), Some(10.0)));
    let after: u64 = service.others.iter().map(|other| other.flows_after).sum();
    assert_eq!((service.others.len(), after), (2, 12), "every flow goes somewhere: {service:?}");
    let known = service.endpoints[0].idle.unwrap() + service.endpoints[0].busy.unwrap();
    assert_eq!(known, on_leaving);
    let of_endpoint = (service.endpoints[0].deadline_seconds, service.endpoints[0].will_be_cut);
    assert_eq!(of_endpoint, (Some(21.0), service.will_be_cut), "it is the only one");

    let rows = proxy.endpoints();
    assert!(rows.iter().all(|row| row.eligible && row.drain.is_none()), "nothing was changed: {rows:?}");

    let output = proxy.command(&["plan", "drain", "default/web", &address]);
    let text = String::from_utf8(output.stdout).unwrap();
    for words in [
        "would have to move",
        "no deadline",
        "DEADLINE  CUT",
        "AFTERWARDS",
        "this instance alone",
        "nothing was changed",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    let all: Vec<_> = endpoints.iter().map(|endpoint| endpoint.address().to_string()).collect();
    let output = proxy.command(&["plan", "drain", "default/web", &all[0], &all[1], &all[2]]);
    assert!(String::from_utf8_lossy(&output.stdout).contains("no endpoint would be left"), "{output:?}");
}

#[test]
fn what_is_not_there_cannot_be_planned() {
    let endpoint = Endpoint::greeting();
    let proxy = setup().ready([&endpoint]).start();
    for (arguments, words) in [
        (["plan", "drain", "--node", "nowhere"].as_slice(), "no endpoint is on node `nowhere`"),
        (&["plan", "drain", "default/web", "10.9.9.9:1"], "has no endpoint `10.9.9.9:1`"),
        (&["plan", "drain", "default/none", "10.9.9.9:1"], "there is no service"),
    ] {
        let output = proxy.command(arguments);
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains(words), "{words}: {text}");
    }
    assert_eq!(proxy.command(&["plan", "drain"]).status.code(), Some(2));
    assert_eq!(proxy.get("/v1/plan").status, 400);
}
