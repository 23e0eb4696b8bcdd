//! Connections and requests: HTTP/1.1, TLS, tokens, and the faults that a test has planned.

use std::{
    collections::BTreeMap,
    net::TcpListener as StdListener,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use axum::extract::Query;
use http_body_util::{BodyExt as _, Either, Full};
use hyper::{
    Request, Response,
    body::{Bytes, Incoming},
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, DATE, RETRY_AFTER, USER_AGENT},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tidegate_control::clock::rfc3339;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    sync::mpsc,
    task::JoinSet,
};

use super::{
    body::{AnswerBody, Cut, Streamed},
    call::{Call, Verb},
    fault::{Fault, rest},
    form::Form,
    resource::Target,
    route::{self, Answer},
    shared::Shared,
    status::Refusal,
    stream::line,
};

/// Serves a listener until the future is dropped, and all its connections end with it.
pub(super) async fn serve(listener: StdListener, shared: Arc<Shared>) {
    let listener = TcpListener::from_std(listener).expect("a listener that does not block");
    let mut connections = JoinSet::new();
    loop {
        // Out of descriptors the test has failed anyway.
        let (stream, _) = listener.accept().await.expect("the test's server can accept");
        let shared = Arc::clone(&shared);
        let acceptor = shared.state().identity.as_ref().map(|identity| identity.acceptor.clone());
        connections.spawn(async move {
            match acceptor {
                None => converse(stream, shared).await,
                // A client that does not like the certificate says so in the handshake, and goes.
                Some(acceptor) => {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        converse(stream, shared).await;
                    }
                }
            }
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn converse(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, shared: Arc<Shared>) {
    let service = service_fn(|request| dated(Arc::clone(&shared), request));
    // A client that goes, or a connection that a fault cuts, is nobody's concern.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

/// An answer, with what the server's clock says where that is not this machine's.
async fn dated(shared: Arc<Shared>, request: Request<Incoming>) -> Result<Response<AnswerBody>, Cut> {
    let mut response = answer(Arc::clone(&shared), request).await?;
    let behind = Duration::from_secs(shared.state().clock_behind);
    if !behind.is_zero() {
        let date = http_date(SystemTime::now() - behind);
        response.headers_mut().insert(DATE, date.parse().expect("a date is a header's value"));
    }
    Ok(response)
}

async fn answer(shared: Arc<Shared>, request: Request<Incoming>) -> Result<Response<AnswerBody>, Cut> {
    let form = Form::accepted(&header(&request, ACCEPT.as_str()));
    let call = read(request).await?;
    let (number, fault, is_let_in) = {
        let mut state = shared.state();
        let fault = state.plan.take(&call);
        let is_let_in = state.tokens.as_ref().is_none_or(|tokens| {
            call.authorization.strip_prefix("Bearer ").is_some_and(|token| tokens.contains(token))
        });
        state.calls.push(call.clone());
        (state.calls.len() - 1, fault, is_let_in)
    };
    let answered = |status: u16| shared.state().calls[number].status = status;
    if let Some(Fault::Late(pause)) = fault {
        rest(pause).await;
    }
    let is_watch = call.verb == Verb::Watch;
    let older = if let Some(Fault::Older(revision)) = fault { Some(revision) } else { None };
    let result = match &fault {
        Some(Fault::Disconnect) => return Err(Cut),
        Some(Fault::Silent) if !is_watch => std::future::pending().await,
        Some(Fault::Garbage) => {
            answered(200);
            return Ok(whole(200, Bytes::from_static(b"{\"kind\": \"no JSON, because"), None));
        }
        Some(Fault::Refuse(410)) if is_watch => {
            answered(200);
            let object = Refusal::too_old(0, shared.state().store.revision()).object();
            return Ok(whole(200, line("ERROR", &object), None));
        }
        Some(Fault::Refuse(code) | Fault::RefuseFor(code, _)) => {
            Err(Refusal::new(*code, format!("the test answers {code}")))
        }
        _ if !is_let_in => Err(Refusal::new(401, "Unauthorized")),
        _ => shared.change(|state| route::answer(state, &call, form, older)),
    };
    let retry = if let Some(Fault::RefuseFor(_, seconds)) = fault { Some(seconds) } else { None };
    match result {
        Err(refusal) => {
            answered(refusal.code);
            Ok(whole(refusal.code, refusal.object().to_string().into(), retry))
        }
        Ok(Answer::Object(code, object)) => {
            answered(code);
            Ok(sent(code, object.to_string().into(), fault.as_ref()))
        }
        Ok(Answer::Watch(watch)) => {
            answered(200);
            let (sender, body) = Streamed::new();
            match fault {
                Some(Fault::Silent) => drop(tokio::spawn(async move { sender.closed().await })),
                Some(Fault::CutBody) => drop(tokio::spawn(async move { sender.send(Err(Cut)).await })),
                _ => drop(tokio::spawn(watch.run(Arc::clone(&shared), sender))),
            }
            Ok(response(200, Either::Right(body), None))
        }
    }
}

/// A whole answer, as a fault has it sent.
fn sent(code: u16, bytes: Bytes, fault: Option<&Fault>) -> Response<AnswerBody> {
    let (sender, body) = Streamed::new();
    match fault {
        Some(Fault::CutBody) => drop(tokio::spawn(async move {
            let _ = sender.send(Ok(bytes.slice(..bytes.len() / 2))).await;
            let _ = sender.send(Err(Cut)).await;
        })),
        Some(Fault::Trickle(size, pause)) => drop(tokio::spawn(trickle(sender, bytes, *size, *pause))),
        _ => return whole(code, bytes, None),
    }
    response(code, Either::Right(body), None)
}

async fn trickle(sender: mpsc::Sender<Result<Bytes, Cut>>, bytes: Bytes, size: usize, pause: Duration) {
    for start in (0..bytes.len()).step_by(size.max(1)) {
        let end = bytes.len().min(start + size.max(1));
        if sender.send(Ok(bytes.slice(start..end))).await.is_err() {
            return;
        }
        rest(pause).await;
    }
}

fn whole(code: u16, bytes: Bytes, retry: Option<u64>) -> Response<AnswerBody> {
    response(code, Either::Left(Full::new(bytes)), retry)
}

fn response(code: u16, body: AnswerBody, retry: Option<u64>) -> Response<AnswerBody> {
    let mut builder = Response::builder().status(code).header(CONTENT_TYPE, "application/json");
    if let Some(seconds) = retry {
        builder = builder.header(RETRY_AFTER, seconds);
    }
    builder.body(body).expect("a status that exists and plain headers")
}

async fn read(request: Request<Incoming>) -> Result<Call, Cut> {
    let at = Instant::now();
    let [user_agent, authorization, content_type] =
        [USER_AGENT, AUTHORIZATION, CONTENT_TYPE].map(|name| header(&request, name.as_str()));
    let query: BTreeMap<String, String> =
        Query::try_from_uri(request.uri()).map(|Query(query)| query).unwrap_or_default();
    let (method, path) = (request.method().to_string(), request.uri().path().to_owned());
    let target = Target::parse(&path);
    let body = request.into_body().collect().await.map_err(|_| Cut)?.to_bytes();
    let body = if body.is_empty() {
        Value::Null
    } else {
        // What is no JSON is refused where an object is looked for.
        serde_json::from_slice(&body).unwrap_or(Value::Null)
    };
    let verb = Call::verb_of(&method, target.as_ref(), &query);
    Ok(Call {
        at,
        verb,
        method,
        path,
        query,
        target,
        user_agent,
        authorization,
        content_type,
        body,
        status: 0,
    })
}

/// A time as HTTP has it (IMF-fixdate).
fn http_date(at: SystemTime) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let days = at.duration_since(SystemTime::UNIX_EPOCH).expect("it is past 1970").as_secs() / 86_400;
    let text = rfc3339(at);
    let month: usize = text[5..7].parse().expect("a month");
    let (year, day, time) = (&text[..4], &text[8..10], &text[11..19]);
    format!("{}, {day} {} {year} {time} GMT", DAYS[(days % 7) as usize], MONTHS[month - 1])
}

fn header(request: &Request<Incoming>, name: &str) -> String {
    request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
}
