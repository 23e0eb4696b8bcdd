use std::net::SocketAddr;

use tidegate_core::Event;

use super::*;
use crate::rig::{Rig, slice};

fn peers(own: &str) -> Peers {
    peers_of(Members::Addresses(Vec::new()), own)
}

fn peers_of(members: Members, own: &str) -> Peers {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    io::Write::write_all(&mut file, b"a token of some length").unwrap();
    let options =
        PeerOptions { members, token_file: file.path().to_owned(), tls: None, own: own.parse().unwrap() };
    Peers::new(options).unwrap()
}

/// While instances are rolled out with a surge, two pods on a node's network have its address, and one of them answers.
#[tokio::test(start_paused = true)]
async fn an_address_is_asked_once_however_many_pods_have_it() {
    let rig = Rig::start(false).await;
    let mut own =
        slice(&[("10.0.0.8", "tidegate-old"), ("10.0.0.8", "tidegate-new"), ("10.0.0.9", "tidegate-own")]);
    own.name.name = "tidegate-abc12".into();
    own.service = Some(ServiceName::new("default", "tidegate"));
    rig.event(Event::SliceApplied(own)).await;
    let of_service = Members::Service(ServiceName::new("default", "tidegate"));
    let twice = ["10.0.0.8:9903", "10.0.0.9:9903", "10.0.0.8:9903"].map(|it| it.parse().unwrap());
    for members in [of_service, Members::Addresses(twice.to_vec())] {
        let others = peers_of(members, "10.0.0.9:9903").others(&rig.state.control).await.unwrap();
        assert_eq!(Vec::from_iter(others), ["10.0.0.8:9903".parse().unwrap()]);
    }
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
