use std::fmt::Write as _;

use crate::parse;

const HEAD: &str = "apiVersion: tidegate.io/v1alpha1\nkind: ProxyConfiguration\n";
const SOURCE: &str = "source: {endpointSliceDirectory: ./endpoints}\n";
const LISTENER: &str = "listeners:\n- {name: web, address: 127.0.0.1:8080, service: default/web}\n";

/// What is said of a text: the error, or the warnings.
fn said(text: &str) -> String {
    match parse(text, "tidegate.yaml") {
        Err(error) => error.to_string(),
        Ok(loaded) => loaded.warnings.iter().fold(String::from("valid"), |mut said, warning| {
            let _ = write!(said, "\nwarning: {}", warning.display(&loaded.origin));
            said
        }),
    }
}

/// The same for what follows a valid beginning.
fn said_after(rest: &str) -> String {
    said(&format!("{HEAD}{SOURCE}{LISTENER}{rest}"))
}

#[test]
fn the_smallest_configuration_is_valid() {
    assert_eq!(said_after(""), "valid");
    let json = r#"{"apiVersion": "tidegate.io/v1alpha1", "kind": "ProxyConfiguration",
        "source": {"endpointSliceDirectory": "e"},
        "listeners": [{"name": "web", "address": "127.0.0.1:0", "service": "default/web"}]}"#;
    assert_eq!(said(json), "valid");
}

#[test]
fn an_unknown_field_names_the_likely_one() {
    insta::assert_snapshot!(said_after("services:\n- name: default/web\n  polcy: maglev\n"));
}

#[test]
fn an_unknown_field_without_a_likely_one_names_all() {
    insta::assert_snapshot!(said_after("keepalive:\n  idle: 3s\n"));
}

#[test]
fn a_wrong_word_names_the_allowed_ones() {
    insta::assert_snapshot!(said_after(
        "defaults: {policy: leastConnections, whenNoneReady: fail, onRemoval: 3}\nflowLog: {mode: on}\n"
    ));
}

#[test]
fn a_bad_duration_says_what_one_looks_like() {
    insta::assert_snapshot!(said_after(
        "defaults:\n  connectTimeout: 2\n  idleTimeout: never\n  userTimeout: 0s\n  deadPeerTimeout: 600h\n  \
         keepalive: {idle: 1500ms, interval: none, probes: 0}\n  affinity: {clientIP: {timeout: 25h}}\nshutdown: \
         {delay: none, grace: -1s}\n"
    ));
}

#[test]
fn what_is_missing_is_named_with_a_remedy() {
    insta::assert_snapshot!(said(
        "kind: ProxyConfiguration\nadmin: {}\nmetrics: {}\nsource: {}\nlisteners:\n- {}\n- name: web\nservices:\n- \
         endpoints: [{weight: 3}]\n"
    ));
}

#[test]
fn an_empty_file_says_so() {
    insta::assert_snapshot!(said(" \n"));
}

#[test]
fn listeners_are_needed() {
    insta::assert_snapshot!(said(HEAD));
}

#[test]
fn a_source_is_one_of_two() {
    let of = |source: &str| said(&format!("{HEAD}{source}{LISTENER}"));
    assert_eq!(of("source: {kubernetes: {}}\n"), "valid");
    assert_eq!(
        said(&format!("{HEAD}source: {{kubernetes: {{}}}}\n")),
        "valid",
        "listeners come with Services"
    );
    let both = of("source: {endpointSliceDirectory: e, kubernetes: {}}\n");
    let none = of("source: {kubernetes: {namespaces: []}}\n");
    let bad = of(
        "source:\n  kubernetes:\n    kubeconfig: ''\n    context: a b\n    namespaces: [default, Default, default]\n",
    );
    insta::assert_snapshot!([both, none, bad].join("\n"));
}

