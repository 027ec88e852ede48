// What an operator presses.

import { el } from "./show.js";

/** Milliseconds for which a press holds up what is shown, if its end is not heard of. */
const LONG_PRESS = 10000;
let pressed = null;

window.addEventListener("pointerdown", ({ button }) => {
  if (button !== 0) return;
  pressed = new Promise((resolve) => {
    for (const end of ["pointerup", "pointercancel"]) window.addEventListener(end, resolve, { once: true });
    setTimeout(resolve, LONG_PRESS);
  });
});

/** Return what resolves when nothing is pressed: to replace what is under the pointer would lose the press. */
export const released = () => pressed;

/** Return whether a button was pressed twice: what is deleted does not come back. */
export function isSure(button, action = "delete") {
  if (button.dataset.sure !== undefined) return true;
  button.dataset.sure = "";
  button.textContent = `really ${action}?`;
  return false;
}

/** Let a button that stays ask again, for what is meant now. */
export function askAgain(button, action) {
  delete button.dataset.sure;
  button.textContent = action;
}

/** The `actions` that fit a delivery, with what they take; `press` is called with a button, its action and the request. */
export function deliveryButtons({ id, provider }, actions, providers, press) {
  const others = providers.filter((name) => name !== provider);
  const why = el("input", { name: "why", placeholder: "reason", "aria-label": "Reason", maxlength: 200 });
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
    delete: el("label", {}, bounce, " send the sender a bounce"),
    reroute: to,
  };
  return el("div", { class: "buttons" }, why, actions
    .filter((action) => action !== "reroute" || others.length)
    .map((action) => el("span", {}, button(action), " ", beside[action])));
}
