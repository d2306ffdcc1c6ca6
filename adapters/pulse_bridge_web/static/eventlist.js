/**
 * The list of a run's events, the newest first; a click on one shows its moment.
 *
 * @import {JobEvent} from "./types.js"
 */

import { byId, keepingFocus, placeInOrder } from "./dom.js";
import { epochNumber, longTimeText, lossText, timeText } from "./format.js";
import { isTurn } from "./past.js";
import { icon } from "./svg.js";

const MAX_ROWS = 300;

export class EventList {
  /** @param {(event: JobEvent) => void} pick */
  constructor(pick) {
    this._pick = pick;
    /** @type {Map<string, HTMLTableRowElement>} Id of the event to its row. */
    this._rows = new Map();
    this.onlyTurns = byId("turns").checked;
  }

  /** @param {readonly JobEvent[]} events  In order. @param {number|null} cursor */
  show(events, cursor) {
    /** @type {number[]} */
    const shown = [];
    let hidden = 0;
    for (let at = events.length - 1; at >= 0; at--) {
      if (this.onlyTurns && !isTurn(events, at)) continue;
      if (shown.length < MAX_ROWS) shown.push(at);
      else hidden++;
    }
    /** @type {typeof this._rows} */
    const rows = new Map();
    for (const at of shown) {
      const event = events[at];
      const row = this._rows.get(event.id) ?? this._make(event);
      rows.set(event.id, row);
      row.toggleAttribute("aria-current", at === cursor);
    }
    this._rows = rows;
    keepingFocus(() => placeInOrder(byId("events"), [...rows.values()]));
    const note = noteOf(shown.length, hidden);
    if (byId("events-note").textContent !== note) byId("events-note").textContent = note;
  }

  /** @param {JobEvent} event */
  _make(event) {
    const row = document.createElement("tr");
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = timeText(Date.parse(event.observed_at));
    button.title = longTimeText(Date.parse(event.observed_at));
    button.setAttribute("aria-label", `Show the moment ${button.title}`);
    button.addEventListener("click", () => this._pick(event));
    const state = document.createElement("span");
    state.className = "status";
    state.dataset.state = event.state;
    state.append(icon(event.state), event.kind === "recovered" ? "recovered" : event.state);
    const failed = event.state === "error" || event.state === "gone"; // its numbers are none
    row.append(cell(button), cell(state), cell(failed ? "" : epochNumber(event.epoch), "right"));
    row.append(cell(failed ? "" : lossText(event.loss, event.diverged), "right"), cell(event.message));
    return row;
  }
}

/** @param {string|Node} content @param {string} [look] */
function cell(content, look = "") {
  const made = document.createElement("td");
  made.className = look;
  made.append(content); // a string becomes text, never markup
  return made;
}

/** @param {number} shown @param {number} hidden */
function noteOf(shown, hidden) {
  if (shown === 0) return "No events of this run are known.";
  return hidden ? `The newest ${shown} events; ${hidden} earlier ones are left out here, not from the chart.` : "";
}
