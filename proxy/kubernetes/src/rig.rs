//! An API server for tests whose every answer the test writes: requests come in one by one, and the test says what is
//! sent back, byte by byte where that matters.

use std::{cell::RefCell, io::Write as _, sync::Arc, time::Duration};

use tempfile::TempDir;
use tidegate_core::Event;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::timeout,
};

use crate::{Access, Follower, Options, api::Api, follow::Pace, source::follow_at};

/// Nothing in these tests takes long unless it hangs.
const LIMIT: Duration = Duration::from_secs(20);

pub(crate) async fn within<T>(what: impl Future<Output = T>) -> T {
    timeout(LIMIT, what).await.expect("it happens in time")
}

/// A server, a source that follows it, and what the source tells.
pub(crate) struct Rig {
    pub(crate) follower: Follower,
    pub(crate) folder: TempDir,
    listener: TcpListener,
    /// The kinds that the test answers for; of all others there is nothing.
    manual: &'static [&'static str],
    held: RefCell<Vec<Exchange>>,
    events: mpsc::Receiver<(Event, std::time::Instant)>,
}

/// A pace at which a test is not waited for.
pub(crate) fn pace() -> Pace {
    Pace { retry: Duration::from_millis(1), retry_limit: Duration::from_secs(5), page: 2, ..Pace::default() }
}

impl Rig {
    pub(crate) async fn start(options: Options, pace: Pace) -> Self {
        Self::start_with(options, pace, &["endpointslices"]).await
    }

    pub(crate) async fn start_with(options: Options, pace: Pace, manual: &'static [&'static str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let folder = tempfile::tempdir().expect("a folder");
        let token = folder.path().join("token");
        std::fs::write(&token, "first").expect("a token");
        let path = folder.path().join("kubeconfig");
        let mut file = std::fs::File::create(&path).expect("a kubeconfig");
        write!(
            file,
            "apiVersion: v1\nkind: Config\ncurrent-context: c\n\
             clusters:\n- {{name: c, cluster: {{server: \"http://{address}\"}}}}\n\
             contexts:\n- {{name: c, context: {{cluster: c, user: u}}}}\n\
             users:\n- {{name: u, user: {{tokenFile: {token:?}}}}}\n"
        )
        .expect("written");
        let access = Access { kubeconfig: Some(path), context: None };
        let (sender, events) = mpsc::channel(1024);
        // It waits for its thread, which asks nobody before it has begun.
        let follower = follow_at(Options { access, ..options }, sender, pace).expect("a source");
        Self { follower, folder, listener, manual, held: RefCell::default(), events }
    }

    /// The next request.
    pub(crate) async fn next(&self) -> Exchange {
        loop {
            let exchange = self.accept().await;
            if self.manual.iter().any(|kind| exchange.target.contains(kind)) {
                return exchange;
            }
            if exchange.is_watch() {
                let stream = exchange.stream().await;
                self.held.borrow_mut().push(stream);
            } else {
                exchange.items(1, None, &[]).await;
            }
        }
    }

    /// A way to ask this server beside the source's own.
    pub(crate) async fn api(&self) -> Arc<Api> {
        let access = Access { kubeconfig: Some(self.folder.path().join("kubeconfig")), context: None };
        let api = Api::new(access, pace().patience, self.follower.status()).await;
        Arc::new(api.expect("a way to ask"))
    }

    async fn accept(&self) -> Exchange {
        within(async {
            let (mut stream, _) = self.listener.accept().await.expect("a connection");
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.expect("a request"));
            }
            let head = String::from_utf8(head).expect("a request is a text");
            let target = head.split(' ').nth(1).expect("a target").to_owned();
            let length = head.to_lowercase().lines().find_map(|line| {
                line.strip_prefix("content-length:").and_then(|value| value.trim().parse::<usize>().ok())
            });
            let mut body = vec![0; length.unwrap_or_default()];
            stream.read_exact(&mut body).await.expect("a body");
            let body = serde_json::from_slice(&body).unwrap_or_default();
            Exchange { stream, head, target, body }
        })
        .await
    }

    /// The next request, which has to be of this kind.
    pub(crate) async fn expect(&self, what: &str) -> Exchange {
        let exchange = self.next().await;
        let verb = if exchange.is_watch() { "watch" } else { "list" };
        let is_expected = what.split(' ').all(|part| part == verb || exchange.target.contains(part));
        assert!(is_expected, "{what} was expected, not {}", exchange.target);
        exchange
    }

    /// The next event.
    pub(crate) async fn event(&mut self) -> Event {
        within(self.events.recv()).await.expect("the source runs").0
    }

    /// The names of the slices of the next event, which has to be a list.
    pub(crate) async fn listed(&mut self) -> Vec<String> {
        match self.event().await {
            Event::SlicesListed(slices) => {
                let mut names: Vec<_> = slices.iter().map(|slice| slice.name.to_string()).collect();
                names.sort();
                names
            }
            other => panic!("not a list: {other:?}"),
        }
    }

    /// What the next event says of several slices: `+name generation` or `-name` each.
    pub(crate) async fn together(&mut self) -> Vec<String> {
        match self.event().await {
            Event::SlicesChanged { applied, deleted } => {
                let applied =
                    applied.iter().map(|slice| format!("+{} {}", slice.name.name, slice.generation));
                applied.chain(deleted.iter().map(|name| format!("-{}", name.name))).collect()
            }
            other => panic!("not a change of several slices: {other:?}"),
        }
    }

    /// What the next event says of one slice: `+name generation` or `-name`.
    pub(crate) async fn change(&mut self) -> String {
        match self.event().await {
            Event::SliceApplied(slice) => format!("+{} {}", slice.name.name, slice.generation),
            Event::SliceDeleted(name) => format!("-{}", name.name),
            other => panic!("not a slice: {other:?}"),
        }
    }

    /// Nothing was told. What was told before the last request is there already: the source tells before it asks.
    pub(crate) fn nothing_told(&mut self) {
        if let Ok((event, _)) = self.events.try_recv() {
            panic!("nothing should have been told: {event:?}");
        }
    }

    /// The first list with these slices, at a version, and the watch that follows.
    pub(crate) async fn begin(&mut self, version: u64, slices: &[(&str, u64)]) -> Exchange {
        self.expect("list endpointslices").await.list(version, None, slices).await;
        let mut names: Vec<_> = slices.iter().map(|(name, _)| format!("default/{name}")).collect();
        names.sort();
        assert_eq!(self.listed().await, names);
        let watch = self.expect("watch endpointslices").await;
        assert!(watch.target.contains(&format!("resourceVersion={version}")), "{}", watch.target);
        watch
    }
}

