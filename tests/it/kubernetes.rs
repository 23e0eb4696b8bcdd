//! An API server as the source: from a watch event to a routed connection, over real sockets.
//!
//! The API server is the double of `tidegate_tests::apiserver`. One topic per file: [`start`], [`outage`] and
//! [`recovery`] for what goes wrong with the server, [`objects`] for what goes wrong with what it says, [`recorded`] for
//! what a real one said, [`services`] and [`writing`] for Services of the class, [`pod_events`] for Events on pods,
//! [`handoff`] for a successor of such a proxy. [`rehearsal`] runs the group `cluster`.

mod handoff;
mod namespaces;
mod objects;
mod outage;
mod pod_events;
mod recorded;
mod recovery;
mod rehearsal;
mod services;
mod start;
mod topology;
mod writing;

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
};

use serde_json::json;
use tidegate_tests::{
    apiserver::{ApiServer, ENDPOINT_SLICES, Verb},
    support::{Connection, Endpoint, Proxy, Setup, Slice, until},
};

use crate::setup;

/// A setup that follows this API server.
fn following(api: &ApiServer) -> Setup {
    let setup = setup();
    let kubeconfig = api.write_kubeconfig(setup.directory());
    setup.config(|config| config.set("source", json!({"kubernetes": {"kubeconfig": kubeconfig}})))
}

/// An API server with one slice of these endpoints, ready, and a proxy that follows it.
fn with_ready<'a>(endpoints: impl IntoIterator<Item = &'a Endpoint>) -> (ApiServer, Proxy) {
    let api = ApiServer::start();
    put(&api, &Slice::ready("web-1", endpoints));
    let proxy = following(&api).start();
    api.wait_for_streams(ENDPOINT_SLICES, 1);
    (api, proxy)
}

fn put(api: &ApiServer, slice: &Slice) {
    api.put(&slice.json());
}

/// Takes one slice of `default` out.
fn remove(api: &ApiServer, slice: &str) {
    api.remove(ENDPOINT_SLICES, "default", slice);
}

/// How many lists of slices the API server was asked for.
fn lists(api: &ApiServer) -> usize {
    api.calls_of(Verb::List, ENDPOINT_SLICES).len()
}

/// Waits until the slices were listed again, after so many lists, and are watched.
#[track_caller]
fn wait_for_another_list(api: &ApiServer, before: usize) {
    until("the slices are listed again", || lists(api) > before);
    api.wait_for_streams(ENDPOINT_SLICES, 1);
}

/// What the source says is wrong.
fn trouble(proxy: &Proxy) -> Option<String> {
    proxy.status().source.expect("the proxy has a source").trouble
}

/// Clients that connect all the time, until they are asked how it went.
struct Clients {
    ending: Arc<AtomicBool>,
    served: Arc<AtomicUsize>,
    thread: JoinHandle<()>,
}

impl Clients {
    /// Clients of the listener `web`; a refusal ends them.
    fn of(proxy: &Proxy) -> Self {
        Self::at(proxy.address("web"))
    }

    /// Clients of the listener at this address.
    fn at(address: SocketAddr) -> Self {
        let (ending, served) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let thread = thread::spawn({
            let (ending, served) = (Arc::clone(&ending), Arc::clone(&served));
            move || {
                while !ending.load(Ordering::SeqCst) {
                    Connection::open(address).greeting();
                    served.fetch_add(1, Ordering::SeqCst);
                }
            }
        });
        Self { ending, served, thread }
    }

    /// Waits until so many more were served.
    #[track_caller]
    fn wait_for(&self, more: usize) {
        let before = self.served.load(Ordering::SeqCst);
        until("clients are served", || {
            self.served.load(Ordering::SeqCst) >= before + more || self.thread.is_finished()
        });
    }

    /// None of them was refused.
    #[track_caller]
    fn finish(self) {
        self.wait_for(10);
        self.ending.store(true, Ordering::SeqCst);
        self.thread.join().expect("no client was refused");
    }
}
