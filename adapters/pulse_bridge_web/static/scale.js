/** Axes; pure. */

/**
 * @typedef {object} Scale
 * @property {(value: number) => number} at  Where a value stands, in pixels.
 * @property {(pixels: number) => number} value  What stands there.
 */

/** @param {number} low @param {number} high @param {number} from @param {number} to @param {boolean} [log] @returns {Scale} */
export function makeScale(low, high, from, to, log = false) {
  const [a, b] = log ? [Math.log10(low), Math.log10(high)] : [low, high];
  const factor = b > a ? (to - from) / (b - a) : 0;
  return {
    at: (value) => (factor ? from + ((log ? Math.log10(value) : value) - a) * factor : (from + to) / 2),
    value: (pixels) => {
      const value = factor ? a + (pixels - from) / factor : a;
      return log ? 10 ** value : value;
    },
  };
}

/** Round values between two, about as many as asked for. @param {number} low @param {number} high @param {number} about @returns {number[]} */
export function ticks(low, high, about) {
  if (!(high > low)) return [low];
  const rough = (high - low) / about;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = ([1, 2, 5, 10].find((factor) => factor * power >= rough) ?? 10) * power;
  const first = Math.ceil(low / step);
  const last = Math.floor(high / step + 1e-9);
  return Array.from({ length: Math.max(0, Math.min(50, last - first + 1)) }, (_, index) => (first + index) * step);
}

/** Powers of ten, and where there are few also 2 and 5. @param {number} low @param {number} high @returns {number[]} */
export function logTicks(low, high) {
  const first = Math.floor(Math.log10(low));
  const last = Math.ceil(Math.log10(high));
  const every = Math.max(1, Math.ceil((last - first) / 8));
  const factors = last - first > 3 ? [1] : [1, 2, 5];
  const found = [];
  for (let power = first; power <= last; power += every) {
    for (const factor of factors) found.push(factor * 10 ** power);
  }
  const inside = found.filter((value) => value >= low && value <= high);
  return inside.length >= 2 ? inside : [low, high];
}

/** A value as short as a tick can be told. @param {number} value @returns {string} */
export function tickText(value) {
  const size = Math.abs(value);
  if (size !== 0 && (size >= 1e5 || size < 1e-3)) return value.toExponential(1).replace(".0e", "e");
  return String(Number(value.toPrecision(4)));
}
