/**
 * One host's rows in the overview, under a line that says how the host is; or all rows of all hosts, with none.
 *
 * @import {Row} from "./row.js"
 * @import {HostView} from "./types.js"
 */

import { copyOf, placeInOrder, Slots } from "./dom.js";
import { hearingWord, hostFacts } from "./words.js";

export class Group {
  /** @param {string|null} host  Null: of all hosts. */
  constructor(host) {
    this.host = host;
    this.element = copyOf("host-group");
    this.element.classList.toggle("flat", host === null);
    this.element.setAttribute("aria-label", host === null ? "All jobs" : `Host ${host}`);
    this._slots = new Slots(this.element);
    this._head = /** @type {HTMLElement} */ (this.element.firstElementChild);
    this._fold = /** @type {HTMLButtonElement} */ (this.element.querySelector(".fold"));
    this._fold.addEventListener("click", () => this._toggle());
    this._folded = false;
    /** @type {Row[]} */
    this.rows = [];
    this._slots.text("host", host ?? "");
    if (host === null) this._head.hidden = true;
  }

  /** @param {Row[]} rows */
  place(rows) {
    this.rows = rows;
    for (const row of rows) row.element.hidden = this._folded;
    placeInOrder(this.element, rows.map((row) => row.element), this._head);
    this._slots.text("count", `${rows.length} ${rows.length === 1 ? "job" : "jobs"}`);
  }

  /** @param {HostView|undefined} host @param {number} nowMs */
  show(host, nowMs) {
    if (this.host === null) return;
    const word = hearingWord(host, nowMs);
    this._slots.text("hearing", word);
    this._slots.hidden("hearing", word === "");
    this._slots.attribute("hearing", "data-hearing", host?.hearing ?? null);
    this._slots.text("facts", hostFacts(host));
  }

  _toggle() {
    this._folded = !this._folded;
    this._fold.setAttribute("aria-expanded", String(!this._folded));
    for (const row of this.rows) row.element.hidden = this._folded;
  }
}