#[test]
fn a_listener_is_unique_in_name_and_address() {
    insta::assert_snapshot!(said(&format!(
        "{HEAD}{SOURCE}\
listeners:
- name: web
  address: 127.0.0.1:8080
  service: default/web
- name: web
  address: 127.0.0.1:8080
  service: default/web
- {{name: wide, address: 0.0.0.0:8080, service: default/web}}
- {{name: v6, address: '[::1]:8080', service: default/web}}
- {{name: admin, address: 127.0.0.1:9901, service: default/web}}
- {{name: any, address: 127.0.0.1:0, service: default/web}}
- {{name: another, address: 127.0.0.1:0, service: default/web}}
admin: {{address: 127.0.0.1:9901}}
metrics: {{address: '[::]:9901'}}
"
    )));
}

#[test]
fn an_admin_address_off_loopback_needs_a_token() {
    insta::assert_snapshot!(said_after("admin:\n  address: 0.0.0.0:9901\n"));
    for fine in [
        "admin: {address: 0.0.0.0:9901, tokenFile: token}\n",
        "admin: {address: 127.0.0.2:9901}\n",
        "admin: {address: '[::1]:9901'}\n",
        "admin: {address: '[::ffff:127.0.0.1]:9901'}\n",
        "admin: {address: unix:admin.sock}\n",
    ] {
        assert_eq!(said_after(fine), "valid", "{fine}");
    }
}

#[test]
fn a_service_without_endpoints_says_where_they_could_come_from() {
    insta::assert_snapshot!(said(&format!("{HEAD}{LISTENER}")));
}

#[test]
fn fixed_endpoints_are_checked() {
    insta::assert_snapshot!(said_after(
        "services:\n- name: default/web\n  endpoints:\n  - 10.0.0.1\n  - 10.0.0.1:80\n  - {address: 10.0.0.1:80}\n  - \
         10.0.0.2:0\n  - 0.0.0.0:80\n  - 239.0.0.1:80\n  - {address: 10.0.0.3:80, weight: 0}\n  - {address: \
         10.0.0.4:80, weight: 65536}\n- name: default/web\n- name: web\n"
    ));
}

#[test]
fn an_endpoint_of_another_form_says_which_there_are() {
    insta::assert_snapshot!(said_after("services:\n- name: default/web\n  endpoints: [[10.0.0.1]]\n"));
}

#[test]
fn single_values_are_checked() {
    insta::assert_snapshot!(said(
        "apiVersion: v1\nkind: Proxy\nworkers: 0\nadmin: {address: 'unix:'}\nsource: {endpointSliceDirectory: \
         ''}\nstateDirectory: 3\nnode: {name: a b, zone: [x]}\nflowLog: {mode: sampled, sampleEvery: 0}\naudit: {file: 7, keep: 0}\nlisteners:\n- \
         {name: a/b, address: localhost:80, service: Default/web, port: 80}\ndefaults: {connectAttempts: 17, keepalive: \
         {enabled: yes}}\n"
    ));
}

#[test]
fn peers_are_checked() {
    insta::assert_snapshot!(said(&format!(
        "{HEAD}{SOURCE}listeners: [{{name: web, address: 127.0.0.1:8080, service: default/web}}]\npeers:\n  service: \
         tidegate\n  addresses: [10.0.0.1, 10.0.0.1:0, 10.0.0.2:1, 10.0.0.2:1]\n  tls: {{keyFile: k}}\n"
    )));
}

/// With an API server the instances are where its own Service says; in other cases somebody has to say where.
#[test]
fn peers_need_a_place_to_be_found() {
    let rest = "listeners: [{name: web, address: 127.0.0.1:8080, service: default/web}]\ngate: {address: \
                127.0.0.1:9903}\npeers: {tokenFile: t}\n";
    let of = |source: &str| parse(&format!("{HEAD}{source}{rest}"), "/etc/tidegate.yaml");
    assert!(of(SOURCE).unwrap_err().to_string().contains("add `service: NAMESPACE/NAME`"));
    let members = |source: &str| of(source).unwrap().configuration.peers.unwrap().members;
    assert_eq!(members("source: {kubernetes: {}}\n"), crate::PeerMembers::Own);
    let named = members("source: {kubernetes: {ownService: lb/tidegate}}\n");
    assert_eq!(named, crate::PeerMembers::Service("lb/tidegate".parse().unwrap()));
}

