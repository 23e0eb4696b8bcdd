//! Requests from operators, and the workers' answers to what requests made the controller ask.

use std::{sync::Arc, time::Duration};

use tidegate_core::{FlowId, Party};
use tokio::time::Instant;

use crate::{
    Command, ControlError, Controller, Lifecycle, ListenerStatus, NotReady, Report, ServicesAnswer, Status,
    WorkerStatus,
    listening::Listening,
    request::{Purpose, Reply, Request, Surveyor},
    workers::Closed,
};

/// How long workers may take to answer.
const WORKER_LIMIT: Duration = Duration::from_secs(1);
impl Controller {
    pub(crate) fn take_request(&mut self, request: Request) {
        // A failed send means that whoever asked has gone; what was asked for is done all the same.
        match request {
            Request::Status(reply) => self.begin_status(reply),
            Request::Services(reply) => {
                let _ = reply.send(self.services_answer());
            }
            Request::Audit(reply) => {
                let _ = reply.send(self.audit_answer());
            }
            Request::Progress(reply) => self.begin_progress(Surveyor::Progress(reply)),
            Request::Plan { filter, reply } => self.begin_plan(&filter, reply),
            Request::Flows { filter, limit, reply } => self.begin_flows(filter, limit, reply),
            Request::SetAdminState { selector, state, by, reason, deadline, reply } => {
                match self.set_admin_state(&selector, state, by, reason, deadline) {
                    Ok(endpoints) => self.keep_requests(endpoints, reply),
                    Err(error) => {
                        let _ = reply.send(Err(error));
                    }
                }
            }
            Request::CloseFlow { flow, reply } => self.begin_close_flow(flow, reply),
            Request::Ready(reply) => self.begin_ready(reply),
            Request::Alive(reply) => {
                let lost = self.lost_workers();
                let _ = reply.send(if lost.is_empty() { Ok(()) } else { Err(NotReady(lost)) });
            }
            Request::Gate(ask) => self.take_gate(ask),
            Request::Handoff(step) => self.take_step(step),
            Request::Reload { desired, reply } => {
                let _ = reply.send(self.reload(*desired));
            }
        }
    }

    pub(crate) fn take_answer(&mut self, report: Report) {
        let closed = match report {
            Report::Alive { request, generation } => self.questions.answered(request, |purpose, worker| {
                if let Purpose::Status { status, .. } = purpose
                    && let Some(row) = status.workers.get_mut(worker)
                {
                    row.generation = Some(generation);
                }
            }),
            Report::Flows { request, flows, total } => self.questions.answered(request, |purpose, _| {
                if let Purpose::Flows { rows, answer, .. } = purpose {
                    rows.note(answer, flows, total);
                }
            }),
            Report::Surveyed { request, surveys: told } => self.questions.answered(request, |purpose, _| {
                if let Purpose::Survey { surveys, .. } = purpose {
                    told.iter()
                        .for_each(|(endpoint, survey)| surveys.entry(*endpoint).or_default().add(survey));
                }
            }),
            Report::Ended { request, found: was_found } => self.questions.answered(request, |purpose, _| {
                if let Purpose::CloseFlow { found, .. } = purpose {
                    *found |= was_found;
                }
            }),
            Report::Closed { request } => self.questions.answered(request, |_, _| ()),
            Report::Frozen { request, flows } => {
                let mut late = Some(flows);
                let closed = self.questions.answered(request, |purpose, _| {
                    if let Purpose::Freeze { flows, .. } = purpose {
                        flows.extend(late.take().into_iter().flatten());
                    }
                });
                self.adopt_flows(late.unwrap_or_default());
                closed
            }
            // These are no answers.
            Report::EndpointEmptied(_) | Report::FlowEnded(_) | Report::Stopped { .. } => None,
        };
        if let Some(closed) = closed {
            self.close_question(closed);
        }
    }

