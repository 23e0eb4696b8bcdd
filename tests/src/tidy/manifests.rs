//! What the manifests promise: layers, lints, a core without dependencies.

use std::collections::{BTreeMap, BTreeSet};

use toml::{Table, Value};

use super::{expect_none, files, read};

fn manifest(path: &str) -> Table {
    read(path).parse().unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every crate's folder with its manifest.
fn crates() -> BTreeMap<String, Table> {
    let folders = files("Cargo.toml").into_iter().filter_map(|path| {
        let folder = path.parent()?.to_str()?.to_owned();
        (!folder.is_empty()).then(|| (folder.clone(), manifest(&format!("{folder}/Cargo.toml"))))
    });
    folders.collect()
}

fn name(manifest: &Table) -> &str {
    manifest["package"]["name"].as_str().expect("a crate has a name")
}

fn keys(manifest: &Table, table: &str) -> BTreeSet<String> {
    manifest.get(table).and_then(Value::as_table).into_iter().flat_map(Table::keys).cloned().collect()
}

/// The layout in ARCHITECTURE.md: folder, crate, and the crates that it imports; `None` where it may import any.
fn layout() -> BTreeMap<String, (String, Option<BTreeSet<String>>)> {
    let text = read("ARCHITECTURE.md");
    let rows = text.lines().filter(|line| line.starts_with("| `") && line.contains("| `tidegate"));
    let bare = |cell: &str| cell.trim().trim_matches('`').to_owned();
    rows.map(|row| {
        let cells: Vec<_> = row.trim_matches('|').split('|').collect();
        let [folder, name, imports, ..] = cells.as_slice() else { panic!("a row of the layout: {row}") };
        let imports = match imports.trim() {
            "any" => None,
            "nothing" => Some(BTreeSet::new()),
            list => Some(list.split(',').map(|name| format!("tidegate-{}", bare(name))).collect()),
        };
        (bare(folder), (bare(name), imports))
    })
    .collect()
}

#[test]
fn layers_are_as_the_architecture_says() {
    let (layout, crates) = (layout(), crates());
    let mut faults = Vec::new();
    for folder in layout.keys().filter(|folder| !crates.contains_key(*folder)) {
        faults.push(format!("{folder} is in the layout and has no manifest"));
    }
    for (folder, manifest) in &crates {
        let Some((crate_name, imports)) = layout.get(folder) else {
            faults.push(format!("{folder} is not in the layout"));
            continue;
        };
        if crate_name != name(manifest) {
            faults.push(format!("{folder}: {} is called {crate_name} in the layout", name(manifest)));
        }
        let mut real = keys(manifest, "dependencies");
        real.retain(|dependency| dependency.starts_with("tidegate"));
        if let Some(imports) = imports.as_ref().filter(|imports| **imports != real) {
            faults.push(format!("{folder} imports {real:?}, the layout says {imports:?}"));
        }
    }
    expect_none(
        &faults,
        "The layers keep the core pure and the data plane apart from the control plane. Where a new import is right, \
         change the layout in ARCHITECTURE.md with it and say why; otherwise move the code.",
    );
}

#[test]
fn the_core_needs_nothing() {
    let manifest = manifest("proxy/core/Cargo.toml");
    let mut faults: Vec<_> = keys(&manifest, "dependencies").into_iter().collect();
    if !read("proxy/core/src/lib.rs").lines().any(|line| line == "#![no_std]") {
        faults.push("#![no_std] is not in proxy/core/src/lib.rs".to_owned());
    }
    expect_none(
        &faults,
        "The core decides and does nothing else: no I/O, no clock, no logging. That it is no_std and has no \
         dependencies lets the compiler check it. Give it what it needs as an argument.",
    );
}

#[test]
fn every_crate_has_the_workspaces_lints() {
    let workspace = manifest("Cargo.toml");
    let mut faults = Vec::new();
    if workspace["workspace"]["lints"]["rust"]["unsafe_code"].as_str() != Some("forbid") {
        faults.push("Cargo.toml: workspace.lints.rust.unsafe_code is not \"forbid\"".to_owned());
    }
    let members = workspace["workspace"]["members"].as_array().expect("a workspace has members");
    for (folder, manifest) in crates() {
        let inherits = |table: &str, key: &str| {
            let value = manifest.get(table).and_then(|table| table.get(key));
            value.and_then(|value| value.get("workspace")).and_then(Value::as_bool) == Some(true)
        };
        let lints = manifest.get("lints").and_then(|lints| lints.get("workspace")).and_then(Value::as_bool);
        if lints != Some(true) {
            faults.push(format!("{folder}: [lints] workspace = true is missing"));
        }
        for key in ["version", "edition", "rust-version", "license", "publish"] {
            if !inherits("package", key) {
                faults.push(format!("{folder}: package.{key} is not the workspace's"));
            }
        }
        for table in ["dependencies", "dev-dependencies", "build-dependencies"] {
            let own = keys(&manifest, table).into_iter().filter(|dependency| !inherits(table, dependency));
            faults.extend(own.map(|dependency| format!("{folder}: {dependency} is not the workspace's")));
        }
        if !members.iter().any(|member| member.as_str() == Some(folder.as_str())) {
            faults.push(format!("{folder} is no member of the workspace"));
        }
    }
    expect_none(
        &faults,
        "Every crate has one version, one set of lints (unsafe code forbidden among them) and one version of each \
         dependency. Inherit from the root manifest: `name.workspace = true`.",
    );
}
