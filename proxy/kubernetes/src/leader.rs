//! One instance writes, the others watch: a Lease, as Kubernetes' own components have it.
//!
//! Clocks of two machines are not compared: a holder is taken for gone when its Lease has not changed for as long as it
//! lasts, as this instance saw it. Who may write is judged before each write: a holder that could not renew stops first.

use std::time::{Duration, SystemTime};

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{
    api::{Api, Deed, Failure, Resource},
    event::micro_time,
    status::ErrorCause,
};

const LEASES: Resource = Resource { group: "coordination.k8s.io", version: "v1", plural: "leases" };

/// How long a Lease lasts that is not renewed.
const LASTS: Duration = Duration::from_secs(15);
/// How often it is renewed, or looked at.
pub(crate) const RENEW: Duration = Duration::from_secs(5);
/// A holder that could not renew for so long does not write any more.
const GIVE_UP: Duration = Duration::from_secs(10);

/// An instance that wants to be the one.
#[derive(Debug)]
pub(crate) struct Candidate {
    namespace: String,
    /// The Lease that every instance looks at: it has the name of their Service.
    name: String,
    identity: String,
    /// The Lease as it was seen last, and since when.
    seen: Option<(String, Instant)>,
    /// When this instance last renewed it.
    renewed: Option<Instant>,
    /// The version that it has since then.
    version: Option<Value>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Lease {
    metadata: Metadata,
    spec: Spec,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Metadata {
    resource_version: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    holder_identity: Option<String>,
    acquire_time: Option<String>,
    lease_transitions: Option<i64>,
}

/// What is to be done with a Lease.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    Renew,
    Take,
    Wait,
}

impl Candidate {
    pub(crate) fn new(namespace: String, name: String, identity: String) -> Self {
        Self { namespace, name, identity, seen: None, renewed: None, version: None }
    }

    /// Whether this instance may write.
    pub(crate) fn leads(&self) -> bool {
        self.renewed.is_some_and(|renewed| renewed.elapsed() < GIVE_UP)
    }

    /// Looks at the Lease, and takes or renews it where it may.
    pub(crate) async fn look(&mut self, api: &Api) -> Result<(), Failure> {
        let outcome = self.look_once(api).await;
        match outcome {
            // Another instance was quicker, or the Lease has just been made or removed: the next look sees it.
            Err(failure) if matches!(failure.code, Some(404 | 409)) => {
                self.renewed = None;
                Ok(())
            }
            other => other,
        }
    }

    async fn look_once(&mut self, api: &Api) -> Result<(), Failure> {
        let list = LEASES.path(Some(&self.namespace));
        let path = format!("{list}/{}", self.name);
        let deed = |verb| Deed { verb, resource: LEASES.plural, group: LEASES.group };
        let lease = match api.ask("GET", &path, None, deed("get")).await {
            Ok(lease) => lease,
            Err(failure) if failure.code == Some(404) => {
                let body = self.lease(None, &Spec::default());
                let made = api.ask("POST", &list, Some(("application/json", body)), deed("create")).await;
                let made = made.map_err(|failure| self.without_namespace(failure))?;
                self.hold(&made);
                tracing::info!(lease = %format!("{}/{}", self.namespace, self.name), "this instance writes the status of Services");
                return Ok(());
            }
            Err(failure) => return Err(failure),
        };
        let malformed = |error: serde_json::Error| {
            Failure::new(ErrorCause::Malformed, format!("the Lease is not what it should be: {error}"))
        };
        let lease: Lease = serde_json::from_value(lease).map_err(malformed)?;
        let step = self.step(&lease, Instant::now());
        if step == Step::Wait {
            self.renewed = None;
            return Ok(());
        }
        let body = self.lease(Some(&lease.metadata.resource_version), &lease.spec);
        let held = api.ask("PUT", &path, Some(("application/json", body)), deed("update")).await?;
        self.hold(&held);
        if step == Step::Take {
            tracing::info!(lease = %format!("{}/{}", self.namespace, self.name), "this instance writes the status of Services");
        }
        Ok(())
    }

    /// It is this instance's from here on.
    fn hold(&mut self, lease: &Value) {
        self.renewed = Some(Instant::now());
        self.version = Some(lease["metadata"]["resourceVersion"].clone());
    }

    /// Only a namespace that is missing makes a Lease that cannot be made be "not found".
    fn without_namespace(&self, failure: Failure) -> Failure {
        if failure.code != Some(404) {
            return failure;
        }
        let message = format!(
            "the Lease {}/{} cannot be made, because there is no namespace {0:?}: POD_NAMESPACE has to be the namespace \
             of this pod ({})",
            self.namespace, self.name, failure.message
        );
        Failure { message, code: None, ..failure }
    }

    /// Gives the Lease back where this instance holds it, so that nobody has to wait until it has run out.
    pub(crate) async fn release(&mut self, api: &Api) -> Result<(), Failure> {
        if self.renewed.take().is_none() {
            return Ok(());
        }
        let path = format!("{}/{}", LEASES.path(Some(&self.namespace)), self.name);
        let deed = |verb| Deed { verb, resource: LEASES.plural, group: LEASES.group };
        let mut lease = api.ask("GET", &path, None, deed("get")).await?;
        // What is put has the version of what was got: who has taken it meanwhile keeps it, and so does a successor of the
        // same name that has renewed it.
        if lease["spec"]["holderIdentity"] == self.identity.as_str()
            && Some(&lease["metadata"]["resourceVersion"]) == self.version.as_ref()
        {
            lease["spec"]["holderIdentity"] = Value::Null;
            lease["spec"]["renewTime"] = json!(micro_time(SystemTime::now()));
            api.ask("PUT", &path, Some(("application/json", lease)), deed("update")).await?;
            tracing::info!(lease = %format!("{}/{}", self.namespace, self.name), "this instance gave the Lease back");
        }
        Ok(())
    }

