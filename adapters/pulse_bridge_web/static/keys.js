/** Shortcuts of the overview. Single keys can be switched off, for whoever speaks to the machine. */

import { byId } from "./dom.js";
import { recall, remember } from "./remembered.js";

/**
 * @typedef {object} Actions
 * @property {HTMLInputElement} search
 * @property {() => void} clearSearch
 * @property {() => HTMLElement[]} links  Those of the jobs that are shown, in order.
 * @property {Record<string, () => void>} single  Key to what it does.
 */

/** @param {Actions} actions */
export function startKeys(actions) {
  const dialog = /** @type {HTMLDialogElement} */ (byId("shortcuts"));
  const switched = /** @type {HTMLInputElement} */ (byId("single-keys"));
  switched.checked = recall("keys") !== "off";
  switched.addEventListener("change", () => remember("keys", switched.checked ? null : "off"));
  byId("help").addEventListener("click", () => dialog.showModal());
  /** @type {Record<string, () => void>} */
  const single = { ...actions.single, "?": () => dialog.showModal(), "/": () => actions.search.focus() };

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || dialog.open) return;
    const at = event.target instanceof HTMLElement ? event.target : document.body;
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      if (move(at, event.key === "ArrowDown" ? 1 : -1, actions)) event.preventDefault();
    } else if (event.key === "Escape" && at === actions.search) {
      if (actions.search.value) actions.clearSearch();
      else actions.search.blur();
    } else if (switched.checked && event.key in single && !at.matches("input, select, textarea")) {
      event.preventDefault();
      single[event.key]();
    }
  });
}

/** From the search into the list, and through it. @param {HTMLElement} at @param {1|-1} by @param {Actions} actions */
function move(at, by, { links, search }) {
  const list = links();
  const index = list.indexOf(at);
  if (index < 0 && at !== search && at !== document.body) return false; // arrows belong to what has the focus
  if (index < 0 && by < 0) return false;
  if (index === 0 && by < 0) search.focus();
  else list[index + by]?.focus();
  return true;
}

/** A link to a part of the page would, with a base, lead to another page. */
export function startSkipLink() {
  document.querySelector(".skip")?.addEventListener("click", (event) => {
    event.preventDefault();
    byId("main").focus();
  });
}
