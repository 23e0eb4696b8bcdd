//! What a burst of changes does to new flows: the time from connect to the echo of one message, through a Tidegate that
//! serves all 500 Services, without a burst and with one.

use std::{
    fmt::Write as _,
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use crate::server::{BURST, SERVICES, Server};

/// New flows in a second.
const FLOWS: u32 = 500;
/// How long the program may take to start.
const START: Duration = Duration::from_secs(60);

/// Measures with the program at this path.
pub(crate) fn measure(program: &str) {
    let mut server = Server::start();
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    let endpoint = echo();
    fs::write(at("kubeconfig"), server.kubeconfig()).expect("a kubeconfig");
    fs::write(at("tidegate.yaml"), configuration(folder.path(), endpoint)).expect("a configuration");
    let log = fs::File::create(at("log")).expect("a log");
    let proxy = Command::new(program)
        .args(["run", "--config"])
        .arg(at("tidegate.yaml"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn();
    let _proxy = Proxy(proxy.expect("the program starts"));
    let listener = listener(&at("log"));
    println!("{}", in_words("without a burst", &mut clients(listener)));
    server.order("burst");
    println!("{}", in_words("with 10,000 changes a second", &mut clients(listener)));
    println!("{}", in_words("without a burst, again", &mut clients(listener)));
}

/// The program, until this is dropped.
struct Proxy(Child);

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Every Service has a listener; the flows go to one of their own, whose endpoint is known.
fn configuration(folder: &Path, endpoint: SocketAddr) -> String {
    let mut text = format!(
        "apiVersion: tidegate.io/v1alpha1\nkind: ProxyConfiguration\n\
         source: {{kubernetes: {{kubeconfig: {:?}}}}}\n\
         services:\n- {{name: default/echo, endpoints: [{{address: \"{endpoint}\"}}]}}\n\
         listeners:\n- {{name: echo, address: \"127.0.0.1:0\", service: default/echo}}\n",
        folder.join("kubeconfig")
    );
    for service in 0..SERVICES {
        // Writing to a String does not fail.
        let _ = writeln!(
            text,
            "- {{name: service-{service}, address: \"127.0.0.1:0\", service: default/service-{service}, port: http}}"
        );
    }
    text
}

/// Waits until the program serves, and gives the address of the listener `echo`.
fn listener(log: &Path) -> SocketAddr {
    let until = Instant::now() + START;
    loop {
        let text = fs::read_to_string(log).unwrap_or_default();
        let line = text.lines().find(|line| line.contains("listening") && line.contains("listener=\"echo\""));
        let address = line.and_then(|line| line.split("address=").nth(1)?.split(' ').next()?.parse().ok());
        if let Some(address) = address
            && text.contains("accepting")
        {
            return address;
        }
        assert!(Instant::now() < until, "it does not start:\n{text}");
        thread::park_timeout(Duration::from_millis(50));
    }
}

/// An endpoint that sends back what it gets.
fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || {
        for mut flow in listener.incoming().flatten() {
            thread::spawn(move || {
                let mut buffer = [0; 64];
                while let Ok(count @ 1..) = flow.read(&mut buffer) {
                    if flow.write_all(&buffer[..count]).is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

/// Clients that come evenly, for as long as a burst lasts; how long each waited for its echo, from when it was due.
fn clients(address: SocketAddr) -> Vec<Duration> {
    let took = Arc::new(Mutex::new(Vec::new()));
    let begun = Instant::now();
    let count = FLOWS * u32::try_from(BURST.as_secs()).expect("some seconds");
    // More than are ever on their way at a time.
    let threads: Vec<_> = (0..8_u32)
        .map(|thread| {
            let took = Arc::clone(&took);
            thread::spawn(move || {
                let mut own = Vec::new();
                for number in (thread..count).step_by(8) {
                    let due = begun + BURST.mul_f64(f64::from(number) / f64::from(count));
                    if let Some(early) = due.checked_duration_since(Instant::now()) {
                        thread::sleep(early);
                    }
                    let mut flow = TcpStream::connect(address).expect("a flow");
                    flow.write_all(&[7; 64]).expect("sent");
                    flow.read_exact(&mut [0; 64]).expect("echoed");
                    own.push(due.elapsed());
                }
                took.lock().expect("the times").extend(own);
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().expect("no flow failed"));
    let took = took.lock().expect("the times");
    took.clone()
}

fn in_words(when: &str, took: &mut [Duration]) -> String {
    took.sort();
    let at = |part: f64| took.get(((took.len() - 1) as f64 * part) as usize).copied().unwrap_or_default();
    format!(
        "{when}: {} flows; connect to echo p50 {:?}, p99 {:?}, p99.9 {:?}, most {:?}",
        took.len(),
        at(0.5),
        at(0.99),
        at(0.999),
        at(1.0)
    )
}
