//! The page with an API whose every answer the test writes, and a clock that stands where the test puts it. What the
//! page asks is noted. The answers go through the API's own types, so that none is one that no proxy gives.

use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tidegate_tests::support::{Browser, api};

use super::{Served, on_tcp};

/// Answers instead of the proxy, twenty times as often as an operator would be asked for.
const STUB: &str = r#"
window.answers = {}; window.refusals = {}; window.asked = []; window.passed = 0; window.away = false; window.turns = 0;
window.holds = {}; window.hits = 0; window.hit = () => { window.hits += 1; };
performance.now = () => window.passed;
Object.defineProperty(document, "hidden", { get: () => window.away });
const [later, often] = [window.setTimeout, window.setInterval];
window.setTimeout = (what, time) => later(() => { window.turns += 1; what(); }, time / 20);
window.setInterval = (what, time) => often(what, time / 20);
window.tell = (sample) => window.stream.enqueue(new TextEncoder().encode(`${JSON.stringify(sample)}\n`));
window.fetch = async (address, { method = "GET", headers = {}, body } = {}) => {
  const path = address.split("?")[0];
  window.asked.push({ method, address, headers, body: body && JSON.parse(body) });
  const hold = window.holds[path];
  if (hold) await hold.until;
  if (window.secret && headers.authorization !== `Bearer ${window.secret}`) return new Response("", { status: 401 });
  const refusal = window.refusals[address] ?? window.refusals[path];
  if (refusal === 0) throw new TypeError("Failed to fetch");
  if (refusal) return new Response(JSON.stringify({ error: "it may not be", remedy: "ask ada" }), { status: refusal });
  if (method === "POST") return new Response("{}");
  if (!address.includes("follow=true")) return new Response(JSON.stringify(window.answers[address] ?? window.answers[path]));
  return new Response(new ReadableStream({ start(stream) {
    window.stream = stream;
    window.tell(window.answers["/v1/drains"]);
  } }));
};
"#;

/// A page that is told what the test says.
pub(super) struct Canned {
    pub(super) browser: Browser,
    _served: Served,
}

impl Canned {
    /// A page with these answers that is live; none where this machine has no browser.
    pub(super) fn open(answers: &Answers) -> Option<Self> {
        let mut browser = Browser::start()?;
        let served = Served::start(on_tcp(&[]), None);
        browser.before(&format!("{STUB}\nObject.assign(window.answers, {});", answers.json()));
        browser.open(&served.page());
        browser.until("it is live", "document.querySelector('#live').dataset.state === 'live'");
        browser.until("services are shown", "document.querySelector('#facts').children.length > 0");
        Some(Self { browser, _served: served })
    }

    /// From here on the API answers this.
    pub(super) fn answer(&mut self, answers: &Answers) {
        self.browser.value(&format!("void Object.assign(window.answers, {})", answers.json()));
    }

    /// The stream of drains says this.
    pub(super) fn tell(&mut self, drains: &[Value], over: &[Value]) {
        self.browser.value(&format!("window.tell({})", sample(drains, over)));
    }

    /// From here on what begins with this is refused with this status; 0 is a proxy that does not answer.
    pub(super) fn refuse(&mut self, address: &str, status: u16) {
        self.browser.value(&format!("window.refusals[{address:?}] = {status}"));
    }

    /// From here on nothing is refused.
    pub(super) fn refuse_nothing(&mut self) {
        self.browser.value("window.refusals = {}");
    }

    /// What is asked for at this path waits for its answer, until it is let go.
    pub(super) fn hold(&mut self, path: &str) {
        let hold = "const hold = {}; hold.until = new Promise((go) => { hold.go = go; });";
        self.browser.value(&format!("{{ {hold} window.holds[{path:?}] = hold; }}"));
    }

    pub(super) fn let_go(&mut self, path: &str) {
        self.browser.value(&format!("{{ window.holds[{path:?}].go(); delete window.holds[{path:?}]; }}"));
    }

    /// How often it was asked for an address.
    pub(super) fn times(&mut self, address: &str) -> u64 {
        let times = format!("window.asked.filter((it) => it.address === {address:?}).length");
        self.browser.value(&times).as_u64().unwrap()
    }

    /// What was asked for by POST so far.
    pub(super) fn posted(&mut self) -> Value {
        let posted = "window.asked.filter((it) => it.method === 'POST').map((it) => [it.address, it.body])";
        self.browser.value(posted)
    }

    /// What assistive technology was told last.
    #[track_caller]
    pub(super) fn until_said(&mut self, words: &str) {
        let said = format!("document.querySelector('#said').textContent === {words:?}");
        self.browser.until(words, &said);
    }

