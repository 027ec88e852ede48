// How things look: from the API's JSON to elements. Text only ever becomes text nodes.

import { suffix } from "./search.js";
import { source } from "./source.js";

/** Return an element; `attributes` that are functions become listeners, `false` and `null` are left out. */
export function el(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") made.addEventListener(name, value);
    else if (value !== null && value !== undefined && value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return made;
}

export function time(seconds) {
  if (seconds === null || seconds === undefined) return "";
  const date = new Date(seconds * 1000);
  const today = date.toDateString() === new Date().toDateString();
  const text = today ? date.toLocaleTimeString() : date.toLocaleString();
  return el("time", { datetime: date.toISOString(), title: date.toISOString() }, text);
}

export function bytes(count) {
  const units = ["B", "KB", "MB", "GB", "TB"];
  let power = 0;
  while (count >= 1000 && power < units.length - 1) { count /= 1000; power += 1; }
  return `${count < 10 && power ? count.toFixed(1) : Math.round(count)} ${units[power]}`;
}

export function duration(seconds) {
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return seconds < 172800 ? `${Math.round(seconds / 3600)} h` : `${Math.round(seconds / 86400)} d`;
}

const address = (text) => el("bdi", {}, text || "<>");
const chip = (text) => el("span", { class: `chip ${text}` }, text);
const fact = (name, value) => [el("dt", {}, name), el("dd", {}, value)];

function people(addresses) {
  if (!addresses.length) return "nobody";
  const more = addresses.length > 1 ? el("span", { class: "quiet", title: addresses.slice(1).join(", ") }, ` +${addresses.length - 1}`) : null;
  return [address(addresses[0]), more];
}

/** One line of a list: a link whose href is the state to go to. */
function row({ id, href, current, first, second, third }) {
  const cells = [first, second, third].filter(Boolean).map((line) => el("div", {}, line));
  return el("li", {}, el("a", { class: "row", href, "data-testid": `msg-row-${id}`, "aria-current": current && "true" }, cells));
}

/** One captured mail; `state` says whether it is `current`, whether it is `unread`, and the `query` that found it. */
export function mailRow(mail, { current, unread, query }) {
  const dot = unread && [el("span", { class: "dot", role: "img", "aria-label": "unread", title: "unread" }), " "];
  return row({
    id: mail.id,
    href: `#/mail/${encodeURIComponent(mail.id)}${suffix(query)}`,
    current,
    first: [el("span", {}, dot, el("b", { dir: "auto" }, mail.subject || "(no subject)")), time(mail.received)],
    second: [el("span", {}, address(mail.sender), " → ", people(mail.recipients)),
      el("span", { class: "quiet" }, mail.attachments ? `${mail.attachments} attached · ` : "", mail.size ? bytes(mail.size) : "")],
    third: mail.message && [el("code", { class: "quiet" }, mail.message)],
  });
}

export function filterBar(names, chosen) {
  return el("nav", { class: "tabs", "aria-label": "What the queue shows" }, names.map((name) =>
    el("a", { href: name === "waiting" ? "#/queue" : `#/queue:${name}`, "data-testid": `filter-${name}`, "aria-current": name === chosen && "true" }, name)));
}

const attempts = (count) => `${count} ${count === 1 ? "attempt" : "attempts"}`;

export function deliveryRow(delivery, current, base, query) {
  const next = delivery.due && delivery.state === "deferred" ? ["next ", time(delivery.due)] : [];
  const why = delivery.waiting_for || delivery.reason;
  return row({
    id: delivery.id,
    href: `#/${base}/${encodeURIComponent(delivery.id)}${suffix(query)}`,
    current,
    first: [el("span", {}, chip(delivery.state), " ", el("code", {}, delivery.id), " ", el("b", { dir: "auto" }, delivery.subject)),
      time(delivery.ended ?? delivery.received)],
    second: [el("span", {}, address(delivery.sender), " → ", people(delivery.recipients.map((one) => one.address))),
      el("span", { class: "quiet" }, `${bytes(delivery.size)} · ${delivery.provider} · ${attempts(delivery.attempts)}`, next.length ? " · " : "", next)],
    third: why && [el("span", { class: "why" }, why)],
  });
}

/** Lines of a list, or what is said, and may be done, when there are none. */
export const list = (rows, nothing, ...more) => rows.length ? el("ul", {}, rows) : empty(nothing, ...more);

const laneName = (lane) => [lane.provider, lane.lane].filter(Boolean).join(" ");

function laneEnd(lane) {
  if (!lane.suspended) return [", tried again ", time(lane.blocked_until)];
  return lane.resumes === null ? "" : [", until ", time(lane.resumes)];
}

export function laneNote(lane, button) {
  return el("p", { class: "blocked", role: "note", "data-testid": `provider-card-${lane.provider}` },
    el("span", {}, el("b", {}, laneName(lane)), lane.suspended ? ": " : " is blocked: ", lane.blocked_reason,
      el("span", { class: "quiet" }, ` · ${lane.waiting} waiting`, laneEnd(lane))), button);
}

/** A line that leads nowhere, with what an operator may do at its end. */
const line = (testid, first, second, button) =>
  el("li", { class: "line", "data-testid": testid }, el("div", {}, el("div", {}, first), second && el("div", {}, second)), button);

export function laneRow(lane, button) {
  const slow = lane.ceiling !== null && ` · throttled to ${Math.max(1, Math.floor(lane.ceiling))} at once`;
  return line(`lane-${laneName(lane)}`,
    [chip(lane.state), " ", el("b", {}, laneName(lane)), el("span", { class: "quiet" }, ` ${lane.active} active, ${lane.waiting} waiting`, slow)],
    lane.blocked_reason && [el("span", { class: "why" }, lane.blocked_reason), el("span", { class: "quiet" }, laneEnd(lane))], button);
}

/** What needs a person and has no line of its own in the list of the queue. */
export const attentionLine = ({ about, text, since }) =>
  el("li", { "data-testid": `attention-${about}` }, el("b", {}, text), since && el("span", { class: "quiet" }, ", since ", time(since)));

export function refusedRow(row, number) {
  const who = [el("b", {}, row.client || "other clients"), row.user && [" as ", el("bdi", {}, row.user)], ` at ${row.listener}`,
    row.domain && [", from ", el("bdi", {}, row.domain)]];
  const often = row.count > 1 ? [`${row.count} times, `, time(row.first), " to ", time(row.last)] : time(row.last);
  const part = (name, text) => text && el("div", { class: name }, el("span", { class: "quiet" }, `${name} `), el("code", { dir: "auto" }, text));
  const remedies = [part("setting", row.setting), row.advice && el("div", { class: "quiet" }, row.advice)];
  return line(`refused-${number}`, [who, el("span", { class: "quiet" }, " · ", often)],
    [el("span", { class: "why" }, `${row.reply} ${row.text}`.trim()), el("span", { class: "quiet" }, ` [${row.rule}]`),
      part("command", row.command), row.advice.startsWith("or ") ? remedies : remedies.reverse()]);
}

const PATTERNS = { sender: "from", recipient: "to", provider: "by provider", route: "of route" };

export function ruleRow(rule, button) {
  const patterns = Object.entries(PATTERNS).filter(([name]) => rule[name]).map(([name, word]) => [`${word} `, el("bdi", {}, rule[name]), " "]);
  return line(`rule-${rule.id}`,
    [el("b", {}, "Mail ", patterns), el("span", { class: "quiet" }, ` ${rule.count} held, until `, time(rule.until), ` · rule ${rule.id} by ${rule.who}`)],
    rule.reason && el("span", { class: "why" }, rule.reason), button);
}

function tabs(names, chosen, href) {
  return el("nav", { class: "tabs", "aria-label": "Parts of the mail" }, names.map((name) =>
    el("a", { href: href(name), "data-testid": `tab-${name}`, "aria-current": name === chosen && "true" }, name)));
}

const BODIES = {
  html: (mail, path) => el("iframe", { sandbox: true, src: `${path}/html`, title: "The mail's HTML", "data-testid": "preview-frame", referrerpolicy: "no-referrer" }),
  text: (mail) => el("pre", { class: "body", dir: "auto" }, mail.text),
  headers: (mail) => mail.headers.length
    ? el("table", {}, mail.headers.map(([name, value]) =>
      el("tr", {}, el("th", { scope: "row" }, name), el("td", {}, value))))
    : el("p", { class: "quiet" }, "The provider was given no other headers."),
  source: (mail) => source(mail.message),
};

function attachments(mail, path) {
  return mail.attachments.length && el("ul", { class: "files", "aria-label": "Attachments" }, mail.attachments.map((part, n) =>
    el("li", {}, el("a", { href: `${path}/attachments/${n}`, download: part.name || "attachment" }, part.name || "attachment"),
      el("span", { class: "quiet" }, ` ${part.type}, ${bytes(part.size)}${part.content_id ? ", inline" : ""}`))));
}

const SIZE_NOTE = "as it was sent, with the Received field that this relay adds";

/** A captured mail: its `tab`, the `button` of an operator, or `null`, and the `query` that found it. */
export function mailDetail(mail, { tab, button, query }) {
  const there = { html: mail.html !== null, text: true, headers: true, source: mail.message !== "" };
  const names = Object.keys(there).filter((name) => there[name]);
  const chosen = names.includes(tab) ? tab : names[0];
  const path = `api/v1/captured/${encodeURIComponent(mail.id)}`;
  const kinds = [["To", mail.to], ["Cc", mail.cc], ["Bcc", mail.bcc]].filter(([, list]) => list.length);
  return [
    el("h2", { dir: "auto" }, mail.subject || "(no subject)"),
    el("dl", { class: "facts" },
      fact("From", address(mail.sender)),
      kinds.map(([kind, list]) => fact(kind, list.map((one) => el("span", { class: "person" }, address(one))))),
      mail.message && fact("Queued as", [el("code", {}, mail.message), " ",
        el("a", { href: `#/queue:delivered/${encodeURIComponent(mail.message)}` }, "what happened")]),
      mail.size && fact("Size", [bytes(mail.size), el("span", { class: "quiet" }, ` ${SIZE_NOTE}`)]),
      fact("Accepted", [time(mail.received), el("span", { class: "quiet" }, ` by the provider, as ${mail.id}`)])),
    button && el("div", { class: "buttons" }, button),
    attachments(mail, path),
    tabs(names, chosen, (name) => `#/mail/${encodeURIComponent(mail.id)}/${name}${suffix(query)}`),
    BODIES[chosen](mail, path),
  ];
}

function history(summary, entries) {
  return el("ol", { class: "history" },
    el("li", {}, time(summary.received), " accepted, queued as ", el("code", {}, summary.message)),
    entries.map((one) => el("li", { "data-testid": "timeline-item" },
      time(one.started), " ", chip(one.outcome || "active"), one.number ? ` #${one.number} ` : " ", one.provider,
      one.number > 0 && one.ended !== null && el("span", { class: "quiet" }, ` ${(one.ended - one.started).toFixed(2)} s`),
      one.reason && el("div", { class: "why" }, one.reason))));
}

/**
 * One delivery with its history, and the `buttons` of an operator, or `null`. Who may read mail has a link to its
 * source, or sees that; `link` makes the hrefs of the two tabs.
 */
export function deliveryDetail({ summary, client, message_id: messageId, history: entries }, { buttons, link, tab }) {
  const shown = link && tab === "source" ? "source" : "history";
  return [
    el("h2", {}, chip(summary.state), " ", el("code", {}, summary.id)),
    (summary.waiting_for || summary.reason) && el("p", { class: "why" }, summary.waiting_for || summary.reason),
    el("dl", { class: "facts" },
      fact("Subject", el("span", { dir: "auto" }, summary.subject || "—")),
      fact("From", address(summary.sender)),
      fact("To", summary.recipients.map((one) => el("div", {}, address(one.address), " ", chip(one.state),
        one.reason && el("span", { class: "why" }, ` ${one.reason}`)))),
      fact("Queued as", el("code", {}, summary.message)),
      fact("Size", [bytes(summary.size), el("span", { class: "quiet" }, ` ${SIZE_NOTE}`)]),
      fact("Accepted", [time(summary.received), " from ", client.address || "here", client.user ? ` as ${client.user}` : "",
        client.listener ? ` on ${client.listener}` : "", client.tls ? `, ${client.tls}` : ", in plain text"]),
      fact("Route", `${summary.route} → ${[summary.provider, summary.lane].filter(Boolean).join(" ")}`),
      fact("Message-ID", messageId || "—"),
      summary.due && summary.state === "deferred" ? fact("Next try", time(summary.due)) : []),
    buttons,
    link && tabs(["history", "source"], shown, link),
    shown === "source" ? source(summary.message) : [el("h3", {}, "What happened"), history(summary, entries)],
  ];
}

/** What is said where there is nothing to show, and what may be done: text, or elements. */
export function empty(text, ...more) {
  return el("div", { class: "empty" }, el("p", {}, text), more);
}

/** A command to be typed. */
export const command = (text) => el("code", {}, text);
