//! What is said. A build reads what it knows and passes over fields that it does not; what it needs and does not find
//! is an error.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

use crate::flow::FlowFacts;

/// The protocols that this build speaks.
pub const PROTOCOLS: &[u32] = &[1];
/// The forms of a frozen flow that this build reads. Where the two sides have none in common, only listeners move.
pub const FLOW_FORMS: &[u32] = &[1];

/// A message. The successor says `Hello` first, and every other word is an answer to one of the other side's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Message {
    /// Successor: who I am.
    Hello(Hello),
    /// Predecessor: who I am; get ready.
    Welcome(Welcome),
    /// Either: no, and nothing has changed.
    Refuse {
        /// Why.
        why: String,
    },
    /// Predecessor: your pod has handed over to mine; do not take over again before this connection ends.
    Superseded {
        /// The pod that serves.
        by: String,
    },
    /// Successor: my configuration is good and my sources are complete.
    Ready,
    /// Predecessor: the listeners, with their sockets, and what no source can tell.
    Listeners {
        /// The listeners; their sockets come in this order.
        listeners: Vec<ListenerFacts>,
        /// What no source can tell.
        facts: Facts,
        /// Another message follows with more of them.
        #[serde(default)]
        more: bool,
    },
    /// Predecessor: which client of a service went to which endpoint last; what is known of each client is behind it.
    Clients {
        /// The service: namespace, name, port name.
        service: (String, String, Option<String>),
        /// The endpoints that clients went to: address, and the pod's uid where there is one.
        endpoints: Vec<(SocketAddr, Option<String>)>,
    },
    /// Predecessor: records of drains that are over, as many as a message takes.
    Records {
        /// The records.
        records: serde_json::Value,
    },
    /// Successor: I accept on those that I am to have.
    Accepting {
        /// The addresses in fact of those that came from the predecessor.
        #[serde(default)]
        taken: Vec<SocketAddr>,
    },
    /// Predecessor: these flows are frozen; here are their descriptors and what they hold.
    Offer {
        /// The batch's number.
        batch: u64,
        /// The flows.
        flows: Vec<FlowFacts>,
    },
    /// Successor: I have them, and have read nothing. The doors are the last batch.
    Held {
        /// The batch's number.
        batch: u64,
    },
    /// Predecessor: they are yours, and I take them back no more. After the doors' that is all there was.
    Commit {
        /// The batch's number.
        batch: u64,
    },
    /// Successor: they go on.
    Started {
        /// The batch's number.
        batch: u64,
    },
    /// Predecessor: I take back what is not committed, and go on as before.
    Abort {
        /// Why.
        why: String,
    },
    /// Predecessor: that was all; the admin sides' sockets and my own, in the order of `doors`. Nobody can ask me anything
    /// any more.
    Doors {
        /// The last batch's number.
        batch: u64,
        /// What the sockets are.
        doors: Vec<Door>,
        /// What no source can tell, as it is by now.
        facts: Facts,
        /// What is left.
        left: Left,
    },
    /// Predecessor, after all else, for as long as it has flows: what it has counted.
    Counts {
        /// What was counted.
        counts: Vec<Count>,
    },
    /// Successor: I answer on the doors.
    Finished,
    /// Operator's command: start a successor.
    Upgrade {
        /// The binary to start; left out, what is found where the running one was started from.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        binary: Option<PathBuf>,
    },
    /// To the operator's command: it has taken over.
    Upgraded(Report),
}

/// Who the successor is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hello {
    /// The protocols that it speaks.
    pub protocols: Vec<u32>,
    /// The forms of a frozen flow that it reads.
    #[serde(default)]
    pub flow_forms: Vec<u32>,
    /// Its build.
    #[serde(default)]
    pub build: String,
    /// A hash of its configuration, to tell whether it is the same one.
    #[serde(default)]
    pub config: u64,
    /// How many workers it has.
    #[serde(default)]
    pub workers: usize,
    /// How many flows its descriptor limit allows.
    pub flow_limit: u64,
    /// Its pod's uid, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_uid: Option<String>,
    /// It has handed over and takes nothing: it waits until whom it says this to ends.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub waits: bool,
}

