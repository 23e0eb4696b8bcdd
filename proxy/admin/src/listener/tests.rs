use std::io::Write;

use super::*;

#[test]
fn off_loopback_a_token_is_a_must() {
    for address in ["0.0.0.0:0", "[::]:0"] {
        let error = AdminListener::tcp(address.parse().unwrap(), None).unwrap_err();
        assert!(matches!(error, ListenError::TokenMissing(_)), "{error}");
    }
    for address in ["127.0.0.1:0", "127.0.0.2:0"] {
        let listener = AdminListener::tcp(address.parse().unwrap(), None).unwrap();
        assert_ne!(listener.local_addr().unwrap().port(), 0);
    }
}

#[test]
fn a_short_token_is_refused_without_being_shown() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("token");
    fs::write(&path, "hunter2\n").unwrap();
    let error = AdminListener::tcp("0.0.0.0:0".parse().unwrap(), Some(&path)).unwrap_err().to_string();
    assert!(error.contains("fewer than 16"), "{error}");
    assert!(!error.contains("hunter2"), "{error}");
    fs::write(&path, "a".repeat(16)).unwrap();
    AdminListener::tcp("0.0.0.0:0".parse().unwrap(), Some(&path)).unwrap();
}

#[test]
fn a_token_file_that_is_missing_or_huge_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("token");
    let open = || AdminListener::tcp("127.0.0.1:0".parse().unwrap(), Some(&path)).unwrap_err().to_string();
    assert!(open().starts_with(&format!("token file {}: ", path.display())), "{}", open());
    fs::File::create(&path).unwrap().write_all(&[b'x'; 5_000]).unwrap();
    assert!(open().contains("longer than"), "{}", open());
}

#[test]
fn an_address_in_use_is_named() {
    let first = AdminListener::metrics("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = first.local_addr().unwrap();
    let error = AdminListener::metrics(address).unwrap_err().to_string();
    assert!(error.starts_with(&format!("cannot listen on {address}: ")), "{error}");
}

#[test]
fn a_unix_socket_is_for_its_owner_alone_and_goes_with_its_listener() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("admin.sock");
    let listener = AdminListener::unix(&path, None).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(listener.local_addr(), None);
    drop(listener);
    assert!(!path.exists());
}

#[test]
fn a_stale_unix_socket_is_replaced_and_a_live_one_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("admin.sock");
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists(), "the file of a dead process stays");
    let live = AdminListener::unix(&path, None).unwrap();
    let error = AdminListener::unix(&path, None).unwrap_err();
    assert!(matches!(error, ListenError::PathInUse(_)), "{error}");
    drop(live);
}

#[test]
fn something_else_at_the_path_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notes");
    fs::write(&path, "mine").unwrap();
    let error = AdminListener::unix(&path, None).unwrap_err();
    assert!(matches!(error, ListenError::PathTaken(_)), "{error}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
}
