// The search box: what was typed into it, and what that finds.

/** Return what is looked for: of a whole reply of the relay ("250 … queued as ID") the id. */
export function wanted(text) {
  return (/queued as ([0-9A-Za-z-]+)/.exec(text)?.[1] ?? text).trim();
}

/** Return the end of a link that keeps the search. */
export const suffix = (query) => (query ? `?q=${encodeURIComponent(query)}` : "");

/** Return a text as one word of a shell, whatever is in it: a link may have brought it. Controls become spaces. */
export const quoted = (text) => `'${text.replace(/\p{Cc}/gu, " ").replaceAll("'", "'\\''")}'`;

/** Find deliveries in any state: by their id, else by a part of the sender, a recipient, the subject or Message-ID. */
export async function search(ask, text) {
  const rest = "&state=any&limit=200";
  if (/^[0-9A-Za-z-]{4,24}(\.\d+)?$/.test(text)) {
    try {
      return await ask(`queue?id=${encodeURIComponent(text)}${rest}`);
    } catch (error) {
      if (error.code !== 404) throw error;
    }
  }
  return ask(`queue?text=${encodeURIComponent(text)}${rest}`);
}

/** Return whether a captured mail is what is looked for. */
export function matches(mail, text) {
  const id = text.toUpperCase().replaceAll("-", "").replace(/\.\d+$/, "");
  const part = text.toLowerCase();
  return (mail.message !== "" && mail.message.startsWith(id))
    || [mail.id, mail.sender, ...mail.reply_to, mail.subject, ...mail.recipients].some((value) => value.toLowerCase().includes(part));
}

/** Let Enter look for what is in the box, "/" go there, and an empty box end the search. `view` is where one is. */
export function bindSearch(form, view) {
  const box = form.elements.namedItem("q");
  const go = () => { location.hash = `#/${view()}${suffix(wanted(box.value))}`; };
  form.addEventListener("submit", (event) => { event.preventDefault(); go(); });
  box.addEventListener("input", () => { if (!box.value && location.hash.includes("?q=")) go(); });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && event.target === box) { box.value = ""; go(); }
    if (event.key !== "/" || event.target.closest("input, select, textarea") || form.hidden) return;
    event.preventDefault();
    box.focus();
    box.select();
  });
}
