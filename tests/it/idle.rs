//! P16: many idle flows.

use std::thread;

use tidegate_tests::support::{Connection, Endpoint, Pattern, Process, until};

use crate::setup;

/// More than enough for the measure, and little enough for the default limits of most machines.
const FLOWS: usize = 2000;
/// What an idle flow may cost of resident memory, in a build without optimization.
const PER_FLOW: u64 = 6 * 1024;

/// P16: two thousand flows, each of which has carried bytes, and some of which bulk: idle, they hold no pipe and no
/// buffer, cost little memory each, and still work.
#[test]
fn idle_flows_hold_no_pipe_and_little_memory() {
    let limit = Process::raise_own_descriptor_limit();
    let flows = FLOWS.min((limit as usize).saturating_sub(500) / 2);
    let endpoint = Endpoint::listen();
    let proxy = setup().ready([&endpoint]).start();
    let open = |count: usize| -> Vec<(Connection, Connection)> {
        let open = |_| {
            let (mut client, mut served) = proxy.connect_to(&endpoint);
            client.send(b"hello");
            served.expect(b"hello");
            (client, served)
        };
        (0..count).map(open).collect()
    };
    // What the process needs once is not what a flow costs.
    let mut first = open(100);
    let before = proxy.process().resident();
    let mut rest = open(flows - 100);
    let grown = proxy.process().resident().saturating_sub(before);
    let per_flow = grown / rest.len() as u64;
    println!("{flows} flows, {per_flow} bytes of resident memory for each");
    assert!(per_flow < PER_FLOW, "{per_flow} bytes for each idle flow");
    until("all are flows", || proxy.status().flows == flows as u64);

    for (client, served) in &mut first {
        thread::scope(|scope| {
            scope.spawn(|| Pattern::default().write(client, 512 * 1024));
            Pattern::default().read(served, 512 * 1024);
        });
    }
    let metrics = proxy.metrics();
    assert!(metrics.sum("tidegate_bytes_total", &[("way", "splice")]) > 0, "nothing was spliced");
    assert_eq!(metrics.total("tidegate_pipes_busy"), 0);
    for (client, served) in first.iter_mut().chain(&mut rest).step_by(50) {
        served.send(b"awake");
        client.expect(b"awake");
    }
    drop((first, rest));
    proxy.wait_for_no_flows();
}
