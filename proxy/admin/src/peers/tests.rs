use std::net::SocketAddr;

use super::*;

fn peers(own: &str) -> Peers {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    io::Write::write_all(&mut file, b"a token of some length").unwrap();
    let options = PeerOptions {
        members: Members::Addresses(Vec::new()),
        token_file: file.path().to_owned(),
        tls: None,
        own: own.parse().unwrap(),
    };
    Peers::new(options).unwrap()
}

/// This instance is not asked by itself, whichever of its addresses the list has.
#[test]
fn an_instance_knows_its_own_address() {
    let is_own = |own: &str, address: &str| peers(own).is_own(address.parse::<SocketAddr>().unwrap());
    assert!(is_own("127.0.0.1:9903", "127.0.0.1:9903"));
    assert!(!is_own("127.0.0.1:9903", "127.0.0.1:9904"));
    assert!(!is_own("127.0.0.1:9903", "127.0.0.2:9903"), "another one on the same machine");
    assert!(is_own("0.0.0.0:9903", "127.0.0.1:9903"));
    assert!(!is_own("0.0.0.0:9903", "192.0.2.1:9903"), "an address that no host has");
}

#[test]
fn files_that_are_missing_are_named() {
    let options = |token_file: &str, tls| PeerOptions {
        members: Members::Addresses(Vec::new()),
        token_file: token_file.into(),
        tls,
        own: "127.0.0.1:9903".parse().unwrap(),
    };
    let error = Peers::new(options("/nowhere/token", None)).unwrap_err().to_string();
    assert!(error.starts_with("peers.tokenFile /nowhere/token: "), "{error}");
    let mut file = tempfile::NamedTempFile::new().unwrap();
    io::Write::write_all(&mut file, b"a token of some length").unwrap();
    let tls = TlsFiles {
        certificate: "/nowhere/tls.crt".into(),
        key: "/nowhere/tls.key".into(),
        authority: "/nowhere/ca.crt".into(),
        server_name: "tidegate".to_owned(),
    };
    let error = Peers::new(options(file.path().to_str().unwrap(), Some(tls))).unwrap_err().to_string();
    assert!(error.starts_with("peers.tls: /nowhere/tls.crt: "), "{error}");
}
