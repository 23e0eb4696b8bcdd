//! Live flows for operators. Workers can look for one endpoint's flows; what else is asked for is sorted out here.

use std::collections::BTreeSet;

use tidegate_core::{EndpointId, FlowRow, ServiceName};

use crate::{
    Command, ControlError, Controller, FlowFilter, FlowsAnswer,
    drains::{pod_name, unknown_endpoint},
    request::{Purpose, Reply},
};

/// How many flows one worker looks through for a filter that it does not know itself.
const SCAN_LIMIT: usize = 10_000;
/// How many endpoints one question may name.
const ENDPOINTS_ASKED: usize = 16;

/// Which of the rows that workers give are meant.
#[derive(Debug)]
pub(crate) enum RowFilter {
    /// All: the workers know the filter.
    All,
    /// Those of this Service.
    Service(ServiceName),
    /// Those of these endpoints.
    Endpoints(BTreeSet<EndpointId>),
}

impl RowFilter {
    fn fits(&self, row: &FlowRow) -> bool {
        match self {
            Self::All => true,
            Self::Service(service) => row.service.service == *service,
            Self::Endpoints(endpoints) => row.endpoint.is_some_and(|(id, _)| endpoints.contains(&id)),
        }
    }

    /// Takes a worker's rows into the answer.
    pub(crate) fn note(&self, answer: &mut FlowsAnswer, rows: Vec<FlowRow>, total: usize) {
        let (given, before) = (rows.len(), answer.flows.len());
        answer.flows.extend(rows.into_iter().filter(|row| self.fits(row)));
        if matches!(self, Self::All) {
            answer.total += total;
        } else {
            answer.total += answer.flows.len() - before;
            answer.truncated |= total > given;
        }
    }
}

impl Controller {
    pub(crate) fn begin_flows(
        &mut self,
        filter: FlowFilter,
        limit: usize,
        reply: Reply<Result<FlowsAnswer, ControlError>>,
    ) {
        let endpoints = match self.flow_endpoints(&filter) {
            Ok(endpoints) => endpoints,
            Err(error) => {
                let _ = reply.send(Err(error));
                return;
            }
        };
        let (asked, rows) = match (endpoints, filter.service) {
            (None, None) => (vec![None], RowFilter::All),
            (None, Some(service)) => (vec![None], RowFilter::Service(service)),
            (Some(endpoints), _) if endpoints.len() <= ENDPOINTS_ASKED => {
                (endpoints.into_iter().map(Some).collect(), RowFilter::All)
            }
            (Some(endpoints), _) => (vec![None], RowFilter::Endpoints(endpoints)),
        };
        let limit_each = if matches!(rows, RowFilter::All) { limit } else { SCAN_LIMIT };
        let purpose = Purpose::Flows { rows, limit, answer: FlowsAnswer::default(), reply };
        self.ask(asked.len(), purpose, |request, round| Command::ListFlows {
            request,
            limit: limit_each,
            endpoint: asked[round],
        });
    }

    /// The endpoints that the filter names; `None` where it names none.
    fn flow_endpoints(&self, filter: &FlowFilter) -> Result<Option<BTreeSet<EndpointId>>, ControlError> {
        let services = self.table.services();
        let is_meant = |service: &ServiceName| filter.service.as_ref().is_none_or(|wanted| wanted == service);
        if let Some(service) = &filter.service
            && !services.iter().any(|of| is_meant(&of.port.service))
        {
            return Err(unknown_endpoint(&services, service, String::new()));
        }
        let Some(wanted) = &filter.endpoint else {
            return Ok(None);
        };
        let own = services.iter().filter(|of| is_meant(&of.port.service));
        let found: BTreeSet<EndpointId> = own
            .flat_map(|of| &of.endpoints)
            .filter(|view| {
                let pod = view.pod.as_deref();
                view.endpoint.address().to_string() == *wanted
                    || view.endpoint.id().to_string() == *wanted
                    || pod.is_some_and(|pod| pod == wanted || pod_name(pod) == wanted)
            })
            .map(|view| view.endpoint.id())
            .collect();
        match (&filter.service, found.is_empty()) {
            (_, false) => Ok(Some(found)),
            (Some(service), true) => Err(unknown_endpoint(&services, service, wanted.clone())),
            (None, true) => Err(ControlError::NoSuchEndpoint(wanted.clone())),
        }
    }
}
