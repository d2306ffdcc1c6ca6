/**
 * The server's event stream, opened again until it holds.
 *
 * The browser itself reconnects after a lost line and resumes by `Last-Event-ID`; it gives up for good when a proxy
 * answers anything but 200, and waits for ever on a line that died without a word. Both are put right here.
 */

import { delayMs } from "./backoff.js";
import { refusalText } from "./refusal.js";

const RETRY_FIRST_MS = 500;
const RETRY_MAX_MS = 15_000;
/** The server says something every 15 s, `ping` if nothing else: so long may nothing come. */
const QUIET_MS = 45_000;
const NO_ANSWER = "the server does not answer";

/**
 * @typedef {object} Told
 * @property {(data: any) => void} snapshot
 * @property {(data: any) => void} update
 * @property {(data: any) => void} connection
 * @property {() => void} open
 * @property {(reason: string) => void} lost
 */

export class Stream {
  /** @param {string} address @param {Told} told */
  constructor(address, told) {
    this._address = address;
    this._told = told;
    /** @type {EventSource|null} */
    this._source = null;
    this._timer = 0;
    this._watchdog = 0;
    this._tries = 0;
    this._up = false;
    /** Why the last try failed, in words; the next one that fails the same way says nothing else meanwhile. */
    this._reason = NO_ANSWER;
    addEventListener("online", () => this.retry());
    addEventListener("pageshow", (event) => event.persisted && this.retry());
    document.addEventListener("visibilitychange", () => {
      if (document.visibilityState === "visible" && !this._up) this.retry();
    });
    this.retry();
  }

  /** Connect anew at once. */
  retry() {
    clearTimeout(this._timer);
    this._source?.close();
    const source = new EventSource(this._address);
    this._source = source;
    source.onopen = () => this._alive();
    source.onerror = () => this._failed(source);
    for (const kind of /** @type {const} */ (["snapshot", "update", "connection"])) {
      source.addEventListener(kind, (event) => {
        this._alive();
        this._told[kind](JSON.parse(event.data));
      });
    }
    source.addEventListener("ping", () => this._alive());
    this._watch();
  }

  _alive() {
    this._tries = 0;
    this._watch();
    if (this._up) return;
    this._up = true;
    this._reason = NO_ANSWER;
    this._told.open();
  }

  /** @param {EventSource} source */
  _failed(source) {
    if (source !== this._source) return;
    this._up = false;
    const refused = source.readyState === EventSource.CLOSED;
    if (!refused) this._reason = NO_ANSWER;
    this._told.lost(this._reason);
    if (!refused) return; // the browser tries again, and resumes
    clearTimeout(this._timer);
    this._timer = window.setTimeout(() => this.retry(), delayMs(this._tries++, RETRY_FIRST_MS, RETRY_MAX_MS));
    void this._explain();
  }

  /** A refusal has words that the event stream hides. */
  async _explain() {
    const reason = await askWhy();
    if (this._up) return; // it came back while one asked
    this._reason = reason;
    this._told.lost(reason);
  }

  _watch() {
    clearTimeout(this._watchdog);
    this._watchdog = window.setTimeout(() => {
      this._up = false;
      this._told.lost(`nothing has come for ${QUIET_MS / 1000} s`);
      this.retry();
    }, QUIET_MS);
  }
}

/** @returns {Promise<string>} In words. */
async function askWhy() {
  try {
    const answer = await fetch("api/jobs", { method: "HEAD", cache: "no-store" });
    return answer.ok ? "the server, or a proxy before it, refuses the event stream" : refusalText(answer.status);
  } catch {
    return NO_ANSWER;
  }
}
