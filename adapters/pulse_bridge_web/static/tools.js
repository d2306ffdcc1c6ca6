/**
 * Search, filter, sort and group: what the viewer wishes, kept in the address so that it can be shared.
 *
 * @import {SortKey, Wish} from "./arrange.js"
 * @import {Look} from "./words.js"
 */

import { queryOfWish, wishOfQuery } from "./arrange.js";
import { byId, setIcon } from "./dom.js";
import { LOOKS, lookWord } from "./words.js";

export class Tools {
  /** @param {() => void} changed  The viewer wishes something else. */
  constructor(changed) {
    /** @type {Wish} */
    this.wish = wishOfQuery(new URLSearchParams(location.search));
    this._changed = changed;
    /** @type {HTMLInputElement} */
    this.search = byId("search");
    /** @type {Map<Look|"", {button: HTMLButtonElement, count: HTMLElement}>} */
    this._states = new Map();
    this._makeStates();
    this._listen();
    this._show();
  }

  /** @param {Map<Look, number>} counts */
  showCounts(counts) {
    const all = [...counts.values()].reduce((sum, count) => sum + count, 0);
    for (const [state, { button, count }] of this._states) {
      const text = String(state === "" ? all : (counts.get(state) ?? 0));
      if (count.textContent !== text) count.textContent = text;
      button.hidden = text === "0" && state !== "" && state !== this.wish.state && state !== "running";
    }
  }

  /** @param {Partial<Wish>} wish */
  set(wish) {
    this.wish = { ...this.wish, ...wish };
    const query = queryOfWish(this.wish).toString();
    history.replaceState(null, "", query ? `${location.pathname}?${query}` : location.pathname);
    this._show();
    this._changed();
  }

  /** Show all jobs again. */
  clear() {
    this.set({ search: "", state: "" });
  }

  _makeStates() {
    for (const state of /** @type {(Look|"")[]} */ (["", ...LOOKS])) {
      const button = document.createElement("button");
      button.type = "button";
      button.className = "button";
      if (state) {
        button.dataset.state = state;
        const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
        const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
        setIcon(use, state);
        svg.setAttribute("aria-hidden", "true");
        svg.append(use);
        button.append(svg);
      }
      const count = document.createElement("b");
      button.append(state ? lookWord(state) : "all", " ", count);
      button.addEventListener("click", () => this.set({ state: this.wish.state === state ? "" : state }));
      this._states.set(state, { button, count });
      byId("states").append(button);
    }
  }

  _listen() {
    this.search.addEventListener("input", () => this.set({ search: this.search.value }));
    byId("sort").addEventListener("change", () => this.set({ sort: byId("sort").value }));
    byId("direction").addEventListener("click", () => this.set({ descending: !this.wish.descending }));
    byId("group").addEventListener("click", () => this.set({ grouped: !this.wish.grouped }));
    for (const header of document.querySelectorAll("[data-sort]")) {
      const key = /** @type {SortKey} */ (header.getAttribute("data-sort"));
      header.querySelector("button")?.addEventListener("click", () => {
        this.set({ sort: key, descending: this.wish.sort === key && !this.wish.descending });
      });
    }
  }

  _show() {
    const { wish } = this;
    if (this.search.value !== wish.search) this.search.value = wish.search;
    for (const [state, { button }] of this._states) button.setAttribute("aria-pressed", String(wish.state === state));
    const order = wish.descending ? "descending" : "ascending";
    byId("sort").value = wish.sort;
    byId("group").setAttribute("aria-pressed", String(wish.grouped));
    byId("direction").setAttribute("aria-label", wish.descending ? "Descending" : "Ascending");
    setIcon(byId("direction").querySelector("use"), order);
    for (const header of document.querySelectorAll("[data-sort]")) {
      if (header.getAttribute("data-sort") === wish.sort) header.setAttribute("aria-sort", order);
      else header.removeAttribute("aria-sort");
    }
  }
}
