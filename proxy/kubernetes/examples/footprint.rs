//! What 50,000 endpoints in 5,000 slices cost: resident memory when steady and during a relist, and how far publishes are
//! behind a burst of 10,000 changes a second.
//!
//! `cargo run --release -p tidegate-kubernetes --example footprint` starts itself a second time as the API server, follows
//! it, and keeps a table as the controller does. It prints what it measured; nothing is judged.

use std::{
    collections::{BTreeMap, VecDeque},
    env, fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    process::{Command, Stdio},
    sync::{Arc, Condvar, Mutex},
    thread,
    time::{Duration, Instant},
};

use tidegate_core::{
    Event, Output, ServiceConfig, ServiceName, ServicePort, ServiceSettings, Table, Timestamp,
};
use tidegate_kubernetes::{Access, Options, follow};
use tokio::sync::mpsc;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SERVICES: usize = 500;
const SLICES: usize = 5_000;
const ENDPOINTS: usize = 10;
/// Changes in a second, and for how long.
const RATE: usize = 10_000;
const BURST: Duration = Duration::from_secs(5);

fn main() {
    if env::args().nth(1).as_deref() == Some("serve") {
        return serve();
    }
    let program = env::current_exe().expect("a program");
    let mut server = Command::new(program)
        .arg("serve")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a server");
    let mut port = String::new();
    BufReader::new(server.stdout.take().expect("its output")).read_line(&mut port).expect("its port");
    let mut orders = server.stdin.take().expect("its input");
    measure(port.trim(), |order| writeln!(orders, "{order}").expect("an order"));
    drop(orders);
    let _ = server.wait();
}

/// The table with what feeds it, as the controller has it.
struct Measured {
    table: Table,
    events: mpsc::Receiver<(Event, Instant)>,
    begun: Instant,
    delays: Vec<Duration>,
    listed: usize,
    applied: usize,
}

impl Measured {
    /// Takes what is there, a thousand at a time, and publishes it together.
    fn turn(&mut self) {
        let Some((event, arrived)) = self.events.blocking_recv() else { return };
        let mut arrivals = vec![arrived];
        let mut taken = vec![event];
        while taken.len() < 1_024
            && let Ok((event, arrived)) = self.events.try_recv()
        {
            taken.push(event);
            arrivals.push(arrived);
        }
        let now = || Timestamp::default().after(self.begun.elapsed());
        for event in taken {
            self.listed += usize::from(matches!(event, Event::SlicesListed(_)));
            self.applied += usize::from(matches!(event, Event::SliceApplied(_)));
            self.table.handle_event(event, now());
        }
        while let Some(output) = self.table.poll_output(now()) {
            if let Output::Publish(_) = output {
                self.delays.extend(arrivals.drain(..).map(|arrived| arrived.elapsed()));
            }
        }
    }
}

