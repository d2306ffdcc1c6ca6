/**
 * Loss over epochs: zoom, hover, log scale, earlier runs behind. It draws what it is given and knows nothing of jobs.
 *
 * @import {ChartPoint} from "./past.js"
 * @import {State} from "./types.js"
 * @import {Scale} from "./scale.js"
 */

import { oncePerFrame } from "./dom.js";
import { drawAxes, drawLine, drawMarks } from "./draw.js";
import { logTicks, makeScale, ticks } from "./scale.js";
import { svg } from "./svg.js";

const EDGE = { top: 8, right: 12, bottom: 26, left: 56 };
const ZOOM_STEP = 0.6;
const DRAG_PX = 5;

/**
 * @typedef {object} Mark
 * @property {number} epoch
 * @property {State|"diverged"} what
 *
 * @typedef {object} Data
 * @property {ChartPoint[]} points
 * @property {ChartPoint[][]} earlier
 * @property {Mark[]} marks
 * @property {number|null} cursor  The number of the event that is replayed; null: the newest.
 *
 * @typedef {object} Ear
 * @property {(point: ChartPoint) => string} describe
 * @property {(text: string) => void} say  Tells a screen reader.
 * @property {(event: number) => void} pick  The viewer points at an event.
 * @property {(zoomed: boolean) => void} zoomed
 */

export class Chart {
  /** @param {HTMLElement} root @param {Ear} ear */
  constructor(root, ear) {
    this._root = root;
    this._ear = ear;
    this._svg = /** @type {SVGSVGElement} */ (root.querySelector("svg"));
    this._tip = /** @type {HTMLElement} */ (root.querySelector(".tip"));
    this._none = /** @type {HTMLElement} */ (root.querySelector(".chart-empty"));
    /** @type {Data} */
    this._data = { points: [], earlier: [], marks: [], cursor: null };
    this._log = false;
    /** @type {[number, number]|null} The epochs that are shown; null: all. */
    this._zoom = null;
    /** @type {number|null} The point that is pointed at. */
    this._at = null;
    /** @type {[number, number]|null} Pixels between which the viewer drags. */
    this._drag = null;
    this._draw = oncePerFrame(() => this._drawNow());
    new ResizeObserver(this._draw).observe(root);
    this._listen();
  }

  /** @param {Data} data */
  show(data) {
    const pointed = this._at === null ? undefined : this._data.points[this._at];
    this._data = data;
    if (pointed) this._at = samePoint(data.points, pointed);
    this._draw();
  }

  /** @param {boolean} log */
  setLog(log) {
    this._log = log;
    this._draw();
  }

  /** @param {number} factor  Below 1: nearer. */
  zoomBy(factor) {
    const [low, high] = this._range();
    const focus = this._at === null ? (low + high) / 2 : this._data.points[this._at][0];
    this._setZoom([focus - (focus - low) * factor, focus + (high - focus) * factor]);
  }

  zoomIn() {
    this.zoomBy(ZOOM_STEP);
  }

  zoomOut() {
    this.zoomBy(1 / ZOOM_STEP);
  }

  showAll() {
    this._setZoom(null);
  }

  /** @param {[number, number]|null} zoom */
  _setZoom(zoom) {
    const [low, high] = this._extent();
    const clipped = zoom && /** @type {[number, number]} */ ([Math.max(low, zoom[0]), Math.min(high, zoom[1])]);
    const whole = clipped === null || (clipped[0] <= low && clipped[1] >= high) || !(clipped[1] > clipped[0]);
    this._zoom = whole ? null : clipped;
    this._ear.zoomed(!whole);
    this._draw();
  }

  /** All epochs there are. @returns {[number, number]} */
  _extent() {
    const all = [this._data.points, ...this._data.earlier].filter((points) => points.length > 0);
    if (all.length === 0) return [0, 1];
    const low = Math.min(...all.map((points) => points[0][0]));
    const high = Math.max(...all.map((points) => /** @type {ChartPoint} */ (points.at(-1))[0]));
    return high > low ? [low, high] : [low - 0.5, low + 0.5];
  }

