//! What `deploy` says to the binary: configurations that it accepts, words that its command line has.
//!
//! Whether the objects agree with each other is tested in `tests/src/deploy`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    process::{Command, Output},
};

use serde_json::{Value, json};
use tidegate_tests::{
    manifests::{Case, at, helm, kustomize, kustomize_overlay, object},
    support::run,
};

fn tidegate(arguments: &[&str]) -> Output {
    run(Command::new(env!("CARGO_BIN_EXE_tidegate")).args(arguments).env_clear())
}

/// Each way to deploy it.
fn ways() -> Option<BTreeMap<&'static str, Vec<Value>>> {
    let case = |values| Case { name: "tidegate", namespace: "default", values };
    let all = json!({
        "gate": {"enabled": true, "tls": true}, "handoff": {"enabled": false}, "log": {"filter": "debug"},
        "configuration": {"handoff": {"timeout": "90s"}}, "shutdown": {"graceSeconds": 3600},
    });
    let charts = helm(&[case(json!({})), case(all)])?;
    let [chart, all] = <[_; 2]>::try_from(charts.cases).expect("one for each");
    Some(BTreeMap::from([
        ("the base", kustomize("kubernetes")?),
        ("the gate", kustomize("gate")?),
        ("the base without handoff", kustomize_overlay(&["kubernetes"], &["no-handoff"])?),
        ("the chart", chart.expect("it renders")),
        ("the chart with all that can be set", all.expect("it renders")),
    ]))
}

fn texts(list: &Value) -> Vec<&str> {
    list.as_array().expect("a list").iter().map(|text| text.as_str().expect("a text")).collect()
}

#[test]
fn the_binary_accepts_every_configuration() {
    let Some(ways) = ways() else { return };
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("tidegate.yaml");
    for (way, objects) in &ways {
        let text = at(object(objects, "ConfigMap tidegate"), "/data/tidegate.yaml").as_str().expect("text");
        fs::write(&file, text).unwrap();
        let answer = tidegate(&["check", "--config", file.to_str().unwrap()]);
        assert!(answer.status.success() && answer.stderr.is_empty(), "{way}: {answer:?}");
    }
}

/// Each word of a command line is one that `--help` has: the subcommands up to the first option, and the options.
#[test]
fn the_binary_has_every_word_of_the_commands() {
    let Some(ways) = ways() else { return };
    let mut seen = BTreeSet::new();
    for (way, objects) in &ways {
        let container = at(object(objects, "DaemonSet tidegate"), "/spec/template/spec/containers/0");
        let mut commands = vec![texts(at(container, "/args"))];
        for probe in ["startup", "readiness", "liveness"] {
            let command = texts(at(container, &format!("/{probe}Probe/exec/command")));
            commands.push(command[1..].to_vec());
        }
        for words in commands {
            let options = words.iter().position(|word| word.starts_with('-')).unwrap_or(words.len());
            let help = tidegate(&[&words[..options], &["--help"]].concat());
            assert!(help.status.success(), "{way}: {words:?}: {help:?}");
            let help = String::from_utf8(help.stdout).expect("text");
            assert!(help.contains(&format!("Usage: tidegate {}", words[0])), "{way}: {words:?}: {help}");
            if let Some(argument) = words[..options].get(1) {
                assert!(help.contains(&format!("- {argument}")), "{way}: {words:?}: {help}");
            }
            for word in &words[options..] {
                let option = word.split('=').next().expect("a first part");
                assert!(help.contains(&format!("{option} <")), "{way}: {option} of {words:?}: {help}");
                seen.insert(option.to_owned());
            }
        }
    }
    assert_eq!(seen, BTreeSet::from(["--config", "--log", "--log-format", "--socket"].map(str::to_owned)));
}
