/**
 * The parts of a chart as SVG.
 *
 * @import {Mark} from "./chart.js"
 * @import {ChartPoint} from "./past.js"
 * @import {Scale} from "./scale.js"
 */

import { perColumn } from "./past.js";
import { tickText } from "./scale.js";
import { svg } from "./svg.js";

/**
 * @param {Scale} x
 * @param {Scale} y
 * @param {{epochs: number[], losses: number[]}} ticks
 * @param {{top: number, right: number, bottom: number, left: number}} edge  Pixels.
 * @param {number} width
 * @param {number} height
 * @returns {SVGElement[]}
 */
export function drawAxes(x, y, ticks, edge, width, height) {
  const parts = [];
  for (const loss of ticks.losses) {
    const top = y.at(loss);
    parts.push(svg("line", { class: "grid", x1: edge.left, x2: width - edge.right, y1: top, y2: top }));
    parts.push(svg("text", { x: edge.left - 8, y: top + 4, "text-anchor": "end" }, tickText(loss)));
  }
  for (const epoch of ticks.epochs) {
    parts.push(svg("text", { x: x.at(epoch), y: height - 6, "text-anchor": "middle" }, tickText(epoch)));
  }
  return parts;
}

/** @param {ChartPoint[]} points @param {Scale} x @param {Scale} y @returns {string} */
export function linePath(points, x, y) {
  const kept = perColumn(points, x.at);
  if (kept.length === 1) return `M${x.at(kept[0][0]) - 1} ${y.at(kept[0][1])}h2`; // one point is seen, too
  return kept.map(([epoch, loss], at) => `${at ? "L" : "M"}${x.at(epoch).toFixed(1)} ${y.at(loss).toFixed(1)}`).join("");
}

/** @param {ChartPoint[]} points @param {Scale} x @param {Scale} y @param {string} look */
export function drawLine(points, x, y, look) {
  return svg("path", { class: look, d: linePath(points, x, y) });
}

/**
 * Where the run came to trouble, as lines across.
 *
 * @param {Mark[]} marks
 * @param {Scale} x
 * @param {[number, number]} range
 * @param {number} top
 * @param {number} bottom
 */
export function drawMarks(marks, x, [low, high], top, bottom) {
  return marks
    .filter(({ epoch }) => epoch >= low && epoch <= high)
    .map(({ epoch, what }) => {
      const line = svg("line", { class: what === "diverged" ? what : "mark", x1: x.at(epoch), x2: x.at(epoch), y1: top, y2: bottom });
      line.dataset.state = what === "diverged" ? "error" : what;
      line.append(svg("title", {}, `${what} at epoch ${tickText(epoch)}`));
      return line;
    });
}
