//! What a [`crate::ControlHandle`] asks the controller, each with the place where the answer goes.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use tidegate_core::{AdminState, EndpointId, EndpointSelector, FlowId, Survey};
use tidegate_sys::FrozenFlow;
use tokio::sync::oneshot;

use crate::{
    AuditAnswer, ControlError, Desired, DrainOutcome, FlowFilter, FlowsAnswer, NotReady, ProgressAnswer,
    ReloadError, ReloadOutcome, ServicesAnswer, Status,
    flows::RowFilter,
    gate,
    handoff::Step,
    plan::{PlanAnswer, PlanFilter},
};

/// Where an answer goes.
pub(crate) type Reply<T> = oneshot::Sender<T>;

#[derive(Debug)]
pub(crate) enum Request {
    Status(Reply<Status>),
    Services(Reply<ServicesAnswer>),
    Audit(Reply<AuditAnswer>),
    Progress(Reply<ProgressAnswer>),
    Plan {
        filter: PlanFilter,
        reply: Reply<Result<PlanAnswer, ControlError>>,
    },
    Flows {
        filter: FlowFilter,
        limit: usize,
        reply: Reply<Result<FlowsAnswer, ControlError>>,
    },
    SetAdminState {
        selector: EndpointSelector,
        state: AdminState,
        by: String,
        reason: String,
        deadline: Option<Duration>,
        reply: Reply<Result<DrainOutcome, ControlError>>,
    },
    CloseFlow {
        flow: FlowId,
        reply: Reply<Result<(), ControlError>>,
    },
    Ready(Reply<Result<(), NotReady>>),
    Alive(Reply<Result<(), NotReady>>),
    Reload {
        desired: Box<Desired>,
        reply: Reply<Result<ReloadOutcome, ReloadError>>,
    },
    Gate(gate::Ask),
    Handoff(Step),
}

/// Why workers were asked something.
#[derive(Debug)]
pub(crate) enum Purpose {
    /// To list flows.
    Flows {
        rows: RowFilter,
        limit: usize,
        answer: FlowsAnswer,
        reply: Reply<Result<FlowsAnswer, ControlError>>,
    },
    /// To tell how flows of endpoints are doing.
    Survey { surveys: BTreeMap<EndpointId, Survey>, by: Surveyor },
    /// To end a flow; only one of them has it.
    CloseFlow { flow: FlowId, found: bool, reply: Reply<Result<(), ControlError>> },
    /// To tell whether they are alive, for readiness; with what else speaks against it.
    Ready { reasons: Vec<String>, reply: Reply<Result<(), NotReady>> },
    /// To tell whether they are alive, for the status.
    Status { status: Box<Status>, reply: Reply<Status> },
    /// To close a listener.
    Close { listener: Arc<str> },
    /// To know that everything said before was done: services without a listener can go.
    Retire,
    /// To take flows out.
    Freeze { flows: Vec<FrozenFlow>, reply: Reply<Vec<FrozenFlow>> },
    /// To know that they have the flows that they were given.
    Adopt { reply: Reply<Vec<usize>> },
    /// To leave the listeners to a successor.
    GiveUp { reply: Reply<Vec<usize>> },
}

/// Who wants to know how flows are doing.
#[derive(Debug)]
pub(crate) enum Surveyor {
    /// Whoever follows drains.
    Progress(Reply<ProgressAnswer>),
    /// Whoever reads metrics, now and then.
    Looks,
    /// Whoever plans a drain of these.
    Plan {
        meant: BTreeSet<EndpointId>,
        deadline: Option<Duration>,
        reply: Reply<Result<PlanAnswer, ControlError>>,
    },
}
