//! What is in `deploy`, as the objects that kubectl's kustomize and Helm (as a library for Python) make of it.
//!
//! `.ci/run` installs both into `target/deploy-tools`. Without them a test is skipped and says so; as root on a CI
//! machine that is a failure, because there it has to be made.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::{Value, json};

use crate::support::skipped;

/// Renders a chart once for each set of values: the text of each template, or the error.
const RENDER: &str = r#"
import json, sys
import helm_python as helm
order = json.load(sys.stdin)
answers = []
with helm.Chart.load(order["chart"]) as chart:
    for case in order["cases"]:
        try:
            chart.validate_schema(case["values"])
            texts = chart.render(case["values"], name=case["name"], namespace=case["namespace"])
            answers.append({"texts": texts})
        except helm.HelmError as error:
            answers.append({"error": str(error)})
lint = helm.lint(order["chart"], {}, strict=True)
json.dump({"answers": answers, "lint": lint}, sys.stdout)
"#;

/// What a chart became.
pub struct Rendered {
    /// For each case its objects, in no order, or why there are none.
    pub cases: Vec<Result<Vec<Value>, String>>,
    /// What the linter found, errors and warnings alone.
    pub faults: Vec<String>,
}

/// A set of values, under a release's name and namespace.
pub struct Case<'a> {
    /// The release's name.
    pub name: &'a str,
    /// The release's namespace.
    pub namespace: &'a str,
    /// What is set.
    pub values: Value,
}

fn installed(program: &str) -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    // The folder is the repository's, wherever cargo builds: that is where .ci/run installs to.
    let folders = [root().join("target"), target];
    folders
        .iter()
        .map(|folder| folder.join("deploy-tools/bin").join(program))
        .find(|path| path.is_file())
        .unwrap_or_else(|| program.into())
}

fn missing<T>(what: &str) -> Option<T> {
    let is_root = rustix::process::geteuid().is_root();
    assert!(
        !(is_root && std::env::var_os("CI").is_some()),
        "a CI machine has to have what deploy is tested with; .ci/run installs it: {what}"
    );
    skipped(what);
    None
}

/// What `kubectl apply -k` would send for a folder below `deploy`.
pub fn kustomize(folder: &str) -> Option<Vec<Value>> {
    kustomize_at(&root().join("deploy").join(folder))
}

/// What it would send for an overlay of somebody's own over folders below `deploy`.
pub fn kustomize_overlay(resources: &[&str], components: &[&str]) -> Option<Vec<Value>> {
    let overlay = tempfile::tempdir().expect("there is room for a file");
    let place = overlay.path().canonicalize().expect("it is there");
    // Kustomize takes no absolute paths.
    let up: PathBuf = place.components().skip(1).map(|_| "..").collect();
    let deploy = root().canonicalize().expect("it is there").join("deploy");
    let deploy = up.join(deploy.strip_prefix("/").expect("it is absolute"));
    let paths = |folders: &[&str]| folders.iter().map(|folder| deploy.join(folder)).collect::<Vec<_>>();
    let text = json!({"resources": paths(resources), "components": paths(components)}).to_string();
    fs::write(place.join("kustomization.yaml"), text).expect("there is room for a file");
    kustomize_at(&place)
}

fn kustomize_at(folder: &Path) -> Option<Vec<Value>> {
    let output = match Command::new(installed("kubectl")).arg("kustomize").arg(folder).output() {
        Ok(output) => output,
        Err(error) => return missing(&format!("kubectl is not here ({error})")),
    };
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && errors.is_empty(), "kubectl kustomize {}: {errors}", folder.display());
    Some(documents(&String::from_utf8(output.stdout).expect("YAML is UTF-8")))
}

/// What `helm template` would print, for each case.
pub fn helm(cases: &[Case<'_>]) -> Option<Rendered> {
    let python = installed("python3");
    let probe = Command::new(&python).args(["-c", "import helm_python"]).output();
    if !probe.is_ok_and(|output| output.status.success()) {
        let remedy =
            "python3 -m venv target/deploy-tools && target/deploy-tools/bin/pip install helm-python-sdk";
        return missing(&format!("Helm for Python is not here ({remedy})"));
    }
    let cases: Vec<Value> = cases
        .iter()
        .map(|case| json!({"name": case.name, "namespace": case.namespace, "values": case.values}))
        .collect();
    let order = json!({"chart": root().join("deploy/helm"), "cases": cases});
    let mut child = Command::new(&python)
        .args(["-c", RENDER])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python runs");
    child.stdin.take().expect("piped").write_all(order.to_string().as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "rendering failed; its error is above");
    let answer: Value = serde_json::from_slice(&output.stdout).expect("it answers in JSON");
    let cases = answer["answers"].as_array().expect("a list").iter().map(|answer| {
        if let Some(error) = answer["error"].as_str() {
            return Err(error.to_owned());
        }
        let texts = answer["texts"].as_object().expect("a map").iter();
        let manifests = texts.filter(|(name, _)| !name.ends_with(".txt"));
        Ok(manifests.flat_map(|(_, text)| documents(text.as_str().expect("text"))).collect())
    });
    let messages = answer["lint"]["messages"].as_array().expect("a list").iter();
    // 1 is information, such as that there is no icon.
    let faults = messages.filter(|message| message["severity"] != 1).map(Value::to_string);
    Some(Rendered { cases: cases.collect(), faults: faults.collect() })
}

/// The root of the repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests are in a folder of the repository")
}

/// A file of `deploy` as text.
pub fn read(path: &str) -> String {
    let path = root().join("deploy").join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The documents of a YAML text; empty ones are left out, as a template makes them.
pub fn documents(text: &str) -> Vec<Value> {
    let documents: Vec<Value> =
        serde_saphyr::from_multiple(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    documents.into_iter().filter(|document| !document.is_null()).collect()
}

/// A value at a path such as `/spec/template`; fails where there is none.
#[track_caller]
pub fn at<'a>(object: &'a Value, path: &str) -> &'a Value {
    object.pointer(path).unwrap_or_else(|| panic!("no {path} in {object:#}"))
}

/// `Kind name` of an object.
pub fn title(object: &Value) -> String {
    let text = |path: &str| object.pointer(path).and_then(Value::as_str).unwrap_or("?").to_owned();
    format!("{} {}", text("/kind"), text("/metadata/name"))
}

/// The one object with this title.
#[track_caller]
pub fn object<'a>(objects: &'a [Value], wanted: &str) -> &'a Value {
    let mut found = objects.iter().filter(|object| title(object) == wanted);
    let first = found.next().unwrap_or_else(|| panic!("there is no {wanted}"));
    assert!(found.next().is_none(), "there is more than one {wanted}");
    first
}