fn measure(port: &str, mut order: impl FnMut(&str)) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("kubeconfig");
    let text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: c\nclusters: [{{name: c, cluster: {{server: \"http://127.0.0.1:{port}\"}}}}]\n\
         contexts: [{{name: c, context: {{cluster: c, user: u}}}}]\nusers: [{{name: u, user: {{}}}}]\n"
    );
    fs::write(&path, text).expect("a kubeconfig");
    let (sender, events) = mpsc::channel(1_024);
    let table = Table::new(1);
    let config = |service| ServiceConfig {
        port: ServicePort {
            service: ServiceName::new("default", format!("service-{service}")),
            port: Some("http".into()),
        },
        settings: ServiceSettings::default(),
        fixed: None,
    };
    let begun = Instant::now();
    let mut measured = Measured { table, events, begun, delays: Vec::new(), listed: 0, applied: 0 };
    let before = memory("VmRSS");
    let options = Options { access: Access { kubeconfig: Some(path), context: None }, ..Options::default() };
    let _follower = follow(options, sender).expect("a source");
    while measured.listed < 1 {
        measured.turn();
    }
    println!("first list: {:?}", begun.elapsed());
    let known = report("with all slices known and no Service served", before);
    let now = Timestamp::default().after(begun.elapsed());
    let configs = (0..SERVICES).map(config).collect();
    measured.table.handle_event(Event::ServicesConfigured(configs), now);
    while measured.table.poll_output(now).is_some() {}
    let steady = report("with all of them served", before);
    // The highest mark begins anew.
    fs::write("/proc/self/clear_refs", "5").expect("the mark can be reset");
    order("expire");
    while measured.listed < 2 {
        measured.turn();
    }
    println!("highest during a relist: {} MiB", mib(memory("VmHWM")));
    report("after a relist", before);
    measured.delays.clear();
    let (cpu, start) = (cpu_time(), Instant::now());
    order("burst");
    let total = RATE * usize::try_from(BURST.as_secs()).expect("some seconds");
    while measured.applied < total {
        measured.turn();
    }
    let took = start.elapsed();
    let mut delays = measured.delays;
    delays.sort();
    let at = |part: f64| delays.get(((delays.len() - 1) as f64 * part) as usize).copied().unwrap_or_default();
    println!(
        "{total} changes in {took:?}: arrival to publish p50 {:?}, p99 {:?}, most {:?}; processor {:?}",
        at(0.5),
        at(0.99),
        at(1.0),
        cpu_time().saturating_sub(cpu)
    );
    println!("highest during the burst: {} MiB", mib(memory("VmHWM")));
    report("after the burst", before);
    let each = |kib: usize| (kib - before) * 1024 / (SLICES * ENDPOINTS);
    println!("for each endpoint: {} bytes known, {} bytes served", each(known), each(steady));
}

/// Prints and gives the resident memory.
fn report(when: &str, before: usize) -> usize {
    let now = memory("VmRSS");
    println!("resident {when}: {} MiB ({} MiB before anything)", mib(now), mib(before));
    now
}

fn mib(kib: usize) -> String {
    format!("{:.1}", kib as f64 / 1024.0)
}

/// A line of /proc/self/status in KiB.
fn memory(field: &str) -> usize {
    let status = fs::read_to_string("/proc/self/status").expect("a status");
    let line = status.lines().find(|line| line.starts_with(field)).expect("the field");
    line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("a number")
}

/// Processor time of this process.
fn cpu_time() -> Duration {
    let stat = fs::read_to_string("/proc/self/stat").expect("a stat");
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks: u64 = fields[11..13].iter().filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
}

/// What the server is told to do on its watches of slices.
#[derive(Default)]
struct Orders {
    waiting: Mutex<VecDeque<String>>,
    news: Condvar,
}

fn serve() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    println!("{}", listener.local_addr().expect("an address").port());
    let orders = Arc::new(Orders::default());
    let told = Arc::clone(&orders);
    thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            let orders = Arc::clone(&told);
            thread::spawn(move || answer(connection, &orders));
        }
    });
    for line in std::io::stdin().lines().map_while(Result::ok) {
        orders.waiting.lock().expect("orders").push_back(line);
        orders.news.notify_all();
    }
}

fn answer(mut connection: TcpStream, orders: &Orders) {
    let mut reader = BufReader::new(connection.try_clone().expect("a connection"));
    let mut target = String::new();
    let mut line = String::new();
    while reader.read_line(&mut line).is_ok_and(|count| count > 2) {
        if target.is_empty() {
            target = line.split(' ').nth(1).unwrap_or_default().to_owned();
        }
        line.clear();
    }
    let query: BTreeMap<&str, &str> =
        target.split(['?', '&']).filter_map(|pair| pair.split_once('=')).collect();
    let is_slices = target.contains("endpointslices");
    if query.contains_key("watch") {
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n";
        if connection.write_all(head.as_bytes()).is_ok() {
            if is_slices {
                watch(&mut connection, orders);
            } else {
                // Until the other end goes.
                let _ = reader.read(&mut [0]);
            }
        }
        return;
    }
    let first: usize = query.get("continue").and_then(|text| text.parse().ok()).unwrap_or_default();
    let limit: usize = query.get("limit").and_then(|text| text.parse().ok()).unwrap_or(SLICES);
    let all = if is_slices { SLICES } else { 0 };
    let items: Vec<String> = (first..all.min(first + limit)).map(|number| slice(number, 1)).collect();
    let next = if first + limit < all { (first + limit).to_string() } else { String::new() };
    let body = format!(
        "{{\"metadata\":{{\"resourceVersion\":\"1000\",\"continue\":\"{next}\"}},\"items\":[{}]}}",
        items.join(",")
    );
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    let _ = connection.write_all(head.as_bytes()).and_then(|()| connection.write_all(body.as_bytes()));
}

