/** The server's clock, told from what it sends: a viewer's own clock may be wrong by hours. */
export class ServerClock {
  /** @param {() => number} [read]  Unix milliseconds of this machine. */
  constructor(read = Date.now) {
    this._read = read;
    /** @type {number|null} */
    this._offsetMs = null;
  }

  /** Take the server's instant from a message that came just now. @param {string} now  RFC 3339. */
  learn(now) {
    const offset = Date.parse(now) - this._read();
    if (!Number.isFinite(offset)) return;
    const known = this._offsetMs;
    // The largest offset had the shortest way; another one altogether means that a clock was set.
    this._offsetMs = known === null || Math.abs(offset - known) > 2000 ? offset : Math.max(offset, known);
  }

  /** @returns {number} Unix milliseconds. */
  now() {
    return this._read() + (this._offsetMs ?? 0);
  }
}
