//! The rules of this repository, as ordinary tests.
//!
//! What a person would otherwise have to remember in a review: who imports whom, what every crate has in common, what
//! tests may not do, and that documents speak of things that exist. A test that fails says which file, and what to do.
//!
//! Rules that one crate can check for itself are there: metrics against their document in `proxy/admin`, fields and
//! examples of the configuration in `config`.

mod documents;
mod manifests;
mod sources;

use std::{
    fs,
    path::{Path, PathBuf},
};

/// The root of the repository.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests are in a folder of the repository")
}

/// A file of the repository as text.
fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every file whose name ends with `end`, relative to the root, in order. Hidden folders and build output are not
/// looked at.
fn files(end: &str) -> Vec<PathBuf> {
    fn walk(folder: &Path, end: &str, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).expect("a folder can be read") {
            let path = entry.expect("a folder can be read").path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if name.starts_with('.') || name == "target" {
                continue;
            }
            if path.is_dir() {
                walk(&path, end, found);
            } else if name.ends_with(end) {
                found.push(path.strip_prefix(root()).expect("it is below the root").to_owned());
            }
        }
    }
    let mut found = Vec::new();
    walk(root(), end, &mut found);
    found.sort();
    assert!(!found.is_empty(), "no file ends with {end}: is {} the repository?", root().display());
    found
}

/// Fails with everything that is wrong at once, and with what to do about it.
fn expect_none(faults: &[String], remedy: &str) {
    assert!(faults.is_empty(), "\n{}\n\n{remedy}\n", faults.join("\n"));
}

/// The words of a text made of these characters, with the character before each.
fn words(text: &str, is_part: impl Fn(char) -> bool + Copy) -> impl Iterator<Item = &str> {
    text.split(move |character| !is_part(character)).filter(|word| !word.is_empty())
}

#[test]
fn nothing_is_at_the_root_that_does_not_belong_there() {
    const FOLDERS: [&str; 6] = ["benches", "config", "deploy", "proxy", "target", "tests"];
    const FILES: [&str; 10] = [
        "ARCHITECTURE.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "Cargo.lock",
        "Cargo.toml",
        "LICENSE",
        "Makefile",
        "README.md",
        "SECURITY.md",
        "rustfmt.toml",
    ];
    let mut faults = Vec::new();
    for entry in fs::read_dir(root()).expect("the root can be read") {
        let entry = entry.expect("the root can be read");
        let name = entry.file_name().to_string_lossy().into_owned();
        let allowed = if entry.path().is_dir() { &FOLDERS[..] } else { &FILES[..] };
        if !name.starts_with('.') && !allowed.contains(&name.as_str()) {
            faults.push(name);
        }
    }
    let missing = FILES.iter().filter(|name| !root().join(name).is_file());
    faults.extend(missing.map(|name| format!("{name} is missing")));
    expect_none(
        &faults,
        "The root holds one manifest, five folders and the documents that everybody reads first. Put the file into \
         the folder that it speaks of, or add it to the list in tests/src/tidy.rs.",
    );
}
