use std::os::unix::fs::PermissionsExt;

use super::*;

fn drain(pod: &str) -> StoredRequest {
    StoredRequest {
        selector: EndpointSelector::Pod { service: ServiceName::new("default", "web"), pod: pod.into() },
        state: AdminState::Drain,
        by: "ada".into(),
        reason: "disk is failing".into(),
        since: "2026-01-02T03:04:05.006Z".into(),
        cut_at: None,
    }
}

fn open() -> (tempfile::TempDir, StateDirectory) {
    let parent = tempfile::tempdir().unwrap();
    let directory = StateDirectory::open(parent.path().join("state")).unwrap();
    (parent, directory)
}

#[test]
fn requests_survive() {
    let (_parent, directory) = open();
    assert_eq!(directory.load(), []);
    let address = EndpointSelector::Address {
        service: ServiceName::new("default", "web"),
        address: "[2001:db8::1]:80".parse().unwrap(),
    };
    let undrain = StoredRequest { selector: address, state: AdminState::InService, ..drain("") };
    let requests = [drain("web-0"), undrain];
    directory.save(1, &requests).unwrap();
    let again = StateDirectory::open(directory.path()).unwrap();
    assert_eq!(again.load(), requests);
}

#[test]
fn the_file_is_for_its_owner_alone() {
    let (_parent, directory) = open();
    directory.save(1, &[drain("web-0")]).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&directory.path().join(FILE)), 0o600);
    assert_eq!(mode(directory.path()), 0o700);
}

#[test]
fn an_older_list_does_not_overwrite_a_newer_one() {
    let (_parent, directory) = open();
    directory.save(2, &[drain("new")]).unwrap();
    directory.save(1, &[drain("old")]).unwrap();
    assert_eq!(directory.load(), [drain("new")]);
}

#[test]
fn what_a_crash_left_beside_is_in_nobodys_way() {
    let (_parent, directory) = open();
    fs::write(directory.path().join(FILE_NEW), "half").unwrap();
    directory.save(1, &[drain("web-0")]).unwrap();
    assert_eq!(directory.load(), [drain("web-0")]);
    assert!(!directory.path().join(FILE_NEW).exists());
}

#[test]
fn a_file_that_cannot_be_understood_is_moved_aside() {
    let neither =
        r#"{"version":1,"requests":[{"service":"a/b","state":"drain","by":"","reason":"","since":""}]}"#;
    let name = r#"{"version":1,"requests":[{"service":"ab","pod":"p","state":"drain","by":"","reason":"","since":""}]}"#;
    for text in ["", "{", "[]", r#"{"version":2,"requests":[]}"#, neither, name] {
        let (_parent, directory) = open();
        fs::write(directory.path().join(FILE), text).unwrap();
        assert_eq!(directory.load(), [], "{text}");
        assert!(!directory.path().join(FILE).exists(), "{text}");
        assert_eq!(fs::read_to_string(directory.path().join(FILE_CORRUPT)).unwrap(), text);
    }
}

#[test]
fn a_huge_file_is_not_read_whole() {
    let (_parent, directory) = open();
    let file = File::create(directory.path().join(FILE)).unwrap();
    file.set_len(FILE_LIMIT * 1_000).unwrap();
    assert_eq!(directory.load(), []);
    assert!(directory.path().join(FILE_CORRUPT).exists());
}

#[test]
fn a_directory_that_cannot_be_made_is_named() {
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("file");
    fs::write(&path, "").unwrap();
    let error = StateDirectory::open(&path).unwrap_err().to_string();
    assert!(error.starts_with(&format!("state directory {}: ", path.display())), "{error}");
}
