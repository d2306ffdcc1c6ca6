/**
 * What is so now with every job and host, folded from the server's messages; pure.
 *
 * The server decides what a job's state and a host's hearing are; here they are only kept.
 *
 * @import {HostView, JobView, Point, Snapshot, State, Update} from "./types.js"
 */

export const MAX_SPARK = 60;

/**
 * @typedef {object} Job
 * @property {string} key
 * @property {JobView} view
 * @property {Point[]} spark  Oldest first, of this run, at most `MAX_SPARK`.
 *
 * @typedef {object} Turn  A job came to another state, or its loss diverged.
 * @property {JobView} view
 * @property {State|"diverged"} to
 *
 * @typedef {object} Changes
 * @property {Set<string>} jobs  Keys of jobs that are new or changed.
 * @property {Set<string>} hosts  Names of hosts that are new or changed.
 * @property {boolean} members  Jobs came or went.
 * @property {Turn[]} turns
 */

/** A host's name has no slash, so this is unique. @param {string} host @param {string} job */
export const keyOf = (host, job) => `${host}/${job}`;

export class Fleet {
  constructor() {
    /** @type {Map<string, Job>} */
    this.jobs = new Map();
    /** @type {Map<string, HostView>} */
    this.hosts = new Map();
    /** Whether a snapshot has come. */
    this.known = false;
    this.source = "";
    /** Whether the server hears its bus, and if not, why. */
    this.connected = true;
    /** @type {string|null} */
    this.reason = null;
    /** Whether a snapshot has come from a server that hears its bus. */
    this._heard = false;
  }

  /** @param {Snapshot} snapshot @returns {Changes} */
  applySnapshot(snapshot) {
    const first = !this._heard;
    this.known = true;
    this._heard ||= snapshot.connected;
    this.source = snapshot.source ?? "";
    this.applyConnection(snapshot);
    const changes = this._fold(snapshot.jobs, snapshot.hosts);
    // A server that does not hear its bus, just started perhaps, cannot know what is there no more.
    if (snapshot.connected) this._removeOthers(snapshot, changes);
    if (first) changes.turns = []; // what was so before one looked is no news
    return changes;
  }

  /** @param {Update} update @returns {Changes} */
  applyUpdate(update) {
    const changes = this._fold(update.jobs ?? [], update.hosts ?? []);
    for (const [host, job] of update.removed ?? []) this._removeJob(keyOf(host, job), changes);
    for (const host of update.hosts_removed ?? []) {
      this.hosts.delete(host);
      changes.hosts.add(host);
    }
    return changes;
  }

  /** @param {{connected: boolean, reason: string|null}} connection */
  applyConnection({ connected, reason }) {
    this.connected = connected;
    this.reason = reason ?? null;
  }

  /** The host of a job; one that has not spoken of itself is known from its jobs alone. @param {string} name */
  host(name) {
    return this.hosts.get(name);
  }

  /** @param {JobView[]} jobs @param {HostView[]} hosts @returns {Changes} */
  _fold(jobs, hosts) {
    /** @type {Changes} */
    const changes = { jobs: new Set(), hosts: new Set(), members: false, turns: [] };
    for (const view of jobs) this._foldJob(view, changes);
    for (const view of hosts) {
      this.hosts.set(view.host, view);
      changes.hosts.add(view.host);
    }
    return changes;
  }

  /** @param {JobView} view @param {Changes} changes */
  _foldJob(view, changes) {
    const key = keyOf(view.host, view.job);
    const job = this.jobs.get(key);
    changes.jobs.add(key);
    if (job === undefined) {
      this.jobs.set(key, { key, view, spark: view.spark ?? withPoint([], view) });
      changes.members = true;
      changes.turns.push({ view, to: view.state });
      return;
    }
    const before = job.view;
    if (view.spark) job.spark = view.spark;
    else job.spark = withPoint(before.run === view.run ? job.spark : [], view);
    job.view = view;
    if (before.state !== view.state) changes.turns.push({ view, to: view.state });
    if (view.diverged && !before.diverged) changes.turns.push({ view, to: "diverged" });
  }

  /** @param {Snapshot} snapshot @param {Changes} changes */
  _removeOthers(snapshot, changes) {
    const jobs = new Set(snapshot.jobs.map((view) => keyOf(view.host, view.job)));
    const hosts = new Set(snapshot.hosts.map((view) => view.host));
    for (const key of [...this.jobs.keys()]) if (!jobs.has(key)) this._removeJob(key, changes);
    for (const host of [...this.hosts.keys()]) if (!hosts.has(host)) this.hosts.delete(host);
  }

  /** @param {string} key @param {Changes} changes */
  _removeJob(key, changes) {
    const job = this.jobs.get(key);
    if (job === undefined) return;
    this.jobs.delete(key);
    changes.members = true;
    const { host } = job.view;
    // Where each run has a host of its own, a page that is open for a week would keep them all.
    if (![...this.jobs.values()].some((other) => other.view.host === host)) this.hosts.delete(host);
  }
}

/** Add where a run is now, if it moved. @param {Point[]} spark @param {JobView} view @returns {Point[]} */
function withPoint(spark, view) {
  if (view.loss === undefined || view.state === "idle" || view.state === "stale" || view.state === "error") return spark;
  const last = spark.at(-1);
  if (last !== undefined && last[0] === view.epoch && last[1] === view.loss) return spark;
  return [...spark.slice(1 - MAX_SPARK), [view.epoch, view.loss]];
}
