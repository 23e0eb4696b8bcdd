// The dashboard: what the admin API says, drawn and kept up to date. It asks this proxy and nobody else.
//
// The drains come as a stream; the rest is asked for from time to time, and only what is on the page. Nothing is ever
// written as HTML, so that no name of a pod or an operator can become markup.

const TOKEN = "tidegate-token";
const STATUS_EVERY = 2000;
const AUDIT_EVERY = 5000;
const ROWS = 200;

const at = (id) => document.getElementById(id);

/** An element with properties and children. */
function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name === "class") element.className = value;
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== undefined));
  return element;
}

/** Sets a text where it differs, so that a screen reader hears only what is new. */
function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Makes the children of `parent` stand for `items`: what is there stays there, with its focus. */
function keep(parent, items, key, create, update) {
  const known = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  let before = null;
  for (const item of items) {
    const name = String(key(item));
    let child = known.get(name);
    if (!child) {
      child = create(item);
      child.dataset.key = name;
    }
    known.delete(name);
    update(child, item);
    const place = before ? before.nextElementSibling : parent.firstElementChild;
    if (place !== child) parent.insertBefore(child, place);
    before = child;
  }
  for (const gone of known.values()) {
    // Whoever was at something that goes is not thrown back to the beginning of the page.
    if (gone.contains(document.activeElement)) parent.focus();
    gone.remove();
  }
}

// --- asking -------------------------------------------------------------------------------------------------------

class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

let tokenGiven = null;

/** Asks the proxy; where it wants a token, the operator is asked for it, and then the proxy again. */
async function ask(path, body) {
  for (;;) {
    const token = sessionStorage.getItem(TOKEN);
    const headers = {};
    if (token) headers.authorization = `Bearer ${token}`;
    if (body) headers["content-type"] = "application/json";
    const response = await fetch(path, {
      method: body ? "POST" : "GET",
      headers,
      body: body && JSON.stringify(body),
      cache: "no-store",
      credentials: "omit",
      redirect: "error",
    });
    if (response.status === 401) {
      await wantToken(token);
      continue;
    }
    if (!response.ok) {
      const refusal = await response.json().catch(() => ({}));
      const message = [refusal.error ?? `the proxy answered ${response.status}`, refusal.remedy];
      throw new Refused(response.status, message.filter(Boolean).join("; "));
    }
    at("forget").hidden = !token;
    return response;
  }
}

/** Asks the operator for the token, once for all who wait. `refused` is the token that did not do. */
function wantToken(refused) {
  // Another one was given since this was asked, which may have been without any.
  if (sessionStorage.getItem(TOKEN) !== refused) return Promise.resolve();
  if (!tokenGiven) {
    sessionStorage.removeItem(TOKEN);
    live("waiting", "waiting for the token");
    say(at("token-why"), refused ? "This token was not accepted. Is it the one in admin.tokenFile?" : "");
    const dialog = at("token-dialog");
    tokenGiven = new Promise((given) => {
      dialog.addEventListener("close", () => {
        const token = at("token").value.trim();
        at("token").value = "";
        if (token) sessionStorage.setItem(TOKEN, token);
        tokenGiven = null;
        given();
      }, { once: true });
    });
    dialog.showModal();
  }
  return tokenGiven;
}

const pause = (time) => new Promise((over) => setTimeout(over, time));

/** Does something; says what went wrong. */
async function attempt(what) {
  try {
    await what();
    fine(what);
  } catch (error) {
    trouble(what, error);
  }
}

/** Does something again and again, for as long as somebody looks. */
async function again(what, every) {
  for (;;) {
    if (!document.hidden) await attempt(what);
    await pause(every);
  }
}

function live(state, text) {
  at("live").dataset.state = state;
  say(at("live-text"), text);
}

const SILENT = "The proxy does not answer.";
const wordsOf = (error) => (error instanceof Refused ? error.message : SILENT);

/** What goes wrong at this moment, by what was tried; it stays until that goes well. */
const troubles = new Map();
/** What the operator asked for and was refused, which stays to be read whatever else goes well. */
let refusal = { text: "", until: 0 };

function trouble(what, error) {
  troubles.set(what, wordsOf(error));
  drawTroubles();
}

function fine(what) {
  troubles.delete(what);
  drawTroubles();
}

function refused(error) {
  refusal = { text: wordsOf(error), until: performance.now() + 10000 };
  drawTroubles();
}