  _range() {
    return this._zoom ?? this._extent();
  }

  _drawNow() {
    const { points, earlier, marks, cursor } = this._data;
    const lines = [...earlier, points].map((line) => this._visible(line));
    const empty = lines.every((line) => line.length === 0);
    this._none.hidden = !empty;
    if (this._at !== null && this._at >= points.length) this._at = null;
    const { x, y, width, height } = this._scales(lines);
    this._x = x;
    const parts = drawAxes(x, y, this._axisTicks(width), EDGE, width, height);
    for (const line of lines.slice(0, -1)) parts.push(drawLine(line, x, y, "line past"));
    const own = /** @type {ChartPoint[]} */ (lines.at(-1));
    if (cursor === null) parts.push(drawLine(own, x, y, "line"));
    else {
      parts.push(drawLine(own, x, y, "line ahead"));
      parts.push(drawLine(own.filter((point) => point[2] <= cursor), x, y, "line"));
    }
    parts.push(...drawMarks(marks, x, this._range(), EDGE.top, height - EDGE.bottom));
    parts.push(...this._pointer(x, y, height));
    this._svg.replaceChildren(...parts);
  }

  /** @param {ChartPoint[]} points */
  _visible(points) {
    const [low, high] = this._range();
    const usable = this._log ? points.filter((point) => point[1] > 0) : points;
    if (this._zoom === null) return usable;
    const first = usable.findIndex((point) => point[0] >= low);
    const last = usable.findLastIndex((point) => point[0] <= high);
    return first < 0 || last < 0 ? [] : usable.slice(Math.max(0, first - 1), last + 2); // the line goes on at the edges
  }

  /** @param {ChartPoint[][]} lines */
  _scales(lines) {
    const width = this._root.clientWidth;
    const height = this._root.clientHeight;
    let low = Infinity;
    let high = -Infinity;
    for (const line of lines) {
      for (const [, loss] of line) {
        low = Math.min(low, loss);
        high = Math.max(high, loss);
      }
    }
    if (!(high >= low)) [low, high] = [this._log ? 0.1 : 0, 1];
    if (low === high) [low, high] = this._log ? [low / 2, high * 2] : [low - 0.5, high + 0.5];
    const room = this._log ? 0 : (high - low) * 0.05;
    this._losses = /** @type {[number, number]} */ ([low - (low - room < 0 && low >= 0 ? low : room), high + room]);
    const [first, last] = this._range();
    return {
      width,
      height,
      x: makeScale(first, last, EDGE.left, width - EDGE.right),
      y: makeScale(this._losses[0], this._losses[1], height - EDGE.bottom, EDGE.top, this._log),
    };
  }

  /** @param {number} width */
  _axisTicks(width) {
    const [first, last] = this._range();
    const [low, high] = /** @type {[number, number]} */ (this._losses);
    return { epochs: ticks(first, last, Math.max(2, width / 110)), losses: this._log ? logTicks(low, high) : ticks(low, high, 6) };
  }

  /** The crosshair, the replayed moment and the dragged range. @param {Scale} x @param {Scale} y @param {number} height */
  _pointer(x, y, height) {
    const { points, cursor } = this._data;
    const parts = [];
    const replayed = cursor === null ? undefined : points.findLast((point) => point[2] <= cursor);
    if (replayed) parts.push(svg("circle", { class: "dot", cx: x.at(replayed[0]), cy: y.at(replayed[1]), r: 5 }));
    const point = this._at === null ? undefined : points[this._at];
    const shown = point !== undefined && (!this._log || point[1] > 0);
    this._tip.hidden = !shown;
    if (shown) {
      const left = x.at(point[0]);
      const top = y.at(point[1]);
      parts.push(svg("line", { class: "cross", x1: left, x2: left, y1: EDGE.top, y2: height - EDGE.bottom }));
      parts.push(svg("circle", { class: "dot", cx: left, cy: top, r: 4 }));
      this._placeTip(this._ear.describe(point), left, top);
    }
    if (this._drag) {
      const [from, to] = this._drag;
      parts.push(svg("rect", { class: "brush", x: Math.min(from, to), width: Math.abs(to - from), y: EDGE.top, height: height - EDGE.bottom - EDGE.top }));
    }
    return parts;
  }

