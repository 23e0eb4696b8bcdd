//! The group `cluster`, run against the double: it is shown to work where there is no cluster.

use std::{env, process::Command};

use serde_json::json;
use tidegate_tests::{
    apiserver::{ApiServer, NAMESPACES},
    support::run,
};

use crate::cluster::KUBECONFIG;

#[test]
fn group_for_clusters_passes_against_the_double() {
    let api = ApiServer::start();
    let directory = tempfile::tempdir().unwrap();
    let kubeconfig = api.write_kubeconfig(directory.path());
    api.put(&json!({
        "apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-1"},
        "status": {
            "conditions": [{"type": "Ready", "status": "True"}],
            "addresses": [{"type": "InternalIP", "address": "192.0.2.1"}],
        },
    }));
    let before = api.objects(NAMESPACES).len();
    let mut command = Command::new(env::current_exe().unwrap());
    let output = run(command.args(["cluster::", "--nocapture"]).env(KUBECONFIG, kubeconfig));
    let (said, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}\n{errors}");
    assert!(!said.contains("0 passed") && !errors.contains("SKIPPED"), "{said}\n{errors}");
    // They clean up after themselves.
    assert_eq!(api.objects(NAMESPACES).len(), before);
}

#[test]
fn group_for_clusters_says_that_it_is_skipped() {
    let mut command = Command::new(env::current_exe().unwrap());
    let output = run(command.args(["cluster::"]).env_remove(KUBECONFIG));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    assert!(errors.contains("SKIPPED") && errors.contains(KUBECONFIG), "{errors}");
}

#[test]
fn group_for_clusters_fails_where_its_server_does_not_answer() {
    let api = ApiServer::start();
    let directory = tempfile::tempdir().unwrap();
    let kubeconfig = api.write_kubeconfig(directory.path());
    api.go_away();
    let mut command = Command::new(env::current_exe().unwrap());
    let output = run(command.args(["cluster::first_client"]).env(KUBECONFIG, kubeconfig));
    assert!(!output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}
