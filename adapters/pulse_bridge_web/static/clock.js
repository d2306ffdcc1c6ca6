/** So long an offset counts: what was learnt before two such windows is forgotten. */
const WINDOW_MS = 30_000;

/**
 * The server's clock, told from what it sends: a viewer's own clock may be wrong by hours.
 *
 * Every message comes late by its way, so the largest offset of late is the nearest. One slow message, or many in a
 * burst, do not set the clock back and forth; a server whose clock was set back is believed within a minute.
 */
export class ServerClock {
  /** @param {() => number} [read]  Monotonic milliseconds: this machine's own clock may be set at any time. */
  constructor(read = () => performance.now()) {
    this._read = read;
    /** Until the server has told: as this machine has it. */
    this._unknownMs = Date.now() - read();
    /** @type {number|null} The largest offset of this window, and of the one before. */
    this._offsetMs = null;
    /** @type {number|null} */
    this._beforeMs = null;
    this._windowEndMs = 0;
  }

  /** Take the server's instant from a message that came just now. @param {string} now  RFC 3339. */
  learn(now) {
    const read = this._read();
    const offset = Date.parse(now) - read;
    if (!Number.isFinite(offset)) return;
    if (this._offsetMs === null || read >= this._windowEndMs) {
      this._beforeMs = this._offsetMs;
      this._offsetMs = offset;
      this._windowEndMs = read + WINDOW_MS;
    }
    this._offsetMs = Math.max(this._offsetMs, offset);
  }

  /** @returns {number} Unix milliseconds. */
  now() {
    const offset = this._offsetMs === null ? this._unknownMs : Math.max(this._offsetMs, this._beforeMs ?? -Infinity);
    return this._read() + offset;
  }
}
