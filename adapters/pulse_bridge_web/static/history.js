/**
 * Asks the server for a job's past, page by page.
 *
 * @import {JobEvent} from "./types.js"
 */

import { apiAddress } from "./address.js";

const MAX_PAGES = 4;

/**
 * @typedef {object} Outcome
 * @property {boolean} complete
 * @property {string|null} reason  Why it is not complete, in words.
 */

/**
 * @param {string} host
 * @param {string} job
 * @param {string|null} since  RFC 3339: what is known already.
 * @param {(events: JobEvent[]) => number} take  Says how many were new.
 * @returns {Promise<Outcome>}
 * @throws {Error} It cannot be read now: ask again later.
 */
export async function readHistory(host, job, since, take) {
  /** @type {Outcome} */
  let outcome = { complete: true, reason: null };
  /** @type {string|null} */
  let until = null;
  for (let page = 0; page < MAX_PAGES; page++) {
    const query = new URLSearchParams({ ...(since && { since }), ...(until && { until }) });
    const answer = await fetch(`${apiAddress(host, job)}/history?${query}`);
    if (!answer.ok) throw new Error(`the server answers ${answer.status}`);
    const past = await answer.json();
    outcome = { complete: past.complete, reason: past.reason };
    // The server gives the newest; what lies before is asked for next.
    const taken = take(past.events);
    if (past.complete || taken === 0) return outcome;
    until = new Date(Date.parse(past.events[0].observed_at) + 1).toISOString();
  }
  return outcome;
}
