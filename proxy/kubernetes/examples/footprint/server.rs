//! An API server as far as it matters here: it lists 5,000 slices, and its watch does what it is told on standard input:
//! `expire` ends it with 410, so that everything is listed again; `renew` does so after every slice has changed; `burst` makes it tell of 10,000 changes a second for five seconds.

use std::{
    collections::{BTreeMap, VecDeque},
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    process::{Child, ChildStdin, Command, Stdio},
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

pub(crate) const SERVICES: usize = 500;
pub(crate) const SLICES: usize = 5_000;
pub(crate) const ENDPOINTS: usize = 10;
/// Changes in a second, and for how long.
pub(crate) const RATE: usize = 10_000;
pub(crate) const BURST: Duration = Duration::from_secs(5);

/// The version of every slice in a list.
static LISTED: AtomicUsize = AtomicUsize::new(1);

/// The server as a process of its own.
pub(crate) struct Server {
    process: Child,
    orders: ChildStdin,
    port: String,
}

impl Server {
    /// Starts this program once more.
    pub(crate) fn start() -> Self {
        let program = std::env::current_exe().expect("a program");
        let mut process = Command::new(program)
            .arg("serve")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a server");
        let mut port = String::new();
        BufReader::new(process.stdout.take().expect("its output")).read_line(&mut port).expect("its port");
        let orders = process.stdin.take().expect("its input");
        Self { process, orders, port: port.trim().to_owned() }
    }

    /// Tells the watch what to do.
    pub(crate) fn order(&mut self, order: &str) {
        writeln!(self.orders, "{order}").expect("an order");
    }

    /// A kubeconfig for it.
    pub(crate) fn kubeconfig(&self) -> String {
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: c\n\
             clusters: [{{name: c, cluster: {{server: \"http://127.0.0.1:{}\"}}}}]\n\
             contexts: [{{name: c, context: {{cluster: c, user: u}}}}]\nusers: [{{name: u, user: {{}}}}]\n",
            self.port
        )
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What the server is told to do on its watches of slices.
#[derive(Default)]
struct Orders {
    waiting: Mutex<VecDeque<String>>,
    news: Condvar,
}

/// Serves until its orders end.
pub(crate) fn serve() {
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
    let items: Vec<String> =
        (first..all.min(first + limit)).map(|number| slice(number, LISTED.load(Ordering::SeqCst))).collect();
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
    if order == "renew" {
        LISTED.fetch_add(1, Ordering::SeqCst);
    }
    if order != "burst" {
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