function drawTroubles() {
  const all = [...troubles.values()];
  const isSilent = all.includes(SILENT);
  const text = performance.now() < refusal.until ? refusal.text : isSilent ? `${SILENT} It is asked again.` : all[0];
  if (text) say(at("trouble"), text);
  at("trouble").hidden = !text;
  if (isSilent) live("lost", "not connected");
  else live("live", "live");
}

// --- words --------------------------------------------------------------------------------------------------------

const plural = (count, word) => `${count.toLocaleString("en")} ${word}${count === 1 ? "" : "s"}`;

function span(seconds) {
  const s = Math.max(0, seconds);
  if (s < 10) return `${s.toFixed(1)} s`;
  if (s < 120) return `${Math.round(s)} s`;
  if (s < 7200) return `${Math.round(s / 60)} min`;
  if (s < 172800) return `${Math.round(s / 3600)} h`;
  return `${Math.round(s / 86400)} d`;
}

function bytes(rate) {
  const units = ["B/s", "kB/s", "MB/s", "GB/s"];
  let unit = 0;
  let value = rate;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${unit ? value.toFixed(1) : value} ${units[unit]}`;
}

const clock = (time) => (time ? new Date(time).toLocaleTimeString("en-GB") : "");
const plain = (service) => service.split(":")[0];

// --- drains -------------------------------------------------------------------------------------------------------

/** When the sample came, by the browser's clock: deadlines count down from there. */
let sampledAt = 0;
let drains = [];

async function follow() {
  for (;;) {
    try {
      const response = await ask("/v1/drains?follow=true");
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      let text = "";
      for (;;) {
        const { value, done } = await reader.read();
        if (done) break;
        text += value;
        const lines = text.split("\n");
        text = lines.pop();
        for (const line of lines.filter(Boolean)) {
          fine(follow);
          drawDrains(JSON.parse(line));
        }
      }
    } catch (error) {
      trouble(follow, error);
      await pause(2000);
      // Where too many follow, a look now and then is better than nothing.
      if (error.status === 429) await lookAtDrains().catch(() => {});
    }
  }
}

async function lookAtDrains() {
  drawDrains(await (await ask("/v1/drains")).json());
}

function drawDrains(sample) {
  sampledAt = performance.now();
  for (const drain of sample.drains) {
    if (!drains.some((known) => known.id === drain.id)) {
      say(at("said"), `${drain.endpoint} is draining, ${plural(drain.flows_left, "flow")} left`);
    }
  }
  for (const known of drains) {
    if (!sample.drains.some((drain) => drain.id === known.id)) {
      const over = sample.over.find((record) => record.id === known.id && record.began === known.since);
      tellEnd(known, over).catch(() => say(at("said"), `${known.endpoint} is not draining any more`));
      attempt(look);
    }
  }
  drains = sample.drains;
  say(at("drains-count"), String(drains.length));
  at("no-drains").hidden = drains.length > 0;
  keep(at("drains"), drains, (drain) => drain.id, createDrain, updateDrain);
}

/** Says how a drain ended. Without a record, as from another process than the one before, only that it is not on. */
async function tellEnd({ id, service, endpoint }, over) {
  if (!over) return say(at("said"), `${endpoint} is not draining any more`);
  if (!over.undone) return say(at("said"), `${endpoint} is drained`);
  const row = (await endpointsOf(plain(service))).find((row) => row.id === id);
  const now = row?.eligible ? "takes new flows again"
    : row?.conditions ? "is not draining any more, and gets no new flows for another reason"
    : "is not draining any more; it has gone, and its flows go on to their own end";
  say(at("said"), `${endpoint} ${now}`);
}

function createDrain(drain) {
  const fact = (name, word) => make("div", {}, make("dt", {}, word), make("dd", { class: name }));
  const name = make("h3", {}, drain.endpoint);
  return make("li", { class: "card" },
    make("div", { class: "top" },
      make("div", {}, name, make("p", { class: "sub where" })),
      make("button", {
        type: "button", class: "undrain", "aria-label": `Undrain ${drain.endpoint} of ${drain.service}`,
        onclick: (event) => undrain(event.target, drain),
      }, "Undrain")),
    make("p", { class: "left" }, make("span", { class: "flows" }), make("small", { class: "of" })),
    make("progress", { "aria-label": `Flows of ${drain.endpoint} that have ended` }),
    make("dl", {},
      fact("since", "Draining for"), fact("deadline", "Deadline"), fact("ends", "Ends in, about"), fact("idle", "Idle"),
      fact("rate", "Moving"), fact("oldest", "Oldest flow"), fact("fate", "Shed, cut, broken")),
    make("p", { class: "why" }));
}

function updateDrain(card, drain) {
  const part = (name) => card.querySelector(`.${name}`);
  say(part("where"), [drain.service, drain.pod, drain.node].filter(Boolean).join(" · "));
  say(part("flows"), drain.flows_left.toLocaleString("en"));
  say(part("of"), ` of ${plural(drain.flows_at_start, "flow")} left`);
  const bar = card.querySelector("progress");
  bar.max = Math.max(drain.flows_at_start, drain.flows_left, 1);
  bar.value = Math.max(0, drain.flows_at_start - drain.flows_left);
  say(part("idle"), drain.idle_share === null ? "not known" : `${Math.round(drain.idle_share * 100)} %`);
  say(part("rate"), drain.bytes_per_second === null ? "not known" : bytes(drain.bytes_per_second));
  say(part("oldest"), drain.oldest_flow_seconds === null ? "none" : span(drain.oldest_flow_seconds));
  const fate = `${drain.shed} / ${drain.cut} / ${drain.broken}`;
  say(part("fate"), drain.will_be_cut ? `${fate}, ${drain.will_be_cut} to be cut` : fate);
  say(part("why"), drain.waits ? `${drain.why}; waits for a ready endpoint` : drain.why);
  card.classList.toggle("urgent", drain.will_be_cut > 0 || drain.cut > 0 || drain.broken > 0);
  part("undrain").hidden = !drain.causes.some((cause) => cause.kind === "operator");
  countDown(card, drain);
}

/** What changes with time alone. */
function countDown(card, drain) {
  const passed = (performance.now() - sampledAt) / 1000;
  const part = (name) => card.querySelector(`.${name}`);
  say(part("since"), span(drain.since_seconds + passed));
  if (drain.deadline_seconds === null) {
    say(part("deadline"), "none");
  } else if (drain.put_off) {
    say(part("deadline"), "put off, as no endpoint was ready");
  } else {
    const left = drain.deadline_seconds - passed;
    say(part("deadline"), left >= 0 ? `in ${span(left)} (${clock(drain.deadline)})` : `over for ${span(-left)}`);
  }
  if (drain.ends === null) {
    say(part("ends"), "not known");
  } else {
    const [least, most] = [drain.ends.earliest_seconds - passed, drain.ends.latest_seconds - passed].map(span);
    say(part("ends"), least === most ? least : `${least} to ${most}`);
  }
}

setInterval(() => {
  for (const drain of drains) {
    const card = at("drains").querySelector(`[data-key="${drain.id}"]`);
    if (card) countDown(card, drain);
  }
}, 500);

// --- services -----------------------------------------------------------------------------------------------------

/** Services whose endpoints the operator opened or closed by hand. */
const opened = new Map();
/** How many rows of a service are shown. */
const shown = new Map();

async function look() {
  const status = await (await ask("/v1/status")).json();
  drawStatus(status);
  const services = at("services");
  at("no-services").hidden = status.services.length > 0;
  const isOpen = (service) => opened.get(service) ?? status.services.length <= 4;
  keep(services, status.services, (service) => service.service, createService, (part, service) => {
    const open = isOpen(service.service);
    if (part.open !== open) part.open = open;
    const [numbers, notes] = part.querySelectorAll("summary span");
    say(numbers, `${service.eligible} of ${plural(service.total, "endpoint")} for new flows · ${plural(service.flows, "flow")}`);
    const words = [];
    if (service.draining) words.push(`${service.draining} draining`);
    if (service.last_resort) words.push("none ready: terminating ones take new flows");
    else if (!service.eligible && service.configured) words.push("new flows are refused");
    if (!service.configured) words.push("not configured any more");
    say(notes, words.join(" · "));
  });
  const names = new Set(status.services.map((service) => service.service).filter(isOpen).map(plain));
  for (const name of names) {
    const rows = await endpointsOf(name);
    for (const part of services.children) {
      if (plain(part.dataset.key) === name) {
        drawEndpoints(part, rows.filter((endpoint) => endpoint.service === part.dataset.key));
      }
    }
  }
}

async function endpointsOf(name) {
  const answer = await ask(`/v1/endpoints?service=${encodeURIComponent(name)}`);
  return (await answer.json()).endpoints;
}

function drawStatus(status) {
  const facts = [
    ["version", status.version], ["phase", status.phase], ["up", span(status.uptime_seconds)],
    ["flows", status.flows.toLocaleString("en")], ["generation", String(status.generation)],
  ];
  keep(at("facts"), facts, ([name]) => name,
    ([name]) => make("div", {}, make("dt", {}, name), make("dd")),
    (part, [, value]) => say(part.querySelector("dd"), value));
}

const COLUMNS = ["Endpoint", "Ready", "Serving", "Terminating", "New flows", "Admin state", "Flows", "Action"];

function createService(service) {
  const heads = COLUMNS.map((word) =>
    make("th", { role: "columnheader", scope: "col", class: word === "Flows" ? "number" : "" }, word));
  const part = make("details", {},
    make("summary", {}, make("strong", {}, service.service), make("span"), make("span")),
    make("div", { class: "scroll" },
      make("table", { role: "table", "aria-label": `Endpoints of ${service.service}` },
        make("thead", { role: "rowgroup" }, make("tr", { role: "row" }, ...heads)),
        make("tbody", { role: "rowgroup" }))),
    make("p", { class: "more", hidden: "" },
      make("button", { type: "button", onclick: () => {
        shown.set(service.service, (shown.get(service.service) ?? ROWS) + ROWS);
        attempt(look);
      } }, "Show more endpoints")));
  part.querySelector("summary").addEventListener("click", () => {
    opened.set(service.service, !part.open);
    if (!part.open) attempt(look);
  });
  return part;
}

function drawEndpoints(part, endpoints) {
  const limit = shown.get(part.dataset.key) ?? ROWS;
  part.querySelector(".more").hidden = endpoints.length <= limit;
  keep(part.querySelector("tbody"), endpoints.slice(0, limit), (row) => row.id, createEndpoint, updateEndpoint);
}

const cell = (label, ...children) => make("td", { role: "cell", "data-label": label }, ...children);

function createEndpoint(endpoint) {
  const chip = (label, name) => cell(label, make("span", { class: `chip ${name}` }));
  return make("tr", { role: "row" },
    make("td", { role: "cell" }, make("code", {}, endpoint.endpoint), make("span", { class: "sub" })),
    chip("Ready", "ready"), chip("Serving", "serving"), chip("Terminating", "terminating"),
    chip("New flows", "new"),
    cell("Admin state", make("span", { class: "chip admin" }), make("span", { class: "sub reason" })),
    make("td", { role: "cell", class: "number flows", "data-label": "Flows" }),
    make("td", { role: "cell", class: "action" }, make("button", { type: "button" })));
}

/** A chip that says yes or no; `good` is what is as it should be. */
function condition(row, name, is, good) {
  const part = row.querySelector(`.${name}`);
  const word = is === undefined ? "gone" : is ? "yes" : "no";
  say(part, word);
  part.className = `chip ${name} ${is === undefined ? "none" : is === good ? "good" : good === undefined ? "" : "warn"}`;
}

function updateEndpoint(row, endpoint) {
  const { ready, serving, terminating } = endpoint.conditions ?? {};
  say(row.querySelector(".sub"), [endpoint.pod, endpoint.node, endpoint.zone].filter(Boolean).join(" · "));
  condition(row, "ready", ready, true);
  condition(row, "serving", serving, true);
  condition(row, "terminating", terminating, false);
  condition(row, "new", endpoint.eligible, true);
  const drained = endpoint.admin_state.state === "drain";
  const admin = row.querySelector(".admin");
  say(admin, drained ? `drain, by ${endpoint.admin_state.by ?? "an operator"}` : "in service");
  admin.className = `chip admin ${drained ? "warn" : "none"}`;
  say(row.querySelector(".reason"), endpoint.admin_state.reason ?? "");
  say(row.querySelector(".flows"), endpoint.flows.toLocaleString("en"));
  const button = row.querySelector("button");
  say(button, drained ? "Undrain" : "Drain");
  button.setAttribute("aria-label", `${drained ? "Undrain" : "Drain"} ${endpoint.endpoint} of ${endpoint.service}`);
  button.hidden = !endpoint.conditions && !drained;
  button.onclick = () => (drained ? undrain(button, endpoint) : askForDrain(endpoint));
}

// --- changes ------------------------------------------------------------------------------------------------------

/** Does what a button is for, once at a time. The button keeps the focus, which `disabled` would take from it. */
async function once(button, what) {
  if (button.ariaDisabled === "true") return;
  button.ariaDisabled = "true";
  try {
    await what();
  } finally {
    button.ariaDisabled = null;
  }
}

const undrain = (button, endpoint) => once(button, async () => {
  try {
    await ask("/v1/undrain", { service: plain(endpoint.service), endpoint: endpoint.endpoint, by: "dashboard" });
    // Whether it takes new flows is not the operators' word alone.
    say(at("said"), `${endpoint.endpoint} is no longer drained by operators`);
  } catch (error) {
    refused(error);
  }
  await attempt(look);
});

let meant = null;

function askForDrain(endpoint) {
  meant = endpoint;
  say(at("drain-name"), [endpoint.endpoint, endpoint.pod].filter(Boolean).join(", "));
  at("drain-reason").value = "";
  at("drain-deadline").value = "";
  say(at("drain-wrong"), "");
  at("drain-dialog").showModal();
}

/** Milliseconds of a text such as 90s; null where it is none. */
function milliseconds(text) {
  const found = /^(\d{1,9}(?:\.\d{1,3})?)(ms|s|m|h)$/.exec(text);
  return found && Math.round(Number(found[1]) * { ms: 1, s: 1000, m: 60000, h: 3600000 }[found[2]]);
}

at("drain-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const text = at("drain-deadline").value.trim();
  const deadline = text ? milliseconds(text) : undefined;
  if (deadline === null) {
    say(at("drain-wrong"), "A deadline is a number with a unit: 500ms, 90s, 10m or 2h.");
    at("drain-deadline").focus();
    return;
  }
  await once(at("drain-send"), async () => {
    try {
      await ask("/v1/drain", {
        service: plain(meant.service),
        endpoint: meant.endpoint,
        by: "dashboard",
        reason: at("drain-reason").value.trim() || undefined,
        deadline_ms: deadline,
      });
      at("drain-dialog").close();
      say(at("said"), `${meant.endpoint} gets no new flows`);
    } catch (error) {
      say(at("drain-wrong"), wordsOf(error));
    }
    await attempt(look);
  });
});
at("drain-cancel").addEventListener("click", () => at("drain-dialog").close());
at("forget").addEventListener("click", () => {
  sessionStorage.removeItem(TOKEN);
  location.reload();
});

// --- audit --------------------------------------------------------------------------------------------------------

async function audit() {
  const answer = await (await ask("/v1/audit")).json();
  const over = answer.records.filter((record) => record.ended).reverse().slice(0, ROWS);
  at("no-audit").hidden = over.length > 0;
  at("audit-scroll").hidden = over.length === 0;
  keep(at("audit"), over, (record) => `${record.id} ${record.began} ${record.ended}`, createRecord, () => {});
}

function createRecord(record) {
  const broke = record.broken + record.cut + record.flows_after_start > 0;
  const [word, kind] = record.undone ? ["undone", ""] : broke ? ["broken", "bad"] : ["clean", "good"];
  const numbers = [
    ["Took", span(record.took_ms / 1000)], ["Flows", record.flows_at_start], ["By client", record.ended_by_client],
    ["By endpoint", record.ended_by_endpoint], ["Shed", record.shed], ["Cut", record.cut],
    ["Broken", record.broken], ["Other", record.ordered + record.elsewhere], ["Left", record.flows_left],
    ["New after", record.flows_after_start],
  ];
  const name = [plain(record.service), record.pod].filter(Boolean).join(" · ");
  return make("tr", { role: "row" },
    make("td", { role: "cell" }, make("code", {}, record.endpoint), make("span", { class: "sub" }, name),
      make("span", { class: "sub" }, record.why)),
    cell("Outcome", make("span", { class: `chip ${kind}` }, word)),
    cell("Ended", clock(record.ended)),
    ...numbers.map(([label, number]) =>
      make("td", { role: "cell", class: "number", "data-label": label }, String(number))));
}

follow();
again(look, STATUS_EVERY);
again(audit, AUDIT_EVERY);
