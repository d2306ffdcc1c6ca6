/**
 * A sparkline as the text of an SVG path; pure.
 *
 * @import {Point} from "./types.js"
 */

const WIDTH = 96;
const HEIGHT = 28;
const EDGE = 2;

/** @param {Point[]} points @returns {string} Empty for fewer than two. */
export function sparkPath(points) {
  if (points.length < 2) return "";
  let low = Infinity;
  let high = -Infinity;
  for (const [, loss] of points) {
    low = Math.min(low, loss);
    high = Math.max(high, loss);
  }
  const step = WIDTH / (points.length - 1);
  const scale = high > low ? (HEIGHT - 2 * EDGE) / (high - low) : 0;
  return points
    .map(([, loss], index) => {
      const y = scale ? EDGE + (high - loss) * scale : HEIGHT / 2;
      return `${index ? "L" : "M"}${(index * step).toFixed(1)} ${y.toFixed(1)}`;
    })
    .join("");
}
