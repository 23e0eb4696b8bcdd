//! A running proxy.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::Mutex,
    thread,
    time::Duration,
};

use rustix::process::Signal;
use serde::Serialize;

use super::{
    Admin, Answer, Config, Connection, Endpoint, Metrics, Process, Setup, Slice, SliceDirectory, api,
    eventually, replace_file, run, until,
};

/// The binary, running. It is ended when this is dropped, and where that is because the test failed, its log is shown.
#[derive(Debug)]
pub struct Proxy {
    setup: Setup,
    child: Mutex<Child>,
    admin: Admin,
    slices: SliceDirectory,
    listeners: Mutex<Vec<api::Listener>>,
}

/// A proxy that has ended by itself.
#[derive(Debug)]
pub struct Ended {
    /// How.
    pub status: ExitStatus,
    /// What it logged.
    pub log: String,
}

impl Proxy {
    #[track_caller]
    pub(super) fn spawn(setup: Setup) -> Self {
        let directory = setup.directory.path().to_owned();
        setup.write_config();
        let log = File::options().create(true).append(true).open(directory.join("log")).unwrap();
        let child = setup.command().stdout(Stdio::null()).stderr(log).spawn().unwrap();
        Self {
            admin: Admin::new(&directory.join("admin.sock")),
            slices: SliceDirectory::new(directory.join("endpoints")),
            setup,
            child: Mutex::new(child),
            listeners: Mutex::default(),
        }
    }

    /// Waits until new clients may be sent here.
    #[track_caller]
    pub fn wait_until_ready(&self) {
        eventually("the proxy is ready", || {
            if let Some(status) = self.child.lock().unwrap().try_wait().unwrap() {
                panic!("the proxy ended at its start: {status}");
            }
            let answer = self.admin.get("/v1/status").ok().filter(|answer| answer.status == 200)?;
            let status: api::Status = answer.json();
            *self.listeners.lock().unwrap() = status.listeners;
            status.ready.then_some(())
        });
    }

    /// The address of a listener.
    #[track_caller]
    pub fn address(&self, listener: &str) -> SocketAddr {
        let find = |listeners: &[api::Listener]| {
            listeners.iter().find(|known| known.name == listener).map(|known| known.address.parse().unwrap())
        };
        let known = find(&self.listeners.lock().unwrap());
        known
            .or_else(|| find(&self.status().listeners))
            .unwrap_or_else(|| panic!("there is no listener {listener}"))
    }

    /// A client of the listener `web`.
    #[track_caller]
    pub fn connect(&self) -> Connection {
        Connection::open(self.address("web"))
    }

    /// A client of the listener `web`, once its endpoint has greeted it, and which one that is.
    #[track_caller]
    pub fn connect_greeted(&self) -> (Connection, SocketAddr) {
        let mut client = self.connect();
        let endpoint = client.greeting();
        (client, endpoint)
    }

    /// A client of the listener `web`, and the endpoint's end of its flow.
    #[track_caller]
    pub fn connect_to(&self, endpoint: &Endpoint) -> (Connection, Connection) {
        let client = self.connect();
        (client, endpoint.accept())
    }

    /// A flow that holds bytes of the endpoint's, which its client does not take: it is never quiet.
    #[track_caller]
    pub fn held_up(&self, endpoint: &Endpoint) -> (Connection, Connection) {
        let client = Connection::open_narrow(self.address("web"), 4096);
        let mut served = endpoint.accept();
        served.send_until_stuck(Duration::from_millis(500));
        (client, served)
    }

    /// Opens so many flows at once and says which endpoint greeted how many of them.
    #[track_caller]
    pub fn spread(&self, count: usize) -> BTreeMap<SocketAddr, usize> {
        let flows: Vec<_> = (0..count).map(|_| self.connect_greeted()).collect();
        flows.iter().fold(BTreeMap::new(), |mut spread, (_, endpoint)| {
            *spread.entry(*endpoint).or_default() += 1;
            spread
        })
    }

    /// Every new flow goes to this endpoint.
    #[track_caller]
    pub fn expect_all_on(&self, endpoint: &Endpoint) {
        assert_eq!(self.spread(8), BTreeMap::from([(endpoint.address(), 8)]));
    }

    /// A client of the listener `web` is refused before a byte is exchanged.
    #[track_caller]
    pub fn expect_refusal(&self) {
        Connection::expect_refused(Connection::try_open(self.address("web")));
    }

    /// `GET` of the admin API.
    #[track_caller]
    pub fn get(&self, path: &str) -> Answer {
        match self.admin.get(path) {
            Ok(answer) => answer,
            Err(error) => panic!("no answer for {path}: {error}"),
        }
    }

    /// `POST` to the admin API.
    #[track_caller]
    pub fn post(&self, path: &str, body: &impl Serialize) -> Answer {
        match self.admin.post(path, body) {
            Ok(answer) => answer,
            Err(error) => panic!("no answer for {path}: {error}"),
        }
    }

    /// The admin API itself.
    pub fn admin(&self) -> &Admin {
        &self.admin
    }

    /// `/v1/status`.
    #[track_caller]
    pub fn status(&self) -> api::Status {
        self.get("/v1/status").json()
    }

    /// The endpoints in `/v1/endpoints`.
    #[track_caller]
    pub fn endpoints(&self) -> Vec<api::Endpoint> {
        self.get("/v1/endpoints").json::<api::Endpoints>().endpoints
    }