/// Who the predecessor is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Welcome {
    /// The protocol that is spoken from here on.
    pub protocol: u32,
    /// Its build.
    #[serde(default)]
    pub build: String,
    /// A hash of its configuration.
    #[serde(default)]
    pub config: u64,
    /// How many workers it has.
    #[serde(default)]
    pub workers: usize,
    /// How many flows it has.
    pub flows: u64,
    /// Its time, in nanoseconds since an origin of its own that the successor takes over.
    #[serde(default)]
    pub clock: u64,
    /// Decides the hash by which clients find their endpoints.
    #[serde(default)]
    pub seed: u64,
    /// Its pod's uid, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_uid: Option<String>,
    /// The uids of pods that have handed over, up to its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub superseded: Vec<String>,
    /// The sockets that will come at the end, so that the successor can bind what else it wants before anything moves.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub doors: Vec<Door>,
    /// Why flows do not move with the listeners; left out where they do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listeners_only: Option<String>,
    /// The one descriptor with it is where the predecessor writes its log, and the successor, which it has started, is to
    /// do so too.
    #[serde(default)]
    pub log: bool,
}

/// A listener.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListenerFacts {
    /// Its name.
    pub name: String,
    /// The address as configured.
    pub configured: SocketAddr,
    /// The address in fact.
    pub address: SocketAddr,
    /// How many sockets it has.
    pub sockets: usize,
}

/// What no source can tell. It is told before the first flow moves, so that the successor has it when the predecessor dies,
/// and again at the end.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Facts {
    /// What operators asked for, as the state directory keeps it.
    #[serde(default)]
    pub operators: serde_json::Value,
    /// The uids of pods that wait at the gate, or did and still get no new flows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gates: Vec<String>,
    /// What drains have come to, those that are over and those that are on.
    #[serde(default)]
    pub drains: serde_json::Value,
    /// What was counted.
    #[serde(default)]
    pub counts: Vec<Count>,
}

/// A number that is carried on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Count {
    /// What is counted: a metric.
    pub name: String,
    /// The values of its labels.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    /// How many, or how long.
    pub value: Value,
}

/// A counted number.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Value {
    /// How many.
    Whole(u64),
    /// How long, in seconds.
    Real(f64),
}

/// A socket other than flows' and listeners'.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Door {
    /// The admin API.
    Admin {
        /// Its address, as configured.
        address: String,
    },
    /// The scrapers' address.
    Metrics {
        /// Its address, as configured.
        address: String,
    },
    /// The gate's address.
    Gate {
        /// Its address, as configured.
        address: String,
    },
    /// The handoff's own socket.
    Handoff {
        /// Its path.
        path: PathBuf,
    },
}

/// What the predecessor keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Left {
    /// Flows that did not move.
    pub flows: u64,
    /// How long they are waited for.
    pub linger: Duration,
}

/// How a handoff went.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The successor's process.
    pub process: u32,
    /// Its build.
    pub build: String,
    /// Flows that moved.
    pub moved: u64,
    /// Flows that did not.
    pub left: u64,
    /// How long the predecessor waits for those.
    #[serde(default)]
    pub linger: Duration,
    /// Half of the flows were frozen for no longer than this.
    pub pause_p50: Duration,
    /// 99 of 100 flows were frozen for no longer than this.
    pub pause_p99: Duration,
    /// From the first word to the last.
    pub took: Duration,
}

impl Hello {
    /// What this build says of itself; the rest is the process's.
    pub fn of_this_build(build: &str) -> Self {
        Self {
            protocols: PROTOCOLS.to_vec(),
            flow_forms: FLOW_FORMS.to_vec(),
            build: build.to_owned(),
            ..Self::default()
        }
    }

    /// The latest protocol that both sides speak.
    pub fn protocol(&self) -> Option<u32> {
        self.protocols.iter().filter(|it| PROTOCOLS.contains(it)).max().copied()
    }

    /// Both sides know the same form of a flow.
    pub fn reads_flows(&self) -> bool {
        self.flow_forms.iter().any(|it| FLOW_FORMS.contains(it))
    }
}
