//! `--all`: the same question to every instance, and all answers in a list.

use std::net::SocketAddr;

use axum::{
    Extension, Json,
    extract::{Query, RawQuery, State, rejection::QueryRejection},
    http::{Method, StatusCode},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::task::JoinSet;

use super::Peers;
use crate::{
    AdminState,
    access::Peer,
    api,
    audit::{self, AuditQuery},
    body::JsonBody,
    change,
    drains::{self, OnceQuery},
    plan::{self, PlanQuery},
    refusal::Refusal,
    view::{self, EndpointsQuery},
};

/// What the instance that was asked is called in an answer.
pub(crate) const THIS: &str = "this";

/// What every instance answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct All<T> {
    /// This one first.
    pub instances: Vec<InstanceAnswer<T>>,
}

/// What one instance answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InstanceAnswer<T> {
    /// Where it answers; `this` for the one that was asked.
    pub instance: String,
    /// Its answer.
    pub answer: Option<T>,
    /// Why there is none.
    pub error: Option<String>,
}

/// What a drain would do on every instance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AllPlans {
    /// What each of them says.
    #[serde(flatten)]
    pub all: All<api::Plan>,
    /// What those that answered say together, by service.
    pub totals: Vec<api::PlanTotal>,
}

/// `GET /v1/all/audit`.
pub(crate) async fn audit(
    State(state): State<AdminState>,
    RawQuery(raw): RawQuery,
    query: Result<Query<AuditQuery>, QueryRejection>,
) -> Result<Json<All<api::Audit>>, Refusal> {
    let own = audit::audit(State(state.clone()), query);
    Ok(Json(ask_all(&state, Question::get("/v1/peer/audit", raw), own).await?))
}

/// `GET /v1/all/endpoints`.
pub(crate) async fn endpoints(
    State(state): State<AdminState>,
    RawQuery(raw): RawQuery,
    query: Result<Query<EndpointsQuery>, QueryRejection>,
) -> Result<Json<All<api::Endpoints>>, Refusal> {
    let own = view::endpoints(State(state.clone()), query);
    Ok(Json(ask_all(&state, Question::get("/v1/peer/endpoints", raw), own).await?))
}

/// `GET /v1/all/drains`.
pub(crate) async fn drains(
    State(state): State<AdminState>,
    RawQuery(raw): RawQuery,
    query: Result<Query<OnceQuery>, QueryRejection>,
) -> Result<Json<All<api::Drains>>, Refusal> {
    let own = drains::once(State(state.clone()), query);
    Ok(Json(ask_all(&state, Question::get("/v1/peer/drains", raw), own).await?))
}

/// `GET /v1/all/plan`.
pub(crate) async fn plan(
    State(state): State<AdminState>,
    RawQuery(raw): RawQuery,
    query: Result<Query<PlanQuery>, QueryRejection>,
) -> Result<Json<AllPlans>, Refusal> {
    if let Some(number) = query.as_ref().ok().and_then(|query| query.number()) {
        let error = format!("`{number}` is an endpoint's number, which each instance gives for itself");
        let refusal = Refusal::new(StatusCode::BAD_REQUEST, error);
        return Err(refusal.remedy("name the endpoint by its address with port, or by its pod"));
    }
    let own = plan::plan(State(state.clone()), query);
    let all = ask_all(&state, Question::get("/v1/peer/plan", raw), own).await?;
    Ok(Json(AllPlans { totals: plan::totals(&all.instances), all }))
}

/// `POST /v1/all/drain`.
pub(crate) async fn drain(
    State(state): State<AdminState>,
    Extension(peer): Extension<Peer>,
    JsonBody(request): JsonBody<api::DrainRequest>,
) -> Result<Json<All<api::DrainAnswer>>, Refusal> {
    let request = signed(request, &peer);
    let question = Question::post("/v1/peer/drain", &request);
    let own = change::drain(State(state.clone()), Extension(peer), JsonBody(request));
    Ok(Json(ask_all(&state, question, own).await?))
}

