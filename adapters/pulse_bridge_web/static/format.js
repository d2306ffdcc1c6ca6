/** Numbers, times and names as text; pure. What is not known is a dash, and nothing is ever "NaN" by accident. */

export const UNKNOWN = "–";

const COUNT = new Intl.NumberFormat("en"); // made once: making one costs more than a hundred uses

/** @param {unknown} value @returns {value is number} */
const isNumber = (value) => typeof value === "number" && Number.isFinite(value);

/**
 * @param {number|undefined} loss
 * @param {boolean} diverged
 */
export function lossText(loss, diverged) {
  if (diverged) return "diverged";
  if (!isNumber(loss)) return UNKNOWN;
  const size = Math.abs(loss);
  return size >= 1e6 || (size > 0 && size < 0.00005) ? loss.toExponential(2) : loss.toFixed(4);
}

/** A count of epochs: two decimals, so that it keeps its width. @param {number} epochs @param {boolean} [whole] */
function epochsText(epochs, whole = false) {
  if (Math.abs(epochs) >= 1e6) return epochs.toExponential(1);
  return whole && Number.isInteger(epochs) ? String(epochs) : epochs.toFixed(2);
}

/** @param {number} epoch @param {number} total */
export function epochText(epoch, total) {
  if (!isNumber(epoch)) return UNKNOWN;
  return isNumber(total) && total > 0
    ? `epoch ${epochsText(epoch)} / ${epochsText(total, true)}`
    : `epoch ${epochsText(epoch)}`;
}

/** @param {number} epoch */
export const epochNumber = (epoch) => (isNumber(epoch) ? epochsText(epoch) : UNKNOWN);

/** Percent between 0 and 100. @param {unknown} progress @returns {number} */
export const percentOf = (progress) => (isNumber(progress) ? Math.min(100, Math.max(0, progress)) : 0);

/** @param {unknown} progress */
export const percentText = (progress) => `${percentOf(progress).toFixed(1)} %`;

/** @param {number|undefined} count */
export const countText = (count) => (isNumber(count) ? COUNT.format(count).replaceAll(",", "\u202f") : UNKNOWN);

/** @param {number|undefined} step @param {number|undefined} total */
export function stepText(step, total) {
  if (!isNumber(step)) return "";
  return isNumber(total) ? `${countText(step)} / ${countText(total)}` : countText(step);
}

/** @param {number|undefined} rate */
export function rateText(rate) {
  if (!isNumber(rate)) return "";
  if (rate === 0) return "0";
  return Math.abs(rate) < 0.01 ? rate.toExponential(2).replace(/\.?0+e/, "e") : String(Number(rate.toPrecision(3)));
}

const two = (/** @type {number} */ value) => String(value).padStart(2, "0");

/** How long, in the two largest units. @param {number} seconds */
export function durationText(seconds) {
  if (!isNumber(seconds)) return UNKNOWN;
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  const minutes = Math.floor(whole / 60);
  if (minutes < 10) return `${minutes} min ${two(whole % 60)} s`;
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return `${hours} h ${two(minutes % 60)} min`;
  const days = Math.floor(hours / 24);
  return days < 1000 ? `${days} d ${hours % 24} h` : "over 1000 d";
}

/** How long ago; counts every second for two minutes. @param {number} seconds */
export function agoText(seconds) {
  if (!isNumber(seconds)) return UNKNOWN;
  const whole = Math.max(0, Math.floor(seconds));
  if (whole < 120) return `${whole} s ago`;
  if (whole < 7200) return `${Math.floor(whole / 60)} min ago`;
  if (whole < 172_800) return `${Math.floor(whole / 3600)} h ago`;
  return `${Math.floor(whole / 86_400)} d ago`;
}

const TIME = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const SHORT = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });
const LONG = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "medium" });

/** @param {Intl.DateTimeFormat} format @param {number} unixMs */
const written = (format, unixMs) => (Math.abs(unixMs) < 8.64e15 ? format.format(unixMs) : UNKNOWN);

/** Hours to seconds, in the reader's zone. @param {number} unixMs */
export const timeText = (unixMs) => written(TIME, unixMs);
/** Day to minutes. @param {number} unixMs */
export const shortTimeText = (unixMs) => written(SHORT, unixMs);
/** In full. @param {number} unixMs */
export const longTimeText = (unixMs) => written(LONG, unixMs);

/** The labels of an event, in its order. @param {object} view @returns {[string, string][]} */
export function labelsOf(view) {
  return Object.entries(view)
    .filter(([name]) => name.startsWith("label_"))
    .map(([name, value]) => [name.slice("label_".length), String(value)]);
}
