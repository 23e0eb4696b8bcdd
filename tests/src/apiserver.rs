//! A double of the Kubernetes API server: in the test's process, on a loopback address of its own, over
//! HTTP/1.1, plain or with TLS.
//!
//! It stores objects as JSON, lists them (pages, resourceVersions, selectors), streams their changes, takes writes with
//! the conflicts and the validation that matter here, and does wrong what a test asks it to. What the real server says
//! is known from the recordings in tests/fixtures; `tests/recorded.rs` beside this compares the double's answers with
//! them.
//!
//! Not here: authorization (a test plans a 403), admission, controllers (a test writes what they would write),
//! `managedFields` (ownership is kept, and not shown), JSON patches, protobuf, client certificates.
//!
//! Where to go next: [`ApiServer`] is what tests hold, [`Fault`] what can go wrong with a request, [`Streams`] what can
//! be done to running watches, [`Recording`] the replay of fixtures.

mod apply;
mod body;
mod call;
mod fault;
mod form;
mod kubeconfig;
mod list;
mod patch;
mod recording;
mod resource;
mod route;
mod selector;
mod serve;
mod shared;
mod status;
mod store;
mod stream;
#[cfg(test)]
mod tests;
mod tls;
mod validate;

use std::{
    collections::BTreeSet,
    fmt,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use hyper::body::Bytes;
use serde_json::Value;
use tokio::sync::{oneshot, watch};

use crate::support::{eventually, free_address, until};
use kubeconfig::Credentials;
use shared::Shared;
use status::Refusal;
use store::{Key, revision_of};
use stream::{Tell, line};
use tls::Identity;

pub use call::{Call, Calls, Verb};
pub use fault::Fault;
pub use recording::{Recording, fixture};
pub use resource::{
    ENDPOINT_SLICES, EVENTS, LEASES, NAMESPACES, NEW_EVENTS, NODES, PODS, RESOURCES, Resource, SERVICES,
    Target,
};

/// A running server. It ends with this.
pub struct ApiServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    listening: watch::Sender<bool>,
    is_listening: watch::Receiver<bool>,
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// The running watches of a kind of object.
#[derive(Debug)]
pub struct Streams<'a> {
    server: &'a ApiServer,
    resource: Resource,
}

impl ApiServer {
    /// Starts an empty server.
    pub fn start() -> Self {
        Self::start_so(false)
    }

    /// Starts an empty server that speaks TLS.
    pub fn start_with_tls() -> Self {
        Self::start_so(true)
    }

