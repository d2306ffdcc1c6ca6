/**
 * The past of one job, by run, from history and from what comes; pure, and bounded.
 *
 * @import {JobEvent} from "./types.js"
 */

export const MAX_RUNS = 20;
export const MAX_EVENTS = 4000;

/**
 * @typedef {object} Run
 * @property {number} run  Unix seconds that name it.
 * @property {JobEvent[]} events  In the order of their observation, no heartbeats; another array after each change.
 *
 * @typedef {[number, number, number]} ChartPoint  Epoch, loss, and the number of the event in its run.
 */

export class Past {
  constructor() {
    /** @type {Run[]} The newest last. */
    this.runs = [];
    /** @type {Set<string>} */
    this._ids = new Set();
  }

  /** @param {JobEvent[]} events  In any order. @returns {number} How many were new. */
  add(events) {
    let added = 0;
    /** @type {Map<Run, JobEvent[]>} */
    const fresh = new Map();
    for (const event of events) {
      const run = this._isNew(event) ? this._runOf(event.run) : null;
      if (run === null) continue;
      this._ids.add(event.id);
      const of = fresh.get(run);
      if (of) of.push(event);
      else fresh.set(run, [event]);
      added++;
    }
    for (const [run, of] of fresh) {
      const isNext = of.length === 1 && run.events.length > 0 && byObservation(run.events[run.events.length - 1], of[0]) <= 0;
      run.events = [...run.events, ...of];
      if (!isNext) run.events.sort(byObservation); // the stream's are in order; what is asked for lies between them
      while (run.events.length > MAX_EVENTS) this._thin(run);
    }
    return added;
  }

  /** @param {JobEvent} event */
  _isNew(event) {
    return event.kind !== "heartbeat" && !this._ids.has(event.id);
  }

  get newest() {
    return this.runs.at(-1);
  }

  /** @param {number} run @returns {Run|undefined} */
  find(run) {
    return this.runs.find((known) => known.run === run);
  }

  /** @param {number} number @returns {Run|null} Null for one older than those that are kept. */
  _runOf(number) {
    const known = this.find(number);
    if (known) return known;
    if (this.runs.length >= MAX_RUNS && number < this.runs[0].run) return null;
    const run = { run: number, events: [] };
    this.runs.push(run);
    this.runs.sort((a, b) => a.run - b.run);
    if (this.runs.length > MAX_RUNS) this._forget(/** @type {Run} */ (this.runs.shift()).events);
    return run;
  }

  /** Leave out every second event that only moved on; turns of state are kept. @param {Run} run */
  _thin(run) {
    const { events } = run;
    const last = events.length - 1;
    const kept = events.filter((_, at) => at % 2 === 0 || at === last || isTurn(events, at));
    run.events = kept.length < events.length * 0.9 ? kept : events.slice(Math.ceil(events.length / 2));
    const keep = new Set(run.events);
    this._forget(events.filter((event) => !keep.has(event)));
  }

  /** @param {readonly JobEvent[]} events */
  _forget(events) {
    for (const { id } of events) this._ids.delete(id);
  }
}

/** RFC 3339 of one form sorts as text; within a millisecond the sidecar's own count decides. @param {JobEvent} a @param {JobEvent} b */
function byObservation(a, b) {
  if (a.observed_at === b.observed_at) return countOf(a) - countOf(b);
  return a.observed_at < b.observed_at ? -1 : 1;
}

/** An id ends with the event's number, which goes on over the sidecar's starts. @param {JobEvent} event */
const countOf = ({ id }) => Number(id.slice(id.lastIndexOf("-") + 1)) || 0;

/** Whether the state changed with this event. @param {readonly JobEvent[]} events @param {number} at */
export function isTurn(events, at) {
  return at === 0 || events[at].state !== events[at - 1].state;
}

/** The losses of a run that have a place on its axis. @param {Run} run @returns {ChartPoint[]} */
export function pointsOf({ events }) {
  /** @type {ChartPoint[]} */
  const points = [];
  events.forEach((event, at) => {
    const placed = event.state === "running" || event.state === "done";
    if (placed && event.loss !== undefined) points.push([event.epoch, event.loss, at]);
  });
  return points;
}

/**
 * Fewer points that draw the same line: the lowest and highest of each column of pixels.
 *
 * @param {ChartPoint[]} points
 * @param {(epoch: number) => number} column
 * @returns {ChartPoint[]}
 */
export function perColumn(points, column) {
  /** @type {ChartPoint[]} */
  const kept = [];
  let from = 0;
  while (from < points.length) {
    const at = Math.floor(column(points[from][0]));
    let to = from;
    let low = from;
    let high = from;
    while (to < points.length && Math.floor(column(points[to][0])) === at) {
      if (points[to][1] < points[low][1]) low = to;
      if (points[to][1] > points[high][1]) high = to;
      to++;
    }
    const chosen = [...new Set([from, low, high, to - 1])].sort((a, b) => a - b);
    for (const index of chosen) kept.push(points[index]);
    from = to;
  }
  return kept;
}
