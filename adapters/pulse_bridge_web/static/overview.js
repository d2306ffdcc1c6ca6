/**
 * The overview: every job of every host.
 *
 * @import {LookOf} from "./arrange.js"
 * @import {Changes} from "./state.js"
 */

import { arrange, countLooks, countTroubled, VOLATILE } from "./arrange.js";
import { byId, keepingFocus, oncePerFrame, placeInOrder } from "./dom.js";
import { showEmpty } from "./empty.js";
import { Group } from "./group.js";
import { startKeys, startSkipLink } from "./keys.js";
import { Row } from "./row.js";
import { Shell } from "./shell.js";
import { Tools } from "./tools.js";
import { whyLastKnown } from "./words.js";

/** Rows sorted by what changes all the time move at most so often. */
const RESORT_MS = 5000;

class Overview {
  constructor() {
    this.shell = new Shell();
    this.render = oncePerFrame(() => this._render());
    this.tools = new Tools(() => {
      this._order = true;
      this.render();
    });
    /** @type {Map<string, Row>} */
    this._rows = new Map();
    /** @type {Map<string|null, Group>} */
    this._groups = new Map();
    /** @type {Set<string>} */
    this._dirty = new Set();
    this._order = true;
    /** Monotonic milliseconds. */
    this._resortAt = 0;
    this._head = /** @type {Element} */ (byId("jobs").firstElementChild);
  }

  start() {
    startSkipLink();
    startKeys({
      search: this.tools.search,
      clearSearch: () => this.tools.set({ search: "" }),
      links: () => this._links(),
      single: { g: () => this.tools.set({ grouped: !this.tools.wish.grouped }), t: this.shell.nextTheme },
    });
    this.shell.start({
      changed: (changes) => this._changed(changes),
      ticked: () => this._ticked(),
    });
    this.render();
  }

  /** @param {Changes} changes */
  _changed(changes) {
    for (const key of changes.jobs) this._dirty.add(key);
    if (changes.members) this._order = true;
    this.render();
  }

  _ticked() {
    const { fleet, link, clock } = this.shell;
    const now = clock.now();
    for (const row of this._shownRows()) row.tick(fleet.host(row.job.view.host), link, now);
    for (const [host, group] of this._groups) if (host !== null) group.show(fleet.host(host), now);
    this._showCounts();
    this._showEmpty();
    if (this.tools.wish.state !== "") this.render(); // time alone makes a job the last known
  }

  _render() {
    const { fleet, link, clock } = this.shell;
    const now = clock.now();
    const { wish } = this.tools;
    const filtered = wish.state !== "" || wish.search !== "";
    const sorted = wish.sort === "state" || (VOLATILE.has(wish.sort) && performance.now() >= this._resortAt);
    if (this._order || filtered || sorted) this._arrange();
    for (const key of this._dirty) {
      const row = this._rows.get(key);
      if (row) row.show(fleet.host(row.job.view.host), link, now);
    }
    this._dirty.clear();
    for (const [host, group] of this._groups) if (host !== null) group.show(fleet.host(host), now);
    this._showCounts();
    this._showEmpty();
  }

  _arrange() {
    const { fleet } = this.shell;
    const { wish } = this.tools;
    this._order = false;
    this._resortAt = performance.now() + RESORT_MS;
    for (const [key, row] of this._rows) if (fleet.jobs.get(key) !== row.job) this._rows.delete(key);
    /** @type {Map<string|null, Row[]>} */
    const rows = new Map();
    for (const job of arrange(fleet.jobs.values(), wish, this._lookOf())) {
      const row = this._rowOf(job);
      row.showHost(!wish.grouped);
      const host = wish.grouped ? job.view.host : null;
      const of = rows.get(host);
      if (of) of.push(row);
      else rows.set(host, [row]);
    }
    keepingFocus(() => this._placeGroups(rows));
  }

  /** @param {import("./state.js").Job} job */
  _rowOf(job) {
    const known = this._rows.get(job.key);
    if (known) return known;
    const row = new Row(job);
    this._rows.set(job.key, row);
    this._dirty.add(job.key);
    return row;
  }

  /** @param {Map<string|null, Row[]>} rows */
  _placeGroups(rows) {
    for (const host of this._groups.keys()) if (!rows.has(host)) this._groups.delete(host);
    /** @type {Group[]} */
    const groups = [];
    for (const [host, of] of rows) {
      let group = this._groups.get(host);
      if (!group) this._groups.set(host, (group = new Group(host)));
      group.place(of);
      groups.push(group);
    }
    placeInOrder(byId("jobs"), groups.map((group) => group.element), this._head);
    byId("jobs").hidden = groups.length === 0;
    this._shown = groups;
  }

  _shownRows() {
    return (this._shown ?? []).flatMap((group) => group.rows);
  }

  _links() {
    return this._shownRows().filter((row) => !row.element.hidden).map((row) => row.link);
  }

  /** How jobs look now; asked once for each host. @returns {LookOf} */
  _lookOf() {
    const { fleet, link, clock } = this.shell;
    const now = clock.now();
    /** @type {Map<string, boolean>} */
    const lastKnown = new Map();
    return ({ view }) => {
      let known = lastKnown.get(view.host);
      if (known === undefined) lastKnown.set(view.host, (known = whyLastKnown(fleet.host(view.host), link, now) !== null));
      return known ? "unknown" : view.state;
    };
  }

  /** Also in a hidden tab, whose title is all that is seen of it, and which has no frames. */
  _showCounts() {
    const { jobs } = this.shell.fleet;
    const lookOf = this._lookOf();
    this.tools.showCounts(countLooks(jobs.values(), lookOf));
    const troubled = countTroubled(jobs.values(), lookOf);
    const title = troubled ? `(${troubled}) pulse-bridge` : "pulse-bridge";
    if (document.title !== title) document.title = title;
  }

  _showEmpty() {
    showEmpty(byId("empty"), this.shell, byId("jobs").hidden, () => this.tools.clear());
  }
}

new Overview().start();
