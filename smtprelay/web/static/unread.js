// Which captured mails were opened in this browser.

const KEY = "smtprelay.read";

function load() {
  try {
    return new Set(JSON.parse(localStorage.getItem(KEY) ?? "[]"));
  } catch {
    return new Set(); // no storage here, or not ours
  }
}

const read = load();

export const isRead = (id) => read.has(id);

/** Remember that `id` was opened; of the others those that are still in the list. */
export function markRead(id, ids) {
  read.add(id);
  try {
    localStorage.setItem(KEY, JSON.stringify(ids.filter((one) => read.has(one))));
  } catch {
    // Then it is remembered until the page is left.
  }
}