    /// Lets several looks and pauses pass.
    #[track_caller]
    pub(super) fn let_turns_pass(&mut self) {
        let turns = self.browser.value("window.turns").as_u64().unwrap();
        self.browser.until("time passes", &format!("window.turns > {turns} + 8"));
    }
}

/// What the API answers.
#[derive(Default)]
pub(super) struct Answers {
    pub(super) services: Vec<Value>,
    pub(super) endpoints: Vec<Value>,
    pub(super) records: Vec<Value>,
    pub(super) drains: Vec<Value>,
}

impl Answers {
    /// By path.
    fn json(&self) -> Value {
        let status = json!({
            "version": "1.2.3", "started": BEGAN, "uptime_seconds": 7260.0, "phase": "ready", "ready": true,
            "not_ready": [], "generation": 77, "flows": 12_345, "flow_limit": 1_000, "workers": [], "listeners": [],
            "services": self.services,
        });
        let endpoints = json!({"generation": 77, "endpoints": self.endpoints});
        let audit = json!({"records": self.records, "dropped": 0, "known_ms": 1});
        json!({
            "/v1/status": typed::<api::Status>(status),
            "/v1/endpoints": typed::<api::Endpoints>(endpoints),
            "/v1/audit": typed::<api::Audit>(audit),
            "/v1/drains": sample(&self.drains, &[]),
        })
    }
}

/// When drains began.
pub(super) const BEGAN: &str = "2026-01-01T10:00:00.000Z";
/// The service that everything is of unless it says otherwise.
pub(super) const SERVICE: &str = "default/web:http";

/// An answer as the proxy would give it.
fn typed<Answer: DeserializeOwned + Serialize>(json: Value) -> Value {
    serde_json::to_value(serde_json::from_value::<Answer>(json).unwrap()).unwrap()
}

fn sample(drains: &[Value], over: &[Value]) -> Value {
    typed::<api::Drains>(json!({"at": BEGAN, "drains": drains, "over": over, "silent_workers": []}))
}

/// An object with other members, or more of them.
pub(super) fn with(mut object: Value, members: Value) -> Value {
    let Value::Object(members) = members else { panic!("no members: {members}") };
    object.as_object_mut().unwrap().extend(members);
    object
}

pub(super) fn service(name: &str, eligible: usize, total: usize) -> Value {
    json!({"service": name, "configured": true, "eligible": eligible, "last_resort": false, "total": total,
           "draining": 0, "flows": 1})
}

/// An endpoint that says this of ready, serving and terminating, or has gone.
pub(super) fn endpoint(id: u64, conditions: Option<[bool; 3]>, eligible: bool) -> Value {
    let conditions = conditions.map(|[ready, serving, terminating]| {
        json!({"ready": ready, "serving": serving, "terminating": terminating})
    });
    json!({
        "service": SERVICE, "endpoint": format!("10.0.0.{id}:80"), "id": id, "conditions": conditions,
        "eligible": eligible, "admin_state": {"state": "in_service"}, "drain": null, "flows": 1_000 + id, "weight": 1,
        "pod": format!("default/web-{id}"), "node": "node-a", "zone": "zone-1", "slice": null, "since": BEGAN,
    })
}

/// A drain of an operator's, of which nothing more is known.
pub(super) fn drain(id: u64) -> Value {
    json!({
        "service": SERVICE, "endpoint": format!("10.0.0.{id}:80"), "id": id, "pod": format!("default/web-{id}"),
        "node": "node-a", "since": BEGAN, "since_seconds": 60.0, "why": "operator ada",
        "causes": [{"kind": "operator", "object": "ada"}], "deadline": null, "deadline_seconds": null,
        "sheds_from": null, "waits": false, "flows_at_start": 40, "flows_left": 10, "idle_share": null,
        "bytes_per_second": null, "oldest_flow_seconds": null, "ended_by_themselves": 30, "shed": 0, "cut": 0,
        "broken": 0, "ends": null, "will_be_cut": null,
    })
}

/// What that drain came to.
pub(super) fn record(id: u64) -> Value {
    json!({
        "service": SERVICE, "endpoint": format!("10.0.0.{id}:80"), "id": id, "pod": format!("default/web-{id}"),
        "why": "operator ada", "causes": [], "began": BEGAN, "ended": "2026-01-01T10:00:05.000Z", "took_ms": 5_000,
        "undone": false, "deadline": null, "flows_at_start": 40, "flows_left": 0, "flows_after_start": 0,
        "ended_by_client": 0, "ended_by_endpoint": 0, "shed": 0, "cut": 0, "broken": 0, "ordered": 0, "elsewhere": 0,
        "published_after_us": null,
    })
}