    /// One endpoint of `/v1/endpoints`; none where it is not there.
    #[track_caller]
    pub fn endpoint(&self, endpoint: &Endpoint) -> Option<api::Endpoint> {
        self.endpoints().into_iter().find(|row| row.endpoint == endpoint.address().to_string())
    }

    /// The flows in `/v1/flows`.
    #[track_caller]
    pub fn flows(&self) -> Vec<api::Flow> {
        self.get("/v1/flows?limit=10000").json::<api::Flows>().flows
    }

    /// The flow of this client, once there is one.
    #[track_caller]
    pub fn flow_of(&self, client: &Connection) -> api::Flow {
        let address = client.local().to_string();
        eventually("the client's flow is shown", || {
            self.flows().into_iter().find(|flow| flow.client == address)
        })
    }

    /// `/metrics`.
    #[track_caller]
    pub fn metrics(&self) -> Metrics {
        let answer = self.get("/metrics");
        assert_eq!(answer.status, 200, "{}", answer.body);
        Metrics::parse(&answer.body)
    }

    /// Waits until so many endpoints of a service are eligible for new flows.
    #[track_caller]
    pub fn wait_for_eligible(&self, count: usize) {
        until("so many endpoints are eligible", || {
            let status = self.status();
            status.services.iter().map(|service| service.eligible).sum::<usize>() == count
        });
    }

    /// Waits until exactly these endpoints of all are eligible for new flows.
    #[track_caller]
    pub fn wait_for_eligible_to_be<'a>(&self, endpoints: impl IntoIterator<Item = &'a Endpoint>) {
        let mut wanted: Vec<_> =
            endpoints.into_iter().map(|endpoint| endpoint.address().to_string()).collect();
        wanted.sort();
        until("these endpoints and no other are eligible", || {
            let rows = self.endpoints().into_iter().filter(|row| row.eligible);
            let mut eligible: Vec<_> = rows.map(|row| row.endpoint).collect();
            eligible.sort();
            eligible == wanted
        });
    }

    /// How many flows ended so.
    #[track_caller]
    pub fn terminated(&self, by: &str, phase: &str) -> u64 {
        self.metrics().sum("tidegate_flows_terminated_total", &[("by", by), ("phase", phase)])
    }

    /// Waits until no flow is left, all that were opened are accounted for, and no endpoint counts one.
    #[track_caller]
    pub fn wait_for_no_flows(&self) {
        until("no flow and no permit is left, and the counters balance", || {
            let metrics = self.metrics();
            let opened = metrics.total("tidegate_flows_opened_total");
            metrics.total("tidegate_flows_open") == 0
                && metrics.total("tidegate_flows_terminated_total") == opened
                && self.flows().is_empty()
                && self.endpoints().iter().all(|endpoint| endpoint.flows == 0)
        });
    }

    /// The slice files.
    pub fn slices(&self) -> &SliceDirectory {
        &self.slices
    }

    /// Writes a slice file.
    pub fn write_slice(&self, slice: &Slice) {
        self.slices.write(slice);
    }

    /// Replaces the configuration's file.
    pub fn write_config(&mut self, change: impl FnOnce(&mut Config)) {
        change(&mut self.setup.config);
        replace_file(&self.setup.config_file(), &self.setup.config.text());
    }

    /// The configuration's file.
    pub fn config_file(&self) -> PathBuf {
        self.setup.config_file()
    }

    /// The test's directory.
    pub fn directory(&self) -> &Path {
        self.setup.directory.path()
    }

    /// What the kernel says of it.
    pub fn process(&self) -> Process {
        Process::new(self.child.lock().unwrap().id())
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.setup.directory.path().join("log")).unwrap_or_default()
    }

    /// Waits until its log holds these words.
    #[track_caller]
    pub fn wait_for_log(&self, words: &str) {
        until(&format!("the log says {words:?}"), || self.log().contains(words));
    }

    /// Runs another command of the binary against this proxy.
    pub fn command(&self, arguments: &[&str]) -> Output {
        let socket = self.directory().join("admin.sock");
        let mut command = Command::new(&self.setup.binary);
        command.args(arguments).env("TIDEGATE_ADMIN", format!("unix:{}", socket.display()));
        run(command.env_remove("TIDEGATE_CONFIG").env_remove("TIDEGATE_TOKEN_FILE"))
    }

    /// Asks it to end.
    pub fn terminate(&self) {
        self.process().signal(Signal::TERM);
    }

    /// It has not ended.
    pub fn is_running(&self) -> bool {
        self.child.lock().unwrap().try_wait().unwrap().is_none()
    }

    /// Waits until it has ended by itself.
    #[track_caller]
    pub fn wait_for_end(&self) -> Ended {
        let status = eventually("the proxy has ended", || self.child.lock().unwrap().try_wait().unwrap());
        Ended { status, log: self.log() }
    }

    /// Ends it and starts it again, in the same directory.
    #[track_caller]
    pub fn restart(&mut self) {
        self.terminate();
        let ended = self.wait_for_end();
        assert!(ended.status.success(), "{:?}", ended.status);
        let log = File::options().append(true).open(self.setup.directory.path().join("log")).unwrap();
        let child = self.setup.command().stdout(Stdio::null()).stderr(log).spawn().unwrap();
        *self.child.lock().unwrap() = child;
        self.wait_until_ready();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("--- the proxy's log\n{}---", self.log());
        }
        // After a failure the lock may be poisoned, and the child is there all the same.
        let mut child = self.child.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let _ = child.kill();
        let _ = child.wait();
    }
}