  /** @param {string} text @param {number} left @param {number} top */
  _placeTip(text, left, top) {
    if (this._tip.textContent !== text) this._tip.textContent = text;
    const right = left > this._root.clientWidth / 2;
    const x = right ? left - this._tip.offsetWidth - 12 : left + 12;
    const y = Math.max(0, Math.min(this._root.clientHeight - this._tip.offsetHeight, top - this._tip.offsetHeight / 2));
    this._tip.style.setProperty("transform", `translate(${Math.round(x)}px, ${Math.round(y)}px)`);
  }

  _listen() {
    const root = this._root;
    root.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      root.setPointerCapture(event.pointerId);
      const at = this._pixels(event);
      this._drag = [at, at];
    });
    root.addEventListener("pointermove", (event) => {
      const at = this._pixels(event);
      if (this._drag) this._drag[1] = at;
      this._at = this._nearest(at);
      this._draw();
    });
    root.addEventListener("pointerup", () => this._dropped());
    root.addEventListener("pointercancel", () => this._left());
    root.addEventListener("pointerleave", () => this._left());
    root.addEventListener("dblclick", () => this.showAll());
    root.addEventListener("blur", () => this._left());
    root.addEventListener("keydown", (event) => this._key(event));
  }

  /** @param {PointerEvent} event */
  _pixels(event) {
    return event.clientX - this._root.getBoundingClientRect().left;
  }

  _left() {
    this._drag = null;
    this._at = null;
    this._draw();
  }

  _dropped() {
    const drag = this._drag;
    this._drag = null;
    if (drag && this._x) {
      const [from, to] = [Math.min(...drag), Math.max(...drag)];
      if (to - from >= DRAG_PX) this._setZoom([this._x.value(from), this._x.value(to)]);
      else if (this._at !== null) this._ear.pick(this._data.points[this._at][2]);
    }
    this._draw();
  }

  /** @param {number} pixels @returns {number|null} */
  _nearest(pixels) {
    const { points } = this._data;
    if (!this._x || points.length === 0) return null;
    const epoch = this._x.value(pixels);
    let low = 0;
    let high = points.length - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (points[middle][0] < epoch) low = middle + 1;
      else high = middle;
    }
    return low > 0 && epoch - points[low - 1][0] < points[low][0] - epoch ? low - 1 : low;
  }

  /** @param {KeyboardEvent} event */
  _key(event) {
    const last = this._data.points.length - 1;
    /** @type {Record<string, () => void>} */
    const actions = {
      ArrowRight: () => this._point(Math.min(last, (this._at ?? -1) + 1)),
      ArrowLeft: () => this._point(Math.max(0, (this._at ?? last + 1) - 1)),
      Home: () => this._point(0),
      End: () => this._point(last),
      Enter: () => this._at !== null && this._ear.pick(this._data.points[this._at][2]),
      "+": () => this.zoomIn(),
      "-": () => this.zoomOut(),
      0: () => this.showAll(),
      Escape: () => this._left(),
    };
    if (event.ctrlKey || event.metaKey || event.altKey || !(event.key in actions)) return;
    event.preventDefault();
    actions[event.key]();
  }

  /** @param {number} at */
  _point(at) {
    const point = this._data.points[at];
    if (!point) return;
    this._at = at;
    const [low, high] = this._range();
    if (this._zoom && (point[0] < low || point[0] > high)) {
      const half = (high - low) / 2;
      this._setZoom([point[0] - half, point[0] + half]);
    }
    this._ear.say(this._ear.describe(point).replaceAll("\n", ", "));
    this._draw();
  }
}

/** The number of a point that others were put before. @param {ChartPoint[]} points @param {ChartPoint} sought @returns {number|null} */
function samePoint(points, sought) {
  const at = points.findIndex((point) => point[0] === sought[0] && point[1] === sought[1]);
  return at < 0 ? null : at;
}
