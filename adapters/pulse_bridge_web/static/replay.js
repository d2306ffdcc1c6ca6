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
    /** Whether what is so now is shown, and not the past. */
    this.live = true;
    /** @type {number|null} The run that is shown; null: the newest. */
    this._run = null;
    this._at = 0;
    this._timer = 0;
    /** @type {HTMLInputElement} */
    this._scrubber = byId("scrubber");
    this._listen();
  }

  /** @returns {Run|undefined} */
  get run() {
    return (this._run === null ? undefined : this._past.find(this._run)) ?? this._past.newest;
  }

  /** The number of the event that is replayed; null while live. @returns {number|null} */
  get cursor() {
    return this.live || !this.run ? null : Math.min(this._at, this.run.events.length - 1);
  }

  /** @returns {JobEvent|undefined} */
  get event() {
    return this.cursor === null ? undefined : this.run?.events[this.cursor];
  }

  /** Show a moment of the past. @param {number} at  The number of an event in the run. */
  goTo(at) {
    this.live = false;
    this._at = at;
    this._moved();
  }

  /** Back to what is so now. */
  goLive() {
    this.live = true;
    this._run = null;
    this._pause();
    this._moved();
  }

  /** Bring the controls up to what is known. */
  show() {
    const events = this.run?.events ?? [];
    const last = Math.max(0, events.length - 1);
    const at = this.cursor ?? last;
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
      this.goTo(Number(this._scrubber.value));
    });
    byId("play").addEventListener("click", () => (this._timer ? this._pause() : this._play()));
    byId("live").addEventListener("click", () => this.goLive());
    byId("run").addEventListener("change", () => {
      this._pause();
      this._run = Number(byId("run").value);
      this.goTo((this.run?.events.length ?? 1) - 1);
    });
  }

  _play() {
    const last = (this.run?.events.length ?? 1) - 1;
    this._pin();
    const at = this.cursor;
    this._showPlaying(true);
    this.goTo(at === null || at >= last ? 0 : at);
    this._next();
  }

  /** A new run that starts meanwhile does not take the one at hand away. */
  _pin() {
    this._run = this.run?.run ?? null;
  }

  _next() {
    const events = this.run?.events ?? [];
    const at = this._at;
    if (at >= events.length - 1) {
      this._pause();
      return;
    }
    const gap = Date.parse(events[at + 1].observed_at) - Date.parse(events[at].observed_at);
    const wait = Math.min(WAIT_MAX_MS, Math.max(WAIT_MIN_MS, gap / Number(byId("speed").value)));
    this._timer = window.setTimeout(() => {
      this.goTo(at + 1);
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
