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
    /// Successor: I accept on those that my configuration has.
    Accepting,
    /// Predecessor: these flows are frozen; here are their descriptors and what they hold.
    Offer {
        /// The batch's number.
        batch: u64,
        /// The flows.
        flows: Vec<FlowFacts>,
    },
    /// Successor: I have them, and have read nothing.
    Held {
        /// The batch's number.
        batch: u64,
    },
    /// Predecessor: I have dropped my copies; they are yours.
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
    /// Predecessor: that was all; the admin sides' sockets and my own, in the order of `doors`.
    Doors {
        /// What the sockets are.
        doors: Vec<Door>,
        /// What was counted.
        counts: Vec<Count>,
        /// What is left.
        left: Left,
    },
    /// Successor: I answer on them. From here on the predecessor takes nothing back.
    Finished,
    /// Operator's command: start a successor.
    Upgrade {
        /// The binary to start; the running one where it is left out.
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
    /// Why flows do not move with the listeners; left out where they do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listeners_only: Option<String>,
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

/// What no source can tell.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Facts {
    /// What operators asked for, as the state directory keeps it.
    #[serde(default)]
    pub operators: serde_json::Value,
}

/// A number that is carried on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Count {
    /// The service: namespace, name, port name; none for the process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<(String, String, Option<String>)>,
    /// What is counted.
    pub name: String,
    /// How many.
    pub value: u64,
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
