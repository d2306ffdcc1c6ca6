/**
 * The scrubber: which moment of which run is shown, and playing on from there.
 *
 * @import {Past, Run} from "./past.js"
 * @import {JobEvent} from "./types.js"
 */

import { byId, setIcon } from "./dom.js";
import { shortTimeText, timeText } from "./format.js";

/** However long nothing happened then, so long is waited for it. */
const WAIT_MAX_MS = 1000;
const WAIT_MIN_MS = 16;

export class Replay {
  /** @param {Past} past @param {() => void} moved  Another moment is shown. */
  constructor(past, moved) {
    this._past = past;
    this._moved = moved;
    /** @type {number|null} The run that is shown; null: the newest. */
    this._run = null;
    /** @type {JobEvent|null} The event that is replayed: its number changes when events before it become known. */
    this._event = null;
    /** @type {readonly JobEvent[]} What the scrubber's numbers stand for. */
    this._shown = [];
    this._timer = 0;
    /** @type {HTMLInputElement} */
    this._scrubber = byId("scrubber");
    this._listen();
  }

  /** @returns {Run|undefined} */
  get run() {
    return (this._run === null ? undefined : this._past.find(this._run)) ?? this._past.newest;
  }

  /** Whether what is so now is shown, and not the past. */
  get live() {
    return this._event === null;
  }

  /** The number of the event that is replayed, or of the last before it if it is kept no more; null while live. @returns {number|null} */
  get cursor() {
    const { _event: event, run } = this;
    if (event === null || !run) return null;
    const at = run.events.findIndex(({ id }) => id === event.id);
    return at >= 0 ? at : Math.max(0, run.events.findLastIndex(({ observed_at }) => observed_at <= event.observed_at));
  }

  /** The event that is replayed; null while live. @returns {JobEvent|null} */
  get event() {
    return this._event;
  }

  /** Show a moment of the past, and stay at it: no new run takes it away. @param {JobEvent} event */
  goTo(event) {
    this._event = event;
    this._run = event.run;
    this._moved();
  }

  /** Back to what is so now. */
  goLive() {
    this._event = null;
    this._run = null;
    this._pause();
    this._moved();
  }

  /** Bring the controls up to what is known. */
  show() {
    const events = this.run?.events ?? [];
    const last = Math.max(0, events.length - 1);
    const at = this.cursor ?? last;
    this._shown = events;
    this._scrubber.disabled = events.length < 2;
    byId("play").disabled = events.length < 2;
    if (this._scrubber.max !== String(last)) this._scrubber.max = String(last);
    if (this._scrubber.value !== String(at)) this._scrubber.value = String(at);
    const event = events[at];
    const text = event ? shortTime(event) : "no history";
    this._scrubber.setAttribute("aria-valuetext", event ? `${text}, event ${at + 1} of ${last + 1}` : text);
    if (byId("at").textContent !== text) byId("at").textContent = text;
    byId("live").setAttribute("aria-pressed", String(this.live));
    this._showRuns();
  }

  _showRuns() {
    /** @type {HTMLSelectElement} */
    const select = byId("run");
    const runs = this._past.runs.map(({ run }) => run).reverse();
    const text = runs.join();
    if (select.dataset.runs !== text) {
      select.dataset.runs = text;
      select.replaceChildren(...runs.map((run, at) => new Option(`${shortTimeText(run * 1000)}${at ? "" : " (newest)"}`, String(run))));
    }
    const value = String(this.run?.run ?? "");
    if (select.value !== value) select.value = value;
    select.disabled = runs.length < 2;
  }

  _listen() {
    this._scrubber.addEventListener("input", () => {
      this._pause();
      const event = this._shown[Number(this._scrubber.value)];
      if (event) this.goTo(event);
    });
    byId("play").addEventListener("click", () => (this._timer ? this._pause() : this._play()));
    byId("live").addEventListener("click", () => this.goLive());
    byId("run").addEventListener("change", () => {
      this._pause();
      const last = this._past.find(Number(byId("run").value))?.events.at(-1);
      if (last) this.goTo(last);
    });
  }

  _play() {
    const events = this.run?.events ?? [];
    if (events.length === 0) return;
    const at = this.cursor;
    this._showPlaying(true);
    this.goTo(events[at === null || at >= events.length - 1 ? 0 : at]);
    this._next();
  }

  _next() {
    const events = this.run?.events ?? [];
    const at = this.cursor ?? 0;
    if (at >= events.length - 1) {
      this._pause();
      return;
    }
    const next = events[at + 1];
    const gap = Date.parse(next.observed_at) - Date.parse(events[at].observed_at);
    const wait = Math.min(WAIT_MAX_MS, Math.max(WAIT_MIN_MS, gap / Number(byId("speed").value)));
    this._timer = window.setTimeout(() => {
      this.goTo(next);
      this._next();
    }, wait);
  }

  _pause() {
    clearTimeout(this._timer);
    this._timer = 0;
    this._showPlaying(false);
  }

  /** @param {boolean} playing */
  _showPlaying(playing) {
    const button = byId("play");
    button.setAttribute("aria-label", playing ? "Pause" : "Play");
    setIcon(button.querySelector("use"), playing ? "pause" : "play");
  }
}

/** @param {JobEvent} event */
function shortTime(event) {
  const at = Date.parse(event.observed_at);
  const today = new Date(at).toDateString() === new Date().toDateString();
  return today ? timeText(at) : shortTimeText(at);
}
