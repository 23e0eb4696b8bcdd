use std::os::unix::fs::symlink;

use super::*;

/// A directory whose own path has no links.
fn directory() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().canonicalize().unwrap();
    (directory, path)
}

fn names(paths: &[PathBuf]) -> BTreeSet<PathBuf> {
    paths.iter().cloned().collect()
}

#[test]
fn a_plain_path_is_its_own_name() {
    let (_guard, at) = directory();
    fs::create_dir(at.join("a")).unwrap();
    fs::write(at.join("a/b"), "").unwrap();
    let route = Route::of(&at.join("a/../a/./b")).unwrap();
    assert_eq!(route, Route { names: names(&[at.join("a/b")]), end: Some(at.join("a/b")) });
    assert_eq!(route.parents(), BTreeSet::from([&*at.join("a")]));
}

#[test]
fn the_first_missing_name_is_waited_for() {
    let (_guard, at) = directory();
    let route = Route::of(&at.join("a/b/c")).unwrap();
    assert_eq!(route, Route { names: names(&[at.join("a")]), end: None });
}

/// A mounted ConfigMap: `file -> ..data/file`, `..data -> ..1`.
#[test]
fn every_link_on_the_way_matters() {
    let (_guard, at) = directory();
    fs::create_dir(at.join("..1")).unwrap();
    fs::write(at.join("..1/file"), "").unwrap();
    symlink("..1", at.join("..data")).unwrap();
    symlink("..data/file", at.join("file")).unwrap();
    let route = Route::of(&at.join("file")).unwrap();
    assert_eq!(route.end, Some(at.join("..1/file")));
    assert_eq!(route.names, names(&[at.join("file"), at.join("..data"), at.join("..1/file")]));
    assert_eq!(route.parents(), BTreeSet::from([&*at, &*at.join("..1")]));
}

#[test]
fn absolute_links_and_links_upwards_are_followed() {
    let (_guard, at) = directory();
    fs::create_dir_all(at.join("a/b")).unwrap();
    symlink(at.join("a/b"), at.join("absolute")).unwrap();
    symlink("../../absolute", at.join("a/b/up")).unwrap();
    let route = Route::of(&at.join("absolute/up")).unwrap();
    assert_eq!(route.end, Some(at.join("a/b")));
    assert_eq!(route.names, names(&[at.join("absolute"), at.join("a/b/up"), at.join("a/b")]));
}

#[test]
fn links_in_a_circle_are_an_error() {
    let (_guard, at) = directory();
    symlink("b", at.join("a")).unwrap();
    symlink("a", at.join("b")).unwrap();
    let error = Route::of(&at.join("a")).unwrap_err();
    assert!(error.to_string().contains("too many symbolic links"), "{error}");
}