fn watch(connection: &mut TcpStream, orders: &Orders) {
    let mut waiting = orders.waiting.lock().expect("orders");
    let order = loop {
        match waiting.pop_front() {
            Some(order) => break order,
            None => waiting = orders.news.wait(waiting).expect("orders"),
        }
    };
    drop(waiting);
    if order == "expire" {
        let status =
            "{\"type\":\"ERROR\",\"object\":{\"kind\":\"Status\",\"code\":410,\"message\":\"expired\"}}\n";
        let _ = connection.write_all(status.as_bytes());
        return;
    }
    // A tenth of a second's changes at a time, on the second.
    let begun = Instant::now();
    let total = RATE * usize::try_from(BURST.as_secs()).expect("some seconds");
    for change in 0..total {
        let due = BURST.mul_f64(change as f64 / total as f64);
        if change % (RATE / 100) == 0
            && let Some(early) = due.checked_sub(begun.elapsed())
        {
            thread::park_timeout(early);
        }
        let line =
            format!("{{\"type\":\"MODIFIED\",\"object\":{}}}\n", slice(change % SLICES, 2_000 + change));
        if connection.write_all(line.as_bytes()).is_err() {
            return;
        }
    }
    // Until nobody listens.
    while connection.write_all(b"\n").is_ok() {
        thread::park_timeout(Duration::from_secs(1));
    }
}

/// A slice as a control plane writes it; with each version another of its endpoints is not ready.
fn slice(number: usize, version: usize) -> String {
    let endpoints: Vec<String> = (0..ENDPOINTS)
        .map(|index| {
            let pod = number * ENDPOINTS + index;
            let (a, b, c) = (pod >> 16, pod >> 8 & 255, pod & 255);
            let ready = version == 1 || index != version % ENDPOINTS;
            format!(
                "{{\"addresses\":[\"10.{a}.{b}.{c}\"],\"conditions\":{{\"ready\":{ready},\"serving\":{ready},\"terminating\":false}},\
                 \"nodeName\":\"node-{:03}\",\"zone\":\"zone-{}\",\"targetRef\":{{\"kind\":\"Pod\",\"namespace\":\"default\",\
                 \"name\":\"service-{}-7d4b9c6f58-{pod:05}\",\"uid\":\"{pod:08x}-1b2c-4d3e-8f4a-5b6c7d8e9f00\"}}}}",
                pod % 200,
                pod % 3,
                number % SERVICES
            )
        })
        .collect();
    let service = number % SERVICES;
    format!(
        "{{\"metadata\":{{\"name\":\"service-{service}-{number:05}\",\"generateName\":\"service-{service}-\",\"namespace\":\"default\",\
         \"uid\":\"{number:08x}-0000-4000-8000-000000000000\",\"resourceVersion\":\"{version}\",\"generation\":{version},\
         \"creationTimestamp\":\"2026-01-01T00:00:00Z\",\"labels\":{{\"endpointslice.kubernetes.io/managed-by\":\
         \"endpointslice-controller.k8s.io\",\"kubernetes.io/service-name\":\"service-{service}\"}},\"ownerReferences\":[{{\
         \"apiVersion\":\"v1\",\"kind\":\"Service\",\"name\":\"service-{service}\",\"uid\":\"0\",\"controller\":true,\
         \"blockOwnerDeletion\":true}}]}},\"addressType\":\"IPv4\",\"endpoints\":[{}],\
         \"ports\":[{{\"name\":\"http\",\"port\":8080,\"protocol\":\"TCP\"}}]}}",
        endpoints.join(",")
    )
}
