/**
 * Tells a screen reader which jobs came to another state: a few by name, many by number.
 *
 * @import {Turn} from "./state.js"
 */

const GATHER_MS = 1000;
const BY_NAME = 3;

/** @param {HTMLElement} region  A live region. @returns {(turns: Turn[]) => void} */
export function startAnnouncer(region) {
  /** @type {Map<string, Turn>} */
  const waiting = new Map();
  let timer = 0;
  return (turns) => {
    for (const turn of turns) waiting.set(`${turn.view.host}/${turn.view.job}`, turn);
    if (waiting.size === 0 || timer) return;
    timer = window.setTimeout(() => {
      timer = 0;
      region.textContent = spoken([...waiting.values()]);
      waiting.clear();
    }, GATHER_MS);
  };
}

/** @param {Turn[]} turns */
export function spoken(turns) {
  if (turns.length <= BY_NAME) return turns.map(({ view, to }) => `${view.job} on ${view.host}: ${to}.`).join(" ");
  /** @type {Map<string, number>} */
  const counts = new Map();
  for (const { to } of turns) counts.set(to, (counts.get(to) ?? 0) + 1);
  return `${turns.length} jobs changed: ${[...counts].map(([to, count]) => `${count} ${to}`).join(", ")}.`;
}
