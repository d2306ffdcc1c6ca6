/**
 * Notifications of the browser for stale, error, diverged and done. Permission is asked for on a click, never before.
 *
 * @import {Turn} from "./state.js"
 */

import { pageAddress } from "./address.js";
import { setIcon } from "./dom.js";
import { recall, remember } from "./remembered.js";

/** @type {Record<string, string>} */
const SENTENCES = {
  stale: "has stopped writing",
  error: "has failed",
  diverged: "has diverged: its loss is no finite number",
  done: "is done",
};

/** @param {HTMLButtonElement} button @returns {(turns: Turn[]) => void} What tells of turns, if the viewer wants it. */
export function startNotify(button) {
  const possible = "Notification" in window;
  let wanted = possible && recall("notify") === "on" && Notification.permission === "granted";
  const show = () => {
    button.setAttribute("aria-pressed", String(wanted));
    setIcon(/** @type {Element} */ (button.querySelector("use")), wanted ? "bell-on" : "bell");
    button.disabled = !possible;
    button.title = title(possible, wanted);
  };
  button.addEventListener("click", async () => {
    wanted = !wanted && (await Notification.requestPermission()) === "granted";
    remember("notify", wanted ? "on" : null);
    show();
  });
  show();
  return (turns) => {
    if (wanted) turns.filter((turn) => turn.to in SENTENCES).forEach(tell);
  };
}

/** @param {boolean} possible @param {boolean} wanted */
function title(possible, wanted) {
  if (!possible) return "This browser gives no notifications here: they need HTTPS or localhost";
  if (wanted) return "Notifications for stale, error, diverged and done are on";
  return Notification.permission === "denied"
    ? "Notifications are blocked in this browser's settings for this site"
    : "Notify me of stale, error, diverged and done";
}

/** @param {Turn} turn */
function tell({ view, to }) {
  const options = { body: view.message, tag: `${view.host}/${view.job}`, icon: new URL("static/favicon.svg", document.baseURI).href };
  try {
    const notification = new Notification(`${view.job} ${SENTENCES[to]} (${view.host})`, options);
    notification.onclick = () => {
      window.focus();
      location.assign(new URL(pageAddress(view.host, view.job), document.baseURI));
    };
  } catch {
    // Chrome on Android has the word but not the thing; the page itself still tells.
  }
}
