// The page: what it asks, when, and which view the URL's hash stands for.
// #/mail[/id[/tab]], #/queue[:filter][/id], #/rules, #/providers and #/refused; how it looks is in show.js.

import {
  attentionLine, bytes, deliveryDetail, deliveryRow, duration, el, empty, filterBar, laneNote, laneRow, list, mailDetail, mailRow,
  refusedRow, ruleRow,
} from "./show.js";
import { command } from "./show.js";
import { askAgain, deliveryButtons, isSure, released } from "./buttons.js";
import { bindSearch, matches, quoted, search, suffix } from "./search.js";
import { isRead, markRead } from "./unread.js";

/** What the queue can show: the query of each filter, and what is said when it finds nothing. */
const FILTERS = {
  waiting: ["", "Nothing waits: whatever was accepted is delivered."],
  held: ["&state=held", "Nothing is held."],
  failed: ["&state=failed", "Nothing has failed."],
  delivered: ["&state=delivered", "Nothing was delivered yet, or it is forgotten already."],
  deleted: ["&state=deleted", "Nothing was deleted, or it is forgotten already."],
};

/** What may be done where a filter finds nothing. */
const HINTS = {
  waiting: ["To see a mail pass through, send one: ", command("smtprelay send --server HOST:PORT --to you@example.com")],
  held: ["Mail is held by an operator, by a rule under “Rules”, or by on_failed: hold of its route."],
  failed: ["Failed mail stays here for spool.retention.history and can be retried."],
};
const KEPT = ["spool.retention.history in the configuration says how long finished mail is listed."];

/** What an operator may do to a delivery in each state. */
const ACTIONS = {
  queued: ["retry", "hold", "reroute", "delete"],
  deferred: ["retry", "hold", "reroute", "delete"],
  held: ["release", "reroute", "delete"],
  failed: ["retry", "reroute", "delete"],
};

/** For how long something is held or suspended, in seconds. */
const SPANS = { "1 hour": 3600, "2 hours": 7200, "8 hours": 28800, "1 day": 86400, "1 week": 604800 };

/** Milliseconds between two refreshes: usually, where captured mail is watched, and while a search is shown. */
const PERIOD = 2000;
const WATCHING = 1000;
const SEARCHING = 10000;
const MOST_REFUSED = 200;
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
  await released();
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
  const [path, asked] = location.hash.replace(/^#\/?/, "").split("?");
  const [first, id, tab] = path.split("/").map(decodeURIComponent);
  const [view, filter] = first.split(":");
  const known = [...(status?.captured ? ["mail"] : []), "queue", "rules", "providers", "refused"];
  return {
    view: known.includes(view) ? view : known[0], id: id || "", tab: tab || "",
    filter: Object.hasOwn(FILTERS, filter) ? filter : "waiting",
    query: new URLSearchParams(asked).get("q") ?? "", hash: location.hash,
  };
}

function showHeader(place, mails) {
  put("version", [status.version, Math.round(status.uptime / 60)], () => `${status.version} · up ${duration(status.uptime)}`);
  const failing = Object.entries(status.ready.checks).filter(([, why]) => why);
  put("ready", failing, () => status.ready.ok ? "READY" : "NOT READY");
  $("ready").className = `badge ${status.ready.ok ? "good" : "bad"}`;
  $("ready").title = failing.map(([name, why]) => `${name}: ${why}`).join("\n") || "every check passes";
  const names = { ...(status.captured && { mail: "Mail" }), queue: "Queue", rules: "Rules", providers: "Providers", refused: "Refused" };
  put("tabs", [place.view, names], () => Object.entries(names).map(([view, name]) =>
    el("a", { href: `#/${view}`, "data-testid": `view-${view}`, "aria-current": view === place.view && "page" }, name)));
  showStats(mails);
  // A lane that is blocked is told beside the queue.
  const lines = status.attention.filter(({ kind }) => kind !== "blocked" && kind !== "suspended");
  put("attention", lines, () => lines.map(attentionLine));
}

function showStats(mails) {
  const states = status.stats?.states ?? {};
  const none = status.stats && { queued: 0, active: 0, deferred: 0, held: 0 };
  const stats = Object.entries({ ...(mails && { delivered: mails.length }), ...none, ...states });
  const spool = status.stats ? [["spool", bytes(status.stats.bytes)]] : [];
  put("stats", [stats, spool], () => [...stats, ...spool].map(([name, count]) =>
    el("div", { "data-testid": `stat-${name}`, class: count ? "some" : "" }, el("dt", {}, name), el("dd", {}, String(count)))));
}