/// A request that waits for its answer.
pub(crate) struct Exchange {
    stream: TcpStream,
    pub(crate) head: String,
    pub(crate) target: String,
    pub(crate) body: serde_json::Value,
}

impl Exchange {
    pub(crate) fn is_watch(&self) -> bool {
        self.target.contains("watch=true")
    }

    pub(crate) async fn answer(mut self, status: &str, headers: &str, body: &str) {
        let length = body.len();
        let text = format!(
            "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nConnection: close\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
        );
        // A source that has gone reads no answer.
        let _ = self.stream.write_all(text.as_bytes()).await;
        let _ = self.stream.shutdown().await;
    }

    pub(crate) async fn refuse(self, code: u16, message: &str) {
        let body = format!("{{\"kind\":\"Status\",\"code\":{code},\"message\":\"{message}\"}}");
        self.answer(&format!("{code} X"), "", &body).await;
    }

    /// A page of a list.
    pub(crate) async fn list(self, version: u64, next: Option<&str>, slices: &[(&str, u64)]) {
        let items: Vec<_> = slices.iter().map(|(name, version)| slice(name, *version)).collect();
        self.items(version, next, &items).await;
    }

    pub(crate) async fn items(self, version: u64, next: Option<&str>, items: &[String]) {
        let next = next.unwrap_or_default();
        let items = items.join(",");
        let metadata = format!("{{\"resourceVersion\":\"{version}\",\"continue\":\"{next}\"}}");
        self.answer("200 OK", "", &format!("{{\"metadata\":{metadata},\"items\":[{items}]}}")).await;
    }

    /// Begins the answer of a watch.
    pub(crate) async fn stream(mut self) -> Self {
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
        self.stream.write_all(head.as_bytes()).await.expect("a watch");
        self
    }

    pub(crate) async fn chunk(&mut self, text: &str) {
        let chunk = format!("{:x}\r\n{text}\r\n", text.len());
        self.stream.write_all(chunk.as_bytes()).await.expect("a watch");
    }

    /// An event of a slice.
    pub(crate) async fn say(&mut self, kind: &str, name: &str, version: u64) {
        self.chunk(&format!("{}\n", line(kind, &slice(name, version)))).await;
    }

    pub(crate) async fn bookmark(&mut self, version: u64) {
        let object = format!(
            "{{\"kind\":\"EndpointSlice\",\"metadata\":{{\"resourceVersion\":\"{version}\"}},\"endpoints\":null,\"addressType\":\"\"}}"
        );
        self.chunk(&format!("{}\n", line("BOOKMARK", &object))).await;
    }

    pub(crate) async fn expired(&mut self) {
        let status = "{\"kind\":\"Status\",\"code\":410,\"reason\":\"Expired\",\"message\":\"too old resource version\"}";
        self.chunk(&format!("{}\n", line("ERROR", status))).await;
    }

    /// Ends the answer of a watch as agreed.
    pub(crate) async fn finish(mut self) {
        let _ = self.stream.write_all(b"0\r\n\r\n").await;
        let _ = self.stream.shutdown().await;
    }
}

pub(crate) fn line(kind: &str, object: &str) -> String {
    format!("{{\"type\":\"{kind}\",\"object\":{object}}}")
}

/// A slice whose generation is its version.
pub(crate) fn slice(name: &str, version: u64) -> String {
    format!(
        "{{\"metadata\":{{\"name\":\"{name}\",\"namespace\":\"default\",\"resourceVersion\":\"{version}\",\"generation\":{version}}},\
         \"addressType\":\"IPv4\",\"endpoints\":[{{\"addresses\":[\"10.0.0.1\"]}}],\"ports\":[{{\"port\":80}}]}}"
    )
}
