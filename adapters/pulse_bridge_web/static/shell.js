/**
 * What both pages have in common: the stream, the state folded from it, and the top bar that says how it is connected.
 *
 * @import {Changes} from "./state.js"
 * @import {Link} from "./words.js"
 */

import { startAnnouncer } from "./announce.js";
import { ServerClock } from "./clock.js";
import { byId } from "./dom.js";
import { timeText } from "./format.js";
import { startNotify } from "./notify.js";
import { Fleet } from "./state.js";
import { Stream } from "./stream.js";
import { startTheme } from "./theme.js";
import { LINK_GRACE_MS } from "./words.js";

const TICK_MS = 1000;

/** @type {Record<Link["state"], string>} */
const LINK_WORDS = { connecting: "Connecting", live: "Live", lost: "Reconnecting", deaf: "No bus" };

/**
 * @typedef {object} Watcher  A page.
 * @property {(changes: Changes, isSnapshot: boolean) => void} changed
 * @property {() => void} [reopened]  The stream goes on, or begins anew, behind a pause in which anything may have happened.
 * @property {() => void} ticked  Every second, and when the connection changes.
 * @property {(key: string) => boolean} [concerns]  Whose turns are told aloud; all of them where absent.
 */

export class Shell {
  constructor() {
    this.fleet = new Fleet();
    this.clock = new ServerClock();
    /** @type {Link} */
    this.link = { state: "connecting", reason: null, sinceMs: this.clock.now() };
    this.nextTheme = startTheme(byId("theme"));
    this._notify = startNotify(byId("notify"));
    this._announce = startAnnouncer(byId("announcer"));
    /** Unix milliseconds of the last message. */
    this._heardMs = 0;
  }

  /** @param {Watcher} watcher */
  start(watcher) {
    this._watcher = watcher;
    const stream = new Stream("events", {
      snapshot: (data) => {
        this.clock.learn(data.now);
        const changes = this.fleet.applySnapshot(data);
        this._took(changes);
        watcher.changed(changes, true);
      },
      update: (data) => {
        this.clock.learn(data.now);
        const changes = this.fleet.applyUpdate(data);
        this._took(changes);
        watcher.changed(changes, false);
      },
      connection: (data) => {
        this.fleet.applyConnection(data);
        this._linked();
      },
      open: () => {
        this._linked();
        watcher.reopened?.();
      },
      lost: (reason) => this._setLink("lost", reason),
    });
    byId("retry").addEventListener("click", () => stream.retry());
    setInterval(() => this._tick(), TICK_MS);
    this._showLink();
  }

  /** @param {Changes} changes */
  _took(changes) {
    this._heardMs = this.clock.now();
    byId("source").textContent = this.fleet.source;
    this._linked();
    const { concerns } = /** @type {Watcher} */ (this._watcher);
    const turns = concerns ? changes.turns.filter(({ view }) => concerns(`${view.host}/${view.job}`)) : changes.turns;
    this._notify(turns);
    this._announce(turns);
  }

  _linked() {
    if (this.fleet.connected) this._setLink("live", null);
    else this._setLink("deaf", this.fleet.reason);
  }

  /** @param {Link["state"]} state @param {string|null} reason */
  _setLink(state, reason) {
    if (this.link.state === state && this.link.reason === reason) return;
    const sinceMs = this.link.state === state ? this.link.sinceMs : this.clock.now();
    this.link = { state, reason, sinceMs };
    this._showLink();
    this._watcher?.ticked();
  }

  _tick() {
    this._showLink();
    this._watcher?.ticked();
  }

  _showLink() {
    const { state, reason, sinceMs } = this.link;
    const link = byId("link");
    if (link.dataset.link !== state) {
      link.dataset.link = state;
      byId("link-word").textContent = LINK_WORDS[state];
    }
    const down = state === "lost" || state === "deaf";
    const tell = down && this.clock.now() - sinceMs >= LINK_GRACE_MS;
    const banner = byId("banner");
    if (tell) {
      const text = this._bannerText(state, reason);
      if (byId("banner-text").textContent !== text) byId("banner-text").textContent = text;
      byId("retry").hidden = state !== "lost";
    }
    banner.hidden = !tell;
  }

  /** @param {Link["state"]} state @param {string|null} reason */
  _bannerText(state, reason) {
    const what = state === "lost" ? "Connection lost" : "The server has lost its bus";
    const known = this._heardMs ? ` What stands here was so at ${timeText(this._heardMs)}.` : "";
    return `${what}${reason ? `: ${reason}` : ""}.${known} Connecting again by itself.`;
  }
}
