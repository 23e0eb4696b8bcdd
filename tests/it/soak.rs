//! Load with endpoints that flap, for as long as asked: afterwards no descriptor, no permit and no memory is missing.
//!
//! `TIDEGATE_SOAK_SECONDS` says for how long; without it, for some seconds.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use tidegate_tests::support::{Connection, Endpoint, Pattern, Proxy, Slice, SliceEndpoint};

use crate::setup;

/// Clients at the same time.
const CLIENTS: u64 = 8;
/// What the process may grow by between the middle and the end.
const GROWTH: u64 = 4 * 1024 * 1024;

/// Everything at once: short flows, bulk, half-closes, resets and flows that outlive their endpoint's readiness, while
/// endpoints come, lose their readiness, terminate and go.
#[test]
fn load_with_flapping_endpoints_leaks_nothing() {
    let seconds = std::env::var("TIDEGATE_SOAK_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(8);
    let length = Duration::from_secs(seconds);
    let endpoints = Endpoint::greeting_group(5);
    let proxy = setup().ready(&endpoints).start();
    let descriptors = proxy.process().settled_descriptors();
    let (address, ending, flows) = (proxy.address("web"), AtomicBool::new(false), AtomicU64::new(0));
    let began = Instant::now();
    let mut middle = 0;
    thread::scope(|scope| {
        for number in 0..CLIENTS {
            let (ending, flows) = (&ending, &flows);
            scope.spawn(move || {
                let mut dice = Dice(number + 1);
                while !ending.load(Ordering::SeqCst) {
                    one_flow(address, &mut dice);
                    flows.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        let mut dice = Dice(99);
        // A panic in here must not leave the clients running.
        let flapping = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            while began.elapsed() < length {
                flap(&proxy, &endpoints, &mut dice);
                if middle == 0 && began.elapsed() > length / 2 {
                    middle = proxy.process().resident();
                }
            }
        }));
        ending.store(true, Ordering::SeqCst);
        flapping.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
    let end = proxy.process().resident();
    let flows = flows.into_inner();
    proxy.write_slice(&Slice::ready("web-1", &endpoints));
    proxy.wait_for_no_flows();
    // Pipes are kept for the next bulk.
    let pipes = 2 * proxy.metrics().total("tidegate_pipes_pooled") as usize;
    let left = proxy.process().settled_descriptors() - pipes;
    println!(
        "{flows} flows in {seconds} s; descriptors {descriptors} before, {left} and {pipes} of pooled pipes after; \
         resident {} KiB in the middle, {} KiB at the end; generation {}",
        middle / 1024,
        end / 1024,
        proxy.status().generation
    );
    assert!(left <= descriptors, "{left} descriptors of {descriptors}");
    assert!(end <= middle + GROWTH, "the process grew from {middle} to {end} bytes");
    let metrics = proxy.metrics();
    assert_eq!(metrics.total("tidegate_flows_opened_total"), flows);
    for by in ["endpoint", "no_endpoint", "resource", "removal", "timeout", "operator", "shutdown"] {
        assert_eq!(metrics.sum("tidegate_flows_terminated_total", &[("by", by)]), 0, "{by}: {metrics:?}");
    }
}

/// A flow of one kind or another; whatever its endpoint's state becomes, it comes to its own end.
fn one_flow(address: SocketAddr, dice: &mut Dice) {
    let mut client = Connection::open(address);
    client.greeting();
    client.exchange(b"hello");
    match dice.roll(10) {
        0 => client.reset(),
        1 => {
            let size = 1024 * (1 + dice.roll(2048));
            let mut sender = client.share();
            let sending = thread::spawn(move || {
                Pattern::from(size).write(&mut sender, size);
                sender.finish();
            });
            Pattern::from(size).read(&mut client, size);
            client.expect_end();
            sending.join().unwrap();
        }
        2 => (0..dice.roll(500)).for_each(|_| client.exchange(b"a flow that lives for a while")),
        3 => drop(client),
        _ => {
            client.finish();
            client.expect_end();
        }
    }
}

/// Another state for every endpoint; the first one is always ready, so that nobody has to be refused.
fn flap(proxy: &Proxy, endpoints: &[Endpoint], dice: &mut Dice) {
    let slice = Slice::ready("web-1", &endpoints[..1]);
    let slice = endpoints[1..].iter().fold(slice, |slice, endpoint| {
        let line: SliceEndpoint = endpoint.in_slice();
        match dice.roll(5) {
            0 => slice,
            1 => slice.with(line.not_ready()),
            2 => slice.with(line.terminating()),
            3 => slice.with(line.terminating_not_serving()),
            _ => slice.with(line.ready()),
        }
    });
    proxy.write_slice(&slice);
    // Operators look while it happens; that is also what paces it.
    let (rows, flows) = (proxy.endpoints(), proxy.flows());
    assert!(rows.len() <= endpoints.len() && flows.len() <= CLIENTS as usize * 2);
}

/// Numbers without a pattern, the same in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}
