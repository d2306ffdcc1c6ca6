/**
 * Which jobs are shown, and in which order; pure.
 *
 * @import {Job} from "./state.js"
 * @import {State} from "./types.js"
 */

import { labelsOf } from "./format.js";
import { STATES } from "./words.js";

/**
 * @typedef {"job"|"state"|"progress"|"loss"|"eta"|"started"|"updated"} SortKey
 *
 * @typedef {object} Wish  What the viewer wants to see.
 * @property {string} search
 * @property {State|""} state
 * @property {SortKey} sort
 * @property {boolean} descending
 * @property {boolean} grouped
 */

const collator = new Intl.Collator("en", { numeric: true });

/** What is sorted by changes all the time: re-sorting on each change would make rows jump. */
export const VOLATILE = new Set(["progress", "loss", "eta", "updated"]);

/** @type {Record<SortKey, (job: Job) => number|string|undefined>} */
const SORT_VALUES = {
  job: (job) => job.view.job,
  state: (job) => STATES.indexOf(job.view.state),
  progress: (job) => job.view.progress,
  loss: (job) => job.view.loss,
  eta: (job) => job.view.eta_s,
  started: (job) => job.view.run,
  updated: (job) => -job.view.timestamp,
};

/** Whether every word stands somewhere in the job. @param {Job} job @param {string} search */
export function matches(job, search) {
  const words = search.toLocaleLowerCase().split(/\s+/).filter(Boolean);
  if (words.length === 0) return true;
  const { view } = job;
  const labels = labelsOf(view).flat();
  const text = [view.job, view.host, view.state, view.message, ...labels].join("\n").toLocaleLowerCase();
  return words.every((word) => text.includes(word));
}

/** @param {number|string|undefined} a @param {number|string|undefined} b @param {number} sign */
function compare(a, b, sign) {
  if (a === undefined || b === undefined) return Number(a === undefined) - Number(b === undefined); // the unknown last
  return sign * (typeof a === "string" ? collator.compare(a, String(b)) : a - Number(b));
}

/** @param {Iterable<Job>} jobs @param {Wish} wish @returns {Job[]} Sorted; by host first where grouped. */
export function arrange(jobs, wish) {
  const value = SORT_VALUES[wish.sort];
  const sign = wish.descending ? -1 : 1;
  return [...jobs]
    .filter((job) => (wish.state === "" || job.view.state === wish.state) && matches(job, wish.search))
    .sort(
      (a, b) =>
        (wish.grouped ? collator.compare(a.view.host, b.view.host) : 0) ||
        compare(value(a), value(b), sign) ||
        collator.compare(a.view.job, b.view.job) ||
        collator.compare(a.view.host, b.view.host),
    );
}

/** How many jobs are in each state. @param {Iterable<Job>} jobs @returns {Map<State, number>} */
export function countStates(jobs) {
  /** @type {Map<State, number>} */
  const counts = new Map();
  for (const { view } of jobs) counts.set(view.state, (counts.get(view.state) ?? 0) + 1);
  return counts;
}

/** @param {URLSearchParams} query @returns {Wish} */
export function wishOfQuery(query) {
  const sort = query.get("sort") ?? "";
  const state = query.get("state") ?? "";
  return {
    search: query.get("q") ?? "",
    state: STATES.find((known) => known === state) ?? "",
    sort: Object.hasOwn(SORT_VALUES, sort) ? /** @type {SortKey} */ (sort) : "job",
    descending: query.get("order") === "desc",
    grouped: query.get("group") !== "none",
  };
}

/** What differs from the usual, for an address to share. @param {Wish} wish @returns {URLSearchParams} */
export function queryOfWish(wish) {
  const query = new URLSearchParams();
  if (wish.search) query.set("q", wish.search);
  if (wish.state) query.set("state", wish.state);
  if (wish.sort !== "job") query.set("sort", wish.sort);
  if (wish.descending) query.set("order", "desc");
  if (!wish.grouped) query.set("group", "none");
  return query;
}