    fn start_so(is_secure: bool) -> Self {
        // Its port is taken again after an outage: on an address of its own nobody takes it meanwhile.
        let listener = TcpListener::bind(free_address(0)).expect("an address of its own is free");
        let address = listener.local_addr().expect("it is bound");
        let shared = Arc::new(Shared::new());
        if is_secure {
            shared.state().identity = Some(Identity::make(address.ip()));
        }
        let (listening, wanted) = watch::channel(true);
        let (now, is_listening) = watch::channel(true);
        let (end, ended) = oneshot::channel();
        let served = Arc::clone(&shared);
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.expect("a runtime can be made");
            runtime.block_on(async {
                tokio::select! {
                    () = run(listener, served, wanted, now) => {}
                    _ = ended => {}
                }
            });
        });
        Self { address, shared, listening, is_listening, end: Some(end), thread: Some(thread) }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Writes a kubeconfig file that leads here, without credentials.
    pub fn write_kubeconfig(&self, directory: &Path) -> PathBuf {
        self.write_kubeconfig_for(directory, &Credentials::None)
    }

    /// Writes a kubeconfig file that leads here with the token in a file.
    pub fn write_kubeconfig_with_token(&self, directory: &Path, token_file: &Path) -> PathBuf {
        self.write_kubeconfig_for(directory, &Credentials::TokenFile(token_file))
    }

    fn write_kubeconfig_for(&self, directory: &Path, credentials: &Credentials<'_>) -> PathBuf {
        let state = self.shared.state();
        let authority = state.identity.as_ref().map(|identity| identity.authority.as_str());
        kubeconfig::write(directory, self.address, authority, credentials)
    }

    /// From here on new connections are met with a certificate of another authority; a kubeconfig that is written
    /// after this knows it.
    pub fn change_authority(&self) {
        self.shared.state().identity = Some(Identity::make(self.address.ip()));
    }

    // Objects.

    /// Writes an object whatever is there, as a controller would; without the API server's validation.
    #[track_caller]
    pub fn put(&self, object: &Value) -> Value {
        let key = Key::of(object).unwrap_or_else(|| panic!("not a known kind with a name: {object}"));
        self.shared.change(|state| (*state.store.put(key, object.clone())).clone())
    }

    /// Changes an object.
    #[track_caller]
    pub fn edit(
        &self,
        resource: Resource,
        namespace: &str,
        name: &str,
        edit: impl FnOnce(&mut Value),
    ) -> Value {
        let mut object = self.get(resource, namespace, name).expect("the object is there");
        edit(&mut object);
        self.put(&object)
    }

    /// Takes an object out at once; watches are told.
    pub fn remove(&self, resource: Resource, namespace: &str, name: &str) {
        let key = Key::new(resource, namespace, name);
        self.shared.change(|state| state.store.remove(&key));
    }

    /// Deletes an object as a client would: one with finalizers is marked and stays.
    #[track_caller]
    pub fn delete(&self, resource: Resource, namespace: &str, name: &str) {
        let key = Key::new(resource, namespace, name);
        let deleted = self.shared.change(|state| state.store.delete(&key).map(drop));
        assert!(deleted.is_ok(), "there is no {} {name}", resource.kind);
    }

    /// An object.
    pub fn get(&self, resource: Resource, namespace: &str, name: &str) -> Option<Value> {
        let key = Key::new(resource, namespace, name);
        self.shared.state().store.get(&key).map(|object| (**object).clone())
    }

    /// The objects of a kind, of all namespaces.
    pub fn objects(&self, resource: Resource) -> Vec<Value> {
        let objects = self.shared.state().store.list(resource, None);
        objects.into_iter().map(|(_, object)| (*object).clone()).collect()
    }

    /// The resourceVersion of the newest state.
    pub fn revision(&self) -> u64 {
        self.shared.state().store.revision()
    }

    /// Forgets what was before: a watch that begins at an older resourceVersion ends with 410, and so does an older
    /// list's next page.
    pub fn compact(&self) {
        self.shared.change(|state| state.store.compact());
    }

    /// Begins with a recording's list, under its resourceVersions.
    pub fn load(&self, recording: &Recording) {
        self.shared.change(|state| {
            let mut items: Vec<_> = recording.items.iter().collect();
            items.sort_by_key(|item| revision_of(item));
            for item in items {
                state.store.replay(item.clone(), false);
            }
            state.store.advance(recording.revision);
        });
    }

    /// Says one recorded line: its object is stored and watches are told; what is no object goes out as it is.
    pub fn replay(&self, line: &Value) {
        let object = &line["object"];
        let is_deleted = match line["type"].as_str() {
            Some("ADDED" | "MODIFIED") => false,
            Some("DELETED") => true,
            _ => return self.streams(ENDPOINT_SLICES).say(&line.to_string()),
        };
        self.shared.change(|state| state.store.replay(object.clone(), is_deleted));
    }

    // Requests.

    /// The requests so far.
    pub fn calls(&self) -> Vec<Call> {
        self.shared.state().calls.clone()
    }

    /// How many requests there were so far.
    pub fn call_count(&self) -> usize {
        self.shared.state().calls.len()
    }

    /// The requests so far that ask for this, of this kind of object.
    pub fn calls_of(&self, verb: Verb, resource: Resource) -> Vec<Call> {
        self.calls().into_iter().filter(|call| call.is(verb, resource)).collect()
    }

    /// Waits for a request that is like this, and was answered or refused; the first of them.
    #[track_caller]
    pub fn wait_for_call(&self, what: &str, is_like: impl Fn(&Call) -> bool) -> Call {
        self.wait_for_call_after(0, what, is_like)
    }

    /// Waits for such a request among those after the first `before`.
    #[track_caller]
    pub fn wait_for_call_after(&self, before: usize, what: &str, is_like: impl Fn(&Call) -> bool) -> Call {
        eventually(&format!("a request: {what}"), || {
            self.shared.state().calls.iter().skip(before).find(|call| is_like(call)).cloned()
        })
    }

    /// Waits until so many watches of this kind of object run.
    #[track_caller]
    pub fn wait_for_streams(&self, resource: Resource, count: usize) {
        until(&format!("{count} watches of {} run", resource.plural), || {
            self.streams(resource).count() == count
        });
    }

    // What goes wrong.

    /// So many of these requests go wrong so.
    pub fn fail(&self, calls: Calls, times: usize, fault: Fault) {
        self.shared.state().plan.add(calls, fault, Some(times));
    }

    /// These requests go wrong so until [`ApiServer::heal`].
    pub fn fail_always(&self, calls: Calls, fault: Fault) {
        self.shared.state().plan.add(calls, fault, None);
    }

    /// No request goes wrong from here on.
    pub fn heal(&self) {
        self.shared.state().plan.clear();
    }

    /// Accepts these bearer tokens and nobody without one.
    pub fn accept_tokens(&self, tokens: &[&str]) {
        let tokens: BTreeSet<_> = tokens.iter().map(|token| (*token).to_owned()).collect();
        self.shared.state().tokens = Some(tokens);
    }

    /// Refuses watches that begin with the state, as an older server does.
    pub fn without_watch_list(&self) {
        self.shared.state().has_watch_list = false;
    }

    /// How often watches that begin from here on get a bookmark; a minute by default.
    pub fn send_bookmarks_every(&self, pause: Duration) {
        self.shared.state().bookmarks_every = pause;
    }

    /// Its clock is so many seconds behind this machine's, as the `Date` of its answers says.
    pub fn set_clock_behind(&self, seconds: u64) {
        self.shared.state().clock_behind = seconds;
    }

    /// Goes away: connections are cut, and new ones refused.
    pub fn go_away(&self) {
        self.listen(false);
    }

    /// Comes back, at the same address and with the same objects.
    pub fn come_back(&self) {
        self.listen(true);
    }

    fn listen(&self, wanted: bool) {
        self.listening.send_replace(wanted);
        until("the API server's double has gone or come back", || *self.is_listening.borrow() == wanted);
    }

    /// The running watches of a kind of object.
    pub fn streams(&self, resource: Resource) -> Streams<'_> {
        Streams { server: self, resource }
    }
}

