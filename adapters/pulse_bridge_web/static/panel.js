/**
 * The head of a job's page: what is so now, or was at the moment that is replayed.
 *
 * @import {HostView, JobEvent} from "./types.js"
 * @import {Finding, Link} from "./words.js"
 */

import { describeEvent, describeNow, describeThen } from "./describe.js";
import { byId, Slots } from "./dom.js";
import { agoText, longTimeText, UNKNOWN } from "./format.js";
import { icon } from "./svg.js";

export class Panel {
  constructor() {
    this._slots = new Slots(byId("facts"));
    this._findings = "";
  }

  /** @param {JobEvent} view @param {HostView|undefined} host @param {Link} link @param {number} nowMs */
  showNow(view, host, link, nowMs) {
    const text = describeNow(view, host, link, nowMs);
    this._show(view, text);
    this._slots.attribute("", "data-replay", null);
    this._moment(text.why);
  }

  /** @param {JobEvent} view @param {number} nowMs */
  showThen(view, nowMs) {
    this._show(view, describeThen(view));
    this._slots.attribute("", "data-replay", "");
    const at = Date.parse(view.observed_at);
    this._moment(`As it was ${longTimeText(at)}, ${agoText((nowMs - at) / 1000)}`);
  }

  /** @param {Finding[]} findings */
  showFindings(findings) {
    const shown = JSON.stringify(findings);
    if (shown === this._findings) return;
    this._findings = shown;
    const all = findings.length ? findings : [{ state: /** @type {const} */ ("done"), text: "Nothing." }];
    byId("findings").replaceChildren(
      ...all.map(({ state, text }) => {
        const item = document.createElement("li");
        item.dataset.state = state;
        const words = document.createElement("span");
        words.textContent = text;
        item.append(icon(state), words);
        return item;
      }),
    );
  }

  /** @param {JobEvent} view @param {ReturnType<typeof describeNow>|ReturnType<typeof describeThen>} moment */
  _show(view, moment) {
    const text = describeEvent(view);
    const slots = this._slots;
    slots.text("job", view.job);
    slots.labels("labels", text.labels);
    slots.text("message", view.message);
    slots.attribute("", "data-state", moment.look);
    slots.attribute("", "data-known", moment.lastKnown ? "last" : null);
    slots.icon("icon", moment.icon);
    slots.text("state", moment.word);
    slots.text("known", moment.known);
    slots.text("percent", text.percent);
    slots.text("epochs", text.epochs);
    slots.attribute("bar", "aria-valuenow", String(text.percentNumber));
    slots.attribute("bar", "aria-valuetext", [text.percent, text.epochs].filter(Boolean).join(", "));
    slots.style("bar", "--progress", String(text.percentNumber));
    slots.text("loss", text.loss);
    slots.attribute("loss", "data-diverged", view.diverged ? "" : null);
    slots.text("eta", moment.eta);
    slots.text("step", text.step || UNKNOWN);
    slots.text("rate", text.rate || UNKNOWN);
    slots.text("started", text.started);
    slots.text("updated", moment.updated);
  }

  /** @param {string} text */
  _moment(text) {
    if (byId("moment").textContent !== text) byId("moment").textContent = text;
  }
}
