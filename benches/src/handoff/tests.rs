use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};

use tidegate_tests::support::until;

use super::*;

#[test]
fn ranks_are_the_nearest() {
    let spread = Spread::of((1..=200).rev().map(Duration::from_micros));
    assert_eq!((spread.p50, spread.p99, spread.max), (100, 198, 200));
    let one = Spread::of(std::iter::once(Duration::from_micros(7)));
    assert_eq!((one.p50, one.p99, one.max), (7, 7, 7));
    assert_eq!(Spread::of(std::iter::empty()).max, 0);
}

/// What a small endpoint does with what it has read, for the so-manieth time.
type Answer = fn(usize, &mut TcpStream, &[u8]) -> std::io::Result<()>;

fn endpoint(answer: Answer) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            thread::spawn(move || {
                let mut buffer = [0; 1024];
                for number in 0.. {
                    match stream.read(&mut buffer) {
                        Ok(length @ 1..) if answer(number, &mut stream, &buffer[..length]).is_ok() => {}
                        _ => break,
                    }
                }
            });
        }
    });
    address
}

/// The load on it, until `enough` was seen.
fn seen(address: SocketAddr, enough: impl Fn(&Seen) -> bool) -> Arc<Seen> {
    let plan = Plan { flows: 8, period: Duration::from_millis(5), rate: 200, ..Plan::QUICK[0] };
    let load = Load::start(address, plan, 0).unwrap();
    until("the load has seen it", || enough(&load.seen));
    load.finish()
}

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

#[test]
fn a_load_that_is_served_has_no_fault() {
    let address = endpoint(|_, stream, bytes| stream.write_all(bytes));
    let seen = seen(address, |seen| read(&seen.answered) > 100 && read(&seen.connections) > 20);
    assert_eq!([&seen.refused, &seen.unanswered, &seen.broken, &seen.wrong].map(read), [0; 4], "{seen:?}");
    assert!(seen.words().is_empty() && seen.trips().max > 0);
}

#[test]
fn a_flow_that_ends_or_changes_is_seen() {
    let breaks = endpoint(|number, stream, bytes| {
        stream.write_all(bytes)?;
        if number == 3 { stream.shutdown(std::net::Shutdown::Both) } else { Ok(()) }
    });
    let after_four = seen(breaks, |seen| read(&seen.broken) > 8);
    assert_eq!([&after_four.unanswered, &after_four.wrong].map(read), [0; 2], "{after_four:?}");
    let changes = endpoint(|number, stream, bytes| {
        let mut bytes = bytes.to_vec();
        bytes[9] ^= u8::from(number == 2);
        stream.write_all(&bytes)
    });
    let changed = seen(changes, |seen| read(&seen.wrong) > 8);
    assert_eq!(read(&changed.broken), 0, "{changed:?}");
    let doubles = endpoint(|_, stream, bytes| stream.write_all(bytes).and_then(|()| stream.write_all(bytes)));
    seen(doubles, |seen| read(&seen.wrong) > 8 && read(&seen.connections) == 0);
}

#[test]
fn whoever_does_not_answer_is_seen() {
    let silent = endpoint(|_, stream, _| stream.shutdown(std::net::Shutdown::Both));
    seen(silent, |seen| read(&seen.unanswered) > 8 && read(&seen.connections) == 0);
    let nobody = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    seen(nobody, |seen| read(&seen.refused) > 8 && read(&seen.open) == 0);
}
