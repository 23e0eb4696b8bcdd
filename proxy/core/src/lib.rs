//! The part of Tidegate that decides.
//!
//! Facts and time go in, decisions come out: which endpoints exist, which of them may take a new flow, which one
//! takes this flow, when a drain is over. Nothing in this crate performs I/O, reads a clock, spawns or logs; it is
//! `no_std`, so the compiler checks that. Time ([`Timestamp`]) and randomness ([`Rng`]) are arguments.
//!
//! Where to go next: [`table`] is the writer's side (facts in, snapshots out), [`snapshot`] is the readers' side
//! (one immutable value that every worker picks from), [`admission`] is the counter in which both meet.
#![no_std]
extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod admission;
pub mod affinity;
pub mod cause;
pub mod command;
pub mod conditions;
pub mod endpoint;
pub mod event;
pub mod gate;
pub mod lifetime;
pub mod name;
pub mod output;
pub mod pace;
pub mod pick;
pub mod ranges;
pub mod rebalance;
pub mod rng;
#[cfg(test)]
mod sample;
pub mod settings;
pub mod shed;
pub mod slice;
pub mod snapshot;
pub mod survey;
pub mod table;
pub mod tally;
pub mod termination;
pub mod time;

pub use admission::{Admission, AdmissionMode, Permit, Tier};
pub use affinity::{AffinityEntry, AffinityTable};
pub use cause::{DrainCause, DrainCauses};
pub use command::{FlowId, FlowRow, FlowState, ListenerId, ListenerSpec, WorkerCommand, WorkerReport};
pub use conditions::Conditions;
pub use endpoint::{AdminState, Endpoint, EndpointId, EndpointIdentity, OperatorRequest};
pub use event::{EndpointSelector, Event, FixedEndpoint, PodRef, ServiceConfig};
pub use gate::{Gate, GateFacts, GateOutcome, GatePhase, Judgement, PeerState};
pub use lifetime::end_of_life;
pub use name::{PortName, ServiceName, ServicePort, SliceName};
pub use output::{Notice, Output};
pub use pace::{Pace, Paces};
pub use pick::{FlowKey, PickState, Refusal};
pub use ranges::{SourceRange, SourceRanges};
pub use rebalance::{Claim, Rebalance};
pub use rng::Rng;
pub use settings::{
    DrainDeadline, DrainSettings, Keepalive, LifetimeSettings, OnRemoval, Policy, RebalanceSettings,
    ServiceSettings, WhenNoneReady,
};
pub use shed::{Demand, DrainPlan, Schedule};
pub use slice::{Slice, SliceEndpoint, SlicePort};
pub use snapshot::{ServiceId, ServiceSnapshot, Snapshot};
pub use survey::{Survey, SurveyOf};
pub use table::Table;
pub use tally::{DrainRecord, Ends, FlowEnd, Tally};
pub use termination::{Party, Phase, Termination};
pub use time::Timestamp;
