// The page: what it asks, when, and which view the URL's hash stands for.
// #/mail[/id[/tab]], #/queue[:filter][/id], #/rules and #/providers; how it looks is in show.js.

import {
  bytes, deliveryDetail, deliveryRow, duration, el, empty, filterBar, laneNote, laneRow, list, mailDetail, mailRow, ruleRow,
} from "./show.js";

/** What the queue can show: the query of each filter, and what is said when it finds nothing. */
const FILTERS = {
  waiting: ["", "Nothing waits: whatever was accepted is delivered."],
  held: ["&state=held", "Nothing is held."],
  failed: ["&state=failed", "Nothing has failed."],
  delivered: ["&state=delivered", "Nothing was delivered yet, or it is forgotten already."],
  deleted: ["&state=deleted", "Nothing was deleted, or it is forgotten already."],
};

/** What an operator may do to a delivery in each state. */
const ACTIONS = {
  queued: ["retry", "hold", "reroute", "delete"],
  deferred: ["retry", "hold", "reroute", "delete"],
  held: ["release", "reroute", "delete"],
  failed: ["retry", "reroute", "delete"],
};

/** For how long something is held or suspended, in seconds. */
const SPANS = { "1 hour": 3600, "2 hours": 7200, "8 hours": 28800, "1 day": 86400, "1 week": 604800 };

const PERIOD = 2000;
const $ = (id) => document.getElementById(id);
const shown = new Map(); // what each place shows now, so that what did not change is left alone
let status = null;
let timer = 0;
let turn = 0;
let refused = null; // what the relay said to the last action, until the next one or another view

class Refusal extends Error {
  constructor(code, sentence) { super(sentence); this.code = code; }
}

async function ask(path, options = {}) {
  const response = await fetch(`api/v1/${path}`, { cache: "no-store", ...options });
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new Refusal(response.status, answer.error || `${response.status} ${response.statusText}`);
  return answer;
}

function post(path, body = {}, headers = {}) {
  const all = { "Content-Type": "application/json", "X-Smtprelay-CSRF": "1", ...headers };
  return ask(path, { method: "POST", headers: all, body: JSON.stringify(body) });
}

/** Fill a place, unless it already shows just this. */
function put(id, value, make) {
  const key = JSON.stringify(value);
  if (shown.get(id) === key) return;
  shown.set(id, key);
  $(id).replaceChildren(...[make()].flat(Infinity).filter(Boolean));
}