async function showMail(place, mails, mine) {
  const { id, query, tab } = place;
  const found = query ? mails.filter((mail) => matches(mail, query)) : mails;
  const unread = found.filter((mail) => mail.id !== id && !isRead(mail.id)).map((mail) => mail.id);
  put("list", ["mail", id, query, found, unread, status.role], () => [
    found.length && !query && el("p", { class: "buttons" }, mailButton("delete all", { everything: true })),
    list(found.map((mail) => mailRow(mail, { current: mail.id === id, unread: unread.includes(mail.id), query })),
      ...query
        ? [`No captured mail matches “${query}”. `, el("a", { href: `#/queue${suffix(query)}` }, "Search the queue, in every state")]
        : ["No captured mail. Send one: ", command("smtprelay send --to you@example.com")]),
  ]);
  // Its id is known a moment later than the mail itself.
  const message = mails.find((mail) => mail.id === id)?.message;
  const key = ["mail", id, tab, query, message];
  if (!id || shown.get("detail") === JSON.stringify(key)) return;
  const mail = await ask(`captured/${encodeURIComponent(id)}`);
  if (mine !== turn) return;
  markRead(id, mails.map((one) => one.id));
  put("detail", key, () => [back("mail", query), ...mailDetail(mail, { tab, query, button: mailButton("delete", { ids: [id] }) })]);
}

function mailButton(label, body) {
  if (status.role !== "operator") return null;
  return el("button", {
    type: "button", "data-testid": `do-${label.replace(" ", "-")}`,
    click: async (event) => {
      if (isSure(event.target) && await act(event.target, "captured/delete", body)) location.hash = "#/mail";
    },
  }, label);
}

function searchNote({ partial, mark }, query) {
  if (partial) {
    return el("p", { class: "quiet" }, "Only the 100,000 newest deliveries were searched. To go on: ", command(`smtprelay history --text=${quoted(query)}`));
  }
  return mark && el("p", { class: "quiet" }, "The first 200 are shown.");
}

async function showQueue(place, mine) {
  const [filter, nothing] = FILTERS[place.filter];
  const { query } = place;
  const base = place.filter === "waiting" ? "queue" : `queue:${place.filter}`;
  const found = query ? await search(ask, query) : await ask(`queue?limit=200${filter}`);
  if (mine !== turn) return;
  const { deliveries, lanes } = found;
  const blocked = lanes.filter((lane) => lane.blocked_reason);
  put("list", [base, place.id, query, found, status.role], () => [
    filterBar(Object.keys(FILTERS), query ? "" : place.filter),
    query ? null : blocked.map((lane) => laneNote(lane, laneButton(lane))),
    searchNote(found, query),
    list(deliveries.map((one) => deliveryRow(one, one.id === place.id, base, query)),
      ...query
        ? [`No mail in any state matches “${query}”.`, "Search for the id from the 250, or a part of the sender, a recipient or the subject."]
        : [nothing, HINTS[place.filter] ?? KEPT]),
  ]);
  if (!place.id) return;
  const { deliveries: named } = await ask(`queue/${encodeURIComponent(place.id)}`);
  if (mine !== turn) return;
  const exact = named.filter((one) => one.summary.id === place.id);
  const all = exact.length ? exact : named; // a message's id stands for all its deliveries
  const providers = [...new Set(lanes.map((lane) => lane.provider))];
  const link = (tab) => `#/${base}/${encodeURIComponent(place.id)}/${tab}${suffix(query)}`;
  put("detail", ["queue", place.id, place.tab, all, base, query, providers, status.role], () => [
    back(base, query),
    ...all.flatMap((one, n) => deliveryDetail(one, {
      buttons: buttons(one.summary, providers), tab: place.tab, link: status.role === "operator" && n === 0 && link,
    })),
  ]);
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
    list(rules.map((rule) => ruleRow(rule, endButton(rule))), "No rule holds mail.", "The form above makes one, for a time."));
}

async function showProviders(mine) {
  const { lanes } = await ask("providers");
  if (mine !== turn) return;
  const names = [...new Set(lanes.map((lane) => lane.provider))];
  showBelow(["providers", names, status.role], () => suspendForm(names), lanes, () =>
    list(lanes.map((lane) => laneRow(lane, laneButton(lane))), "No provider has had mail yet.", "Providers appear here with their first mail; ", command("smtprelay config show"), " lists them."));
}

