//! `--all`: the same question to every instance, and all answers in a list.

use axum::{
    Extension, Json,
    extract::{Query, RawQuery, State, rejection::QueryRejection},
    http::{Method, StatusCode},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::task::JoinSet;

use crate::{
    AdminState,
    access::Peer,
    api,
    audit::{self, AuditQuery},
    body::JsonBody,
    change,
    refusal::Refusal,
};

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

/// `GET /v1/all/audit`.
pub(crate) async fn audit(
    State(state): State<AdminState>,
    RawQuery(raw): RawQuery,
    query: Result<Query<AuditQuery>, QueryRejection>,
) -> Result<Json<All<api::Audit>>, Refusal> {
    let path = raw.map_or_else(|| "/v1/peer/audit".to_owned(), |raw| format!("/v1/peer/audit?{raw}"));
    let own = audit::audit(State(state.clone()), query);
    let (others, own) = tokio::join!(ask_others(&state, Method::GET, &path, None), own);
    Ok(gather(own, others?))
}

/// `POST /v1/all/drain`.
pub(crate) async fn drain(
    State(state): State<AdminState>,
    Extension(peer): Extension<Peer>,
    JsonBody(request): JsonBody<api::DrainRequest>,
) -> Result<Json<All<api::DrainAnswer>>, Refusal> {
    let request = signed(request, &peer);
    let own = change::drain(State(state.clone()), Extension(peer), JsonBody(request.clone()));
    let (others, own) = tokio::join!(ask_others(&state, Method::POST, "/v1/peer/drain", Some(&request)), own);
    Ok(gather(own, others?))
}

/// `POST /v1/all/undrain`.
pub(crate) async fn undrain(
    State(state): State<AdminState>,
    Extension(peer): Extension<Peer>,
    JsonBody(request): JsonBody<api::DrainRequest>,
) -> Result<Json<All<api::DrainAnswer>>, Refusal> {
    let request = signed(request, &peer);
    let own = change::undrain(State(state.clone()), Extension(peer), JsonBody(request.clone()));
    let (others, own) =
        tokio::join!(ask_others(&state, Method::POST, "/v1/peer/undrain", Some(&request)), own);
    Ok(gather(own, others?))
}

/// Who asks is the same on all instances.
fn signed(request: api::DrainRequest, peer: &Peer) -> api::DrainRequest {
    let by = request.by.clone().unwrap_or_else(|| peer.name.clone());
    api::DrainRequest { by: Some(by), ..request }
}

/// Asks all other instances at once.
async fn ask_others<T: DeserializeOwned + Send + 'static>(
    state: &AdminState,
    method: Method,
    path: &str,
    body: Option<&api::DrainRequest>,
) -> Result<Vec<InstanceAnswer<T>>, Refusal> {
    let Some(peers) = &state.peers else {
        return Err(Refusal::new(StatusCode::CONFLICT, "this instance knows no others")
            .remedy("set `gate` and `peers` in its configuration, or ask without --all"));
    };
    let body = body.map(serde_json::to_vec).transpose().unwrap_or_default();
    let mut asked = JoinSet::new();
    for address in peers.others(&state.control).await? {
        let (peers, method, path, body) = (peers.clone(), method.clone(), path.to_owned(), body.clone());
        asked.spawn(async move {
            let answer = match peers.ask(address, method, &path, body).await {
                Ok((StatusCode::OK, bytes)) => {
                    serde_json::from_slice(&bytes).map_err(|error| format!("its answer: {error}"))
                }
                Ok((status, bytes)) => Err(match serde_json::from_slice(&bytes) {
                    Ok(api::Error { error, .. }) => error,
                    Err(_) => format!("it answered {status}"),
                }),
                Err(error) => Err(error.to_string()),
            };
            row(address.to_string(), answer)
        });
    }
    let mut answers = asked.join_all().await;
    answers.sort_by(|a, b| a.instance.cmp(&b.instance));
    Ok(answers)
}

/// Puts this instance's own answer first.
fn gather<T>(own: Result<Json<T>, Refusal>, others: Vec<InstanceAnswer<T>>) -> Json<All<T>> {
    let own = own.map(|Json(answer)| answer).map_err(|refusal| refusal.error);
    let mut instances = vec![row("this".to_owned(), own)];
    instances.extend(others);
    Json(All { instances })
}

fn row<T>(instance: String, answer: Result<T, String>) -> InstanceAnswer<T> {
    match answer {
        Ok(answer) => InstanceAnswer { instance, answer: Some(answer), error: None },
        Err(error) => InstanceAnswer { instance, answer: None, error: Some(error) },
    }
}
