//! Asking the API server: one request, its answer or why there is none, in words that name the remedy.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use http_body_util::BodyExt as _;
use hyper::{Request, Response, StatusCode, header};
use kube::{Client, client::Body};
use serde_json::Value;
use tokio::time::timeout;

use crate::{
    access::{Access, AccessError, said},
    meta::Status,
    pods::clock::ServerClock,
    status::{ErrorCause, SourceStatus},
};

/// One object is not larger.
const MAX_ANSWER_BYTES: usize = 16 * 1024 * 1024;
/// How much of an error's body is read.
const MAX_STATUS_BYTES: usize = 64 * 1024;

/// A kind of object as the API has it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Resource {
    /// Empty for the core group.
    pub(crate) group: &'static str,
    pub(crate) version: &'static str,
    pub(crate) plural: &'static str,
}

impl Resource {
    /// The path of its list, in one namespace or in all.
    pub(crate) fn path(&self, namespace: Option<&str>) -> String {
        let Self { group, version, plural } = self;
        let root =
            if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") };
        match namespace {
            Some(namespace) => format!("{root}/namespaces/{namespace}/{plural}"),
            None => format!("{root}/{plural}"),
        }
    }
}

/// What a request does, for messages.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deed<'a> {
    /// As RBAC has it: `list`, `watch`, `patch`.
    pub(crate) verb: &'static str,
    /// As RBAC has it, a subresource included.
    pub(crate) resource: &'a str,
    /// Empty for the core group.
    pub(crate) group: &'static str,
}

/// Why there is no answer.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) cause: ErrorCause,
    pub(crate) message: String,
    pub(crate) retry_after: Option<Duration>,
    /// The status code, where there was an answer.
    pub(crate) code: Option<u16>,
}

impl Failure {
    pub(crate) fn new(cause: ErrorCause, message: impl Into<String>) -> Self {
        Self { cause, message: message.into(), retry_after: None, code: None }
    }
}

/// Asks one API server.
pub(crate) struct Api {
    access: Access,
    client: Mutex<Option<Client>>,
    patience: Duration,
    clock: ServerClock,
}

impl Api {
    /// An API server that is found in this way. What is wrong with the way is found at once.
    pub(crate) async fn new(
        access: Access,
        patience: Duration,
        status: Arc<SourceStatus>,
    ) -> Result<Self, AccessError> {
        let client = access.connect().await?;
        let clock = ServerClock::new(status);
        Ok(Self { access, client: Mutex::new(Some(client)), patience, clock })
    }

    /// What is known of the server's clock.
    pub(crate) fn clock(&self) -> &ServerClock {
        &self.clock
    }

    async fn client(&self) -> Result<Client, Failure> {
        if let Some(client) = &*self.client.lock().unwrap_or_else(PoisonError::into_inner) {
            return Ok(client.clone());
        }
        let unusable = |error: AccessError| Failure::new(ErrorCause::Unauthorized, said(&error));
        let client = self.access.connect().await.map_err(unusable)?;
        *self.client.lock().unwrap_or_else(PoisonError::into_inner) = Some(client.clone());
        Ok(client)
    }

