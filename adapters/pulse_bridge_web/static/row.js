/**
 * One job's row in the overview.
 *
 * @import {Job} from "./state.js"
 * @import {HostView} from "./types.js"
 * @import {Link} from "./words.js"
 */

import { pageAddress } from "./address.js";
import { describeEvent, describeNow } from "./describe.js";
import { copyOf, Slots } from "./dom.js";
import { sparkPath } from "./spark.js";

export class Row {
  /** @param {Job} job */
  constructor(job) {
    this.job = job;
    this.element = copyOf("job-row");
    this._slots = new Slots(this.element);
    this._loss = /** @type {HTMLElement} */ (this.element.querySelector(".loss"));
    this._slots.text("job", job.view.job);
    this._slots.attribute("job", "href", pageAddress(job.view.host, job.view.job));
    this._slots.attribute("job", "title", job.view.job);
    this._slots.attribute("bar", "aria-label", `Progress of ${job.view.job}`);
    this.element.dataset.key = job.key;
  }

  /** The link that opens the job; what the keyboard moves over. @returns {HTMLElement} */
  get link() {
    return this._slots.part("job");
  }

  /** @param {boolean} shown  Whether the host's name stands in the row: it does where rows are not grouped. */
  showHost(shown) {
    this._slots.text("at-host", shown ? this.job.view.host : "");
  }

  /** @param {HostView|undefined} host @param {Link} link @param {number} nowMs */
  show(host, link, nowMs) {
    const { view, spark } = this.job;
    const text = describeEvent(view);
    const slots = this._slots;
    slots.text("message", view.message);
    slots.attribute("message", "title", view.message || null);
    slots.text("percent", text.percent);
    slots.text("epochs", text.epochs);
    slots.attribute("bar", "aria-valuenow", String(text.percentNumber));
    slots.attribute("bar", "aria-valuetext", [text.percent, text.epochs].filter(Boolean).join(", "));
    slots.style("bar", "--progress", String(text.percentNumber));
    slots.text("loss", text.loss);
    this._loss.toggleAttribute("data-diverged", view.diverged);
    slots.text("rate", text.rate && `lr ${text.rate}`);
    slots.text("step", text.step && `step ${text.step}`);
    slots.text("started", `since ${text.started}`);
    slots.attribute("spark", "d", sparkPath(spark));
    slots.labels("labels", text.labels);
    this.tick(host, link, nowMs);
  }

  /** Write what only the time changes. @param {HostView|undefined} host @param {Link} link @param {number} nowMs */
  tick(host, link, nowMs) {
    const text = describeNow(this.job.view, host, link, nowMs);
    const slots = this._slots;
    slots.attribute("", "data-state", text.look);
    slots.attribute("", "data-known", text.lastKnown ? "last" : null);
    slots.attribute("", "title", text.why || null);
    slots.icon("icon", text.icon);
    slots.text("state", text.word);
    slots.text("known", text.known);
    slots.text("eta", text.eta);
    slots.text("updated", text.updated);
  }
}