#[test]
fn what_has_no_effect_is_a_warning() {
    insta::assert_snapshot!(said(&format!(
        "{HEAD}listeners:\n- {{name: web, address: 127.0.0.1:8080, service: default/web, port: http}}\nservices:\n- \
         name: default/web\n  endpoints: []\n- name: default/other\n  keepalive: {{enabled: false, idle: \
         3s}}\nflowLog: {{sampleEvery: 5}}\n"
    )));
}

#[test]
fn a_shape_that_is_not_expected_says_what_is() {
    for (name, text) in [
        ("list", "listeners: web\n"),
        ("map", "- a\n- b\n"),
        ("settings", "defaults: 3\n"),
        ("syntax", "listeners: [\n"),
        ("tab", "a:\n\tb: c\n"),
        ("twice", "kind: a\nkind: b\n"),
        ("documents", "kind: a\n---\nkind: b\n"),
        ("anchor", "kind: *a\n"),
    ] {
        insta::assert_snapshot!(format!("shape_{name}"), said(text));
    }
}

#[test]
fn more_findings_than_fit_are_counted() {
    let listeners: String = (0..30).fold(String::from("listeners:\n"), |mut text, _| {
        text.push_str("- {name: web, address: x, service: default/web}\n");
        text
    });
    let said = said(&format!("{HEAD}{SOURCE}{listeners}"));
    assert!(said.ends_with("and 39 more"), "{said}");
}

/// A terminal that shows the error must not be steered by the file.
#[test]
fn control_characters_are_not_repeated() {
    let said = said_after("nonsense: \"\\e[2J\"\n\u{85}");
    assert!(said.chars().all(|c| c == '\n' || !c.is_control()), "{said:?}");
    let said = said_after("defaults: {policy: \"\\e[2J\"}\n");
    assert!(said.chars().all(|c| c == '\n' || !c.is_control()), "{said:?}");
}

/// What the README shows is what is said.
#[test]
fn the_readme_shows_a_real_error() {
    let text = "apiVersion: tidegate.io/v1alpha1
kind: ProxyConfiguration
source: {endpointSliceDirectory: ./endpoints}
listeners:
- name: web
  address: 127.0.0.1:8080
  service: web
services:
- name: default/web
  connectTimeout: 2
";
    let readme = include_str!("../../README.md");
    let said = said(text);
    assert!(readme.contains(&said), "{said}");
}

/// Whose pods do not terminate have no end that a pod's deadline could take. It is said once, where it was written.
#[test]
fn a_removal_whose_deadline_nobody_knows_is_a_warning() {
    let kubernetes = |rest: &str| said(&format!("{HEAD}source: {{kubernetes: {{}}}}\n{LISTENER}{rest}"));
    let service = |settings: &str| format!("services:\n- {{name: default/web, {settings}}}\n");
    let both = kubernetes(&service("onRemoval: deadline, drain: {deadline: pod}"));
    assert_eq!(both.matches("warning").count(), 1, "{both}");
    for words in ["services[0].onRemoval", "`default/web`'s endpoints", "such as `10m`"] {
        assert!(both.contains(words), "{words}: {both}");
    }
    let with_defaults = "defaults: {onRemoval: deadline}\n".to_owned() + &service("drain: {deadline: pod}");
    assert!(kubernetes(&with_defaults).contains("services[0].drain.deadline: `onRemoval: deadline`"));
    let defaults = kubernetes(
        "defaults: {onRemoval: deadline, drain: {deadline: pod}}\nservices: [{name: default/web}]\n",
    );
    assert!(defaults.contains("defaults.onRemoval") && !defaults.contains("services[0]"), "{defaults}");
    for fine in ["onRemoval: deadline, drain: {deadline: 10m}", "onRemoval: close, drain: {deadline: pod}"] {
        assert_eq!(kubernetes(&service(fine)), "valid", "{fine}");
    }
}