    /// The next request reads kubeconfig, token and certificate authority anew: they may have been changed.
    fn forget_client(&self) {
        *self.client.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Asks, and waits for the head of an answer that is no error.
    pub(crate) async fn send(
        &self,
        request: Request<Vec<u8>>,
        deed: Deed<'_>,
    ) -> Result<Response<Body>, Failure> {
        let client = self.client().await?;
        let asked = SystemTime::now();
        let sent = timeout(self.patience, client.send(request.map(Body::from))).await;
        let response = match sent {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => {
                self.forget_client();
                let message = format!("the API server cannot be reached: {}", said(&error));
                return Err(Failure::new(ErrorCause::Unreachable, message));
            }
            Err(_) => {
                self.forget_client();
                let message = format!("the API server did not answer within {:?}", self.patience);
                return Err(Failure::new(ErrorCause::Unreachable, message));
            }
        };
        if let Some(date) = response.headers().get(header::DATE).and_then(|date| date.to_str().ok()) {
            self.clock.note(date, asked, SystemTime::now(), Instant::now());
        }
        if response.status().is_success() {
            return Ok(response);
        }
        if response.status() == StatusCode::UNAUTHORIZED {
            self.forget_client();
        }
        Err(self.refusal(response, deed).await)
    }

    /// Asks with one JSON value, or none, for another.
    pub(crate) async fn ask(
        &self,
        method: &str,
        path: &str,
        body: Option<(&str, Value)>,
        deed: Deed<'_>,
    ) -> Result<Value, Failure> {
        let malformed = |error: String| Failure::new(ErrorCause::Malformed, error);
        let mut request = Request::builder().method(method).uri(path);
        let mut bytes = Vec::new();
        if let Some((kind, body)) = body {
            request = request.header(header::CONTENT_TYPE, kind);
            bytes = body.to_string().into_bytes();
        }
        let request =
            request.body(bytes).map_err(|error| malformed(format!("no request can be made: {error}")))?;
        let response = self.send(request, deed).await?;
        let bytes = self.body(response, MAX_ANSWER_BYTES).await?;
        serde_json::from_slice(&bytes).map_err(|error| malformed(format!("the answer is not JSON: {error}")))
    }

    /// Reads an answer whole, up to a limit.
    pub(crate) async fn body(&self, response: Response<Body>, limit: usize) -> Result<Vec<u8>, Failure> {
        let mut body = response.into_body();
        let mut bytes = Vec::new();
        loop {
            let frame = match timeout(self.patience, body.frame()).await {
                Err(_) => {
                    let message = format!("the API server stopped in its answer for {:?}", self.patience);
                    return Err(Failure::new(ErrorCause::Cut, message));
                }
                Ok(None) => return Ok(bytes),
                Ok(Some(Err(error))) => {
                    let message = format!("the API server's answer was cut: {}", said(&error));
                    return Err(Failure::new(ErrorCause::Cut, message));
                }
                Ok(Some(Ok(frame))) => frame,
            };
            let Some(data) = frame.data_ref() else { continue };
            if bytes.len() + data.len() > limit {
                let message = format!("an answer of the API server is larger than {limit} bytes");
                return Err(Failure::new(ErrorCause::Malformed, message));
            }
            bytes.extend_from_slice(data);
        }
    }

    async fn refusal(&self, response: Response<Body>, deed: Deed<'_>) -> Failure {
        let code = response.status().as_u16();
        let retry_after = response
            .headers()
            .get(header::RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.trim().parse().ok())
            .map(Duration::from_secs);
        let body = self.body(response, MAX_STATUS_BYTES).await.unwrap_or_default();
        let status: Status = serde_json::from_slice(&body).unwrap_or_default();
        Failure { retry_after, ..refusal(code, &status, deed) }
    }
}

/// What a refusal means.
pub(crate) fn refusal(code: u16, status: &Status, deed: Deed<'_>) -> Failure {
    let Deed { verb, resource, group } = deed;
    let said = status.message.as_deref().or(status.reason.as_deref()).unwrap_or("no reason given");
    let (cause, message) = match code {
        401 => (
            ErrorCause::Unauthorized,
            format!("the API server does not accept the credentials ({said}): has the token expired?"),
        ),
        403 if status.namespace_ends() => (
            ErrorCause::Ending,
            format!("may not {verb} {resource}, because the namespace is being deleted ({said})"),
        ),
        403 => {
            let group = if group.is_empty() { "the core group" } else { group };
            let remedy = format!("give the verb `{verb}` on `{resource}` of {group} by RBAC");
            (ErrorCause::Forbidden, format!("may not {verb} {resource}: {remedy} ({said})"))
        }
        410 => (ErrorCause::Expired, format!("the version to go on from is too old ({said})")),
        429 => (ErrorCause::Throttled, format!("the API server asks for patience ({said})")),
        500..=599 => (ErrorCause::Server, format!("the API server failed with {code} ({said})")),
        _ => {
            (ErrorCause::Refused, format!("the API server refused to {verb} {resource} with {code} ({said})"))
        }
    };
    Failure { cause, message, retry_after: None, code: Some(code) }
}
