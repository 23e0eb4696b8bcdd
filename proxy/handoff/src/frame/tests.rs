use proptest::prelude::*;

use super::*;
use crate::flow::{FlowFacts, HalfFacts};

fn header() -> impl Strategy<Value = Header> {
    (0..=JSON_LIMIT, 0..=BYTES_LIMIT, 0..=253_usize).prop_map(|(json, bytes, descriptors)| Header {
        json,
        bytes,
        descriptors,
    })
}

fn half() -> impl Strategy<Value = HalfFacts> {
    (any::<usize>(), any::<Option<usize>>(), any::<bool>(), any::<bool>(), any::<u64>()).prop_map(
        |(pending, pipe, source_ended, sink_ended, bytes)| HalfFacts {
            pending,
            pipe,
            source_ended,
            sink_ended,
            bytes,
        },
    )
}

fn flow() -> impl Strategy<Value = FlowFacts> {
    let names = (".{0,40}", ".{0,40}", proptest::option::of(".{0,40}"));
    let times = (any::<std::time::Duration>(), any::<std::time::Duration>());
    (".{0,40}", names, any::<[u8; 4]>(), any::<u16>(), proptest::option::of(".{0,40}"), half(), half(), times)
        .prop_map(|(listener, service, ip, port, pod_uid, up, down, (age, idle))| FlowFacts {
            listener,
            service,
            client_address: (ip, port).into(),
            endpoint_address: (ip, port).into(),
            pod_uid,
            up,
            down,
            age,
            idle,
            attempts: port.into(),
            connecting: port % 2 == 0,
        })
}

/// What the parser does with any bytes: it answers, within its limits. Also the body for a fuzzer.
fn parse(data: &[u8]) {
    let Some((header, body)) = data.split_first_chunk::<HEADER>() else { return };
    let Ok(header) = Header::decode(header) else { return };
    let body: Vec<u8> = body.iter().copied().take(header.body()).collect();
    if let Ok((message, bytes)) = decode(&header, body) {
        assert!(bytes.len() <= BYTES_LIMIT);
        // What was understood can be said again.
        encode(&message, &bytes, header.descriptors).unwrap();
    }
}

proptest! {
    #[test]
    fn headers_are_read_as_they_are_written(header in header()) {
        prop_assert_eq!(Header::decode(&header.encode().unwrap()).unwrap(), header);
    }

    #[test]
    fn flows_are_read_as_they_are_written(
        flows in proptest::collection::vec(flow(), 0..5),
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let message = Message::Offer { batch: 7, flows };
        let frame = encode(&message, &bytes, 3).unwrap();
        let (head, body) = frame.split_first_chunk().unwrap();
        let header = Header::decode(head).unwrap();
        prop_assert_eq!((header.body(), header.descriptors), (body.len(), 3));
        prop_assert_eq!(decode(&header, body.to_vec()).unwrap(), (message, bytes));
    }

    #[test]
    fn any_bytes_are_parsed_or_refused(data in proptest::collection::vec(any::<u8>(), 0..300)) {
        parse(&data);
    }

    /// A valid frame with one byte changed.
    #[test]
    fn damaged_frames_are_parsed_or_refused(flow in flow(), at in any::<proptest::sample::Index>(), byte: u8) {
        let mut frame = encode(&Message::Offer { batch: 1, flows: vec![flow] }, b"held", 2).unwrap();
        let at = at.index(frame.len());
        frame[at] = byte;
        parse(&frame);
    }
}

#[test]
fn lengths_over_their_limits_are_refused() {
    for (json, bytes, descriptors) in [(JSON_LIMIT + 1, 0, 0), (0, BYTES_LIMIT + 1, 0), (0, 0, 254)] {
        let header = Header { json, bytes, descriptors };
        assert!(matches!(header.encode(), Err(FrameError::TooLong { .. })), "{header:?}");
    }
    let mut header = [0xFF; HEADER];
    header[..4].copy_from_slice(&MAGIC);
    assert!(matches!(Header::decode(&header), Err(FrameError::TooLong { .. })));
    assert!(matches!(Header::decode(b"GET / HTTP/1.1\r\n"), Err(FrameError::Magic)));
}

/// A later build may say more; what it adds is passed over.
#[test]
fn unknown_fields_are_passed_over() {
    let text = br#"{"say":"hello","protocols":[1,9],"flowLimit":5,"novelty":{"a":[1]}}"#;
    let header = Header { json: text.len(), bytes: 0, descriptors: 0 };
    let (message, _) = decode(&header, text.to_vec()).unwrap();
    let Message::Hello(hello) = message else { panic!("{message:?}") };
    assert_eq!((hello.protocol(), hello.reads_flows(), hello.flow_limit), (Some(1), false, 5));
}
