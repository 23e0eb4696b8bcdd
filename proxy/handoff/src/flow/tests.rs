use std::io::{Read, Write, pipe};

use super::*;

fn flow(number: u16, pending: &[u8], residue: Option<&[u8]>) -> FrozenFlow {
    let (client, endpoint) = std::os::unix::net::UnixStream::pair().unwrap();
    let pipe = residue.map(|residue| {
        let (reader, mut writer) = pipe().unwrap();
        writer.write_all(residue).unwrap();
        FrozenPipe { reader: reader.into(), writer: writer.into(), length: residue.len() }
    });
    FrozenFlow {
        listener: format!("l{number}"),
        service: ("default".to_owned(), "web".to_owned(), None),
        client_address: ([10, 0, 0, 1], number).into(),
        endpoint_address: ([10, 0, 0, 2], 80).into(),
        pod_uid: None,
        client: client.into(),
        endpoint: Some(endpoint.into()),
        up: FrozenHalf { pending: pending.to_vec(), bytes: 5, ..FrozenHalf::default() },
        down: FrozenHalf { pipe, source_ended: true, ..FrozenHalf::default() },
        age: Duration::from_secs(9),
        idle: Duration::from_millis(1),
        attempts: 2,
    }
}

#[test]
fn flows_are_put_together_as_they_were() {
    let mut flows = vec![flow(1, b"abc", None), flow(2, b"", Some(b"residue")), flow(3, b"de", Some(b""))];
    let batch = Batch::take(&mut flows);
    assert!(flows.is_empty());
    assert_eq!((batch.descriptors.len(), &batch.bytes[..]), (10, &b"abcde"[..]));
    let mut flows = batch.into_flows().unwrap();
    let pending: Vec<_> = flows.iter().map(|flow| flow.up.pending.clone()).collect();
    assert_eq!(pending, [&b"abc"[..], b"", b"de"]);
    let FrozenPipe { reader, length, .. } = flows[1].down.pipe.take().unwrap();
    let mut residue = vec![0; length];
    std::fs::File::from(reader).read_exact(&mut residue).unwrap();
    assert_eq!(residue, b"residue");
    assert!(flows[0].down.source_ended && flows[0].down.pipe.is_none() && flows[2].down.pipe.is_some());
    assert_eq!((flows[2].client_address.port(), flows[2].attempts, flows[2].up.bytes), (3, 2, 5));
}

/// A flow without an endpoint has one socket.
#[test]
fn flows_that_connect_are_put_together_too() {
    let connecting = FrozenFlow { endpoint: None, ..flow(1, b"", None) };
    let mut flows = vec![connecting, flow(2, b"abc", None)];
    let batch = Batch::take(&mut flows);
    assert_eq!(batch.descriptors.len(), 3);
    let flows = batch.into_flows().unwrap();
    assert!(flows[0].endpoint.is_none() && flows[1].endpoint.is_some());
    assert_eq!(flows[1].up.pending, b"abc");
}

#[test]
fn a_batch_is_what_one_message_takes() {
    let mut flows: Vec<_> = (0..100).map(|number| flow(number, b"", Some(b"x"))).collect();
    let mut sizes = Vec::new();
    while !flows.is_empty() {
        sizes.push(Batch::take(&mut flows).flows.len());
    }
    assert_eq!(sizes, [63, 37]);
}

#[test]
fn facts_that_do_not_fit_are_refused() {
    let batch = || Batch::take(&mut vec![flow(1, b"abc", Some(b"x"))]);
    let mut fewer = batch();
    fewer.descriptors.pop();
    let mut more = batch();
    more.bytes.push(0);
    let mut shorter = batch();
    shorter.bytes.pop();
    let mut longer = batch();
    longer.flows[0].up.pending = usize::MAX;
    let mut fuller = batch();
    fuller.flows[0].down.pipe = Some(usize::MAX);
    for wrong in [fewer, more, shorter, longer, fuller] {
        assert!(wrong.into_flows().is_err());
    }
    assert!(batch().into_flows().is_ok());
}
