use std::net::{Ipv4Addr, Ipv6Addr, TcpStream};

use super::*;

fn any_port() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

#[test]
fn a_group_shares_one_port_that_the_kernel_chose() {
    let group = listen_group(any_port(), 3).unwrap();
    let addresses: Vec<_> = group.iter().map(|l| l.local_addr().unwrap()).collect();
    assert_eq!(addresses.len(), 3);
    assert_ne!(addresses[0].port(), 0);
    assert!(addresses.iter().all(|a| *a == addresses[0]));
}

#[test]
fn an_address_in_use_is_an_error_and_not_a_silent_share() {
    let group = listen_group(any_port(), 2).unwrap();
    let address = group[0].local_addr().unwrap();
    let error = listen_group(address, 1).unwrap_err();
    assert_eq!(error.source.kind(), io::ErrorKind::AddrInUse);
    assert!(error.to_string().contains(&address.to_string()), "{error}");
    assert!(error.to_string().contains("another process listens there"), "{error}");
}

#[test]
fn a_port_is_free_again_while_connections_of_its_last_owner_wait_in_time_wait() {
    let group = listen_group(any_port(), 1).unwrap();
    let address = group[0].local_addr().unwrap();
    let client = TcpStream::connect(address).unwrap();
    group[0].set_nonblocking(false).unwrap();
    let (accepted, _) = group[0].accept().unwrap();
    // The server closes first, so its side is the one that waits.
    drop(accepted);
    drop(client);
    drop(group);
    listen_group(address, 1).unwrap();
}

#[test]
fn the_ipv6_wildcard_serves_ipv4_too() {
    let group = listen_group((Ipv6Addr::UNSPECIFIED, 0).into(), 1).unwrap();
    let port = group[0].local_addr().unwrap().port();
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
}
