// The message itself as the spool has it: shown as text, and downloaded.

import { bytes, el } from "./show.js";

/** So many bytes are shown; the download has all. */
const MOST = 256 * 1024;

/** What was read last, so that it is read once although the view around it changes. */
let last = { path: "", reading: null };

async function read(path) {
  const response = await fetch(path, { cache: "no-store" });
  if (!response.ok) {
    const answer = await response.json().catch(() => ({}));
    throw new Error(answer.error || `The relay answers ${response.status} ${response.statusText}`);
  }
  const reader = response.body.getReader();
  const decoder = new TextDecoder();
  let text = "";
  for (let count = 0; count < MOST;) {
    const { done, value } = await reader.read();
    if (done) return { text, cut: false };
    const piece = value.subarray(0, MOST - count);
    text += decoder.decode(piece, { stream: true });
    count += value.length;
  }
  reader.cancel();
  return { text, cut: true };
}

/** Return the source of the message with this id of the 250, which appears when it has been read. */
export function source(message) {
  const path = `api/v1/queue/${encodeURIComponent(message)}/message`;
  const shown = el("pre", { class: "body", dir: "auto", tabindex: "0", "data-testid": "source" }, "Reading …");
  const note = el("p", { class: "quiet" });
  if (last.path !== path) last = { path, reading: read(path) };
  last.reading.then(({ text, cut }) => {
    shown.textContent = text;
    if (cut) note.textContent = `The first ${bytes(MOST)} are shown; the download has all.`;
  }, (error) => {
    shown.textContent = error.message;
    last = { path: "", reading: null };
  });
  const download = el("a", { href: path, download: `${message}.eml`, "data-testid": "download" }, "Download .eml");
  return [el("p", {}, download), note, shown];
}
