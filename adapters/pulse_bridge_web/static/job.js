/**
 * A job's own page: now, and its past.
 *
 * @import {JobEvent, JobView} from "./types.js"
 * @import {ChartPoint, Run} from "./past.js"
 * @import {Mark} from "./chart.js"
 * @import {Changes} from "./state.js"
 */

import { jobOfPath } from "./address.js";
import { Chart } from "./chart.js";
import { byId, oncePerFrame } from "./dom.js";
import { EventList } from "./eventlist.js";
import { epochNumber, longTimeText, lossText } from "./format.js";
import { startSkipLink } from "./keys.js";
import { Panel } from "./panel.js";
import { isTurn, Past, pointsOf } from "./past.js";
import { PastReader } from "./pastreader.js";
import { Replay } from "./replay.js";
import { Shell } from "./shell.js";
import { keyOf } from "./state.js";
import { findings } from "./words.js";

class JobPage {
  constructor() {
    this.shell = new Shell();
    const { host, job } = jobOfPath(location.pathname, new URL(document.baseURI).pathname);
    this.host = host;
    this.job = job;
    this.key = keyOf(host, job);
    this.past = new Past();
    this.panel = new Panel();
    this.render = oncePerFrame(() => this._render());
    this.replay = new Replay(this.past, this.render);
    this.reader = new PastReader({
      host,
      job,
      take: (events) => this._take(events),
      say: (text) => this._note(text),
    });
    this.events = new EventList((event) => this.replay.goTo(event));
    this.chart = new Chart(byId("chart"), {
      describe: (point) => this._describe(point),
      say: (text) => (byId("chart-said").textContent = text),
      pick: (at) => this._shown[at] && this.replay.goTo(this._shown[at]),
      zoomed: (zoomed) => (byId("zoom-reset").disabled = !zoomed),
    });
    this._earlier = true;
    /** @type {readonly JobEvent[]} What the numbers on the chart stand for. */
    this._shown = [];
  }

  start() {
    document.title = `${this.job} · pulse-bridge`;
    document.documentElement.classList.toggle("embedded", new URLSearchParams(location.search).has("embed"));
    byId("crumb-host").textContent = this.host;
    startSkipLink();
    this._listen();
    this.shell.start({
      changed: (changes, isSnapshot) => this._changed(changes, isSnapshot),
      reopened: () => this.view && this.reader.read(), // the stream goes on with what is so, and not with what was
      ticked: () => this._tick(),
      concerns: (key) => key === this.key,
    });
    this.render();
  }

  /** @returns {JobView|undefined} */
  get view() {
    return this.shell.fleet.jobs.get(this.key)?.view;
  }

  /** @param {Changes} changes @param {boolean} isSnapshot  The server begins anew: it may have missed something. */
  _changed(changes, isSnapshot) {
    const { view } = this;
    if (view && changes.jobs.has(this.key) && this.past.add([view]) > 0) {
      this.reader.changed();
      if (changes.turns.some((turn) => turn.view === view)) this.reader.turned();
    }
    if (view && isSnapshot) this.reader.read();
    this.render();
  }

  /** @param {JobEvent[]} events @returns {number} How many were new. */
  _take(events) {
    const added = this.past.add(events);
    if (added > 0) this.render();
    return added;
  }

  _listen() {
    byId("log").addEventListener("click", () => this.chart.setLog(toggle(byId("log"))));
    byId("earlier").addEventListener("click", () => {
      this._earlier = toggle(byId("earlier"));
      this.render();
    });
    byId("zoom-in").addEventListener("click", () => this.chart.zoomIn());
    byId("zoom-out").addEventListener("click", () => this.chart.zoomOut());
    byId("zoom-reset").addEventListener("click", () => this.chart.showAll());
    byId("turns").addEventListener("change", () => {
      this.events.onlyTurns = byId("turns").checked;
      this.render();
    });
  }

  /** @param {string} text */
  _note(text) {
    byId("history-note").textContent = text;
    byId("history-note").hidden = text === "";
  }

  _tick() {
    const { view } = this;
    this._showEmpty(view);
    if (!view) return;
    const { fleet, link, clock } = this.shell;
    const now = clock.now();
    const host = fleet.host(this.host);
    const { event } = this.replay;
    if (event) this.panel.showThen(event, now);
    else this.panel.showNow(view, host, link, now);
    this.panel.showFindings(findings(view, host, link, now));
  }

  _render() {
    this._tick();
    if (!this.view) return;
    this.replay.show();
    const { run, cursor } = this.replay;
    this._shown = run?.events ?? [];
    this.events.show(this._shown, cursor);
    const others = this._earlier ? this.past.runs.filter((other) => other !== run) : [];
    this.chart.show({
      points: run ? pointsOf(run) : [],
      earlier: others.map(pointsOf).filter((points) => points.length > 0),
      marks: run ? marksOf(run) : [],
      cursor,
    });
    byId("earlier").disabled = this.past.runs.length < 2;
    this._labelChart(run);
  }

  /** @param {Run|undefined} run */
  _labelChart(run) {
    const points = run ? pointsOf(run) : [];
    const first = points[0];
    const last = points.at(-1);
    const text =
      first && last
        ? `Loss over epochs: from ${lossText(first[1], false)} at epoch ${epochNumber(first[0])} to ${lossText(last[1], false)} at epoch ${epochNumber(last[0])}`
        : "Loss over epochs: nothing yet";
    if (byId("chart").getAttribute("aria-label") !== text) byId("chart").setAttribute("aria-label", text);
  }

  /** @param {ChartPoint} point */
  _describe([epoch, loss, at]) {
    const event = this._shown[at];
    const when = event ? `\n${longTimeText(Date.parse(event.observed_at))}` : "";
    return `loss ${lossText(loss, false)}\nepoch ${epochNumber(epoch)}${when}`;
  }

  /** @param {JobView|undefined} view */
  _showEmpty(view) {
    byId("known").hidden = view === undefined;
    const { fleet } = this.shell;
    const kind = view ? "" : fleet.known && fleet.connected ? "none" : "waiting";
    const place = byId("empty");
    if (place.dataset.kind === kind) return;
    place.dataset.kind = kind;
    place.replaceChildren(...(kind === "none" ? this._unknown() : kind ? [paragraph("Waiting for the first word of the server …")] : []));
  }

  _unknown() {
    const title = document.createElement("h1");
    title.textContent = `No job ${this.job} on ${this.host}`;
    return [title, paragraph("It stands here as soon as its status file does. Jobs that were over for a week are let go of.")];
  }
}

/** @param {Run} run @returns {Mark[]} */
function marksOf({ events }) {
  /** @type {Mark[]} */
  const marks = [];
  let epoch = 0;
  events.forEach((event, at) => {
    if (event.state === "running" || event.state === "done") epoch = event.epoch;
    if (isTurn(events, at) && (event.state === "stale" || event.state === "error")) marks.push({ epoch, what: event.state });
    if (event.diverged && !events[at - 1]?.diverged) marks.push({ epoch, what: "diverged" });
  });
  return marks;
}

/** @param {HTMLButtonElement} button @returns {boolean} */
function toggle(button) {
  const on = button.getAttribute("aria-pressed") !== "true";
  button.setAttribute("aria-pressed", String(on));
  return on;
}

/** @param {string} text */
function paragraph(text) {
  const made = document.createElement("p");
  made.textContent = text;
  return made;
}

new JobPage().start();
