//! Reloads: the configuration's file changes, or SIGHUP comes. No live flow is touched, and what is invalid changes
//! nothing.

use std::{fs, io::ErrorKind, os::unix::fs::symlink};

use rustix::process::Signal;
use serde_json::json;
use tidegate_tests::support::{Connection, Endpoint, Proxy, Slice, replace_file, until};

use crate::setup;

/// A listener that is added accepts; those that are there keep their sockets and flows.
#[test]
fn listener_is_added() {
    let endpoint = Endpoint::greeting();
    let mut proxy = setup().ready([&endpoint]).start();
    let (mut flow, _) = proxy.connect_greeted();
    let address = proxy.status().listeners[0].address.clone();
    proxy.write_config(|config| config.listener("second", "127.0.0.1:0", "default/web"));
    wait_for_reloads(&proxy, "applied", 1);
    assert_eq!(Connection::open(proxy.address("second")).greeting(), endpoint.address());
    flow.exchange(b"still here");
    assert_eq!(proxy.status().listeners[0].address, address);
    proxy.expect_all_on(&endpoint);
    let reload = proxy.status().last_reload.unwrap();
    assert!(reload.applied && reload.error.is_none());
}

/// A listener that is removed closes; its flows stay.
#[test]
fn listener_is_removed_and_its_flows_stay() {
    let endpoint = Endpoint::greeting();
    let mut proxy = setup()
        .config(|config| config.listener("second", "127.0.0.1:0", "default/web"))
        .ready([&endpoint])
        .start();
    let address = proxy.address("second");
    let mut flow = Connection::open(address);
    flow.greeting();
    proxy.write_config(|config| config.remove_listener("second"));
    wait_for_reloads(&proxy, "applied", 1);
    until("nobody listens there", || {
        Connection::try_open(address).is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
    });
    flow.exchange(b"still here");
    proxy.expect_all_on(&endpoint);
    flow.finish();
    flow.expect_end();
    proxy.wait_for_no_flows();
}

/// A listener that names another service sends its new flows there, from the same socket; its old flows stay.
#[test]
fn listener_is_retargeted() {
    let (web, other) = (Endpoint::greeting(), Endpoint::greeting());
    let mut proxy =
        setup().ready([&web]).slice(&Slice::ready("other-1", [&other]).of_service("other")).start();
    let (mut flow, _) = proxy.connect_greeted();
    let address = proxy.status().listeners[0].address.clone();
    proxy.write_config(|config| config.listener("web", "127.0.0.1:0", "default/other"));
    wait_for_reloads(&proxy, "applied", 1);
    assert_eq!(proxy.status().listeners[0].address, address);
    until("the other service's endpoint is known", || proxy.endpoint(&other).is_some_and(|row| row.eligible));
    proxy.expect_all_on(&other);
    flow.exchange(b"still here");
    assert_eq!(proxy.endpoint(&web).map(|row| row.flows), Some(1));
    flow.finish();
    flow.expect_end();
    until("nothing is left of the service", || proxy.endpoint(&web).is_none());
}

/// A service's settings change for new flows.
#[test]
fn settings_change_for_new_flows() {
    let endpoint = Endpoint::greeting();
    let line = endpoint.in_slice();
    let mut proxy = setup().ready([&endpoint]).start();
    let (mut flow, _) = proxy.connect_greeted();
    let port = endpoint.address().port();
    proxy.write_slice(&Slice::named("web-1").with_port(port).with(line.terminating()));
    proxy.wait_for_eligible(0);
    proxy.expect_refusal();
    proxy
        .write_config(|config| config.service("default/web", json!({"whenNoneReady": "servingTerminating"})));
    wait_for_reloads(&proxy, "applied", 1);
    proxy.expect_all_on(&endpoint);
    flow.exchange(b"still here");
    proxy.wait_for_log("reload: ");
}

/// An invalid configuration changes nothing, and log, status and metric say so; the next valid one is applied. SIGHUP
/// reads the file again, changed or not.
#[test]
fn invalid_configuration_changes_nothing() {
    let endpoint = Endpoint::greeting();
    let mut proxy = setup().ready([&endpoint]).start();
    let (mut flow, _) = proxy.connect_greeted();
    let before = proxy.status();
    replace_file(
        &proxy.config_file(),
        "apiVersion: tidegate.io/v1alpha1\nkind: ProxyConfiguration\nlisteners: 7\n",
    );
    wait_for_reloads(&proxy, "refused", 1);
    let reload = proxy.status().last_reload.unwrap();
    assert!(!reload.applied);
    let error = reload.error.unwrap();
    assert!(error.contains("tidegate.yaml:3"), "{error}");
    proxy.wait_for_log("the configuration was not reloaded, the running one stays");
    proxy.process().signal(Signal::HUP);
    wait_for_reloads(&proxy, "refused", 2);
    proxy.wait_for_log("SIGHUP");

    flow.exchange(b"still here");
    proxy.expect_all_on(&endpoint);
    let after = proxy.status();
    assert_eq!((&after.listeners, after.generation), (&before.listeners, before.generation));
    proxy.write_config(|config| config.listener("second", "127.0.0.1:0", "default/web"));
    wait_for_reloads(&proxy, "applied", 1);
    assert!(proxy.status().last_reload.unwrap().applied);
}

