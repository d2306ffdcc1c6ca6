/**
 * Which jobs are shown, and in which order; pure.
 *
 * @import {Job} from "./state.js"
 * @import {Look} from "./words.js"
 */

import { labelsOf } from "./format.js";
import { LOOKS } from "./words.js";

/**
 * @typedef {"job"|"state"|"progress"|"loss"|"eta"|"started"|"updated"} SortKey
 *
 * @typedef {object} Wish  What the viewer wants to see.
 * @property {string} search
 * @property {Look|""} state
 * @property {SortKey} sort
 * @property {boolean} descending
 * @property {boolean} grouped
 */

const collator = new Intl.Collator("en", { numeric: true });

/** What is sorted by changes all the time: re-sorting on each change would make rows jump. */
export const VOLATILE = new Set(["progress", "loss", "eta", "updated"]);

/** @typedef {(job: Job) => Look} LookOf  How a job is shown: its state, or `unknown` where that is only the last known. */

/** @type {Record<SortKey, (job: Job, lookOf: LookOf) => number|string|undefined>} */
const SORT_VALUES = {
  job: (job) => job.view.job,
  state: (job, lookOf) => LOOKS.indexOf(lookOf(job)),
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

/** @param {Iterable<Job>} jobs @param {Wish} wish @param {LookOf} lookOf @returns {Job[]} Sorted; by host first where grouped. */
export function arrange(jobs, wish, lookOf) {
  const value = SORT_VALUES[wish.sort];
  const sign = wish.descending ? -1 : 1;
  return [...jobs]
    .filter((job) => (wish.state === "" || lookOf(job) === wish.state) && matches(job, wish.search))
    .sort(
      (a, b) =>
        (wish.grouped ? collator.compare(a.view.host, b.view.host) : 0) ||
        compare(value(a, lookOf), value(b, lookOf), sign) ||
        collator.compare(a.view.job, b.view.job) ||
        collator.compare(a.view.host, b.view.host),
    );
}

/** How many jobs look how. @param {Iterable<Job>} jobs @param {LookOf} lookOf @returns {Map<Look, number>} */
export function countLooks(jobs, lookOf) {
  /** @type {Map<Look, number>} */
  const counts = new Map();
  for (const job of jobs) counts.set(lookOf(job), (counts.get(lookOf(job)) ?? 0) + 1);
  return counts;
}

/**
 * How many jobs somebody should look at: those in trouble, and those that ran when they were last heard of.
 *
 * @param {Iterable<Job>} jobs
 * @param {LookOf} lookOf
 */
export function countTroubled(jobs, lookOf) {
  let troubled = 0;
  for (const job of jobs) {
    const { state } = job.view;
    if (state === "stale" || state === "error" || (state === "running" && lookOf(job) === "unknown")) troubled++;
  }
  return troubled;
}

/** @param {URLSearchParams} query @returns {Wish} */
export function wishOfQuery(query) {
  const sort = query.get("sort") ?? "";
  const state = query.get("state") ?? "";
  return {
    search: query.get("q") ?? "",
    state: LOOKS.find((known) => known === state) ?? "",
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