/// Listens while it is wanted.
async fn run(
    listener: TcpListener,
    shared: Arc<Shared>,
    mut wanted: watch::Receiver<bool>,
    now: watch::Sender<bool>,
) {
    let address = listener.local_addr().expect("it is bound");
    let mut listener = Some(listener);
    loop {
        let listener = match listener.take() {
            Some(listener) => listener,
            None => TcpListener::bind(address).expect("the port is still its own"),
        };
        listener.set_nonblocking(true).expect("a listener can be set so");
        now.send_replace(true);
        tokio::select! {
            () = serve::serve(listener, Arc::clone(&shared)) => {}
            _ = wanted.wait_for(|wanted| !wanted) => {}
        }
        shared.state().streams.clear();
        now.send_replace(false);
        if wanted.wait_for(|wanted| *wanted).await.is_err() {
            return;
        }
    }
}

impl Streams<'_> {
    /// How many run.
    pub fn count(&self) -> usize {
        let mut state = self.server.shared.state();
        state.streams.retain(|running| !running.tells.is_closed());
        state.streams.iter().filter(|running| running.resource == self.resource).count()
    }

    /// Says a line, whatever it is.
    pub fn say(&self, text: &str) {
        self.tell(&Tell::Bytes(Bytes::from(format!("{text}\n"))));
    }

    /// Says an event.
    pub fn say_event(&self, kind: &str, object: &Value) {
        self.tell(&Tell::Bytes(line(kind, object)));
    }

    /// Begins to say an event, and closes the connection in the middle of it.
    pub fn cut_in_mid_object(&self, kind: &str, object: &Value) {
        let whole = line(kind, object);
        self.tell(&Tell::Bytes(whole.slice(..whole.len() / 2)));
        self.tell(&Tell::Cut);
    }

    /// Closes the connections in the middle of the body, between two lines.
    pub fn cut(&self) {
        self.tell(&Tell::Cut);
    }

    /// Ends the streams as after their timeout.
    pub fn end(&self) {
        self.tell(&Tell::End);
    }

    /// Says that the resourceVersion is too old, and ends.
    pub fn expire(&self) {
        let revision = self.server.revision();
        let refusal = Refusal::too_old(revision.saturating_sub(1), revision);
        self.say_event("ERROR", &refusal.object());
        self.end();
    }

    /// Sends a bookmark to those who want them.
    pub fn bookmark(&self) {
        self.tell(&Tell::Bookmark);
    }

    /// Says nothing from here on, no bookmark either, and keeps the connections open.
    pub fn hold(&self) {
        self.tell(&Tell::Hold);
    }

    /// Goes on after [`Streams::hold`], with everything that happened meanwhile.
    pub fn resume(&self) {
        self.tell(&Tell::Resume);
    }

    /// From here on so many bytes at a time, with a pause between them.
    pub fn trickle(&self, bytes: usize, pause: Duration) {
        self.tell(&Tell::Trickle(bytes, pause));
    }

    fn tell(&self, tell: &Tell) {
        let state = self.server.shared.state();
        for running in state.streams.iter().filter(|running| running.resource == self.resource) {
            // One that has ended needs nothing.
            let _ = running.tells.send((state.store.revision(), tell.clone()));
        }
    }
}

impl fmt::Debug for ApiServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiServer").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        if thread::panicking() {
            let calls = self.calls();
            eprintln!("--- the last of {} requests to the API server", calls.len());
            for call in calls.iter().rev().take(20).rev() {
                eprintln!("{} {} {:?} -> {}", call.method, call.path, call.query, call.status);
            }
            eprintln!("---");
        }
    }
}