    /// Answers whoever wanted to know, with what the workers said.
    pub(crate) fn close_question(&mut self, Closed { purpose, silent }: Closed<Purpose>) {
        match purpose {
            Purpose::Status { status, reply } => {
                let _ = reply.send(*status);
            }
            Purpose::Ready { mut reasons, reply } => {
                let words = |worker| format!("worker {worker} did not answer within {WORKER_LIMIT:?}");
                reasons.extend(silent.into_iter().map(words));
                let _ = reply.send(if reasons.is_empty() { Ok(()) } else { Err(NotReady(reasons)) });
            }
            Purpose::Flows { limit, mut answer, reply, .. } => {
                answer.flows.sort_by_key(|flow| (flow.opened, flow.id));
                answer.flows.truncate(limit);
                answer.silent = silent;
                answer.now = self.clock.now();
                let _ = reply.send(Ok(answer));
            }
            Purpose::Survey { surveys, by: Surveyor::Progress(reply) } => {
                let answer = self.progress(&surveys, silent);
                self.looks.note(&answer);
                let _ = reply.send(answer);
            }
            Purpose::Survey { surveys, by: Surveyor::Looks } => {
                let answer = self.progress(&surveys, silent);
                self.looks.note(&answer);
            }
            Purpose::Survey { surveys, by: Surveyor::Plan { meant, deadline, reply } } => {
                let _ = reply.send(Ok(self.plan(&meant, deadline, &surveys, silent)));
            }
            Purpose::CloseFlow { flow, found, reply } => {
                let _ = reply.send(match (found, silent.is_empty()) {
                    (true, _) => Ok(()),
                    (false, true) => Err(ControlError::UnknownFlow(flow)),
                    (false, false) => Err(ControlError::WorkersSilent(silent)),
                });
            }
            Purpose::Close { listener } if silent.is_empty() => {
                tracing::info!(listener = &*listener, "listener closed");
                self.retire_services();
            }
            Purpose::Close { listener } => {
                tracing::warn!(listener = &*listener, workers = ?silent, "workers did not close the listener in time");
                self.retire_services();
            }
            Purpose::Retire => self.retire_services(),
            Purpose::Freeze { flows, reply } => {
                // Whoever asked has gone: nobody else has them.
                if let Err(flows) = reply.send(flows) {
                    self.adopt_flows(flows);
                }
            }
            Purpose::Adopt { reply } | Purpose::GiveUp { reply } => {
                let _ = reply.send(silent);
            }
        }
    }

    fn services_answer(&self) -> ServicesAnswer {
        ServicesAnswer {
            generation: self.table.generation(),
            services: self.table.services(),
            draining: self.looks.seen(),
            now: self.clock.now(),
        }
    }

    fn begin_status(&mut self, reply: Reply<Status>) {
        let listener = |listening: &Listening| ListenerStatus {
            name: Arc::clone(&listening.spec.name),
            address: listening.spec.address,
            port: listening.spec.port.clone(),
            accepting: listening.held.is_none(),
        };
        let status = Status {
            lifecycle: self.course.lifecycle(),
            generation: self.table.generation(),
            synced: !self.awaits_source(&self.services),
            workers: (0..self.workers.count())
                .map(|worker| WorkerStatus { worker, generation: None })
                .collect(),
            listeners: self.listeners.iter().map(listener).collect(),
            state_directory: self.keeper.directory.as_ref().map(|directory| directory.path().to_owned()),
            now: self.clock.now(),
        };
        let purpose = Purpose::Status { status: Box::new(status), reply };
        self.ask(1, purpose, |request, _| Command::Ping { request });
    }

    fn begin_ready(&mut self, reply: Reply<Result<(), NotReady>>) {
        let mut reasons = self.lost_workers();
        let lifecycle = self.course.lifecycle();
        if lifecycle != Lifecycle::Ready {
            reasons.push(format!("the process is {}", lifecycle.word()));
        }
        if self.awaits_source(&self.services) {
            reasons.push("the source has given no complete list yet".to_owned());
        }
        self.ask(1, Purpose::Ready { reasons, reply }, |request, _| Command::Ping { request });
    }

    fn lost_workers(&self) -> Vec<String> {
        self.workers.lost().into_iter().map(|worker| format!("worker {worker} has ended")).collect()
    }

    fn begin_close_flow(&mut self, flow: FlowId, reply: Reply<Result<(), ControlError>>) {
        tracing::info!(flow = %flow, "operator closes a flow");
        let purpose = Purpose::CloseFlow { flow, found: false, reply };
        self.ask(1, purpose, |request, _| Command::CloseFlow { request, flow, by: Party::Operator });
    }

    pub(crate) fn ask(
        &mut self,
        rounds: usize,
        purpose: Purpose,
        command: impl FnMut(u64, usize) -> Command,
    ) {
        let deadline = Instant::now() + WORKER_LIMIT;
        if let Some(closed) = self.questions.ask(&mut self.workers, rounds, deadline, purpose, command) {
            self.close_question(closed);
        }
    }
}

#[cfg(test)]
mod tests;