function where() {
  const [first, id, tab] = location.hash.replace(/^#\/?/, "").split("/").map(decodeURIComponent);
  const [view, filter] = first.split(":");
  const known = [...(status?.mailbox ? ["mail"] : []), "queue", "rules", "providers"];
  return {
    view: known.includes(view) ? view : known[0], id: id || "", tab: tab || "",
    filter: Object.hasOwn(FILTERS, filter) ? filter : "waiting",
  };
}

function showHeader(place, mails) {
  put("version", [status.version, Math.round(status.uptime / 60)], () => `${status.version} · up ${duration(status.uptime)}`);
  const failing = Object.entries(status.ready.checks).filter(([, why]) => why);
  put("ready", failing, () => status.ready.ok ? "READY" : "NOT READY");
  $("ready").className = `badge ${status.ready.ok ? "good" : "bad"}`;
  $("ready").title = failing.map(([name, why]) => `${name}: ${why}`).join("\n") || "every check passes";
  const names = { ...(status.mailbox && { mail: "Mail" }), queue: "Queue", rules: "Rules", providers: "Providers" };
  put("tabs", [place.view, names], () => Object.entries(names).map(([view, name]) =>
    el("a", { href: `#/${view}`, "data-testid": `view-${view}`, "aria-current": view === place.view && "page" }, name)));
  showStats(mails);
}

function showStats(mails) {
  const states = status.stock?.states ?? {};
  const stats = Object.entries({ ...(mails && { delivered: mails.length }), queued: 0, active: 0, deferred: 0, held: 0, ...states });
  const spool = status.stock ? [["spool", bytes(status.stock.bytes)]] : [];
  put("stats", [stats, spool], () => [...stats, ...spool].map(([name, count]) =>
    el("div", { "data-testid": `stat-${name}`, class: count ? "some" : "" }, el("dt", {}, name), el("dd", {}, String(count)))));
}

async function showMail(place, mails, mine) {
  put("list", ["mail", place.id, mails], () => mails.length
    ? el("ul", {}, mails.map((mail) => mailRow(mail, mail.id === place.id)))
    : empty("No mail has reached the provider yet. Send one:", "smtprelay send --to you@example.com"));
  if (!place.id || shown.get("detail") === JSON.stringify(["mail", place.id, place.tab])) return;
  const mail = await ask(`mailbox/${encodeURIComponent(place.id)}`);
  if (mine !== turn) return;
  put("detail", ["mail", place.id, place.tab], () => [back("mail"), ...mailDetail(mail, place.tab)]);
}

async function showQueue(place, mine) {
  const [query, nothing] = FILTERS[place.filter];
  const base = place.filter === "waiting" ? "queue" : `queue:${place.filter}`;
  const { deliveries, lanes } = await ask(`queue?limit=200${query}`);
  if (mine !== turn) return;
  const blocked = lanes.filter((lane) => lane.blocked_reason);
  put("list", [base, place.id, deliveries, blocked, status.role], () => [
    filterBar(Object.keys(FILTERS), place.filter),
    ...blocked.map((lane) => laneNote(lane, laneButton(lane))),
    list(deliveries.map((one) => deliveryRow(one, one.id === place.id, base)), nothing),
  ]);
  if (!place.id) return;
  const { deliveries: found } = await ask(`queue/${encodeURIComponent(place.id)}`);
  if (mine !== turn) return;
  const exact = found.filter((one) => one.summary.id === place.id);
  const all = exact.length ? exact : found; // a message's id stands for all its deliveries
  const providers = [...new Set(lanes.map((lane) => lane.provider))];
  put("detail", ["queue", place.id, all, base, providers, status.role], () =>
    [back(base), ...all.flatMap((one) => deliveryDetail(one, buttons(one.summary, providers)))]);
}

/** Show a form, which stays as it is while what is below it changes. */
function showBelow(form, formOf, value, make) {
  put("list", form, () => {
    shown.delete("below");
    return [status.role === "operator" && formOf(), el("div", { id: "below" })];
  });
  put("below", value, make);
}

async function showRules(mine) {
  const { hold_rules: rules } = await ask("hold-rules");
  if (mine !== turn) return;
  showBelow(["rules", status.role], ruleForm, rules, () =>
    list(rules.map((rule) => ruleRow(rule, endButton(rule))), "No rule holds mail."));
}

async function showProviders(mine) {
  const { lanes } = await ask("providers");
  if (mine !== turn) return;
  const names = [...new Set(lanes.map((lane) => lane.provider))];
  showBelow(["providers", names, status.role], () => suspendForm(names), lanes, () =>
    list(lanes.map((lane) => laneRow(lane, laneButton(lane))), "No provider has had mail yet."));
}

function form(testid, fields, label, act) {
  const button = el("button", { "data-testid": testid }, label);
  return el("form", {
    class: "buttons order", submit: (event) => {
      event.preventDefault();
      act(button, Object.fromEntries(new FormData(event.target)), event.target);
    },
  }, fields, button);
}

const field = (name, label) => el("input", { name, placeholder: label, "aria-label": label, maxlength: 320 });
const choice = (name, label, values) =>
  el("select", { name, "aria-label": label }, values.map((value) => el("option", {}, value)));

function ruleForm() {
  const fields = ["Hold mail ", field("sender", "from *@example.com"), field("recipient", "to *"), " for ",
    choice("span", "For how long", Object.keys(SPANS)), field("why", "why")];
  return form("do-rule", fields, "hold", async (button, { span, ...given }, made) => {
    const patterns = Object.fromEntries(Object.entries(given).filter(([, text]) => text));
    if (await act(button, "hold-rules", { ...patterns, for: SPANS[span] })) made.reset();
  });
}

function suspendForm(names) {
  const always = "until it is resumed";
  const fields = ["Send nothing to ", choice("name", "Provider to suspend", names),
    choice("span", "For how long", [always, ...Object.keys(SPANS).map((span) => `for ${span}`)]), field("why", "why")];
  return form("do-suspend", fields, "suspend", async (button, { name, span, why }, made) => {
    const lasting = span === always ? {} : { for: SPANS[span.replace("for ", "")] };
    if (await act(button, `providers/${encodeURIComponent(name)}/suspend`, { why, ...lasting })) made.reset();
  });
}

function endButton(rule) {
  if (status.role !== "operator") return null;
  return el("button", {
    type: "button", "data-testid": `do-end-${rule.id}`, click: (event) => act(event.target, `hold-rules/${rule.id}/remove`),
  }, "release");
}

function laneButton(lane) {
  if (status.role !== "operator" || !lane.blocked_reason) return null;
  const [what, label, body] = lane.suspended ? ["resume", "resume", {}] : ["probe", "try now", { lane: lane.lane }];
  return el("button", {
    type: "button", "data-testid": `do-${what}-${lane.provider}`,
    click: (event) => act(event.target, `providers/${encodeURIComponent(lane.provider)}/${what}`, body),
  }, label);
}

const back = (view) => el("a", { class: "back", href: `#/${view}` }, "← back");

function buttons({ id, state, provider }, providers) {
  if (status.role !== "operator" || !ACTIONS[state]) return null;
  const others = providers.filter((name) => name !== provider);
  const why = el("input", { name: "why", placeholder: "why", "aria-label": "Why", maxlength: 200 });
  const to = el("select", { name: "to", "aria-label": "Provider to reroute to" }, others.map((name) => el("option", {}, name)));
  const bounce = el("input", { type: "checkbox", name: "bounce" });
  const given = {
    delete: () => ({ bounce: bounce.checked }),
    reroute: () => ({ to: to.value }),
  };
  const button = (action) => el("button", {
    type: "button", "data-testid": `do-${action}`,
    click: (event) => press(event.target, action, { ids: [id], why: why.value || "on the page", ...given[action]?.() }),
  }, action);
  const beside = {
    delete: el("label", {}, bounce, " tell the sender"),
    reroute: to,
  };
  return el("div", { class: "buttons" }, why, ACTIONS[state]
    .filter((action) => action !== "reroute" || others.length)
    .map((action) => el("span", {}, button(action), " ", beside[action])));
}

async function press(button, action, body) {
  if (action === "delete" && button.dataset.sure === undefined) {
    button.dataset.sure = "";
    button.textContent = "really delete?";
    return;
  }
  const done = await act(button, `queue/${action}`, body, ({ count, left }) => {
    if (!count) throw new Refusal(0, `not done: ${Object.keys(left).join(", ") || "it is not there any more"}`);
  });
  if (done && action === "delete") location.hash = "#/queue";
}

/** Have something done; return whether it was. Why it was not stays on the page. */
async function act(button, path, body = {}, check = () => {}) {
  button.disabled = true;
  refused = null;
  try {
    check(await post(path, body));
  } catch (error) {
    refused = error;
  }
  await refresh();
  button.disabled = false;
  return refused === null;
}

function trouble(error) {
  const told = error ?? refused;
  $("trouble").hidden = !told;
  $("trouble").textContent = told ? (told instanceof Refusal ? told.message : `no answer from the relay: ${told.message}`) : "";
}

/** Ask for a token, or show the page. What one user saw is not there for the next. */
function lock(locked) {
  if (locked) {
    for (const id of shown.keys()) $(id)?.replaceChildren();
    shown.clear();
  }
  $("login").hidden = !locked;
  document.querySelector("main").hidden = locked;
}

async function show(mine) {
  const news = await ask("status");
  const mails = news.mailbox ? (await ask("mailbox")).mails : null;
  if (mine !== turn) return;
  status = news;
  lock(false);
  const place = where();
  document.body.dataset.place = place.id ? "detail" : "list";
  $("detail").hidden = !place.id;
  if (!shown.get("detail")?.startsWith(JSON.stringify([place.view, place.id]).slice(0, -1))) {
    shown.delete("detail");
    $("detail").replaceChildren();
  }
  showHeader(place, mails);
  const views = { mail: () => showMail(place, mails, mine), queue: () => showQueue(place, mine), rules: showRules, providers: showProviders };
  await views[place.view](mine);
}

async function refresh() {
  clearTimeout(timer);
  turn += 1;
  try {
    await show(turn);
    trouble(null);
  } catch (error) {
    if (error.code === 401) { lock(true); trouble(null); } else trouble(error);
    if (!(error instanceof Refusal)) { $("ready").textContent = "NO ANSWER"; $("ready").className = "badge bad"; shown.delete("ready"); }
  }
  clearTimeout(timer);
  if ($("login").hidden && !document.hidden) timer = setTimeout(refresh, PERIOD);
}

async function login(token) {
  try {
    await post("login", {}, { Authorization: `Bearer ${token}` });
    trouble(null);
    await refresh();
  } catch (error) {
    trouble(error);
    lock(true);
  }
}

/** A link that was printed with its token opens the page and does not stay in the history. */
async function start() {
  const token = new URLSearchParams(location.search).get("token") || /^#token=(.+)$/.exec(location.hash)?.[1];
  if (token) {
    history.replaceState(null, "", location.pathname + location.hash.replace(/^#token=.*/, ""));
    await login(token);
  } else {
    await refresh();
  }
  window.addEventListener("hashchange", () => { refused = null; refresh(); });
  document.addEventListener("visibilitychange", () => document.hidden || refresh());
  $("login").addEventListener("submit", (event) => {
    event.preventDefault();
    login(new FormData(event.target).get("token"));
    event.target.reset();
  });
}

start();
