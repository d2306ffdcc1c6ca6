/**
 * Asks the server for a job's past, page by page.
 *
 * @import {JobEvent} from "./types.js"
 */

import { apiAddress } from "./address.js";
import { mayHeal, refusalText } from "./refusal.js";

const MAX_PAGES = 4;
/** The server itself gives up on its bus after less. */
const PATIENCE_MS = 90_000;

/**
 * @typedef {object} Outcome
 * @property {boolean} complete
 * @property {string|null} reason  Why it is not complete, in words.
 * @property {boolean} kept  False where the bus keeps no past: asking again is in vain.
 * @property {string|null} until  RFC 3339: the newest instant that was told of; null where nothing was.
 */

/** The past cannot be read. */
export class HistoryError extends Error {
  /**
   * @param {string} why  In words.
   * @param {boolean} heals  Ask again later.
   * @param {number} [afterMs]  The server asks not to be asked before.
   */
  constructor(why, heals, afterMs = 0) {
    super(why);
    this.heals = heals;
    this.afterMs = afterMs;
  }
}

/**
 * @param {string} host
 * @param {string} job
 * @param {string|null} since  RFC 3339: what is known already.
 * @param {(events: JobEvent[]) => number} take  Says how many were new.
 * @returns {Promise<Outcome>}
 * @throws {HistoryError} It cannot be read; what came before is taken all the same.
 */
export async function readHistory(host, job, since, take) {
  /** @type {string|null} */
  let until = null;
  /** @type {string|null} */
  let newest = null;
  for (let page = 1; ; page++) {
    const query = new URLSearchParams({ ...(since && { since }), ...(until && { until }) });
    const past = await ask(`${apiAddress(host, job)}/history?${query}`);
    newest ??= past.events.at(-1)?.observed_at ?? null;
    // The server gives the newest; what lies before is asked for next.
    const taken = take(past.events);
    if (past.complete || taken === 0 || page === MAX_PAGES) {
      return { complete: past.complete, reason: past.reason, kept: past.kept !== false, until: newest };
    }
    until = new Date(Date.parse(past.events[0].observed_at) + 1).toISOString();
  }
}

/** @param {string} address @returns {Promise<{events: JobEvent[], complete: boolean, reason: string|null, kept?: boolean}>} */
async function ask(address) {
  /** @type {Response} */
  let answer;
  try {
    answer = await fetch(address, { signal: AbortSignal.timeout(PATIENCE_MS) });
  } catch {
    throw new HistoryError("the server does not answer", true);
  }
  const said = await answer.json().catch(() => null); // a proxy's page is no JSON
  if (!answer.ok) {
    const afterS = Number(answer.headers.get("retry-after")) || 0;
    throw new HistoryError(said?.error ?? refusalText(answer.status), mayHeal(answer.status), afterS * 1000);
  }
  if (!Array.isArray(said?.events)) throw new HistoryError("what came is no history: does a proxy answer for the server?", true);
  return said;
}