/// What needs a restart is refused with that reason, and nothing else of the file is applied.
#[test]
fn change_that_needs_a_restart_is_refused() {
    let mut proxy = setup().start();
    proxy.write_config(|config| {
        config.set("workers", json!(3));
        config.listener("second", "127.0.0.1:0", "default/web");
    });
    wait_for_reloads(&proxy, "refused", 1);
    let status = proxy.status();
    let error = status.last_reload.unwrap().error.unwrap();
    assert!(error.contains("workers") && error.contains("restart"), "{error}");
    assert_eq!((status.listeners.len(), status.workers.len()), (1, 2));
}

/// A listener whose address is in use keeps the whole reload from being applied.
#[test]
fn address_in_use_refuses_the_whole_reload() {
    let (endpoint, taken) = (Endpoint::greeting(), Endpoint::listen());
    let mut proxy = setup().ready([&endpoint]).start();
    let taken = taken.address().to_string();
    proxy.write_config(|config| {
        config.listener("second", "127.0.0.1:0", "default/web");
        config.listener("third", &taken, "default/web");
    });
    wait_for_reloads(&proxy, "refused", 1);
    let status = proxy.status();
    let error = status.last_reload.unwrap().error.unwrap();
    assert!(error.contains("third") && error.contains(&taken), "{error}");
    assert_eq!(status.listeners.len(), 1);
    proxy.expect_all_on(&endpoint);
}

/// The configuration is a ConfigMap's: a link through `..data`, which is swapped.
#[test]
fn swapped_config_map_is_read() {
    let endpoint = Endpoint::greeting();
    let mut proxy = setup().ready([&endpoint]).start();
    let file = proxy.config_file();
    let volume = file.parent().unwrap();
    let text = fs::read_to_string(&file).unwrap();
    let write = |version: usize, text: &str| {
        let directory = volume.join(format!("..2026_{version}"));
        fs::create_dir(&directory).unwrap();
        fs::write(directory.join("tidegate.yaml"), text).unwrap();
        symlink(directory.file_name().unwrap(), volume.join("..data_tmp")).unwrap();
        fs::rename(volume.join("..data_tmp"), volume.join("..data")).unwrap();
    };
    write(0, &text);
    symlink("..data/tidegate.yaml", volume.join("link")).unwrap();
    fs::rename(volume.join("link"), &file).unwrap();
    let second = text.replace("\"web\"", "\"second\"");
    write(1, &second);
    until("the listener has its new name", || proxy.status().listeners[0].name == "second");
    write(2, &text);
    until("the listener has its old name", || proxy.status().listeners[0].name == "web");
    proxy.write_config(|_| {});
}

/// Reloads one after the other, while flows come and go: none of them is refused or broken.
#[test]
fn many_reloads_break_no_flow() {
    let endpoint = Endpoint::greeting();
    let mut proxy = setup().ready([&endpoint]).start();
    let (mut flow, _) = proxy.connect_greeted();
    for number in 1..=20 {
        let settings = json!({"connectTimeout": format!("{}ms", 1000 + number)});
        proxy.write_config(|config| {
            config.service("default/web", settings);
            config.listener(&format!("extra-{}", number % 3), "127.0.0.1:0", "default/web");
            config.remove_listener(&format!("extra-{}", (number + 1) % 3));
        });
        proxy.expect_all_on(&endpoint);
        wait_for_reloads(&proxy, "applied", number);
        proxy.expect_all_on(&endpoint);
        flow.exchange(b"still here");
    }
    drop(flow);
    proxy.wait_for_no_flows();
    let broken = proxy.metrics().total("tidegate_flows_terminated_total");
    assert_eq!(broken, proxy.terminated("normal", "finished"));
}

fn wait_for_reloads(proxy: &Proxy, result: &str, count: u64) {
    until("the reload is counted", || {
        proxy.metrics().sum("tidegate_config_reloads_total", &[("result", result)]) == count
    });
}