async function showRefused(mine) {
  const { refused: rows } = await ask(`refused?limit=${MOST_REFUSED}`);
  if (mine !== turn) return;
  showBelow(["refused", status.role, rows.length > 0], () => rows.length > 0 && clearForm(), rows, () => [
    list(rows.map(refusedRow), "Nothing was refused."),
    rows.length === MOST_REFUSED && el("p", { class: "quiet" }, "The last 200 are shown; for all: ", command("smtprelay refused")),
  ]);
}

function clearForm() {
  const fields = ["Forget what was refused to ", field("client", "client *"), " by ", field("rule", "rule *")];
  const made = form("do-clear", fields, "clear", async (button, given) => {
    if (!isSure(button, "clear")) return;
    const filters = Object.fromEntries(Object.entries(given).filter(([, text]) => text));
    const meant = Object.keys(filters).length ? filters : { everything: true };
    if (await act(button, "refused/clear", meant)) made.reset();
    askAgain(button, "clear");
  });
  made.addEventListener("input", () => askAgain(made.querySelector("button"), "clear"));
  return made;
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
    const limit = span === always ? {} : { for: SPANS[span.replace("for ", "")] };
    if (await act(button, `providers/${encodeURIComponent(name)}/suspend`, { why, ...limit })) made.reset();
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

const back = (view, query) => el("a", { class: "back", href: `#/${view}${suffix(query)}` }, "← back");

function buttons(summary, providers) {
  if (status.role !== "operator" || !ACTIONS[summary.state]) return null;
  return deliveryButtons(summary, ACTIONS[summary.state], providers, press);
}

async function press(button, action, body) {
  if (action === "delete" && !isSure(button)) return;
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
  $("trouble").textContent = told ? (told instanceof Refusal ? told.message : `no answer from the relay at ${location.host}: ${told.message}. This page goes on asking; see whether the relay runs.`) : "";
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

/** The box is where there is something to search, and says what is looked for, unless somebody types. */
function showSearch({ view, query }) {
  const form = $("search");
  form.hidden = !["mail", "queue"].includes(view);
  if (document.activeElement !== form.elements.namedItem("q")) form.elements.namedItem("q").value = query;
}

async function show(mine) {
  const news = await ask("status");
  const mails = news.captured ? (await ask("captured")).mails : null;
  if (mine !== turn) return;
  status = news;
  lock(false);
  const place = where();
  showSearch(place);
  document.body.dataset.place = place.id ? "detail" : "list";
  $("detail").hidden = !place.id;
  if (!shown.get("detail")?.startsWith(JSON.stringify([place.view, place.id]).slice(0, -1))) {
    shown.delete("detail");
    $("detail").replaceChildren();
  }
  showHeader(place, mails);
  const views = { mail: () => showMail(place, mails, mine), queue: () => showQueue(place, mine), rules: showRules, providers: showProviders, refused: showRefused };
  await views[place.view](mine);
  if (mine === turn) document.body.dataset.shown = place.hash;
}

async function refresh() {
  clearTimeout(timer);
  turn += 1;
  try {
    await show(turn);
    trouble(null);
  } catch (error) {
    if (error.code === 401) { lock(true); trouble(null); $("ready").textContent = "LOG IN"; $("ready").className = "badge"; shown.delete("ready"); } else trouble(error);
    if (!(error instanceof Refusal)) { $("ready").textContent = "NO ANSWER"; $("ready").className = "badge bad"; shown.delete("ready"); }
  }
  clearTimeout(timer);
  const { view, query } = where();
  const pause = view === "queue" && query ? SEARCHING : status?.captured ? WATCHING : PERIOD;
  if ($("login").hidden && !document.hidden) timer = setTimeout(refresh, pause);
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

/**
 * A link with its token opens the page, and does not stay in the history. The token is in the fragment, which no
 * browser sends: a query would be in the logs of every proxy.
 */
async function start() {
  // Before anything is shown: the browser would answer Enter in a box that nobody listens to by loading the page anew.
  window.addEventListener("hashchange", () => { refused = null; refresh(); });
  bindSearch($("search"), () => where().view);
  document.addEventListener("visibilitychange", () => document.hidden || refresh());
  $("login").addEventListener("submit", (event) => {
    event.preventDefault();
    login(new FormData(event.target).get("token"));
    event.target.reset();
  });
  const token = /^#token=(.+)$/.exec(location.hash)?.[1];
  if (token) {
    history.replaceState(null, "", location.pathname);
    await login(token);
  } else {
    await refresh();
  }
}

start();
