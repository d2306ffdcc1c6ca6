/**
 * The server's event stream, opened again until it holds.
 *
 * The browser itself reconnects after a lost line and resumes by `Last-Event-ID`; it gives up for good when a proxy
 * answers anything but 200, and waits for ever on a line that died without a word. Both are put right here.
 */

const RETRY_FIRST_MS = 500;
const RETRY_MAX_MS = 15_000;
/** The server says something every 15 s, `ping` if nothing else: so long may nothing come. */
const QUIET_MS = 45_000;

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
    this._told.open();
  }

  /** @param {EventSource} source */
  _failed(source) {
    if (source !== this._source) return;
    this._up = false;
    this._told.lost("the server does not answer");
    if (source.readyState !== EventSource.CLOSED) return; // the browser tries again, and resumes
    clearTimeout(this._timer);
    const limit = Math.min(RETRY_MAX_MS, RETRY_FIRST_MS * 2 ** this._tries++);
    this._timer = window.setTimeout(() => this.retry(), limit / 2 + (Math.random() * limit) / 2);
    void this._explain();
  }

  /** A refusal has words that the event stream hides. */
  async _explain() {
    try {
      const answer = await fetch("api/jobs", { method: "HEAD", cache: "no-store" });
      if (answer.status === 401) this._told.lost("the server wants its token again: open the page with ?token=…");
    } catch {
      // It does not answer at all, as was said already.
    }
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