    fn step(&mut self, lease: &Lease, now: Instant) -> Step {
        let version = &lease.metadata.resource_version;
        if lease.spec.holder_identity.as_deref() == Some(&self.identity) {
            return Step::Renew;
        }
        let is_free = lease.spec.holder_identity.as_deref().is_none_or(str::is_empty);
        let since = match &self.seen {
            Some((seen, since)) if seen == version => *since,
            _ => {
                self.seen = Some((version.clone(), now));
                now
            }
        };
        if is_free || now.duration_since(since) >= LASTS { Step::Take } else { Step::Wait }
    }

    /// The Lease, held by this instance.
    fn lease(&self, version: Option<&str>, before: &Spec) -> Value {
        let now = micro_time(SystemTime::now());
        let is_mine = before.holder_identity.as_deref() == Some(&self.identity);
        let acquired = before.acquire_time.clone().filter(|_| is_mine).unwrap_or_else(|| now.clone());
        let transitions =
            before.lease_transitions.unwrap_or_default() + i64::from(version.is_some() && !is_mine);
        let mut lease = json!({
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": { "name": self.name, "namespace": self.namespace },
            "spec": {
                "holderIdentity": self.identity,
                "leaseDurationSeconds": LASTS.as_secs(),
                "acquireTime": acquired,
                "renewTime": now,
                "leaseTransitions": transitions,
            },
        });
        if let Some(version) = version {
            lease["metadata"]["resourceVersion"] = json!(version);
        }
        lease
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::jiff::Timestamp;

    use super::*;
    use crate::{
        Options,
        rig::{Rig, pace},
    };

    fn lease(holder: &str, version: &str) -> Lease {
        let object = json!({"metadata": {"resourceVersion": version}, "spec": {"holderIdentity": holder}});
        serde_json::from_value(object).expect("a Lease")
    }

    fn candidate() -> Candidate {
        Candidate::new("system".to_owned(), "tidegate".to_owned(), "me".to_owned())
    }

    #[test]
    fn a_holder_is_gone_when_its_lease_has_not_changed_for_as_long_as_it_lasts() {
        let mut me = candidate();
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        assert_eq!(me.step(&lease("other", "1"), at(0)), Step::Wait);
        assert_eq!(me.step(&lease("other", "1"), at(14)), Step::Wait);
        assert_eq!(me.step(&lease("other", "2"), at(15)), Step::Wait, "it was renewed");
        assert_eq!(me.step(&lease("other", "2"), at(29)), Step::Wait);
        assert_eq!(me.step(&lease("other", "2"), at(30)), Step::Take);
    }

    #[test]
    fn a_free_lease_is_taken_and_an_own_one_renewed() {
        let mut me = candidate();
        assert_eq!(me.step(&lease("", "1"), Instant::now()), Step::Take);
        assert_eq!(me.step(&lease("me", "2"), Instant::now()), Step::Renew);
    }

    #[tokio::test(start_paused = true)]
    async fn a_holder_that_cannot_renew_stops_before_another_begins() {
        let mut me = candidate();
        assert!(!me.leads());
        me.renewed = Some(Instant::now());
        assert!(me.leads());
        tokio::time::advance(GIVE_UP).await;
        assert!(!me.leads());
        assert!(GIVE_UP < LASTS);
    }

    /// Who was quicker, or has it, is left to lead: this instance stops at once, and not when its time is over.
    #[tokio::test]
    async fn a_holder_that_finds_another_one_stops_at_once() {
        let rig = Rig::start_with(Options::default(), pace(), &["leases"]).await;
        let api = rig.api().await;
        let held = |holder: &str| {
            json!({"metadata": {"resourceVersion": "7"}, "spec": {"holderIdentity": holder}}).to_string()
        };
        let found = async |holder: &str| rig.next().await.answer("200 OK", "", &held(holder)).await;
        for is_quicker in [true, false] {
            let mut me = candidate();
            let renewed = async {
                found("me").await;
                rig.next().await.answer("200 OK", "", &held("me")).await;
            };
            let (outcome, ()) = tokio::join!(me.look(&api), renewed);
            assert!(outcome.is_ok() && me.leads());
            let lost = async {
                if is_quicker {
                    found("me").await;
                    rig.next().await.refuse(409, "the object has been modified").await;
                } else {
                    found("other").await;
                }
            };
            let (outcome, ()) = tokio::join!(me.look(&api), lost);
            assert!(outcome.is_ok() && !me.leads(), "another one was quicker: {is_quicker}");
        }
    }

    #[test]
    fn transitions_count_other_holders() {
        let me = candidate();
        let long_ago = "2020-01-01T00:00:00.000000Z";
        let since = |holder| Spec { acquire_time: Some(long_ago.to_owned()), ..lease(holder, "4").spec };
        assert_eq!(me.lease(Some("4"), &since("me"))["spec"]["acquireTime"], long_ago);
        assert_ne!(me.lease(Some("4"), &since("other"))["spec"]["acquireTime"], long_ago);
        let body = me.lease(Some("4"), &lease("other", "4").spec);
        assert_eq!(body["spec"]["leaseTransitions"], 1);
        assert_eq!(body["metadata"]["resourceVersion"], "4");
        let body = me.lease(Some("5"), &lease("me", "5").spec);
        assert_eq!(body["spec"]["leaseTransitions"], 0);
        let time = body["spec"]["renewTime"].as_str().expect("a time").to_owned();
        assert!(
            time.len() == "2026-01-01T00:00:00.000000Z".len() && time.parse::<Timestamp>().is_ok(),
            "{time}"
        );
    }
}
