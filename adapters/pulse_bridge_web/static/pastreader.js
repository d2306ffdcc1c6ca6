/**
 * Keeps a job's past without holes.
 *
 * The stream tells four times a second at most what is so, not each change between: what lay between is asked for
 * while the job changes, at its end, and when the line was lost.
 *
 * @import {JobEvent} from "./types.js"
 */

import { delayMs } from "./backoff.js";
import { HistoryError, readHistory } from "./history.js";

/** A job that changes is asked about so often, and more seldom where the answer takes long. */
const EVERY_MIN_MS = 10_000;
const EVERY_MAX_MS = 30_000;
const PAUSE_PER_READ = 20;
/** All who look on hear of an end at once; they ask within this. */
const SPREAD_MS = 1_000;
const RETRY_FIRST_MS = 3_000;
const RETRY_MAX_MS = 60_000;

/**
 * @typedef {object} Job
 * @property {string} host
 * @property {string} job
 * @property {(events: JobEvent[]) => number} take  Says how many were new.
 * @property {(text: string) => void} say  What is missing, or why; empty where nothing is.
 */

export class PastReader {
  /** @param {Job} job */
  constructor(job) {
    this._job = job;
    this._timer = 0;
    /** Monotonic milliseconds at which `_timer` is due; 0: it was, and has still to wait. */
    this._dueAt = Infinity;
    this._reading = false;
    this._begun = false;
    /** Whether the bus keeps a past at all, as far as is known. */
    this._kept = true;
    this._tries = 0;
    this._pauseMs = EVERY_MIN_MS;
    /** @type {string|null} RFC 3339: up to here the server has told everything. */
    this._readUntil = null;
    document.addEventListener("visibilitychange", () => this._dueAt === 0 && this._due());
  }

  /** The job has changed: between this change and the last there may have been others. */
  changed() {
    if (!this._kept) return;
    if (!this._begun) this._wait(0);
    else if (this._tries === 0) this._wait(this._pauseMs * (1 + Math.random() / 2));
  }

  /** The job has come to another state: soon nothing more may come. */
  turned() {
    if (this._kept) this._wait(Math.random() * SPREAD_MS);
  }

  /** Read at once: what happened meanwhile was not told, and the server may have another bus. */
  read() {
    this._tries = 0;
    this._wait(0);
  }

  /** Read after so long, if nothing was to be read before that. @param {number} ms */
  _wait(ms) {
    const at = performance.now() + ms;
    if (at >= this._dueAt) return;
    clearTimeout(this._timer);
    this._dueAt = at;
    this._timer = window.setTimeout(() => this._due(), ms);
  }

  _due() {
    this._dueAt = 0;
    if (this._reading || (document.hidden && this._begun)) return; // nobody looks: a tab may be open for weeks
    this._dueAt = Infinity;
    this._begun = true;
    void this._read();
  }

  async _read() {
    const { host, job, take, say } = this._job;
    const begunAt = performance.now();
    this._reading = true;
    try {
      const outcome = await readHistory(host, job, this._readUntil, take);
      this._tries = 0;
      this._kept = outcome.kept;
      this._readUntil = outcome.until ?? this._readUntil;
      say(outcome.complete ? "" : `The past is not complete: ${outcome.reason ?? "the bus does not keep it all"}.`);
    } catch (error) {
      if (!(error instanceof HistoryError)) throw error;
      this._failed(error);
    } finally {
      this._reading = false;
    }
    const tookMs = performance.now() - begunAt;
    this._pauseMs = Math.min(EVERY_MAX_MS / 1.5, Math.max(EVERY_MIN_MS, tookMs * PAUSE_PER_READ));
    if (this._dueAt === 0) this._due();
  }

  /** @param {HistoryError} error */
  _failed(error) {
    if (!error.heals) {
      this._job.say(`The past cannot be read: ${error.message}.`);
      return;
    }
    this._job.say(`The past cannot be read now: ${error.message}. It is asked for again by itself.`);
    this._wait(Math.max(Math.min(error.afterMs, RETRY_MAX_MS), delayMs(this._tries++, RETRY_FIRST_MS, RETRY_MAX_MS)));
  }
}