/// `POST /v1/all/undrain`.
pub(crate) async fn undrain(
    State(state): State<AdminState>,
    Extension(peer): Extension<Peer>,
    JsonBody(request): JsonBody<api::DrainRequest>,
) -> Result<Json<All<api::DrainAnswer>>, Refusal> {
    let request = signed(request, &peer);
    let question = Question::post("/v1/peer/undrain", &request);
    let own = change::undrain(State(state.clone()), Extension(peer), JsonBody(request));
    Ok(Json(ask_all(&state, question, own).await?))
}

/// Who asks is the same on all instances.
fn signed(request: api::DrainRequest, peer: &Peer) -> api::DrainRequest {
    let by = request.by.clone().unwrap_or_else(|| peer.name.clone());
    api::DrainRequest { by: Some(by), ..request }
}

/// What the other instances are asked.
#[derive(Clone, Debug)]
struct Question {
    method: Method,
    path: String,
    body: Option<Vec<u8>>,
}

impl Question {
    /// With the parameters that this instance was given.
    fn get(path: &str, parameters: Option<String>) -> Self {
        let path = parameters.map_or_else(|| path.to_owned(), |parameters| format!("{path}?{parameters}"));
        Self { method: Method::GET, path, body: None }
    }

    fn post(path: &str, request: &api::DrainRequest) -> Self {
        let body = serde_json::to_vec(request).unwrap_or_default();
        Self { method: Method::POST, path: path.to_owned(), body: Some(body) }
    }
}

/// Asks all instances at once. This one is asked by `own`, and only where others can be asked: a change is made on all
/// of them or, where there are no others to ask, on none.
async fn ask_all<T: DeserializeOwned + Send + 'static>(
    state: &AdminState,
    question: Question,
    own: impl Future<Output = Result<Json<T>, Refusal>>,
) -> Result<All<T>, Refusal> {
    let Some(peers) = &state.peers else {
        return Err(Refusal::new(StatusCode::CONFLICT, "this instance knows no others")
            .remedy("set `gate` and `peers` in its configuration, or ask without --all"));
    };
    let mut asked = JoinSet::new();
    for address in peers.others(&state.control).await? {
        let (peers, question) = (peers.clone(), question.clone());
        asked.spawn(async move { row(address.to_string(), ask(&peers, address, question).await) });
    }
    let (mut others, own) = tokio::join!(asked.join_all(), own);
    others.sort_by(|a, b| a.instance.cmp(&b.instance));
    let own = match own {
        Ok(Json(answer)) => Ok(answer),
        // It is the question that is wrong, whoever is asked.
        Err(refusal) if refusal.status == StatusCode::BAD_REQUEST => return Err(refusal),
        Err(refusal) => Err(refusal.error),
    };
    let mut instances = vec![row(THIS.to_owned(), own)];
    instances.extend(others);
    Ok(All { instances })
}

/// Asks one other instance.
async fn ask<T: DeserializeOwned>(
    peers: &Peers,
    address: SocketAddr,
    Question { method, path, body }: Question,
) -> Result<T, String> {
    let answer = peers.ask(address, method, &path, body).await;
    let (status, bytes) = answer.map_err(|error| error.to_string())?;
    if status == StatusCode::OK {
        return serde_json::from_slice(&bytes).map_err(|error| format!("its answer: {error}"));
    }
    Err(match serde_json::from_slice(&bytes) {
        Ok(api::Error { error, .. }) => error,
        Err(_) => format!("it answered {status}"),
    })
}

fn row<T>(instance: String, answer: Result<T, String>) -> InstanceAnswer<T> {
    match answer {
        Ok(answer) => InstanceAnswer { instance, answer: Some(answer), error: None },
        Err(error) => InstanceAnswer { instance, answer: None, error: Some(error) },
    }
}
